"""Start the service, post one picture, and stop the service.

    pip install 'fer-edge[serve]'
    python examples/serve_and_ask.py

The client uses the standard library only: the picture travels as base64 in a JSON body.
"""

import base64
import json
import re
import signal
import subprocess
import sys
import urllib.request

from fer_edge.shipped import FACES

COMMAND = [sys.executable, "-m", "fer_edge.cli", "serve", "--port", "0"]


def ask(address: str, picture: bytes) -> dict:
    """Return the service's answer for a JPEG, PNG, BMP or WebP."""
    body = json.dumps({"image": base64.b64encode(picture).decode()}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/predict", body, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def main() -> None:
    # The service prints its address once it listens.
    with subprocess.Popen(COMMAND, stderr=subprocess.PIPE, text=True) as service:
        try:
            address = next(
                match[0] for line in service.stderr if (match := re.search(r"http://\S+", line))
            )
            answer = ask(address.rstrip("/"), (FACES / "happiness.png").read_bytes())
            for face in answer["faces"]:
                print(face["emotion"], round(face["confidence"], 2), "box", face["box"])
        finally:
            service.send_signal(signal.SIGINT)  # requests under way are still answered


if __name__ == "__main__":
    main()
