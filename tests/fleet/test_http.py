"""Clips and manifests behind http addresses, with a server and a file system of a few lines."""

from __future__ import annotations

import functools
import http.server
import io
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.registry import _registry

from fer_edge.errors import InputError
from fer_edge.fleet import DriveScorer, find_clips, remote

SIGNED = "X-Amz-Date=20261127&X-Amz-Signature=hidden*"


class Http(fsspec.AbstractFileSystem):
    """File system that leaves a query in its paths, as fsspec's own does. That needs aiohttp."""

    protocol = "http"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def unstrip_protocol(self, name: str) -> str:
        return name

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        raise FileNotFoundError(path)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(path) as answer:
                size = int(answer.headers["Content-Length"])
        except urllib.error.HTTPError as error:
            raise FileNotFoundError(path) from error
        return {"name": path, "size": size, "type": "file"}

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        with urllib.request.urlopen(path) as answer:
            return io.BytesIO(answer.read())


@pytest.fixture
def site(tmp_path: Path, write_clip: Callable[..., Path]) -> Iterator[str]:
    """A server's address, with a clip and two manifests below ``/data``."""
    folder = tmp_path / "data"
    write_clip(folder / "x.avi")
    (folder / "m.csv").write_text(f"path\nx.avi?{SIGNED}\n")
    handler = functools.partial(Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = dict(_registry)
    fsspec.register_implementation("http", Http, clobber=True)
    yield f"http://127.0.0.1:{server.server_port}/data"
    _registry.clear()
    _registry.update(before)
    server.shutdown()
    server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_a_signed_address_is_a_clip_whose_name_has_no_signature(
    site: str, scorer: DriveScorer, tmp_path: Path
) -> None:
    (clip,) = find_clips([f"{site}/x.avi?{SIGNED}"])
    assert (clip.drive, clip.name) == ("data", "x.avi")
    (again,) = find_clips([f"{site}/x.avi?{SIGNED.replace('27', '28')}#t=1"])
    assert again.key == clip.key
    with remote.local_copy(clip.path) as copy:
        assert copy.name == "clip.avi"
    assert scorer.score(clip, tmp_path / "out").status == "ok"


def test_a_signed_address_of_a_manifest_is_a_manifest(site: str) -> None:
    (clip,) = find_clips([f"{site}/m.csv?{SIGNED}"])
    assert clip.path == f"{site}/x.avi?{SIGNED}"
    assert clip.size > 1000


def test_a_row_with_a_new_signature_is_the_same_clip(
    site: str, scorer: DriveScorer, tmp_path: Path, inline: Any
) -> None:
    manifest, out = tmp_path / "data" / "m.csv", tmp_path / "out"
    runs = []
    for day in ("27", "28"):
        manifest.write_text(f"path\nx.avi?{SIGNED.replace('27', day)}/a\n")
        (clip,) = find_clips([f"{site}/m.csv"])
        assert (clip.drive, clip.name) == ("root", "x.avi")
        runs.append(inline([clip], out, scorer))
    manifest.write_text(f"path,drive,speed_kmh\nx.avi?{SIGNED.replace('27', '29')},monday,30\n")
    runs.append(inline(find_clips([f"{site}/m.csv"]), out, scorer))
    assert [(run.scored, run.status) for run in runs] == [
        *((1, {"ok": 1}), (0, {"ok": 1}), (1, {"ok": 1}))
    ]
    assert len(list((out / "states").rglob("*.parquet"))) == 1


def test_rows_that_a_query_tells_apart_need_names(
    site: str, scorer: DriveScorer, tmp_path: Path, inline: Any, write_clip: Callable[..., Path]
) -> None:
    manifest, out = tmp_path / "data" / "m.csv", tmp_path / "out"
    manifest.write_text("path\nx.avi?id=1\nx.avi?id=2\n")
    with pytest.raises(InputError, match=r"both the clip x.avi .* with a column clip"):
        find_clips([f"{site}/m.csv"])
    manifest.write_text("path,clip\nx.avi?id=1,one\n")
    inline(find_clips([f"{site}/m.csv"]), out, scorer)
    write_clip(tmp_path / "data" / "x.avi", 9)
    manifest.write_text("path,clip\nx.avi?id=2,two\n")
    assert inline(find_clips([f"{site}/m.csv"]), out, scorer).scored == 1
    assert len(list((out / "states").rglob("*.parquet"))) == 2


def test_brackets_of_a_host_are_no_pattern() -> None:
    assert not remote._is_pattern("http://[::1]:80/x.bin?a=*")
    assert remote._is_pattern("http://[::1]:80/*.avi")
