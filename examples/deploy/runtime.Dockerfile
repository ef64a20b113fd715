# The in-car application: cameras in, events and health as JSON on standard output.
# Build at the root of the repository:
#   docker build -f examples/deploy/runtime.Dockerfile -t fer-edge-in-car .
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml setup.cfg constraints.txt README.md PYPI.md LICENSE ./
COPY fer_edge fer_edge
COPY converters converters
COPY training training
COPY benchmarks benchmarks
RUN python -m venv /opt/fer-edge
RUN /opt/fer-edge/bin/pip install --no-cache-dir -c constraints.txt '.[openvino,detect]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --groups video --no-create-home fer-edge \
 && install --directory --owner=10001 /run/fer-edge
COPY --from=build /opt/fer-edge /opt/fer-edge
COPY examples/in_car.py /opt/fer-edge/in_car.py
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
STOPSIGNAL SIGTERM
# The application touches the file while every camera gets answers.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/opt/fer-edge/bin/python", "-c", "import os, sys, time; sys.exit(time.time() - os.path.getmtime('/run/fer-edge/alive') > 10)"]
ENTRYPOINT ["/opt/fer-edge/bin/python", "/opt/fer-edge/in_car.py", "--alive", "/run/fer-edge/alive"]
CMD ["/dev/video0"]
