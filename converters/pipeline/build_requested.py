"""All requested variants of a conversion, built and verified."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, replace

from fer_edge.backends.base import Options, simulator
from fer_edge.bundle import Variant
from fer_edge.converters.pipeline.build_variant import BuiltVariant, build_variant
from fer_edge.converters.pipeline.judges import Judges
from fer_edge.converters.pipeline.prepare import Prepared
from fer_edge.converters.pipeline.verify_variant import between_engines
from fer_edge.errors import ConversionError, EngineError, MissingDependencyError
from fer_edge.preprocess import CropRule
from fer_edge.progress import Say


@dataclass(frozen=True)
class Lenience:
    """Reasons to leave a variant out that are not errors.

    Attributes:
        precisions: Targets or precisions were not named, so a variant that fails is left out.
        libraries: Targets were not named, so one without its library is left out.
        unproven: A variant that nothing here can verify is written.
    """

    precisions: bool
    libraries: bool
    unproven: bool


def build_and_verify(
    requested: Sequence[tuple[str, str]],
    prepared: Prepared,
    rule: CropRule,
    lenient: Lenience,
    sessions: contextlib.ExitStack,
    say: Say,
) -> list[BuiltVariant]:
    """Build each variant and add its parity report.

    Args:
        requested: Targets with precisions.
        prepared: Graphs, and the checks that every variant passes.
        rule: Crop rule of the bundle.
        lenient: Reasons to leave a variant out that are not errors.
        sessions: Closes the sessions that are opened.
        say: Receives each sentence of progress.

    Returns:
        The variants, with reports that may list failures.

    Raises:
        ConversionError: A variant cannot be built or cannot be verified, or all are left out.
        EngineError: An engine fails on a variant that was named.
        MissingDependencyError: The library of a named target is not installed.
    """
    reasons: list[str] = []

    def leave_out(reason: str) -> None:
        reasons.append(reason)
        say(f"Left out: {reason}")

    jobs: list[tuple[BuiltVariant, Future[Variant] | None]] = []
    with contextlib.closing(Judges(say)) as judges:
        # Simulators are slow: they start first, and run beside the rest.
        for target, precision in sorted(requested, key=lambda pair: not _simulated(pair[0])):
            with _left_out(f"{target}/{precision}", lenient, leave_out):
                built = build_variant(target, precision, prepared.work, rule, say)
                if built.session is None:
                    jobs += [(each, None) for each in _unproven(built, lenient, say, leave_out)]
                    continue
                sessions.callback(built.session.close)
                jobs.append((built, judges.verify(built, prepared.check(precision))))
        if pending := [b.variant.name for b, verdict in jobs if verdict and not verdict.done()]:
            say(f"Still verifying {', '.join(pending)}")
        for _ in as_completed([verdict for _, verdict in jobs if verdict]):
            judges.say_finished()
        verified = []
        for built, verdict in jobs:
            if verdict is None:
                verified.append(built)
                continue
            with _left_out(built.variant.name, lenient, leave_out):
                verified.append(replace(built, variant=verdict.result()))
    if not verified:
        raise ConversionError(
            f"nothing was written: no variant could be built and verified. {'; '.join(reasons)}"
        )
    for check in prepared.checks.values():
        for sentence in between_engines(check):
            say(f"  {sentence}")
    return verified


def _simulated(target: str) -> bool:
    return simulator(target, Options()) is not None


@contextlib.contextmanager
def _left_out(name: str, lenient: Lenience, leave_out: Say) -> Iterator[None]:
    """Leave a variant out, with a reason, if its build, its engine or its stand-in fails.

    Raises the error if the variant was requested by name.
    """
    try:
        yield
    except (MissingDependencyError, ConversionError, EngineError) as error:
        missing = isinstance(error, MissingDependencyError)
        if not (lenient.libraries if missing else lenient.precisions):
            raise
        leave_out(f"{name}: {error}")


def _unproven(
    built: BuiltVariant, lenient: Lenience, say: Say, leave_out: Say
) -> list[BuiltVariant]:
    """Return a variant that nothing here can verify, marked so, if that is allowed."""
    if lenient.unproven:
        say(f"  {built.variant.name}: NOT PROVEN, {built.unable}")
        return [replace(built, variant=replace(built.variant, unproven=built.unable))]
    sentence = (
        f"{built.variant.name} cannot run on this machine, so it cannot be judged: "
        f"{built.unable}. Add --allow-unproven to write it unchecked"
    )
    if not lenient.precisions:
        raise ConversionError(sentence)
    leave_out(sentence)
    return []
