"""Letters of names that look like other letters, or like nothing.

A label is an answer that people read. ``hаppiness`` with a Cyrillic ``а`` looks like
``happiness`` and is another name to a program.
"""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Printable characters that show nothing. They are fillers, joiners and variation selectors
(Unicode 16, DerivedCoreProperties.txt, Default_Ignorable_Code_Point), and the blank braille
pattern."""
_ALIKE_SCRIPTS = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"})
"""Scripts that share shapes, by the first word of a letter's name. One name uses one of them."""
_SHAPES = str.maketrans("аеорсухѕіјԁһԛԝӏкмтпгԍɡɑıοανρυικ", "aeopcyxsijdhqwlkmtnrggaioavpuik")
"""Latin letter by a letter of the same shape (Unicode 16, confusables.txt, the small letters)."""


def odd_letters(name: str) -> str | None:
    """Return why a name can be taken for another one, or None."""
    if unicodedata.normalize("NFKC", name) != name:
        return "has characters that stand for other characters"
    if _INVISIBLE.search(name):
        return "has invisible characters"
    scripts = {unicodedata.name(c, "").split(" ")[0] for c in name if c.isalpha()}
    if len(scripts & _ALIKE_SCRIPTS) > 1:
        return f"mixes letters of {' and '.join(sorted(scripts & _ALIKE_SCRIPTS)).title()}"
    return None


def shape(name: str) -> str:
    """Return a name's shape: small Latin letters of the same look."""
    return name.casefold().translate(_SHAPES)
