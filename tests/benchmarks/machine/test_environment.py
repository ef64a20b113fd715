"""Environment of a measurement, and what disturbed it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import psutil
import pytest

from fer_edge.benchmarks.machine.environment import (
    cpu_counters,
    environment,
    machine,
    noise,
    noise_note,
)

BUSY = "import time\nwhile time.process_time() < 0.5: pass\n"


def test_the_environment_is_plain_json_and_says_what_counts() -> None:
    env = environment()
    assert json.loads(json.dumps(env, allow_nan=False)) == env
    assert {"cpu", "cores", "isa", "memory_bytes", "load_1min", "system", "python"} <= set(env)
    assert env["cpu"]
    assert env["cores"] >= 1
    assert {"numpy", "onnxruntime"} <= set(env["libraries"])


def test_the_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fer-edge", "bench", "my model.fer", "--budget", "p99<10ms"])
    assert environment()["command"] == "fer-edge bench 'my model.fer' --budget 'p99<10ms'"


def test_a_machine_of_which_only_a_part_may_be_used_is_named_so() -> None:
    env = {"cpu": "A CPU", "cores": 4, "affinity": 4}
    assert machine(env) == machine({**env, "affinity": None}) == "A CPU, 4 cores"
    assert machine({**env, "affinity": 2}) == "A CPU, 2 of 4 cores"


def test_children_count_while_they_run_and_after() -> None:
    """Another process of the measurement, such as that of PyTorch, is not a disturbance."""
    grandchild = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])\n"
    before = cpu_counters()["own"]
    with subprocess.Popen(
        [sys.executable, "-c", f"{grandchild}{BUSY}print('done', flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        alive = cpu_counters()["own"]
        assert alive - before >= 0.9
    assert cpu_counters()["own"] >= alive


@pytest.mark.parametrize("error", [psutil.NoSuchProcess, psutil.AccessDenied])
def test_a_child_that_ends_meanwhile_is_left_out(
    monkeypatch: pytest.MonkeyPatch, error: type[psutil.Error]
) -> None:
    class Ended:
        def cpu_times(self) -> None:
            raise error(1)

    monkeypatch.setattr(psutil.Process, "children", lambda self, recursive: [Ended()])
    assert cpu_counters()["own"] > 0


QUIET = {"all": 200.0, "steal": 0.0, "idle": 100.0, "own": 99.0, "throttled": 0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"steal": 5.0}, r"hypervisor took 2\.5%"),
        ({"own": 60.0}, "other processes used 20%"),
        ({"throttled": 1}, "quota stopped the process once"),
        ({"throttled": 12}, "quota stopped the process 12 times"),
    ],
)
def test_what_disturbed_a_measurement_is_named(change: dict[str, float], said: str | None) -> None:
    """Two cores for 100 s, one of them busy with the measurement."""
    found = noise(dict.fromkeys(QUIET, 0.0), {**QUIET, **change}, [])
    note = noise_note({"load_1min": 0.1, "cores": 2}, found)
    assert (note is None) == (said is None)
    if said is not None:
        assert note is not None
        assert re.search(said, note)


@pytest.mark.parametrize(("p90_ms", "noisy"), [(1.1, False), (1.6, True), (None, False)])
def test_a_wide_spread_is_called_noisy(p90_ms: float | None, noisy: bool) -> None:
    rows = [{"p50_ms": 1.0, "p90_ms": p90_ms}, {"no": "latency"}]
    found = noise(dict.fromkeys(QUIET, 0.0), QUIET, rows)
    assert bool(found["reasons"]) is noisy


@pytest.mark.parametrize(
    ("load", "cores", "said"),
    [
        (0.0, 2, False),
        (0.5, 2, False),
        (0.51, 2, True),
        (7.0, 2, True),
        (7.0, 64, False),
        (17.0, 64, True),
        (0.3, None, True),
    ],
)
def test_a_busy_machine_is_said_to_have_been_busy(
    load: float, cores: int | None, said: bool
) -> None:
    note = noise_note({"load_1min": load, "cores": cores})
    assert (note is not None) == said
    assert note is None or str(load) in note
