"""The GPU's own clock in a report. No GPU here: sessions and their times are planted; unrun."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from fer_edge.backends.tensorrt import FACTS, TensorRtSession
from fer_edge.backends.tensorrt_compile import Profile
from fer_edge.backends.tensorrt_cuda import DeviceTimes
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.references import device_clock as device
from fer_edge.benchmarks.references.device_clock import device_ms


class Slot:
    """Its network takes 1 ms in the first call, 2 in the second, and so on."""

    def __init__(self) -> None:
        self.calls = count(1)
        self.closed = 0

    def device_ms(self, batch: object) -> DeviceTimes:
        return DeviceTimes(0.1, float(next(self.calls)), 0.2)

    def close(self) -> None:
        self.closed += 1


def job(bundle: Path) -> Job:
    return Job(bundle, 48, {}, (1,), 1.0, lambda what, done, total: None)


def test_medians_of_many_calls(fake_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = Slot()
    session = TensorRtSession(lambda: slot, Profile(1, 1, 8))  # type: ignore[arg-type,return-value]
    variant = SimpleNamespace(name="tensorrt/fp16", target="tensorrt")
    content = SimpleNamespace(variants=[variant], read=lambda variant: {})
    monkeypatch.setattr(device, "open_bundle", lambda path: content)
    loads = SimpleNamespace(FACTS=FACTS, load=lambda variant, files, options: session)
    monkeypatch.setattr(device, "backend", lambda target: loads)
    found = device_ms(job(fake_bundle), "tensorrt/fp16", 4)
    assert found == {"to_device_ms": 0.1, "network_ms": 25.5, "from_device_ms": 0.2}
    assert slot.closed == 1


def test_what_runs_on_no_device_has_none(fake_bundle: Path) -> None:
    assert device_ms(job(fake_bundle), "fake/fp32", 4) is None
