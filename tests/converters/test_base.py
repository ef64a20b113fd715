"""Targets stand by themselves: each module at the top is one, and imports no other."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import fer_edge.converters
from fer_edge.converters.base import converter, targets

HELPERS = {"coreml_evaluator", "litert_conversion", "onnx_graph"}
"""Rooms that a target may use beside base."""


def imports(path: Path) -> set[str]:
    """Return the parts of fer_edge.converters that a module imports."""
    modules = [
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    parts = [str(module).split(".") for module in modules]
    return {part[2] for part in parts if part[:2] == ["fer_edge", "converters"] and len(part) > 2}


def test_the_modules_at_the_top_are_base_and_the_targets() -> None:
    modules = [m for m in pkgutil.iter_modules(fer_edge.converters.__path__) if not m.ispkg]
    assert {m.name for m in modules} == {"base", *targets()}
    assert {"coreml", "onnxruntime", "openvino", "tensorrt"} <= set(targets())


@pytest.mark.parametrize("target", targets())
def test_a_target_imports_no_other_target_and_not_the_pipeline(target: str) -> None:
    module = importlib.import_module(f"fer_edge.converters.{target}")
    assert imports(Path(str(module.__file__))) <= {"base", *HELPERS}


@pytest.mark.parametrize("target", targets())
def test_a_target_takes_its_precisions_from_its_facts(target: str) -> None:
    from fer_edge.backends.base import backend

    facts = backend(target).FACTS
    assert facts.precisions == converter(target).PRECISIONS
    assert set(facts.quantised) <= set(facts.precisions)
    assert not facts.in_tests_only
