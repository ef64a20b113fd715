"""Rows of large files are read in every process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from fer_edge.errors import DataError
from fer_edge.training.data.faces import load_faces, pixel_hash
from fer_edge.training.loop.dataset import FaceDataset
from fer_edge.training.models.network import InputSpec


@pytest.mark.parametrize("name", ["hdf5", "hdf5_pixels", "saved"])
def test_forked_workers_read_what_the_parent_reads(samples: Any, tmp_path: Path, name: str) -> None:
    faces = load_faces(getattr(samples, name)(tmp_path / "set"), "train") * 8
    assert len({pixel_hash(f) for f in faces}) == 7  # the parent has the file open now
    data = FaceDataset(faces, None, InputSpec(48, "grey", (0.5,), (0.25,)))
    alone = [int(x.sum()) for x, _ in DataLoader(data, batch_size=4)]
    loader = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context="fork")
    assert [int(x.sum()) for x, _ in loader] == alone


def test_a_row_that_went_away_is_a_data_error(samples: Any, tmp_path: Path) -> None:
    path = Path(samples.hdf5(tmp_path / "set"))
    face = load_faces(path, "train")[0]
    path.unlink()
    with pytest.raises(DataError, match=r"row 0 of .*faces\.h5"):
        face.read()
