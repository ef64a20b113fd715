"""A bench report: one row per variant and batch size, and nothing claimed without samples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from fer_edge.backends import fake
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES
from fer_edge.benchmarks.references.baselines import TORCH_EAGER
from fer_edge.benchmarks.reports.terminal import print_table
from fer_edge.errors import BundleError, EngineError, InputError, TargetError
from fer_edge.labels import EMOTIONS
from fer_edge.shipped import DEFAULT_CHECKPOINT
from fer_edge.training.checkpoint import Checkpoint, save_checkpoint
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec


def test_there_is_a_row_for_each_batch_size_and_it_is_plain_json(fake_bundle: Path) -> None:
    steps: set[str] = set()
    report = bench(fake_bundle, (1, 3), budget_s=30, step=lambda what, done, total: steps.add(what))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert [(row["variant"], row["batch"]) for row in report["rows"]] == [
        ("fake/fp32", 1),
        ("fake/fp32", 3),
    ]
    for row in report["rows"]:
        assert row["samples"] >= MIN_SAMPLES[99]
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert row["throughput_hz"] > 0
        assert set(row["split_ms"]) == {"preprocess", "infer", "postprocess"}
    assert steps == {"batch 1", "batch 3", "cold start"}
    assert set(report["cold_start"]) == {"fake/fp32"}
    assert report["refused"] == []


def test_too_few_samples_give_no_percentile(tmp_path: Path) -> None:
    """The budget is over after the first block, which is enough for a median and no more."""
    slow = write_fake_bundle(tmp_path / "slow.fer", latency_ms=30)
    report = bench(slow, (2,), budget_s=0.1)
    (row,) = report["rows"]
    assert MIN_SAMPLES[50] <= row["samples"] < MIN_SAMPLES[90]
    assert row["p50_ms"] >= 30
    assert (row["p90_ms"], row["p99_ms"]) == (None, None)
    assert 0 < row["throughput_hz"] < 67
    print_table(report)


def test_a_single_stream_goes_for_the_last_percentile_and_says_what_is_missing(
    fake_bundle: Path,
) -> None:
    report = bench(fake_bundle, scenario="single", budget_s=0.05)
    (row,) = report["rows"]
    assert row["p99_9_ms"] is None
    assert row["missing"]["p99_9_ms"] == MIN_SAMPLES[99.9] - row["samples"]
    assert len(row["latencies_ns"].split()) == row["samples"]
    print_table(report)
    report = bench(fake_bundle, scenario="single", budget_s=600)
    assert report["rows"][0]["p99_9_ms"] >= report["rows"][0]["p99_ms"]
    assert report["rows"][0]["missing"] == {}


@pytest.mark.parametrize(("scenario", "cameras"), [("stream", 1), ("multistream", 8)])
def test_a_stream_accounts_for_every_frame(fake_bundle: Path, scenario: str, cameras: int) -> None:
    report = bench(fake_bundle, scenario=scenario, hz=200, budget_s=0.5)
    (row,) = report["rows"]
    assert (row["batch"], row["frames"], row["deadline_ms"]) == (cameras, 100, 5)
    assert row["frames"] == row["samples"] + row["dropped"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    print_table(report)


def test_filters_leave_the_rest_alone(
    fake_bundle: Path, with_foreign_variant: Callable[[Path], Path]
) -> None:
    bundle = with_foreign_variant(fake_bundle)
    report = bench(bundle, (1,), target="fake", precision="fp32", budget_s=0.1)
    assert report["refused"] == []
    with pytest.raises(TargetError, match=r"int8.*fake/fp32"):
        bench(bundle, (1,), precision="int8")


def test_a_variant_that_cannot_run_here_is_said_to_be_refused(
    fake_bundle: Path, with_foreign_variant: Callable[[Path], Path]
) -> None:
    report = bench(with_foreign_variant(fake_bundle), (1,), budget_s=0.1)
    assert {row["variant"] for row in report["rows"]} == {"fake/fp32"}
    (refused,) = report["refused"]
    assert refused["variant"] == "somechip/fp32"
    assert "somechip" in refused["reason"]


def test_variants_that_cannot_run_are_each_named_once(
    fake_bundle: Path,
    with_foreign_variant: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fake, "preflight", lambda *_: "no such chip")
    path = with_foreign_variant(fake_bundle)
    with pytest.raises(TargetError) as error:
        bench(path, (1,), budget_s=0.1)
    said = str(error.value)
    assert said.startswith(f"expected a variant of {path} that runs here, but fake/fp32: no such")
    assert [said.count(name) for name in ("fake/fp32", "somechip/fp32")] == [1, 1]
    assert said.endswith("To see what runs here: fer-edge doctor")


def test_a_simulator_is_timed_by_name_alone(
    fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In turns with it, the other variants get a sample for each of its slow answers."""
    monkeypatch.setattr(fake, "simulates", lambda _: "simulator of a chip", raising=False)
    with pytest.raises(TargetError, match=r"fake/fp32: would run on the simulator.* target 'fake'"):
        bench(fake_bundle, (1,), budget_s=0.1)
    report = bench(fake_bundle, (1,), target="fake", budget_s=0.1)
    assert report["executed"][0]["simulator"] == "simulator of a chip"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    spec = ModelSpec("test_byobnet", EMOTIONS, InputSpec(48, "grey", (0.5,), (0.25,)))
    save_checkpoint(Checkpoint(ExpressionNet(spec).eval()), tmp_path / "best")
    return tmp_path / "best"


