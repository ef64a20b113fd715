"""TensorRT's compiler, for the workstation and for the device.

``tensorrt`` is used if it is installed, else ``tensorrt_rtx``. ``tensorrt`` compiles for the GPU in
the machine, ``tensorrt_rtx`` also for absent ones. Both compile strongly typed networks only.
"""

from __future__ import annotations

import functools
import importlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fer_edge.errors import EngineError
from fer_edge.progress import Step


@dataclass(frozen=True)
class Profile:
    """Batch sizes of an engine.

    Attributes:
        min: Fewest faces.
        opt: Faces that the engine is tuned for.
        max: Most faces.
    """

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        values = (self.min, self.opt, self.max)
        if any(isinstance(v, bool) or not isinstance(v, int) for v in values) or not (
            1 <= self.min <= self.opt <= self.max <= 2**16
        ):
            raise EngineError(f"expected 1 <= min <= opt <= max faces in a batch, got {values}")

    @property
    def fixed(self) -> bool:
        """The engine has one batch size."""
        return self.min == self.max


@dataclass(frozen=True)
class Compiled:
    """Compiled engine.

    Attributes:
        engine: The engine.
        log: Messages of the builder.
        timings: Timing cache of the builder; empty if the library has none.
    """

    engine: bytes
    log: str
    timings: bytes = b""


@functools.cache
def library() -> Any | None:
    """Return the TensorRT module of this machine, or None.

    From the package index, ``tensorrt`` may install without its libraries; its import then fails.
    """
    for name in ("tensorrt", "tensorrt_rtx"):
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError):
            continue
    return None


def known_gpus(trt: Any) -> tuple[str, ...] | None:
    """Return compute capabilities (``sm_86``) that need no GPU to compile for.

    None means that it compiles for the GPU in the machine only.
    """
    capability = getattr(trt, "ComputeCapability", None)
    if capability is None:
        return None
    numbers = sorted(int(n[2:]) for n in capability.__members__ if re.fullmatch(r"SM\d+", n))
    return tuple(f"sm_{number}" for number in numbers)


def system() -> dict[str, str]:
    """Return the ``os`` and ``arch`` that an engine is bound to."""
    return {"os": platform.system().lower(), "arch": platform.machine().lower()}


def compile_engine(
    trt: Any,
    model: bytes,
    profile: Profile,
    gpu: str,
    *,
    workspace_mib: int | None = None,
    timings: bytes = b"",
    step: Step | None = None,
) -> Compiled:
    """Compile a strongly typed ONNX graph for a GPU.

    Args:
        trt: The TensorRT module.
        model: ONNX graph.
        profile: Batch sizes.
        gpu: Compute capability, such as ``sm_86``.
        workspace_mib: Most GPU memory in MiB that one layer may use; None sets no limit.
        timings: Timing cache of an earlier build on the same GPU; tensorrt_rtx ignores it.
        step: Called with the compiler's progress.

    Returns:
        The engine, its log and its timing cache.

    Raises:
        EngineError: The compiler fails; the message has the library's first error.
    """
    log = recorder(trt)
    builder = trt.Builder(log)
    # TensorRT 10 needs the flag; later releases have no other kind of network.
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    if not trt.OnnxParser(network, log).parse(model):
        raise EngineError(f"{trt.__name__} refuses this graph: {log.complaint()}")
    config = builder.create_builder_config()
    # With TF32, fp32 products would have 10 bits of mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    if workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib * 2**20)
    cache = None
    if known_gpus(trt) is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.__members__[f"SM{gpu[3:]}"], 0)
    else:
        # In tensorrt_rtx a timing cache has no effect, and it requires a GPU.
        cache = config.create_timing_cache(timings)
        config.set_timing_cache(cache, ignore_mismatch=False)
    if step is not None:
        config.progress_monitor = _monitor(trt, step)
    images = network.get_input(0)
    shapes = builder.create_optimization_profile()
    face = tuple(images.shape)[1:]
    shapes.set_shape(images.name, *((n, *face) for n in (profile.min, profile.opt, profile.max)))
    config.add_optimization_profile(shapes)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(f"{trt.__name__} could not compile for {gpu}: {log.complaint()}")
    head = (
        f"{trt.__name__} {trt.__version__} for {gpu}, "
        f"batch {profile.min} to {profile.max}, tuned for {profile.opt}"
    )
    return Compiled(
        bytes(engine),
        "\n".join([head, *log.lines]) + "\n",
        bytes(cache.serialize()) if cache is not None else b"",
    )


def recorder(trt: Any) -> Any:
    """Return a TensorRT logger that prints nothing.

    ``lines`` has all messages except verbose ones. ``complaint()`` returns the first error: later
    ones are its consequences.
    """

    class Recorder(trt.ILogger):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []
            self._first = ""

        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.Severity.VERBOSE:
                return
            self.lines.append(f"{severity.name.lower()}: {message}")
            if not self._first and severity.name in ("ERROR", "INTERNAL_ERROR"):
                self._first = message

        def complaint(self) -> str:
            return self._first or "it stated no reason"

    return Recorder()


def _monitor(trt: Any, step: Step) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = steps

        def step_complete(self, phase: str, number: int) -> bool:
            step(phase, number + 1, self._steps[phase])
            return True

        def phase_finish(self, phase: str) -> None:
            pass

    return Monitor()


def why_invalid(trt: Any, log: Any, engine: bytes) -> str | None:
    """Return why the header of an engine is invalid, or None.

    ``tensorrt`` cannot check a header, so the result is None.
    """
    runtime = trt.Runtime(log)
    if not hasattr(runtime, "get_engine_validity"):
        return None
    verdict, flags = runtime.get_engine_validity(engine)
    if verdict != trt.EngineValidity.INVALID:
        return None
    reasons = [
        _REASONS.get(name, name)
        for name, flag in trt.EngineInvalidityDiagnostics.__members__.items()
        if int(flags) & int(flag)
    ]
    return " and ".join(reasons) or log.complaint()


_REASONS: Mapping[str, str] = {
    "VERSION_MISMATCH": "another release of the library compiled it",
    "UNSUPPORTED_CC": "it was compiled for another GPU",
    "OLD_CUDA_DRIVER": "the NVIDIA driver is too old for it: update the driver",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old for it",
    "INSUFFICIENT_GPU_MEMORY": "the GPU has too little memory for it",
    "MALFORMED_ENGINE": "it is damaged, or no engine of this release of the library",
    "CUDA_ERROR": "the CUDA driver or runtime is not installed correctly",
}
