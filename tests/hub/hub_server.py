"""Stand-in for the Hugging Face Hub: its HTTP API for one repository, on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPO = "someone/driver"


class Hub:
    """Content of the stand-in, and faults to inject.

    Attributes:
        commits: Files by commit, oldest first.
        exists: Whether the repository exists.
        is_private: Whether it was created as a private one.
        token: Token that every request must bear; None lets everybody in.
        status: Answer this status to paths that match the pattern, by pattern.
        headers: Headers of these answers.
        change: Bytes to send instead of a file's own, by its name.
        stated: Names in the listing beside the true ones.
        requests: Method and path of each request.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.exists = False
        self.is_private = False
        self.token: str | None = None
        self.status: dict[str, int] = {}
        self.change: dict[str, bytes] = {}
        self.stated: list[str] = []
        self.headers: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.url = ""

    @property
    def files(self) -> dict[str, bytes]:
        """Files of the newest commit."""
        return list(self.commits.values())[-1]

    @property
    def sha(self) -> str:
        """Newest commit."""
        return list(self.commits)[-1]

    def commit(self, files: dict[str, bytes]) -> str:
        text = repr((len(self.commits), sorted(files), self.url)).encode()
        sha = hashlib.sha1(text).hexdigest()
        self.exists = True
        self.commits[sha] = files
        return sha

    def resolve(self, revision: str) -> str | None:
        return self.sha if revision == "main" else revision if revision in self.commits else None


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\x00" % len(data) + data).hexdigest()


def is_large(data: bytes) -> bool:
    return len(data) > 500


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def json(self, value: Any) -> None:
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def handle_any(self) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self.chunks()
        hub.requests.append(f"{self.command} {path}")
        for pattern, status in hub.status.items():
            if re.search(pattern, f"{self.command} {path}"):
                self.answer(status, b"{}", **hub.headers)
                return
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self.answer(401, b"{}", X_Error_Code="RepoNotFound")
            return
        self.route(path, body)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def route(self, path: str, body: bytes) -> None:
        hub = self.hub
        if path == "/api/repos/create":
            if hub.exists:
                self.answer(409, json.dumps({"url": f"{hub.url}/{REPO}"}).encode())
                return
            hub.commit({})
            asked = json.loads(body)  # older clients send "private"
            hub.is_private = asked.get("visibility") == "private" or bool(asked.get("private"))
            self.json({"url": f"{hub.url}/{REPO}"})
        elif path == "/api/validate-yaml":
            self.json({"errors": [], "warnings": []})
        elif path.startswith("/lfs/"):
            assert hashlib.sha256(body).hexdigest() == path.removeprefix("/lfs/")
            hub.blobs[path.removeprefix("/lfs/")] = body
            self.answer(200, ETag='"x"')
        elif not hub.exists or REPO not in path:
            self.answer(404, b"{}", X_Error_Code="RepoNotFound")
        elif match := re.fullmatch(rf"/api/models/{REPO}(?:/revision/(.+))?", path):
            self.info(match[1] or "main")
        elif path.startswith(f"/api/models/{REPO}/preupload/"):
            files = json.loads(body)["files"]
            rows = [
                {
                    "path": file["path"],
                    "shouldIgnore": False,
                    "uploadMode": "lfs" if file["size"] > 500 else "regular",
                }
                for file in files
            ]
            self.json({"files": rows})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            self.json(
                {
                    "transfer": "basic",
                    "objects": [
                        {**o, "actions": {"upload": {"href": f"{hub.url}/lfs/{o['oid']}"}}}
                        for o in objects
                    ],
                }
            )
        elif path.startswith(f"/api/models/{REPO}/commit/"):
            self.commit(body)
        elif match := re.fullmatch(rf"/{REPO}/resolve/([^/]+)/(.+)", path):
            self.file(match[1], match[2])
        else:
            self.answer(404, b"{}")

    def info(self, revision: str) -> None:
        sha = self.hub.resolve(revision)
        if sha is None:
            self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
            return
        rows: list[dict[str, Any]] = [{"rfilename": name} for name in self.hub.stated]
        for name, data in self.hub.commits[sha].items():
            row: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_hash(data)}
            if is_large(data):
                digest = hashlib.sha256(data).hexdigest()
                row["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
            rows.append(row)
        self.json({"id": REPO, "modelId": REPO, "sha": sha, "siblings": rows, "tags": [],
                   "private": self.hub.is_private, "downloads": 0, "likes": 0})  # fmt: skip

    def commit(self, body: bytes) -> None:
        files = dict(self.hub.files)
        for line in body.splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif row["key"] == "deletedFile":
                del files[value["path"]]
            elif row["key"] == "header":
                self.hub.messages.append(value["summary"])
        sha = self.hub.commit(files)
        self.json({"commitUrl": f"{self.hub.url}/{REPO}/commit/{sha}", "commitOid": sha})

    def file(self, revision: str, name: str) -> None:
        sha = self.hub.resolve(revision)
        data = self.hub.commits[sha].get(name) if sha else None
        if data is None:
            self.answer(404, b"{}", X_Error_Code="EntryNotFound")
            return
        etag = hashlib.sha256(data).hexdigest() if is_large(data) else git_hash(data)
        data = self.hub.change.get(name, data)
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, 0])[1])
        self.answer(
            206 if start else 200,
            data[start:],
            ETag=f'"{etag}"',
            X_Repo_Commit=str(sha),
            Accept_Ranges="bytes",
        )


@contextmanager
def running() -> Iterator[Hub]:
    """Serve a Hub on a free port of loopback."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
