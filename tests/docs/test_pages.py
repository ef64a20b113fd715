"""README and documentation: Python samples, links, length, decisions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml
from docs_pages import PAGES, ROOT, Fence, fences

from fer_edge.backends.base import offered

PYTHON = [fence for fence in fences() if fence.language in ("python", "py")]
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
GENERATED = {
    "decisions/index.md",
    "project/changelog.md",
    "project/contributing.md",
    "project/security.md",
    "reference/errors.md",
    "reference/recipe-keys.md",
    "reference/report-schema.md",
    "results/model-card.md",
    "results/model-card-fast.md",
}
"""Pages of the site that docs/gen_pages.py makes."""


@pytest.mark.parametrize("fence", PYTHON, ids=[fence.page for fence in PYTHON])
def test_python_sample_compiles(fence: Fence) -> None:
    compile(fence.text, fence.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_python_samples_are_found() -> None:
    assert len(PYTHON) >= 15


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        path = (page.parent / target).resolve()
        generated = path in {ROOT / "docs" / name for name in GENERATED}
        assert path.exists() or generated, f"{page.relative_to(ROOT)} links to {target}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 90


def test_generated_pages_are_those_of_the_hook() -> None:
    hook = (ROOT / "docs/gen_pages.py").read_text("utf-8")
    assert set(re.findall(r'^        "([a-z-]+/[a-z-]+\.md)": ', hook, re.MULTILINE)) == GENERATED


def test_nothing_large_is_committed_to_the_docs() -> None:
    large = [p for p in (ROOT / "docs").rglob("*") if p.is_file() and p.stat().st_size > 150_000]
    assert large == []
    assert list((ROOT / "docs").rglob("*.html")) == []


# Decisions ---------------------------------------------------------------------------------------


def front_matter(path: Path) -> dict[str, object]:
    return dict(yaml.safe_load(path.read_text("utf-8").split("---\n")[1]))


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [front_matter(path)["number"] for path in DECISIONS]
    assert numbers == list(range(1, len(DECISIONS) + 1))
    assert len(DECISIONS) >= 55


@pytest.mark.parametrize("path", DECISIONS, ids=[path.name[:4] for path in DECISIONS])
def test_decision_has_title_date_and_status(path: Path) -> None:
    front = front_matter(path)
    assert path.name.startswith(f"{front['number']:04d}-")
    assert f"\n# {front['number']}. " in path.read_text("utf-8")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(front["date"]))
    status = re.fullmatch(r"accepted|(?:superseded|amended) by (\d+)", str(front["status"]))
    assert status
    assert status[1] is None or 0 < int(status[1]) <= len(DECISIONS)
    assert front["title"]


# The table of targets -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", offered())
def test_the_readme_has_the_facts_of_each_target(target: str) -> None:
    facts = offered()[target]
    rows = (ROOT / "README.md").read_text("utf-8").splitlines()
    row = next(row for row in rows if row.startswith(f"| `{target}` |"))
    _, _, chips, precisions, _, _ = row.split("|")
    assert (chips.strip(), precisions.strip()) == (facts.chips, ", ".join(facts.precisions))
