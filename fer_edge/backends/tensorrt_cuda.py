"""The CUDA calls of the TensorRT backend: which GPU there is, and one caller's buffers on it."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Batch, Outputs
from fer_edge.backends.tensorrt_compile import Profile
from fer_edge.errors import EngineError, MissingDependencyError, TargetError

_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Gpu:
    """capability: ``sm_86``. driver: the newest CUDA that it runs, and on Linux its own number."""

    index: int
    name: str
    capability: str
    driver: str


def gpu(index: int = 0) -> Gpu:
    """The GPU in this machine. Raises TargetError, and MissingDependencyError without
    cuda-python."""
    cuda = _cuda()
    error, count = cuda.cudaGetDeviceCount()
    if error != cuda.cudaError_t.cudaSuccess:
        reason = cuda.cudaGetErrorString(error)[1].decode()
        raise TargetError(f"there is no NVIDIA GPU that can be used here: {reason}")
    if index >= count:
        raise TargetError(f"there is no device cuda:{index}, only cuda:0 to cuda:{count - 1}")
    try:
        properties = _checked(cuda.cudaGetDeviceProperties(index))
        driver = int(_checked(cuda.cudaDriverGetVersion()))
    except EngineError as failed:
        raise TargetError(f"the NVIDIA GPU cannot be asked what it is: {failed}") from failed
    return Gpu(
        index,
        properties.name.decode().rstrip("\0"),
        f"sm_{properties.major}{properties.minor}",
        "-".join([f"{driver // 1000}.{driver % 1000 // 10}", *_driver_number()]),
    )


def _driver_number() -> list[str]:
    """Engines may depend on more of a driver than the CUDA version that it offers."""
    try:
        found = re.search(r"\b\d+\.\d+(\.\d+)?\b", _DRIVER.read_text("utf-8", "replace"))
    except OSError:
        return []
    return [found[0]] if found else []


def _cuda() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise MissingDependencyError("cuda-python", "tensorrt") from error
    return runtime


def _checked(result: tuple[Any, ...]) -> Any:
    """The value of a CUDA call. Raises EngineError with CUDA's own words."""
    error, *values = result
    cuda = _cuda()
    if error != cuda.cudaError_t.cudaSuccess:
        raise EngineError(f"CUDA failed: {cuda.cudaGetErrorString(error)[1].decode()}")
    return values[0] if len(values) == 1 else values


@dataclass(frozen=True)
class _Buffer:
    """One tensor: pinned host memory as an array over it, and as much on the device."""

    name: str
    host: npt.NDArray[Any]
    pinned: int
    device: int

    def bytes_of(self, count: int) -> int:
        return self.host[:count].nbytes


@dataclass(frozen=True)
class DeviceTimes:
    """What a batch took on the device, by its own clock."""

    to_device_ms: float
    network_ms: float
    from_device_ms: float


