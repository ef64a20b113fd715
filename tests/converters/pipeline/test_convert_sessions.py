"""Sessions that convert opens are closed however it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.backends.base import Batch, Outputs, Session
from fer_edge.bundle import Variant, listed
from fer_edge.converters.base import Artifact
from fer_edge.converters.pipeline import build_requested, verify_variant
from fer_edge.converters.pipeline.build_variant import BuiltVariant
from fer_edge.converters.pipeline.convert import convert
from fer_edge.errors import ConversionError, EngineError, ParityError
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.deploy import DeployModule


class CountingSession:
    """Gives every face the same answer, or fails; counts its ``close`` calls."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.closed = 0

    def run(self, batch: Batch) -> Outputs:
        if self.error is not None:
            raise self.error
        probabilities = np.full((len(batch), 7), 1 / 7, np.float32)
        return probabilities, np.zeros((len(batch), 256), np.float32)

    def close(self) -> None:
        self.closed += 1


class Flipping:
    """The checkpoint's answers, with the best two swapped on the first faces it sees."""

    def __init__(self, checkpoint: Path, flips: int) -> None:
        self.model = DeployModule(load_checkpoint(checkpoint))
        self.flips = flips
        self.flipped: set[bytes] = set()

    def run(self, batch: Batch) -> Outputs:
        probabilities, embeddings = self.model.run(batch)
        probabilities = probabilities.copy()
        for p, face in zip(probabilities, map(np.ndarray.tobytes, batch), strict=True):
            if len(self.flipped) < self.flips:
                self.flipped.add(face)
            if face in self.flipped:
                best, second = p.argsort()[:-3:-1]
                p[[best, second]] = p[[second, best]]
        return probabilities, embeddings

    def close(self) -> None:
        pass


def built(precision: str, session: Session) -> BuiltVariant:
    path = f"fake-{precision}/model"
    variant = Variant("onnxruntime", precision, path, (listed(path, b""),))
    return BuiltVariant(variant, Artifact(path, {path: b""}, {}), session)


@pytest.fixture
def building(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Replaces the builds: by precision, the session that is opened or the error that is raised."""

    def plan(outcomes: dict[str, Any]) -> None:
        def build(target: str, precision: str, *_: Any) -> BuiltVariant:
            outcome = outcomes[precision]
            if isinstance(outcome, BaseException):
                raise outcome
            return built(precision, outcome)

        monkeypatch.setattr(build_requested, "build_variant", build)
        # The stand-in's file is not a graph that an engine could say something about.
        monkeypatch.setattr(verify_variant, "_execution", lambda *_: None)

    return plan


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (ConversionError("no such arithmetic"), ConversionError),
        (RuntimeError("a defect"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_build_that_fails_in_the_middle_leaves_no_session_open(
    checkpoint: Path,
    tmp_path: Path,
    building: Callable[[dict[str, Any]], None],
    failure: BaseException,
    raised: type[BaseException],
) -> None:
    first = CountingSession()
    building({"fp32": first, "int8": failure})
    with pytest.raises(raised):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["fp32", "int8"], say=str)
    assert first.closed == 1
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_fails_on_the_faces_is_closed(
    checkpoint: Path, tmp_path: Path, building: Callable[[dict[str, Any]], None]
) -> None:
    first, second = CountingSession(), CountingSession(RuntimeError("the engine died"))
    building({"fp32": first, "int8": second})
    with pytest.raises(RuntimeError, match="the engine died"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["fp32", "int8"], say=str)
    assert (first.closed, second.closed) == (1, 1)


@pytest.mark.parametrize("precisions", [["fp32", "int8"], ["auto"]])
def test_a_failed_gate_leaves_no_session_open(
    checkpoint: Path,
    tmp_path: Path,
    building: Callable[[dict[str, Any]], None],
    precisions: list[str],
) -> None:
    sessions = CountingSession(), CountingSession()
    building(dict(zip(("fp32", "int8"), sessions, strict=True)))
    with pytest.raises(ParityError, match="nothing was written"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", precisions, say=str)
    assert [session.closed for session in sessions] == [1, 1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [ConversionError("a stand-in"), EngineError("an engine")])
def test_a_variant_that_fails_while_it_is_judged_is_left_out_and_raises_if_it_was_named(
    checkpoint: Path,
    tmp_path: Path,
    building: Callable[[dict[str, Any]], None],
    failure: Exception,
) -> None:
    building({"fp32": CountingSession(), "int8": CountingSession(failure)})
    said: list[str] = []
    with pytest.raises(ParityError, match=r"nothing was written.* Name another --precision"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", say=said.append)
    assert f"Left out: onnxruntime/int8: {failure}" in said
    with pytest.raises(type(failure), match=str(failure)):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["fp32", "int8"], say=str)


@pytest.mark.parametrize("failure", [ConversionError("a stand-in"), EngineError("an engine")])
def test_without_a_variant_that_was_judged_the_reasons_are_the_error(
    checkpoint: Path,
    tmp_path: Path,
    building: Callable[[dict[str, Any]], None],
    failure: Exception,
) -> None:
    building({"fp32": failure, "int8": CountingSession(failure)})
    both = {f"onnxruntime/{precision}: {failure}" for precision in ("fp32", "int8")}
    with pytest.raises(ConversionError, match="no variant could be built") as caught:
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", say=str)
    assert set(str(caught.value).split("verified. ")[1].split("; ")) == both
    assert "--allow-drop" not in str(caught.value)


@pytest.mark.parametrize("precisions", [["int8"], ["auto"]])
@pytest.mark.parametrize(
    ("flips", "advice"),
    [
        (3, r"(would tell|above)\. Give more faces with --data or --judge-seconds; --allow-drop"),
        (200, r"(is allowed|above)\. --allow-drop POINTS"),
    ],
)
def test_where_faces_lack_the_advice_is_more_faces(
    checkpoint: Path,
    tmp_path: Path,
    building: Callable[[dict[str, Any]], None],
    precisions: list[str],
    flips: int,
    advice: str,
) -> None:
    building({"fp32": ConversionError("no engine"), "int8": Flipping(checkpoint, flips)})
    with pytest.raises(ParityError, match=advice):
        convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", precisions, say=str)
