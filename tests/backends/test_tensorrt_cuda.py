"""TensorRT's sessions and CUDA calls, with a stand-in for cuda.bindings in host memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fer_edge.backends import tensorrt as backend
from fer_edge.backends import tensorrt_cuda as cuda
from fer_edge.backends.base import Batch, Outputs
from fer_edge.backends.tensorrt_compile import Profile
from fer_edge.errors import EngineError

PROFILE = Profile(1, 1, 8)

# --- callers, parts, closing ---------------------------------------------------------------------


class FakeSlot:
    """Answers with the first value of each face, and complains about two callers at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.closed = False
        self._busy = threading.Lock()

    def run(self, batch: Batch) -> Outputs:
        assert self._busy.acquire(blocking=False), "two callers in one slot"
        assert not self.closed
        time.sleep(0.002)
        self.sizes.append(len(batch))
        first = batch[:, 0, 0, :1].astype(np.float32)
        self._busy.release()
        return first, first

    def device_ms(self, batch: Batch) -> cuda.DeviceTimes:
        return cuda.DeviceTimes(0, float(len(batch)), 0)

    def close(self) -> None:
        self.closed = True


def numbered(count: int, start: int = 0) -> Batch:
    faces = np.zeros((count, 4, 4, 3), np.uint8)
    faces[:, 0, 0, 0] = np.arange(start, start + count)
    return faces


def test_a_batch_beyond_the_profile_runs_in_parts() -> None:
    made: list[FakeSlot] = []
    session = backend.TensorRtSession(lambda: made.append(FakeSlot()) or made[-1], PROFILE)  # type: ignore[func-returns-value]
    probabilities, _ = session.run(numbered(19))
    assert probabilities[:, 0].tolist() == list(range(19))
    assert made[0].sizes == [8, 8, 3]


def test_the_devices_clock_is_asked_for_the_profiles_largest_batch_at_most() -> None:
    session = backend.TensorRtSession(FakeSlot, PROFILE)
    assert session.device_ms(numbered(19)).network_ms == PROFILE.max
    assert session.device_ms(numbered(2)).network_ms == 2


def test_parallel_callers_have_slots_of_their_own_up_to_a_limit() -> None:
    made: list[FakeSlot] = []
    session = backend.TensorRtSession(lambda: made.append(FakeSlot()) or made[-1], PROFILE)  # type: ignore[func-returns-value]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda i: session.run(numbered(3, i))[0][:, 0].tolist(), range(60)))
    assert answers == [[i, i + 1, i + 2] for i in range(60)]
    assert 1 < len(made) <= backend.MAX_CALLERS
    session.close()
    assert all(slot.closed for slot in made)
    with pytest.raises(EngineError, match="closed"):
        session.run(numbered(1))


def test_close_frees_a_slot_in_use_when_it_comes_back() -> None:
    slot = FakeSlot()
    entered, leave = threading.Event(), threading.Event()

    def run(batch: Batch) -> Outputs:
        entered.set()
        leave.wait()
        return batch[:, 0, 0, :1].astype(np.float32), np.zeros((len(batch), 1), np.float32)

    slot.run = run  # type: ignore[method-assign]
    session = backend.TensorRtSession(lambda: slot, PROFILE)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run, numbered(1))
        entered.wait()
        session.close()
        assert not slot.closed
        leave.set()
        running.result()
    assert slot.closed


# --- the CUDA calls, on memory of this machine ---------------------------------------------------


class FakeCuda:
    """cuda.bindings.runtime in host memory: every allocation has to come back."""

    cudaStreamNonBlocking = 1  # noqa: N815
    cudaHostAllocDefault = 0  # noqa: N815
    cudaError_t = SimpleNamespace(cudaSuccess=0)  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815

    def __init__(self, allocations: int = 10**6) -> None:
        self.memory: dict[int, np.ndarray[Any, Any]] = {}
        self.alive: list[str] = []
        self.launches = 0
        self.clock_ms = 0.0
        self.recording: list[Callable[[], None]] | None = None
        self._left = allocations

    def do(self, work: Callable[[], None]) -> None:
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def _allocate(self, size: int) -> tuple[int, int]:
        self._left -= 1
        if self._left < 0:
            return 2, 0
        array = np.zeros(size, np.uint8)
        self.memory[array.ctypes.data] = array
        return 0, array.ctypes.data

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[int, int]:  # noqa: N802
        return self._allocate(size)

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        return self._allocate(size)

    def cudaFree(self, pointer: int) -> tuple[int]:  # noqa: N802
        del self.memory[pointer]
        return (0,)

    cudaFreeHost = cudaFree  # noqa: N815

    def cudaMemcpyAsync(  # noqa: N802
        self, to: int, source: int, size: int, kind: int, stream: int
    ) -> tuple[int]:
        def copy() -> None:
            self.clock_ms += kind  # 1 ms there, 2 ms back
            self.memory[to][:size] = self.memory[source][:size]

        self.do(copy)
        return (0,)

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:  # noqa: N802
        return 0, b"out of memory"

    def cudaSetDevice(self, index: int) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:  # noqa: N802
        self.alive.append("stream")
        return 0, 7

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:  # noqa: N802
        self.alive.remove("stream")
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaEventCreate(self) -> tuple[int, list[float]]:  # noqa: N802
        self.alive.append("event")
        return 0, []

    def cudaEventRecord(self, event: list[float], stream: int) -> tuple[int]:  # noqa: N802
        event.append(self.clock_ms)
        return (0,)

    def cudaEventElapsedTime(  # noqa: N802
        self, one: list[float], other: list[float]
    ) -> tuple[int, float]:
        return 0, other[0] - one[0]

    def cudaEventDestroy(self, event: list[float]) -> tuple[int]:  # noqa: N802
        self.alive.remove("event")
        return (0,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:  # noqa: N802
        self.recording = []
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, Any]:  # noqa: N802
        recorded, self.recording = self.recording, None
        return 0, recorded

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[int, Any]:  # noqa: N802
        self.alive.append("graph")
        return 0, graph

    def cudaGraphDestroy(self, graph: Any) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaGraphExecDestroy(self, graph: Any) -> tuple[int]:  # noqa: N802
        self.alive.remove("graph")
        return (0,)

    def cudaGraphLaunch(self, graph: Any, stream: int) -> tuple[int]:  # noqa: N802
        self.launches += 1
        for work in graph:
            work()
        return (0,)


