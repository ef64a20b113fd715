"""Swap, shadow mode, keys and close() at the same moment."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import fer_edge.predictor as module
from fer_edge import BundleError, EngineError, Predictor
from fer_edge.backends.fake import FakeSession, write_fake_bundle
from fer_edge.bundle import open_bundle, write_bundle
from fer_edge.loaded import Loaded
from fer_edge.preprocess import Image
from fer_edge.signing import add_signature, new_key_pair, sign_manifest


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[FakeSession]]:
    """Sessions that were opened and closed."""
    seen: dict[str, list[FakeSession]] = {"opened": [], "closed": []}
    make = FakeSession.__init__

    def opened(session: FakeSession, *args: Any, **more: Any) -> None:
        make(session, *args, **more)
        seen["opened"].append(session)

    monkeypatch.setattr(FakeSession, "__init__", opened)
    monkeypatch.setattr(FakeSession, "close", lambda session: seen["closed"].append(session))
    return seen


def all_closed_once(sessions: dict[str, list[FakeSession]]) -> bool:
    opened, closed = ([id(one) for one in sessions[word]] for word in ("opened", "closed"))
    return sorted(opened) == sorted(closed)


def bundle(path: Path, label: str, margin: float = 0.0) -> Path:
    opened = open_bundle(write_fake_bundle(path.with_suffix(".plain.fer"), {label: 0.9}))
    crop = replace(opened.crop, margin=margin)
    write_bundle(replace(opened, path=path, crop=crop), opened.read(opened.variants[0]))
    return path


def while_loading(monkeypatch: pytest.MonkeyPatch, name: str, then: Callable[[], object]) -> None:
    """Call ``then`` once, after the bundle of this name was loaded and before it is in place."""
    load = module.load_warm
    waiting = [then]

    def loaded_then(content: Any, request: Any) -> Loaded:
        loaded = load(content, request)
        if content.path.name == name and waiting:
            thread = threading.Thread(target=waiting.pop())
            thread.start()
            thread.join(20)
            assert not thread.is_alive(), "waits for the bundle that loads"
        return loaded

    monkeypatch.setattr(module, "load_warm", loaded_then)


def test_a_swap_while_a_shadow_loads_is_seen(
    tmp_path: Path, face: Image, sessions: dict[str, list[FakeSession]], monkeypatch: Any
) -> None:
    wide, narrow = bundle(tmp_path / "wide.fer", "fear", 0.3), bundle(tmp_path / "n.fer", "anger")
    with Predictor(bundle(tmp_path / "old.fer", "neutral")) as predictor:
        while_loading(monkeypatch, "n.fer", lambda: predictor.swap(wide))
        with pytest.raises(BundleError, match="margin"):
            predictor.start_shadow(narrow)
        assert (predictor(face).label, predictor.shadow) == ("fear", None)
    assert all_closed_once(sessions)


def test_a_shadow_while_a_swap_loads_is_seen(
    tmp_path: Path, face: Image, sessions: dict[str, list[FakeSession]], monkeypatch: Any
) -> None:
    wide, narrow = bundle(tmp_path / "wide.fer", "fear", 0.3), bundle(tmp_path / "n.fer", "anger")
    with Predictor(bundle(tmp_path / "old.fer", "neutral")) as predictor:
        while_loading(monkeypatch, "wide.fer", lambda: predictor.start_shadow(narrow))
        with pytest.raises(BundleError, match="margin"):
            predictor.swap(wide)
        assert predictor(face).label == "neutral"
        assert predictor.shadow is not None
    assert all_closed_once(sessions)


@pytest.mark.parametrize("call", ["swap", "start_shadow"])
def test_a_close_while_a_bundle_loads_leaks_no_engine(
    tmp_path: Path, sessions: dict[str, list[FakeSession]], monkeypatch: Any, call: str
) -> None:
    new = bundle(tmp_path / "new.fer", "fear")
    predictor = Predictor(bundle(tmp_path / "old.fer", "neutral"))
    while_loading(monkeypatch, "new.fer", predictor.close)
    with pytest.raises(EngineError, match="closed"):
        getattr(predictor, call)(new)
    assert all_closed_once(sessions)


def test_keys_that_come_while_a_bundle_loads_hold_for_it(
    tmp_path: Path, sessions: dict[str, list[FakeSession]], monkeypatch: Any
) -> None:
    key, public = tmp_path / "a.key", tmp_path / "a.pub"
    new_key_pair(key, public)
    old = bundle(tmp_path / "old.fer", "neutral")
    add_signature(old, sign_manifest((old / "bundle.json").read_bytes(), key))
    unsigned = bundle(tmp_path / "unsigned.fer", "fear")
    with Predictor(old) as predictor:
        while_loading(monkeypatch, "unsigned.fer", lambda: predictor.trust([public]))
        with pytest.raises(BundleError, match="keys"):
            predictor.swap(unsigned)
        assert predictor.bundle.path == old
    assert all_closed_once(sessions)


def test_a_call_that_began_before_a_swap_is_no_count_of_a_later_shadow(
    tmp_path: Path, face: Image, monkeypatch: Any
) -> None:
    """Its faces were cut with the old bundle's margin."""
    wide, shadow = bundle(tmp_path / "w.fer", "fear", 0.3), bundle(tmp_path / "s.fer", "anger", 0.3)
    with Predictor(bundle(tmp_path / "old.fer", "neutral")) as predictor:
        run = module.predict

        def slow(loaded: Loaded, faces: Any, start_ns: int) -> Any:
            answers = run(loaded, faces, start_ns)
            monkeypatch.setattr(module, "predict", run)
            predictor.swap(wide)
            predictor.start_shadow(shadow)
            return answers

        monkeypatch.setattr(module, "predict", slow)
        assert predictor(face).label == "neutral"
        assert predictor.shadow is not None
        assert predictor.shadow.faces == 0
        predictor(face)
        assert predictor.shadow.faces == 1


