"""Swapping the bundle while faces are answered, and shadow mode."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_edge import BundleError, EngineError, InputError, Predictor
from fer_edge.backends.fake import FakeSession, write_fake_bundle
from fer_edge.bundle import open_bundle, write_bundle
from fer_edge.preprocess import Image

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a fake bundle that answers with one label."""

    def made(label: str, share: float = 0.9, **more: object) -> Path:
        path = tmp_path / f"{label}-{share}-{len(list(tmp_path.iterdir()))}.fer"
        return write_fake_bundle(path, {label: share}, **more)  # type: ignore[arg-type]

    return made


def test_the_new_bundle_answers(make: Make, face: Image) -> None:
    with Predictor(make("neutral")) as predictor:
        assert predictor(face).label == "neutral"
        new = make("happiness")
        predictor.swap(new)
        assert predictor(face).label == "happiness"
        assert predictor.bundle.path == new


def test_a_new_bundle_that_fails_leaves_the_old_one(make: Make, face: Image) -> None:
    with Predictor(make("neutral")) as predictor:
        with pytest.raises(EngineError):
            predictor.swap(make("fear", fail_after=0))
        assert predictor(face).label == "neutral"


def test_none_is_no_bundle_to_swap_in(make: Make) -> None:
    running = make("neutral")
    with Predictor(running) as predictor:
        for use in (predictor.swap, predictor.start_shadow, open_bundle):
            with pytest.raises(InputError, match="expected a bundle, got None"):
                use(None)
        assert predictor.bundle.path == running
        assert predictor.shadow is None


def test_a_damaged_bundle_leaves_the_old_one(make: Make, face: Image) -> None:
    new = make("fear")
    (new / "bundle.json").write_bytes(b"{}")
    with Predictor(make("neutral")) as predictor:
        with pytest.raises(BundleError):
            predictor.swap(new)
        assert predictor(face).label == "neutral"


def test_other_labels_are_refused(make: Make, face: Image, tmp_path: Path) -> None:
    opened = open_bundle(make("neutral"))
    other = tmp_path / "other.fer"
    labels = (*opened.labels[1:], opened.labels[0])
    write_bundle(replace(opened, path=other, labels=labels), opened.read(opened.variants[0]))
    with Predictor(make("neutral")) as predictor:
        for exchange in (predictor.swap, predictor.start_shadow):
            with pytest.raises(BundleError, match="labels"):
                exchange(other)
        assert predictor(face).label == "neutral"


def with_margin(path: Path, margin: float) -> Path:
    """Write a copy of a bundle with another margin round detected boxes."""
    opened = open_bundle(path)
    other = path.with_name(f"margin-{margin}-{path.name}")
    crop = replace(opened.crop, margin=margin)
    write_bundle(replace(opened, path=other, crop=crop), opened.read(opened.variants[0]))
    return other


def test_a_shadow_of_another_margin_is_refused(make: Make, face: Image) -> None:
    """It would be shown faces that were not cut for it, and its counts would mean nothing."""
    wide = with_margin(make("happiness"), 0.3)
    with Predictor(make("neutral")) as predictor:
        with pytest.raises(BundleError, match=r"margin 0\.0.*it has 0\.3.*stop_shadow"):
            predictor.start_shadow(wide)
        assert predictor.shadow is None
        predictor.swap(wide)
        predictor.start_shadow(with_margin(make("fear"), 0.3))
        with pytest.raises(BundleError, match="margin"):
            predictor.swap(make("neutral"))
        assert predictor(face).label == "happiness"
        predictor.stop_shadow()
        predictor.swap(make("neutral"))
        assert predictor(face).label == "neutral"


def test_calls_under_way_end_on_the_old_bundle(
    make: Make, face: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call fails, however often the bundle is exchanged; each old session is closed once."""
    closed: list[FakeSession] = []
    monkeypatch.setattr(FakeSession, "close", lambda session: closed.append(session))
    wrong: list[object] = []
    stop = threading.Event()

    def ask(predictor: Predictor) -> None:
        while not stop.is_set():
            try:
                if predictor(face).label not in ("neutral", "happiness"):
                    wrong.append("label")
            except Exception as error:  # nothing may come up
                wrong.append(error)

    bundles = [make("happiness", latency_ms=1), make("neutral", latency_ms=1)]
    with Predictor(make("neutral", latency_ms=1)) as predictor:
        threads = [threading.Thread(target=ask, args=(predictor,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for i in range(20):
            predictor.swap(bundles[i % 2])
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(closed) == len(set(map(id, closed))) == 20
    assert len(closed) == 21


def test_a_closed_predictor_is_not_swapped(make: Make) -> None:
    predictor = Predictor(make("neutral"))
    predictor.close()
    with pytest.raises(EngineError, match="closed"):
        predictor.swap(make("happiness"))


def test_a_shadow_is_counted_and_never_answers(make: Make, face: Image) -> None:
    with Predictor(make("neutral")) as predictor:
        assert predictor.shadow is None
        predictor.start_shadow(make("happiness"))
        assert [one.label for one in predictor.predict_batch([face] * 3)] == ["neutral"] * 3
        assert predictor(face).label == "neutral"
        counts = predictor.shadow
        assert counts is not None
        assert (counts.faces, counts.disagreements, counts.failures) == (4, 4, 0)
        assert predictor.stop_shadow() == counts
        predictor(face)
        assert predictor.shadow is None


def test_withheld_answers_are_counted_apart(make: Make, face: Image) -> None:
    with Predictor(make("neutral")) as predictor:
        predictor.start_shadow(make("happiness", 0.4, abstain_below=0.5))
        predictor(face)
        counts = predictor.stop_shadow()
        assert counts is not None
        assert (counts.disagreements, counts.answered_disagreements) == (1, 0)


def test_a_failing_shadow_disturbs_nobody(make: Make, face: Image) -> None:
    with Predictor(make("neutral")) as predictor:
        predictor.start_shadow(make("happiness", fail_after=5))
        assert all(predictor(face).label == "neutral" for _ in range(10))
        counts = predictor.stop_shadow()
        assert counts is not None
        assert counts.failures > 0
        assert counts.faces + counts.failures == 10


def test_an_agreeing_shadow_counts_no_disagreement(make: Make) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), np.uint8)
    with Predictor(make("neutral")) as predictor:
        predictor.start_shadow(make("neutral", 0.8))
        predictor.predict_batch(noise)
        counts = predictor.stop_shadow()
        assert counts is not None
        assert (counts.faces, counts.disagreements) == (6, 0)