class Slot:
    """An execution context with its stream and buffers, for one caller at a time.

    Everything is allocated here, for the largest batch; with a fixed batch the copies and the
    network are captured once and then launched as one CUDA graph. Raises EngineError.
    """

    def __init__(self, trt: Any, engine: Any, profile: Profile, device: int) -> None:
        self._cuda = _cuda()
        self._profile, self._device = profile, device
        self._buffers: list[_Buffer] = []
        self._stream: Any = None
        self._graph: Any = None
        _checked(self._cuda.cudaSetDevice(device))
        try:
            self._stream = _checked(
                self._cuda.cudaStreamCreateWithFlags(self._cuda.cudaStreamNonBlocking)
            )
            self._context = engine.create_execution_context()
            if self._context is None:
                raise EngineError("TensorRT could not make an execution context: too little memory")
            for i in range(engine.num_io_tensors):
                name = engine.get_tensor_name(i)
                shape = (profile.max, *tuple(engine.get_tensor_shape(name))[1:])
                kind = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
                self._buffers.append(self._allocated(name, shape, kind))
                self._context.set_tensor_address(name, self._buffers[-1].device)
            self._by_name = {buffer.name: buffer for buffer in self._buffers}
            if profile.fixed:
                self._capture()
        except BaseException:
            self.close()
            raise

    def _allocated(self, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> _Buffer:
        size = math.prod(shape) * kind.itemsize
        pinned = int(_checked(self._cuda.cudaHostAlloc(size, self._cuda.cudaHostAllocDefault)))
        try:
            device = int(_checked(self._cuda.cudaMalloc(size)))
        except EngineError:
            self._cuda.cudaFreeHost(pinned)
            raise
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pinned))
        host = memory.view(kind).reshape(shape)
        return _Buffer(name, host, pinned, device)

    def run(self, batch: Batch) -> Outputs:
        """probabilities and embedding of at most ``profile.max`` faces; below ``profile.min`` the
        rest of the batch is what was there before, and is not given back."""
        count = len(batch)
        _checked(self._cuda.cudaSetDevice(self._device))
        self._by_name["images"].host[:count] = batch
        if self._graph is not None:
            _checked(self._cuda.cudaGraphLaunch(self._graph, self._stream))
        else:
            self._enqueue(max(count, self._profile.min))
        _checked(self._cuda.cudaStreamSynchronize(self._stream))
        return (
            self._by_name["probabilities"].host[:count].copy(),
            self._by_name["embedding"].host[:count].copy(),
        )

    def device_ms(self, batch: Batch) -> DeviceTimes:
        """One run as ``run`` does it, timed by events on the stream, and never as a CUDA graph."""
        count = len(batch)
        _checked(self._cuda.cudaSetDevice(self._device))
        self._by_name["images"].host[:count] = batch
        events: list[Any] = []

        def mark() -> None:
            events.append(_checked(self._cuda.cudaEventCreate()))
            _checked(self._cuda.cudaEventRecord(events[-1], self._stream))

        try:
            self._enqueue(max(count, self._profile.min), mark)
            _checked(self._cuda.cudaStreamSynchronize(self._stream))
            return DeviceTimes(
                *(
                    float(_checked(self._cuda.cudaEventElapsedTime(one, next_one)))
                    for one, next_one in itertools.pairwise(events)
                )
            )
        finally:
            for event in events:
                self._cuda.cudaEventDestroy(event)

    def _enqueue(self, count: int, mark: Callable[[], None] = lambda: None) -> None:
        """mark: called before the faces go to the device, before the network, after it, and when
        its answers are back."""
        kinds = self._cuda.cudaMemcpyKind
        images = self._by_name["images"]
        self._context.set_input_shape("images", (count, *images.host.shape[1:]))
        mark()
        _checked(
            self._cuda.cudaMemcpyAsync(
                images.device,
                images.pinned,
                images.bytes_of(count),
                kinds.cudaMemcpyHostToDevice,
                self._stream,
            )
        )
        mark()
        if not self._context.execute_async_v3(int(self._stream)):
            raise EngineError(f"TensorRT could not run a batch of {count}")
        mark()
        for buffer in self._buffers:
            if buffer is not images:
                _checked(
                    self._cuda.cudaMemcpyAsync(
                        buffer.pinned,
                        buffer.device,
                        buffer.bytes_of(count),
                        kinds.cudaMemcpyDeviceToHost,
                        self._stream,
                    )
                )
        mark()

    def _capture(self) -> None:
        """Record one run of the fixed batch as a graph. The first run is not recorded: engines
        allocate and specialise in it."""
        self._enqueue(self._profile.max)
        _checked(self._cuda.cudaStreamSynchronize(self._stream))
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is not None and not capturable(int(self._stream)):
            return
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _checked(self._cuda.cudaStreamBeginCapture(self._stream, mode))
        try:
            self._enqueue(self._profile.max)
        finally:
            recorded = self._cuda.cudaStreamEndCapture(self._stream)
        recorded = _checked(recorded)
        try:
            self._graph = _checked(self._cuda.cudaGraphInstantiate(recorded, 0))
        finally:
            self._cuda.cudaGraphDestroy(recorded)

    def close(self) -> None:
        """Give all of it back. Errors are not looked at: there is nothing left to do about them."""
        with contextlib.suppress(EngineError):
            _checked(self._cuda.cudaSetDevice(self._device))
        if self._stream is not None:
            self._cuda.cudaStreamSynchronize(self._stream)
        if self._graph is not None:
            self._cuda.cudaGraphExecDestroy(self._graph)
        self._context = None
        for buffer in self._buffers:
            self._cuda.cudaFree(buffer.device)
            self._cuda.cudaFreeHost(buffer.pinned)
        if self._stream is not None:
            self._cuda.cudaStreamDestroy(self._stream)
        self._graph = self._stream = None
        self._buffers = []
