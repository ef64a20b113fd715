"""Crew: clips go to workers, deaths are counted, stalls are ended. No process is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fer_edge import EngineError
from fer_edge.fleet import crew as module
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.crew import Crew, News
from fer_edge.fleet.scorer import ClipReport

Answer = Callable[[Clip, int], News]


class Script:
    """Team whose workers do what a function says."""

    size = 2

    def __init__(self, answer: Answer, identity: Callable[[int], Any] = lambda worker: 1) -> None:
        self.answer, self.identity = answer, identity
        self.news: list[News] = []
        self.count = 0
        self.given: list[tuple[int, str]] = []
        self.killed: list[int] = []
        self.is_closed = False

    def start(self) -> int:
        self.count += 1
        assert self.count < 200
        self.news.append(News(self.count, "ready", self.identity(self.count)))
        return self.count

    def give(self, worker: int, clip: Clip) -> None:
        self.given.append((worker, clip.name))
        self.news.append(self.answer(clip, worker))

    def wait(self, timeout_s: float) -> list[News]:
        news, self.news = self.news, []
        return news

    def kill(self, worker: int) -> None:
        self.killed.append(worker)
        self.news = [news for news in self.news if news.worker != worker]

    def close(self) -> None:
        self.is_closed = True


def clips(*names: str, size: int = 1) -> list[Clip]:
    return [Clip(f"/{name}", "d", name, size=size) for name in names]


def run(team: Script, todo: list[Clip], **how: Any) -> dict[str, ClipReport]:
    done: dict[str, ClipReport] = {}

    def note(clip: Clip, report: ClipReport) -> None:
        assert clip.name not in done
        done[clip.name] = report

    def failed(clip: Clip, error: str) -> ClipReport:
        return ClipReport(clip.key, "failed", error, retry=True)

    check = how.pop("check", lambda identity: None)
    Crew(team, todo, 2, check=check, done=note, failed=failed, **how).run()
    assert team.is_closed
    return done


def fine(clip: Clip, worker: int) -> News:
    return News(worker, "done", ClipReport(clip.key, "ok"))


def test_the_longest_clips_are_scored_first_by_few_workers() -> None:
    team = Script(fine)
    todo = [*clips("a", "b"), *clips("long", size=9), *clips("c")]
    assert run(team, todo).keys() == {"a", "b", "c", "long"}
    assert team.given[0] == (1, "long")
    assert team.count == 2


@pytest.mark.parametrize(("outside", "times"), [(False, 2), (True, 10)])
def test_a_clip_that_ends_its_workers_gets_an_error(outside: bool, times: int) -> None:
    def answer(clip: Clip, worker: int) -> News:
        if clip.name == "bad":
            return News(worker, "dead", "the worker died of SIGX", outside)
        return fine(clip, worker)

    team = Script(answer)
    done = run(team, clips("bad", "a", "b"))
    assert (done["a"].status, done["b"].status) == ("ok", "ok")
    assert done["bad"].error is not None
    assert "SIGX" in done["bad"].error
    assert [name for _, name in team.given].count("bad") == times


def test_a_clip_whose_worker_dies_once_is_scored_by_another() -> None:
    def answer(clip: Clip, worker: int) -> News:
        return News(worker, "dead", "x") if worker == 1 else fine(clip, worker)

    done = run(Script(answer), clips("a", "b", "c"))
    assert {report.status for report in done.values()} == {"ok"}


def test_a_worker_whose_engine_failed_is_replaced() -> None:
    def answer(clip: Clip, worker: int) -> News:
        broken = ClipReport(clip.key, "failed", "the engine", retry=True)
        return News(worker, "done", broken) if worker == 1 else fine(clip, worker)

    team = Script(answer)
    done = run(team, clips("a", "b"))
    assert {report.status for report in done.values()} == {"ok"}
    assert team.killed == [1]


def test_a_worker_that_gives_no_sign_of_life_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_S", -1.0)

    def answer(clip: Clip, worker: int) -> News:
        return News(99, "beat") if clip.name == "hangs" else fine(clip, worker)

    team = Script(answer)
    done = run(team, clips("hangs"))
    assert done["hangs"].error is not None
    assert "no frame came" in done["hangs"].error
    assert len(team.killed) == 2


def test_workers_that_load_something_else_are_not_used() -> None:
    def check(identity: int) -> str | None:
        return None if identity == 1 else "another variant"

    team = Script(fine, identity=lambda worker: 2 if worker == 2 else 1)
    done = run(team, clips("a", "b", "c"), check=check)
    assert len(done) == 3
    assert team.killed == [2]
    team = Script(fine, identity=lambda worker: 2)
    with pytest.raises(EngineError, match="another variant"):
        run(team, clips("a"), check=check)
    assert team.is_closed
