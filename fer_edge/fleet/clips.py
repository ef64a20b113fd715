"""Clips to score: files, folders, patterns, addresses and manifests."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from fer_edge import paths
from fer_edge.errors import FerEdgeError, InputError, next_step
from fer_edge.fleet import remote
from fer_edge.fleet.recordings import cameras_of, is_recording
from fer_edge.paths import as_path, is_litter
from fer_edge.shown import shown, without_password

VIDEO_SUFFIXES = frozenset(
    (
        *(".264", ".265", ".3gp", ".avi", ".gif", ".h264", ".h265", ".hevc", ".m2ts", ".m4v"),
        *(".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts"),
        *(".webm", ".wmv"),
    )
)
"""Suffixes of the files that a folder is searched for. A file that is named is always tried."""
MANIFEST_SUFFIXES = (".csv", ".parquet")
_MOST_NAME = 60


@dataclass(frozen=True)
class Clip:
    """One recording, scored from its first to its last frame by one process.

    Attributes:
        path: File, folder of a ROS 2 bag, or address such as ``s3://bucket/a.mp4``.
        drive: Name of the drive; the unit of summaries and of resampling.
        name: Name of the clip in its drive.
        camera: Topic in an MCAP or a bag, or the camera's name in a manifest. None for the only
            one.
        start: Moment of the time 0, with a time zone. In a recording, it is the first message of
            any topic. None if unknown.
        speed_kmh: Speed of the vehicle in km/h. None if unknown.
        signals: CSV or Parquet file with eye openness or gaze over time. None without one.
        attentive: True if the driver is known to be attentive: each alert is then a false one. None
            if unknown.
        size: Bytes, to start with the longest clips.
        stamp: Text that changes when the file changes.
    """

    path: str
    drive: str
    name: str
    camera: str | None = None
    start: datetime | None = None
    speed_kmh: float | None = None
    signals: str | None = None
    attentive: bool | None = None
    size: int = 0
    stamp: str = ""

    @property
    def key(self) -> str:
        """Name of the clip's output files, the same in each run."""
        text = "\0".join((self.drive, self.name, self.camera or ""))
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:20]

    @property
    def version(self) -> str:
        """Text that changes with whatever decides the rows of this clip."""
        name = None if self.signals is None else without_password(self.signals)
        facts = (self.stamp, self.start, self.speed_kmh, self.attentive, name)
        signals = "" if self.signals is None else stamp_of(self.signals)
        return hashlib.sha256(repr((*facts, signals)).encode()).hexdigest()[:20]

    @property
    def folder(self) -> str:
        """Name of the drive's folder in the output. Any drive's name gives a plain one."""
        return folder_name(self.drive)


