"""The page in a real browser: it plays, complains of nothing, asks the network for nothing, and fits a phone."""

from pathlib import Path

import pytest

from tests.report.page.browser import console, durations_sec, needs_chromium, opened, requested
from tests.report.page.conftest import NUM_RUNS, NUM_SENTENCES

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
        box = driver.find_element("css selector", ".box")
        assert driver.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", box)
        assert box.get_attribute("tabindex") == "0"
        box.send_keys("\ue014" * 5)  # arrow to the right
        waited = "const done = arguments[1]; setTimeout(() => done(arguments[0].scrollLeft), 1000)"
        assert driver.execute_async_script(waited, box) > 0


def test_everything_that_is_seen_can_be_read_aloud(page: Path, tmp_path: Path) -> None:
    with opened(page, tmp_path / "profile") as driver:
        unnamed = "return document.querySelectorAll('img:not([alt]), audio:not([aria-label]), svg:not([aria-label])"
        assert driver.execute_script(f"{unnamed}:not([aria-hidden])').length") == 0
        assert driver.execute_script("return document.documentElement.lang") == "en"
