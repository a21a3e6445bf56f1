"""The report in a browser: nothing is complained about, nothing overflows, tables sort, the look follows its choices.

Screenshots go to the directory EVICTLAB_SCREENSHOTS, where that is set.
"""

import os
import pathlib
import shutil

import pytest

pytestmark = pytest.mark.full
WIDTHS = [1280, 390]


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def shipped_report(evictlab, model, tmp_path_factory):
    """Of six prompts of the shipped model, two tasks."""
    directory = tmp_path_factory.mktemp("report")
    prompts = directory / "prompts.jsonl"
    with prompts.open("w") as some:
        for task in ("needle", "copy"):
            lines = (model / "prompts" / f"{task}-512.jsonl").read_text().splitlines()
            some.write("\n".join(lines[:3]) + "\n")
    done = evictlab("record", "--model", model, "--prompts", prompts, "--tier", "full", "--out", directory / "t.h5")
    assert done.code == 0, done.err
    page = directory / "report.html"
    done = evictlab("report", directory / "t.h5", "--model", model, "--out", page)
    assert done.code == 0, done.err
    return page


@pytest.fixture(scope="module")
def large_report(evictlab, tmp_path_factory):
    """Of 100 prompts and 32 layers."""
    directory = tmp_path_factory.mktemp("large")
    done = evictlab("synth", "--out", directory / "t.h5", "--seed", 1, "--layers", 32, "--query-heads", 8, "--kv-heads", 4,
                    "--length", 512, "--future", 8, "--window", 32, "--prompts", 100, "--dtype", "float16")
    assert done.code == 0, done.err
    done = evictlab("report", directory / "t.h5", "--out", directory / "report.html")
    assert done.code == 0, done.err
    (directory / "t.h5").unlink()
    return directory / "report.html"


def opened(browser, page, width, scheme="light"):
    """Returns the milliseconds until the page was loaded."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())
    return browser.execute_script("const t = performance.timing; return t.loadEventEnd - t.navigationStart")


def screenshot(browser, width, name):
    directory = os.environ.get("EVICTLAB_SCREENSHOTS")
    if not directory:
        return
    height = browser.execute_script("return Math.min(document.documentElement.scrollHeight, 16000)")
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.save_screenshot(str(pathlib.Path(directory) / f"{name}.png"))


def sound(browser):
    assert browser.get_log("browser") == []
    wide = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1], f"the page is {wide[0]} wide in a window of {wide[1]}"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_without_complaint_and_fits(browser, shipped_report, width, scheme):
    opened(browser, shipped_report, width, scheme)
    sound(browser)
    light = browser.execute_script("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (min(light) > 200) if scheme == "light" else (max(light) < 80)
    screenshot(browser, width, f"report-{width}-{scheme}")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_of_100_prompts_and_32_layers_is_small_and_opens(browser, large_report, width, record_property):
    assert large_report.stat().st_size < 15_000_000
    record_property("milliseconds to load", opened(browser, large_report, width))
    sound(browser)
    screenshot(browser, width, f"large-{width}")


def test_a_click_on_a_heading_sorts_its_table_either_way(browser, shipped_report):
    opened(browser, shipped_report, 1280)
    values = """
      const table = document.querySelector('table'), column = 3;
      if (arguments[0]) table.tHead.rows[0].cells[column].querySelector('button').click();
      return [...table.tBodies[0].rows].map(row => Number(row.cells[column].textContent));"""
    before = browser.execute_script(values, False)
    once = browser.execute_script(values, True)
    twice = browser.execute_script(values, True)
    assert sorted(before) != before
    assert sorted([once, twice]) == sorted([sorted(before), sorted(before, reverse=True)])


def test_the_look_follows_every_choice(browser, shipped_report):
    opened(browser, shipped_report, 1280)
    choose = """
      const choice = document.getElementById(arguments[0]);
      choice.selectedIndex = (choice.selectedIndex + 1) % choice.options.length;
      choice.dispatchEvent(new Event('change'));"""
    shown = "return document.getElementById('look-text').innerHTML + document.getElementById('look-summary').innerHTML"
    choices = browser.execute_script("return [...document.querySelectorAll('#look select')].map(s => s.id)")
    assert len(choices) == 7
    for name in choices:
        before = browser.execute_script(shown)
        browser.execute_script(choose, name)
        assert browser.execute_script(shown) != before, f"{name} changed nothing"
    sound(browser)
