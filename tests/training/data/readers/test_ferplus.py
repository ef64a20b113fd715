"""FER+ folders are read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import DataError
from fer_edge.training.data.faces import load_faces


@pytest.mark.parametrize(
    "row",
    [
        "fer.png",
        "fer.png,box,1,2",
        "fer.png,box" + ",x" * 10,
        "fer.png,box" + ",-1" * 10,
        "fer.png,box" + ",1000001" * 10,
    ],
)
def test_a_broken_row_of_ferplus_is_named_by_its_line(
    samples: Any, tmp_path: Path, row: str
) -> None:
    path = Path(samples.fer_plus_folders(tmp_path / "set"))
    with (path / "FER2013Train" / "label.csv").open("a") as file:
        file.write(f"\n{row}\n")
    with pytest.raises(DataError, match=r"label\.csv, line 9"):
        load_faces(path, "train")
