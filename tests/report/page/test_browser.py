"""The page in a real browser: it plays, complains of nothing, asks the network for nothing, and fits a phone."""

import json
from pathlib import Path

import pytest

from tests.report.conftest import NUM_RUNS, NUM_SENTENCES
from tests.report.page.browser import console, durations_sec, needs_chromium, opened, requested

pytestmark = [pytest.mark.slow, needs_chromium]
_BROKEN_PICTURES = "return [...document.images].filter(each => !each.complete || !each.naturalWidth).length"
_CONTRAST = """
    const shown = getComputedStyle(document.body);
    const light = colour => colour.match(/[0-9]+/g).slice(0, 3).reduce((sum, each) => sum + Number(each), 0) / 3;
    return light(shown.color) - light(shown.backgroundColor);
"""


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (390, True)])
def test_a_page_plays_and_is_quiet(page: Path, tmp_path: Path, width: int, dark: bool) -> None:
    with opened(page, tmp_path / "profile", width, dark=dark) as driver:
        durations = durations_sec(driver)
        assert len(durations) == NUM_SENTENCES * (3 + NUM_RUNS)
        assert all(0 < each < 60 for each in durations)
        assert driver.execute_script(_BROKEN_PICTURES) == 0
        assert console(driver) == []
        assert requested(driver) == [page.as_uri()]
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        contrast = driver.execute_script(_CONTRAST)
        assert contrast > 150 if dark else contrast < -150


def test_a_wide_table_scrolls_in_its_own_box_by_keyboard(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path / "profile", 390) as driver:
        driver.find_element("css selector", "section[aria-labelledby=figures] summary").click()
        box = driver.find_element("css selector", "section[aria-labelledby=figures] .box")
        assert driver.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", box)
        assert box.get_attribute("tabindex") == "0"
        box.send_keys("\ue014" * 5)  # arrow to the right
        waited = "const done = arguments[1]; setTimeout(() => done(arguments[0].scrollLeft), 1000)"
        assert driver.execute_async_script(waited, box) > 0


def test_a_blind_comparison_tells_nothing_before_its_votes_and_keeps_them(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path / "profile") as driver:
        driver.find_element("id", "open-blind").click()
        driver.find_element("id", "blind-begin").click()
        for number in range(NUM_SENTENCES):
            shown = driver.find_element("id", "blind-trial").text
            assert f"{NUM_SENTENCES - number} to go" in shown
            assert "base" not in shown
            assert len(driver.find_elements("css selector", "#blind-trial audio")) == 2
            driver.find_element("css selector", f"[data-vote={('first', 'neither')[number % 2]}]").click()
        said = driver.find_element("id", "blind-said").text
        votes = json.loads(driver.execute_script("return Object.values(localStorage)[0]"))
        assert sorted(vote["sentence"] for vote in votes) == list(range(1, NUM_SENTENCES + 1))
        assert all(vote["preferred"] == (vote[vote["vote"]] if vote["vote"] == "first" else None) for vote in votes)
        assert {vote["first"] for vote in votes} <= set(votes[0]["pair"]) == {"base", "tuned A"}
        num = sum(vote["preferred"] == "base" for vote in votes)
        times = "once" if num == 1 else f"{num} times"
        assert said.startswith(f"base was preferred {times}, A ")
        assert f"neither {NUM_SENTENCES // 2} times." in said
        assert console(driver) == []
        driver.get(page.as_uri())
        driver.find_element("id", "open-blind").click()
        assert f"{NUM_SENTENCES} votes are kept" in driver.find_element("id", "blind-kept").text


def test_what_matters_is_on_the_screen_and_no_word_is_broken(page: Path, tmp_path: Path) -> None:
    for width in (1280, 390):
        with opened(page, tmp_path / f"profile-{width}", width) as driver:
            outside = """
                const seen = "header *, .card *, .clip *, .charts figcaption, h2, .note *";
                return [...document.querySelectorAll(seen)]
                    .filter(each => each.checkVisibility() && !each.closest("svg"))
                    .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
                    .map(each => each.outerHTML.slice(0, 80));
            """
            assert driver.execute_script(outside) == []
            assert "anywhere" not in page.read_text()
            assert "break-all" not in page.read_text()


def test_everything_that_is_seen_can_be_read_aloud(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path / "profile") as driver:
        unnamed = "return document.querySelectorAll('img:not([alt]), audio:not([aria-label]), svg:not([aria-label])"
        assert driver.execute_script(f"{unnamed}:not([aria-hidden])').length") == 0
        assert driver.execute_script("return document.documentElement.lang") == "en"
