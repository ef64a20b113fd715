"""The Core ML backend against a recording in coremltools' place: nothing here has run on a Mac."""

from __future__ import annotations

import importlib.util
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_edge.backends import coreml
from fer_edge.backends.base import Options, backend
from fer_edge.bundle import Variant, listed
from fer_edge.errors import EngineError

LABELS = ("anger", "fear", "happiness")
FILES = {
    "coreml-fp16/manifest.json": b'{"fileFormatVersion": "1.0.0"}',
    "coreml-fp16/model.mlmodel": b"the program",
    "coreml-fp16/weight.bin": b"the weights",
}
ENTRY = "coreml-fp16/model.mlmodel"
PACKAGE = {
    "Manifest.json": FILES["coreml-fp16/manifest.json"],
    "Data/com.apple.CoreML/model.mlmodel": FILES[ENTRY],
    "Data/com.apple.CoreML/weights/weight.bin": FILES["coreml-fp16/weight.bin"],
}
VARIANT = Variant(
    "coreml", "fp16", ENTRY, tuple(listed(*f) for f in FILES.items()), needs={"macos": "14.0"}
)


class ComputeUnit(Enum):
    ALL, CPU_AND_NE, CPU_AND_GPU, CPU_ONLY = range(4)


class Library:
    """Record of the calls that the backend makes to coremltools 9.0.

    The answers have the form of ``CompiledMLModel.predict``: one dictionary per picture, numbers
    by label in no order, and an fp32 array. Each probability is a mean of a colour, R, G, B.
    """

    ComputeUnit = ComputeUnit

    def __init__(self) -> None:
        self.compiled: list[dict[str, bytes]] = []
        self.loaded: list[tuple[str, ComputeUnit]] = []
        self.asked: list[Any] = []
        self.inside = 0
        self.broken: Exception | None = None
        library = self

        class CompiledMLModel:
            def __init__(self, path: str, compute_units: ComputeUnit) -> None:
                assert Path(path, "model.mil").is_file()
                library.loaded.append((path, compute_units))

            def predict(self, data: list[dict[str, Image.Image]]) -> list[dict[str, Any]]:
                library.inside += 1
                assert library.inside == 1, "two threads are in the model"
                library.asked.append(data)
                if library.broken is not None:
                    raise library.broken
                answers = [library.answer(item) for item in data]
                library.inside -= 1
                return answers

        def compile_model(model: str, destination_path: str) -> str:
            package = Path(model)
            assert package.suffix == ".mlpackage"
            files = (path for path in package.rglob("*") if path.is_file())
            self.compiled.append({f.relative_to(package).as_posix(): f.read_bytes() for f in files})
            Path(destination_path).mkdir()
            Path(destination_path, "model.mil").write_text("compiled", "utf-8")
            return destination_path

        self.models = SimpleNamespace(
            CompiledMLModel=CompiledMLModel, utils=SimpleNamespace(compile_model=compile_model)
        )
        metadata = SimpleNamespace(userDefined={"labels": json.dumps(LABELS)})
        model = SimpleNamespace(description=SimpleNamespace(metadata=metadata))
        parsed = SimpleNamespace(FromString=lambda data: model if data == FILES[ENTRY] else None)
        self.proto = SimpleNamespace(Model_pb2=SimpleNamespace(Model=parsed))

    def answer(self, item: dict[str, Image.Image]) -> dict[str, Any]:
        (name, picture), *others = item.items()
        assert (name, picture.mode, others) == ("face", "RGB", [])
        red, green, blue = np.asarray(picture, np.float64).mean((0, 1)) / 765
        return {
            "embedding": np.arange(4, dtype=np.float32)[None] + np.float32(red),
            "probabilities": {"happiness": blue, "anger": red, "fear": green},
            "expression": "anger",
        }


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """A Mac, as far as the backend can tell."""
    reference_session = Library()
    monkeypatch.setattr(coreml, "coremltools", lambda: reference_session)
    monkeypatch.setattr(coreml.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(coreml.platform, "mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))
    return reference_session


def faces(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(count).integers(0, 256, (count, 6, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('["alert", "drowsy, eyes closed"]', ["alert", "drowsy, eyes closed"]),
        ("alert,drowsy", ["alert", "drowsy"]),  # packages of earlier versions
        ("3,4", ["3", "4"]),
        ("3", ["3"]),
        ("[a],b", ["[a]", "b"]),
    ],
)
def test_labels_of_the_metadata_may_have_commas(text: str, names: list[str]) -> None:
    assert coreml.label_names(text) == names


# --- whether it can run --------------------------------------------------------------------------


def test_it_is_found_by_its_name() -> None:
    assert backend("coreml") is coreml


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("device", [None, "all", "ane", "gpu", "cpu"])
def test_it_can_run_on_a_mac(device: str | None) -> None:
    if importlib.util.find_spec("coremltools") is None:
        pytest.skip("coremltools is not installed")
    assert coreml.preflight(VARIANT, Options(device=device)) is None


def test_elsewhere_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreml.platform, "system", lambda: "Linux")
    assert coreml.preflight(VARIANT, Options()) == "Core ML runs on macOS, this is Linux"


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("here", "runs"), [("13.6.9", False), ("14.0", True), ("26.1", True)])
def test_the_package_says_which_macos_it_needs(
    monkeypatch: pytest.MonkeyPatch, here: str, runs: bool
) -> None:
    monkeypatch.setattr(coreml.platform, "mac_ver", lambda: (here, ("", "", ""), "arm64"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    reason = coreml.preflight(VARIANT, Options())
    assert reason == (None if runs else f"this package needs macOS 14.0 or newer, this is {here}")


@pytest.mark.usefixtures("library")
def test_a_missing_library_is_a_line_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'fer-edge[coreml]'" in (coreml.preflight(VARIANT, Options()) or "")


@pytest.mark.usefixtures("library")
def test_an_unknown_device_is_named_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    reason = coreml.preflight(VARIANT, Options(device="tpu")) or ""
    assert "all, ane, gpu, cpu" in reason
    assert "'tpu'" in reason


# --- running -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "units"),
    [
        (None, ComputeUnit.ALL),
        ("all", ComputeUnit.ALL),
        ("ane", ComputeUnit.CPU_AND_NE),
        ("gpu", ComputeUnit.CPU_AND_GPU),
        ("cpu", ComputeUnit.CPU_ONLY),
    ],
)
def test_the_device_chooses_the_compute_units(
    library: Library, device: str | None, units: ComputeUnit
) -> None:
    coreml.load(VARIANT, FILES, Options(device=device)).close()
    assert [used for _, used in library.loaded] == [units]


def test_the_package_is_laid_out_as_core_ml_knows_it_and_is_gone_after_close(
    library: Library,
) -> None:
    session = coreml.load(VARIANT, FILES, Options())
    assert library.compiled == [PACKAGE]
    folder = Path(library.loaded[0][0])
    assert folder.is_dir()
    session.close()
    session.close()
    assert not folder.parent.exists()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_batch_is_one_request_of_rgb_pictures(library: Library, count: int) -> None:
    batch = faces(count)
    probabilities, embedding = coreml.load(VARIANT, FILES, Options()).run(batch)
    assert [len(data) for data in library.asked] == [count]
    for face, item in zip(batch, library.asked[0], strict=True):
        assert np.array_equal(np.asarray(item["face"]), face[..., ::-1])
    bgr = batch.mean((1, 2)) / 765
    assert probabilities == pytest.approx(bgr[:, ::-1])  # anger is red, happiness blue
    assert embedding.shape == (count, 4)
    assert embedding[:, 0] == pytest.approx(bgr[:, 2])
    assert probabilities.dtype == embedding.dtype == np.float32
    assert probabilities.flags.writeable
    assert embedding.flags.writeable


def test_threads_take_turns(library: Library) -> None:
    session = coreml.load(VARIANT, FILES, Options())
    batches = [faces(1 + i % 3) for i in range(24)]
    barrier = threading.Barrier(4)

    def work(part: int) -> None:
        barrier.wait()
        for batch in batches[part::4]:
            assert session.run(batch)[0] == pytest.approx(batch.mean((1, 2))[:, ::-1] / 765)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(library.asked) == 24


# --- the cache -----------------------------------------------------------------------------------


def test_a_compiled_model_is_kept_and_found_again(library: Library, tmp_path: Path) -> None:
    cache = tmp_path / "new" / "cache"
    for _ in range(2):
        coreml.load(VARIANT, FILES, Options(cache_dir=cache)).close()
    assert len(library.compiled) == 1
    assert {path for path, _ in library.loaded} == {str(next(cache.iterdir()))}
    assert [path.suffix for path in cache.iterdir()] == [".mlmodelc"]


def test_another_file_or_another_macos_is_compiled_anew(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(cache_dir=tmp_path)
    coreml.load(VARIANT, FILES, options).close()
    other = FILES | {"coreml-fp16/weight.bin": b"other weights"}
    coreml.load(VARIANT, other, options).close()
    monkeypatch.setattr(coreml.platform, "mac_ver", lambda: ("15.2", ("", "", ""), "arm64"))
    coreml.load(VARIANT, FILES, options).close()
    assert len(library.compiled) == len(list(tmp_path.iterdir())) == 3


# --- failing -------------------------------------------------------------------------------------


def test_a_package_that_does_not_compile_is_an_engine_error(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: str, destination_path: str) -> str:
        raise RuntimeError("Error compiling model")

    monkeypatch.setattr(library.models.utils, "compile_model", refuse)
    with pytest.raises(EngineError, match="cannot load this package: Error compiling"):
        coreml.load(VARIANT, FILES, Options(cache_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_prediction_that_fails_is_an_engine_error(library: Library) -> None:
    session = coreml.load(VARIANT, FILES, Options())
    library.broken = RuntimeError("Failed to evaluate model")
    with pytest.raises(EngineError, match=r"batch \(2, 6, 6, 3\): Failed to evaluate"):
        session.run(faces(2))


@pytest.mark.usefixtures("library")
def test_a_closed_session_says_so() -> None:
    session = coreml.load(VARIANT, FILES, Options())
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.run(faces(1))
