"""Frames of recorders' files: MCAP, and ROS 2 bags."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fer_edge.errors import FerEdgeError, InputError, SourceError, TargetError
from fer_edge.fleet.picture_messages import Decode, decoder, is_picture
from fer_edge.libraries import needed
from fer_edge.monitor.sources import Frame
from fer_edge.shown import first_line, shown

_BAG_FILE, _BAG_KEY = "metadata.yaml", b"rosbag2_bagfile_information"
"""File that makes a folder a ROS 2 bag, and its first key. Other programs write such a file too."""
_HEAD_BYTES = 1 << 16
"""Bytes of such a file that are searched for the key."""
_MOST_RECORD_BYTES = 1 << 30
_MOST_TOPICS = 1000
_YEARS_NS = 4_000_000_000_000_000_000
"""Latest start in nanoseconds since 1970 (year 2096) that is taken for a date."""


@dataclass(frozen=True)
class Cameras:
    """Topics with pictures in one recording.

    Attributes:
        topics: Names in order.
        start: Moment of the recording's first message, or None if unknown.
    """

    topics: tuple[str, ...]
    start: datetime | None


def is_recording(path: Path) -> bool:
    """Return True for an MCAP file or the folder of a ROS 2 bag."""
    return path.suffix.lower() == ".mcap" or _is_bag(path / _BAG_FILE)


def _is_bag(file: Path) -> bool:
    """Return True for the metadata of a bag, and for damaged ones: scoring reports the fault.

    Metadata without the key is that of a damaged bag if it lies alone, or beside a database of one.
    MCAP files beside it are recordings of their own.
    """
    if not file.is_file():
        return False
    try:
        with file.open("rb") as opened:
            if _BAG_KEY in opened.read(_HEAD_BYTES):
                return True
        others = {other.name for other in file.parent.iterdir()} - {file.name}
    except OSError:
        return True
    seen = [name for name in others if not name.startswith(".")]
    return not seen or any(".db3" in Path(name).suffixes for name in seen)


def cameras_of(path: Path) -> Cameras:
    """Return the topics with pictures; none if the recording cannot be read.

    Reads the summary alone. A recording without one, which was cut off, has no topics here; scoring
    it finds its only camera or reports the fault.
    """
    try:
        with _opened(path) as recording:
            return Cameras(tuple(sorted(recording.topics)), _moment(recording.start_ns))
    except TargetError:
        raise
    except Exception:  # parsers of damaged files raise many kinds; scoring reports the fault
        return Cameras((), None)


class RecordingSource:
    """Pictures of one topic, as a FrameSource.

    Times are the recorder's log times, in seconds from the start of the recording.

    Args:
        path: MCAP file, or folder of a ROS 2 bag.
        topic: Topic with pictures. None takes the only one.
    """

    live = False

    def __init__(self, path: Path, topic: str | None = None) -> None:
        self._path, self._topic = path, topic
        self._recording: _Recording | None = None
        self._messages: Iterator[tuple[int, Decode, bytes]] = iter(())
        self._first_ns: int | None = None

    def open(self) -> None:
        """Open the recording.

        Raises:
            SourceError: It cannot be read, or has no such topic.
            MissingDependencyError: The library for it is not installed.
        """
        self.close()
        try:
            self._recording = recording = _opened(self._path)
            topic = self._chosen(recording.topics)
            self._first_ns = recording.start_ns
            self._messages = recording.messages(topic)
        except FerEdgeError:
            raise
        except Exception as error:  # parsers of damaged files raise many kinds
            raise SourceError(f"{self._path} cannot be read: {first_line(error)}") from error

    def read(self) -> Frame:
        """Return the next picture. A message without one gives a frame without an image.

        Raises:
            StopIteration: The recording is at its end.
            SourceError: The recording is damaged from here on.
        """
        try:
            time_ns, decode, message = next(self._messages)
        except (StopIteration, FerEdgeError):
            raise
        except Exception as error:
            raise SourceError(f"{self._path} is damaged: {first_line(error)}") from error
        if self._first_ns is None:
            self._first_ns = time_ns
        image = None
        with suppress(InputError):
            image = decode(message)
        return Frame(image, (time_ns - self._first_ns) / 1e9)

    def close(self) -> None:
        """Close the recording."""
        if self._recording is not None:
            self._recording.__exit__(None, None, None)
            self._recording = None

    def _chosen(self, topics: set[str]) -> str | None:
        if self._topic is not None:
            if topics and self._topic not in topics:
                raise SourceError(
                    f"expected the topic of a camera in {self._path}: {_listed(topics)}; "
                    f"got {shown(self._topic)}"
                )
            return self._topic
        if len(topics) > 1:
            raise SourceError(
                f"{self._path} has several cameras: {_listed(topics)}. Name one in the column "
                "camera of a manifest"
            )
        return next(iter(topics), None)


class _Recording(ABC):
    """Open recording."""

    topics: set[str]
    start_ns: int | None

    def __enter__(self) -> _Recording:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @abstractmethod
    def messages(self, topic: str | None) -> Iterator[tuple[int, Decode, bytes]]:
        """Yield log time in nanoseconds, decoder and bytes of each message of a topic."""


def _opened(path: Path) -> _Recording:
    if not path.is_dir() and not path.is_file():  # a pipe would keep the reader waiting
        raise SourceError(f"expected a recording, got {path}. Check the path")
    return _Bag(path) if path.is_dir() else _Mcap(path)


class _Mcap(_Recording):
    def __init__(self, path: Path) -> None:
        with needed("mcap", "fleet"):
            from mcap.reader import NonSeekingReader, SeekingReader
        self.topics, self.start_ns = set(), None
        self._stack = ExitStack()
        self._file = self._stack.enter_context(path.open("rb"))
        self._reader: Any = SeekingReader(self._file, record_size_limit=_MOST_RECORD_BYTES)
        summary = None
        with suppress(Exception):  # a recorder that was switched off leaves no summary
            summary = self._reader.get_summary()
        self._indexed = summary is not None and bool(summary.chunk_indexes)
        if summary is not None:
            schemas = {key: schema.name for key, schema in summary.schemas.items()}
            for channel in list(summary.channels.values())[:_MOST_TOPICS]:
                if is_picture(schemas.get(channel.schema_id, "")):
                    self.topics.add(channel.topic)
            if summary.statistics is not None and summary.statistics.message_count:
                self.start_ns = summary.statistics.message_start_time
        if not self._indexed:
            self._file.seek(0)
            self._reader = NonSeekingReader(self._file, record_size_limit=_MOST_RECORD_BYTES)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def messages(self, topic: str | None) -> Iterator[tuple[int, Decode, bytes]]:
        decoders: dict[int, Decode] = {}
        messages = self._reader.iter_messages(
            topics=None if topic is None else [topic], log_time_order=self._indexed
        )
        for schema, channel, message in messages:
            if schema is None or not is_picture(schema.name):
                continue
            if topic is None:
                topic = channel.topic
            if channel.topic != topic:
                raise SourceError(
                    f"the recording has no index and several cameras: {shown(topic)}, "
                    f"{shown(channel.topic)}. Repair it with: mcap recover"
                )
            if channel.id not in decoders:
                decoders[channel.id] = decoder(schema.name, channel.message_encoding, schema.data)
            yield message.log_time, decoders[channel.id], message.data


class _Bag(_Recording):
    def __init__(self, path: Path) -> None:
        with needed("rosbags", "fleet"):
            from rosbags.rosbag2 import Reader
        self._reader: Any = Reader(path)
        self._reader.open()
        self._connections = [c for c in self._reader.connections if is_picture(c.msgtype)]
        self.topics = {connection.topic for connection in self._connections[:_MOST_TOPICS]}
        self.start_ns = self._reader.start_time if self._reader.message_count else None

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def messages(self, topic: str | None) -> Iterator[tuple[int, Decode, bytes]]:
        chosen = [c for c in self._connections if c.topic == topic]
        if not chosen:
            return
        decoders = {connection.id: decoder(connection.msgtype, "cdr") for connection in chosen}
        for connection, time_ns, message in self._reader.messages(connections=chosen):
            yield time_ns, decoders[connection.id], message


def _moment(time_ns: int | None) -> datetime | None:
    if not time_ns or not 0 < time_ns < _YEARS_NS:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_ns // 1000)


def _listed(topics: set[str]) -> str:
    return ", ".join(shown(topic) for topic in sorted(topics)[:10]) or "none"
