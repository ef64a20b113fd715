"""Options of a Predictor that cannot be used are a sentence, whatever their type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge import FerEdgeError, InputError, Predictor
from fer_edge.preprocess import Image

OPTIONS: list[dict[str, Any]] = [
    *({"threads": value} for value in (0, -1, 1.5, "2", True, 10**9, [2])),
    *({"hint": value} for value in (None, 7, ["latency"])),
    *({"device": value} for value in (7, b"cpu", ["cpu"])),
    *({"target": value} for value in (7, "", ["fake"], "no such")),
    *({"precision": value} for value in (7, "", ["fp32"], "no such")),
    *({"cache_dir": value} for value in (7, b"x", ["x"])),
    *({"exclude": value} for value in (None, 7, "fake/fp32", [7], [["x"]], ["no such"])),
    *(
        {name: np.zeros(2)}
        for name in ("threads", "hint", "device", "target", "precision", "cache_dir", "exclude")
    ),
    *({"exclude": value} for value in ([np.zeros(2)], np.zeros((2, 2)), np.array([["x", "y"]]))),
    *({"bundle": value} for value in (np.zeros(2), np.array(["default"]))),
    *({"trusted_keys": value} for value in (np.zeros(2), [np.zeros(2)])),
    *({"trusted_keys": value} for value in (7, "a.pem", [], [7], [b""], ["no such"], ["."])),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_option_of_another_kind_is_refused(fake_bundle: Path, options: dict[str, Any]) -> None:
    with pytest.raises(FerEdgeError):
        Predictor(**{"bundle": fake_bundle} | options)


@pytest.mark.parametrize(
    "sizes",
    [None, 0, 1.5, "1", b"1", [0], [-1], [1.5], ["1"], [True], [10**9], [[1]], np.ones((2, 2))],
    ids=repr,
)
def test_batch_sizes_that_are_none_are_refused(predictor: Predictor, sizes: Any) -> None:
    with pytest.raises(InputError, match="batch sizes"):
        predictor.warm_up(sizes)


def test_batch_sizes_may_be_any_whole_numbers(predictor: Predictor) -> None:
    for sizes in ([], [1, 2], (3,), range(1, 3), np.array([2])[:1].tolist(), [np.int64(2)]):
        predictor.warm_up(sizes)


@pytest.mark.parametrize("place", ["/proc/nope", "/dev/null", "file", "file/below"])
def test_a_cache_that_is_no_folder_is_refused_before_an_engine_is_tried(
    fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place.startswith("/") and not Path(place).parent.is_dir():
        pytest.skip(f"this system has no {place}")
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"as cache_dir, got /.*Name another folder"):
        Predictor(fake_bundle, cache_dir=place)


def test_a_missing_cache_is_left_to_the_engine(fake_bundle: Path, tmp_path: Path) -> None:
    Predictor(fake_bundle, cache_dir=tmp_path / "a/b")
    assert not (tmp_path / "a").exists()


HUGE = 10**5000
"""Integer that Python does not print."""


@pytest.mark.parametrize("name", ["threads", "hint", "device", "target", "precision", "exclude"])
@pytest.mark.parametrize("value", [HUGE, [HUGE]], ids=["number", "list"])
def test_a_number_that_python_does_not_print_is_refused_as_an_option(
    fake_bundle: Path, name: str, value: Any
) -> None:
    with pytest.raises(FerEdgeError, match="more than 40 digits"):
        Predictor(fake_bundle, **{name: value})


def test_a_number_that_python_does_not_print_is_refused_in_a_call(
    predictor: Predictor, face: Image
) -> None:
    box, colour, sizes = (0, 0, 9, HUGE), HUGE, [HUGE]
    for call in (
        lambda: predictor(face, box),
        lambda: predictor.predict_faces(face, [box]),
        lambda: predictor(face, colour=colour),  # type: ignore[arg-type]
        lambda: predictor.warm_up(sizes),
    ):
        with pytest.raises(InputError, match="more than 40 digits"):
            call()


@pytest.mark.parametrize("colour", [["bgr"], {}, {"bgr"}, 7, None, b"bgr", np.zeros(2)], ids=repr)
def test_a_colour_of_another_type_is_refused(
    predictor: Predictor, face: Image, colour: Any
) -> None:
    with pytest.raises(InputError, match="expected colour"):
        predictor(face, colour=colour)
