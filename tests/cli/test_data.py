"""``fer-edge data``, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from fer_edge.cli import main
from fer_edge.cli.data import data
from fer_edge.labels import EMOTIONS
from fer_edge.monitor.detector import Face
from fer_edge.preprocess import Image
from fer_edge.shipped import FACES
from fer_edge.training.data.faces import load_faces
from fer_edge.training.evaluation import locate


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["data", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture
def drivers(tmp_path: Path) -> Path:
    """KMU-FED's form: six subjects, two expressions, three frames each."""
    folder = tmp_path / "kmu"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for subject in range(1, 7):
        for code in ("AN", "HA"):
            for frame in range(3):
                file = folder / f"{subject:02d}_{code}_mr_{frame:03d}.png"
                cv2.imwrite(str(file), rng.integers(0, 256, (24, 24), np.uint8))
    return folder


@pytest.mark.parametrize("command", sorted(data.commands))
def test_each_command_has_help_with_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: fer-edge data {command}" in " ".join(result.output.split())


def test_summary_is_a_table_or_json() -> None:
    assert "happiness             48        48        96" in run("summary", FACES).output
    found = json.loads(run("summary", FACES, "--json").stdout)
    assert found["parts"]["val"]["per_class"] == dict.fromkeys(EMOTIONS, 48)


def test_summary_ends_with_3_for_broken_pictures_unless_they_are_skipped(drivers: Path) -> None:
    (drivers / "01_AN_mr_009.png").write_bytes(b"no picture")
    for options, code in (((), 3), (("--broken", "skip"), 0)):
        result = run("summary", drivers, *options)
        assert result.exit_code == code
        assert "01_AN_mr_009" in result.output


def test_split_by_subject_and_read_it_again(drivers: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.h5"
    result = run("split", drivers, "-o", out, "--shares", "2,1", "--json")
    assert json.loads(result.stdout)["parts"] == {
        "train": {"anger": 12, "happiness": 12},
        "val": {"anger": 6, "happiness": 6},
    }
    found: dict[str, Any] = json.loads(run("summary", out, "--json").stdout)
    assert found["subjects_across"] == {"train/val": []}
    assert [part["subjects"] for part in found["parts"].values()] == [4, 2]


def test_split_into_a_list_and_into_folders(drivers: Path, tmp_path: Path) -> None:
    assert run("split", drivers, "-o", drivers.parent / "list.csv").exit_code == 0
    assert run("split", drivers, "-o", tmp_path / "f", "--as", "folders").exit_code == 0
    totals = [
        json.loads(run("summary", path, "--json").stdout)["parts"]["train"]["faces"]
        for path in (drivers.parent / "list.csv", tmp_path / "f")
    ]
    assert totals == [30, 30]


def test_packing_keeps_the_parts(tmp_path: Path) -> None:
    out = tmp_path / "faces.h5"
    assert run("pack", FACES, "-o", out).exit_code == 0
    packed, before = (json.loads(run("summary", p, "--json").stdout) for p in (out, FACES))
    assert packed["parts"] == before["parts"]


@pytest.mark.parametrize("shares", ["1", "0.5,x", "1,0", "1,1,1,1", "inf,1"])
def test_shares_that_are_none_are_wrong_usage(drivers: Path, shares: str) -> None:
    assert run("split", drivers, "-o", "x", "--shares", shares).exit_code == 2


def test_a_negative_seed_is_wrong_usage(drivers: Path) -> None:
    assert run("split", drivers, "-o", "x", "--seed=-1").exit_code == 2


def test_too_few_subjects_are_said(drivers: Path, tmp_path: Path) -> None:
    for file in drivers.glob("0[2-6]_*"):
        file.unlink()
    result = run("split", drivers, "-o", tmp_path / "out")
    assert result.exit_code == 3
    assert "too few subjects" in result.output
    assert not (tmp_path / "out").exists()


def test_a_part_that_is_not_there_is_said(drivers: Path, tmp_path: Path) -> None:
    result = run("split", drivers, "-o", tmp_path / "out", "--part", "test")
    assert result.exit_code == 3
    assert "train" in result.output


def test_user_defined_labels_are_named(tmp_path: Path, drivers: Path) -> None:
    (tmp_path / "own" / "drowsy").mkdir(parents=True)
    picture = next(drivers.iterdir()).read_bytes()
    (tmp_path / "own" / "drowsy" / "1.png").write_bytes(picture)
    unnamed = run("summary", tmp_path / "own")
    assert unnamed.exit_code == 0
    assert "taken from the data: drowsy" in unnamed.stderr
    assert run("summary", tmp_path / "own", "--labels", "alert,drowsy").exit_code == 0
    assert run("summary", tmp_path / "own", "--labels", "happy,drowsy").exit_code == 3


def test_fetch_explains_and_ends_with_3(tmp_path: Path) -> None:
    result = run("fetch", "raf-db", "-o", tmp_path)
    assert result.exit_code == 3
    assert "whdeng.cn" in result.output


def test_faces_are_cut_out_and_counted_without_labels(
    tmp_path: Path, drivers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each face is the box of the detector, widened by the margin."""

    class Middle:
        def detect(self, image: Image) -> list[Face]:
            third = image.shape[0] // 3
            return [Face((third, third, third, third), 0.9)]

    monkeypatch.setattr(locate, "require_detector", lambda file: Middle())
    out = tmp_path / "faces"
    source = f"{drivers}@labels=none,without=0/3"
    result = run("pack", source, "--find-faces", "--margin", "0.25", "-o", out)
    assert result.exit_code == 0, result.output
    faces = load_faces(f"{out}@labels=none", "train")
    assert 0 < len(faces) < 36
    assert f"{len(faces)} faces  unlabelled {len(faces)}" in result.output
    assert {face.read().shape for face in faces} == {(12, 12, 3)}


def test_a_detector_that_is_not_there_is_said(tmp_path: Path, drivers: Path) -> None:
    missing = tmp_path / "yunet.onnx"
    result = run("pack", drivers, "--detector", missing, "-o", tmp_path / "faces")
    assert result.exit_code == 3
    assert "yunet.onnx" in result.output
