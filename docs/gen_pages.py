"""MkDocs hook: generate pages from code and other files."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import mkdocs_click._docs as mkdocs_click
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from fer_edge import errors

ROOT = Path(__file__).parents[1]
DECISIONS = ROOT / "docs/decisions"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages; runs before MkDocs reads the navigation."""
    pages: dict[str, str | bytes] = {
        "decisions/index.md": decisions_page(),
        "project/changelog.md": from_root("CHANGELOG.md"),
        "project/contributing.md": from_root("CONTRIBUTING.md"),
        "project/security.md": from_root("SECURITY.md"),
        "reference/errors.md": errors_page(),
        "reference/recipe-keys.md": recipe_keys_page(),
        "reference/report-schema.md": schema_page(),
        "results/model-card.md": model_card("default"),
        "results/model-card.png": card_plots("default"),
        "results/model-card-fast.md": model_card("fast").replace(
            "(model-card.png)", "(model-card-fast.png)"
        ),
        "results/model-card-fast.png": card_plots("fast"),
    }
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def model_card(model: str) -> str:
    """Return the card of a shipped model."""
    return (ROOT / f"fer_edge/models/{model}-card/MODEL_CARD.md").read_text("utf-8")


def card_plots(model: str) -> bytes:
    """Return the picture of a shipped model's card."""
    return (ROOT / f"fer_edge/models/{model}-card/model-card.png").read_bytes()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every decision in the navigation, without naming fifty files in mkdocs.yml."""
    pages = ["decisions/index.md", *(f"decisions/{p.name}" for p in decision_files())]
    project = next(item["Project"] for item in config.nav or [] if "Project" in item)
    project[0] = {"Decisions": pages}
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show date and status below the title of a decision."""
    del config, files
    if not re.match(r"decisions/\d", page.file.src_uri):
        return markdown
    status = str(page.meta.pop("status"))  # the theme would draw an icon for it
    for number in re.findall(r"\d+", status):
        name = next(path.name for path in decision_files() if path.name.startswith(f"{number:0>4}"))
        status = status.replace(number, f"[{number}]({name})")
    amended = f", amended {page.meta['amended']}" if "amended" in page.meta else ""
    line = f"*{page.meta['date']}{amended}; {status}*"
    return re.sub(r"^(# .*)$", rf"\1\n\n{line}", markdown, count=1, flags=re.MULTILINE)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Blank the defaults of options that have none.

    mkdocs-click 0.9 prints Click 8.3's marker.
    """
    del page, config, files
    return html.replace("<code>Sentinel.UNSET</code>", "")


def describe_command(ctx: click.Context, remove_ascii_art: bool = False) -> Iterator[str]:
    """Yield the help of a command as Markdown.

    Click's unwrapped paragraphs become fenced code.
    """
    del remove_ascii_art
    for paragraph in inspect.cleandoc(ctx.command.help or "").split("\n\n"):
        marker, _, text = paragraph.partition("\n")
        fenced = marker.strip() == "\b"
        yield from ["```text", text, "```", ""] if fenced else [paragraph, ""]


mkdocs_click._make_description = describe_command


def from_root(name: str) -> str:
    """Return a Markdown file of the root with links for docs/."""
    text = (ROOT / name).read_text("utf-8")
    text = re.sub(r"\]\(docs/", "](../", text)
    for root_file in ("CHANGELOG", "CONTRIBUTING", "SECURITY"):
        text = text.replace(f"]({root_file}.md", f"]({root_file.lower()}.md")
    return text.replace("](README.md", "](../index.md")


# Decisions ---------------------------------------------------------------------------------------


def decision_files() -> list[Path]:
    """Return the files of all decisions, oldest first."""
    return sorted(DECISIONS.glob("[0-9]*.md"))


def read_decision(path: Path) -> dict[str, Any]:
    """Return a decision's front matter: number, title, date, status, amended."""
    _, front, _ = path.read_text("utf-8").split("---\n", 2)
    return dict(yaml.safe_load(front))


