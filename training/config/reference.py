"""Reference of every recipe key, generated from the dataclasses of schema.py.

    python -m fer_edge.training.config.reference

prints it as Markdown.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from fer_edge.training.config.schema import Recipe

_WORDS = {
    str: "text",
    bool: "true or false",
    int: "integer",
    float: "number",
    dict: "named values",
    type(None): "null",
}
_LISTED = {"text": "text", "number": "numbers", "section": "sections"}


@dataclass(frozen=True)
class RecipeKey:
    """One key of a recipe.

    Attributes:
        section: Section such as ``augment.incar``; empty for the top level.
        name: Name of the key.
        type: Accepted values in words.
        default: Default in words or as YAML; "required" without one.
        description: One line from the dataclass's docstring.
    """

    section: str
    name: str
    type: str
    default: str
    description: str


def describe() -> Iterator[RecipeKey]:
    """Yield every key of a recipe, section by section."""
    for section, cls in sections():
        _, descriptions, _ = _docstring(cls)
        hints = get_type_hints(cls)
        for field in fields(cls):
            yield RecipeKey(
                section,
                field.name,
                _type(hints[field.name]),
                _default(field),
                descriptions.get(field.name, ""),
            )


def sections(name: str = "", cls: type = Recipe) -> Iterator[tuple[str, type]]:
    """Yield names and dataclasses of a section and its inner sections.

    The name "" is the recipe itself.
    """
    yield name, cls
    hints = get_type_hints(cls)
    for field in fields(cls):
        hint = hints[field.name]
        for inner in (hint, *get_args(hint)):
            if is_dataclass(inner):
                assert isinstance(inner, type)
                yield from sections(f"{name}.{field.name}".removeprefix("."), inner)


def markdown() -> str:
    """Return the reference as a Markdown page."""
    keys = list(describe())
    page = ["# Recipe keys"]
    for section, cls in sections():
        before, _, after = _docstring(cls)
        rows = [
            f"| `{key.name}` | {key.type} | {key.default} | {key.description} |"
            for key in keys
            if key.section == section
        ]
        page += [f"## `{section}`"] if section else []
        page += [before, "\n".join([_HEAD, *rows])]
        page += [after] if after else []
    return "\n\n".join(page).replace("``", "`") + "\n"


_HEAD = "| Key | Value | Default | Description |\n| --- | --- | --- | --- |"


def _docstring(cls: type) -> tuple[str, dict[str, str], str]:
    """Return a docstring's text before ``Attributes:``, its attributes, and the text after."""
    before, _, rest = (inspect.getdoc(cls) or "").partition("\n\nAttributes:\n")
    block, _, after = rest.partition("\n\n")
    return before, dict(re.findall(r"^    (\w+): (.+)$", block, re.MULTILINE)), after


def _type(hint: Any) -> str:
    if is_dataclass(hint):
        return "section"
    if get_origin(hint) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) is tuple:
        return f"list of {_LISTED[_type(get_args(hint)[0])]}"
    if get_origin(hint) is dict:
        return _WORDS[dict]
    return _WORDS.get(hint) or " or ".join(map(_type, get_args(hint)))


def _default(field: Field[Any]) -> str:
    default = field.default
    if default is MISSING:
        return "required"
    if is_dataclass(default):
        return "its defaults"
    value = list(default) if isinstance(default, tuple) else default
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return f"`{text.splitlines()[0]}`"  # a scalar is followed by a line "..."


if __name__ == "__main__":
    print(markdown(), end="")
