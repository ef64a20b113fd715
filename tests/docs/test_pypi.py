"""PYPI.md: the README that PyPI shows, where no relative link resolves."""

from __future__ import annotations

import re
import runpy
import tomllib
from typing import Any

import pytest
from docs_pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def for_pypi() -> Any:
    return runpy.run_path(str(ROOT / "scripts/pypi-readme"))["for_pypi"]


def test_the_package_has_the_page_made_from_the_readme(for_pypi: Any) -> None:
    assert PROJECT["readme"] == "PYPI.md"
    text = for_pypi(
        (ROOT / "README.md").read_text("utf-8"), PROJECT.get("urls", {}).get("Repository")
    )
    assert (ROOT / "PYPI.md").read_text("utf-8") == text, "run scripts/pypi-readme"


def test_every_link_of_the_page_is_absolute() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "PYPI.md").read_text("utf-8"))
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        (None, "\nSee Install (`docs/install.md`) and [torch](https://pytorch.org)."),
        (
            "https://example.org/fer/",
            "![A face](https://example.org/fer/raw/main/docs/a.png)\nSee "
            "[Install](https://example.org/fer/blob/main/docs/install.md) and "
            "[torch](https://pytorch.org).",
        ),
    ],
)
def test_relative_links_become_addresses_or_paths(
    for_pypi: Any, repository: str | None, expected: str
) -> None:
    text = "![A face](docs/a.png)\nSee [Install](docs/install.md) and [torch](https://pytorch.org)."
    assert for_pypi(text, repository) == expected
