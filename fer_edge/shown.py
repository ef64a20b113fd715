"""Short texts of untrusted values for messages, for values of any size."""

from __future__ import annotations

import re
import reprlib

_MOST_DIGITS = 40


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        if abs(x) >= 10**_MOST_DIGITS:  # Python refuses to print more than 4,300 digits
            return f"an integer of more than {_MOST_DIGITS} digits"
        return repr(x)


_SHORT = _Short()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = 80

# In an address, a password may hold an @, and a path too: the last one before a / counts.
# As a Path, an address has one / after its scheme.
_LOGIN = re.compile(r"(//|(?<=\w\w):/)[^/\s]*@")
_SECRETS = "pw|pwd|passwd|password|token|sig|signature|secret|credential|api_?key|accesskeyid"
_PASSWORD = re.compile(
    rf"((?:[?&][\w.-]*?(?:{_SECRETS})|(?<!\S)(?:[\w-]*-)?(?:pw|pwd|passwd|password))=)"
    r"[^\s&]+?(?=:?(?:[\s&]|$))",
    re.IGNORECASE,
)
"""Parameter of an address, or property of a GStreamer pipeline, that holds a password or signs."""


def shown(value: object) -> str:
    """Return a short text for a value in a message.

    It has a few hundred characters at most.
    """
    return _SHORT.repr(value)


def printable(text: str) -> str:
    """Return the text with control characters and invisible marks escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type; at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def without_password(text: str) -> str:
    """Return the text with login, password and signature of each address replaced by ``***``."""
    return _PASSWORD.sub(r"\1***", _LOGIN.sub(r"\1***@", text))
