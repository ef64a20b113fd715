"""JSON Schema of a report, made from the types of its fields.

The committed file is written by

``python -m fer_edge.benchmarks.reports.schema > docs/benchmarks/report.schema.json``
"""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from fer_edge.benchmarks.fields import Accuracy, Row
from fer_edge.benchmarks.reports.report import SCHEMA, Report
from fer_edge.benchmarks.scenarios.base import Scenario, scenarios

_JSON_TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    NoneType: "null",
}


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the reports of all scenarios."""
    known = scenarios()
    properties = schema_of(Report)["properties"]
    properties["scenario"] = {"enum": list(known), **properties["scenario"]}
    properties["rows"]["items"] = {
        "type": "object",
        "properties": _merged(known),
        "required": sorted(Row.__required_keys__),
        "additionalProperties": False,
    }
    for scenario in known.values():
        properties |= {name: schema_of(part) for name, part in scenario.parts.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Report of fer-edge bench, schema {SCHEMA}",
        "type": "object",
        "properties": properties,
        "required": sorted(_required(Report)),
        "additionalProperties": False,
        "allOf": [_branch(name, scenario) for name, scenario in known.items()],
    }


def schema_of(kind: Any) -> dict[str, Any]:
    """Return the schema of a type.

    The type is a TypedDict, list, dict, union, Literal or plain type.

    Annotations of ``Annotated`` are descriptions (str) or further keywords (dict).

    Raises:
        TypeError: The type has no JSON form.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin is NotRequired:
        return schema_of(args[0])
    if origin is Annotated:
        schema = schema_of(args[0])
        for note in args[1:]:
            schema |= {"description": note} if isinstance(note, str) else note
        return schema
    if origin is UnionType:
        if any(is_typeddict(arg) for arg in args):
            return {"anyOf": [schema_of(arg) for arg in args]}
        return {"type": [_JSON_TYPES[arg] for arg in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is list:
        return {"type": "array", "items": schema_of(args[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(args[1])}
    if is_typeddict(kind):
        return {
            "type": "object",
            "properties": {name: schema_of(hint) for name, hint in _hints(kind).items()},
            "required": sorted(_required(kind)),
            "additionalProperties": False,
        }
    if kind in _JSON_TYPES:
        return {"type": _JSON_TYPES[kind]}
    raise TypeError(f"expected a type with a JSON form, got {kind!r}")


def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _required(kind: Any) -> set[str]:
    # NotRequired in an annotation that is a string is not seen by __required_keys__.
    return {
        name
        for name, hint in _hints(kind).items()
        if name in kind.__required_keys__ and get_origin(hint) is not NotRequired
    }


def _merged(known: dict[str, Scenario]) -> dict[str, Any]:
    """Return the fields of all rows; one name has one meaning in all scenarios."""
    properties: dict[str, Any] = schema_of(Accuracy)["properties"]
    for name, scenario in known.items():
        for field, schema in schema_of(scenario.row)["properties"].items():
            if properties.setdefault(field, schema) != schema:
                raise TypeError(f"the field {field} of {name} differs from another scenario's")
    return properties


def _branch(name: str, scenario: Scenario) -> dict[str, Any]:
    required = sorted(_required(scenario.row) - Row.__required_keys__)
    return {
        "description": scenario.help,
        "if": {"properties": {"scenario": {"const": name}}},
        "then": {"properties": {"rows": {"items": {"required": required}}}},
    }


if __name__ == "__main__":
    print(json.dumps(report_schema(), indent=1))
