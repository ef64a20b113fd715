"""An engine that dies takes nobody with it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import open_bundle
from fer_edge.child import python_command
from fer_edge.converters.pipeline import crash_probe
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.crash_probe import crash_reason
from fer_edge.errors import ConversionError


@pytest.mark.parametrize(
    ("plan", "says"),
    [({"crash": True}, "SIGABRT"), ({"fail_after": 0}, None), ({}, None)],
    ids=["crash", "error", "sound"],
)
def test_only_a_crash_is_one(tmp_path: Path, plan: dict[str, Any], says: str | None) -> None:
    bundle = open_bundle(write_fake_bundle(tmp_path / "x.fer", **plan))
    found = crash_reason(bundle, bundle.read(bundle.variants[0]))
    assert (found is None) if says is None else (found is not None and says in found)


def test_a_variant_whose_engine_crashes_is_left_out_and_the_others_are_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(bundle: Any, contents: Any) -> str | None:
        return "its engine crashes" if bundle.variants[0].precision == "int8" else None

    monkeypatch.setattr("fer_edge.converters.pipeline.build_variant.crash_reason", dies)
    said: list[str] = []
    made = convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["all"], say=said.append)
    assert [variant.name for variant in made.variants] == ["onnxruntime/fp32"]
    assert any("onnxruntime/int8 cannot run" in line and "crashes" in line for line in said)
    with pytest.raises(ConversionError, match="crashes"):
        convert(checkpoint, ["onnxruntime"], tmp_path / "y.fer", ["int8"], say=said.append)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (-11, "SIGSEGV"),
        (-40, "signal 40"),
        (0xC0000005, "exit code 0xc0000005"),  # an access violation on Windows
        (1, None),
        (0, None),
    ],
)
def test_the_end_of_the_child_is_read_on_every_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, says: str | None
) -> None:
    bundle = open_bundle(write_fake_bundle(tmp_path / "x.fer"))
    done = subprocess.CompletedProcess([], code, "imported\n", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    reason = crash_reason(bundle, bundle.read(bundle.variants[0]))
    assert (reason is None) if says is None else (reason is not None and says in reason)


def test_a_child_may_write_any_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = r"import sys; sys.stderr.buffer.write(b'plugin \xe9chec\n'); sys.exit(1)"
    monkeypatch.setattr(crash_probe, "_RUN", program)
    bundle = open_bundle(write_fake_bundle(tmp_path / "x.fer"))
    with pytest.raises(ConversionError, match="plugin \ufffdchec"):
        crash_reason(bundle, bundle.read(bundle.variants[0]))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends orphans")
def test_the_child_ends_with_a_conversion_that_is_killed(tmp_path: Path, wait_for: Any) -> None:
    slow = write_fake_bundle(tmp_path / "x.fer", latency_ms=600_000)
    code = f"""
from fer_edge.bundle import open_bundle
from fer_edge.converters.pipeline.crash_probe import crash_reason
bundle = open_bundle({str(slow)!r})
crash_reason(bundle, bundle.read(bundle.variants[0]))
"""
    parent = subprocess.Popen(python_command("-c", code))
    try:
        child = wait_for(lambda: probe_of(parent.pid))
        # The child asks to end with its parent before it imports OpenCV.
        wait_for(lambda: "cv2" in Path(f"/proc/{child}/maps").read_text())
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: has_ended(child))


def probe_of(parent: int) -> str | None:
    """Return the probe among a process's children; others, such as uname, come and go.

    Until it has a command line of its own, it shows the libraries of its parent.
    """
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"probe.fer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return None


def has_ended(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # not yet waited for
