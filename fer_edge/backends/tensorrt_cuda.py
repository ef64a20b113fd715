"""CUDA calls of the TensorRT backend, and buffers of one call."""

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
from fer_edge.errors import EngineError, TargetError
from fer_edge.libraries import needed

_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Gpu:
    """NVIDIA GPU of this machine.

    Attributes:
        index: CUDA's number of the device.
        name: Product name.
        capability: Compute capability, such as ``sm_86``.
        driver: Newest CUDA that the driver runs, and on Linux the driver's number.
    """

    index: int
    name: str
    capability: str
    driver: str


def gpu(index: int = 0) -> Gpu:
    """Return a GPU of this machine.

    Args:
        index: CUDA's number of the device.

    Raises:
        TargetError: There is no such GPU, or its driver fails.
        MissingDependencyError: cuda-python is not installed.
    """
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
        raise TargetError(f"the NVIDIA GPU does not report its properties: {failed}") from failed
    return Gpu(
        index,
        properties.name.decode().rstrip("\0"),
        f"sm_{properties.major}{properties.minor}",
        "-".join([f"{driver // 1000}.{driver % 1000 // 10}", *_driver_number()]),
    )


def _driver_number() -> list[str]:
    """Return the driver's number: engines may depend on more than its CUDA version."""
    try:
        number = re.search(r"\b\d+\.\d+(\.\d+)?\b", _DRIVER.read_text("utf-8", "replace"))
    except OSError:
        return []
    return [number[0]] if number else []


def _cuda() -> Any:
    with needed("cuda-python", "tensorrt"):
        from cuda.bindings import runtime
    return runtime


def _checked(result: tuple[Any, ...]) -> Any:
    """Return the value of a CUDA call. Raises EngineError with CUDA's message."""
    error, *values = result
    cuda = _cuda()
    if error != cuda.cudaError_t.cudaSuccess:
        raise EngineError(f"CUDA failed: {cuda.cudaGetErrorString(error)[1].decode()}")
    return values[0] if len(values) == 1 else values


@dataclass(frozen=True)
class _Buffer:
    """Memory of one tensor: a pinned array on the host, and a device buffer."""

    name: str
    host: npt.NDArray[Any]
    pinned: int
    device: int

    def bytes_of(self, count: int) -> int:
        return self.host[:count].nbytes


@dataclass(frozen=True)
class DeviceTimes:
    """Times of a batch by the clock of the GPU.

    Attributes:
        to_device_ms: Milliseconds of the copy to the GPU.
        network_ms: Milliseconds of the network.
        from_device_ms: Milliseconds of the copies back.
    """

    to_device_ms: float
    network_ms: float
    from_device_ms: float


class Slot:
    """Execution context, stream and buffers for one call at a time.

    The constructor allocates everything for the largest batch, and raises EngineError if it cannot.
    For a fixed batch size, copies and network are captured once and launched as one CUDA graph.
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
        """Run a batch of at most ``profile.max`` faces.

        A batch below ``profile.min`` is filled up with old faces, whose outputs are dropped.
        """
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
        """Time one run with events on the stream, without the CUDA graph."""
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
        """Enqueue copies and network.

        ``mark`` is called before the copy to the device, before the network, after the network, and
        after the copies back.
        """
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
        """Record a run of the fixed batch as a CUDA graph.

        A run before it is not recorded: engines allocate and specialise in their first run.
        """
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
        """Free everything; errors are ignored, since nothing can be done about them."""
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
