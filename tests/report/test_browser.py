"""The page in a browser, where chromium and playwright are: it draws all its plots, asks for nothing, and fits."""

import shutil

import pytest

from tests.report.made import write_run
from tests.report.test_page import HOSTILE, seen
from uit_jax.report import page

pytest.importorskip("bokeh")
driver = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_a_page_draws_itself_without_errors_and_without_a_network(tiny, tmp_path):
    run = tmp_path / HOSTILE.replace("/", "")
    write_run(run)
    made = [seen(names=[f"{HOSTILE}{i}" for i in range(12)], classes=("</script><em>", HOSTILE))]
    path = tmp_path / "page.html"
    path.write_text(page.rendered([page.records.read(run, HOSTILE)], made))
    told, asked = [], []
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        # A phone's width, and all of its height.
        tab = browser.new_page(viewport={"width": 390, "height": 9_000}, color_scheme="dark")
        tab.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: told.append(str(error)))
        tab.on("dialog", lambda dialog: told.append("dialog") or dialog.dismiss())
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(path.as_uri())
        tab.wait_for_function("[...document.querySelectorAll('.plot')].every((each) => each.childElementCount)")
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        slider = tab.locator("#slider-0")
        slider.press("Home")
        assert tab.locator(".samples output").text_content() == "step 4"
        assert "at step 4" in tab.locator(".samples img").first.get_attribute("alt")
        tab.locator("input[value=class]").check()
        assert tab.locator("ul.keys[data-by=class]").is_visible() and tab.locator("ul.keys[data-by=domain]").is_hidden()
        browser.close()
    assert told == [] and [url for url in asked if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
