"""Several sources are merged for a run, and no picture or subject is trained on and judged on."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.cli import main
from fer_edge.errors import DataError, LabelError, MissingPartError
from fer_edge.labels import EMOTIONS
from fer_edge.progress import silent
from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import pixel_hash
from fer_edge.training.data.holdout import (
    Holdout,
    Split,
    hold_out,
    hold_out_photographs,
    split_data,
)


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def write(path: Path, seeds: range, labels: tuple[str, ...] = EMOTIONS) -> Path:
    """Pictures by seed, their labels in turn."""
    path.parent.mkdir(exist_ok=True)
    columns = {
        "image": [{"bytes": png(seed), "path": None} for seed in seeds],
        "label": [labels[seed % len(labels)] for seed in seeds],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def run(recipe: Recipe, *sources: Path | str | DatasetSpec) -> tuple[Split, list[str]]:
    said: list[str] = []
    return split_data(
        sources, recipe.labels, Holdout.of(recipe), lambda *_: None, said.append
    ), said


def hashes(split: Split) -> set[str]:
    return {pixel_hash(face) for face in (*split.train, *split.held_out)}


def test_sources_are_merged_and_each_may_give_train_or_val(tmp_path: Path, recipe: Recipe) -> None:
    one = write(tmp_path / "one" / "train.parquet", range(0, 28)).parent
    other = write(tmp_path / "other" / "train.parquet", range(28, 70)).parent
    write(other / "val.parquet", range(0, 7))
    third = write(tmp_path / "third-val.parquet", range(28, 35))
    split, _ = run(recipe, one, other, third)
    assert len(split.train) + len(split.held_out) == 70 - 7 - 7
    assert split.dropped == 14  # duplicates of any val, whichever source it came with
    assert hashes(split).isdisjoint(
        hash_ for n in (*range(7), *range(28, 35)) for hash_ in [pixel_hash_of(n)]
    )


def pixel_hash_of(seed: int) -> str:
    from fer_edge.training.data.faces import LabelledFace

    return pixel_hash(LabelledFace(png(seed), "fear", "x"))


def test_the_order_of_sources_does_not_change_the_fingerprint(
    tmp_path: Path, recipe: Recipe
) -> None:
    one = write(tmp_path / "one.parquet", range(0, 28))
    other = write(tmp_path / "other.parquet", range(28, 56))
    there, back = run(recipe, one, other)[0], run(recipe, other, one)[0]
    assert there.fingerprint == back.fingerprint
    assert {pixel_hash(f) for f in there.held_out} == {pixel_hash(f) for f in back.held_out}


def test_one_source_is_taken_as_before(tmp_path: Path, recipe: Recipe) -> None:
    path = write(tmp_path / "one.parquet", range(28))
    alone = split_data(path, recipe.labels, Holdout.of(recipe), lambda *_: None)
    assert alone == run(recipe, path)[0]


def test_sources_without_train_are_refused(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(MissingPartError, match="train"):
        run(recipe, write(tmp_path / "set-val.parquet", range(28)))
    with pytest.raises(DataError, match="at least one"):
        run(recipe)


def test_whole_subjects_are_held_out(tmp_path: Path, recipe: Recipe) -> None:
    for subject in range(1, 9):
        for i, code in enumerate(("AN", "DI", "FE", "HA", "SA", "SU")):
            name = f"{subject:02d}_{code}_mr_{i:03d}.png"
            (tmp_path / name).write_bytes(png(100 * subject + i))
    split, _ = run(recipe, tmp_path)
    held = {face.subject for face in split.held_out}
    assert held
    assert held.isdisjoint(face.subject for face in split.train)


def test_whole_clips_are_held_out_where_subjects_are_unknown(
    tmp_path: Path, recipe: Recipe
) -> None:
    columns = {
        "image": [{"bytes": png(seed), "path": None} for seed in range(280)],
        "label": [EMOTIONS[seed // 8 % 7] for seed in range(280)],
        "clip": [f"drive-{seed // 8}" for seed in range(280)],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    split, _ = run(recipe, tmp_path / "train.parquet")
    held = {face.clip for face in split.held_out}
    assert len(held) * 8 == len(split.held_out)
    assert held.isdisjoint(face.clip for face in split.train)


@pytest.mark.parametrize("column", ["subject", "clip"])
def test_subjects_and_clips_in_train_and_in_val_are_counted(
    tmp_path: Path, recipe: Recipe, column: str
) -> None:
    for part, first in (("train", 0), ("val", 100)):
        columns = {
            "image": [{"bytes": png(seed), "path": None} for seed in range(first, first + 56)],
            "label": [EMOTIONS[seed % 7] for seed in range(56)],
            column: [f"{part if seed < 28 else 'both'}-{seed // 14}" for seed in range(56)],
        }
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / f"{part}.parquet")
    _, said = run(recipe, tmp_path)
    assert any(text.startswith("2 subject(s) or clip(s) are in train and in val") for text in said)


def test_clips_of_two_subjects_may_have_one_name(tmp_path: Path, recipe: Recipe) -> None:
    for part, first in (("train", 0), ("val", 100)):
        columns = {
            "image": [{"bytes": png(seed), "path": None} for seed in range(first, first + 56)],
            "label": [EMOTIONS[seed % 7] for seed in range(56)],
            "subject": [f"{part}-{seed // 14}" for seed in range(56)],
            "clip": [f"clip-{seed // 14}" for seed in range(56)],
        }
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / f"{part}.parquet")
    _, said = run(recipe, tmp_path)
    assert not any("are in train and in val" in text for text in said)


def listed(folder: Path, column: str, groups: int, each: int) -> Path:
    """A list of faces; every group has ``each`` pictures of anger and of fear."""
    lines = [f"path,label,{column}"]
    for number in range(groups * each * 2):
        (folder / f"{number}.png").write_bytes(png(number))
        lines.append(f"{number}.png,{('anger', 'fear')[number % 2]},p{number // (2 * each)}")
    (folder / "list.csv").write_text("\n".join(lines))
    return folder / "list.csv"


@pytest.mark.parametrize("column", ["subject", "clip"])
@pytest.mark.parametrize(
    ("groups", "share"), [(2, 0.05), (2, 0.2), (5, 0.05), (8, 0.05), (10, 0.05)]
)
def test_a_group_is_held_out_although_the_share_is_less_than_half_of_it(
    tmp_path: Path, recipe: Recipe, column: str, groups: int, share: float
) -> None:
    path = listed(tmp_path, column, groups, 3)
    changed = replace(recipe, labels=("anger", "fear"), data=replace(recipe.data, holdout=share))
    split, _ = run(changed, path)
    assert len({getattr(face, column) for face in split.held_out}) == 1
    assert len(split.held_out) == 6
    assert len(split.train) == 6 * (groups - 1)
    assert run(changed, path)[0] == split
    others = [run(replace(changed, seed=seed), path)[0].held_out for seed in range(9)]
    assert any(held_out != split.held_out for held_out in others)


def test_the_group_held_out_leaves_every_class_faces(tmp_path: Path, recipe: Recipe) -> None:
    """The smallest group has all faces of fear, so the next larger one is held out."""
    lines = ["path,label,subject"]
    for number, (label, subject) in enumerate(
        [("fear", "a")] * 2 + [("anger", "b")] * 3 + [("anger", "c")] * 4
    ):
        (tmp_path / f"{number}.png").write_bytes(png(number))
        lines.append(f"{number}.png,{label},{subject}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    changed = replace(recipe, labels=("anger", "fear"), data=replace(recipe.data, holdout=0.01))
    split, _ = run(changed, tmp_path / "list.csv")
    assert {face.subject for face in split.held_out} == {"b"}


@pytest.mark.parametrize("column", ["subject", "clip"])
def test_faces_of_one_subject_or_clip_are_refused(
    tmp_path: Path, recipe: Recipe, column: str
) -> None:
    path = listed(tmp_path, column, 1, 10)
    with pytest.raises(DataError, match=r"at least two subjects or clips.*got one\. Add faces"):
        run(replace(recipe, labels=("anger", "fear")), path)


def test_a_broken_picture_is_an_error_or_left_out_by_its_source(
    tmp_path: Path, recipe: Recipe
) -> None:
    folder = tmp_path / "set"
    for seed in range(28):
        below = folder / EMOTIONS[seed % 7]
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{seed}.png").write_bytes(png(seed))
    (folder / "fear" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 of 29.*broken\.png.*with \S*set@broken=skip$"):
        run(recipe, folder)
    split, said = run(recipe, f"{folder}@broken=skip")
    assert len(split.train) + len(split.held_out) == 28
    assert [text for text in said if "broken.png" in text]


def test_user_defined_labels_go_through(tmp_path: Path, recipe: Recipe) -> None:
    own = ("alert", "drowsy")
    path = write(tmp_path / "set.parquet", range(20), own)
    split, _ = run(replace(recipe, labels=own), path)
    assert {face.label for face in split.train} == set(own)
    with pytest.raises(LabelError, match=r"alert.*drowsy"):
        run(recipe, path)


def test_one_label_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    path = write(tmp_path / "set.parquet", range(20), ("me",))
    with pytest.raises(LabelError, match=r"two labels to tell apart, got me\. Add faces"):
        split_data(path, ("me",), Holdout.of(recipe), lambda *_: None)


def test_one_folder_of_a_class_trains_nothing(tmp_path: Path) -> None:
    (tmp_path / "faces" / "me").mkdir(parents=True)
    for seed in range(9):
        (tmp_path / "faces" / "me" / f"{seed}.png").write_bytes(png(seed))
    command = ["train", "edge-fast", "--data", str(tmp_path / "faces")]
    done = CliRunner().invoke(main, [*command, "-o", str(tmp_path / "run")])
    assert done.exit_code == LabelError.exit_code
    assert "two labels to tell apart, got me" in done.output


def test_train_takes_several_sources_on_the_command_line(tmp_path: Path, recipe: Recipe) -> None:
    fit = replace(recipe.fit, epochs=1, patience=1)
    content = replace(recipe, fit=fit, labels=("anger", "fear")).as_dict()
    plain = json.loads(json.dumps(content))  # YAML is fed lists, not tuples
    del plain["model"]["neck"]
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(plain))
    for name, first in (("one", 0), ("other", 24)):
        for seed in range(first, first + 24):
            below = tmp_path / name / ("anger", "fear")[seed % 2]
            below.mkdir(parents=True, exist_ok=True)
            (below / f"{seed}.png").write_bytes(png(seed))
    (tmp_path / "one" / "fear" / "broken.png").write_bytes(b"no picture")
    options = ["--data", str(tmp_path / "one"), "--data", str(tmp_path / "other")]
    command = ["train", str(tmp_path / "tiny.yaml"), *options, "-o", str(tmp_path / "run")]
    failed = CliRunner().invoke(main, command)
    assert failed.exit_code == 3
    assert "broken.png" in failed.output
    result = CliRunner().invoke(main, [*command, "--broken", "skip"])
    assert result.exit_code == 0, result.output
    assert "broken.png" in result.output
    data = json.loads((tmp_path / "run" / "run.json").read_text())["data"]
    assert data["train_faces"] + data["held_out_faces"] == 48
    assert data["sources"] == ["one@broken=skip", "other@broken=skip"]


# --- the choice itself ---------------------------------------------------------------------------

PICTURES = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(EMOTIONS)), min_size=2, max_size=120
)
"""(picture, label): few pictures, so that most rows have duplicates, some contradictory."""


@given(PICTURES, st.floats(0.01, 0.5), st.integers(0, 1000))
def test_hold_out_never_parts_duplicates_and_takes_every_class(
    rows: list[tuple[int, str]], share: float, seed: int
) -> None:
    hashes, labels = [str(p) for p, _ in rows], [label for _, label in rows]
    held_out = set(hold_out(hashes, labels, share, seed))
    inside, outside = (
        {h for i, h in enumerate(hashes) if (i in held_out) is s} for s in (True, False)
    )
    assert not inside & outside
    assert {labels[i] for i in held_out} == set(labels)
    assert hold_out(hashes, labels, share, seed) == sorted(held_out)


@given(st.integers(20, 60), st.floats(0.05, 0.5), st.integers(0, 1000))
def test_hold_out_takes_its_share_of_each_class(count: int, share: float, seed: int) -> None:
    labels = [name for name in EMOTIONS for _ in range(count)]
    held_out = hold_out([str(i) for i in range(len(labels))], labels, share, seed)
    assert Counter(labels[i] for i in held_out) == dict.fromkeys(EMOTIONS, round(share * count))


def test_hold_out_depends_on_the_seed() -> None:
    hashes = [str(i) for i in range(200)]
    parts = {tuple(hold_out(hashes, ["anger"] * 200, 0.1, seed)) for seed in range(5)}
    assert len(parts) == 5


@given(PICTURES, st.floats(0.01, 0.5), st.integers(0, 1000), st.integers(1, 31))
def test_copies_of_a_photograph_are_never_parted(
    rows: list[tuple[int, str]], share: float, seed: int, photographs: int
) -> None:
    pictures, labels = [p for p, _ in rows], [label for _, label in rows]
    hashes = [str(p) for p in pictures]

    def copies(digest: str) -> set[str]:
        return {h for h in hashes if (int(h) - int(digest)) % photographs == 0}

    held_out = hold_out_photographs(hashes, labels, share, seed, copies, silent)
    parts: tuple[set[int], set[int]] = set(), set()
    for i, picture in enumerate(pictures):
        parts[i in held_out].add(picture % photographs)
    assert not parts[0] & parts[1]
    assert {labels[i] for i in held_out} == set(labels)
    assert held_out == sorted(held_out)


def test_photographs_with_many_copies_are_held_out_as_often_as_others() -> None:
    """Nine tenths of the photographs are one picture each, the others have ten copies."""
    photographs = [[str(100 * n + k) for k in range(10 if n % 10 == 0 else 1)] for n in range(400)]
    group = {h: set(copies) for copies in photographs for h in copies}
    hashes, held_out = list(group), Counter[int]()
    for seed in range(30):
        chosen = hold_out_photographs(
            hashes, ["anger"] * len(hashes), 0.1, seed, group.__getitem__, silent
        )
        held_out.update(len(group[hashes[i]]) for i in chosen)
    shares = {size: held_out[size] / 30 / (360 if size == 1 else 400) for size in (1, 10)}
    assert shares[1] == pytest.approx(0.1, abs=0.02)
    assert shares[10] == pytest.approx(0.1, abs=0.02)


def test_a_recipe_holds_out_by_photograph(tmp_path: Path, recipe: Recipe) -> None:
    """Each picture has a copy in another tone: by picture, many are parted; by photograph, none."""
    folder = tmp_path / "faces"
    for seed in range(28):
        smooth = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (48, 48)), (0, 0), 3)
        for name, gain in (("a", 400), ("b", 300)):
            path = folder / EMOTIONS[seed % 7] / f"{seed}{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.clip(128 + gain * smooth, 0, 255).astype(np.uint8))

    def parted(changed: Recipe) -> set[str]:
        split = run(changed, folder)[0]
        assert len(split.train) + len(split.held_out) == 56
        names = [
            {Path(face.name).stem[:-1] for face in part} for part in (split.train, split.held_out)
        ]
        return names[0] & names[1]

    by_photograph = replace(recipe, data=replace(recipe.data, holdout_by="photograph"))
    assert parted(recipe)
    assert not parted(by_photograph)
    assert run(by_photograph, folder)[0] == run(by_photograph, folder)[0]


def test_a_card_states_how_faces_were_held_out(recipe: Recipe) -> None:
    facts = {"recipe": recipe.as_dict()}
    assert Holdout.stated(facts) == Holdout.of(recipe)
    changed = replace(recipe, data=replace(recipe.data, holdout_by="photograph"))
    assert Holdout.stated({"recipe": changed.as_dict()}) == Holdout.of(changed)
    assert Holdout.of(changed).by == "photograph"
    older = recipe.as_dict()
    del older["data"]["holdout_by"]
    assert Holdout.stated({"recipe": older}) == Holdout.of(recipe)
    for card in ({}, {"recipe": None}, {"recipe": {"data": 1}}, {"recipe": {"seed": 1}}):
        assert Holdout.stated(card) is None
