"""Every error that fer_edge raises on purpose. Foreign exceptions are mapped to these at the edge.

Each class carries the exit code with which the command line ends when it gets that far.
"""

from __future__ import annotations


class FerEdgeError(Exception):
    """Base of all fer_edge errors. The message is a sentence: expected, got, what to do."""

    exit_code = 1


class InputError(FerEdgeError, ValueError):
    """An image, box or argument that cannot be used. Nothing was changed."""

    exit_code = 3


class LabelError(FerEdgeError, ValueError):
    """A label name that is unknown, ambiguous or contradictory."""

    exit_code = 3


class DataError(FerEdgeError):
    """A data set that is missing, unreadable or does not fit the job."""

    exit_code = 3


class SourceError(FerEdgeError):
    """A camera or video that cannot be opened or read."""

    exit_code = 3


class MissingPartError(DataError):
    """A sound data set without the part (train, val or test) that was asked for."""


class RecipeError(FerEdgeError, ValueError):
    """A training recipe with an unknown key or an impossible value."""

    exit_code = 3


class TrainingError(FerEdgeError):
    """A run that cannot go on: a loss that is not finite, memory or disk that ran out."""

    exit_code = 6


class CheckpointError(FerEdgeError):
    """A checkpoint folder that is incomplete, damaged or not ours."""

    exit_code = 4


class BundleError(FerEdgeError):
    """A bundle that is incomplete, damaged, hostile or of another schema."""

    exit_code = 4


class TargetError(FerEdgeError):
    """A requested target, precision or device that cannot run on this machine."""

    exit_code = 5


class MissingDependencyError(TargetError):
    """A library that is not installed. The message holds the pip line that installs it."""

    exit_code = 5

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"{library} is needed here and is not installed. Run: pip install 'fer-edge[{extra}]'"
        )
        self.library = library
        self.extra = extra


class EngineError(FerEdgeError):
    """An inference engine that failed while loading or running a verified variant."""

    exit_code = 6


class ConversionError(FerEdgeError):
    """An export, quantisation or compilation that failed. Nothing was written."""

    exit_code = 6


class ParityError(ConversionError):
    """A converted variant whose answers differ too much from the checkpoint's."""

    exit_code = 7


class LimitError(FerEdgeError):
    """A measurement that broke a budget or a regression limit that was set for it."""

    exit_code = 8
