"""The page in a browser, where chromium, playwright and gradio are: what a visitor does, and two at once."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.demo.made import SIZE, picture
from uit_jax import demo
from uit_jax.demo import offers

pytestmark = pytest.mark.skipif(bool(demo.missing()), reason="gradio is not installed")
driver = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()


class Visitor:
    """Someone with a tab of their own, who notes what it complains of and whom it asks."""

    def __init__(self, browser, address, width=1280):
        self.tab, self.told, self.asked = browser.new_page(viewport={"width": width, "height": 900}), [], []
        self.tab.on("console", lambda message: self.told.append(message.text) if message.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.told.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(address)
        self.tab.wait_for_selector("#result img")

    def hand_in(self, where, path):
        """Put an image in the place of the one that is there."""
        if self.tab.locator(f"#{where} button[aria-label='Remove Image']").count():
            self.tab.click(f"#{where} button[aria-label='Remove Image']")
        with self.tab.expect_response(lambda response: "/upload" in response.url):
            self.tab.set_input_files(f"#{where} input[type=file]", path)
        self.tab.wait_for_selector(f"#{where} img", state="attached")

    def drawn(self):
        """Return the translation that is shown, None where there is none."""
        if not self.tab.locator("#result img").count():
            return None
        body = self.tab.request.get(self.tab.get_attribute("#result img", "src")).body()
        return np.asarray(Image.open(io.BytesIO(body)))

    def comes_to_see(self, expected):
        """Wait for a translation."""
        for _ in range(200):
            if np.array_equal(self.drawn(), expected):
                return True
            self.tab.wait_for_timeout(50)
        return False


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_visitors_translate_blend_and_are_told_what_is_no_image(run, address, tmp_path):
    content, dark, bright = (picture(tmp_path / f"{value}.png", value) for value in (None, 20, 230))
    (tmp_path / "bad.png").write_text("no image")
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        one, other = Visitor(browser, address), Visitor(browser, address, width=390)
        assert other.tab.evaluate("document.documentElement.scrollWidth") == 390
        # The first example is drawn already, with what is near it.
        assert one.drawn().shape == (SIZE, SIZE, 3) and one.tab.locator(".near img").count() == 8
        one.hand_in("content", content)
        one.hand_in("first", dark)
        one.tab.click("#translate")
        assert one.comes_to_see(run.translate(content, reference=dark))
        one.hand_in("second", bright)
        one.tab.locator("#share input[type=range]").focus()
        for _ in range(10):
            one.tab.keyboard.press("ArrowRight")
        one.tab.click("#translate")
        blend = run.translate(content, style=(run.encode(dark)[0] + run.encode(bright)[0]) / 2)
        assert one.comes_to_see(blend)
        # Another's choices are another's.
        other.hand_in("content", dark)
        other.tab.click("#way label:has-text('class')")
        other.tab.click("#class button >> nth=3")
        of_class = run.translate(dark, style=offers.of(run).classes[3].code)
        assert other.comes_to_see(of_class) and np.array_equal(one.drawn(), blend)
        one.hand_in("content", bright)
        other.hand_in("content", bright)
        for each in (one, other):
            each.tab.evaluate("document.querySelector('#translate').click()")
        assert one.comes_to_see(run.translate(bright, style=(run.encode(dark)[0] + run.encode(bright)[0]) / 2))
        assert other.comes_to_see(run.translate(bright, style=offers.of(run).classes[3].code))
        # An example takes the place of what was handed in, and is replaced in its turn.
        blended = (run.encode(dark)[0] + run.encode(bright)[0]) / 2
        one.tab.click("#content_examples button >> nth=1")
        one.tab.wait_for_timeout(500)
        one.tab.click("#translate")
        assert one.comes_to_see(run.translate(offers.of(run).contents[1], style=blended))
        one.hand_in("content", dark)
        one.tab.click("#translate")
        assert one.comes_to_see(run.translate(dark, style=blended))
        # By chance, of a seed that the browser threw.
        other.tab.click("#way label:has-text('chance')")
        other.tab.click("#another")
        other.tab.wait_for_function("document.querySelector('#seed input').value !== '0'")
        seed = int(other.tab.input_value("#seed input"))
        assert other.comes_to_see(run.translate(bright, style=run.sample(1, seed)[0]))
        # What is no image is no error of the page.
        other.hand_in("content", tmp_path / "bad.png")
        other.tab.click("#translate")
        other.tab.wait_for_selector("text=The image to translate cannot be read: not an image.")
        assert other.drawn() is None and not other.tab.locator(".near img").count()
        browser.close()
    for each in (one, other):
        assert each.told == []
        assert not [url for url in each.asked if not url.startswith((f"{address}/", "data:", "blob:"))]
