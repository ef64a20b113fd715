"""Joules from counters that start again, and the column that shows them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.machine import energy
from fer_edge.benchmarks.reports.columns import cells

LIMIT = 262_143_328_850


def zone(root: Path, name: str, kind: str, count: object) -> None:
    (root / name).mkdir(exist_ok=True)
    (root / name / "name").write_text(f"{kind}\n")
    (root / name / "energy_uj").write_text(f"{count}\n")
    (root / name / "max_energy_range_uj").write_text(f"{LIMIT}\n")


def test_packages_are_counted_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    zone(tmp_path, "intel-rapl:1", "package-1", 7)
    zone(tmp_path, "intel-rapl:0:0", "core", 3)
    zone(tmp_path, "intel-rapl:2", "psys", 100)
    zone(tmp_path, "intel-rapl:3", "package-3", "not a number")
    assert energy.counters(tmp_path) == {"intel-rapl:0": (5, LIMIT), "intel-rapl:1": (7, LIMIT)}


def test_a_machine_without_counters_has_no_figure(tmp_path: Path) -> None:
    assert energy.counters(tmp_path / "none") == {}
    with energy.Meter() as meter:
        assert meter.joules() is None


@given(st.integers(0, LIMIT), st.lists(st.integers(0, LIMIT), min_size=1, max_size=9))
def test_a_counter_may_start_again_between_readings(start: int, spent: list[int]) -> None:
    counts = [(start + sum(spent[:i])) % (LIMIT + 1) for i in range(len(spent) + 1)]
    readings = iter(
        [{"a": (n, LIMIT), **({"gone": (1, LIMIT)} if not i else {})} for i, n in enumerate(counts)]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(energy, "counters", lambda: next(readings))
        with energy.Meter() as meter:
            joules = [meter.joules() for _ in spent][-1]
    assert joules == pytest.approx(sum(spent) / 1e6)


def test_a_meter_reads_while_the_call_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter turns twice before the end: an hour at 150 W."""
    readings = iter([0, LIMIT // 2, LIMIT, LIMIT // 3])
    last = threading.Event()

    def reading() -> energy.Counters:
        count = next(readings, LIMIT // 3)
        if count == LIMIT // 3:
            last.set()
        return {"a": (count, LIMIT)}

    monkeypatch.setattr(energy, "INTERVAL_S", 0.001)
    monkeypatch.setattr(energy, "packages", reading)
    monkeypatch.setattr(
        energy, "counters", lambda: {"a": (LIMIT // 3 if last.is_set() else 0, LIMIT)}
    )
    with energy.Meter() as meter:
        assert last.wait(60)
        monkeypatch.setattr(energy, "INTERVAL_S", 600)
        assert meter.joules() == pytest.approx((LIMIT + 1 + LIMIT // 3) / 1e6)


@pytest.mark.parametrize("scenario", ["offline", "sustained", "stream"])
def test_the_report_has_millijoules_a_face_where_they_are_counted(
    fake_bundle: Path, monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    def of() -> dict[str, Any]:
        return bench(fake_bundle, (2,), scenario=scenario, budget_s=0.2)

    monkeypatch.setattr(energy, "counters", dict)
    without = of()
    assert without["rows"][0]["energy_j"] is None
    assert "mJ per face" not in cells(without)[0]
    readings = iter([{"a": (0, LIMIT)}, {"a": (3_000_000, LIMIT)}])
    monkeypatch.setattr(energy, "counters", lambda: next(readings))
    (row,) = (report := of())["rows"]
    assert row["energy_j"] == 3
    headers, (line,) = cells(report)
    assert float(line[headers.index("mJ per face")]) == pytest.approx(3000 / row["faces"], abs=0.01)
