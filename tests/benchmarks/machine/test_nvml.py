"""GPUs through NVML. Its library comes with a driver, so its answers are planted here: unrun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.machine import energy
from fer_edge.benchmarks.machine.environment import environment
from fer_edge.benchmarks.machine.nvml import GpuReading, gpus
from fer_edge.benchmarks.reports.columns import cells

nvml: Any = pytest.importorskip("cuda.bindings.nvml")


class Failure(nvml.NvmlError):  # type: ignore[misc]
    """NVML's errors ask its library for their words as they are made."""

    def __init__(self) -> None:
        pass


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """NVML's functions, with these answers; an exception is raised instead of given."""

    def plant(**answers: Any) -> None:
        usual = {
            "init_v2": None,
            "shutdown": None,
            "device_get_count_v2": 1,
            "device_get_handle_by_index_v2": 77,
            "device_get_name": "A GPU",
            "device_get_clock_info": 1500,
            "device_get_temperature_v": 60,
            "device_get_total_energy_consumption": 5_000,
        }
        for name, answer in {**usual, **answers}.items():

            def function(*given: object, answer: object = answer) -> object:
                if isinstance(answer, Exception):
                    raise answer
                return next(answer) if hasattr(answer, "__next__") else answer

            monkeypatch.setattr(nvml, name, function)

    return plant


def reading(energy_mj: int | None) -> GpuReading:
    return {"name": "A GPU", "clock_mhz": 1500, "temperature_c": 60, "energy_mj": energy_mj}


def test_clock_temperature_and_energy_are_told(planted: Callable[..., None]) -> None:
    planted(device_get_count_v2=2)
    assert gpus() == 2 * [reading(5_000)]
    assert environment()["gpus"][1] == reading(5_000)


def test_what_a_gpu_does_not_tell_is_none(planted: Callable[..., None]) -> None:
    planted(device_get_total_energy_consumption=Failure())
    assert gpus() == [reading(None)]


@pytest.mark.parametrize(
    "answers",
    [
        {"init_v2": Failure()},
        {"init_v2": RuntimeError("no libnvidia-ml.so")},
        {"device_get_handle_by_index_v2": Failure()},
    ],
)
def test_without_a_gpu_there_is_none(
    planted: Callable[..., None], answers: dict[str, Exception]
) -> None:
    planted(**answers)
    assert gpus() == []


def test_its_joules_count(planted: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    planted(device_get_total_energy_consumption=iter([5_000, 7_500]))
    monkeypatch.setattr(energy, "packages", lambda *_: {})
    with energy.Meter() as meter:
        assert meter.joules() == 2.5


def test_a_sustained_run_shows_its_clock(planted: Callable[..., None], fake_bundle: Path) -> None:
    planted()
    headers, (line,) = cells(bench(fake_bundle, scenario="sustained", budget_s=0.2))
    assert line[headers.index("GPU MHz")] == "1500 to 1500"
    assert line[headers.index("GPU C")] == "60 to 60"
