"""Known pictures, in every form in which a data set comes, land on the right names."""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import cv2
import datasets
import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from fer_edge.errors import DataError, FerEdgeError, LabelError, MissingPartError
from fer_edge.labels import EMOTIONS, EMOTIONS_8, SOURCE_ORDERS, label_map, label_of_number
from fer_edge.shipped import FACES
from fer_edge.training.data import ferplus
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import hash_of, hashed, load_faces, pixel_hash
from fer_edge.training.data.readers import tables as source_tables
from fer_edge.training.loop.dataset import FaceDataset
from fer_edge.training.models.network import InputSpec

# The table of orders as the sources print them, written out here a second time.
KAGGLE = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
FOLDERS = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
AFFECTNET = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"]
RAF_DB = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]
FERPLUS = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust"]
FERPLUS += ["fear", "contempt", "unknown", "NF"]
MEANT = {"angry": "anger", "happy": "happiness", "sad": "sadness"}


def meant(name: str) -> str:
    return MEANT.get(name, name)


def known(name: str) -> np.ndarray[Any, Any]:
    """The shipped composite of a class, grey 48x48; contempt has none, so a mirrored one."""
    mirrored = name == "contempt"
    file = FACES / f"{'disgust' if mirrored else meant(name)}.png"
    image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return np.ascontiguousarray(image[:, ::-1]) if mirrored else image


def png(name: str) -> bytes:
    return cv2.imencode(".png", known(name))[1].tobytes()


