"""The notebooks have no outputs, and their cells run one after the other."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib import pyplot

FOLDER = Path(__file__).parents[2] / "examples/notebooks"
PRINTED = {
    "first_prediction.ipynb": ["happiness", "sure", "(True, 'no contrast"],
    "own_pictures.ipynb": ["['frown', 'gasp', 'grin']", "grin {'frown':"],
}
"""Parts of what each notebook shows."""


def run(cell: str, scope: dict[str, Any]) -> None:
    """Run a cell, and print the value of its last line, as a notebook shows it."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), scope)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), scope)
        if value is not None:
            print(repr(value))


def read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text("utf-8"))


def test_each_notebook_is_listed() -> None:
    assert {path.name for path in FOLDER.glob("*.ipynb")} == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_notebook_is_version_4_without_outputs(name: str) -> None:
    notebook = read(name)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            ast.parse("".join(cell["source"]))


@pytest.mark.parametrize(
    "name",
    ["first_prediction.ipynb", pytest.param("own_pictures.ipynb", marks=pytest.mark.slow)],
)
def test_cells_run(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    matplotlib.use("Agg")  # no window
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {"__name__": "__main__"}
    for cell in read(name)["cells"]:
        if cell["cell_type"] == "code":
            run("".join(cell["source"]), scope)
    pyplot.close("all")
    shown = capsys.readouterr().out
    for part in PRINTED[name]:
        assert part in shown
