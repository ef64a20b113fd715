"""The conversion environment: made completely or not at all, and given files only."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fer_edge.cli import main
from fer_edge.converters.base import converter
from fer_edge.converters.litert_conversion import environment
from fer_edge.converters.pipeline.request import requested_variants
from fer_edge.errors import ConversionError, MissingDependencyError, SourceError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the environment, which does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return environment.default_folder()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that a set-up runs; none is run, and pip puts a Python there."""
    seen: list[list[str]] = []

    def record(command: list[str], what: str) -> None:
        seen.append(command)
        if "venv" in command:
            python = environment._python(Path(command[-1]))
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)

    monkeypatch.setattr(environment, "_run", record)
    return seen


def test_the_folder_is_below_the_cache_and_named_by_its_versions(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder.parent == tmp_path / "cache" / "fer_edge"
    monkeypatch.setattr(environment, "PINS", (*environment.PINS, "other==1"))
    assert environment.default_folder() != folder


def test_every_version_is_pinned() -> None:
    assert all("==" in pin for pin in environment.PINS)
    assert {"torch", "litert-torch", "litert-quantizer", "ai-edge-litert"} <= {
        pin.partition("==")[0] for pin in environment.PINS
    }


def test_it_is_made_once(folder: Path, commands: list[list[str]]) -> None:
    steps: list[str] = []
    assert environment.set_up(folder, None, lambda what, done, total: steps.append(what))
    assert environment.is_ready(folder)
    assert not environment.set_up(folder)
    assert len(commands) == 4
    assert steps[-1] == "Ready"
    assert [p.name for p in folder.parent.iterdir() if not p.name.endswith(".lock")] == [
        folder.name
    ]
    assert "--index-url" not in [word for command in commands for word in command]


def test_torch_alone_comes_from_another_index(folder: Path, commands: list[list[str]]) -> None:
    environment.set_up(folder, "https://example.org/cpu")
    (torch,) = [command for command in commands if "--index-url" in command]
    assert torch[-1] == environment.PINS[0]


def test_a_broken_download_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = "import sys; sys.exit('ERROR: no route to host')"
    real = environment._run

    def fail(command: list[str], what: str) -> None:
        real([sys.executable, "-c", failing], what)

    monkeypatch.setattr(environment, "_run", fail)
    with pytest.raises(SourceError, match=r"no route to host.*Nothing was left behind"):
        environment.set_up(folder)
    assert list(folder.parent.iterdir()) == []
    assert not environment.is_ready(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends programs with their parent")
def test_pip_ends_with_the_command(tmp_path: Path) -> None:
    asked = (  # prctl's PR_GET_PDEATHSIG
        "import ctypes, pathlib, sys; number = ctypes.c_int(); "
        "ctypes.CDLL(None).prctl(2, ctypes.byref(number), 0, 0, 0); "
        "pathlib.Path(sys.argv[1]).write_text(str(number.value))"
    )
    environment._run([sys.executable, "-c", asked, str(tmp_path / "signal")], "Asking")
    assert int((tmp_path / "signal").read_text()) == signal.SIGKILL


def test_the_command_reports_as_json(folder: Path, commands: list[list[str]]) -> None:
    done = CliRunner().invoke(main, ["setup-converter", "litert", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["made"] is True
    assert report["path"] == str(folder)


# --- without it ----------------------------------------------------------------------------------


def test_a_conversion_without_it_names_the_command_before_any_work(folder: Path) -> None:
    with pytest.raises(MissingDependencyError, match="Run: fer-edge setup-converter litert"):
        requested_variants(["litert"], ["fp32"])
    with pytest.raises(MissingDependencyError):
        converter("litert").build(None, "fp32", {})  # type: ignore[arg-type]


def test_all_targets_go_without_it(folder: Path) -> None:
    assert ("litert", "fp32") in requested_variants(["all"], ["fp32"])


# --- what a conversion gets ----------------------------------------------------------------------

ANSWER = """
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
seen = {"files": sorted(os.listdir(folder)), "environment": sorted(os.environ),
        "isolated": sys.flags.isolated, "home": os.environ["HOME"] == str(folder)}
(folder / "model.tflite").write_bytes(b"model")
(folder / "plain.tflite").write_bytes(b"plain")
(folder / "answer.json").write_text(json.dumps(seen))
"""


@pytest.fixture
def ready(folder: Path, commands: list[list[str]]) -> Path:
    environment.set_up(folder)
    return folder


def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "script.py").write_text(text)
    monkeypatch.setattr(environment, "_SCRIPT", tmp_path / "script.py")


def test_a_conversion_gets_files_and_no_home(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path, monkeypatch, ANSWER)
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    converted = environment.convert(ready, {"precision": "fp32"}, {"program.pt2": b"graph"})
    seen: Any = converted.answer
    assert (converted.model, converted.plain) == (b"model", b"plain")
    assert seen["files"] == ["job.json", "program.pt2"]
    assert seen["isolated"] == 1
    assert seen["home"]
    assert not {"PYTHONPATH", "SECRET_TOKEN"} & set(seen["environment"])


def test_a_conversion_that_fails_says_why(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path, monkeypatch, "raise ValueError('no such operation')")
    with pytest.raises(ConversionError, match="ValueError: no such operation"):
        environment.convert(ready, {}, {})


def test_a_conversion_that_hangs_ends(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path, monkeypatch, "import time; time.sleep(600)")
    monkeypatch.setattr(environment, "_CONVERT_S", 1)
    with pytest.raises(ConversionError, match="gave no answer"):
        environment.convert(ready, {}, {})


def test_a_folder_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    done = CliRunner().invoke(main, ["setup-converter", "litert"])
    assert done.exit_code == 3
    assert "cannot write" in done.stderr
    assert os.listdir(tmp_path) == ["file"]
