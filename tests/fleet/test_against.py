"""Two bundles over the same clips: disagreements, figures, verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge import BundleError
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.fleet import ClipReport, DriveScorer, find_clips
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.disagreements import Comparison
from fer_edge.fleet.report import report
from fer_edge.fleet.summary import Entry, summarize
from fer_edge.fleet.tally import Tally
from fer_edge.fleet.verdict import compare
from fer_edge.monitor import Face, Frame, MonitorState, PersonState, VideoFile, WholeFrame


def state(time_s: float, label: str | None, person: int = 1) -> MonitorState:
    one = PersonState(
        person, (0, 0, 9, 9), label, 0.8 if label else 0.0, None, None, None, True, 0, 0, None
    )
    return MonitorState(round(time_s * 10), time_s, 0.0, (one,))


def test_a_disagreement_lasts_while_the_same_two_labels_do() -> None:
    comparison = Comparison()
    pairs = [("anger", "anger"), ("anger", "fear"), ("anger", "fear"), ("anger", None)]
    pairs += [("anger", "anger"), (None, "fear")]
    ended = []
    for number, (one, two) in enumerate(pairs):
        ended += comparison.add(state(number / 10, one), state(number / 10, two))
    ended += comparison.end()
    found = [(d.label, d.label_against, d.start_s, d.end_s, d.frames) for d in ended]
    assert found == [
        ("anger", "fear", 0.1, pytest.approx(0.3), 2),
        ("anger", None, pytest.approx(0.3), pytest.approx(0.4), 1),
        (None, "fear", pytest.approx(0.5), pytest.approx(0.5), 1),
    ]
    assert (ended[0].confidence, ended[1].confidence_against) == (pytest.approx(0.8), 0.0)
    seconds = comparison.as_dict()
    assert seconds["both_s"] == pytest.approx(0.4)
    assert seconds["differ_s"] == pytest.approx(0.2)
    assert seconds["only_s"] == pytest.approx(0.1)
    assert seconds["disagreements"] == 3


def test_both_bundles_score_each_clip(
    fake_bundle: Path, tmp_path: Path, write_clip: Callable[..., Path], rows: Any
) -> None:
    angry = write_fake_bundle(tmp_path / "angry.fer", {"anger": 0.9})
    scorer = DriveScorer(fake_bundle, detector=WholeFrame(), against=angry)
    (clip,) = find_clips([write_clip(tmp_path / "t" / "a.avi", 30)])
    result = scorer.score(clip, tmp_path / "out")
    (row,) = rows(tmp_path / "out", "disagreements")
    assert (row["label"], row["label_against"]) == ("neutral", "anger")
    assert row["confidence"] == pytest.approx(0.9)
    assert row["end_s"] == pytest.approx(29 / 25)
    one, two = (rows(tmp_path / "out", f"states{end}") for end in ("", "_against"))
    assert len(one) == len(two) == 30
    assert {r["bundle_sha256"] for r in one}.isdisjoint(r["bundle_sha256"] for r in two)
    assert result.against is not None
    assert result.against["tally"]["label_s"].keys() == {"anger"}
    plain = DriveScorer(fake_bundle, detector=WholeFrame())
    plain.score(clip, tmp_path / "plain")
    assert rows(tmp_path / "plain", "states") == one


class CountedDetector(WholeFrame):
    """WholeFrame that counts its calls."""

    calls = 0

    def detect(self, image: Any) -> list[Face]:
        self.calls += 1
        return super().detect(image)


@pytest.mark.parametrize("clip", ["monday/b.avi", "tuesday/a.avi", "tuesday/b.avi"])
def test_both_bundles_share_reads_and_faces_and_have_the_rows_of_their_own_runs(
    clip: str,
    fake_bundle: Path,
    tmp_path: Path,
    drives: Path,
    rows: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[VideoFile] = []
    read = VideoFile.read

    def noted(self: VideoFile) -> Frame:
        reads.append(self)
        return read(self)

    def counts(bundle: Path, name: str, **options: Any) -> tuple[int, int]:
        reads.clear()
        detector = CountedDetector()
        scorer = DriveScorer(bundle, detector=detector, **options)
        scorer.score(found, tmp_path / name)
        return len(reads), detector.calls

    monkeypatch.setattr(VideoFile, "read", noted)
    (found,) = find_clips([drives / clip])
    angry = write_fake_bundle(tmp_path / "angry.fer", {"anger": 0.9})
    alone = counts(fake_bundle, "one")
    assert counts(angry, "two") == alone
    assert counts(fake_bundle, "both", against=angry) == alone
    for table in ("states", "events", "alerts"):
        both = [rows(tmp_path / "both", f"{table}{end}") for end in ("", "_against")]
        if clip == "tuesday/b.avi":  # no video: one row tells of it, for both bundles
            both[1] = rows(tmp_path / "two", table)
        assert both == [rows(tmp_path / name, table) for name in ("one", "two")]


def test_both_bundles_share_the_faces_of_grey_frames(
    fake_bundle: Path, tmp_path: Path, drives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = VideoFile.read

    def grey(self: VideoFile) -> Frame:
        frame = read(self)
        return replace(frame, image=np.ascontiguousarray(frame.image[:, :, 0]))

    monkeypatch.setattr(VideoFile, "read", grey)
    (clip,) = find_clips([drives / "monday/b.avi"])
    alone, both = CountedDetector(), CountedDetector()
    DriveScorer(fake_bundle, detector=alone).score(clip, tmp_path / "alone")
    scorer = DriveScorer(fake_bundle, detector=both, against=fake_bundle)
    assert scorer.score(clip, tmp_path / "both").status == "ok"
    assert both.calls == alone.calls > 0


def test_a_detector_that_raises_is_asked_for_each_bundle(
    fake_bundle: Path, tmp_path: Path, write_clip: Callable[..., Path]
) -> None:
    class Broken(CountedDetector):
        def detect(self, image: Any) -> list[Face]:
            super().detect(image)
            raise MemoryError

    (clip,) = find_clips([write_clip(tmp_path / "t" / "a.avi", 5)])
    alone, detector = Broken(), Broken()
    DriveScorer(fake_bundle, detector=alone).score(clip, tmp_path / "alone")
    scorer = DriveScorer(fake_bundle, detector=detector, against=fake_bundle)
    result = scorer.score(clip, tmp_path / "out")
    assert detector.calls == 2 * alone.calls > 0
    assert result.against is not None
    assert result.tally["missing_s"] == result.against["tally"]["missing_s"]
    assert result.tally["missing_s"].keys() == {"nobody"}


def test_bundles_of_other_labels_are_refused(fake_bundle: Path, tmp_path: Path) -> None:
    import json

    from fer_edge.manifest import sealed

    other = write_fake_bundle(tmp_path / "other.fer")
    manifest = json.loads((other / "bundle.json").read_text())
    manifest["labels"] = manifest["labels"][::-1]
    (other / "bundle.json").write_text(json.dumps(sealed(manifest)))
    with pytest.raises(BundleError, match="expected the labels"):
        DriveScorer(fake_bundle, detector=WholeFrame(), against=other).identity()


def drive(number: int, *, differ_s: float = 0.0, valid_s: float = 90.0) -> Entry:
    clip = Clip("/x/a.mp4", f"drive {number}", "a.mp4")
    one = Tally(frames=100, stream_s=100.0, valid_s=90.0).as_dict()
    two = Tally(frames=100, stream_s=100.0, valid_s=valid_s).as_dict()
    seconds = {"both_s": 80.0, "differ_s": differ_s, "only_s": 10.0, "only_against_s": 0.0}
    longest = [
        {
            **{"person": 1, "is_driver": True, "start_s": 1.0, "end_s": 1.0 + differ_s},
            **{"frames": 2, "label": "anger", "label_against": None},
            **{"confidence": 0.7, "confidence_against": 0.0},
        }
    ]
    against = {"tally": two, **seconds, "disagreements": 1, "longest": longest}
    return clip, ClipReport(clip.key, "ok", None, one, against)


@pytest.mark.parametrize(
    ("entries", "verdict"),
    [
        ([drive(n, differ_s=0.5 * (n % 3)) for n in range(10)], "same"),
        ([drive(n, differ_s=8.0 + n) for n in range(10)], "different"),
        ([drive(n, valid_s=80.0) for n in range(10)], "different"),
        ([drive(n, differ_s=4.0 * (n % 3)) for n in range(10)], "undecided"),
        ([drive(n) for n in range(4)], "undecided"),
    ],
)
def test_the_verdict_follows_the_intervals_over_drives(entries: list[Entry], verdict: str) -> None:
    comparison = compare(entries)
    assert comparison is not None
    assert comparison["verdict"] == verdict
    assert compare(entries) == comparison
    low, high = comparison["figures"]["different"]["interval"]
    assert low <= comparison["figures"]["different"]["value"] <= high


def test_many_clips_of_one_drive_do_not_narrow_an_interval() -> None:
    drives = [drive(n, differ_s=float(n)) for n in range(6)]
    many = []
    for clip, one in drives:
        many += [(replace(clip, name=f"{k}.mp4"), one) for k in range(50)]
    figures = [compare(entries)["figures"]["different"] for entries in (drives, many)]  # type: ignore[index]
    assert figures[0]["interval"] == pytest.approx(figures[1]["interval"])


def test_without_a_second_bundle_there_is_no_comparison() -> None:
    clip, one = drive(0)
    assert compare([(clip, replace(one, against=None))]) is None


def test_the_page_shows_verdict_intervals_and_times() -> None:
    entries = [drive(n, differ_s=1.0 + n) for n in range(6)]
    page = report({}, entries, summarize(entries), compare(entries))
    assert "95 % interval" in page
    assert "bootstrap over drives" in page
    assert "<td>drive 5/a.mp4</td><td>1.00</td><td>7.00</td>" in page
