"""The page as a file: small, self-contained, escaped, without paths, and whole or not there."""

import base64
import hashlib
import html
import re
from pathlib import Path

import pytest

from calm_ft.errors import UserError
from calm_ft.report.page.compare import compare_runs
from tests.report.conftest import NUM_RUNS, NUM_SENTENCES
from tests.report.page.made_runs import TEXTS, add_evaluation, make_run

_NOT_READ = r"<style>.*?</style>|<meta[^>]*>|<script>.*?</script>|<svg.*?</svg>"
_VERDICT = '<span class="better">better</span>'
_DATA_URI = re.compile(r'data:[a-z]+/[a-z]+;base64,[^"]*')


def _text(page: Path) -> str:
    """The page without its clips and pictures."""
    return _DATA_URI.sub("data:", page.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_four_runs_of_eight_sentences_are_a_few_megabytes(page: Path) -> None:
    assert page.stat().st_size < 5e6
    text = page.read_text(encoding="utf-8")
    assert text.count("<audio") == text.count("<img") == NUM_SENTENCES * (3 + NUM_RUNS)


def test_texts_are_escaped(page: Path) -> None:
    text = _text(page)
    assert text.count("<script") == 1  # the page's own
    assert "<b>" not in text
    assert "<i>" not in text
    assert all(str(html.escape(each)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in text for each in TEXTS)


def test_nothing_is_fetched_and_no_path_is_told(page: Path, evaluated_runs: list[Path]) -> None:
    text = _text(page)
    assert "http" not in text.replace("http-equiv", "")
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0]
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in text
    assert set(re.findall(r'(?:src|href)="([^"#]*)', text)) == {"data:", "data:,", ""}
    assert "url(" not in text
    assert "/home/" not in text
    assert "someone" not in text
    assert not any(str(path) in text for path in (page.parent, evaluated_runs[0].parent, Path.cwd()))


def test_what_is_not_measured_is_said_and_nothing_is_nan(page: Path) -> None:
    text = _text(page)
    assert not re.search(r"\b(nan|none|inf)\b", re.sub(_NOT_READ, "", text, flags=re.S), re.I)
    assert "n/a" in text
    assert "the weights were not found in utmos" in text
    assert _VERDICT in text
    assert "1 of 8" in text  # the base's one runaway clip
    assert "Evaluated with another" not in text


def test_the_page_says_first_what_its_figures_cannot_show(tmp_path: Path) -> None:
    one, other = add_evaluation(make_run(tmp_path / "one")), make_run(tmp_path / "other", data_fingerprint="x" * 24)
    compared = compare_runs([one, other], tmp_path / "page.html")
    text = html.unescape(_text(compared.path))
    assert all(notice in text for notice in compared.notices)
    said = " ".join(compared.notices)
    assert "B (other) was not evaluated" in said
    assert compared.not_evaluated == (other,)
    assert "Not known to have the same data" in said
    assert _VERDICT not in text


@pytest.mark.slow
def test_runs_of_other_data_are_marked_only_where_they_said_the_same_sentences(tmp_path: Path) -> None:
    one = add_evaluation(make_run(tmp_path / "one"))
    other_data = add_evaluation(make_run(tmp_path / "two", data_fingerprint="x" * 24))
    said_others = add_evaluation(make_run(tmp_path / "three", data_fingerprint="x" * 24), TEXTS[1:])
    assert _VERDICT in _text(compare_runs([one, other_data], tmp_path / "page.html").path)
    compared = compare_runs([one, said_others], tmp_path / "page.html")
    assert _VERDICT not in _text(compared.path)
    assert any("no difference is called" in notice for notice in compared.notices)


def test_runs_without_anything_make_a_page_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"status": "running"}')
    text = _text(compare_runs([tmp_path / "run"], tmp_path / "page.html").path)
    assert all(said in text for said in ("has figures yet", "have no clips", "logged nothing", "(status: running)"))


@pytest.mark.parametrize("output", ["file/page.html", "."])
def test_a_place_that_cannot_be_written_is_said(output: str, run: Path) -> None:
    (run.parent / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        compare_runs([run], run.parent / output)


def test_the_same_runs_make_the_same_page_but_for_the_random_names_of_ogg_streams(run: Path) -> None:
    pages = [_text(compare_runs([run], run.parent / name).path) for name in ("1.html", "2.html")]
    assert pages[0] == pages[1]
