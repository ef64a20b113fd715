"""``fer-edge embed``: files of embeddings, and their check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.shipped import FACES

HAPPY = FACES / "happiness.png"


def test_embed_writes_and_says_what(run: Any, fake_bundle: Path) -> None:
    result = run("embed", HAPPY, FACES / "fear.png", "--model", fake_bundle, "-o", "x.npz")
    assert result.exit_code == 0
    assert "x.npz: 2 faces" in result.stdout
    result = run("embed", "--data", FACES, "--model", fake_bundle, "-o", "x.parquet", "--json")
    assert json.loads(result.stdout)["faces"] == 336


def test_embed_check_ends_with_8_where_embeddings_tell_nothing(run: Any, fake_bundle: Path) -> None:
    result = run("embed", "--check", "--data", FACES, "--model", fake_bundle)
    assert result.exit_code == 8
    assert "chance" in result.stdout


def test_a_broken_image_does_not_stop_the_others(
    run: Any, fake_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "crops"
    folder.mkdir()
    for name in ("a", "c"):
        (folder / f"{name}.png").write_bytes(HAPPY.read_bytes())
    (folder / "b.png").write_bytes(HAPPY.read_bytes()[:40])
    arguments = ("embed", folder, "gone.png", "--model", fake_bundle, "-o", "x.npz")
    result = run(*arguments)
    assert result.exit_code == 3
    assert "x.npz: 2 faces" in result.stdout
    assert "b.png" in result.stderr
    assert "gone.png" in result.stderr
    with np.load("x.npz", allow_pickle=False) as file:
        assert [Path(str(name)).name for name in file["names"]] == ["a.png", "c.png"]
        assert len(file["embeddings"]) == len(file["confidences"]) == 2
    result = run(*arguments, "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert [Path(row["image"]).name for row in report["left_out"]] == ["b.png", "gone.png"]
    assert all(row["error"] for row in report["left_out"])


def test_files_that_are_no_images_are_counted(run: Any, fake_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    folder.mkdir()
    (folder / "a.HEIC").write_bytes(b"no JPEG")
    arguments = ("embed", folder, "--model", fake_bundle, "-o", "x.npz")
    result = run(*arguments)
    assert result.exit_code == 3
    assert "found none. 1 files were passed over: 1 .heic. " in result.stderr
    (folder / "a.HEIC").rename(folder / "b.avif")
    (folder / "a.png").write_bytes(HAPPY.read_bytes())
    result = run(*arguments)
    assert result.exit_code == 0
    assert "1 files were passed over: 1 .avif. JPEG, PNG, BMP and WebP images" in result.stderr
    assert json.loads(run(*arguments, "--json").stdout)["passed_over"] == {".avif": 1}
    assert run("embed", HAPPY, *arguments[2:]).stderr.count("passed over") == 0


def test_an_empty_folder_is_answered_with_what_to_name(
    run: Any, fake_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "crops").mkdir()
    result = run("embed", "crops", "--model", fake_bundle, "-o", "x.npz")
    assert result.exit_code == 3
    assert "found none. Name a folder of JPEG, PNG, BMP or WebP images" in result.stderr


@pytest.mark.parametrize("command", ["embed", "evaluate"])
def test_a_broken_picture_of_a_data_set_is_named_with_the_way_to_skip_it(
    run: Any, fake_bundle: Path, tmp_path: Path, command: str
) -> None:
    for label in ("happiness", "fear"):
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / "x.png").write_bytes((FACES / f"{label}.png").read_bytes())
    (tmp_path / "set" / "fear" / "y.png").write_bytes(b"no picture")
    model = ("--model",) if command == "embed" else ()
    rest = ("-o", "x.npz") if command == "embed" else ()
    result = run(command, *model, fake_bundle, "--data", "set", "--split", "none", *rest)
    assert result.exit_code == 3
    assert "y.png" in result.stderr
    assert "@broken=skip" in result.stderr
    result = run(
        command, *model, fake_bundle, "--data", "set@broken=skip", "--split", "none", *rest
    )
    assert result.exit_code == 0
    assert "y.png" in result.stderr
    assert "UserWarning" not in result.stderr


def test_a_part_needs_data(run: Any, fake_bundle: Path) -> None:
    result = run("embed", HAPPY, "--split", "val", "--model", fake_bundle, "-o", "x.npz")
    assert result.exit_code == 2
    assert "--split needs --data" in result.stderr
