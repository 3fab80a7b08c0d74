"""The page of a dataset: its figures are those of the files, hostile texts are escaped, and it stays small."""

import base64
import gzip
import hashlib
import html
import json
import re
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from calm_ft.errors import UserError
from calm_ft.preparation.clips import Problem
from calm_ft.preparation.kinds import KINDS
from calm_ft.preparation.page import write_page
from calm_ft.preparation.page.rows import ClipRow, clip_rows
from calm_ft.preparation.page.sections import SetVerdict, verdict
from calm_ft.preparation.page.survey import PROMPT_SEC, survey
from tests.conftest import DEMO_TRAIN
from tests.preparation.page_dataset import (
    HOSTILE_ID,
    HOSTILE_SPEAKER,
    HOSTILE_TEXTS,
    TAPE_ID,
    TAPE_SEC,
    WRONG_ID,
    WRONG_REASON,
    Row,
    made_row,
    write_dataset,
    write_rows,
)
from tests.report.page.browser import console, durations_sec, needs_chromium, opened, requested

NUM_CLIPS = 12
_DATA_URI = re.compile(r'data:[a-z]+/[a-z]+;base64,[^"]*')
_SCRIPTS = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)
_TAGS = re.compile(r"<style>.*?</style>|<script.*?</script>|<svg.*?</svg>|<[^>]*>", re.DOTALL)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("page") / "my <b>voice</b>", NUM_CLIPS)
    write_page(folder)
    return folder


@pytest.fixture(scope="module")
def page(dataset: Path) -> str:
    """Without its clips and pictures."""
    return _DATA_URI.sub("data:", (dataset / "report.html").read_text(encoding="utf-8"))


def _lines(*paths: Path) -> list[Row]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def _table(page: str) -> list[list]:
    """The rows of the table of all clips, as the browser unpacks them."""
    packed = next(content for attributes, content in _SCRIPTS.findall(page) if 'id="packed"' in attributes)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def _words(page: str) -> str:
    return " ".join(html.unescape(_TAGS.sub(" ", page)).split())


def _rows(folder: Path, rows: Iterable[Row]) -> Path:
    folder.mkdir(exist_ok=True)
    write_rows(folder / "manifest.jsonl", rows)
    return folder


def test_figures_are_those_of_the_files(dataset: Path, page: str) -> None:
    kept = _lines(dataset / "manifest.jsonl", dataset / "heldout.jsonl")
    words = _words(page)
    recorded_sec = [row["source_end_sec"] - row["source_start_sec"] for row in kept]
    kept_sec = sum(recorded_sec)
    assert len(kept) == NUM_CLIPS
    learnt_sec = sum(each for each, row in zip(recorded_sec, kept, strict=True) if row["split"] != "heldout")
    assert f"{learnt_sec:.1f} s to train on in {NUM_CLIPS - 1} clips" in words
    assert f"of speech kept {kept_sec:.1f} s of 1.0 hours given" in words
    assert f"left out 2 {(TAPE_SEC + 2) / 60:.1f} minutes" in words
    assert f"{recorded_sec[-1]:.1f} s held out" in words
    lengths = sorted(row["duration_sec"] for row in kept)
    assert f"median {median(lengths):.2f}, from {lengths[0]:.2f} to {lengths[-1]:.2f} s, {NUM_CLIPS} clips" in words
    rates = sorted(len(row["text"]) / row["duration_sec"] for row in kept)
    assert f"median {median(rates):.1f}, from {rates[0]:.1f} to {rates[-1]:.1f} characters/s" in words
    snrs_db = sorted(row["measures"]["snr_db"] for row in kept)
    assert f"median {median(snrs_db):.1f}, from {snrs_db[0]:.1f} to {snrs_db[-1]:.1f} dB" in words


def test_the_table_holds_every_clip_as_the_files_have_it(dataset: Path, page: str) -> None:
    shown = {row[0]: row for row in _table(page)}
    kept = _lines(dataset / "manifest.jsonl", dataset / "heldout.jsonl")
    assert shown.keys() == {row["id"] for row in kept} | {WRONG_ID, TAPE_ID}
    for row in kept:
        _, text, speaker, split, length_sec, snr_db, level_lufs, rate, problems, source, reason, original = shown[
            row["id"]
        ]
        assert (text, speaker, problems) == (row["text"], row["speaker"], row["problems"])
        assert split == row["split"].replace("heldout", "held out")
        assert length_sec == pytest.approx(row["duration_sec"], abs=0.01)
        assert (snr_db, level_lufs) == (row["measures"]["snr_db"], row["measures"]["loudness_lufs"])
        assert rate == pytest.approx(len(text) / row["duration_sec"], abs=0.06)
        assert source.startswith(row["source"])
        assert reason == original == ""
    assert shown[WRONG_ID][3] == shown[TAPE_ID][3] == "left out"
    assert shown[WRONG_ID][8] == ["wrong_text"]
    assert shown[WRONG_ID][10] == WRONG_REASON


