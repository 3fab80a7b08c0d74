"""The dataset's page on this machine alone, with a player for every clip and texts that can be corrected.

Nothing but this machine's browser may read or write here: the server listens on 127.0.0.1, answers only where the Host
header names it so (a foreign name that resolves to 127.0.0.1 is refused), and takes edits only from its own page, which
knows a token that is new with each start. Audio is found by a clip's id and must lie within the dataset.

Each edit is one line that is added to DATASET/corrections.jsonl and written through to the disk before it is confirmed.
The line holds all that is decided of the clip, so the last line of an id is the whole of it.
"""

import hmac
import json
import os
import re
import secrets
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from calm_ft.data.utterance import printable
from calm_ft.errors import UserError
from calm_ft.preparation.dataset import CORRECTIONS, read_edits
from calm_ft.preparation.page.page import render
from calm_ft.preparation.page.rows import FILES, check_dataset, clip_rows

HOST = "127.0.0.1"
MAX_TEXT, MAX_BODY_BYTES = 5_000, 65_536
"""Of a corrected text, in characters, and of what carries it."""
_BLOCK_BYTES = 1 << 16
_AUDIO_TYPES = {
    ".flac": "audio/flac",
    ".wav": "audio/wav",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
}


class Refused(Exception):  # noqa: N818 - an answer, not a fault of the server
    """A request that is answered with this status and one sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Correction:
    """What a person decided of a clip; None where nothing was."""

    text: str | None = None
    use: bool | None = None

    def row(self, id: str) -> dict[str, Any]:
        """As it stands in corrections.jsonl."""
        decided = {"text": self.text, "use": self.use}
        return {"id": id, **{name: value for name, value in decided.items() if value is not None}}


class Corrections:
    """What people decided, by the id of a clip, and the file that each decision is added to."""

    def __init__(self, dataset_dir: Path) -> None:
        """Raises UserError where a line of the dataset's edits is none."""
        self._path = dataset_dir / CORRECTIONS
        self._lock = threading.Lock()
        _end_last_line(self._path)
        edits = read_edits(dataset_dir)
        self._by_id = {id: Correction(edits.texts.get(id), edits.use.get(id)) for id in {**edits.texts, **edits.use}}

    def rows(self) -> dict[str, dict[str, Any]]:
        """Id -> its row."""
        with self._lock:
            return {id: each.row(id) for id, each in self._by_id.items()}

    def add(self, id: str, text: str | None, use: bool | None) -> dict[str, Any]:
        """Write a decision to the disk, then know it; what was decided before and is not named here stays.

        Raises OSError where it cannot be written; then the file is as it was.
        """
        with self._lock:
            before = self._by_id.get(id, Correction())
            now = Correction(before.text if text is None else text, before.use if use is None else use)
            _append(self._path, json.dumps(now.row(id), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
            self._by_id[id] = now
            return now.row(id)


def serve(dataset_dir: Path, port: int) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C.

    Args:
        port: 0 takes any that is free.

    Raises UserError where the folder holds no prepared dataset, a file of it is damaged, or the port is taken.
    """
    with make_server(dataset_dir, port) as server:
        where = dataset_dir / CORRECTIONS
        print(f"The page is at {server.address}/ (Ctrl-C ends it). Corrections are kept in {where}.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


class PageServer(ThreadingHTTPServer):
    """One dataset's page, clips and corrections."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows it would let two servers share a port

    def __init__(self, dataset_dir: Path, port: int) -> None:
        self.dataset_dir = dataset_dir.resolve()
        self.token = secrets.token_urlsafe(32)
        self.corrections = Corrections(self.dataset_dir)
        self._lock = threading.Lock()
        self._state: object = None
        self._page = b""
        self._paths: dict[str, str] = {}
        self.page()  # a damaged dataset is said before the port is open
        super().__init__((HOST, port), PageHandler)

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}"

    @property
    def hosts(self) -> tuple[str, str]:
        """What a Host header may be."""
        return f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"

    def page(self) -> bytes:
        """The page; made anew where the dataset was prepared again since."""
        self._refresh()
        return self._page

    def path_of(self, id: str) -> str | None:
        """The audio file of a clip as its row gives it, None for an id that no clip has."""
        self._refresh()
        return self._paths.get(id)

    def _refresh(self) -> None:
        with self._lock:
            stats = [path.stat() for name in FILES if (path := self.dataset_dir / name).is_file()]
            state = [(each.st_ino, each.st_mtime_ns, each.st_size) for each in stats]
            if state != self._state:
                self._page = render(self.dataset_dir, self.token).encode()
                self._paths = {row.id: row.path for row in clip_rows(self.dataset_dir)}
                self._state = state

    def audio_file(self, id: str) -> Path:
        """The audio file of a clip. Raises `Refused` where there is none, or it lies outside the dataset."""
        path = self.path_of(id)
        if path is None:
            raise Refused(HTTPStatus.NOT_FOUND, "No clip has this id.")
        try:
            found = (self.dataset_dir / path).resolve()
            is_audio = (
                found.is_relative_to(self.dataset_dir) and found.suffix.lower() in _AUDIO_TYPES and found.is_file()
            )
        except (OSError, RuntimeError, ValueError):  # a loop of links (until Python 3.13), a name that no file can have
            is_audio = False
        if not is_audio:
            raise Refused(HTTPStatus.NOT_FOUND, "The audio of this clip does not lie in the dataset.")
        return found


def make_server(dataset_dir: Path, port: int) -> PageServer:
    """The server, listening and not yet answering. Raises UserError as `serve` does."""
    check_dataset(dataset_dir)
    if not 0 <= port <= 65_535:
        raise UserError(f"There is no port {port}: choose one from 1024 to 65535.")
    try:
        return PageServer(dataset_dir, port)
    except OSError as error:
        raise UserError(f"Port {port} cannot be used ({error.strerror}): choose another one.") from error


class PageHandler(BaseHTTPRequestHandler):
    """GET /, /audio?id=, /corrections and POST /corrections."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = 60  # a connection that says nothing is closed

    def do_GET(self) -> None:
        self._answer({"/": self._send_page, "/audio": self._send_audio, "/corrections": self._send_corrections})

    def do_POST(self) -> None:
        self._answer({"/corrections": self._take_correction})

    def _answer(self, ways: dict[str, Any]) -> None:
        try:
            if self.headers.get("Host", "") not in self.server.hosts:
                raise Refused(HTTPStatus.FORBIDDEN, "This server answers on this machine only.")
            way = ways.get(urlsplit(self.path).path)
            if way is None:
                raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here.")
            way()
        except Refused as refusal:
            # What was not read of the request would be taken for the next one.
            self.close_connection = True
            self._send_json({"error": str(refusal)}, refusal.status)
        except UserError as error:  # the dataset was damaged since the start
            self._send_json({"error": str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)
        except (ConnectionError, TimeoutError):  # the browser has gone, as it does when a player is closed
            self.close_connection = True

    def _send_page(self) -> None:
        self._send(self.server.page(), "text/html; charset=utf-8")

    def _send_corrections(self) -> None:
        self._send_json(self.server.corrections.rows())

    def _take_correction(self) -> None:
        if self.headers.get("Origin") not in (None, *(f"http://{host}" for host in self.server.hosts)):
            raise Refused(HTTPStatus.FORBIDDEN, "Another site may not edit this dataset.")
        if not hmac.compare_digest(self.headers.get("X-Token", "").encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "The page is of an earlier start of the server: load it again.")
        id, text, use = _read_correction(self._body())
        if self.server.path_of(id) is None:
            raise Refused(HTTPStatus.NOT_FOUND, "No clip has this id.")
        try:
            row = self.server.corrections.add(id, text, use)
        except OSError as error:
            raise Refused(HTTPStatus.INSUFFICIENT_STORAGE, f"It cannot be written ({error.strerror}).") from error
        self._send_json(row)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "The length of the request is not given.")
        if int(length) > MAX_BODY_BYTES:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too long.")
        return self.rfile.read(int(length))

    def _send_audio(self) -> None:
        wanted = parse_qs(urlsplit(self.path).query).get("id", [""])[0]
        path = self.server.audio_file(wanted)
        try:
            file = path.open("rb")
        except OSError as error:
            raise Refused(HTTPStatus.NOT_FOUND, f"The audio cannot be read ({error.strerror}).") from error
        with file:
            num_bytes = os.fstat(file.fileno()).st_size
            part = _byte_range(self.headers.get("Range", ""), num_bytes)
            headers = {"Accept-Ranges": "bytes", "Content-Type": _AUDIO_TYPES[path.suffix.lower()]}
            if part is not None and part.start >= part.stop:
                headers["Content-Range"] = f"bytes */{num_bytes}"
                self._send_head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, headers)
                return
            if part is not None:
                headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{num_bytes}"
            sent = part or range(num_bytes)
            self._send_head(HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT, len(sent), headers)
            file.seek(sent.start)
            left = len(sent)
            while left and (block := file.read(min(left, _BLOCK_BYTES))):
                self.wfile.write(block)
                left -= len(block)

    def _send_json(self, content: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send_head(status, len(content), {"Content-Type": kind})
        self.wfile.write(content)

    def _send_head(self, status: HTTPStatus, num_bytes: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        fixed = {
            "Content-Length": str(num_bytes),
            "Cache-Control": "no-store",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
        if self.close_connection:
            fixed["Connection"] = "close"
        for name, value in (fixed | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: a line for each clip that is played would hide what the command says."""


def _read_correction(body: bytes) -> tuple[str, str | None, bool | None]:
    """Id, text and use of an edit. Raises `Refused` where it is none."""
    try:
        edit = json.loads(body)
    except ValueError:
        edit = None
    if not isinstance(edit, dict) or not isinstance(edit.get("id"), str) or not edit.keys() <= {"id", "text", "use"}:
        raise Refused(HTTPStatus.BAD_REQUEST, "An edit is an object with an id and a text or a use.")
    text, use = edit.get("text"), edit.get("use")
    if text is None and use is None:
        raise Refused(HTTPStatus.BAD_REQUEST, "An edit has a text or a use.")
    if use is not None and not isinstance(use, bool):
        raise Refused(HTTPStatus.BAD_REQUEST, "The use of a clip is true or false.")
    return edit["id"], None if text is None else _clean(text), use


def _clean(text: object) -> str:
    """A text in one line. Raises `Refused` for what cannot be one."""
    if not isinstance(text, str) or text != printable(text):
        raise Refused(HTTPStatus.BAD_REQUEST, "The text is no valid Unicode.")
    text = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
    if not text:
        raise Refused(HTTPStatus.BAD_REQUEST, "The text is empty: leave the clip out instead.")
    if len(text) > MAX_TEXT:
        raise Refused(HTTPStatus.BAD_REQUEST, f"The text is longer than {MAX_TEXT:,} characters.")
    return text


def _byte_range(header: str, num_bytes: int) -> range | None:
    """The bytes that a Range header asks for (RFC 9110, 14.1.2); empty where there are none, None for the whole file.

    Several ranges in one header, which no player asks for, are answered with the whole file.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip(), re.ASCII)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, num_bytes - int(last)), num_bytes)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(num_bytes, int(last) + 1) if last else num_bytes)


def _append(path: Path, line: bytes) -> None:
    """Add a line with one write, through to the disk; what cannot be written whole is taken back."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        before = os.fstat(handle).st_size
        try:
            if os.write(handle, line) != len(line):
                raise OSError(0, "the disk is full")
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)


def _end_last_line(path: Path) -> None:
    """End the last line of a file that a person edited; a line that a crash of the machine tore is cut off."""
    content = path.read_bytes() if path.is_file() else b""
    last = content.rpartition(b"\n")[2]
    if not last.strip():
        return
    try:
        json.loads(last)
    except ValueError:
        os.truncate(path, len(content) - len(last))
    else:
        _append(path, b"\n")
