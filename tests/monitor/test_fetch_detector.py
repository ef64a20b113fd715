"""``fer-edge detector fetch``: only the pinned file is ever written."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from fer_edge import doctor
from fer_edge.cli import main
from fer_edge.errors import InputError, SourceError
from fer_edge.monitor import DriverMonitor
from fer_edge.monitor import fetch_detector as fetch
from fer_edge.monitor.detector import YuNet

DATA = b"a detector" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


class Served(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path == "/other-protocol":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
            return
        self.send_response(200)
        if self.path == "/cut":
            self.send_header("Transfer-Encoding", "chunked")  # and no chunk follows
        self.end_headers()
        if self.path == "/huge":
            try:
                for _ in range(9):
                    self.wfile.write(bytes(1024 * 1024))
            except OSError:
                return  # the client had enough
        else:
            self.wfile.write(DATA if self.path == "/yunet" else DATA[:-1])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    httpd = HTTPServer(("127.0.0.1", 0), Served)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def test_the_right_file_is_written_once(server: str, tmp_path: Path) -> None:
    out = tmp_path / "new/yunet.onnx"
    assert fetch.fetch_yunet(out, f"{server}/yunet", SHA256)
    assert out.read_bytes() == DATA
    assert not fetch.fetch_yunet(out, f"{server}/gone", SHA256)  # not asked for again
    assert [path.name for path in out.parent.iterdir()] == ["yunet.onnx"]


def test_a_file_that_is_not_the_pinned_one_is_replaced(server: str, tmp_path: Path) -> None:
    out = tmp_path / "yunet.onnx"
    out.write_bytes(b"something else")
    assert fetch.fetch_yunet(out, f"{server}/yunet", SHA256)
    assert out.read_bytes() == DATA


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/changed", "gave a file with SHA-256"),
        ("/huge", "expected at most 8 MiB"),
        ("/gone", "404"),
        ("/other-protocol", "cannot download .*SSH"),
        ("/cut", "cannot download .*IncompleteRead"),
        ("/a b", "cannot download .*control characters"),
    ],
)
def test_anything_else_writes_nothing(server: str, tmp_path: Path, path: str, says: str) -> None:
    out = tmp_path / "yunet.onnx"
    out.write_bytes(b"older")
    with pytest.raises(SourceError, match=says):
        fetch.fetch_yunet(out, server + path, SHA256)
    assert out.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [out]


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    out = tmp_path / "yunet.onnx"
    with pytest.raises(SourceError, match="Download it elsewhere") as raised:
        fetch.fetch_yunet(out, "http://127.0.0.1:1/yunet", SHA256)
    assert f"copy it to {out}" in str(raised.value)
    assert "--detector FILE" in str(raised.value)


def test_a_place_that_cannot_be_written_is_named(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write"):
        fetch.fetch_yunet(tmp_path / "file/yunet.onnx", f"{server}/yunet", SHA256)


def test_a_cache_that_cannot_be_written_can_be_elsewhere(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that -o alone names is not found by later commands."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot write .*XDG_CACHE_HOME.*--detector FILE"):
        fetch.fetch_yunet(fetch.default_path(), f"{server}/yunet", SHA256)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "bad")])
def test_a_file_that_cannot_be_read_is_named(
    error: OSError, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "yunet.onnx"
    out.write_bytes(b"something else")
    monkeypatch.setattr(Path, "read_bytes", Mock(side_effect=error))
    with pytest.raises(InputError, match=rf"cannot read {out}: {error.strerror}.*with -o"):
        fetch.fetch_yunet(out, f"{server}/yunet", SHA256)


def test_the_command_checks_a_file_that_is_there(
    yunet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pinned hash is the one of the file that OpenCV Zoo has, and that file is YuNet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = fetch.default_path()
    path.parent.mkdir()
    path.write_bytes(yunet_file.read_bytes())
    result = CliRunner().invoke(main, ["detector", "fetch", "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["path"], answer["fetched"]) == (str(path), False)
    assert answer["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    YuNet(path)


def test_the_command_downloads_and_fails_with_a_sentence(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch.fetch_yunet, "__defaults__", (f"{server}/yunet", SHA256))
    result = CliRunner().invoke(main, ["detector", "fetch", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "fetched and checked" in result.output
    assert (tmp_path / fetch.YUNET_NAME).read_bytes() == DATA
    monkeypatch.setattr(fetch.fetch_yunet, "__defaults__", (f"{server}/changed", SHA256))
    result = CliRunner().invoke(main, ["detector", "fetch", "-o", str(tmp_path / "other.onnx")])
    assert result.exit_code == SourceError.exit_code
    assert "Nothing was written" in result.output


# The fetched file is compared with its hash when it is loaded, too.


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = fetch.default_path()
    path.parent.mkdir()
    return path


@pytest.mark.parametrize("end", [b"", b"\0", b"\x3a\x00"])
def test_another_network_in_the_cache_is_refused(
    yunet_file: Path, cached: Path, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes after the end, as an attacker or a bad disk may add them, change no answer."""
    data = yunet_file.read_bytes()
    cached.write_bytes(data + end if end else data[:-1])
    monkeypatch.chdir(cached.parent)
    for path in (cached, str(cached), Path(cached.name)):
        with pytest.raises(InputError, match=r"expected 8f2383e4dd3cfbb4.*detector fetch"):
            YuNet(path)
    with pytest.raises(InputError, match="expected 8f2383e4dd3cfbb4"):
        DriverMonitor(None, [], target="onnxruntime")
    cached.write_bytes(data)
    YuNet(cached)


def test_a_file_that_the_user_names_is_the_users(yunet_file: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(yunet_file.read_bytes() + b"\x3a\x00")  # an empty field more
    YuNet(own)


def test_a_changed_file_is_not_ok_for_the_doctor(cached: Path) -> None:
    cached.write_bytes(b"another network")
    yunet = doctor._yunet()  # the complete report loads a model
    assert not yunet["ok"]
    assert "changed or damaged" in yunet["says"]


def test_a_user_without_a_home_has_a_path_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", no_home)
    assert fetch.default_path().name == fetch.YUNET_NAME
    assert fetch.default_path().is_absolute()
