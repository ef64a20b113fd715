"""Scoring whose workers, actors and command are killed: run again, it ends with the same rows.

PYTHONPATH=tests/campaign python tests/campaign/drives.py --kills 20 --ray
PYTHONPATH=tests/campaign python tests/campaign/drives.py --kills 20 --drives drives/ \
    --detector yunet.onnx --ray
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pyarrow.parquet as pq

TIMEOUT_S = 1800
OK = 0, 3
"""Exit codes of a run that has reached its end; 3 tells of damaged clips."""
KINDS = {"actor": "ray::_Actor", "scorer": "multiprocessing.spawn", "raylet": "/raylet/raylet"}
"""Kinds of victims beside the command, by a part of their command line."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--every", type=float, default=6.0, help="most seconds between kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", default="2")
    parser.add_argument("--drives", type=Path, help="score these instead of drawn clips")
    parser.add_argument("--detector", help="YuNet for --drives")
    parser.add_argument("--ray", action="store_true")
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drives = given.drives or write_drives(folder / "drives", rng)
        score = [sys.executable, "-m", "fer_edge", "score", str(drives), "--quiet"]
        score += ["--detector", given.detector] if given.detector else ["--whole-frame"]
        broken_run([*score, "-o", str(folder / "whole"), "--workers", "1"], folder, rng, 0, 1.0)
        whole = digest(folder / "whole")
        print(f"{whole[0]:,} rows without a kill, {whole[1]}", flush=True)
        score += ["--workers", given.workers, *(["--ray"] if given.ray else [])]
        killed: collections.Counter[str] = collections.Counter()
        for number in range(given.kills):
            out = folder / f"out-{number}"
            kills_left = given.kills - killed.total()
            killed += broken_run([*score, "-o", str(out)], folder, rng, kills_left, given.every)
            if digest(out) != whole:
                sys.exit(f"OTHER ROWS after {dict(killed)}: {digest(out)}")
            left = [path.name for path in out.rglob(".*")]
            if left:
                sys.exit(f"LEFT BEHIND after {dict(killed)}: {left[:5]}")
            print(f"the same rows after {killed.total()} kills in {number + 1} runs", flush=True)
            if killed.total() >= given.kills:
                break
    print(dict(killed))
    sys.exit(killed.total() < given.kills)


def write_drives(folder: Path, rng: np.random.Generator) -> Path:
    """Write 6 drives of 20 clips; some are cut off, empty or no video."""
    for drive in range(6):
        (folder / f"drive{drive}").mkdir(parents=True)
        for number in range(20):
            path = folder / f"drive{drive}" / f"{number:02}.avi"
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 96))
            for _ in range(int(rng.integers(20, 60))):
                writer.write(rng.integers(0, 256, (96, 96, 3), np.uint8))
            writer.release()
            data = path.read_bytes()
            if number in (3, 4, 5):
                path.write_bytes((data[: len(data) // 2], b"", b"no video")[number - 3])
    return folder


def broken_run(
    command: list[str], folder: Path, rng: np.random.Generator, most: int, every_s: float
) -> collections.Counter[str]:
    """Run the command until it succeeds, with at most ``most`` kills; return them by kind."""
    killed: collections.Counter[str] = collections.Counter()
    journal = Path(command[command.index("-o") + 1]) / "done.jsonl"
    while True:
        process, before = start(command, folder), killed.total()
        try:
            while killed.total() < most and lasts(process, journal, rng, every_s):
                kind, victim = choose(process, rng)
                victim.kill()
                killed[kind] += 1
                if kind == "command":
                    break
            code = process.wait(TIMEOUT_S)
        finally:
            process.kill()
        if code in OK:
            return killed
        if killed.total() == before:
            sys.exit(f"exit code {code} without a kill: {(folder / 'said').read_text()[-2000:]}")


def lasts(
    process: subprocess.Popen[bytes], journal: Path, rng: np.random.Generator, every_s: float
) -> bool:
    """Wait until a clip is done, mostly, and a random time more; return False if the run ends."""
    if rng.random() < 0.8:
        size = size_of(journal)
        while size_of(journal) == size and process.poll() is None:
            time.sleep(0.02)
    try:
        process.wait(rng.uniform(0.1, every_s))
    except subprocess.TimeoutExpired:
        return True
    return False


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def choose(
    process: subprocess.Popen[bytes], rng: np.random.Generator
) -> tuple[str, psutil.Process]:
    """Return a process of the run to kill, each kind as likely as the others."""
    victims = {"command": [psutil.Process(process.pid)]}
    for child in victims["command"][0].children(recursive=True):
        try:
            line = " ".join(child.cmdline())
        except psutil.Error:  # it has just ended
            continue
        for kind, mark in KINDS.items():
            if mark in line:
                victims.setdefault(kind, []).append(child)
                break
    kind = str(rng.choice(sorted(victims)))
    return kind, victims[kind][int(rng.integers(len(victims[kind])))]


def start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "said").open("ab") as said:
        return subprocess.Popen(command, stdout=said, stderr=said)


def digest(out: Path) -> tuple[int, str]:
    """Return number and hash of all rows, without times of the machine."""
    rows = []
    for path in sorted(out.rglob("*.parquet")):
        table = pq.read_table(path, partitioning=None)
        table = table.select(
            [name for name in table.column_names if not name.endswith("_ms") and name != "path"]
        )
        rows += [f"{path.relative_to(out)} {row}" for row in table.to_pylist()]
    return len(rows), hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()


if __name__ == "__main__":
    main()