def decisions_page() -> str:
    """Return the index of all decisions, oldest first."""
    lines = [
        "# Decisions",
        "",
        "One file for each decision: what was decided, why, and what was rejected. Figures carry",
        "hardware and date. A decision is never rewritten. A later one supersedes it, and its",
        "status then says so. A new decision takes the next number and the same front matter.",
        "",
        "| no. | decision | date | status |",
        "| ---: | --- | --- | --- |",
    ]
    for path in decision_files():
        front = read_decision(path)
        date = (
            f"{front['date']}, amended {front['amended']}" if "amended" in front else front["date"]
        )
        lines.append(
            f"| {front['number']} | [{front['title']}]({path.name}) | {date} | {front['status']} |"
        )
    return "\n".join(lines) + "\n"


# Errors ------------------------------------------------------------------------------------------


def error_classes() -> list[type[errors.FerEdgeError]]:
    """Return every error class, a parent before its children."""
    classes = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.FerEdgeError)
    ]
    return sorted(classes, key=lambda cls: [c.__name__ for c in reversed(cls.__mro__)])


def errors_page() -> str:
    """Return the tree of errors and the table of exit codes."""
    tree, rows = [], []
    for cls in error_classes():
        parents = [c for c in cls.__mro__[1:] if issubclass(c, errors.FerEdgeError)]
        others = [c.__name__ for c in cls.__bases__ if not issubclass(c, errors.FerEdgeError)]
        note = f" (also {', '.join(others)})" if others and cls is not errors.FerEdgeError else ""
        tree.append("    " * len(parents) + cls.__name__ + note)
        summary = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
        rows.append(f"| `{cls.__name__}` | {cls.exit_code} | {summary} |")
    return ERRORS.format(tree="\n".join(tree), rows="\n".join(rows))


ERRORS = """# Errors and exit codes

Every error that the package raises on purpose is a `FerEdgeError`. The message says what was
expected, what came, and what to do next. Exceptions of an engine or a library are mapped to these
classes where they enter the package.

```text
{tree}
```

| class | exit code | meaning |
| --- | ---: | --- |
{rows}

The command line prints the message to standard error and ends with the exit code. Code 0 is
success. Code 2 is a wrong option or argument, reported by Click. Code 130 is Ctrl-C, code 143 is
SIGTERM: temporary files are removed and children end. That waits for a native call to end, and
takes at most 8 s after it. A second SIGTERM ends the command at once, unless a native call is in
the way.

```python
from fer_edge import FerEdgeError, Predictor

try:
    predictor = Predictor("driver.fer")
except FerEdgeError as error:
    raise SystemExit(str(error)) from error
```
"""


# Recipe keys and report schema -------------------------------------------------------------------


def recipe_keys_page() -> str:
    """Return the page of recipe keys, made from the dataclasses."""
    from fer_edge.training.config import reference

    return reference.markdown()


def schema_page() -> str:
    """Return the page of the report schema and its top level."""
    path = ROOT / "docs/benchmarks/report.schema.json"
    schema = json.loads(path.read_text("utf-8"))
    rows = []
    for name, value in schema["properties"].items():
        kind = value.get("type") or ("const" if "const" in value else "see the file")
        kind = " or ".join(kind) if isinstance(kind, list) else kind
        required = "yes" if name in schema.get("required", []) else "no"
        about = str(value.get("description", value.get("const", "")))
        rows.append(f"| `{name}` | {kind} | {required} | {about} |")
    return SCHEMA.format(rows="\n".join(rows))


SCHEMA = """# Report schema

`fer-edge bench -o report.json` writes JSON that follows
[report.schema.json](../benchmarks/report.schema.json) (JSON Schema, draft 2020-12). Tests hold the
report of every scenario to it.

| key | type | required | meaning |
| --- | --- | --- | --- |
{rows}
"""
