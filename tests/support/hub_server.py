"""A Hub on this machine: the protocol that `huggingface_hub` speaks when it uploads, with failures to order.

What it keeps is in memory. Files of more than `LARGE` bytes go through the storage of large files (LFS).
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http, logging

from train.hub import client as hub_client

LARGE = 50_000
TOKEN = "hf_" + "AbCdEfGh" * 4


@dataclass
class Failure:
    """What a request gets instead of its answer, `times` times: a status, none at all (`hang`), a cut after bytes."""

    method: str
    path: str
    """Part of the path."""
    status: int = 0
    hang: bool = False
    cut: int = -1
    times: int = 1
    after: bool = False
    """Whether the request has its effect all the same."""
    said: str = ""
    """By the server."""


@dataclass
class Repo:
    """A repository at its newest commit."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors filter=lfs\n"})
    commits: list[str] = field(default_factory=lambda: ["0" * 40])
    messages: list[str] = field(default_factory=list)

    def checkout(self, folder: Path) -> Path:
        """Write the files into a folder, as a download would."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder


class FakeHub(ThreadingHTTPServer):
    """`with FakeHub() as hub`: the server at `hub.url`, until the block ends."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repos: dict[str, Repo] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.failures: list[Failure] = []
        self.bytes_put = 0
        """Of large files, cut ones included."""
        self.owner = "user"
        self.full = False
        """Whether the storage takes no more large files."""
        self.rival: dict[str, bytes] = {}
        """A commit that someone else makes just before the next one."""
        self.closing = threading.Event()
        self.waits: list[float] = []
        """Seconds that our client would have waited between tries."""
        self.lock = threading.Lock()

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Clients that go away are part of the tests."""

    def counted(self, method: str, part: str) -> int:
        """How many requests there were."""
        return sum(line.startswith(f"{method} ") and part in line for line in self.requests)


@contextmanager
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub to which the client of this process is connected, logged in; nobody waits between tries."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with FakeHub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(hub_client, "time", SimpleNamespace(sleep=hub.waits.append))
        monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))
        try:
            yield hub
        finally:
            huggingface_hub.set_client_factory(_http.default_client_factory)
            logging.set_verbosity_warning()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: FakeHub
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.serve("GET")

    def do_POST(self) -> None:
        self.serve("POST")

    def do_PUT(self) -> None:
        self.serve("PUT")

    def serve(self, method: str) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        with hub.lock:
            hub.requests.append(f"{method} {path}")
            failure = next((f for f in hub.failures if f.times and f.method == method and f.path in path), None)
            if failure is not None:
                failure.times -= 1
        if failure is not None and failure.cut >= 0:
            body = self.rfile.read(failure.cut)
            with hub.lock:
                hub.bytes_put += len(body) if method == "PUT" else 0
            self.close_connection = True
            self.connection.close()
            return
        body = self.body()
        if failure is not None and failure.hang:
            hub.closing.wait()
            return
        if failure is not None and not failure.after:
            return self.answer(failure.status or 504, {"error": failure.said or f"no luck with {path}"})
        with hub.lock:
            status, answer = self.route(method, path, body)
        if failure is not None:
            return self.answer(failure.status or 504, {"error": "the answer was lost"})
        return self.answer(status, answer)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        if status >= 400:
            self.send_header("X-Error-Message", str(content.get("error", "")))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def route(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        hub = self.server
        if method == "PUT" and path.startswith("/storage/"):
            assert "Authorization" not in self.headers, "a token must not go to the storage"
            hub.bytes_put += len(body)
            oid = path.rsplit("/", 1)[1]
            if hashlib.sha256(body).hexdigest() != oid:
                return 400, {"error": "other bytes than announced"}
            hub.stored[oid] = body
            return 200, {}
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid credentials in Authorization header"}
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        repo = "/".join(path.removeprefix("/api/models").removesuffix(".git/info/lfs/objects/batch").split("/")[1:3])
        if repo not in hub.repos:
            return 404, {"error": "Repository not found"}
        if path.endswith("/objects/batch"):
            return 200, {"transfer": "basic", "objects": [self.upload_of(item) for item in json.loads(body)["objects"]]}
        if "/preupload/" in path:
            return 200, {"files": [self.mode_of(repo, item) for item in json.loads(body)["files"]]}
        if "/commit/" in path:
            return self.commit(repo, [json.loads(line) for line in body.splitlines()])
        if method == "GET" and path in (f"/api/models/{repo}", f"/api/models/{repo}/revision/main"):
            found = hub.repos[repo]
            siblings = [{"rfilename": name} for name in found.files]
            return 200, {"id": repo, "sha": found.commits[-1], "private": found.private, "siblings": siblings}
        return 404, {"error": f"nothing at {path}"}

    def create(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        repo = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] != self.server.owner:
            return 403, {"error": f"You don't have the rights to create a model under the namespace of {repo}"}
        if repo in self.server.repos:
            return 409, {"error": "You already created this model repo", "url": f"{self.server.url}/{repo}"}
        self.server.repos[repo] = Repo(wanted.get("visibility") == "private")
        return 200, {"url": f"{self.server.url}/{repo}"}

    def upload_of(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["oid"] in self.server.stored:
            return item
        if self.server.full:
            return {**item, "error": {"code": 413, "message": "storage quota exceeded"}}
        href = f"{self.server.url}/storage/{item['oid']}?X-Amz-Signature=secret"
        return {**item, "actions": {"upload": {"href": href}}}

    def mode_of(self, repo: str, item: dict[str, Any]) -> dict[str, Any]:
        there = self.server.repos[repo].files.get(item["path"])
        large = item["size"] > LARGE
        oid = None
        if there is not None:
            blob = b"blob %d\0" % len(there) + there
            oid = hashlib.sha256(there).hexdigest() if large else hashlib.sha1(blob).hexdigest()
        return {"path": item["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}

    def commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        repo = self.server.repos[name]
        if self.server.rival:
            repo.files |= self.server.rival
            repo.commits.append(f"{len(repo.commits):040x}")
            self.server.rival = {}
        files = dict(repo.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit", repo.commits[-1]) != repo.commits[-1]:
                return 412, {"error": "A commit has happened since. Please refresh and try again."}
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                if value["oid"] not in self.server.stored:
                    return 400, {"error": f"{value['path']} was never uploaded"}
                files[value["path"]] = self.server.stored[value["oid"]]
            if line["key"] == "deletedFile":
                del files[value["path"]]
        repo.files = files
        repo.commits.append(f"{len(repo.commits):040x}")
        repo.messages.append(lines[0]["value"]["summary"])
        url = f"{self.server.url}/{name}/commit/{repo.commits[-1]}"
        return 200, {"commitUrl": url, "commitOid": repo.commits[-1], "success": True}
