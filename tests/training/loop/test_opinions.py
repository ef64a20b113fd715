"""Predictions in a file teach as a checkpoint does; a file that does not fit is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import CheckpointError, DataError
from fer_edge.labels import EMOTIONS
from fer_edge.training.checkpoint import load_checkpoint, save_checkpoint
from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.data.folds import fold_of
from fer_edge.training.data.holdout import Holdout, split_data
from fer_edge.training.loop.opinions import opinion_facts, read_opinion, write_opinion
from fer_edge.training.loop.targets import mirrored_opinion, train_targets
from fer_edge.training.loop.train import train
from fer_edge.training.loop.write_opinions import main, train_faces

pytestmark = pytest.mark.usefixtures("undrawn")

THREE = [LabelledFace(b"", "", name) for name in ("a", "b", "c")]
LOGITS = torch.eye(3, len(EMOTIONS))


def quiet(_: str) -> None:
    pass


def test_a_file_teaches_as_the_checkpoint_that_wrote_it(
    recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    out = tmp_path / "opinions.parquet"
    ran = CliRunner().invoke(main, ["default", "--data", str(few_faces), "-o", str(out)])
    assert ran.exit_code == 0, ran.output
    assert "84 faces" in ran.output
    split = split_data(few_faces, recipe.labels, Holdout.of(recipe), lambda *_: None)
    by_file, by_checkpoint = (
        train_targets(split, replace(recipe, data=replace(recipe.data, **more)), quiet)
        for more in ({"opinions": (str(out),)}, {"teachers": ("default",)})
    )
    assert torch.allclose(by_file, by_checkpoint, atol=1e-4)


@pytest.fixture(scope="module")
def fold_teachers(
    recipe: Recipe, few_faces: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Checkpoints trained without the first, and without the second half of the few faces."""
    runs = tmp_path_factory.mktemp("folds")
    return [
        str(train(recipe, f"{few_faces}@without={i}/2", runs / str(i), say=quiet)) for i in range(2)
    ]


def test_each_face_is_predicted_by_the_network_that_has_not_seen_it(
    fold_teachers: list[str], few_faces: Path, tmp_path: Path
) -> None:
    out, more = tmp_path / "opinions.parquet", tmp_path / "more"
    shutil.copytree(few_faces, more)
    table = pyarrow.parquet.read_table(few_faces / "faces-train.parquet")
    names = [f"more {i}" for i in range(len(table))]
    table = table.set_column(table.schema.get_field_index("name"), "name", pyarrow.array(names))
    pyarrow.parquet.write_table(table, more / "faces-train.parquet")
    args = [*fold_teachers, "--data", str(few_faces), "--unlabelled", str(more), "-o", str(out)]
    ran = CliRunner().invoke(main, args)
    assert ran.exit_code == 0, ran.output
    faces = train_faces((str(few_faces), str(more)), (), quiet)
    first, second = (
        mirrored_opinion(load_checkpoint(folder), faces, torch.device("cpu"))
        for folder in fold_teachers
    )
    mean = ((first + second) / 2).log_softmax(1)
    in_first = torch.tensor([fold_of(face.name, 2) == 0 for face in faces])
    expected = torch.where(in_first[:, None], first, second)
    expected[84:] = mean[84:]
    assert 20 < int(in_first[:84].sum()) < 64
    assert torch.allclose(read_opinion(out, faces, EMOTIONS), expected, atol=1e-4)


def test_a_teacher_of_the_faces_it_should_predict_is_refused(
    fold_teachers: list[str], few_faces: Path, tmp_path: Path
) -> None:
    for wrong, said in (
        (fold_teachers[::-1], "without fold 0/2"),
        ([*fold_teachers, fold_teachers[0]], "without fold 0/3"),
        (["default", "fast"], "its card says"),
    ):
        ran = CliRunner().invoke(
            main, [*wrong, "--data", str(few_faces), "-o", str(tmp_path / "o.parquet")]
        )
        assert ran.exit_code == DataError.exit_code
        assert said in ran.output
        assert "@without=0/" in ran.output


@pytest.mark.parametrize("data", ["fer2013", None, {"sources": 1}, {"sources": [1]}])
def test_a_teacher_that_states_no_data_is_refused_for_folds(
    untrained: Any, few_faces: Path, tmp_path: Path, data: object
) -> None:
    plain = untrained()
    save_checkpoint(replace(plain, facts={**plain.facts, "data": data}), tmp_path / "teacher")
    args = [*[str(tmp_path / "teacher")] * 2, "--data", str(few_faces)]
    ran = CliRunner().invoke(main, [*args, "-o", str(tmp_path / "o.parquet")])
    assert ran.exit_code == DataError.exit_code, ran.output
    assert "its card says nothing" in ran.output


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    args = [str(tmp_path), "--data", str(tmp_path), "-o", str(tmp_path / "o.parquet")]
    ran = CliRunner().invoke(main, args)
    assert ran.exit_code == CheckpointError.exit_code
    assert "checkpoint folder" in ran.output


