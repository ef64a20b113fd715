"""Bounded reader of YAML that a stranger may have written."""

from __future__ import annotations

from typing import Any

import yaml

from fer_edge.errors import RecipeError

MAX_BYTES = 64 * 1024
"""Largest recipe file. The shipped ones have about 1 KiB."""
_MOST_DEPTH = 20
"""Deepest nesting of values. A recipe has 3."""


class _Loader(yaml.SafeLoader):
    """A safe loader without aliases, which make 600 bytes stand for 10^9 values."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, "aliases are not accepted; write the value out", event.start_mark
            )
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "values are nested too deeply", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def read_yaml(text: str, name: str) -> Any:
    """Parse YAML into plain values.

    Args:
        text: The YAML; aliases and more than 64 KiB are refused.
        name: Name of the text, for messages.

    Raises:
        RecipeError: The text is no YAML, or costs more to read than a recipe can need.
    """
    if len(text) > MAX_BYTES:
        raise RecipeError(f"expected at most {MAX_BYTES >> 10} KiB of YAML in {name}")
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (a subclass of SafeLoader)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(f"{name} is not readable YAML{where}: {error.problem}") from error
    # PyYAML's constructors and C functions raise these for values like 2001-99-99 or 0b_.
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        AttributeError,
        OverflowError,
        RecursionError,
        TypeError,
    ) as error:
        raise RecipeError(
            f"{name} holds a value that YAML cannot read: {str(error)[:80]}"
        ) from error
