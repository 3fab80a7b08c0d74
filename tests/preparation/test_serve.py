"""The served page: edits end in the file and outlive a kill, nobody else may edit, and no path leaves the dataset."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import soundfile
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from calm_ft.errors import UserError
from calm_ft.preparation.dataset import read_edits
from calm_ft.preparation.serve import MAX_BODY_BYTES, MAX_TEXT, Corrections, PageServer, make_server, serve
from tests.preparation.page_dataset import HOSTILE_ID, TAPE_ID, WRONG_ID, made_row, write_dataset, write_rows
from tests.report.page.browser import console, needs_chromium, opened, requested

Headers = Mapping[str, str]


@contextmanager
def answering(folder: Path) -> Iterator[PageServer]:
    with make_server(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("serve") / "voice", 6)


@pytest.fixture(scope="module")
def started(dataset: Path) -> Iterator[PageServer]:
    with answering(dataset) as found:
        yield found


@pytest.fixture
def server(started: PageServer, dataset: Path) -> PageServer:
    """Without any correction."""
    (dataset / "corrections.jsonl").unlink(missing_ok=True)
    started.corrections = Corrections(dataset)
    return started


def _ask(
    server: PageServer, path: str, method: str = "GET", body: bytes | None = None, headers: Headers | None = None
) -> tuple[int, Headers, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def _edit(server: PageServer, edit: Any, **headers: str) -> tuple[int, Any]:
    """Post an edit as the page does, with other headers where they are given."""
    own = {"X-Token": server.token, "Origin": server.address, "Content-Type": "application/json"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    status, _, content = _ask(server, "/corrections", "POST", json.dumps(edit).encode(), own | named)
    return status, json.loads(content)


def _lines(dataset: Path) -> list[Any]:
    path = dataset / "corrections.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_edits_end_in_the_file_and_the_last_line_of_a_clip_is_the_whole_of_it(
    dataset: Path, server: PageServer
) -> None:
    assert _edit(server, {"id": "clip-001", "text": " Two\n words\x00 "}) == (
        200,
        {"id": "clip-001", "text": "Two words"},
    )
    assert _edit(server, {"id": HOSTILE_ID, "text": '</script>"日本"'})[0] == 200
    assert _edit(server, {"id": "clip-001", "use": False})[0] == 200
    assert _edit(server, {"id": WRONG_ID, "use": True})[0] == 200
    whole = {"id": "clip-001", "text": "Two words", "use": False}
    assert _lines(dataset) == [
        {"id": "clip-001", "text": "Two words"},
        {"id": HOSTILE_ID, "text": '</script>"日本"'},
        whole,
        {"id": WRONG_ID, "use": True},
    ]
    edits = read_edits(dataset)
    assert edits.texts == {"clip-001": "Two words", HOSTILE_ID: '</script>"日本"'}
    assert edits.use == {"clip-001": False, WRONG_ID: True}
    assert Corrections(dataset).rows()["clip-001"] == whole


def test_edits_of_many_at_once_are_all_kept(dataset: Path, server: PageServer) -> None:
    ids = ["clip-001", "clip-002", "clip-003", WRONG_ID]
    threads = [
        threading.Thread(target=_edit, args=(server, {"id": id, "text": f"{id} {number}"}))
        for number in range(5)
        for id in ids
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(row["text"] for row in _lines(dataset)) == sorted(
        f"{id} {number}" for number in range(5) for id in ids
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X_Token": "guessed"}, 403),
        ({"X_Token": ""}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Content_Length": "x"}, 411),
        ({"Content_Length": str(MAX_BODY_BYTES + 1)}, 413),
    ],
)
def test_nobody_but_the_page_may_edit(dataset: Path, server: PageServer, headers: Any, status: int) -> None:
    answered, content = _edit(server, {"id": "clip-001", "text": "mine"}, **headers)
    assert (answered, list(content)) == (status, ["error"])
    assert _lines(dataset) == []


@pytest.mark.parametrize("path", ["/", "/corrections", "/audio?id=clip-001"])
def test_a_foreign_name_that_leads_here_is_refused(server: PageServer, path: str) -> None:
    status, _, content = _ask(server, path, headers={"Host": f"evil.example:{server.server_port}"})
    assert status == 403
    assert server.token.encode() not in content
    assert _ask(server, path, headers={"Host": f"localhost:{server.server_port}"})[0] == 200


@pytest.mark.parametrize(
    "edit",
    [
        {"id": "nobody", "text": "a"},
        {"id": "clip-001"},
        {"id": "clip-001", "text": "  \n"},
        {"id": "clip-001", "text": 3},
        {"id": "clip-001", "text": "\ud800"},
        {"id": "clip-001", "text": "a" * (MAX_TEXT + 1)},
        {"id": "clip-001", "use": "yes"},
        {"id": "clip-001", "text": "a", "path": "/etc/passwd"},
        {"id": 1, "text": "a"},
        ["clip-001"],
    ],
)
def test_an_edit_that_is_none_is_refused(dataset: Path, server: PageServer, edit: Any) -> None:
    status, content = _edit(server, edit)
    assert status in (400, 404)
    assert content["error"].endswith(".")
    assert _lines(dataset) == []


def test_audio_comes_whole_and_in_parts(dataset: Path, server: PageServer) -> None:
    content = (dataset / "clips/001.flac").read_bytes()
    num = len(content)

    def part(header: str) -> tuple[int, str | None, bytes]:
        status, headers, body = _ask(server, "/audio?id=clip-001", headers={"Range": header} if header else {})
        return status, headers.get("Content-Range"), body

    assert part("") == (200, None, content)
    assert part("bytes=0-9") == (206, f"bytes 0-9/{num}", content[:10])
    assert part(f"bytes=10-{num + 99}") == (206, f"bytes 10-{num - 1}/{num}", content[10:])
    assert part("bytes=100-") == (206, f"bytes 100-{num - 1}/{num}", content[100:])
    assert part("bytes=-7") == (206, f"bytes {num - 7}-{num - 1}/{num}", content[-7:])
    assert part(f"bytes={num}-") == (416, f"bytes */{num}", b"")
    assert part("bytes=-0") == (416, f"bytes */{num}", b"")
    for header in ("bytes=9-1", "bytes=0-1,5-6", "lines=1-2", "bytes=-", "bytes=a-b"):
        assert part(header) == (200, None, content)
    assert _ask(server, f"/audio?id={quote(HOSTILE_ID)}")[2] == (dataset / "clips/000.flac").read_bytes()
    assert _ask(server, f"/audio?id={WRONG_ID}")[1]["Content-Type"] == "audio/flac"


@pytest.mark.parametrize(
    "path",
    [
        "/audio",
        "/audio?id=../../etc/passwd",
        "/audio?id=clips/001.flac",
        f"/audio?id={quote(TAPE_ID)}",
        "/clips/001.flac",
        "/..%2f..%2fetc/passwd",
        "/manifest.jsonl",
    ],
)
def test_nothing_but_the_audio_of_a_clip_is_given_away(server: PageServer, path: str) -> None:
    status, headers, content = _ask(server, path)
    assert status == 404
    assert headers["Content-Type"] == "application/json"
    assert list(json.loads(content)) == ["error"]


def test_no_path_of_a_row_leaves_the_dataset(tmp_path: Path) -> None:
    folder, outside = tmp_path / "voice", tmp_path / "secret.wav"
    (folder / "clips").mkdir(parents=True)
    outside.write_bytes(b"secret")
    (folder / "clips" / "link.wav").symlink_to(outside)
    (folder / "clips" / "loop.wav").symlink_to("loop.wav")
    (folder / "clips" / "text.json").write_text("{}")
    paths = [
        "../secret.wav",
        str(outside),
        "clips/link.wav",
        "clips/loop.wav",
        "clips/text.json",
        "clips",
        "a\0.wav",
        "",
    ]
    write_rows(folder / "manifest.jsonl", [made_row(number, path=path) for number, path in enumerate(paths)])
    with answering(folder) as server:
        assert [_ask(server, f"/audio?id=clip-00{number}")[0] for number in range(len(paths))] == [404] * len(paths)


def test_the_served_page_knows_its_token_and_follows_a_new_run(dataset: Path, server: PageServer) -> None:
    status, headers, content = _ask(server, "/")
    assert status == 200
    assert f'data-token="{server.token}"' in content.decode()
    assert "connect-src 'self'" in content.decode()
    assert headers["X-Frame-Options"] == "DENY"
    prepare = dataset / "prepare.json"
    before = prepare.read_text()
    prepare.write_text(before.replace('"seed": 0', '"seed": 31415'))
    try:
        assert "31415" in _ask(server, "/")[2].decode()
    finally:
        prepare.write_text(before)


def test_a_line_that_was_torn_is_cut_off_and_one_without_an_end_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "corrections.jsonl"
    whole = {"id": "clip-002", "use": False}
    for before, kept in ((f'{json.dumps(whole)}\n{{"id": "clip-00', [whole]), (json.dumps(whole), [whole])):
        path.write_text(before)
        Corrections(tmp_path).add("clip-001", "a", None)
        assert _lines(tmp_path) == [*kept, {"id": "clip-001", "text": "a"}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_edit_that_the_disk_does_not_take_is_said_and_not_believed(tmp_path: Path) -> None:
    write_rows(tmp_path / "manifest.jsonl", [made_row(1)])
    with answering(tmp_path) as server:
        (tmp_path / "corrections.jsonl").symlink_to("/dev/full")
        status, content = _edit(server, {"id": "clip-001", "text": "a"})
        assert status == 507
        assert "cannot be written" in content["error"]
        assert json.loads(_ask(server, "/corrections")[2]) == {}


def test_a_port_that_is_taken_and_a_folder_without_a_dataset_are_said(dataset: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=rf"Port {taken.getsockname()[1]} cannot be used"):
            serve(dataset, taken.getsockname()[1])
    with pytest.raises(UserError, match="no port 70000"):
        serve(dataset, 70_000)
    with pytest.raises(UserError, match="no prepared dataset"):
        serve(tmp_path, 0)


def _start(dataset: Path) -> tuple[subprocess.Popen[str], int, str]:
    """The server in a process of its own, with its port and its token."""
    code = (
        "import sys; from pathlib import Path; from calm_ft.preparation.serve import serve; serve(Path(sys.argv[1]), 0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(dataset)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(process.stdout.readline().split("127.0.0.1:")[1].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/")
    token = connection.getresponse().read().decode().split('data-token="')[1].split('"')[0]
    connection.close()
    return process, port, token


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.slow
def test_an_edit_outlives_a_kill_and_ctrl_c_ends_quietly(dataset: Path) -> None:
    (dataset / "corrections.jsonl").unlink(missing_ok=True)
    for number, (ending, status) in enumerate([(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 0)]):
        process, port, token = _start(dataset)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request(
            "POST", "/corrections", json.dumps({"id": "clip-001", "text": f"{number}"}), {"X-Token": token}
        )
        assert connection.getresponse().status == 200
        process.send_signal(ending)
        assert process.wait(timeout=30) == status
        connection.close()
        assert _lines(dataset)[-1] == {"id": "clip-001", "text": f"{number}"}
        assert process.stdout is not None
        assert process.stdout.read().strip() == ""
        process.stdout.close()


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_person_hears_corrects_and_leaves_out_a_clip_in_a_browser(
    dataset: Path, server: PageServer, tmp_path: Path, width: int
) -> None:
    with opened(f"{server.address}/", tmp_path / "profile", width) as driver:
        wait = WebDriverWait(driver, 20)

        def press(clip: str, what: str) -> None:
            row = driver.find_element("xpath", f"//tbody[@id='rows']/tr[th/small[contains(., '{clip}')]]")
            row.find_element("xpath", f".//button[text()='{what}']").send_keys(Keys.ENTER)

        wait.until(lambda each: each.find_element("id", "browse").is_displayed())
        press("clip-002", "Play")
        length = "const player = document.querySelector('#rows audio'); return player && player.duration"
        wait.until(lambda each: each.execute_script(length))
        assert driver.execute_script(length) == pytest.approx(soundfile.info(dataset / "clips/002.flac").duration, 0.01)
        press("clip-001", "Edit text")
        driver.switch_to.active_element.send_keys(Keys.CONTROL + "a", Keys.NULL, "Néw <b>text</b>", Keys.ENTER)
        wait.until(lambda each: "Saved" in each.find_element("id", "saved").text)
        press("clip-003", "Leave out")
        wait.until(lambda each: "2 clips" in each.find_element("id", "saved").text)
        assert driver.find_elements("css selector", "#rows audio"), "the player of another row stays"
        assert _lines(dataset) == [{"id": "clip-001", "text": "Néw <b>text</b>"}, {"id": "clip-003", "use": False}]
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        driver.refresh()
        wait.until(lambda each: each.find_element("id", "browse").is_displayed())
        shown = driver.find_element("id", "rows").text
        assert "Néw <b>text</b>" in shown
        assert "left out by you" in shown
        assert console(driver) == []
        assert {urlsplit(each).netloc for each in requested(driver)} == {server.address.removeprefix("http://")}
