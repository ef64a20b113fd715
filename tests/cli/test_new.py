"""``fer-edge new``, and the way from own pictures to a bundle that answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_edge.training.config.recipe import load_recipe

CLASSES = ("awake", "distracted", "drowsy")


def pictures(folder: Path, per_class: int = 20) -> Path:
    """Made-up pictures: a bright disc at the top, in the middle or at the bottom."""
    rng = np.random.default_rng(1)
    for i, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for n in range(per_class):
            image = rng.integers(0, 90, (48, 48), np.uint8)
            cv2.circle(image, (24 + int(rng.integers(-4, 5)), 10 + 14 * i), 7, 220, -1)
            cv2.imwrite(str(folder / name / f"{n}.png"), image)
    return folder


def test_new_writes_a_recipe_and_a_split(run: Any, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "drivers")
    (folder / "awake" / "copy.png").write_bytes((folder / "awake" / "0.png").read_bytes())
    result = run("new", "drivers")
    assert result.exit_code == 0, result.output
    recipe = load_recipe(tmp_path / "drivers.yaml")
    assert (recipe.name, recipe.labels) == ("drivers", CLASSES)
    assert recipe.data.sources == ("drivers.csv",)
    assert recipe.model.weights == "default"
    parts = dict(
        line.split(",")[:2] for line in (tmp_path / "drivers.csv").read_text("utf-8").split()[1:]
    )
    assert len(parts) == 61
    assert parts["drivers/awake/copy.png"] == parts["drivers/awake/0.png"]
    for command in ("train drivers.yaml", "evaluate", "convert", "predict", "--bundle drivers.fer"):
        assert f"fer-edge {command}" in result.output or command in result.output
    again = run("new", "drivers")
    assert again.exit_code == 3
    assert "exists already" in again.stderr


def test_new_names_the_next_step_for_odd_folders(run: Any, tmp_path: Path) -> None:
    assert "class folders" in run("new", "nowhere").stderr
    (tmp_path / "flat").mkdir()
    result = run("new", "flat")
    assert result.exit_code == 3
    assert "flat/awake" in result.stderr
    assert not (tmp_path / "flat.yaml").exists()


def test_a_folder_from_macos_has_an_umlaut_in_two_characters(run: Any, tmp_path: Path) -> None:
    pictures(tmp_path / "drivers", 6)
    (tmp_path / "drivers" / "drowsy").rename(tmp_path / "drivers" / "schla\u0308frig")
    result = run("new", "drivers")
    assert result.exit_code == 0, result.output
    labels = load_recipe(tmp_path / "drivers.yaml").labels
    assert labels == ("awake", "distracted", "schl\u00e4frig")
    assert "schla\u0308frig/" in (tmp_path / "drivers.csv").read_text("utf-8")


def test_a_divided_folder_is_not_split(run: Any, tmp_path: Path) -> None:
    pictures(tmp_path / "own" / "train", 3)
    pictures(tmp_path / "own" / "val", 2)
    assert run("new", "own", "-o", "mine.yaml").exit_code == 0
    assert load_recipe(tmp_path / "mine.yaml").data.sources == ("own",)
    assert not (tmp_path / "own.csv").exists()


@pytest.mark.parametrize("name", ["val", "validation", "test"])
def test_new_refuses_a_folder_without_a_part_to_train_on(
    run: Any, tmp_path: Path, name: str
) -> None:
    pictures(tmp_path / "own" / name, 6)
    result = run("new", "own")
    assert result.exit_code == 3
    assert f"Rename the folder own/{name} to train" in " ".join(result.stderr.split())
    assert not (tmp_path / "own.yaml").exists()
    (tmp_path / "own" / name).rename(tmp_path / "own" / "train")
    assert run("new", "own").exit_code == 0


def test_new_says_what_to_add_to_too_small_a_folder(run: Any, tmp_path: Path) -> None:
    pictures(tmp_path / "few", 3)
    result = run("new", "few")
    assert result.exit_code == 3
    assert "awake 3, distracted 3, drowsy 3. Add pictures" in result.stderr
    (tmp_path / "one" / "awake").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "one" / "awake" / "a.png"), np.eye(48, dtype=np.uint8) * 200)
    result = run("new", "one")
    assert result.exit_code == 3
    assert "found only awake. Add a folder" in result.stderr


def test_new_leaves_nothing_behind_if_it_cannot_end(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "drivers")
    assert run("new", "drivers", "-o", "nowhere/drivers.yaml").exit_code == 3
    assert not (tmp_path / "drivers.csv").exists()
    (tmp_path / "drivers.csv").write_text("")
    result = run("new", "drivers")
    assert (result.exit_code, "an earlier fer-edge new. Remove it first" in result.stderr) == (
        3,
        True,
    )


def test_new_without_the_extra_writes_nothing(tmp_path: Path) -> None:
    """In a process of its own: what other tests have imported is not imported again."""
    pictures(tmp_path / "drivers")
    script = "import sys\nsys.modules['yaml'] = None\nfrom fer_edge.cli import main\n"
    command = [sys.executable, "-P", "-c", f"{script}main(['new', 'drivers'])"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert done.returncode == 5, done.stderr
    assert "fer-edge[train]" in done.stderr
    assert not (tmp_path / "drivers.csv").exists()


def test_new_notes_photos_that_are_no_crops(run: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in ("awake", "drowsy"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for n in range(5):
            image = rng.integers(0, 255, (480, 640), np.uint8)
            cv2.imwrite(str(tmp_path / "photos" / name / f"{n}.png"), image)
    result = run("new", "photos")
    assert result.exit_code == 0
    assert "10 of 10 pictures looked at are large or not square" in result.stderr
    pictures(tmp_path / "drivers")
    assert "looked at" not in run("new", "drivers").stderr


def test_new_asks_for_other_pictures_if_all_are_copies(run: Any, tmp_path: Path) -> None:
    for name in ("awake", "drowsy"):
        (tmp_path / "same" / name).mkdir(parents=True)
        for n in range(5):
            picture = tmp_path / "same" / name / f"{n}.png"
            cv2.imwrite(str(picture), np.eye(48, dtype=np.uint8) * 200)
    result = run("new", "same")
    assert result.exit_code == 3
    assert result.stderr.strip().endswith("Add other pictures")
    assert "--" not in result.stderr
    assert not (tmp_path / "same.csv").exists()


def test_new_refuses_a_folder_whose_name_no_recipe_can_have(run: Any, tmp_path: Path) -> None:
    name = "n" * 101
    pictures(tmp_path / name, 5)
    result = run("new", name)
    assert (result.exit_code, "Choose another name" in result.stderr) == (3, True)
    assert not (tmp_path / f"{name}.yaml").exists()


@pytest.mark.slow
def test_from_pictures_to_a_bundle_that_answers(run: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    pictures(tmp_path / "drivers")
    assert run("new", "drivers").exit_code == 0
    tiny = ["model.backbone=test_byobnet", "model.weights=null", "input.size_px=48"]
    tiny += ["augment.crop_px=44", "fit.epochs=3", "fit.lr=0.003", "fit.workers=0"]
    settings = [part for override in tiny for part in ("--set", override)]
    result = run("train", "drivers.yaml", "--bundle", "drivers.fer", *settings)
    assert result.exit_code == 0, result.output
    assert "random weights" in result.stderr
    assert "held-out accuracy" in result.stderr
    assert "12 faces of val" in result.stderr
    picture = "drivers/awake/0.png"
    answer = json.loads(
        run("predict", picture, "--crop", "--bundle", "drivers.fer", "--json").stdout
    )
    (face,) = answer[0]["faces"]
    assert set(face["probabilities"]) == set(CLASSES)
    evaluated = run("evaluate", "drivers.fer", "--data", "drivers.csv", "--json")
    assert evaluated.exit_code == 0, evaluated.output
    assert json.loads(evaluated.stdout)["inputs"][0]["deduplicated"]["faces"] == 12
    embedded = run("embed", "--data", "drivers.csv", "--model", "drivers.fer", "-o", "e.npz")
    assert embedded.exit_code == 0, embedded.output
    checked = run("embed", "--check", "--data", "drivers.csv", "--model", "drivers.fer")
    assert checked.exit_code in (0, 8), checked.output
    measured = run(
        "bench", "drivers.fer", "--data", "drivers.csv", "--scenario", "single", "--budget-s", "0.2"
    )
    assert measured.exit_code == 0, measured.output
    again = run("train", "drivers.yaml", "--bundle", "drivers.fer")
    assert again.exit_code == 6
    assert "holds a run already" in again.stderr
    _serve(tmp_path / "drivers.fer", tmp_path / picture)
    _watch(run, tmp_path, tmp_path / picture)


def _serve(bundle: Path, picture: Path) -> None:
    from starlette.testclient import TestClient

    from fer_edge import Predictor
    from fer_edge.service.app import create_app

    with Predictor(bundle) as predictor:
        client = TestClient(create_app(predictor), base_url="http://127.0.0.1")
        answer = client.post("/predict", files={"image": ("a.png", picture.read_bytes())})
    assert answer.status_code == 200, answer.text
    (face,) = answer.json()["faces"]
    assert set(face["probabilities"]) == set(CLASSES)


def _watch(run: Any, folder: Path, picture: Path) -> None:
    """Draw a clip of one picture, and write its events."""
    frame = cv2.resize(cv2.imread(str(picture)), (192, 192))
    writer = cv2.VideoWriter(
        str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (192, 192)
    )
    for _ in range(50):
        writer.write(frame)
    writer.release()
    rules = [part for name in CLASSES for part in ("--event", f"{name}=0.4")]
    done = run(
        "video", "clip.mp4", "--bundle", "drivers.fer", "--whole-frame", "--save", "out.mp4",
        "--events", "events.jsonl", "--json", "--event", "unknown=0.4", *rules,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (folder / "out.mp4").stat().st_size > 0
    events = json.loads(done.stdout)["events"]
    assert events
    assert set(events) <= {*CLASSES, "unknown"}
