"""TensorRT on NVIDIA GPUs: engines of the bundle or compiled on demand.

A variant has a strongly typed ONNX graph, and an engine for each GPU that it was compiled for ahead
of time. If no engine fits (another GPU, another release of the library), ``fer-edge build``
compiles the graph on the device. With a ``cache_dir``, the first load compiles it.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fer_edge.backends import tensorrt_cache as cache
from fer_edge.backends import tensorrt_compile as compiler
from fer_edge.backends import tensorrt_cuda as cuda
from fer_edge.backends.base import Batch, Options, Outputs, TargetFacts, not_installed
from fer_edge.backends.tensorrt_compile import Profile
from fer_edge.bundle import Variant
from fer_edge.errors import EngineError, MissingDependencyError, TargetError
from fer_edge.progress import Step

FACTS = TargetFacts(
    chips="NVIDIA GPUs",
    precisions=("fp32", "fp16", "int8"),
    quantised=("int8",),
    extra="tensorrt",
    libraries=("tensorrt", "tensorrt-rtx-cu12", "cuda-python"),
    modules=("tensorrt", "tensorrt_rtx", "cuda"),
    device_clock=True,
)

MAX_CALLERS = 4
"""Largest number of concurrent calls. Each has its own context and buffers on the GPU."""


@dataclass(frozen=True)
class _Plan:
    """Source of a variant's engine on this machine.

    Attributes:
        trt: The TensorRT module.
        gpu: The GPU.
        profile: Batch sizes.
        about: Facts that a cached engine depends on.
        engine: Path of the engine in the bundle; None if no engine fits.
        cached: Folder of the engine in the cache, which may not exist yet.
        why: Why no engine of the bundle fits.
    """

    trt: Any
    gpu: cuda.Gpu
    profile: Profile
    about: dict[str, Any]
    engine: str | None
    cached: Path
    why: str


def preflight(variant: Variant, options: Options) -> str | None:
    try:
        plan = _plan(variant, options)
    except (TargetError, EngineError) as error:
        return str(error)
    if plan.engine is None and not cache.holds(plan.cached) and options.cache_dir is None:
        return (
            f"{plan.why}. Run: fer-edge build BUNDLE, or pass cache_dir, so that the first load "
            "compiles it"
        )
    return None


def load(variant: Variant, files: Mapping[str, bytes], options: Options) -> TensorRtSession:
    plan = _plan(variant, options)
    if plan.engine is not None:
        engine = files[plan.engine]
    else:
        if not cache.holds(plan.cached):
            build(variant, files, options)
        engine = cache.read(plan.cached)
    return TensorRtSession(_slots(plan, engine), plan.profile)


def build(
    variant: Variant,
    files: Mapping[str, bytes],
    options: Options,
    *,
    workspace_mib: int | None = None,
    step: Step | None = None,
) -> Path | None:
    """Compile a variant for the GPU of this device into the cache.

    Args:
        variant: The variant.
        files: Its verified bytes by path.
        options: Device and cache folder.
        workspace_mib: Most GPU memory in MiB that one layer may use; None sets no limit.
        step: Called with the compiler's progress.

    Returns:
        Folder of the engine; None if an engine of the bundle fits this GPU.

    Raises:
        TargetError: This machine cannot compile the variant.
        EngineError: The compiler fails.
    """
    plan = _plan(variant, options)
    if plan.engine is not None:
        return None
    with contextlib.suppress(EngineError):  # compile a damaged engine again
        cache.read(plan.cached)
        return plan.cached
    folder = plan.cached.parent
    compiled = compiler.compile_engine(
        plan.trt,
        files[variant.entry],
        plan.profile,
        plan.gpu.capability,
        workspace_mib=workspace_mib,
        timings=cache.read_timings(folder, plan.about),
        step=step,
    )
    cache.write(plan.cached, compiled, plan.about)
    cache.write_timings(folder, plan.about, compiled.timings)
    return plan.cached


def diagnose() -> tuple[bool, str]:
    """Report the GPUs that TensorRT serves, and faults on this machine."""
    trt = compiler.library()
    if trt is None:
        return False, not_installed(FACTS)
    known = compiler.known_gpus(trt)
    compiles = f"compiles here for {', '.join(known)}" if known else "compiles for the GPU here"
    try:
        gpu = cuda.gpu()
        runs = f"runs here on {gpu.name} ({gpu.capability}, driver {gpu.driver})"
    except TargetError as error:
        runs = f"does not run here: {error}"
    return True, f"{trt.__name__} {trt.__version__}, {compiles}; {runs}"


def _plan(variant: Variant, options: Options) -> _Plan:
    """Compare the bundle with the machine. Raises TargetError with the difference."""
    named = re.fullmatch(r"cuda(?::(\d{1,3}))?", options.device or "cuda")
    if named is None:
        raise TargetError(f"this backend runs on device 'cuda' or 'cuda:N', not {options.device!r}")
    trt = compiler.library()
    if trt is None:
        raise MissingDependencyError("tensorrt", "tensorrt")
    gpu = cuda.gpu(int(named[1] or 0))
    profile, engines = _recorded(variant)
    path, why = _fitting(variant.needs, engines, trt, gpu)
    sha256 = next(file.sha256 for file in variant.files if file.path == variant.entry)
    about = cache.facts(trt, gpu, sha256, profile)
    cached = cache.place(options.cache_dir or cache.default_folder(), about)
    known = compiler.known_gpus(trt)
    ready = path is not None or cache.holds(cached)
    if not ready and known is not None and gpu.capability not in known:
        raise TargetError(
            f"{why}, and {trt.__name__} {trt.__version__} compiles for {', '.join(known)} only. "
            f"Install the full tensorrt on this device, then run: fer-edge build BUNDLE"
        )
    return _Plan(trt, gpu, profile, about, path, cached, why)


def _recorded(variant: Variant) -> tuple[Profile, Mapping[str, Mapping[str, Any]]]:
    """Return profile and engines, which the manifest may state in any form."""
    try:
        sizes = variant.needs["profile"]
        profile = Profile(sizes["min"], sizes["opt"], sizes["max"])
        engines = variant.needs["engines"]
        listed = {file.path for file in variant.files}
        if any(engine["path"] not in listed for engine in engines.values()):
            raise KeyError("an engine that the bundle does not list")
    except (AttributeError, KeyError, TypeError, EngineError) as error:
        raise TargetError(
            f"the key needs of {variant.name} in bundle.json is malformed: {error}. "
            "Convert the checkpoint again"
        ) from error
    return profile, engines


def _fitting(
    needs: Mapping[str, Any], engines: Mapping[str, Mapping[str, Any]], trt: Any, gpu: cuda.Gpu
) -> tuple[str | None, str]:
    """Return the path of the engine for this machine, or None and the reason."""
    mine = f"this GPU ({gpu.name}) is {gpu.capability}"
    engine = engines.get(gpu.capability)
    if engine is None:
        compiled = f"engines for {', '.join(sorted(engines))}" if engines else "no engine"
        return None, f"the bundle has {compiled} and {mine}"
    made = (needs.get("library"), needs.get("version"))
    here = (trt.__name__, trt.__version__)
    if made != here:
        return None, (
            f"its engine for {gpu.capability} was compiled by {made[0]} {made[1]}, here is "
            f"{here[0]} {here[1]}, and engines do not carry over between releases"
        )
    if (place := {key: engine.get(key) for key in ("os", "arch")}) != compiler.system():
        return None, f"its engine is for {place['os']} on {place['arch']}"
    return str(engine["path"]), ""


class _Slot(Protocol):
    def run(self, batch: Batch) -> Outputs: ...

    def device_ms(self, batch: Batch) -> cuda.DeviceTimes: ...

    def close(self) -> None: ...


def _slots(plan: _Plan, engine: bytes) -> Callable[[], _Slot]:
    """Return a function that makes slots of an engine with a verified hash."""
    trt = plan.trt
    log = compiler.recorder(trt)
    repair = (
        "Convert the checkpoint again with this release"
        if plan.engine is not None
        else f"Remove {plan.cached} and run: fer-edge build BUNDLE"
    )
    if (reason := compiler.why_invalid(trt, log, engine)) is not None:
        raise EngineError(f"{trt.__name__} refuses this engine: {reason}. {repair}")
    runtime = trt.Runtime(log)
    loaded = runtime.deserialize_cuda_engine(engine)
    if loaded is None:
        raise EngineError(f"{trt.__name__} cannot load this engine: {log.complaint()}. {repair}")

    def make() -> _Slot:
        return cuda.Slot(trt, loaded, plan.profile, plan.gpu.index)

    return make


class TensorRtSession:
    """Session that serves up to MAX_CALLERS calls at once; others wait.

    A batch larger than the profile's largest size runs in parts.
    """

    def __init__(self, make: Callable[[], _Slot], profile: Profile) -> None:
        self._make: Callable[[], _Slot] | None = make
        self._max = profile.max
        self._idle: list[_Slot] = [make()]  # a GPU without free memory fails now, not later
        self._made = 1
        self._change = threading.Condition()

    def run(self, batch: Batch) -> Outputs:
        slot = self._take()
        try:
            parts = [
                slot.run(batch[start : start + self._max])
                for start in range(0, len(batch), self._max)
            ]
        finally:
            self._release(slot)
        if len(parts) == 1:
            return parts[0]
        probabilities, embedding = zip(*parts, strict=True)
        return np.concatenate(probabilities), np.concatenate(embedding)

    def device_ms(self, batch: Batch) -> cuda.DeviceTimes:
        """Return times of copies and network by the GPU's clock.

        The times are those of one batch at most.
        """
        slot = self._take()
        try:
            return slot.device_ms(batch[: self._max])
        finally:
            self._release(slot)

    def _take(self) -> _Slot:
        with self._change:
            while not self._idle and self._made == MAX_CALLERS and self._make is not None:
                self._change.wait()
            if self._make is None:
                raise EngineError("this session was closed")
            if self._idle:
                return self._idle.pop()
            slot = self._make()
            self._made += 1
            return slot

    def _release(self, slot: _Slot) -> None:
        with self._change:
            if self._make is not None:
                self._idle.append(slot)
                self._change.notify()
                return
        slot.close()

    def close(self) -> None:
        """Free all slots; those in use are freed when their calls end."""
        with self._change:
            self._make = None
            idle, self._idle = self._idle, []
            self._change.notify_all()
        for slot in idle:
            slot.close()
