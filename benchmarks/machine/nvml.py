"""What NVIDIA GPUs tell of themselves (NVML, through cuda-python): clock, temperature, energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GpuReading:
    """clock_mhz: of the multiprocessors. energy_mj: millijoules since the driver was loaded (Volta
    and later). None for what a GPU or its driver does not tell."""

    name: str
    clock_mhz: int | None
    temperature_c: int | None
    energy_mj: int | None


def gpus() -> list[GpuReading]:
    """The GPUs now, in NVML's order; none without a driver, or without cuda-python."""
    try:
        from cuda.bindings import nvml
    except ImportError:
        return []
    try:
        nvml.init_v2()
    except (nvml.NvmlError, RuntimeError):  # the latter if there is no library
        return []
    try:
        count = nvml.device_get_count_v2()
        return [_gpu(nvml, nvml.device_get_handle_by_index_v2(i)) for i in range(count)]
    except nvml.NvmlError:  # a GPU that was lost since
        return []
    finally:
        nvml.shutdown()


def _gpu(nvml: Any, handle: int) -> GpuReading:
    def told(ask: Callable[..., int], *what: int) -> int | None:
        try:
            return ask(handle, *what)
        except nvml.NvmlError:
            return None

    return GpuReading(
        nvml.device_get_name(handle),
        told(nvml.device_get_clock_info, nvml.ClockType.CLOCK_SM),
        told(nvml.device_get_temperature_v, nvml.TemperatureSensors.TEMPERATURE_GPU),
        told(nvml.device_get_total_energy_consumption),
    )
