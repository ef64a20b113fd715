"""Decision about each variant of a loaded bundle, and what its engine executes."""

from __future__ import annotations

from dataclasses import replace

from fer_edge.backends.base import Options, backend
from fer_edge.bundle import Bundle, Variant
from fer_edge.execution import Execution
from fer_edge.loaded import (
    Loaded,
    Request,
    VariantChoice,
    choice_of,
    mismatch,
    unasked_simulator,
    unfit,
)


def all_choices(loaded: Loaded, request: Request) -> list[VariantChoice]:
    """Return the decision about each variant of the bundle that is loaded, in its order.

    A start does not need those after the taken one: their engines are imported here.

    Args:
        loaded: What runs.
        request: Request that it was loaded for.
    """
    later = loaded.bundle.variants[len(loaded.choices) :]
    reasons = [
        mismatch(variant, request)
        or unfit(variant, request.options)
        or unasked_simulator(variant, request.target, request.options)
        or f"would run too, but {loaded.variant.name} comes first in the bundle"
        for variant in later
    ]
    return loaded.choices + [choice_of(*each, request) for each in zip(later, reasons, strict=True)]


def all_executions(loaded: Loaded, request: Request) -> list[VariantChoice]:
    """Return the decision about each variant, with the operations that its engine executes.

    Each variant that can run is loaded once more.

    Args:
        loaded: What runs.
        request: Request that it was loaded for.
    """
    traced, bundle = [], loaded.bundle
    for variant, choice in zip(bundle.variants, all_choices(loaded, request), strict=True):
        runs = mismatch(variant, request) is None and unfit(variant, request.options) is None
        execution, refusal = executed(bundle, variant, request.options) if runs else (None, None)
        traced.append(replace(choice, execution=execution, refusal=refusal))
    return traced


def executed(
    bundle: Bundle, variant: Variant, options: Options
) -> tuple[Execution | None, str | None]:
    """Load a variant once more, and return its execution and its faults.

    Both are None if the engine of this target cannot say.

    Args:
        bundle: Bundle of the variant.
        variant: Variant that passes its preflight.
        options: How the engine uses the machine.
    """
    trace = getattr(backend(variant.target), "executed", None)
    if trace is None:
        return None, None
    try:
        execution = trace(variant, bundle.read(variant), options, bundle.crop.size_px)
    except Exception as error:  # native engines raise many types
        return None, f"its engine cannot say what it executes: {error}"
    return execution, execution.refusal(variant.precision)
