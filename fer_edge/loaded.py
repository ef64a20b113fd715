"""Choice, loading and closing of a variant."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fer_edge.backends.base import (
    Options,
    Session,
    backend,
    how_to_make,
    simulator,
    targets,
    unknown_target,
)
from fer_edge.bundle import Bundle, Variant
from fer_edge.cache_folder import named_cache
from fer_edge.errors import BundleError, EngineError, InputError, TargetError
from fer_edge.execution import Execution
from fer_edge.familiarity import Familiarity, read_familiarity
from fer_edge.one_at_a_time import own_lock
from fer_edge.shown import shown

_log = logging.getLogger("fer_edge")

MOST_THREADS = 4096
"""Most CPU threads per inference, above those of any machine."""


@dataclass(frozen=True)
class VariantChoice:
    """Decision about one variant of a bundle.

    Attributes:
        target: Target of the variant.
        precision: Precision of the variant.
        taken: The variant was chosen and loaded.
        reason: Reason why it was not chosen; None if it was.
        warning: Set if parity was checked on a stand-in for the engine, by too few faces, or not
            at all.
        execution: What ran where, if ``explain`` was asked for it and the engine can say.
        refusal: Set if the engine does not execute what was asked for, or cannot say what it does.
        simulator: Name of the simulator that runs the variant instead of a chip, or None.
    """

    target: str
    precision: str
    taken: bool
    reason: str | None
    warning: str | None = None
    execution: Execution | None = None
    refusal: str | None = None
    simulator: str | None = None

    def __str__(self) -> str:
        line = f"{self.target}/{self.precision}: {'taken' if self.taken else self.reason}"
        line += f" ({self.warning})" if self.taken and self.warning else ""
        if self.simulator:
            name = "a simulator" if self.execution else f"the {self.simulator}"  # it names it too
            line += f", on {name}, not on a chip: its speed is not that of a chip"
        line += f"; {self.execution}" if self.execution else ""
        return line + (f"; REFUSED: {self.refusal}" if self.refusal else "")


class NothingFitsError(TargetError):
    """Bundle without a variant that the caller accepts and this machine runs.

    Attributes:
        reasons: Reason of each variant that was asked for, by name.
    """

    def __init__(self, message: str, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reasons = dict(reasons or {})


@dataclass(frozen=True)
class Request:
    """Variants that a caller accepts, and how to run them.

    Attributes:
        target: Only this target; None accepts all.
        precision: Only this precision; None accepts all.
        exclude: Names of variants to leave out.
        options: How the engine uses the machine.
    """

    target: str | None
    precision: str | None
    exclude: frozenset[str]
    options: Options


@dataclass(eq=False)
class Loaded:
    """One loaded variant of a bundle.

    Calls enter and leave it, so that ``retire`` can close the session after the last of them.

    Attributes:
        bundle: The bundle.
        variant: The variant that runs.
        session: Its session.
        choices: Decision about each variant up to the one that runs, in the bundle's order.
        familiarity: Judge of faces that are unlike the training faces; None without statistics.
        pid: Process that loaded it.
        warm: Batch sizes that a warm-up has run.
    """

    bundle: Bundle
    variant: Variant
    session: Session
    choices: list[VariantChoice]
    familiarity: Familiarity | None = None
    pid: int = field(default_factory=os.getpid)
    warm: set[int] = field(default_factory=set)
    _calls: int = 0
    _retired: bool = False
    _closed: bool = False

    def __post_init__(self) -> None:
        # A signal handler may call retire() in any line of these methods, in the same thread.
        self._lock = own_lock(self)
        self._survives_fork = backend(self.variant.target).FACTS.survives_fork

    @property
    def usable(self) -> bool:
        """True if the engine can run in this process, which may have been forked."""
        return self.pid == os.getpid() or self._survives_fork

    def enter(self) -> bool:
        """Count a call for a ``with`` block; return False if the session is being closed."""
        with self._lock:
            self._calls += 1
            if not self._retired:
                return True
        self._leave(1)
        return False

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave(1)

    def retire(self) -> None:
        """Close the session as soon as no call uses it.

        In a forked child, a session that only its parent can use stays as it is.
        """
        if self.usable:
            self._retired = True
            self._leave(0)

    def _leave(self, calls: int) -> None:
        """Count calls that ended; close a retired session after the last one."""
        with self._lock:
            self._calls -= calls
            last = self._retired and self._calls == 0 and not self._closed
            self._closed |= last
        if last:
            self.session.close()


def checked_options(
    target: str | None,
    precision: str | None,
    device: str | None,
    threads: int | None,
    hint: Literal["latency", "throughput"],
    cache_dir: str | Path | None,
) -> Options:
    """Return a Predictor's options for engines.

    Raises:
        TargetError: The target is unknown.
        InputError: An option has an invalid value.
    """
    if not isinstance(hint, str) or hint not in ("latency", "throughput"):
        raise InputError(f"expected hint 'latency' or 'throughput', got {shown(hint)}")
    if threads is not None and not (type(threads) is int and 1 <= threads <= MOST_THREADS):
        raise InputError(f"expected 1 to {MOST_THREADS} threads, got {shown(threads)}")
    for name, value in {"target": target, "precision": precision, "device": device}.items():
        if value is not None and not isinstance(value, str):
            raise InputError(f"expected the {name} as text, got {shown(value)}")
    if target is not None and target not in targets():
        raise unknown_target(target)
    return Options(
        device=None if device is None else device.lower(),
        threads=threads,
        hint=hint,
        cache_dir=None if cache_dir is None else named_cache(cache_dir),
    )


def checked_exclude(exclude: Collection[str], bundle: Bundle) -> frozenset[str]:
    """Return the names of variants to leave out. Raises InputError if they are none."""
    names = [variant.name for variant in bundle.variants]
    if isinstance(exclude, str | bytes) or not isinstance(exclude, Collection):
        raise InputError(f"expected a list of variants to exclude, got {shown(exclude)}")
    if unknown := [n for n in exclude if not isinstance(n, str) or n not in names]:
        raise InputError(
            f"expected to exclude variants among {', '.join(names)}, got "
            f"{', '.join(sorted(n if isinstance(n, str) else shown(n) for n in unknown))}"
        )
    return frozenset(exclude)


def check_same_labels(running: Bundle, new: Bundle) -> None:
    """Raise BundleError unless two bundles have the same ordered labels."""
    if running.labels != new.labels:
        raise BundleError(
            f"expected the labels {', '.join(running.labels)} in {new.path}, it has "
            f"{', '.join(new.labels)}. Make a new Predictor for it"
        )


def requested_variants(
    bundle: Bundle, target: str | None, precision: str | None
) -> tuple[Variant, ...]:
    """Return the variants of a target and a precision, in the bundle's order.

    Args:
        bundle: Bundle of the variants.
        target: Name of a target; None takes all.
        precision: Name of a precision; None takes all.

    Raises:
        TargetError: There is none; the message lists the variants and how to add one.
    """
    variants = tuple(
        variant
        for variant in bundle.variants
        if target in (None, variant.target) and precision in (None, variant.precision)
    )
    if not variants:
        names = ", ".join(variant.name for variant in bundle.variants)
        raise TargetError(
            f"{bundle.path} has no variant for {'/'.join(filter(None, (target, precision)))}, only "
            f"{names}. {how_to_make(target, precision)}"
        )
    return variants


def load_best(bundle: Bundle, request: Request) -> Loaded:
    """Load a bundle's first variant that fits request and machine.

    Raises:
        TargetError: The bundle has no variant of that target and precision.
        NothingFitsError: No variant fits; the message has the reason for each.
    """
    requested_variants(bundle, request.target, request.precision)
    familiarity = read_familiarity(bundle.path, bundle.familiarity, bundle.embedding_dim)
    choices: list[VariantChoice] = []
    for variant in bundle.variants:
        session, reason = None, mismatch(variant, request)
        if reason is None:
            session, reason = _load(bundle, variant, request)
        choices.append(choice_of(variant, reason, request))
        _log.debug("%s: %s", bundle.path, choices[-1])
        if session is not None:
            _log.info("%s runs %s", bundle.path, variant.name)
            return Loaded(bundle, variant, session, choices, familiarity)
    raise _nothing_fits(bundle, request, choices)


def choice_of(variant: Variant, reason: str | None, request: Request) -> VariantChoice:
    """Return the decision about a variant; without a reason against it, it is taken."""
    return VariantChoice(
        variant.target,
        variant.precision,
        reason is None,
        reason,
        variant.warning,
        simulator=simulator(variant.target, request.options) if reason is None else None,
    )


def mismatch(variant: Variant, request: Request) -> str | None:
    """Return why the caller does not want the variant, or None."""
    if request.target not in (None, variant.target):
        return f"not the target asked for, {request.target}"
    if request.precision not in (None, variant.precision):
        return f"not the precision asked for, {request.precision}"
    if variant.name in request.exclude:
        return "excluded by the caller"
    return None


def unfit(variant: Variant, options: Options) -> str | None:
    """Return why this machine cannot run the variant, or None."""
    if variant.target not in targets():
        return f"this version has no backend for {variant.target}"
    try:
        return backend(variant.target).preflight(variant, options)
    except Exception as error:  # a broken installation must not take the other variants with it
        return f"its engine failed: {type(error).__name__}: {error}"


def unasked_simulator(variant: Variant, target: str | None, options: Options) -> str | None:
    """Return the reason to leave out a variant that a simulator would run, or None.

    Args:
        variant: Variant of a target that this version knows.
        target: Target that the caller named; a simulator runs for no other.
        options: How the engine uses the machine.
    """
    simulated = simulator(variant.target, options) if target is None else None
    reason = f"would run on the {simulated}. Ask for it by name: target {variant.target!r}"
    return reason if simulated else None


def _load(
    bundle: Bundle, variant: Variant, request: Request
) -> tuple[Session, None] | tuple[None, str]:
    """Return the session, or the reason why there is none."""
    options = request.options
    reason = unfit(variant, options) or unasked_simulator(variant, request.target, options)
    if reason:
        return None, reason
    try:
        return backend(variant.target).load(variant, bundle.read(variant), options), None
    except BundleError:
        raise
    except EngineError as error:
        return None, f"the engine refused it: {error}"
    except Exception as error:
        return None, f"its engine failed: {type(error).__name__}: {error}"


def _nothing_fits(
    bundle: Bundle, request: Request, choices: Collection[VariantChoice]
) -> NothingFitsError:
    requested = "/".join(filter(None, (request.target, request.precision))) or "any variant"
    fits = [
        choice
        for choice in choices
        if request.target in (None, choice.target) and request.precision in (None, choice.precision)
    ]
    return NothingFitsError(
        f"expected to run {requested} of {bundle.path}, but nothing that fits can run here: "
        f"{'; '.join(map(str, fits))}. To see what runs here: fer-edge doctor",
        {f"{choice.target}/{choice.precision}": choice.reason or "" for choice in fits},
    )
