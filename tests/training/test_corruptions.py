"""Risk against coverage under corruptions: rows, the bar and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from fer_edge.errors import DataError, InputError
from fer_edge.shipped import FACES
from fer_edge.training import corruptions
from fer_edge.training.corruptions import (
    CLEAN,
    CORRUPTIONS,
    NO_FACE,
    NON_FACES,
    draw,
    main,
    markdown,
    risk_coverage,
)
from fer_edge.training.evaluation.picture_changes import as_picture
from fer_edge.training.evaluation.runner import open_model


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from fer_edge.backends.fake import write_fake_bundle

    bundle = write_fake_bundle(tmp_path_factory.mktemp("bundle") / "fake.fer")
    with open_model(bundle) as runner:
        return risk_coverage(runner, FACES, faces=21)


def test_there_is_a_row_for_each_corruption_and_severity(rows: Any) -> None:
    names = [(row["corruption"], row["severity"]) for row in rows]
    assert names[0] == (CLEAN, "")
    drawn = [(NO_FACE, name) for name in NON_FACES]
    assert names[1:] == [(name, key) for name, by in CORRUPTIONS.items() for key in by] + drawn
    for row in rows[: -len(drawn)]:  # the fake engine always answers neutral, with 0.9
        assert row["right"] == pytest.approx(1 / 7)
        assert row["answered"] == 1
        assert row["ece"] == pytest.approx(0.9 - 1 / 7, abs=1e-5)
        assert not row["passes"]
        assert row["curve"][-1] == [1.0, pytest.approx(6 / 7)]


def test_in_car_effects_take_red_for_red() -> None:
    """Red is nearest to near infrared; OpenCV's pictures begin with blue. A mask is bluish."""
    blue, red = (np.zeros((48, 48, 3), np.uint8) for _ in range(2))
    blue[..., 0] = red[..., 2] = 200
    rng = np.random.default_rng(0)
    infrared, mask = (CORRUPTIONS[name]["drawn"] for name in ("near infrared", "mask"))
    assert infrared(red, rng).mean() > infrared(blue, rng).mean()
    grey = np.full((48, 48, 3), 120, np.uint8)
    colour = np.mean([mask(grey, rng)[36:, 12:36] for _ in range(8)], (0, 1, 2))
    assert colour[0] > colour[2]


def test_pictures_without_a_face_are_not_to_be_answered(rows: Any) -> None:
    for row in rows[-len(NON_FACES) :]:
        assert row["answered"] == 1
        assert row["right"] is row["right_of_answered"] is row["ece"] is None
        assert not row["passes"]


def test_crops_of_a_picture_without_faces_have_a_row_of_their_own(
    fake_bundle: Path, tmp_path: Path
) -> None:
    """A picture of 9x7 pixels has crops of 1 to 6 pixels, all inside it."""
    seen, photo = [], tmp_path / "tree.png"
    cv2.imwrite(str(photo), np.arange(9 * 7 * 3, dtype=np.uint8).reshape(9, 7, 3))
    with open_model(fake_bundle) as runner:
        judge = runner.judge
        object.__setattr__(runner, "judge", lambda *args: seen.append(args) or judge(*args))
        last = risk_coverage(runner, FACES, faces=21, without_faces=[photo])[-1]
    assert (last["corruption"], last["severity"], last["answered"]) == (NO_FACE, "tree.png", 1)
    shapes = {crop.shape for crop in seen[-1][0]}
    assert len(seen[-1][0]) == 21
    assert shapes <= {(side, side, 3) for side in range(1, 7)}
    assert len(shapes) > 1


def test_a_picture_that_cannot_be_read_is_named(fake_bundle: Path, tmp_path: Path) -> None:
    bad = tmp_path / "cat.png"
    bad.write_bytes(b"meow")
    done = CliRunner().invoke(main, [str(fake_bundle), f"--data={FACES}", f"--without-faces={bad}"])
    assert done.exit_code == InputError.exit_code
    assert str(bad) in done.output


@pytest.mark.parametrize("name", NON_FACES)
def test_a_picture_without_a_face_is_drawn_anew_and_not_flat(name: str) -> None:
    rng = np.random.default_rng(0)
    one, other = (as_picture(NON_FACES[name](rng)) for _ in range(2))
    assert one.std() > 10
    assert (one != other).any()


def test_table_and_picture_have_every_corruption(rows: Any) -> None:
    text = markdown(rows)
    assert all(f"| {name}" in text for name in (CLEAN, *CORRUPTIONS, NO_FACE))
    assert draw(rows, "title")[:4] == b"\x89PNG"


def test_unfamiliar_faces_are_answered_last() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]], np.float32)
    abstains, truth = np.array([True, False, True]), np.array([1, 0, 0])
    row = corruptions._figures(probabilities, abstains, truth, 0.7)
    assert row["answered"] == pytest.approx(1 / 3)
    assert row["right_of_answered"] == 1
    assert row["passes"]
    assert row["curve"][0] == [pytest.approx(1 / 3), 0.0]
    assert row["curve"][-1] == [1.0, pytest.approx(1 / 3)]


def test_few_answers_pass_and_none_is_no_accuracy() -> None:
    probabilities = np.full((10, 2), 0.5, np.float32)
    row = corruptions._figures(probabilities, np.ones(10, bool), np.zeros(10, int), 0.7)
    assert row["passes"]
    assert row["right_of_answered"] is None


def test_the_command_writes_the_picture(fake_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "curves.png"
    done = CliRunner().invoke(
        main, [str(fake_bundle), "--data", str(FACES), "--faces", "20", "-o", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "| clean |" in done.output
    assert out.read_bytes()[:4] == b"\x89PNG"


def test_a_second_run_in_the_process_gives_the_same_faces(fake_bundle: Path) -> None:
    seen: list[bytes] = []
    with open_model(fake_bundle) as runner:
        judge = runner.judge

        def watching(pictures: Any, *rest: Any) -> Any:
            seen.append(b"".join(picture.tobytes() for picture in pictures))
            return judge(pictures, *rest)

        object.__setattr__(runner, "judge", watching)
        for _ in range(2):
            risk_coverage(runner, FACES, faces=7)
    half = len(seen) // 2
    assert seen[:half] == seen[half:]


@pytest.mark.parametrize("fault", ["no model", "no data", "no folder"])
def test_the_command_says_what_is_wrong(fake_bundle: Path, tmp_path: Path, fault: str) -> None:
    model = tmp_path / "none.fer" if fault == "no model" else fake_bundle
    data = tmp_path / "none" if fault == "no data" else FACES
    (tmp_path / "file").write_bytes(b"")
    out = tmp_path / ("file" if fault == "no folder" else "none") / "curves.png"
    done = CliRunner().invoke(main, [str(model), f"--data={data}", "--faces=20", f"-o{out}"])
    assert done.exit_code > 1
    assert done.output.startswith("corruptions: ")
    assert str(out) in done.output or fault != "no folder"


def test_a_picture_of_another_kind_is_refused_before_the_work(
    fake_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "curves.jpg"
    done = CliRunner().invoke(main, [str(fake_bundle), "--data", str(tmp_path), f"-o{out}"])
    assert done.exit_code == DataError.exit_code
    assert f"ends in .png for the curves, got {out}. Choose one with -o" in done.output
    assert not out.exists()


def test_the_name_of_a_shipped_model_is_a_model() -> None:
    done = CliRunner().invoke(main, ["fast", "--data", "nowhere"])
    assert done.exit_code == DataError.exit_code
    assert "nowhere" in done.output