def jpg(name: str) -> bytes:
    return cv2.imencode(".jpg", known(name), [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


def text(name: str) -> str:
    return " ".join(map(str, known(name).ravel()))


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def struct(name: str) -> dict[str, Any]:
    return {"bytes": png(name), "path": None}


# --- a small real data set of each form ----------------------------------------------------------


def class_folders(root: Path) -> str:
    for name in FOLDERS:
        put(root / "train" / name / "1.png", png(name))
    return str(root)


def numbered_folders(root: Path) -> str:
    for number, name in enumerate(FOLDERS):
        put(root / str(number) / "1.png", png(name))
    return f"{root}@order=fer2013-folders"


def numbered_affectnet(root: Path) -> str:
    for number, name in enumerate(AFFECTNET):
        put(root / "train" / str(number) / "1.jpg", jpg(name))
    return f"{root}@order=affectnet-8"


def numbered_raf_db(root: Path) -> str:
    for number, name in enumerate(RAF_DB, start=1):
        put(root / "train" / str(number) / "1.jpg", jpg(name))
    return f"{root}@order=raf-db"


def own_order(root: Path) -> str:
    for number, name in enumerate(RAF_DB):
        put(root / str(number) / "1.png", png(name))
    return f"{root}@order={'/'.join(RAF_DB)}"


def fer2013_csv(root: Path) -> str:
    rows = [f"{number},{text(name)},Training" for number, name in enumerate(KAGGLE)]
    put(root / "fer2013.csv", "\n".join(["emotion,pixels,Usage", *rows, ""]).encode())
    return str(root / "fer2013.csv")


def icml_csv(root: Path) -> str:
    rows = [f"{number},Training,{text(name)}" for number, name in enumerate(KAGGLE)]
    put(root / "icml_face_data.csv", "\n".join(["emotion, Usage, pixels", *rows]).encode())
    return str(root)


def fer_plus(root: Path) -> str:
    """fer2013.csv says happy of everything; the votes know better."""
    rows = [f"3,{text(name)},Training" for name in FERPLUS[:8]]
    put(root / "fer2013.csv", "\n".join(["emotion,pixels,Usage", *rows]).encode())
    votes = [
        f"Training,fer{i:07d}.png," + ",".join("8" if i == j else "0" for j in range(9)) + ",2"
        for i in range(8)
    ]
    put(
        root / "fer2013new.csv",
        "\r\n".join(["Usage,Image name," + ",".join(FERPLUS), *votes, ""]).encode(),
    )
    return f"{root}@labels=ferplus"


def fer_plus_folders(root: Path) -> str:
    rows = []
    for i, name in enumerate(FERPLUS[:8]):
        put(root / "FER2013Train" / f"fer{i:07d}.png", png(name))
        votes = ",".join("9" if name == other else "0" for other in FERPLUS[:9])
        rows.append(f'fer{i:07d}.png,"(0, 0, 48, 48)",{votes},1')
    put(root / "FER2013Train" / "label.csv", "\n".join(rows).encode())
    return str(root)


def fer_plus_parquet(root: Path) -> str:
    columns = {
        f"ferplus_{name}": [8 * (name == other) for other in FERPLUS[:8]] for name in FERPLUS
    }
    table = {"image": [struct(name) for name in FERPLUS[:8]], "fer2013_label": ["sad"] * 8}
    root.mkdir()
    pyarrow.parquet.write_table(pyarrow.table(table | columns), root / "votes.parquet")
    return f"{root / 'votes.parquet'}@labels=ferplus-soft"


def parquet(root: Path) -> str:
    table = {"image": [struct(name) for name in FOLDERS], "label": FOLDERS}
    root.mkdir()
    pyarrow.parquet.write_table(pyarrow.table(table), root / "faces-train.parquet")
    return str(root)


def with_class_label() -> datasets.Dataset:
    """Numbers whose names, in an order of their own, stand in the features."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=RAF_DB)}
    )
    rows = {"image": [struct(name) for name in RAF_DB], "label": list(range(7))}
    return datasets.Dataset.from_dict(rows, features=features)


def parquet_of_datasets(root: Path) -> str:
    root.mkdir()
    with_class_label().to_parquet(root / "data.parquet")
    return str(root / "data.parquet")


def saved(root: Path) -> str:
    with_class_label().save_to_disk(root)
    return str(root)


def saved_parts(root: Path) -> str:
    datasets.DatasetDict(train=with_class_label()).save_to_disk(root)
    return str(root)


def hub(root: Path) -> str:
    """datasets takes a folder for a data set of the Hub: the same loader, without the network."""
    for name in FOLDERS:
        put(root / "train" / name / "1.png", png(name))
    return f"hf:{root}"


def hdf5(root: Path) -> str:
    root.mkdir()
    with h5py.File(root / "faces.h5", "w") as file:
        images = file.create_dataset("train/image", 7, h5py.vlen_dtype(np.uint8))
        for i, name in enumerate(FOLDERS):
            images[i] = np.frombuffer(png(name), np.uint8)
        file["train/label"] = np.array(FOLDERS, h5py.string_dtype())
    return str(root / "faces.h5")


def hdf5_pixels(root: Path) -> str:
    root.mkdir()
    with h5py.File(root / "faces.hdf5", "w") as file:
        file["image"] = np.stack([known(name) for name in FOLDERS])
        file["label"] = np.array(FOLDERS, h5py.string_dtype())
    return str(root / "faces.hdf5")


def hdf5_fer2013(root: Path) -> str:
    root.mkdir()
    with h5py.File(root / "data.h5", "w") as file:
        file["Training_pixel"] = np.stack([known(name).ravel() for name in KAGGLE])
        file["Training_label"] = np.arange(7)
        file["PublicTest_pixel"] = np.stack([known("fear").ravel()])
        file["PublicTest_label"] = np.array([2])
    return str(root / "data.h5")


def affectnet_sets(root: Path) -> str:
    for number, name in enumerate(AFFECTNET):
        put(root / "train_set" / "images" / f"{number}.jpg", jpg(name))
        notes = root / "train_set" / "annotations"
        notes.mkdir(exist_ok=True)
        np.save(notes / f"{number}_exp.npy", np.array(str(number)) if number % 2 else number)
    return str(root)


def affectnet_lists(root: Path) -> str:
    head = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression"
    rows = []
    for number, name in enumerate(AFFECTNET):
        wide = np.zeros((80, 100), np.uint8)
        wide[20:68, 30:78] = known(name)
        put(
            root / "Manually_Annotated_Images" / "7" / f"{name}.png",
            cv2.imencode(".png", wide)[1].tobytes(),
        )
        rows.append(f"7/{name}.png,30,20,48,48,1;2,{number},0,0")
    for number in (8, 9, 10):
        rows.append(f"7/contempt.png,30,20,48,48,1;2,{number},0,0")
    lists = root / "Manually_Annotated_file_lists"
    put(lists / "training.csv", "\n".join([f"{head},valence,arousal", *rows]).encode())
    return str(root)


def raf_db(root: Path) -> str:
    rows = []
    for number, name in enumerate(RAF_DB, start=1):
        put(root / "basic" / "Image" / "aligned" / f"train_{number:05d}_aligned.jpg", jpg(name))
        rows.append(f"train_{number:05d}.jpg {number}")
    rows.append("test_0001.jpg 1")
    put(root / "basic" / "EmoLabel" / "list_patition_label.txt", "\n".join(rows).encode())
    return str(root)


def kmu_fed(root: Path) -> str:
    codes = {
        "AN": "anger",
        "DI": "disgust",
        "FE": "fear",
        "HA": "happy",
        "SA": "sad",
        "SU": "surprise",
    }
    for code, name in codes.items():
        put(root / f"03_{code}_mr_001.jpg", jpg(name))
    return str(root)


def file_list(root: Path) -> str:
    for name in FOLDERS:
        put(root / "pictures" / f"{name}.png", png(name))
    rows = [f"pictures/{name}.png,{name},train" for name in FOLDERS]
    put(root / "list.csv", "\n".join(["path,label,split", *rows]).encode())
    return str(root / "list.csv")


FORMS: dict[Callable[[Path], str], list[str]] = {
    **dict.fromkeys((class_folders, numbered_folders, parquet, hub), FOLDERS),
    **dict.fromkeys((fer2013_csv, icml_csv, hdf5_fer2013), KAGGLE),
    **dict.fromkeys((numbered_affectnet, affectnet_sets, affectnet_lists), AFFECTNET),
    **dict.fromkeys((numbered_raf_db, own_order, parquet_of_datasets), RAF_DB),
    **dict.fromkeys((saved, saved_parts, raf_db), RAF_DB),
    **dict.fromkeys((hdf5, hdf5_pixels, file_list), FOLDERS),
    **dict.fromkeys((fer_plus, fer_plus_parquet, fer_plus_folders), FERPLUS[:8]),
    kmu_fed: [name for name in FOLDERS if name != "neutral"],
}
LOSSY = {numbered_affectnet, affectnet_sets, numbered_raf_db, raf_db, kmu_fed}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``datasets`` lays out stays in the test's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("make", FORMS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_known_pictures_land_on_the_right_names(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    faces = load_faces(make(tmp_path / "set"), "train")
    expected = {
        hash_of(cv2.imdecode(np.frombuffer((jpg if make in LOSSY else png)(n), np.uint8), 1)): n
        for n in FORMS[make]
    }
    assert len(expected) == len(faces) == len(FORMS[make])
    assert {pixel_hash(f): f.label for f in faces} == {h: meant(n) for h, n in expected.items()}


@pytest.mark.parametrize("make", FORMS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_every_form_can_be_sent_to_workers(tmp_path: Path, make: Callable[[Path], str]) -> None:
    faces = load_faces(make(tmp_path / "set"), "train")
    again = ForkingPickler.loads(ForkingPickler.dumps(faces))
    assert [pixel_hash(f) for f in again] == [pixel_hash(f) for f in faces]


# --- numbers without an order --------------------------------------------------------------------


@pytest.mark.parametrize("make", [numbered_folders, numbered_affectnet, numbered_raf_db, own_order])
def test_numbers_without_an_order_are_refused(tmp_path: Path, make: Callable[[Path], str]) -> None:
    path = make(tmp_path / "set").split("@")[0]
    with pytest.raises(LabelError, match=r"numbers have no order.*@order="):
        load_faces(path, "train")


def test_the_wrong_order_would_have_given_other_names(tmp_path: Path) -> None:
    """0.46 against 0.54 accuracy, from the last three numbers alone."""
    path = numbered_folders(tmp_path / "set").split("@")[0]
    named = {
        order: [f.label for f in load_faces(f"{path}@order={order}")]
        for order in ("fer2013-folders", "fer2013-csv")
    }
    one, other = named.values()
    assert one[:4] == other[:4]
    assert all(a != b for a, b in zip(one[4:], other[4:], strict=True))


def test_numbers_in_hdf5_and_in_saved_datasets_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data_pixel"] = np.stack([known(name) for name in RAF_DB])
        file["data_label"] = np.arange(7)
    with pytest.raises(LabelError, match="no order"):
        load_faces(tmp_path / "data.h5")
    named = load_faces(f"{tmp_path / 'data.h5'}@order={'/'.join(RAF_DB)}")
    assert [f.label for f in named] == RAF_DB
    plain = with_class_label().cast_column("label", datasets.Value("int64"))
    plain.save_to_disk(tmp_path / "plain")
    with pytest.raises(LabelError, match="no order"):
        load_faces(tmp_path / "plain")


def test_a_number_outside_the_order_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "set" / "0" / "1.png", png("fear"))
    with pytest.raises(LabelError, match="from 1 to 7"):
        load_faces(f"{tmp_path / 'set'}@order=raf-db")


def test_numbers_beside_names_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "set" / "0" / "1.png", png("fear"))
    put(tmp_path / "set" / "fear" / "1.png", png("fear"))
    with pytest.raises(LabelError, match=r"numbers and with names: 0; fear"):
        load_faces(f"{tmp_path / 'set'}@order=raf-db")


# --- names ---------------------------------------------------------------------------------------


@given(st.sets(st.sampled_from([*EMOTIONS, "Happy", "joy", "SAD", "drowsy", "", "7", "calm"])))
def test_any_spelling_maps_or_is_refused(found: set[str]) -> None:
    means = {"Happy": "happiness", "joy": "happiness", "SAD": "sadness", "calm": "neutral"}
    meanings = [means.get(name, name) for name in found]
    unknown = found & {"", "7"}
    if unknown or len(set(meanings)) < len(meanings):
        with pytest.raises(LabelError) as caught:
            label_map(found, [*EMOTIONS, "drowsy"])
        assert all(repr(name) in str(caught.value) for name in found)  # lists what was found
    else:
        assert label_map(found, [*EMOTIONS, "drowsy"]) == {n: means.get(n, n) for n in found}


@given(st.sampled_from(sorted(SOURCE_ORDERS)), st.integers(-3, 12))
def test_any_number_has_one_name_or_none(order: str, number: int) -> None:
    names, first = SOURCE_ORDERS[order], int(order == "raf-db")
    if first <= number < first + len(names):
        assert label_of_number(number, order) == names[number - first]
    else:
        with pytest.raises(LabelError):
            label_of_number(number, order)


def test_an_unknown_label_lists_all_that_were_found(tmp_path: Path) -> None:
    for name in ("happy", "hangry", "sad"):
        put(tmp_path / "set" / name / "1.png", png("fear"))
    with pytest.raises(LabelError, match=r"unknown ones: 'hangry'.*'hangry', 'happy', 'sad'"):
        load_faces(tmp_path / "set")


def test_two_words_for_one_emotion_in_one_source_are_refused(tmp_path: Path) -> None:
    for name in ("happy", "joy", "fear"):
        put(tmp_path / "set" / name / "1.png", png("fear"))
    with pytest.raises(LabelError, match=r"happiness.*'happy' and 'joy'.*'fear'"):
        load_faces(tmp_path / "set")


def test_a_class_of_ones_own_is_known_from_the_model_and_spelt_exactly(tmp_path: Path) -> None:
    put(tmp_path / "set" / "drowsy" / "1.png", png("neutral"))
    put(tmp_path / "set" / "happy" / "1.png", png("happy"))
    labels = ("alert", "drowsy", "happiness")
    assert [f.label for f in load_faces(tmp_path / "set", labels=labels)] == ["drowsy", "happiness"]
    for other in (None, EMOTIONS, ("Drowsy", "happiness")):
        with pytest.raises(LabelError, match="drowsy"):
            load_faces(tmp_path / "set", labels=other)


def test_contempt_is_the_eighth_class_or_dropped_by_name(tmp_path: Path) -> None:
    path = affectnet_sets(tmp_path / "set")
    assert {f.label for f in load_faces(path, "train", EMOTIONS_8)} == set(EMOTIONS_8)
    with pytest.raises(LabelError, match=r"contempt.*@drop=contempt"):
        load_faces(path, "train", EMOTIONS)
    said: list[str] = []
    faces = load_faces(f"{path}@drop=contempt", "train", EMOTIONS, said.append)
    assert {f.label for f in faces} == set(EMOTIONS)
    assert re.search("left out 1 contempt", said[0])


def test_affectnets_other_labels_are_left_out_and_counted(tmp_path: Path) -> None:
    said: list[str] = []
    faces = load_faces(affectnet_lists(tmp_path / "set"), "train", say=said.append)
    assert len(faces) == 8
    assert re.search("left out 3 without an agreed expression", said[0])


# --- options -------------------------------------------------------------------------------------


def test_options_stand_behind_an_at() -> None:
    source = DatasetSpec.parse("a@b/set@labels=ferplus,drop=contempt/fear,broken=skip")
    assert source == DatasetSpec("a@b/set", "ferplus", None, ("contempt", "fear"), None, "skip")
    assert source.described == "set@labels=ferplus,drop=contempt/fear,broken=skip"
    assert DatasetSpec.parse("user@host").path == "user@host"
    assert DatasetSpec.parse("/home/me/fer2013").described == "fer2013"


def test_a_path_that_is_there_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "set@labels=ferplus"
    path.mkdir()
    assert DatasetSpec.parse(path) == DatasetSpec(str(path))


@pytest.mark.parametrize(
    "options", ["label=x", "labels=votes", "broken=maybe", "colour=hsv", "order="]
)
def test_an_unknown_option_is_named(options: str) -> None:
    with pytest.raises(DataError, match=options.split("=")[0]):
        DatasetSpec.parse(f"set@{options}")


# --- FER+ ----------------------------------------------------------------------------------------

VOTES = st.lists(st.integers(0, 10), min_size=10, max_size=10)


@pytest.mark.parametrize(
    ("votes", "name"),
    [
        ([8, 1, 0, 0, 0, 0, 0, 1, 0, 0], "neutral"),  # single votes do not count
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], None),  # half is not more than half
        ([0, 0, 0, 0, 0, 0, 0, 8, 0, 2], "contempt"),
        ([2, 0, 0, 0, 0, 0, 0, 0, 8, 0], None),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], None),
    ],
)
def test_the_majority_is_ferplus_own(votes: list[int], name: str | None) -> None:
    assert ferplus.majority(votes) == name


@given(VOTES)
def test_shares_of_votes_are_a_distribution_and_agree_with_the_majority(votes: list[int]) -> None:
    shares = ferplus.distribution(votes, EMOTIONS_8)
    if shares is not None:
        assert sum(shares) == pytest.approx(1)
        assert min(shares) >= 0
    if (name := ferplus.majority(votes)) is not None:
        assert shares is not None
        assert EMOTIONS_8[int(np.argmax(shares))] == name == ferplus.most_voted(votes)


def test_soft_labels_are_the_target_and_hard_ones_the_label(tmp_path: Path) -> None:
    votes = {f"ferplus_{name}": [0] for name in FERPLUS}
    votes |= {"ferplus_fear": [6], "ferplus_surprise": [3], "ferplus_anger": [1]}
    table = {"image": [struct("fear")], "label": ["sad"]} | votes
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "f.parquet")
    targets = {}
    for labels in ("own", "ferplus", "ferplus-soft"):
        (face,) = load_faces(f"{tmp_path / 'f.parquet'}@labels={labels}")
        targets[labels] = dict(zip(EMOTIONS, face.target(EMOTIONS), strict=True))
    assert targets["own"]["sadness"] == targets["ferplus"]["fear"] == 1
    assert targets["ferplus-soft"]["fear"] == pytest.approx(2 / 3)
    assert targets["ferplus-soft"]["surprise"] == pytest.approx(1 / 3)


def test_votes_are_taken_along_row_by_row(tmp_path: Path) -> None:
    path = fer_plus(tmp_path / "set").split("@")[0]
    faces = load_faces(path, "train")
    assert [f.votes.index(8) for f in faces if f.votes] == list(range(8))
    assert {f.label for f in faces} == {"happiness"}


def test_votes_about_another_file_are_refused(tmp_path: Path) -> None:
    path = Path(fer_plus(tmp_path / "set").split("@")[0])
    votes = path / "fer2013new.csv"
    for change in (lambda t: t.replace("Training", "PublicTest", 1), lambda t: t[: len(t) // 2]):
        before = votes.read_text()
        votes.write_text(change(before))
        with pytest.raises(DataError, match=r"fer2013new\.csv"):
            load_faces(path, "train")
        votes.write_text(before)


@pytest.mark.parametrize("row", ["fer.png", "fer.png,box,1,2", "fer.png,box" + ",x" * 10])
def test_a_broken_row_of_ferplus_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    path = Path(fer_plus_folders(tmp_path / "set"))
    with (path / "FER2013Train" / "label.csv").open("a") as file:
        file.write(f"\n{row}\n")
    with pytest.raises(DataError, match=r"label\.csv, line 9"):
        load_faces(path, "train")


def test_ferplus_labels_need_votes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no FER\+ votes"):
        load_faces(f"{parquet(tmp_path / 'set')}@labels=ferplus", "train")


def test_fer2013_has_more_neutral_faces_by_its_voters(shared: Path) -> None:
    said: list[str] = []
    path = f"{shared / 'data' / 'fer2013'}@labels=ferplus,drop=contempt"
    faces = load_faces(path, "val", EMOTIONS, said.append)
    assert {f.label for f in faces} == set(EMOTIONS)
    assert 3000 < len(faces) < 3579
    assert "without an agreed expression" in said[0]


# --- KMU-FED, RAF-DB, lists ----------------------------------------------------------------------


def test_kmu_fed_says_subject_and_clip_by_number_and_not_by_spelling(tmp_path: Path) -> None:
    for name in ("01_AN_mr_001", "1_AN_mr_001", "01_HA_mr_001", "12_AN_zz_020"):
        put(tmp_path / f"{name}.jpg", jpg("anger"))
    faces = {Path(f.name).stem: f for f in load_faces(tmp_path)}
    assert faces["01_AN_mr_001"].subject == faces["1_AN_mr_001"].subject
    assert faces["01_AN_mr_001"].clip == faces["1_AN_mr_001"].clip
    assert faces["01_AN_mr_001"].clip != faces["01_HA_mr_001"].clip
    assert len({f.subject for f in faces.values()}) == 2


def test_a_foreign_name_among_kmu_feds_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "01_AN_mr_001.jpg", jpg("anger"))
    put(tmp_path / "01_NE_mr_001.jpg", jpg("neutral"))
    with pytest.raises(DataError, match="01_NE_mr_001"):
        load_faces(tmp_path)


def test_raf_db_has_a_test_part_and_no_val(tmp_path: Path) -> None:
    path = raf_db(tmp_path / "set")
    assert [f.label for f in load_faces(path, "test")] == ["surprise"]
    with pytest.raises(MissingPartError, match="test, train"):
        load_faces(path, "val")


def test_a_list_says_subject_clip_and_votes(tmp_path: Path) -> None:
    put(tmp_path / "a.png", png("fear"))
    columns = ["path", "label", "split", "subject", "clip", *(f"ferplus_{n}" for n in FERPLUS)]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, ["a.png", "fear", "val", "s1", "c1", *range(10)]])
    (face,) = load_faces(tmp_path / "list.csv", "val")
    assert (face.subject, face.clip, face.votes) == ("s1", "c1", tuple(range(10)))


@pytest.mark.parametrize("name", ["../outside.png", "/etc/passwd", "below/../../outside.png"])
def test_a_list_names_no_file_outside_its_folder(tmp_path: Path, name: str) -> None:
    put(tmp_path / "outside.png", png("fear"))
    put(tmp_path / "set" / "list.csv", f"path,label\n{name},fear\n".encode())
    with pytest.raises(DataError, match="only files inside"):
        load_faces(tmp_path / "set" / "list.csv")


# --- large files by row --------------------------------------------------------------------------


def test_a_large_parquet_file_is_read_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(tmp_path / "set")
    held = load_faces(path, "train")
    monkeypatch.setattr(source_tables, "IN_MEMORY_BYTES", 1000)
    mapped = load_faces(path, "train")
    assert all(isinstance(f.source, bytes) for f in held)
    assert max(len(ForkingPickler.dumps(f.source)) for f in mapped) < 1000
    assert [pixel_hash(f) for f in mapped] == [pixel_hash(f) for f in held]


@pytest.mark.parametrize("make", [hdf5, hdf5_pixels, saved], ids=lambda make: make.__name__)
def test_forked_workers_read_what_the_parent_reads(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    faces = load_faces(make(tmp_path / "set"), "train") * 8
    assert len({pixel_hash(f) for f in faces}) == 7  # the parent has the file open now
    data = FaceDataset(faces, None, InputSpec(48, "grey", (0.5,), (0.25,)))
    alone = [int(x.sum()) for x, _ in DataLoader(data, batch_size=4)]
    loader = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context="fork")
    assert [int(x.sum()) for x, _ in loader] == alone


def test_hdf5_colours_have_to_be_said(tmp_path: Path) -> None:
    bgr = cv2.merge([known("fear"), known("anger"), known("happy")])
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["image"], file["label"] = (
            bgr[None, :, :, ::-1],
            np.array(["fear"], h5py.string_dtype()),
        )
    with pytest.raises(DataError, match="colour=rgb"):
        load_faces(tmp_path / "f.h5")
    (face,) = load_faces(f"{tmp_path / 'f.h5'}@colour=rgb")
    assert np.array_equal(face.read(), bgr)


def test_an_hdf5_file_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    other = hdf5_pixels(tmp_path / "set")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["label"] = np.array(FOLDERS, h5py.string_dtype())
        file["image"] = h5py.ExternalLink(other, "image")
    with pytest.raises(DataError, match="copy the data into one file"):
        load_faces(tmp_path / "f.h5")


@pytest.mark.parametrize("make", [hdf5, saved, parquet_of_datasets], ids=lambda m: m.__name__)
def test_a_damaged_file_is_a_data_error(tmp_path: Path, make: Callable[[Path], str]) -> None:
    path = Path(make(tmp_path / "set"))
    file = next(path.glob("*.arrow")) if path.is_dir() else path
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot"):
        load_faces(path)


@pytest.mark.parametrize("make", FORMS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore")
def test_whatever_is_damaged_ends_in_a_sentence(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    """Every file but the pictures, cut off and with bytes changed: our errors, or faces."""
    spec = make(tmp_path / "set")
    rng = np.random.default_rng(1)
    for file in sorted((tmp_path / "set").rglob("*")):
        if not file.is_file() or file.suffix in (".png", ".jpg"):
            continue
        whole = file.read_bytes()
        for _ in range(6):
            damaged = bytearray(
                whole[: int(rng.integers(len(whole)))] if rng.random() < 0.5 else whole
            )
            for at in rng.integers(0, max(len(damaged), 1), 8 if damaged else 0):
                damaged[at] = rng.integers(256)
            file.write_bytes(bytes(damaged))
            with contextlib.suppress(FerEdgeError):
                hashed(load_faces(spec, "train"))
        file.write_bytes(whole)


def test_an_arrow_file_whose_offsets_lead_astray_is_a_data_error(tmp_path: Path) -> None:
    """Read as it stands, it ends the process."""
    path = tmp_path / "set"
    saved(path)
    (file,) = path.glob("*.arrow")
    whole = bytearray(file.read_bytes())
    import pyarrow

    with pyarrow.memory_map(str(file)) as source:
        image = pyarrow.ipc.open_stream(source).read_all()["image"].chunk(0)
        offsets = bytes(image.field("bytes").buffers()[1])[: 4 * (len(image) + 1)]
    at = whole.index(offsets)
    whole[at + 4 : at + 8] = (2**31 - 9).to_bytes(4, "little")
    file.write_bytes(whole)
    with pytest.raises(DataError, match="cannot load"):
        hashed(load_faces(str(path)))


def test_a_saved_data_set_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "set"
    saved(path)
    state = json.loads((path / "state.json").read_text())
    state["_data_files"][0]["filename"] = "../" + state["_data_files"][0]["filename"]
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="only files beside"):
        load_faces(path)


def test_parts_of_another_name_are_not_mixed_in(tmp_path: Path) -> None:
    one = with_class_label()
    datasets.DatasetDict(train=one, extra=one).save_to_disk(tmp_path / "set")
    assert len(load_faces(tmp_path / "set", "train")) == 7
    datasets.DatasetDict(val=one, validation=one).save_to_disk(tmp_path / "two")
    with pytest.raises(DataError, match="each once"):
        load_faces(tmp_path / "two", "val")


def test_a_row_that_went_away_is_a_data_error(tmp_path: Path) -> None:
    path = Path(hdf5(tmp_path / "set"))
    face = load_faces(path, "train")[0]
    path.unlink()
    with pytest.raises(DataError, match=r"row 0 of .*faces\.h5"):
        face.read()


def test_pixels_of_another_type_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["image"] = np.zeros((2, 48, 48), np.float32)
        file["label"] = np.array(["fear", "fear"], h5py.string_dtype())
    with pytest.raises(DataError, match="float32"):
        load_faces(tmp_path / "f.h5")


def test_the_hub_needs_the_network_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"hf:nobody/nothing.*needs the network"):
        load_faces("hf:nobody/nothing", "train")


def test_class_names_of_a_parquet_file_may_be_damaged(tmp_path: Path) -> None:
    path = Path(parquet_of_datasets(tmp_path / "set"))
    table = pyarrow.parquet.read_table(path)
    for damaged in (b"{", json.dumps({"info": {"features": {"label": 3}}}).encode()):
        pyarrow.parquet.write_table(table.replace_schema_metadata({b"huggingface": damaged}), path)
        with pytest.raises(LabelError, match="no order"):
            load_faces(path)