def test_hostile_names_and_texts_are_escaped(page: str) -> None:
    script = next(content for attributes, content in _SCRIPTS.findall(page) if not attributes)
    assert [attributes for attributes, _ in _SCRIPTS.findall(page)] == [
        ' type="application/json" id="titles"',
        ' type="text/plain" id="packed"',
        "",
    ]
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in page
    shown = page.replace(script, "")
    assert all(tag not in shown for tag in ("<b>", "<i>", "<u>", "<img src=x", "-- a comment <"))
    assert f'data-clip="{html.escape(HOSTILE_ID).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")}"' in shown
    words = _words(page)
    assert all(each in words for each in (HOSTILE_ID, HOSTILE_TEXTS[0], HOSTILE_TEXTS[1], WRONG_REASON, TAPE_ID))
    assert HOSTILE_SPEAKER in words  # what was found in the whole set names it


def test_nothing_is_fetched(page: str) -> None:
    assert "default-src 'none'" in page
    assert "connect-src" not in page
    assert set(re.findall(r'(?:src|href)="([^"#]*)', page)) == {"data:", "data:,", ""}
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page


def test_problems_stand_by_severity_with_players_where_their_audio_can_be_read(page: str) -> None:
    heads = re.findall(r'<span class="severity">(\w+)</span> (.*?)\n', page)
    assert heads == [
        ("error", "Texts do not match what is said"),
        ("error", "Recordings have no text"),
        ("warning", "Clips are clipped"),
        ("warning", "Speakers have little speech"),
    ]
    parts = re.split(r'<li class="(?:error|warning)"', page.split("</ol>")[0])[1:]
    assert [part.count("<audio") for part in parts] == [1, 0, 2, 0]
    assert [part.count("The audio cannot be read") for part in parts] == [0, 1, 0, 0]
    assert "3 % of it is clipped" in parts[2]
    assert f"1 clip, {TAPE_SEC / 60:.1f} minutes" in parts[1]  # how much is lost by it
    assert page.count("<audio") == page.count("<img")


def test_a_file_that_never_became_a_clip_is_heard_where_the_recordings_are(tmp_path: Path) -> None:
    _rows(tmp_path, [])
    write_rows(
        tmp_path / "excluded.jsonl", [{"id": name, "path": name, "kind": "k"} for name in ("000.ogg", "a" * 400)]
    )
    problem = {"kind": "k", "severity": "error", "clips": ["000.ogg", "a" * 400]}
    (tmp_path / "problems.json").write_text(json.dumps([problem]))
    (tmp_path / "prepare.json").write_text(json.dumps({"settings": {"recordings": str(DEMO_TRAIN)}}))
    page = write_page(tmp_path).read_text()
    assert page.count("<audio") == page.count("The audio cannot be read") == 1


def test_the_verdict_says_what_to_mend_first(page: str) -> None:
    said = _words(re.findall(r'<p class="verdict worse">(.*?)</p>', page, re.DOTALL)[0])
    assert said.startswith("Not enough: ")
    assert said.endswith("Mend this first: texts do not match what is said (1 clip).")
    assert '<a href="#problem-1">' in page


@pytest.mark.parametrize(
    ("minutes", "said", "tone"),
    [
        ({"Anna": 0.9}, "Not enough: ", "worse"),
        (
            {"Anna": 2.0},
            "Enough for the voice, perhaps not for the words: 2.0 minutes to train on in 24 clips",
            "mixed",
        ),
        ({"Anna": 5.0}, "Enough: 5.0 minutes to train on in 60 clips", "better"),
        ({"Anna": 6.0, "Ben": 0.5}, "Enough for some: 6.5 minutes to train on in 78 clips by 2 speakers", "mixed"),
        ({"Anna": 6.0, "Ben": 7.0}, "Enough: 13.0 minutes", "better"),
        ({"Anna": 1.0, "Ben": 0.5}, "Little for each voice: ", "mixed"),
        ({}, "There is nothing to train on", "worse"),
    ],
)
def test_enough_is_what_the_study_found(minutes: dict[str, float], said: str, tone: str) -> None:
    rows = [
        ClipRow(f"{name}-{number}", "", "text", name, duration_sec=5.0)
        for name, each in minutes.items()
        for number in range(round(each * 12))
    ]
    found = verdict(survey(rows, ()), ())
    assert found.enough.startswith(said)
    assert found == SetVerdict(found.enough, "No problem was found that needs mending.", tone)