def test_threads_that_swap_shadow_and_ask_end_with_every_engine_closed(
    tmp_path: Path, face: Image, sessions: dict[str, list[FakeSession]]
) -> None:
    labels = {"neutral": 0.0, "happiness": 0.0, "fear": 0.3, "anger": 0.3}
    bundles = [bundle(tmp_path / f"{name}.fer", name, labels[name]) for name in labels]
    wrong: list[object] = []
    with Predictor(bundles[0]) as predictor:

        def ask() -> None:
            if predictor(face).label not in labels:
                wrong.append("label")

        def compare() -> None:
            with predictor._lock:
                running, shadow = predictor._loaded, predictor._shadow
            if shadow is not None and running.bundle.crop.margin != shadow.bundle.crop.margin:
                wrong.append("margin")

        steps = {
            "ask": [ask] * 40,
            "compare": [compare] * 200,
            "swap": [lambda b=b: predictor.swap(b) for b in bundles * 3],
            "shadow": [lambda b=b: predictor.start_shadow(b) for b in bundles[::-1] * 3],
            "stop": [predictor.stop_shadow] * 20,
        }

        def repeat(calls: list[Callable[[], object]]) -> None:
            for call in calls:
                try:
                    call()
                except BundleError:  # another margin, as two threads want it
                    pass
                except Exception as error:
                    wrong.append(error)

        threads = [threading.Thread(target=repeat, args=(c,), daemon=True) for c in steps.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        assert wrong == []
    assert all_closed_once(sessions)


# A signal handler runs between two lines of the main thread and may call close().


def call_closed_in_line(predictor: Predictor, face: Image, number: int) -> int:
    """Call the predictor, and close() it in this line of the call; return how many it has."""
    files = {module.__file__, sys.modules["fer_edge.loaded"].__file__}
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            lines += 1
            if lines == number:
                sys.settrace(None)
                predictor.close()
                sys.settrace(trace)
        return trace

    def call() -> None:
        sys.settrace(trace)
        with contextlib.suppress(EngineError):
            predictor(face)
        sys.settrace(None)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), f"close() in line {number} of the call never ends"
    return lines


def test_close_in_any_line_of_a_call_ends_and_closes_the_engine_once(
    tmp_path: Path, face: Image, sessions: dict[str, list[FakeSession]]
) -> None:
    path = bundle(tmp_path / "old.fer", "neutral")
    with Predictor(path) as predictor:
        count = call_closed_in_line(predictor, face, 0)
    assert count > 10
    for number in range(1, count + 1):
        with Predictor(path) as predictor:
            call_closed_in_line(predictor, face, number)
    assert all_closed_once(sessions)
