"""Readers of image folders: class folders, KMU-FED, RAF-DB and AffectNet."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fer_edge.errors import DataError
from fer_edge.labels import label_of_number
from fer_edge.shown import shown
from fer_edge.training.data.bounds import check_listed
from fer_edge.training.data.csv_text import header, open_text, records, whole_number
from fer_edge.training.data.dataset_spec import (
    SPLIT_NAMES,
    DatasetSpec,
    StoredFace,
    as_label,
    check_part,
)
from fer_edge.training.data.listed_files import ListedFiles
from fer_edge.training.data.picture_files import (
    PassedOver,
    is_picture,
    pictures,
    without_clutter,
)

# --- class folders -------------------------------------------------------------------------------


def read_classes(source: DatasetSpec, split: str | None) -> Iterator[StoredFace | PassedOver]:
    """Read one folder per class, named (``happy/``) or numbered.

    Numbers need an order.

    Pictures in sub-folders of a class belong to the class. Without labels, all pictures in the
    folder are read.
    """
    check_part(source, split, ())
    passed_over = PassedOver()
    if source.labels == "none":
        for entry in without_clutter(source.file):
            if entry.is_dir():
                _check_without_parts(entry)
        for file in pictures(source.file, passed_over):
            yield StoredFace(file, None, str(file), unnamed=True)
        yield passed_over
        return
    for entry in without_clutter(source.file):
        if not entry.is_dir():
            passed_over.unplaced += is_picture(entry)
            continue
        _check_without_parts(entry)
        label = as_label(entry.name, str(source.file))
        for file in pictures(entry, passed_over):
            yield StoredFace(file, label, str(file), unnamed=True)
    yield passed_over


def _check_without_parts(folder: Path) -> None:
    parts = [
        e.name for e in without_clutter(folder) if e.name.lower() in SPLIT_NAMES and e.is_dir()
    ]
    if parts:
        raise DataError(
            f"expected parts above classes, like {parts[0]}/{folder.name}, but found {parts[0]} in "
            f"{folder}. Move the parts above the classes. If {folder} is the data set, name it"
        )


# --- KMU-FED -------------------------------------------------------------------------------------

_KMU_FED = re.compile(r"(\d{1,2})_(AN|DI|FE|HA|SA|SU)_([A-Za-z0-9]+)_(\d+)", re.IGNORECASE)
_KMU_FED_NAMES = {
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happiness",
    "SA": "sadness",
    "SU": "surprise",
}


def fits_kmu_fed(path: Path) -> bool:
    return path.is_dir() and any(_KMU_FED.fullmatch(e.stem) for e in without_clutter(path))


def read_kmu_fed(source: DatasetSpec, split: str | None) -> Iterator[StoredFace | PassedOver]:
    """Read KMU-FED as distributed: one flat folder with names like ``01_AN_mr_005.jpg``.

    Names are SUBJECT_EXPRESSION_CODE_FRAME; 12 subjects, 6 classes (no neutral), near infrared,
    1600x1200. Public readers of the data set state this layout; its owner's page
    (https://cvpr.kmu.ac.kr/KMU-FED.htm) does not. A clip is one run of an expression by one
    subject. Six files exist twice, also as ``1_AN_mr_…``: the subject's number counts, not its
    spelling.
    """
    check_part(source, split, ())
    passed_over = PassedOver()
    for file in pictures(source.file, passed_over, deep=False):
        match = _KMU_FED.fullmatch(file.stem)
        if match is None:
            raise DataError(
                f"expected KMU-FED's names like 01_AN_mr_005.jpg in {source.file}, found "
                f"{file.name}. Move other files out of the folder"
            )
        subject = f"{int(match[1]):02d}"
        label = _KMU_FED_NAMES[match[2].upper()]
        yield StoredFace(
            file,
            label,
            str(file),
            subject=f"kmu-fed:{subject}",
            clip=f"kmu-fed:{subject}_{match[2].upper()}_{match[3]}",
            unnamed=True,
        )
    yield passed_over


# --- RAF-DB --------------------------------------------------------------------------------------

_RAF_LIST = Path("EmoLabel") / "list_patition_label.txt"


def fits_raf_db(path: Path) -> bool:
    return _raf_root(path) is not None


def read_raf_db(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read RAF-DB's single-label subset as distributed.

    ``basic/EmoLabel/list_patition_label.txt`` (its own spelling) has lines like
    ``train_00001.jpg 5`` with labels 1 to 7. Pictures are
    ``basic/Image/aligned/train_00001_aligned.jpg`` (100x100), else in ``Image/original/``. The
    name's first word, train or test, is the part. See http://www.whdeng.cn/raf/model1.html.
    """
    root = _raf_root(source.file)
    assert root is not None
    aligned = root / "Image" / "aligned"
    with open_text(root / _RAF_LIST) as listed:
        rows = listed.read().replace("\ufeff", "").splitlines()
    cells = [(line, row.split()) for line, row in enumerate(rows, start=1) if row.strip()]
    check_listed(len(cells), root / _RAF_LIST)
    check_part(source, split, {_raf_part(row[0]) for _, row in cells})
    folder = aligned if aligned.is_dir() else root / "Image" / "original"
    files = ListedFiles(folder, root / _RAF_LIST)
    for line, row in cells:
        where = f"{root / _RAF_LIST}, line {line}"
        if len(row) != 2:
            raise DataError(f"{where}: expected a file name and a number, got {shown(row)}")
        try:
            number = whole_number(row[1])
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        if _raf_part(row[0]) != split:
            continue
        name = Path(row[0])
        file = f"{name.stem}_aligned{name.suffix}" if aligned.is_dir() else row[0]
        yield StoredFace(files[file], label_of_number(number, "raf-db"), row[0])


def _raf_root(path: Path) -> Path | None:
    return next((root for root in (path, path / "basic") if (root / _RAF_LIST).is_file()), None)


def _raf_part(name: str) -> str:
    part = SPLIT_NAMES.get(name.split("_")[0])
    if part is None:
        raise DataError(
            f"expected names that start with train_ or test_ in RAF-DB, got {shown(name)}"
        )
    return part


# --- AffectNet -----------------------------------------------------------------------------------

_AFFECTNET_SETS = {"train_set": "train", "val_set": "val", "test_set": "test"}
_AFFECTNET_LISTS = {"training.csv": "train", "validation.csv": "val"}
_AFFECTNET_NONE = {8, 9, 10}
"""Labels that are not expressions: None, Uncertain, No-Face."""
_MOST_NPY_BYTES = 4096
"""Largest size of a file with one label; numpy writes 136 bytes."""


def fits_affectnet(path: Path) -> bool:
    return any((path / name / "annotations").is_dir() for name in _AFFECTNET_SETS) or bool(
        _affectnet_lists(path)
    )


def read_affectnet(source: DatasetSpec, split: str | None) -> Iterator[StoredFace | PassedOver]:
    """Read AffectNet in either of the two layouts that its owner sends.

    - ``train_set/`` and ``val_set/`` with ``images/N.jpg`` and ``annotations/N_exp.npy`` (8
      labels).
    - ``training.csv`` and ``validation.csv``, at the top or in ``Manually_Annotated_file_lists/``,
      with pictures in ``Manually_Annotated_Images/``; 11 labels, and a box for each face.

    Numbers are those of its paper (Mollahosseini et al., 2017). See
    http://mohammadmahoor.com/affectnet/.
    """
    lists = _affectnet_lists(source.file)
    sets = {
        part: source.file / name
        for name, part in _AFFECTNET_SETS.items()
        if (source.file / name / "annotations").is_dir()
    }
    check_part(source, split, {*lists, *sets})
    assert split is not None
    yield from _affectnet_set(sets[split]) if sets else _affectnet_list(source.file, lists[split])


def _affectnet_set(folder: Path) -> Iterator[StoredFace | PassedOver]:
    passed_over = PassedOver()
    for file in pictures(folder / "images", passed_over):
        label = folder / "annotations" / f"{file.stem}_exp.npy"
        try:
            number = _stored_number(label)
        except Exception as error:  # a damaged header can make numpy raise anything
            raise DataError(f"expected the label of {file} in {label}: {error}") from error
        yield StoredFace(file, _affectnet_label(number), str(file), unnamed=True)
    yield passed_over


def _stored_number(path: Path) -> int:
    """Return the number in a ``.npy`` file; some copies store it as text."""
    if not path.is_file():
        raise ValueError("there is no such file")
    with path.open("rb") as file:
        data = io.BytesIO(file.read(_MOST_NPY_BYTES))
    version = np.lib.format.read_magic(data)
    read = np.lib.format.read_array_header_1_0
    shape, _, _ = read(data) if version == (1, 0) else np.lib.format.read_array_header_2_0(data)
    if shape != ():  # numpy would allocate whatever a header promises
        raise ValueError(f"expected one number, got an array of shape {shown(shape)}")
    data.seek(0)
    return whole_number(str(np.load(data, allow_pickle=False)))


def _affectnet_list(root: Path, path: Path) -> Iterator[StoredFace]:
    images = next(
        (
            folder
            for folder in (
                root / "Manually_Annotated_Images",
                root / "Manually_Annotated" / "Manually_Annotated_Images",
            )
            if folder.is_dir()
        ),
        None,
    )
    if images is None:
        raise DataError(f"expected AffectNet's pictures in {root / 'Manually_Annotated_Images'}")
    files = ListedFiles(images, path)
    for line, row in records(path):
        try:
            name = row["subdirectory_filepath"]
            x, y, w, h = (int(float(row[f"face_{side}"])) for side in ("x", "y", "width", "height"))
            label = _affectnet_label(whole_number(row["expression"]))
        except KeyError as error:
            raise DataError(
                f"expected AffectNet's column {error.args[0]} in {path}. Use the list as its owner "
                "sends it"
            ) from error
        except (ValueError, OverflowError) as error:
            raise DataError(f"{path}, line {line}: not a row of AffectNet: {error}") from error
        box = (x, y, w, h) if w > 0 and h > 0 else None
        yield StoredFace(files[name], label, name, box=box)


def _affectnet_label(number: int) -> str | None:
    return None if number in _AFFECTNET_NONE else label_of_number(number, "affectnet-8")


def _affectnet_lists(path: Path) -> dict[str, Path]:
    lists: dict[str, Path] = {}
    for folder in (path, path / "Manually_Annotated_file_lists"):
        for name, part in _AFFECTNET_LISTS.items():
            file = folder / name
            if file.is_file() and "subdirectory_filepath" in header(file):
                lists.setdefault(part, file)
    return lists
