"""The reference names every recipe key, with a description."""

from __future__ import annotations

from dataclasses import fields

import pytest
import yaml

from fer_edge.labels import EMOTIONS
from fer_edge.training.config.reference import RecipeKey, describe, markdown, sections

KEYS = {f"{key.section}.{key.name}".removeprefix("."): key for key in describe()}


@pytest.mark.parametrize("section", [name for name, _ in sections()])
def test_every_field_has_a_description_of_one_line(section: str) -> None:
    (cls,) = (cls for name, cls in sections() if name == section)
    for field in fields(cls):
        description = KEYS[f"{section}.{field.name}".removeprefix(".")].description
        assert description.endswith("."), f"{section}.{field.name}"


def test_docstrings_describe_no_field_that_is_gone() -> None:
    for name, cls in sections():
        block = (cls.__doc__ or "").split("Attributes:\n")[1].split("\n\n")[0]
        described = [line.split(":")[0].strip() for line in block.splitlines() if ":" in line]
        assert described == [field.name for field in fields(cls)], name


def test_nested_sections_are_listed() -> None:
    assert {"", "model", "augment.incar", "fit", "fit.then"} <= {name for name, _ in sections()}


@pytest.mark.parametrize(
    ("key", "type_", "default"),
    [
        ("seed", "integer", "required"),
        ("input.colour", "`grey` or `rgb`", "required"),
        ("fit.ema", "number", "`0.0`"),
        ("fit.grad_clip", "number or null", "`null`"),
        ("fit.compile", "true or false", "`false`"),
        ("model.neck", "list of text", "`[]`"),
        ("model.backbone_args", "named values or null", "`null`"),
        ("fit.then", "list of sections", "`[]`"),
        ("augment.incar", "section", "its defaults"),
    ],
)
def test_types_and_defaults_are_those_of_yaml(key: str, type_: str, default: str) -> None:
    assert (KEYS[key].type, KEYS[key].default) == (type_, default)


def test_defaults_can_be_pasted_into_a_recipe() -> None:
    assert yaml.safe_load(KEYS["labels"].default.strip("`")) == list(EMOTIONS)


def test_the_page_has_a_row_for_each_key_and_the_values_of_train() -> None:
    page = markdown()
    for key in KEYS.values():
        assert row(key) in page.splitlines()
    assert "- `stage-ends N`:" in page
    assert "``" not in page


def row(key: RecipeKey) -> str:
    cells = f"| `{key.name}` | {key.type} | {key.default} | {key.description} |"
    return cells.replace("``", "`")
