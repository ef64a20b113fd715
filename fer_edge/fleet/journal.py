"""Journal of a run: what decides the rows, and the clips that are done."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Any

from fer_edge.atomic import write_file
from fer_edge.errors import InputError
from fer_edge.fleet import remote
from fer_edge.fleet.clips import Clip, stamp_of
from fer_edge.fleet.disagreements import Comparison, Disagreement
from fer_edge.fleet.parts import TABLES, part_path, remove_leftovers
from fer_edge.fleet.scorer import ClipReport
from fer_edge.fleet.tally import Tally, quantile_ms
from fer_edge.json_check import read_number, read_required
from fer_edge.lock import locked
from fer_edge.shown import shown, without_password

_log = logging.getLogger(__name__)

IDENTITY, DONE = "run.json", "done.jsonl"


class Journal:
    """Done clips of an output folder, appended to as they end.

    A line is appended after the clip's part files are on the disk. A line that a killed process
    left unfinished is dropped, a damaged one is passed over, and its clip is scored again. One
    journal at a time is open in a folder.

    Args:
        out: Output folder. It is made if it is missing.

    Raises:
        InputError: The folder holds something else, cannot be written, or another run uses it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.done: dict[str, tuple[Clip, str, ClipReport]] = {}
        self._versions: dict[str, str] = {}
        with ExitStack() as stack:
            try:
                out.mkdir(parents=True, exist_ok=True)
                _lock(stack, out)
                names = {entry.name for entry in out.iterdir()}
                _check_ours(out, names)
                remove_leftovers(out)
                self._read()
            except OSError as error:
                raise InputError(
                    f"cannot write {out}: {error.strerror}. Choose another -o"
                ) from error
            self._stack = stack.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def check(self, identity: dict[str, Any]) -> None:
        """Record what decides the rows, or compare it with the earlier run.

        Raises:
            InputError: The earlier run had another bundle, detector, setting or version.
        """
        path = self.out / IDENTITY
        if not path.exists():
            write_file(path, (json.dumps(identity, indent=1) + "\n").encode())
            return
        before = self.identity()
        self.refuse([key for key in identity if before.get(key) != identity[key]])

    def refuse(self, differences: list[str]) -> None:
        """Raise InputError if the earlier run differs in anything."""
        if differences:
            raise InputError(
                f"{self.out} was scored with another {', '.join(sorted(differences))}. Choose "
                "another -o"
            )

    def identity(self) -> dict[str, Any]:
        """Return what decided the rows of the folder. Raises InputError if it is damaged."""
        path = self.out / IDENTITY
        try:
            identity = json.loads(path.read_bytes())
        except (ValueError, OSError, RecursionError) as error:
            raise InputError(f"{path} is damaged: {error}. Choose another -o") from error
        if not isinstance(identity, dict):
            raise InputError(f"{path} is damaged. Choose another -o")
        return identity

    def is_done(self, clip: Clip) -> bool:
        """Return True for an unchanged clip whose rows are complete.

        Raises:
            InputError: The rows are those of another file, which is still there.
        """
        version = self._versions[clip.key] = clip.version
        entry = self.done.get(clip.key)
        if entry is None or entry[2].retry:
            return False
        if entry[1] != version and not self.is_lost(clip):
            _check_same_file(self.out, entry[0], clip)
            return False
        return part_path(self.out, "states", clip).is_file()

    def is_lost(self, clip: Clip) -> bool:
        """Return True for a clip with rows whose file, or signals, cannot be seen now.

        A mount may be gone for a while, and the rows stay.
        """
        _, version, report = self.done[clip.key]
        if report.status == "failed" or self._versions.get(clip.key) == version:
            return False
        return clip.stamp == remote.MISSING or (
            clip.signals is not None and stamp_of(clip.signals) == remote.MISSING
        )

    def add(self, clip: Clip, report: ClipReport) -> None:
        """Append a clip that is done, with its version at the time of ``is_done``.

        Raises:
            OSError: The line cannot be written. No part of it stays behind.
        """
        version = self._versions.get(clip.key) or clip.version
        self._append({"version": version, "clip": _plain(clip), "report": asdict(report)})
        self.done[clip.key] = clip, version, report

    def _append(self, plain: dict[str, Any]) -> None:
        line = json.dumps(plain).encode("utf-8", "backslashreplace") + b"\n"
        handle = os.open(self.out / DONE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            whole = os.fstat(handle).st_size
            try:
                written = 0
                while written < len(line):  # a disk that fills up takes a part
                    written += os.write(handle, line[written:])
            except OSError:
                os.ftruncate(handle, whole)
                raise
            os.fsync(handle)
        finally:
            os.close(handle)

    def forget_moved(self, clips: list[Clip]) -> None:
        """Remove rows of clips that go under another drive or name now."""
        keys: dict[tuple[str, ...], set[str]] = {}
        for clip in clips:
            for place in _places(clip):
                keys.setdefault((*place, clip.camera or ""), set()).add(clip.key)
        for key, (clip, _, _) in list(self.done.items()):
            now = [keys.get((*place, clip.camera or ""), set()) for place in _places(clip)]
            if any(now) and key not in set().union(*now):
                del self.done[key]
                for table in TABLES:
                    part_path(self.out, table, clip).unlink(missing_ok=True)
                self._append({"forgotten": key})

    def entries(self) -> list[tuple[Clip, ClipReport]]:
        """Return the done clips, ordered by drive, name and camera."""
        rows = [(clip, report) for clip, _, report in self.done.values()]
        return sorted(rows, key=lambda row: (row[0].drive, row[0].name, row[0].camera or ""))

    def _read(self) -> None:
        path = self.out / DONE
        if not path.exists():
            return
        whole = 0
        for number, line in enumerate(_lines(path), 1):
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            try:
                plain = json.loads(line)
                if "forgotten" in plain:
                    self.done.pop(plain["forgotten"], None)
                    continue
                clip, version, report = _entry(plain)
                self.done[clip.key] = clip, version, report
            except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
                _log.warning(
                    "line %d of %s is damaged, its clip is scored again: %s", number, path, error
                )
        if whole < path.stat().st_size:
            os.truncate(path, whole)


def _lock(stack: ExitStack, out: Path) -> None:
    try:
        stack.enter_context(locked(out / DONE, wait=False))
    except BlockingIOError:
        raise InputError(
            f"another run writes to {out}. Wait for its end, or choose another -o"
        ) from None
    except OSError as error:
        _log.warning("%s cannot be locked (%s): let one run at a time use it", out, error.strerror)


def _check_ours(out: Path, names: set[str]) -> None:
    if names and IDENTITY not in names and any(not name.startswith(".") for name in names):
        raise InputError(
            f"expected an empty folder or one of an earlier run, got {out}. Choose another -o"
        )


def _check_same_file(out: Path, before: Clip, clip: Clip) -> None:
    """Raise InputError if a clip would replace the rows of another file."""
    moved = not _places(before) & _places(clip)
    if moved and before.stamp != remote.MISSING and stamp_of(before.path) == before.stamp:
        raise InputError(
            f"{out} holds the rows of {before.path} under the name of {_public(clip).path}, the "
            f"clip {clip.name} of the drive {clip.drive}. Choose another -o, or remove the old file"
        )


def _places(clip: Clip) -> set[tuple[str, ...]]:
    """Return what tells a file from others: its address, or that without a query, and its stamp.

    The query may be a signature, which each run has anew, or be all that tells two files apart.
    """
    path = _public(clip).path
    return {(path,), (remote.plain_address(path), clip.stamp)}


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _entry(plain: Any) -> tuple[Clip, str, ClipReport]:
    """Return clip, version and report of a line. Raises for one that gives no summary."""
    _check(plain, _SHAPE, "line")
    report = ClipReport(**plain["report"])
    quantile_ms(report.tally["latency"], 1.0)
    if report.against is not None:
        _check(report.against, _SHAPE_AGAINST, "against")
    return _clip(plain["clip"]), plain["version"], report


def _check(value: Any, shape: Any, where: str) -> None:
    """Raise ValueError for a value that a summary cannot be made of.

    Args:
        value: Decoded JSON.
        shape: Value of the same types. Keys that are not in a mapping hold numbers; a list stands
            for lists of its one item; None stands for any text or number, and Any for anything.
        where: Name of the value.
    """
    if isinstance(shape, dict):
        read_required(value, where, tuple(shape))
        for key, one in value.items():
            _check(one, shape.get(key, 0), f"{where}.{key}")
    elif isinstance(shape, list) and isinstance(value, list):
        for one in value:
            _check(one, shape[0], where)
    elif shape is None or isinstance(shape, str | bool | list):
        kinds = (str, int, float, NoneType) if shape is None else type(shape)
        if not isinstance(value, kinds):
            raise ValueError(f"expected {where} like {shown(shape)}, got {shown(value)}")
    elif shape is not Any:
        read_number(value, where, -_MOST, _MOST)


_SHAPE = {
    "version": "",
    "clip": asdict(Clip("", "", "")),
    "report": asdict(ClipReport("", "")) | {"against": Any},
}
"""Shape of a line about a clip that is done."""
_SHAPE_AGAINST = {
    "tally": Tally().as_dict(),
    **Comparison().as_dict(),
    "longest": [asdict(Disagreement(0, False, 0, 0, 0, None, None, 0, 0))],
}
_MOST = 1e15


def _plain(clip: Clip) -> dict[str, Any]:
    return asdict(_public(clip)) | {"start": None if clip.start is None else clip.start.isoformat()}


def _public(clip: Clip) -> Clip:
    """Return the clip as the journal keeps it: its addresses without passwords."""
    signals = None if clip.signals is None else without_password(clip.signals)
    return replace(clip, path=without_password(clip.path), signals=signals)


def _clip(plain: dict[str, Any]) -> Clip:
    start = plain["start"]
    return Clip(**(plain | {"start": None if start is None else datetime.fromisoformat(start)}))