class FakeEngine:
    """Engine and context in one.

    The probabilities are the first byte of each face, the embedding is twice that.
    """

    shapes: dict[str, tuple[int, ...]] = {
        "images": (-1, 4, 4, 3),
        "probabilities": (-1, 1),
        "embedding": (-1, 2),
    }
    num_io_tensors = 3

    def __init__(self, device: FakeCuda) -> None:
        self.device = device
        self.at: dict[str, int] = {}
        self.batches: list[int] = []

    def get_tensor_name(self, i: int) -> str:
        return list(self.shapes)[i]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_dtype(self, name: str) -> Any:
        return np.uint8 if name == "images" else np.float32

    def create_execution_context(self) -> FakeEngine:
        return self

    def set_tensor_address(self, name: str, pointer: int) -> None:
        self.at[name] = pointer

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self.batches.append(shape[0])

    def execute_async_v3(self, stream: int) -> bool:
        count = self.batches[-1]

        def compute() -> None:
            self.device.clock_ms += 10
            faces = self.device.memory[self.at["images"]].reshape(-1, 48)[:count, :1]
            values = faces.astype(np.float32)
            self.device.memory[self.at["probabilities"]].view(np.float32)[:count] = values[:, 0]
            both = np.repeat(values, 2, axis=1).ravel()
            self.device.memory[self.at["embedding"]].view(np.float32)[: 2 * count] = both

        self.device.do(compute)
        return True


FAKE_TRT = SimpleNamespace(nptype=lambda kind: kind)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(cuda, "_cuda", lambda: fake)
    return fake


@pytest.mark.parametrize("profile", [Profile(1, 1, 8), Profile(3, 4, 8), Profile(8, 8, 8)])
def test_a_slot_answers_any_batch_and_gives_its_memory_back(
    device: FakeCuda, profile: Profile
) -> None:
    engine = FakeEngine(device)
    slot = cuda.Slot(FAKE_TRT, engine, profile, 0)
    held = len(device.memory)
    kept = []
    for count in (8, 1, 5):
        probabilities, embedding = slot.run(numbered(count, start=count))
        assert probabilities[:, 0].tolist() == list(range(count, 2 * count))
        assert embedding.shape == (count, 2)
        kept.append((probabilities, probabilities.copy()))
    assert all(np.array_equal(given, copy) for given, copy in kept)  # the caller owns them
    assert min(engine.batches) >= profile.min
    assert len(device.memory) == held == 6  # nothing is allocated after the start
    assert device.launches == (3 if profile.fixed else 0)
    slot.close()
    assert not device.memory
    assert not device.alive


@pytest.mark.parametrize("profile", [Profile(1, 1, 8), Profile(8, 8, 8)])
def test_the_devices_clock_tells_copies_from_the_network(
    device: FakeCuda, profile: Profile
) -> None:
    slot = cuda.Slot(FAKE_TRT, FakeEngine(device), profile, 0)
    took = slot.device_ms(numbered(3))
    assert took == cuda.DeviceTimes(to_device_ms=1, network_ms=10, from_device_ms=4)
    assert device.launches == 0
    assert "event" not in device.alive
    slot.close()
    assert not device.alive


@pytest.mark.parametrize("allocations", range(6))
def test_a_gpu_that_is_full_is_an_error_and_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, allocations: int
) -> None:
    fake = FakeCuda(allocations)
    monkeypatch.setattr(cuda, "_cuda", lambda: fake)
    with pytest.raises(EngineError, match="out of memory"):
        cuda.Slot(FAKE_TRT, FakeEngine(fake), PROFILE, 0)
    assert not fake.memory
    assert not fake.alive