def test_a_checkpoint_is_the_baseline_that_variants_are_compared_with(
    fake_bundle: Path, checkpoint: Path
) -> None:
    report = bench(fake_bundle, (1,), checkpoint=checkpoint, budget_s=1)
    rows = {row["variant"]: row for row in report["rows"]}
    assert set(rows) == {"fake/fp32", TORCH_EAGER}
    speedup = rows["fake/fp32"]["speedup"][TORCH_EAGER]
    assert speedup["low"] <= speedup["ratio"] <= speedup["high"]
    assert "speedup" not in rows[TORCH_EAGER]
    assert all(row["alone_p50_ms"] > 0 for row in report["rows"])
    json.dumps(report, allow_nan=False)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_torch_compile_takes_its_turns(fake_bundle: Path, checkpoint: Path) -> None:
    report = bench(fake_bundle, (1,), checkpoint=checkpoint, against="torch.compile", budget_s=1)
    rows = {row["variant"]: row for row in report["rows"]}
    assert set(rows) == {"fake/fp32", TORCH_EAGER, "torch.compile"}
    assert set(rows["fake/fp32"]["speedup"]) == {TORCH_EAGER, "torch.compile"}


def test_torch_compile_needs_a_checkpoint_and_a_compiler(
    fake_bundle: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="--checkpoint"):
        bench(fake_bundle, (1,), against="torch.compile", budget_s=0.1)
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(EngineError, match="cannot run"):
        bench(fake_bundle, (1,), checkpoint=checkpoint, against="torch.compile", budget_s=0.1)


@pytest.mark.parametrize(
    ("options", "measured"),
    [
        ({}, True),
        ({"against": "torch.compile", "target": "openvino"}, True),
        ({"target": "openvino"}, False),
        ({"precision": "fp32"}, False),
        ({"scenario": "single"}, False),
    ],
)
def test_the_shipped_checkpoint_is_the_default_of_a_complete_batch_run(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str], measured: bool
) -> None:
    """Everything is opened and nothing is timed."""
    checkpoints = []

    def references(checkpoint: Path | None, *_: object) -> NoReturn:
        checkpoints.append(checkpoint)
        raise EngineError("enough")

    monkeypatch.setattr("fer_edge.benchmarks.bench._references", references)
    with pytest.raises(EngineError, match="enough"):
        bench(**options)
    assert checkpoints == [DEFAULT_CHECKPOINT if measured else None]


@pytest.mark.parametrize("sizes", [(), (0,), (1, -8)])
def test_batch_sizes_have_to_be_positive(fake_bundle: Path, sizes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        bench(fake_bundle, sizes)


def test_a_batch_size_is_measured_once(fake_bundle: Path) -> None:
    """A comparison could not tell its two rows apart."""
    with pytest.raises(InputError, match=r"once, got \[8, 1\] more than once.*--batch-sizes"):
        bench(fake_bundle, (8, 1, 4, 1, 8), budget_s=0.1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch_sizes": (1, 10**24)}, "at most 4,096, got"),
        ({"budget_s": 1e308}, "--budget-s from 0 to 2,592,000, got 1e"),
        ({"budget_s": float("nan")}, "--budget-s from 0"),
        ({"hz": 1e-300}, "--hz from 0.001 to 10,000, got 1e-300"),
        ({"deadline_ms": 1e305}, "--deadline-ms from 0 to 86,400,000"),
    ],
)
def test_numbers_have_bounds(fake_bundle: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        bench(fake_bundle, scenario="stream", **arguments)


@pytest.mark.parametrize(
    ("scenario", "arguments", "said"),
    [
        ("stream", {"checkpoint": "x"}, "--checkpoint with batch or single, got stream. Leave"),
        ("coldstart", {"batch_sizes": (32,)}, "--batch-sizes with batch or contended or"),
        ("batch", {"hz": 30}, "--hz with multistream or stream"),
        ("offline", {"deadline_ms": 9}, "--deadline-ms with multistream or stream"),
        ("memory", {"against": "trtexec"}, "--against with batch or single"),
    ],
)
def test_an_option_that_the_scenario_does_not_use_is_refused(
    fake_bundle: Path, scenario: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        bench(fake_bundle, scenario=scenario, **arguments)


@pytest.mark.parametrize("tool", ["benchmark_app", "trtexec"])
def test_a_tool_needs_a_variant_that_it_runs(fake_bundle: Path, tool: str) -> None:
    with pytest.raises(InputError, match=f"for --against {tool}, got fake/fp32"):
        bench(fake_bundle, (1,), against=tool, budget_s=0.1)


@pytest.mark.parametrize("against", ["no_such_module:infer", "torch.compile"])
def test_no_process_outlives_a_reference_that_cannot_be_opened(
    fake_bundle: Path, monkeypatch: pytest.MonkeyPatch, against: str
) -> None:
    running: list[object] = []

    class Child:
        def __init__(self, checkpoint: str, *, compiled: bool) -> None:
            if compiled:
                raise EngineError("no compiler")
            running.append(self)

        def close(self) -> None:
            running.remove(self)

    monkeypatch.setattr("fer_edge.benchmarks.bench.ChildReference", Child)
    with pytest.raises((InputError, EngineError)):
        bench(fake_bundle, (1,), checkpoint="best", against=against, budget_s=0.1)
    assert running == []


def test_a_slow_camera_does_not_outlast_the_budget(fake_bundle: Path) -> None:
    (row,) = bench(fake_bundle, scenario="stream", hz=0.001, budget_s=0.1)["rows"]
    assert (row["frames"], row["samples"], row["jitter_ms"]) == (1, 1, None)


def test_a_damaged_bundle_is_not_measured(fake_bundle: Path) -> None:
    (fake_bundle / "fake-fp32" / "answers.json").write_bytes(b"{}")
    with pytest.raises(BundleError):
        bench(fake_bundle, (1,), budget_s=0.1)