def folder_name(drive: str) -> str:
    """Return a name of plain characters. A changed name ends in a part of its hash."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", drive)[:_MOST_NAME]
    if plain and plain == drive and not plain.startswith(".") and not plain.endswith("."):
        return plain
    digest = hashlib.sha256(drive.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{plain.strip('.') or 'drive'}-{digest}"


def find_clips(
    names: Sequence[str | os.PathLike[str]], *, root: str | Path | None = None
) -> list[Clip]:
    """Return the clips that names stand for, each once, ordered by drive and name.

    The drive of a file is the folder that holds it. A manifest names drives itself. A folder that
    cannot be read is an error, but ``**`` in a pattern passes over it.

    Args:
        names: Files, folders, patterns such as ``drives/**/*.mp4``, addresses, or manifests
            (.csv, .parquet).
        root: Folder that the paths of a manifest start from and must stay in. None takes the
            manifest's own folder.

    Raises:
        InputError: ``names`` is no list, a name stands for nothing, a manifest cannot be used, or
            two clips or drives cannot be told apart.
    """
    if isinstance(names, str | os.PathLike) or not isinstance(names, Iterable):
        raise InputError(f"expected a list of clips, got {shown(names)}. Put it into a list")
    clips: list[Clip] = []
    for name in names:
        as_path(name, "a clip")  # a check alone: as a path, an address loses a slash
        clips += _clips_of(os.fspath(name), root)
    if not clips:
        raise InputError("expected at least one clip, got none. Name a video, folder or manifest")
    return _checked(clips)


def _clips_of(name: str, root: str | Path | None) -> Iterable[Clip]:
    from fer_edge.fleet.manifest import read_manifest

    if remote.is_address(name):
        if remote.plain_address(name).lower().endswith(MANIFEST_SUFFIXES):
            return read_manifest(name, root=root)
        return [_remote_clip(name, address) for address in remote.listed(name, _is_clip_name)]
    path = Path(name)
    try:
        if path.suffix.lower() in MANIFEST_SUFFIXES and path.is_file():
            return read_manifest(path, root=root)
        if path.is_dir():
            return _in_folder(path)
        if path.exists():
            return _clips_at(path, _parent_name(path))
        return _matching(name)
    except FerEdgeError:
        raise
    except (OSError, ValueError) as error:
        advice = next_step(error, "Check the path")
        raise InputError(f"cannot read {shown(name)}: {error}. {advice}") from error


def _matching(pattern: str) -> list[Clip]:
    if not glob.has_magic(pattern):
        raise InputError(f"expected a video, folder or manifest, got {pattern}. Check the path")
    clips: list[Clip] = []
    for path in sorted(_matches(pattern)):
        if (path.is_file() and _is_clip_name(path.name)) or is_recording(path):
            clips += _clips_at(path, _parent_name(path))
    if not clips:
        raise InputError(f"no video matches {pattern}. Check the pattern")
    return clips


def _matches(pattern: str) -> Iterator[Path]:
    """Yield what matches, without hidden names and trash, unless the pattern names them.

    ``**`` follows no links: they may form loops.
    """
    parts = Path(pattern).parts
    place = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:place])
    rest = [part if part == "**" else re.sub(r"\*+", "*", part) for part in parts[place:]]
    if rest[-1] == "**":
        rest.append("*")
    shows_hidden = any(map(_is_hidden, rest))
    try:
        for path in base.glob("/".join(rest)):
            names = path.relative_to(base).parts
            if shows_hidden or not (any(map(_is_hidden, names[:-1])) or names[-1].startswith(".")):
                yield path
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{shown(pattern)} is not a valid pattern: {error}. Check it") from error


def _in_folder(folder: Path) -> list[Clip]:
    """Return the clips below a folder, without hidden files and trash, following no links."""
    if is_recording(folder):
        return _clips_at(folder, _parent_name(folder))
    clips: list[Clip] = []
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        here = Path(place)
        for name in [name for name in folders if is_recording(here / name)]:
            folders.remove(name)
            if not (here / name).is_symlink():
                clips += _clips_at(here / name, _drive_below(folder, here))
        for name in sorted(files):
            if not name.startswith(".") and _is_clip_name(name):
                clips += _clips_at(here / name, _drive_below(folder, here))
    if not clips:
        raise InputError(f"no video lies in {folder}. Name files of another suffix one by one")
    return clips


def _is_hidden(name: str) -> bool:
    """Return True for hidden folders and trash. A drive may be called "#12 Monday"."""
    return name.startswith(".") or is_litter(name)


def _refuse(error: OSError) -> None:
    raise error


def _clips_at(path: Path, drive: str) -> list[Clip]:
    """Return the clip at a path, or one for each camera of a recording."""
    if not is_recording(path):
        return [local_clip(path, drive, path.name)]
    cameras = cameras_of(path)
    return [
        local_clip(path, drive, path.name, camera=topic, start=cameras.start)
        for topic in cameras.topics or (None,)
    ]


def _is_clip_name(name: str) -> bool:
    return PurePosixPath(remote.plain_address(name)).suffix.lower() in VIDEO_SUFFIXES | {".mcap"}


def _drive_below(root: Path, folder: Path) -> str:
    below = folder.relative_to(root).as_posix()
    return _own_name(root) if below == "." else below


def _parent_name(path: Path) -> str:
    return _own_name(paths.absolute(path).parent)


def _own_name(folder: Path) -> str:
    return paths.absolute(folder).resolve().name or "root"


def local_clip(path: Path, drive: str, name: str, **facts: object) -> Clip:
    """Return a clip of this machine with its size and its time of change.

    A file that is missing is a clip as well; scoring it gives an error row.
    """
    size, stamp = _size_and_stamp(path)
    return Clip(
        path=absolute(path),
        drive=_text(drive),
        name=_text(name),
        size=size,
        stamp=stamp,
        **facts,  # type: ignore[arg-type]
    )


def stamp_of(place: str) -> str:
    """Return a text that changes with the file at a path or an address."""
    if remote.is_address(place):
        return remote.size_and_stamp(place)[1]
    return _size_and_stamp(Path(place))[1]


def _size_and_stamp(path: Path) -> tuple[int, str]:
    try:
        places = list(path.iterdir()) if path.is_dir() else [path]  # a folder is a bag
        files = [place.stat() for place in places]
    except (OSError, ValueError):
        return 0, remote.MISSING
    size = sum(file.st_size for file in files)
    return size, f"{size}-{max((file.st_mtime_ns for file in files), default=0)}"


def absolute(path: Path) -> str:
    """Return the path from the root on. Links stay: a link is a clip of its own."""
    return os.path.abspath(paths.absolute(path))  # noqa: PTH100


def _remote_clip(argument: str, address: str) -> Clip:
    """Return the clip at an address. Its names hold no password, and stay with a new signature."""
    parts = without_password(remote.plain_address(address)).split("/")
    root = without_password(remote.plain_address(argument)).rstrip("/").split("/")
    between = parts[len(root) : -1] if parts[: len(root)] == root else []
    drive = "/".join(between) or (parts[-2] if len(parts) > 1 else "") or "root"
    size, stamp = remote.size_and_stamp(address)
    return Clip(address, _text(drive), _text(parts[-1]), size=size, stamp=stamp)


def _text(name: str) -> str:
    """Return a name that Parquet can store: bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _checked(clips: list[Clip]) -> list[Clip]:
    """Return each clip once. Raises InputError if two of them cannot be told apart."""
    by_place = {(clip.path, clip.camera): clip for clip in reversed(clips)}
    by_key: dict[str, Clip] = {}
    for clip in by_place.values():
        other = by_key.setdefault(clip.key, clip)
        if other is not clip:
            raise InputError(
                f"{without_password(other.path)} and {without_password(clip.path)} are both the "
                f"clip {clip.name} of the drive {clip.drive}. Name the folder above them, or write "
                "a manifest with a column clip"
            )
    return sorted(by_place.values(), key=lambda clip: (clip.drive, clip.name, clip.camera or ""))
