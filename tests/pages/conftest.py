"""A browser, for the pages as a person sees them: opened from disk in Chromium."""

from __future__ import annotations

import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1400,1000"
).split()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.support.wait import WebDriverWait

    class Browser(webdriver.Chrome):
        def get(self, url):
            """Open a page, and wait until its scripts have run: where it is open already, Chromium does not wait."""
            super().get("about:blank")
            super().get(url)
            loaded = "return location.protocol === 'file:' && document.readyState === 'complete'"
            WebDriverWait(self, 60).until(lambda browser: browser.execute_script(loaded))

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = Browser(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    driver.set_script_timeout(300)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium):
    """The one browser of the session, as wide as a desk's, in light colours, on the screen."""
    yield chromium
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    chromium.get_log("browser")
