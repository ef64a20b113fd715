"""Checks of a measurement's arguments: ranges, and options that a scenario does not use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short

from fer_edge.benchmarks.bounds import MAX_BATCH, MAX_BUDGET_S, MAX_DEADLINE_MS, MAX_HZ, MIN_HZ
from fer_edge.benchmarks.scenarios.base import Scenario, scenario, scenarios
from fer_edge.errors import InputError


def check_arguments(
    name: str,
    batch_sizes: Sequence[int] | None,
    *,
    budget_s: float,
    hz: float | None,
    deadline_ms: float | None,
    checkpoint: str | Path | None,
    against: str | None,
) -> Scenario:
    """Return the scenario of that name. None means that an argument was not passed.

    Raises:
        InputError: There is no such scenario, a number is out of range, or the scenario does not
            use an argument.
    """
    chosen = scenario(name)
    passed = {
        "--against": (against, "references"),
        "--checkpoint": (checkpoint, "references"),
        "--batch-sizes": (batch_sizes, "sizes"),
        "--hz": (hz, "rate"),
        "--deadline-ms": (deadline_ms, "rate"),
    }
    for option, (value, use) in passed.items():
        if value is not None and not getattr(chosen, use):
            # The plain scenario of a kind has the shortest name: stream, not multistream.
            users = [other for other, each in scenarios().items() if getattr(each, use)]
            raise InputError(
                f"expected {option} with {' or '.join(users)}, got {name}. Leave {option} out, or "
                f"choose: --scenario {min(users, key=len)}"
            )
    sizes = chosen.batch_sizes if batch_sizes is None else batch_sizes
    if not sizes or min(sizes) < 1 or max(sizes) > MAX_BATCH:
        raise InputError(
            f"expected batch sizes of at least 1 and at most {MAX_BATCH:,}, got "
            f"{short(list(sizes))}. Give others with --batch-sizes"
        )
    if repeated := [size for size, count in Counter(sizes).items() if count > 1]:
        raise InputError(
            f"expected each batch size once, got {short(repeated)} more than once. Leave the "
            "repeats out of --batch-sizes"
        )
    for option, value, low, high in (
        ("--budget-s", budget_s, 0.0, MAX_BUDGET_S),
        ("--hz", hz, MIN_HZ, MAX_HZ),
        ("--deadline-ms", deadline_ms, 0.0, MAX_DEADLINE_MS),
    ):
        if value is not None and not low <= value <= high:
            raise InputError(
                f"expected {option} from {low:,g} to {high:,.0f}, got {short(value)}. Choose a "
                "number in between"
            )
    return chosen
