"""MLPerf's LoadGen on the same variants."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import pytest

from fer_edge import Predictor
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.benchmarks import bench as bench_module
from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.references import loadgen as loadgen_module
from fer_edge.benchmarks.references.loadgen import VALID_BY, loadgen, read_summary
from fer_edge.benchmarks.reports.columns import remarks
from fer_edge.benchmarks.reports.terminal import print_table
from fer_edge.child import python_command
from fer_edge.errors import EngineError, InputError, MissingDependencyError


@pytest.mark.parametrize(
    ("scenario", "batch", "official", "figure"),
    [
        ("single", 1, "SingleStream", "p90_ms"),
        ("single", 4, "MultiStream", "p90_ms"),
        ("offline", 4, "Offline", "throughput_hz"),
    ],
)
def test_the_official_loadgen_stands_beside_ours(
    tmp_path: Path, scenario: str, batch: int, official: str, figure: str
) -> None:
    """With a fake engine of 2 ms; nothing is claimed about the time, only that it is counted."""
    pytest.importorskip("mlperf_loadgen")
    bundle = write_fake_bundle(tmp_path / "slow.fer", latency_ms=2)
    logs = tmp_path / "logs"
    report = bench(bundle, (batch,), scenario=scenario, budget_s=0.5, loadgen_logs=logs)
    (found,) = report["loadgen"]
    assert (found["scenario"], found["batch"]) == (official, batch)
    assert found[figure] > 0
    if scenario == "single":
        assert found["p90_ms"] >= 2
        assert found["our_p90_ms"] >= 2
    assert (Path(found["logs"]) / "mlperf_log_detail.txt").is_file()
    print_table(report)


def test_an_engine_that_breaks_under_loadgen_does_not_end_the_process(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    bundle = write_fake_bundle(tmp_path / "weak.fer", latency_ms=1, fail_after=100)
    with Predictor(bundle) as predictor:
        job = Job(bundle, 48, {"fake/fp32": predictor}, (1,), 0.2, lambda *step: None)
        with pytest.raises(EngineError, match="told to fail"):
            loadgen(job, "single", tmp_path / "logs")


def test_a_large_batch_is_the_same_call_for_loadgen_and_for_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Counting:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None: ...

        def predict_batch(self, crops: list[object]) -> None:
            sizes.append(len(crops))

    def drive(lg: object, official: str, predict: object, crops: list[object], *_: object) -> None:
        sizes.append(len(crops))

    monkeypatch.setitem(sys.modules, "mlperf_loadgen", ModuleType("mlperf_loadgen"))
    monkeypatch.setattr(loadgen_module, "signal", Mock())  # this process keeps its Ctrl-C
    monkeypatch.setattr(loadgen_module, "end_with_parent", Mock())
    monkeypatch.setattr(loadgen_module, "Predictor", Counting)
    monkeypatch.setattr(loadgen_module, "_drive", drive)
    loadgen_module.main("bundle", "fake", "fp32", "600", "0.01", "MultiStream", str(tmp_path))
    assert set(sizes) == {600}


DRIVE = """
import sys
from pathlib import Path
from fer_edge import Predictor
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.references.loadgen import loadgen
bundle, logs = map(Path, sys.argv[1:])
with Predictor(bundle) as predictor:
    job = Job(bundle, 48, {"fake/fp32": predictor}, (1,), 8, lambda *step: None)
    try:
        loadgen(job, "single", logs)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a group")
def test_ctrl_c_while_loadgen_drives_is_an_interrupt(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    bundle, logs = write_fake_bundle(tmp_path / "slow.fer", latency_ms=2), tmp_path / "logs"
    parent = subprocess.Popen(
        python_command("-c", DRIVE, str(bundle), str(logs)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list(logs.rglob("mlperf_log_detail.txt")) and parent.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)  # LoadGen's threads are at work
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.communicate(timeout=120) == ("interrupted\n", "")
    assert parent.returncode == 0


def test_loadgen_has_no_constant_stream(fake_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no constant stream"):
        bench(fake_bundle, scenario="stream", loadgen_logs=tmp_path, budget_s=0.1)


def test_logs_that_cannot_be_written_are_refused_before_the_work(
    fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", ModuleType("mlperf_loadgen"))
    monkeypatch.setattr(bench_module, "_open", lambda *_: pytest.fail("it went on"))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Choose another --loadgen-logs"):
        bench(fake_bundle, scenario="single", loadgen_logs=tmp_path / "file" / "logs")


def test_a_missing_loadgen_is_the_line_that_installs_it(
    fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[loadgen\]'"):
        bench(fake_bundle, scenario="single", loadgen_logs=tmp_path, budget_s=0.1)


def test_valid_is_said_to_be_by_our_settings() -> None:
    assert remarks({"rows": [], "loadgen": []}) == [VALID_BY]


def test_an_invalid_summary_is_called_so() -> None:
    text = "Scenario : Offline\nSamples per second: 12.5\nResult is : INVALID\n"
    found = read_summary(text)
    assert (found["valid"], found["throughput_hz"], found["p90_ms"]) == (False, 12.5, None)
