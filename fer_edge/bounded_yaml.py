"""Bounded reader of YAML from an untrusted file."""

from __future__ import annotations

from typing import Any

import yaml

MAX_BYTES = 64 * 1024
"""Largest file. Recipes and settings have about 2 KiB."""
_MOST_DEPTH = 20
"""Deepest nesting of values. A recipe has 3."""


_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """A safe loader without aliases and repeated keys.

    Aliases make 600 bytes stand for 10^9 values. Of two equal keys YAML takes the last.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused("aliases are not accepted; write the value out", event.start_mark)
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise _refused("values are nested too deeply", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # Merged keys (<<) come in as well, and may be overridden.
        written = [key for key, _ in node.value if key.tag != _MERGE]
        values = super().construct_mapping(node, deep)
        if len({self.construct_object(key, deep=True) for key in written}) < len(written):
            raise _refused("a key appears twice", node.start_mark)
        return values


def _refused(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, mark)


def parse_yaml(text: str) -> Any:
    """Parse YAML into plain values.

    Args:
        text: The YAML. Aliases, repeated keys and more than 64 KiB are refused.

    Raises:
        ValueError: The text is not YAML, or costs more to read than MAX_BYTES and 20 levels allow.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES >> 10} KiB")
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (a subclass of SafeLoader)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{where}{str(error.problem)[:200]}") from error
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
        raise ValueError(f"a value cannot be read: {str(error)[:80]}") from error
