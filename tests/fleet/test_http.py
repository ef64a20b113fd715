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


def test_brackets_of_a_host_are_no_pattern() -> None:
    assert not remote._is_pattern("http://[::1]:80/x.bin?a=*")
    assert remote._is_pattern("http://[::1]:80/*.avi")
