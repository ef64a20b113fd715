"""HDF5 files are read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from fer_edge.errors import DataError
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