@given(order=st.permutations(range(len(EMOTIONS))), faces=st.permutations(THREE))
def test_faces_and_labels_are_found_by_name(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], faces: list[LabelledFace]
) -> None:
    file = tmp_path_factory.mktemp("opinions") / "o.parquet"
    write_opinion(file, THREE, LOGITS[:, order], [EMOTIONS[i] for i in order])
    rows = [THREE.index(face) for face in faces]
    expected = LOGITS.double().log_softmax(1)[rows]
    assert torch.allclose(read_opinion(file, faces, EMOTIONS), expected)


def test_names_that_no_text_file_holds_are_found(tmp_path: Path) -> None:
    """Files of a folder may have names of any bytes; other programs write what they know."""
    file = tmp_path / "o.parquet"
    faces = [
        LabelledFace(b"", "", name) for name in ("f\udcfcr.png", "new\nline", "a\u00a0b\u200b")
    ]
    write_opinion(file, faces, LOGITS, EMOTIONS)
    expected = LOGITS.double().log_softmax(1)
    assert torch.allclose(read_opinion(file, faces, EMOTIONS), expected)
    table = pyarrow.parquet.read_table(file)
    names = pyarrow.array(["f\\udcfcr.png", "new\nline", "a\u00a0b\u200b"])
    pyarrow.parquet.write_table(table.set_column(0, "name", names), file)
    assert torch.allclose(read_opinion(file, faces, EMOTIONS), expected)


def test_a_face_without_a_prediction_is_named(tmp_path: Path) -> None:
    file = tmp_path / "o.parquet"
    write_opinion(file, THREE, LOGITS, EMOTIONS)
    with pytest.raises(DataError, match="lacks 1 of 4 faces, such as d"):
        read_opinion(file, [*THREE, LabelledFace(b"", "", "d")], EMOTIONS)


def test_names_must_tell_faces_apart(tmp_path: Path) -> None:
    file = tmp_path / "o.parquet"
    with pytest.raises(DataError, match="a is in the data sets 2 times"):
        write_opinion(file, [*THREE, THREE[0]], torch.zeros(4, 7), EMOTIONS)
    write_opinion(file, THREE, LOGITS, EMOTIONS)
    with pytest.raises(DataError, match="a is in the data sets of the run 2 times"):
        read_opinion(file, [*THREE, THREE[0]], EMOTIONS)


@pytest.mark.parametrize("fault", ["names", "a folder", "no folder"])
def test_faults_are_told_before_the_faces_are_predicted(
    few_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Predicting takes minutes."""

    def predicted(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("fer_edge.training.loop.write_opinions.mirrored_opinion", predicted)
    data, out = [f"--data={few_faces}"], tmp_path / "o.parquet"
    if fault == "names":
        data *= 2
    elif fault == "a folder":
        out.mkdir()
    else:
        (tmp_path / "file").write_bytes(b"")
        out = tmp_path / "file" / "o.parquet"
    ran = CliRunner().invoke(main, ["default", *data, "-o", str(out)])
    assert ran.exit_code == DataError.exit_code, ran.output
    assert ("is in the data sets 2 times" if fault == "names" else "cannot write") in ran.output


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "o.parquet"
    with pytest.raises(DataError, match="found none"):
        read_opinion(file, THREE, EMOTIONS)
    file.write_bytes(b"PAR1 no parquet")
    with pytest.raises(DataError, match=r"cannot read .*o\.parquet"):
        read_opinion(file, THREE, EMOTIONS)
    write_opinion(file, THREE, LOGITS[:, :6], EMOTIONS[:6])
    with pytest.raises(DataError, match=f"it lacks {EMOTIONS[6]}"):
        read_opinion(file, THREE, EMOTIONS)
    cells = ((float("-inf"), "finite"), ("much", "numbers"), (None, "numbers"), ([0.5], "numbers"))
    for name, (cell, message) in [*(("a", cell) for cell in cells), (["a"], (0.5, "as texts"))]:
        table = pyarrow.table({"name": [name], **{key: [cell] for key in EMOTIONS}})
        pyarrow.parquet.write_table(table, file)
        with pytest.raises(DataError, match=message):
            read_opinion(file, THREE[:1], EMOTIONS)


def test_the_card_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "o.parquet"
    write_opinion(file, THREE, LOGITS, EMOTIONS)
    (facts,) = opinion_facts([str(file)])["opinions"]
    assert facts["file"] == "o.parquet"
    assert len(facts["sha256"]) == 64
    assert opinion_facts([]) == {}
