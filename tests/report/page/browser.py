"""A headless Chromium that opens a page from a file, and what it saw: console messages and requests."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

needs_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None or shutil.which("chromedriver") is None,
    reason="no chromium here: apt-get install chromium chromium-driver",
)


@contextmanager
def opened(
    page: Path | str, profile: Path, width: int = 1280, height: int = 900, dark: bool = False
) -> Iterator[Chrome]:
    """The page, a file or an address, in a window whose inside is `width` pixels wide, in a new profile."""
    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = Chrome(options, Service(shutil.which("chromedriver")))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        driver.get("about:blank")
        driver.get_log("performance")  # what the browser's own first tab did
        driver.get(page if isinstance(page, str) else page.as_uri())
        yield driver
    finally:
        driver.quit()


def requested(driver: Chrome) -> list[str]:
    """The addresses that the page asked for, those within itself (data:) left out."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith("data:")]


def console(driver: Chrome) -> list[Any]:
    """What the browser complained of, and what the page wrote."""
    return driver.get_log("browser")


def durations_sec(driver: Chrome) -> list[float]:
    """What every player says of its length, once all know it."""
    return driver.execute_async_script(
        """
        const done = arguments[0], players = [...document.querySelectorAll("audio")];
        const known = player => player.readyState > 0 || player.error ? Promise.resolve() :
            new Promise(go => { player.onloadedmetadata = player.onerror = go; player.load(); });
        Promise.all(players.map(known)).then(() => done(players.map(p => p.error ? -1 : p.duration)));
        """
    )


def screenshot(driver: Chrome, path: Path) -> None:
    """A PNG of the whole page."""
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(taken["data"]))
