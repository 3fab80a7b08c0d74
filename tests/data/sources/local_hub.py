"""A server on this machine that answers what huggingface_hub asks the hub for when it reads a data set."""

import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants


@dataclass
class StoredSet:
    """The files of a set at one revision; `gated` lets everybody list them and nobody have them."""

    files: dict[str, bytes]
    card: dict[str, Any] = field(default_factory=dict)
    gated: bool = False

    @property
    def commit(self) -> str:
        """Another one for other files."""
        content = [[name, hashlib.sha1(each).hexdigest()] for name, each in sorted(self.files.items())]
        return hashlib.sha1(json.dumps(content).encode()).hexdigest()


@dataclass
class LocalHub:
    """The sets by name and revision, and what was asked: (file, first byte, bytes sent) of each answer with content."""

    sets: dict[tuple[str, str], StoredSet]
    url: str = ""
    sent: list[tuple[str, int, int]] = field(default_factory=list)
    wait_after_bytes: float = float("inf")
    waits: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event = field(default_factory=threading.Event)

    def use(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        """Makes this the hub of the process, and `folder` the place of its caches."""
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        template = self.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "huggingface"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))

    def num_bytes(self, suffix: str = "") -> int:
        """How many bytes of files with this suffix were sent."""
        return sum(num for name, _, num in self.sent if name.endswith(suffix))


@contextmanager
def serve(hub: LocalHub) -> Iterator[LocalHub]:
    """Serves the hub until the block ends."""

    class Handler(_Handler):
        pass

    Handler.hub = hub
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.goes_on.set()
            server.shutdown()


def table_of(clips: list[Path]) -> bytes:
    """A parquet table of the clips with the texts that lie beside them."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [
        {"audio": {"bytes": each.read_bytes(), "path": each.name}, "text": each.with_suffix(".txt").read_text()}
        for each in clips
    ]
    content = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), content)
    return content.getvalue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LocalHub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree)/(.+?))?/?", path)
        file = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", path)
        asked = api or file
        repo = str(asked[1]) if asked else ""
        if not any(name == repo for name, _ in self.hub.sets):
            return self._refuse(404, "RepoNotFound")
        if api:
            return self._answer_api(repo, api[2], api[3] or "main")
        assert file is not None
        stored = self._stored(repo, file[2])
        if stored is None or file[3] not in stored.files:
            return self._refuse(404, "EntryNotFound")
        if stored.gated:
            return self._refuse(403, "GatedRepo")
        return self._send_file(stored, file[3])

    def _answer_api(self, repo: str, kind: str | None, revision: str) -> None:
        stored = self._stored(repo, revision)
        if stored is None:
            return self._refuse(404, "RevisionNotFound")
        if kind != "tree":
            about = {"id": repo, "sha": stored.commit, "cardData": stored.card, "private": False, "tags": []}
            return self._send(200, json.dumps(about).encode(), {"Content-Type": "application/json"})
        entries = [
            {"type": "file", "path": name, "size": len(each), "oid": hashlib.sha1(each).hexdigest()}
            for name, each in stored.files.items()
        ]
        return self._send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})

    def _stored(self, repo: str, revision: str) -> StoredSet | None:
        of_repo = {name: stored for (owner, name), stored in self.hub.sets.items() if owner == repo}
        return of_repo.get(revision) or next((each for each in of_repo.values() if each.commit == revision), None)

    def _send_file(self, stored: StoredSet, name: str) -> None:
        content = stored.files[name]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": stored.commit}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), int(asked[2] or len(content) - 1)) if asked else (0, len(content) - 1)
        part = content[first : last + 1]
        if asked:
            headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        if self.command == "GET":
            if self.hub.num_bytes() > self.hub.wait_after_bytes:
                self.hub.waits.set()
                self.hub.goes_on.wait(60)
            self.hub.sent.append((name, first, len(part)))
        self._send(206 if asked else 200, part, headers)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            try:
                self.wfile.write(content)
            except ConnectionError:  # the reader was killed
                self.close_connection = True
