"""The monitor keeps, writes and sends nothing.

Python reports files, sockets and processes to an audit hook. It does not see those that a C++
library opens by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

AUDITED = """
import sys
import numpy as np
from fer_edge.monitor import DriverMonitor, Frames, WholeFrame

noise = np.random.default_rng(0)
images = [noise.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(60)]
images[20:30] = [np.zeros((64, 64, 3), np.uint8)] * 10
monitor = DriverMonitor(sys.argv[1], Frames(images, hz=30), detector=WholeFrame())
next(monitor)
seen = []
PREFIXES = ("socket.", "os.", "subprocess.", "tempfile.", "shutil.", "urllib.", "http.")
sys.addaudithook(lambda e, a: seen.append(e) if e == "open" or e.startswith(PREFIXES) else None)
{action}
states = list(monitor)
assert len(states) == 59, len(states)
assert states[-1].driver.label == "neutral"
print(*sorted(set(seen)))
"""


def audited(action: str, bundle: Path, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-B", "-c", AUDITED.replace("{action}", action), str(bundle)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_watching_opens_no_file_and_no_socket(fake_bundle: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert audited("", fake_bundle, tmp_path) == []
    assert sorted(tmp_path.rglob("*")) == before


def test_the_audit_would_see_them(fake_bundle: Path, tmp_path: Path) -> None:
    action = "import socket; socket.socket().close(); open('frame.bin', 'wb').close()"
    assert {"open", "socket.__new__"} <= set(audited(action, fake_bundle, tmp_path))


def test_importing_the_monitor_loads_no_engine_and_no_network() -> None:
    code = "import fer_edge.monitor, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert {"fer_edge", "cv2", "numpy"} <= loaded
    assert not loaded & {"onnxruntime", "openvino", "torch", "tensorrt", "fastapi", "requests"}
