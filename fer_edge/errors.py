"""Exceptions of fer_edge, and their exit codes.

::

    FerEdgeError                      1  base class of all
    ├── InputError (ValueError)       3  image, box or argument that cannot be used
    ├── LabelError (ValueError)       3  label that is unknown, ambiguous or contradictory
    ├── DataError                     3  data set that is missing, unreadable or unsuitable
    │   └── MissingPartError          3  data set without the requested part
    ├── SourceError                   3  camera or video that cannot be opened or read
    ├── RecipeError (ValueError)      3  recipe with an unknown key or an impossible value
    ├── CheckpointError               4  checkpoint that is incomplete or damaged
    ├── BundleError                   4  bundle that is incomplete, damaged or hostile
    ├── TargetError                   5  target, precision or device that cannot run here
    │   └── MissingDependencyError    5  library that is not installed
    ├── TrainingError                 6  training run that cannot continue
    ├── EngineError                   6  inference engine that fails
    ├── ConversionError               6  export, quantisation or compilation that fails
    │   └── ParityError               7  variant that differs too much from its checkpoint
    └── LimitError                    8  measurement that breaks a limit

Exceptions of other libraries are mapped to these. Exit code 2 means wrong usage.
"""

from __future__ import annotations

import errno
from typing import Any

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 plus the number of SIGINT, as in shells."""
_REFUSALS = frozenset(
    {
        *(errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOENT),
        *(errno.ENOTDIR, errno.EISDIR, errno.EROFS),
    }
)
"""Numbers of the system's errors that a path causes."""
_MOST_NAME = 80
"""Largest number of characters of a path in a message."""


class FerEdgeError(Exception):
    """Base class of all fer_edge errors.

    The message is a sentence: what was expected, what came, and what to do. Bytes of a name that
    are not UTF-8 are escaped in it, so that it can be printed.

    Attributes:
        exit_code: Exit code of the command line.
    """

    exit_code = 1

    def __str__(self) -> str:
        return super().__str__().encode("utf-8", "backslashreplace").decode()

    def __reduce__(self) -> tuple[Any, ...]:
        # The sentence is in args; __init__ of a subclass may take something else.
        return _made, (type(self), self.args), self.__dict__


def _made(kind: type[FerEdgeError], arguments: tuple[Any, ...]) -> FerEdgeError:
    return kind.__new__(kind, *arguments)


class InputError(FerEdgeError, ValueError):
    """Image, box or argument that cannot be used; nothing was changed."""

    exit_code = 3


class LabelError(FerEdgeError, ValueError):
    """Label name that is unknown, ambiguous or contradictory."""

    exit_code = 3


class DataError(FerEdgeError):
    """Data set that is missing, unreadable or unsuitable."""

    exit_code = 3


class SourceError(FerEdgeError):
    """Camera or video that cannot be opened or read."""

    exit_code = 3


class MissingPartError(DataError):
    """Readable data set without the requested part: train, val or test."""


class RecipeError(FerEdgeError, ValueError):
    """Training recipe with an unknown key or an impossible value."""

    exit_code = 3


class TrainingError(FerEdgeError):
    """Training run that cannot continue: loss not finite, no memory, disk full."""

    exit_code = 6


class CheckpointError(FerEdgeError):
    """Checkpoint folder that is incomplete, damaged or of another program."""

    exit_code = 4


class BundleError(FerEdgeError):
    """Bundle that is incomplete, damaged, hostile or of another schema."""

    exit_code = 4


class TargetError(FerEdgeError):
    """Requested target, precision or device that cannot run on this machine."""

    exit_code = 5


class MissingDependencyError(TargetError):
    """Library that is not installed; the message has the command that installs it.

    Attributes:
        library: Name of the library.
        extra: Extra of fer-edge that installs it.
    """

    exit_code = 5

    def __init__(self, library: str, extra: str, command: str | None = None) -> None:
        command = command or f"pip install 'fer-edge[{extra}]'"
        super().__init__(f"{library} is required and is not installed. Run: {command}")
        self.library = library
        self.extra = extra


class EngineError(FerEdgeError):
    """Inference engine that fails to load or to run a verified variant."""

    exit_code = 6


class ConversionError(FerEdgeError):
    """Export, quantisation or compilation that fails; nothing was written."""

    exit_code = 6


class ParityError(ConversionError):
    """Converted variant that differs too much from its checkpoint."""

    exit_code = 7


class LimitError(FerEdgeError):
    """Measurement that breaks its budget or regression limit."""

    exit_code = 8


def next_step(error: Exception, usual: str) -> str:
    """Return what to do after a failure: ``usual``, unless too many files are open.

    Args:
        error: The failure, of the system or not.
        usual: Advice for any other reason.
    """
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "Close files, or raise the limit: ulimit -n 4096"
    return usual


def refused_path(error: OSError) -> InputError | None:
    """Return the InputError for a path that the system refuses.

    Args:
        error: Any failure of the system.

    Returns:
        The error with its next step; None if the path is not to blame.
    """
    if error.filename is None or error.errno not in _REFUSALS:
        return None
    name = str(error.filename)
    name = name if len(name) <= _MOST_NAME else f"{name[:_MOST_NAME]}…"
    return InputError(f"cannot use {name!r}: {error.strerror}. Check the path and its permissions")
