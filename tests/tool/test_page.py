#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The page of report in a browser: it opens, and can be zoomed, pointed at and clicked.

Usage: test_page.py VFIOBOOST [TRACE [SCREENSHOT]]
"""
import os
import re
import subprocess
import sys
import tempfile

SKIPPED = 77

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.action_chains import ActionChains
except ImportError:
    print("skipped: python3-selenium is not installed (scripts/install browser)")
    sys.exit(SKIPPED)
if not os.path.exists("/usr/bin/chromedriver"):
    print("skipped: chromium-driver is not installed (scripts/install browser)")
    sys.exit(SKIPPED)


def open_browser(directory):
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--window-size=1280,1500", f"--user-data-dir={directory}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)


def text(driver, name):
    return driver.find_element("id", name).text


def shown(driver, name):
    return driver.find_element("id", name).is_displayed()


def step_position(driver):
    """Where the middle of the longest populate step is, from the middle of the timeline."""
    return driver.execute_script("""
        const box = document.getElementById("timeline").getBoundingClientRect();
        const work = (s) => s[PHASE] === "populate";
        const row = view.rows.findIndex((r) => r.spans.some(work));
        const span = view.rows[row].spans.filter(work).sort((a, b) => b[DURATION] - a[DURATION])[0];
        const x = scaleTo(box.width)(span[BEGIN] + span[DURATION] / 2);
        return [x - box.width / 2, AXIS + row * ROW + BAR / 2 - box.height / 2];""")


def check(driver, page):
    driver.get("file://" + page)
    timeline = driver.find_element("id", "timeline")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", timeline)
    whole = text(driver, "range")
    assert whole.startswith("0.0 µs to "), whole

    x, y = step_position(driver)
    ActionChains(driver).move_to_element_with_offset(timeline, int(x), int(y)).perform()
    assert shown(driver, "tip") and "populate" in text(driver, "tip"), text(driver, "tip")
    assert re.search("MADV_POPULATE_WRITE|touch", text(driver, "tip"))
    assert not shown(driver, "details")
    ActionChains(driver).click().perform()
    assert shown(driver, "details") and "/s" in text(driver, "details"), text(driver, "details")

    driver.find_element("id", "zoom-in").click()
    closer = text(driver, "range")
    assert closer != whole, closer
    driver.execute_script("""arguments[0].dispatchEvent(new WheelEvent("wheel",
        {deltaY: -100, clientX: 700, clientY: 500, cancelable: true}))""", timeline)
    assert text(driver, "range") != closer
    before = text(driver, "range")
    ActionChains(driver).move_to_element_with_offset(timeline, 100, 20).click_and_hold() \
        .move_by_offset(-80, 0).release().perform()
    assert text(driver, "range") != before
    driver.find_element("id", "zoom-all").click()
    assert text(driver, "range") == whole

    tabs = driver.find_elements("css selector", "#tabs button")
    assert len(tabs) >= 2
    tabs[0].click()
    assert tabs[0].get_attribute("aria-selected") == "true"
    assert text(driver, "critical").startswith(tabs[0].text), text(driver, "critical")
    tabs[-1].click()
    background = "return getComputedStyle(document.body).backgroundColor"
    light = driver.execute_script(background)
    driver.find_element("id", "theme").click()
    assert driver.execute_script(background) != light
    driver.find_element("id", "theme").click()
    for name in ("runs", "phases", "legend", "slowest", "critical", "remarks"):
        assert text(driver, name).strip(), name
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors, errors


def main():
    command, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        trace, page = os.path.join(directory, "trace.json"), os.path.join(directory, "page.html")
        if rest:
            trace = rest[0]
        else:
            subprocess.run([command, "run", "--memory", "64M", "--page-size", "4k", "--mode",
                            "serial,boost", "--trace", trace],
                           check=True, stdout=subprocess.DEVNULL)
        subprocess.run([command, "report", trace, "-o", page], check=True)
        driver = open_browser(os.path.join(directory, "profile"))
        try:
            check(driver, page)
            if len(rest) > 1:
                driver.execute_script("window.scrollTo(0, 0)")
                driver.save_screenshot(rest[1])
        finally:
            driver.quit()


main()
