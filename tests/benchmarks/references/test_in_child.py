"""A reference in a child process stands still between its turns, and never outlives the bench."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_edge.benchmarks.measure.timing import TimesItself, interleaved
from fer_edge.benchmarks.references import in_child
from fer_edge.benchmarks.references.in_child import ChildReference
from fer_edge.errors import EngineError
from fer_edge.labels import EMOTIONS
from fer_edge.torch_threads import ROUNDS, SPIN_COUNT
from fer_edge.training.checkpoint import Checkpoint, save_checkpoint
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec

_CHILD_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of linux/prctl.h."""
LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    spec = ModelSpec("test_byobnet", EMOTIONS, InputSpec(48, "grey", (0.5,), (0.25,)))
    folder = tmp_path_factory.mktemp("child") / "best"
    save_checkpoint(Checkpoint(ExpressionNet(spec).eval()), folder)
    return folder


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> Iterator[ChildReference]:
    child = ChildReference(checkpoint)
    yield child
    child.close()


def state(pid: int) -> str:
    """One letter: T is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def reaches(pid: int, letters: str) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if state(pid) in letters.split():
            return True
        time.sleep(0.02)
    return False


def test_it_times_itself_in_turns_with_others(reference: ChildReference) -> None:
    call = reference.at((2, 48, 48, 3))
    assert isinstance(call, TimesItself)
    latencies = interleaved({"torch": call, "ours": lambda: None}, 24, budget_s=0)
    assert len(latencies["torch"].ns) == len(latencies["ours"].ns) == 24
    assert latencies["torch"].ns.min() > 1000
    reference(np.zeros((1, 48, 48, 3), np.uint8))


@LINUX
def test_between_its_turns_it_is_stopped(reference: ChildReference) -> None:
    reference.times_ns((1, 48, 48, 3), 0, 2)
    assert reaches(reference.pid, "T")


def test_what_torch_cannot_run_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nothing"):
        ChildReference(tmp_path / "nothing")


def test_a_batch_of_another_size_is_an_error_and_not_a_hang(checkpoint: Path) -> None:
    child = ChildReference(checkpoint)
    try:
        with pytest.raises(EngineError, match=r"torch failed on a batch \(1, 47, 47, 3\)"):
            child.times_ns((1, 47, 47, 3), 0, 1)
    finally:
        child.close()
    assert child._child.returncode is not None


@LINUX
def test_a_child_that_dies_is_an_error(checkpoint: Path) -> None:
    child = ChildReference(checkpoint)
    try:
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="ended"):
            child.times_ns((1, 48, 48, 3), 0, 1)
    finally:
        child.close()


def test_a_child_that_hangs_is_an_error(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = ChildReference(checkpoint)
    try:
        monkeypatch.setattr(in_child, "TIMEOUT_S", 0.0)
        with pytest.raises(EngineError, match="hung"):
            child.times_ns((1, 48, 48, 3), 0, 1)
    finally:
        child.close()


@pytest.fixture(params=[False, True], ids=["no subreaper", "subreaper"])
def subreaper(request: pytest.FixtureRequest) -> Iterator[None]:
    """This process, or none, adopts orphans, as a container's init and Ray do."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_CHILD_SUBREAPER, int(request.param), 0, 0, 0)
    yield
    prctl(_CHILD_SUBREAPER, 0, 0, 0, 0)


@LINUX
def test_a_stopped_child_does_not_outlive_a_killed_bench(checkpoint: Path, subreaper: None) -> None:
    script = (
        "import sys, time\n"
        "from fer_edge.benchmarks.references.in_child import ChildReference\n"
        f"child = ChildReference({str(checkpoint)!r})\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    bench = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = None
    try:
        assert bench.stdout is not None
        pid = int(bench.stdout.readline())
        assert reaches(pid, "T")
        bench.kill()
        bench.wait(20)
        assert reaches(pid, "gone Z")
    finally:
        bench.kill()
        bench.wait(20)
        if pid is not None and state(pid) not in ("gone", "Z"):
            os.kill(pid, signal.SIGKILL)


@LINUX
def test_torch_has_its_own_waits_under_a_command_that_shortens_them(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fer-edge demo --full times torch in a command that shortens the waits of its own torch."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for chosen, seen in ((ROUNDS, False), ("7", True)):
        monkeypatch.setenv(SPIN_COUNT, chosen)
        child = ChildReference(checkpoint)
        try:
            environment = Path(f"/proc/{child.pid}/environ").read_bytes().split(b"\0")
        finally:
            child.close()
        assert (f"{SPIN_COUNT}={chosen}".encode() in environment) is seen
