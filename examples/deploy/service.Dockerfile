# The web service of fer-edge serve, for a proxy in front of it.
# Build at the root of the repository:
#   docker build -f examples/deploy/service.Dockerfile -t fer-edge-service .
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml setup.cfg constraints.txt README.md PYPI.md LICENSE ./
COPY fer_edge fer_edge
COPY converters converters
COPY training training
COPY benchmarks benchmarks
RUN python -m venv /opt/fer-edge
RUN /opt/fer-edge/bin/pip install --no-cache-dir -c constraints.txt '.[serve,openvino,detect]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home fer-edge
COPY --from=build /opt/fer-edge /opt/fer-edge
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/opt/fer-edge/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# In a container, only published ports are reachable: listen on every address, with FER_EDGE_TOKEN set.
ENTRYPOINT ["/opt/fer-edge/bin/fer-edge", "serve", "--host", "0.0.0.0", "--port", "8000"]