def test_copies_of_which_one_is_kept_are_not_to_be_mended() -> None:
    copies, wrong = (
        Problem(name, "error", KINDS[name].title, ("a",), KINDS[name].mend) for name in ("duplicate", "wrong_text")
    )
    assert verdict(survey([], ()), [(copies, 1)]).mend == "No problem was found that needs mending."
    assert verdict(survey([], ()), [(copies, 1), (wrong, 1)]).mend.startswith("Mend this first: texts do not match")


def _prompts(rows: list[ClipRow]) -> list[str]:
    return [row.id for row in survey(rows, ()).speakers["Anna"].prompts]


def test_prompts_are_long_enough_clean_and_not_held_out() -> None:
    def row(
        id: str, duration_sec: float, snr_db: float, split: str = "train", problems: tuple[str, ...] = ()
    ) -> ClipRow:
        measures = {"snr_db": snr_db}
        return ClipRow(id, "", "text", "Anna", split, duration_sec=duration_sec, measures=measures, problems=problems)

    shortest, longest = PROMPT_SEC
    rows = [
        row("short", shortest - 3, 70.0),
        row("fair", shortest, 20.0),
        row("good", longest, 40.0, problems=("one_word",)),
        row("long", longest + 2, 70.0),
        row("judges", 8.0, 70.0, split="held out"),
        row("clipped", 8.0, 70.0, problems=("clipped",)),
        row("cut", 8.0, 70.0, problems=("one_word", "cut_end")),
        row("out", 8.0, 70.0, split="left out"),
    ]
    assert _prompts(rows) == _prompts(rows[::-1]) == ["good", "fair", "long", "short"]


def test_a_clip_that_was_let_back_in_stands_once(tmp_path: Path) -> None:
    _rows(tmp_path, [made_row(0), made_row(1)])
    left_out = [
        {"id": f"clip-00{number}", "path": "", "reason": "r", "kind": "k", "use": number != 3} for number in (1, 2, 3)
    ]
    write_rows(tmp_path / "excluded.jsonl", left_out)
    found = [(row.id, row.split) for row in clip_rows(tmp_path)]
    # The second waits for the next run.
    assert found == [("clip-000", "train"), ("clip-001", "train"), ("clip-002", "left out"), ("clip-003", "left out")]


def test_rows_without_figures_are_shown_without_them(tmp_path: Path) -> None:
    nan = made_row(1, measures={"snr_db": float("nan"), "loudness_lufs": None})
    _rows(
        tmp_path,
        [{"path": "clips/a.flac", "text": "a"}, nan | {"duration_sec": None}, made_row(2, text="", measures={})],
    )
    write_rows(tmp_path / "excluded.jsonl", [{"reason": "nobody knows"}])
    page = write_page(tmp_path).read_text()
    assert [row[4:8] for row in _table(page)] == [[None] * 4, [None] * 4, [4.0, None, None, None], [None] * 4]
    assert not re.search(r"\b(nan|None|inf)\b", _words(page))


