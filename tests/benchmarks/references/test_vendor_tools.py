"""The engines' own tools beside ours. No trtexec installs here: a script stands in for it, which
prints what NVIDIA's documentation shows; it has not run on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fer_edge import EngineError, InputError, Variant, open_bundle
from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.references import vendor_tools as tools
from fer_edge.benchmarks.references.vendor_tools import benchmark_app, trtexec
from fer_edge.benchmarks.reports.columns import cells
from fer_edge.child import python_command
from fer_edge.shipped import DEFAULT_BUNDLE


def variant(name: str) -> Variant:
    return next(v for v in open_bundle(DEFAULT_BUNDLE).variants if v.name == name)


def test_benchmark_app_reports_the_default_model() -> None:
    told = benchmark_app(DEFAULT_BUNDLE, variant("openvino/fp32"), 2, "latency", 1)
    assert told.requests >= 1
    assert told.hz > 1
    assert told.p50_ms == pytest.approx(2000 / told.hz, rel=0.9)


def test_a_failing_benchmark_app_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.fer").symlink_to(DEFAULT_BUNDLE)
    with pytest.raises(EngineError, match="no figures"):
        benchmark_app(tmp_path / "x.fer", variant("openvino/fp32"), -1, "latency", 1)


def test_without_benchmark_app_it_is_said_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"expected benchmark_app as .*on PATH.*pip install"):
        benchmark_app(DEFAULT_BUNDLE, variant("openvino/fp32"), 1, "latency", 1.0)


def test_a_report_has_its_figures_beside_ours() -> None:
    report = bench(
        scenario="single", target="openvino", precision="fp32", against="benchmark_app", budget_s=1
    )
    (row,) = report["rows"]
    assert row["tool"]["name"] == "benchmark_app"
    assert row["tool"]["throughput_hz"] > 1
    headers, (line,) = cells(report)
    ratio = float(line[headers.index("p50, ours / tool's")].removesuffix("x"))
    assert ratio == pytest.approx(row["p50_ms"] / row["tool"]["p50_ms"], abs=0.01)


def test_what_it_cannot_run_has_none() -> None:
    report = bench(scenario="single", precision="fp32", against="benchmark_app", budget_s=0.1)
    rows = {row["variant"]: row for row in report["rows"]}
    assert "tool" in rows["openvino/fp32"]
    assert "tool" not in rows["onnxruntime/fp32"]
    with pytest.raises(InputError, match="for --against benchmark_app, got onnxruntime/fp32"):
        bench(scenario="single", target="onnxruntime", against="benchmark_app", budget_s=0.1)


SAID = """\
[11/21/2026-10:00:00] [I] === Performance summary ===
[11/21/2026-10:00:00] [I] Throughput: 2500.5 qps
[11/21/2026-10:00:00] [I] Latency: min = 0.3 ms, max = 1.5 ms, mean = 0.41 ms, median = 0.4 ms, \
percentile(90%) = 0.5 ms, percentile(95%) = 0.6 ms, percentile(99%) = 0.9 ms
[11/21/2026-10:00:00] [I] Enqueue Time: min = 0.01 ms, max = 0.1 ms, median = 0.02 ms
[11/21/2026-10:00:00] [I] H2D Latency: min = 0.02 ms, max = 0.1 ms, median = 0.03 ms
&&&& PASSED TensorRT.trtexec
"""


@pytest.fixture
def reference_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Notes what it was asked for in the file that is given."""
    asked = tmp_path / "asked"
    program = tmp_path / "trtexec"
    program.write_text(f"#!/bin/sh\necho \"$@\" > {asked}\ncat <<'END'\n{SAID}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return asked


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
@pytest.mark.parametrize(("release", "flag"), [("10.16.1", True), ("11.2.1", False), (None, False)])
def test_trtexec_runs_the_typed_graph(
    reference_session: Path, monkeypatch: pytest.MonkeyPatch, release: str | None, flag: bool
) -> None:
    found = {} if release is None else {"tensorrt": release}
    monkeypatch.setattr(tools, "libraries", lambda names: found)
    told = trtexec(DEFAULT_BUNDLE, variant("onnxruntime/fp32"), 8, "latency", 3.0)
    assert (told.p50_ms, told.hz) == (0.4, 8 * 2500.5)
    asked = reference_session.read_text().split()
    assert "--shapes=images:8x128x128x3" in asked
    assert "--duration=3" in asked
    assert ("--stronglyTyped" in asked) is flag
    assert Path(next(a for a in asked if a.startswith("--onnx="))[7:]).is_file()


def test_without_trtexec_it_is_said_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="expected trtexec on PATH or as /usr/src"):
        trtexec(DEFAULT_BUNDLE, variant("onnxruntime/fp32"), 1, "latency", 1.0)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_a_tool_that_hangs_is_a_sentence(
    reference_session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference_session.with_name("trtexec").write_text("#!/bin/sh\nexec sleep 600\n")
    monkeypatch.setattr(tools, "_START_S", 0.0)
    with pytest.raises(EngineError, match="did not end within 1 s for onnxruntime/fp32"):
        trtexec(DEFAULT_BUNDLE, variant("onnxruntime/fp32"), 1, "latency", 1.0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends orphans")
def test_a_tool_ends_with_the_bench(reference_session: Path) -> None:
    script = f"#!/bin/sh\necho $$ > {reference_session}.new\n"
    script += f"mv {reference_session}.new {reference_session}\nexec sleep 600\n"
    reference_session.with_name("trtexec").write_text(script)
    code = """
from fer_edge import open_bundle
from fer_edge.benchmarks.references.vendor_tools import trtexec
from fer_edge.shipped import DEFAULT_BUNDLE
trtexec(DEFAULT_BUNDLE, open_bundle(DEFAULT_BUNDLE).variants[0], 1, "latency", 600.0)
"""
    bench = subprocess.Popen(python_command("-c", code))
    while not reference_session.exists() and bench.poll() is None:
        time.sleep(0.05)
    tool = psutil.Process(int(reference_session.read_text()))
    bench.terminate()
    bench.wait()
    for _ in range(100):
        try:
            ended = tool.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            ended = True
        if ended:
            return
        time.sleep(0.05)
    tool.kill()
    pytest.fail("the tool outlived the bench")
