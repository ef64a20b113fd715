"""Modules that README and docs run with ``python -m`` exist."""

from __future__ import annotations

import importlib.util
import re

import pytest
from docs_pages import PAGES, ROOT

_AT_LEAST = 8
"""Modules in README and docs; fewer means that they are not found."""

MODULES = sorted(
    {
        (str(page.relative_to(ROOT)), module)
        for page in PAGES
        for module in re.findall(r"python3? -m (fer_edge[\w.]*\w)", page.read_text("utf-8"))
    }
)


@pytest.mark.parametrize(("page", "module"), MODULES)
def test_module_exists(page: str, module: str) -> None:
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"{page} runs {module}, which does not exist"
    if spec.submodule_search_locations is not None:
        assert importlib.util.find_spec(f"{module}.__main__"), f"{page} runs a package: {module}"


def test_modules_are_found() -> None:
    assert len(MODULES) >= _AT_LEAST
