"""A label that people take for another label is refused."""

from __future__ import annotations

import pytest

from fer_edge import LabelError
from fer_edge.labels import check_label_list


@pytest.mark.parametrize(
    "name",
    [
        "h\u0430ppiness",  # Cyrillic a
        "\u0430\u0440\u0435",  # Cyrillic through and through: a shape of "ape"
        "ne\u03c5tral",  # Greek upsilon
        "drow\u0455y",
        "ＤＲＯＷＳＹ",  # full width
        "drows\u0131",  # is fine by itself, but not beside "drowsi"
        "ﬁne",  # a ligature
        "drow\ufe0fsy",
        "\u3164",
        "drow\u034fsy",
        "\u2800",
        "drow\u200bsy",
        "\u202eyswrd",
        "drow\x1b[2Jsy",
        "fe\u00adar",
    ],
)
def test_a_label_that_looks_like_another_is_refused(name: str) -> None:
    with pytest.raises(LabelError):
        check_label_list(["ape", "drowsi", name])


@pytest.mark.parametrize(
    "name",
    [
        "\u0440\u0430\u0434\u043e\u0441\u0442\u044c",
        "졸음",
        "眠い",
        "müde",
        "χαρά",
        "on phone",
        "L2",
    ],
)
def test_a_label_in_any_language_is_taken(name: str) -> None:
    assert check_label_list(["neutral", name]) == ("neutral", name)


def test_a_name_all_of_another_script_that_looks_canonical_is_refused() -> None:
    with pytest.raises(LabelError, match="looks like 'joy'"):
        check_label_list(["neutral", "ј\u043e\u0443"])
