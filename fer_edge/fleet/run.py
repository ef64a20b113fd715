"""Run over many clips: resumes, distributes, sums up."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_edge.atomic import write_file
from fer_edge.errors import InputError
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.crew import Crew, Team
from fer_edge.fleet.journal import Journal
from fer_edge.fleet.parts import part_path, remove_leftovers
from fer_edge.fleet.processes import Processes
from fer_edge.fleet.report import report
from fer_edge.fleet.scorer import ClipReport, DriveScorer, write_error
from fer_edge.fleet.summary import write_summaries
from fer_edge.fleet.verdict import compare
from fer_edge.paths import absolute, as_path
from fer_edge.progress import Say, Step, say_nothing, silent
from fer_edge.shown import printable, shown

SUMMARY, REPORT = "summary.json", "report.html"
_MOST_ERRORS = 20


@dataclass(frozen=True)
class Run:
    """Outcome of a run.

    Attributes:
        out: Output folder.
        clips: Number of clips that were asked for.
        scored: Number of clips that this run scored; an earlier one did the others.
        status: Number of clips by status: "ok", "partial", "failed".
        errors: The first 20 faults: drive, clip, status and sentence.
        drives: Figures of each drive of the folder, as ``summarize`` returns them.
        against: Comparison with the second bundle, as ``compare`` returns it, or None.
        wall_s: Seconds that this run took.
    """

    out: Path
    clips: int
    scored: int
    status: dict[str, int]
    errors: list[dict[str, str]]
    drives: list[dict[str, Any]] = field(repr=False)
    against: dict[str, Any] | None = field(default=None, repr=False)
    wall_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        drives = [{k: v for k, v in drive.items() if k != "latency"} for drive in self.drives]
        return {
            "out": str(self.out),
            "clips": self.clips,
            "scored": self.scored,
            **{name: self.status.get(name, 0) for name in ("ok", "partial", "failed")},
            "errors": self.errors,
            "wall_s": self.wall_s,
            "drives": drives,
            "against": self.against,
        }


def score_drives(
    clips: Sequence[Clip],
    out: str | Path,
    scorer: DriveScorer | None = None,
    *,
    workers: int | None = None,
    team: Callable[[DriveScorer, Path], Team] = Processes,
    step: Step = silent,
    say: Say = say_nothing,
) -> Run:
    """Score clips with several processes, and write tables and summaries.

    Clips that an earlier run has finished in the same folder are not scored again.

    Args:
        clips: The clips, as ``find_clips`` returns them.
        out: Output folder: new, empty, or of an earlier run.
        scorer: Bundle and settings. None takes the defaults.
        workers: Number of processes. None takes one for each core.
        team: Makes the workers: ``Processes``, or ``ray_team(address)``.
        step: Progress callback, in clips.
        say: Gets a sentence for each clip that fails, and about what was done before.

    Returns:
        The outcome. Clips that failed are in it; they raise nothing.

    Raises:
        InputError: An argument or the folder cannot be used, or an earlier run had other settings.
        FerEdgeError: Bundle or detector cannot be loaded.
        EngineError: Workers die before their first clip.
    """
    began_s, out = time.monotonic(), absolute(as_path(out, "the output folder"))
    if scorer is None:
        scorer = DriveScorer()
    if not isinstance(scorer, DriveScorer):
        raise InputError(f"expected a DriveScorer, got {shown(scorer)}. Pass DriveScorer(BUNDLE)")
    if workers is not None and not (type(workers) is int and workers >= 1):
        raise InputError(
            f"expected at least 1 worker, got {shown(workers)}. Give --workers 1 or more"
        )
    _check_clips(clips)
    with Journal(out) as journal:
        progress = _Progress(step, say, len(clips))
        try:
            scored = _score(clips, journal, scorer, workers, team, progress)
            run = _sum_up(out, clips, journal, scored)
        except OSError as error:
            raise InputError(f"cannot write {out}: {error}. Free space, and run again") from error
    return Run(**(run.__dict__ | {"wall_s": time.monotonic() - began_s}))


def _check_clips(clips: object) -> None:
    """Raise InputError unless there is a list with at least one clip."""
    if not isinstance(clips, Sequence) or not all(isinstance(clip, Clip) for clip in clips):
        raise InputError(f"expected a list of clips, got {shown(clips)}. Pass find_clips([PATH])")
    if not clips:
        raise InputError("expected at least one clip, got none. Pass find_clips([PATH])")


def _score(
    clips: Sequence[Clip],
    journal: Journal,
    scorer: DriveScorer,
    workers: int | None,
    team: Callable[[DriveScorer, Path], Team],
    progress: _Progress,
) -> int:
    """Score the clips that are not done, and return their number."""
    out, identity = journal.out, dict[str, Any]()
    if journal.done:  # workers would notice, and none starts if every clip is done
        journal.refuse(scorer.differences(journal.identity()))
    journal.forget_moved(list(clips))
    todo = []
    for clip in clips:
        if not journal.is_done(clip):
            todo.append(clip)
        elif journal.is_lost(clip):
            progress.fault(clip, _report_of(clip, journal))
    progress.start(len(todo))

    def check(of_worker: dict[str, Any]) -> str | None:
        if identity and identity != of_worker:
            variants = identity["variant"], of_worker["variant"]
            return (
                f"one loaded {variants[1]} and not {variants[0]}; name what all can run with "
                "--target and --precision"
            )
        journal.check(of_worker)
        identity.update(of_worker)
        return None

    def done(clip: Clip, report: ClipReport) -> None:
        if not part_path(out, "states", clip).is_file():
            raise InputError(
                f"the rows of {clip.name} are not in {out}. Give a folder that all workers share"
            )
        journal.add(clip, report)
        progress.done(clip, report)

    def failed(clip: Clip, error: str) -> ClipReport:
        write_error(out, clip, error, identity)
        return ClipReport(clip.key, "failed", error, retry=True)

    if todo:
        made = team(scorer, out)
        size = min(workers or made.size, len(todo))
        Crew(made, todo, size, check=check, done=done, failed=failed, tick=progress.tick).run()
        remove_leftovers(out)
    return len(todo)


def _sum_up(out: Path, clips: Sequence[Clip], journal: Journal, scored: int) -> Run:
    entries = journal.entries()
    drives = write_summaries(out, entries)
    against = compare(entries)
    html = report(journal.identity(), entries, drives, against)
    write_file(out / REPORT, html.encode())
    reports = [(clip, _report_of(clip, journal)) for clip in clips]
    errors = [
        {"drive": clip.drive, "clip": clip.name, "status": one.status, "error": one.error}
        for clip, one in reports
        if one.error is not None
    ]
    status = Counter(one.status for _, one in reports)
    run = Run(out, len(clips), scored, dict(status), errors[:_MOST_ERRORS], drives, against)
    plain = {key: value for key, value in run.as_dict().items() if key not in ("out", "wall_s")}
    write_file(out / SUMMARY, (json.dumps(plain, indent=1, allow_nan=False) + "\n").encode())
    return run


def _report_of(clip: Clip, journal: Journal) -> ClipReport:
    """Return the outcome of a clip in this run."""
    if not journal.is_lost(clip):
        return journal.done[clip.key][2]
    return ClipReport(
        clip.key,
        "failed",
        f"{clip.name} or its signals cannot be seen now; the rows of an earlier run stay. Check "
        "the path and its mount, and run again",
    )


class _Progress:
    """Bar on a terminal, and a sentence twice a minute elsewhere."""

    _EVERY_S = 30.0

    def __init__(self, step: Step, say: Say, total: int) -> None:
        self._step, self._say = step, say
        self._total, self._todo, self._done = total, total, 0
        self._failed = 0
        self._began_s = self._said_s = time.monotonic()

    def start(self, todo: int) -> None:
        """Take the number of clips that this run has to score."""
        self._todo = todo
        if todo < self._total:
            self._say(f"{self._total - todo:,} of {self._total:,} clips were scored before")

    def done(self, clip: Clip, report: ClipReport) -> None:
        """Count a clip."""
        self._done += 1
        if report.status != "ok":
            self._failed += 1
            self.fault(clip, report)
        self.tick()

    def fault(self, clip: Clip, report: ClipReport) -> None:
        """Say what is wrong with a clip."""
        self._say(printable(f"{clip.drive}/{clip.name} {report.status}: {report.error}"))

    def tick(self) -> None:
        """Show the progress."""
        before = self._total - self._todo
        self._step("score", before + self._done, self._total)
        now_s = time.monotonic()
        if self._step is silent and self._done and now_s - self._said_s >= self._EVERY_S:
            self._said_s = now_s
            left_s = (now_s - self._began_s) / self._done * (self._todo - self._done)
            self._say(
                f"{before + self._done:,} of {self._total:,} clips, {self._failed:,} with a "
                f"fault, about {left_s / 60:.0f} min left"
            )
