"""Short texts of untrusted values and of errors."""

from __future__ import annotations

import pytest

from fer_edge.shown import first_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no HTP", "no HTP"),
        ("\n\n no HTP\ntrace", "no HTP"),
        ("", "RuntimeError"),
        (" \n", "RuntimeError"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(text: str, line: str) -> None:
    assert first_line(RuntimeError(text)) == line
