"""Errors of every command: one sentence and the promised exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fer_edge.cli import main
from fer_edge.cli.torch_folder import no_empty_folder
from fer_edge.shipped import FACES

HAPPY = FACES / "happiness.png"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["predict", "nowhere.png", "--bundle", "{fake}"], 3),
        (["predict", "{happy}", "--bundle", "nowhere.fer"], 4),
        (["predict", "{happy}", "--bundle", "{fake}", "--target", "nochip"], 5),
        (["predict", "{happy}", "--bundle", "{fake}", "--target", "openvino"], 5),
        (["predict", "{happy}", "--bundle", "{fake}", "--precision", "int4"], 5),
        (["predict", "{happy}", "--bundle", "{fake}", "--box", "500", "0", "9", "9"], 3),
        (["inspect", "nowhere.fer"], 4),
        (["bench", "nowhere.fer"], 4),
        (["evaluate", "{fake}", "--data", "{happy}", "-o", "report.pdf"], 3),
        (["export", "nowhere", "--format", "onnx", "-o", "x.onnx"], 4),
        (["embed", "nowhere.png", "-o", "x.npz"], 3),
        (["embed", "{happy}", "-o", "x.pkl"], 3),
        (["embed", "{happy}", "--model", "{fake}", "-o", "no/such/folder/x.npz"], 3),
        (["bench", "{fake}", "--batch-sizes", "0"], 3),
        (["evaluate", "nowhere.fer", "--data", "{faces}"], 4),
        (["evaluate", "nowhere", "--data", "{faces}"], 4),
        (["evaluate", "{fake}", "--data", "nowhere"], 3),
        (["evaluate", "{fake}", "--data", "{faces}", "--split", "exam"], 3),
        (["evaluate", "{fake}", "--data", "{faces}", "--split", "none"], 3),
        (["evaluate", "{fake}", "--data", "{faces}", "--target", "nochip"], 5),
        (["serve", "--bundle", "nowhere.fer"], 4),
        (["serve", "--bundle", "{fake}", "--detector", "nowhere.onnx"], 3),
        (["serve", "--bundle", "{fake}", "--host", "no.such.host.invalid"], 3),
        (["serve", "--bundle", "{fake}", "--token", ""], 3),
        (["inspect", "{long}"], 4),
        (["inspect", "{long}.fer"], 4),
        (["verify", "{fake}", "--trusted-key", "{long}"], 3),
        (["diff", "{long}", "{fake}"], 4),
        (["sign", "{long}", "--key", "{long}"], 4),
        (["bench", "{long}"], 4),
        (["evaluate", "{long}", "--data", "{faces}"], 4),
        (["convert", "{long}", "--target", "all", "-o", "x.fer"], 4),
        (["predict", "{long}"], 3),
        (["predict", "{happy}", "--detector", "{long}"], 3),
        (["predict", "{happy}", "--crop", "--save", "{long}.png"], 3),
        (["keygen", "{long}"], 3),
        (["keygen", "."], 3),
        (["keygen", ""], 3),
        (["train", "{long}", "--data", "{faces}"], 3),
        (["train", "edge-default", "--data", "{long}"], 3),
        (["train", "edge-default", "--data", "{faces}", "--weights", "{long}"], 3),
        (["embed", "{happy}", "-o", "{long}.npz"], 3),
        (["video", "{long}", "--headless"], 3),
        (["score", "{long}", "-o", "out"], 3),
        (["export", "{long}", "--format", "onnx", "-o", "x.onnx"], 4),
        (["train", "no-such-recipe", "--data", "{faces}"], 3),
        (["train", "edge-default", "--data", "nowhere"], 3),
        (["train", "edge-default", "--data", "{faces}", "--set", "fit.epochz=3"], 3),
        (["train", "edge-default", "--data", "{faces}", "--set", "fit.epochs=["], 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_our_errors_are_one_sentence_and_their_exit_code(
    run: Any, fake_bundle: Path, arguments: list[str], code: int
) -> None:
    names = {"fake": fake_bundle, "happy": HAPPY, "faces": FACES, "long": "a" * 300}
    result = run(*(argument.format(**names) for argument in arguments))
    assert result.exit_code == code
    assert result.stdout == ""
    assert len(result.stderr.strip()) > 20
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["predict", "inspect", "bench", "evaluate"])
def test_a_damaged_bundle_ends_with_4(run: Any, damaged_bundle: Path, command: str) -> None:
    arguments = {
        "predict": [HAPPY, "--bundle", damaged_bundle],
        "evaluate": [damaged_bundle, "--data", FACES],
    }.get(command, [damaged_bundle])
    result = run(command, *arguments)
    assert result.exit_code == 4
    assert "answers.json" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("library", "extra", "line"),
    [
        ("torch", "train", ["train", "edge-default", "--data", "{faces}"]),
        ("torch", "convert", ["convert", "default", "--target", "all", "-o", "x.fer"]),
        ("torch", "convert", ["quantize", "default", "--data", "{faces}", "-o", "x"]),
        ("torch", "convert", ["demo", "--full"]),
        ("torch", "evaluate", ["evaluate", "default", "--data", "{faces}"]),
        ("pyarrow", "data", ["data", "summary", "{faces}"]),
        ("psutil", "bench", ["bench", "default"]),
        ("rich", "bench", ["bench", "default"]),
        ("fastapi", "serve", ["serve"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_missing_library_ends_with_5_and_the_line_that_installs_all_of_the_command(
    library: str, extra: str, line: list[str], tmp_path: Path
) -> None:
    arguments = [word.format(faces=FACES) for word in line]
    code = (
        f"import sys; sys.modules[{library!r}] = None; from fer_edge.cli import main; "
        f"main({arguments!r})"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=100
    )
    assert done.returncode == 5
    assert done.stdout == ""
    assert f"pip install 'fer-edge[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "sentence"), [("train", "--resume"), ("doctor", "interrupted")]
)
def test_ctrl_c_ends_with_130_and_a_sentence(
    command: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main.commands[command], "invoke", interrupt)
    more = ["edge-default", "--data", "x"] if command == "train" else []
    done = CliRunner().invoke(main, [command, *more])
    assert done.exit_code == 130
    assert sentence in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", [["doctor"], ["inspect", "--json"], ["--help"]])
def test_a_full_disk_behind_the_output_is_a_sentence(command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fer_edge", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "words", [["inspect", "--json"], ["predict", str(FACES / "[ah]*"), "--crop", "--json"]]
)
def test_streams_that_are_closed_change_no_exit_code(closed: str, words: list[str]) -> None:
    command = [sys.executable, "-m", "fer_edge", *words]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "cp932", "ascii", "cp437"])
def test_the_output_can_be_written_under_a_legacy_code_page(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fer_edge", "predict", str(HAPPY)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"happiness" in done.stdout


@pytest.mark.slow  # imports torch
def test_a_command_leaves_no_empty_folder_of_torch_behind(tmp_path: Path) -> None:
    """torch makes the folder of its compiler's cache when it is imported, used or not."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    command = [sys.executable, "-m", "fer_edge", "export", "fast", "--format", "onnx"]
    done = subprocess.run(
        [*command, "-o", tmp_path / "x.onnx"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("by_user", "file", "stays"), [(False, "", False), (False, "graph", True), (True, "", True)]
)
def test_only_an_empty_folder_that_torch_chose_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_user: bool, file: str, stays: bool
) -> None:
    folder = tmp_path / "torchinductor_me"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    if by_user:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    with no_empty_folder():
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        folder.mkdir()
        if file:
            (folder / file).touch()
    assert folder.exists() == stays


@pytest.mark.parametrize("command", ["train", "evaluate", "convert"])
def test_a_wrong_variable_of_the_hub_is_a_sentence(
    command: str, fake_bundle: Path, tmp_path: Path
) -> None:
    """timm imports the Hub's client, which reads its environment."""
    arguments = {
        "train": ["edge-default", "--data", FACES],
        "evaluate": [fake_bundle, "--data", FACES],
        "convert": [tmp_path, "--target", "onnxruntime", "-o", "x.fer"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "fer_edge.cli", command, *map(str, arguments[command])],
        env={**os.environ, "HF_HUB_DOWNLOAD_TIMEOUT": "10s"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 3
    assert "'10s'" in done.stderr
    assert done.stderr.endswith(
        "Correct the environment variable with this value; its name begins with HF_\n"
    )
    assert "Traceback" not in done.stderr
