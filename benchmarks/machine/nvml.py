"""Readings of NVIDIA GPUs through NVML (cuda-python): clock, temperature, energy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypedDict


class GpuReading(TypedDict):
    """Reading of one GPU; None for values that are not reported."""

    name: str
    clock_mhz: Annotated[int | None, "Clock of the multiprocessors in MHz."]
    temperature_c: Annotated[int | None, "Degrees Celsius."]
    energy_mj: Annotated[int | None, "Millijoules since the driver was loaded (Volta and later)."]


def gpus() -> list[GpuReading]:
    """Return the GPUs in NVML's order; empty without a driver or cuda-python."""
    try:
        from cuda.bindings import nvml
    except ImportError:
        return []
    try:
        nvml.init_v2()
    except (nvml.NvmlError, RuntimeError):  # RuntimeError: NVML's library is not installed
        return []
    try:
        count = nvml.device_get_count_v2()
        return [_gpu(nvml, nvml.device_get_handle_by_index_v2(i)) for i in range(count)]
    except nvml.NvmlError:  # a GPU was lost since
        return []
    finally:
        nvml.shutdown()


def _gpu(nvml: Any, handle: int) -> GpuReading:
    def ask(query: Callable[..., int], *what: int) -> int | None:
        try:
            return query(handle, *what)
        except nvml.NvmlError:
            return None

    return {
        "name": nvml.device_get_name(handle),
        "clock_mhz": ask(nvml.device_get_clock_info, nvml.ClockType.CLOCK_SM),
        "temperature_c": ask(
            nvml.device_get_temperature_v, nvml.TemperatureSensors.TEMPERATURE_GPU
        ),
        "energy_mj": ask(nvml.device_get_total_energy_consumption),
    }
