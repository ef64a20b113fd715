"""HDF5 files are read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from fer_edge.errors import DataError, LabelError
from fer_edge.training.data.faces import load_faces


def test_hdf5_colours_have_to_be_said(samples: Any, tmp_path: Path) -> None:
    bgr = cv2.merge([samples.known("fear"), samples.known("anger"), samples.known("happy")])
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["image"], file["label"] = (
            bgr[None, :, :, ::-1],
            np.array(["fear"], h5py.string_dtype()),
        )
    with pytest.raises(DataError, match="colour=rgb"):
        load_faces(tmp_path / "f.h5")
    (face,) = load_faces(f"{tmp_path / 'f.h5'}@colour=rgb")
    assert np.array_equal(face.read(), bgr)


def test_an_hdf5_file_that_points_elsewhere_is_refused(samples: Any, tmp_path: Path) -> None:
    other = samples.hdf5_pixels(tmp_path / "set")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["label"] = np.array(samples.FOLDERS, h5py.string_dtype())
        file["image"] = h5py.ExternalLink(other, "image")
    with pytest.raises(DataError, match="copy the data into one file"):
        load_faces(tmp_path / "f.h5")


def test_pixels_of_another_type_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["image"] = np.zeros((2, 48, 48), np.float32)
        file["label"] = np.array(["fear", "fear"], h5py.string_dtype())
    with pytest.raises(DataError, match="float32"):
        load_faces(tmp_path / "f.h5")


@pytest.mark.parametrize("labels", [["happy", ""], [1.0, np.nan]])
def test_an_empty_label_of_hdf5_is_named_by_its_row(
    samples: Any, tmp_path: Path, labels: list[Any]
) -> None:
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        file["image"] = np.stack([samples.known("fear"), samples.known("happy")])
        file["label"] = np.array(labels, h5py.string_dtype() if "" in labels else np.float64)
    with pytest.raises(LabelError, match=r"f\.h5.*, row 1 has no label"):
        load_faces(path)
    assert [face.label for face in load_faces(f"{path}@labels=none")] == ["", ""]