def test_a_name_that_is_no_unicode_is_shown(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(json.dumps(made_row(0, id="a\udcff", source="b\udcff", text="c")) + "\n")
    ((id, *_),) = _table(write_page(tmp_path).read_text())
    assert id == "a\udcff"


def test_a_folder_without_a_dataset_and_a_damaged_file_are_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest\.jsonl"):
        write_page(tmp_path)
    _rows(tmp_path, [made_row(0)])
    (tmp_path / "heldout.jsonl").write_text('{"id": "a"}\n[1, 2]\n')
    with pytest.raises(UserError, match=r"heldout\.jsonl, line 2"):
        write_page(tmp_path)
    (tmp_path / "heldout.jsonl").unlink()
    (tmp_path / "problems.json").write_text("[")
    with pytest.raises(UserError, match=r"problems\.json"):
        write_page(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_an_empty_dataset_has_a_page(tmp_path: Path) -> None:
    words = _words(write_page(_rows(tmp_path, [])).read_text())
    assert all(
        said in words
        for said in ("nothing to train on", "No problem was found.", "No clip was kept.", "No clip can serve")
    )


def _sentence(number: int) -> str:
    """Eleven numbers that are not those of another clip, so that no two rows compress to one."""
    return " ".join(str(number * step % 997) for step in range(1, 12))


def _many_clips(num_clips: int) -> Iterator[ClipRow]:
    for number in range(num_clips):
        yield ClipRow(
            f"clip-{number:06d}",
            f"clips/{number:06d}.flac",
            _sentence(number),
            f"speaker {number % 50}",
            source=f"session {number // 100}.wav",
            source_start_sec=number % 100 * 7.3,
            duration_sec=2 + number % 997 / 60,
            measures={"snr_db": 20 + number % 331 / 10, "loudness_lufs": -30 + number % 101 / 10, "decay_sec": 0.3},
            problems=("noisy",) if number % 9 == 0 else (),
        )


def test_memory_grows_by_a_few_numbers_a_clip_and_not_by_its_row() -> None:
    peaks_bytes = []
    for num_clips in (1_000, 6_000):
        tracemalloc.start()
        survey(_many_clips(num_clips), ())
        peaks_bytes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks_bytes[1] - peaks_bytes[0]) / 5_000 < 300


@pytest.mark.slow
def test_a_hundred_thousand_clips_are_some_megabytes(tmp_path: Path) -> None:
    rows = (
        made_row(number, 2 + number % 997 / 60, text=(text := _sentence(number)), original_text=text)
        for number in range(100_000)
    )
    clips = [f"clip-{number}" for number in range(0, 100_000, 2)]
    problem = {"kind": "noisy", "severity": "warning", "title": "clips are noisy", "clips": clips, "count": len(clips)}
    (tmp_path / "problems.json").write_text(json.dumps([problem]))
    page = write_page(_rows(tmp_path, rows))
    assert page.stat().st_size < 8e6
    assert len(_table(page.read_text())) == 100_000


_SHOWN_ROWS = "return [...document.querySelectorAll('#rows tr')].map(row => row.querySelector('th').innerText)"


def _ready(driver: Chrome) -> None:
    WebDriverWait(driver, 30).until(lambda each: each.find_element("id", "browse").is_displayed())


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (390, True)])
def test_the_page_fits_plays_and_is_quiet_in_a_browser(dataset: Path, tmp_path: Path, width: int, dark: bool) -> None:
    path = dataset / "report.html"
    with opened(path, tmp_path / "profile", width, dark=dark) as driver:
        _ready(driver)
        durations = durations_sec(driver)
        assert len(durations) == path.read_text().count("<audio")
        assert all(0 < each < 60 for each in durations)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        outside = """
            return [...document.querySelectorAll("header *, .problems *, .example *, h2, #browse *")]
                .filter(each => each.checkVisibility() && !each.closest("svg"))
                .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
                .map(each => each.outerHTML.slice(0, 80));
        """
        assert driver.execute_script(outside) == []
        unnamed = "return document.querySelectorAll('img:not([alt]), audio:not([aria-label]), select, input').length"
        labelled = "return document.querySelectorAll('label select, label input').length"
        assert driver.execute_script(unnamed) == driver.execute_script(labelled)
        assert console(driver) == []
        assert requested(driver) == [path.as_uri()]


@pytest.mark.slow
@needs_chromium
def test_the_table_is_filtered_and_sorted_by_keyboard(dataset: Path, tmp_path: Path) -> None:
    with opened(dataset / "report.html", tmp_path / "profile") as driver:
        _ready(driver)
        assert len(driver.execute_script(_SHOWN_ROWS)) == NUM_CLIPS + 2
        find = driver.find_element("id", "find")
        find.send_keys("</SCRIPT>")
        WebDriverWait(driver, 10).until(lambda each: len(each.execute_script(_SHOWN_ROWS)) == 1)
        assert HOSTILE_TEXTS[0] in driver.execute_script(_SHOWN_ROWS)[0]
        find.clear()
        driver.find_element("css selector", "button[data-kind=clipping]").send_keys(Keys.ENTER)
        WebDriverWait(driver, 10).until(lambda each: len(each.execute_script(_SHOWN_ROWS)) == 2)
        Select(driver.find_element("id", "problem")).select_by_value("none")
        Select(driver.find_element("id", "part")).select_by_value("kept")
        head = next(each for each in driver.find_elements("css selector", "#heads button") if "length" in each.text)
        for direction in ("ascending", "descending"):
            head.send_keys(Keys.ENTER)
            assert head.find_element("xpath", "..").get_attribute("aria-sort") == direction
            cells = driver.find_elements("css selector", "#rows td[data-unit=s]")
            lengths = [float(each.text.split()[0]) for each in cells]
            assert len(lengths) == NUM_CLIPS - 2
            assert lengths == sorted(lengths, reverse=direction == "descending")


@pytest.mark.slow
@needs_chromium
def test_a_browser_shows_many_clips_a_page_at_a_time(tmp_path: Path) -> None:
    rows = (made_row(number, text=(text := _sentence(number)), original_text=text) for number in range(30_000))
    with opened(write_page(_rows(tmp_path / "voice", rows)), tmp_path / "profile") as driver:
        _ready(driver)
        assert len(driver.execute_script(_SHOWN_ROWS)) == 50
        driver.find_element("id", "last").click()
        assert driver.find_element("id", "page").text == "29,951 to 30,000 of 30,000"
        driver.find_element("id", "find").send_keys("clip-29999")
        WebDriverWait(driver, 10).until(lambda each: len(each.execute_script(_SHOWN_ROWS)) == 1)
