"""The page itself, as Gradio lays it out: what is chosen in a browser becomes a request, and its answer a picture.

Whatever a visitor chose is in the visitor's browser and comes with every request: visitors share nothing.
"""

import abc
import html
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from uit_jax.demo.offers import Mean, Near, Offers
from uit_jax.demo.requests import Blend, Code, Request, Sampled, Studio
from uit_jax.demo.worker import Worker
from uit_jax.errors import UserError
from uit_jax.images import encode, pictures

KEPT = 3_600
"""Seconds after which what was handed in and drawn is deleted from the disk; looked for every few minutes."""

_SWEEP = 300
_LARGEST_SEED = 2**32 - 1
_SHARP, _TINY = 300, 64  # pixels a side: up to these, translations and all images are enlarged without smoothing
_COLUMN, _NARROW, _HEIGHT = 300, 120, 320  # pixels
_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]

_log = logging.getLogger(__name__)

LOOK = {
    # Fonts of the visitor's own: nothing is fetched.
    "theme": gr.themes.Soft(primary_hue="indigo", neutral_hue="slate", font=_FONTS, font_mono=["monospace"]),
    "css": (Path(__file__).parent / "page.css").read_text("utf-8"),
}


class Page:
    """What becomes of a click."""

    def __init__(self, offers: Offers, studio: Studio, worker: Worker, folder: Path):
        """`folder` holds all that is uploaded, and the examples; of no other file anything is told."""
        self.offers, self.studio, self.worker, self.folder = offers, studio, worker, folder.resolve()

    def draw(
        self,
        content: Path | None,
        way: str | None = None,
        first: Path | None = None,
        second: Path | None = None,
        share: float = 0,
        domain: int = 0,
        of_class: int = 0,
        seed: int = 0,
        sampled_of: int | None = None,
    ) -> tuple[np.ndarray | None, str, str]:
        """Answer a click: the translation uint8 [h, w, 3], what to say of it, and the nearest images, in HTML."""

        def read() -> Request:
            if content is None:
                raise UserError("Hand in an image to translate first.")
            match way:
                case "reference":
                    style = self._blend(first, second, share)
                case "domain":
                    style = _mean(self.offers.pseudo_domains, domain)
                case "class":
                    style = _mean(self.offers.classes, of_class)
                case "random":
                    style = Sampled(_whole(seed, "seed"), None if sampled_of is None else _whole(sampled_of, "class"))
                case _:
                    style = None
            return Request(self.studio.content(self._own(content)), style)

        began = time.monotonic()
        try:
            drawn = self.worker.ask(read)
        except UserError as error:
            return None, _told(str(error), refused=True), ""
        except Exception:
            _log.exception("a request failed")
            return None, _told("Something went wrong here: the terminal of `uit demo` tells what.", refused=True), ""
        near = [] if drawn.code is None or self.offers.searched is None else self.offers.searched.nearest(drawn.code)
        took = time.monotonic() - began
        return pictures.as_rgb(drawn.image), _told(f"Drawn in {took:.2f} s."), nearest_html(near)

    def _own(self, path: Path) -> Path:
        """Return a path if it is of a file that was uploaded here. A request may name any, and pipes never end."""
        path = Path(path).resolve()
        if not path.is_relative_to(self.folder):
            raise UserError("Images are handed in on the page: of other files nothing is told.")
        if not path.is_file():
            raise UserError("The image is not here any more: hand it in again.")
        return path

    def _blend(self, first: Path | None, second: Path | None, share: float) -> Blend:
        """Read one reference, or the two that are blended."""
        if first is None and second is None:
            raise UserError("Hand in a reference first: an image in whose style to draw.")
        if first is None or second is None:
            return Blend((self.studio.reference(self._own(first or second)),))
        ends = self.studio.reference(self._own(first)), self.studio.reference(self._own(second), "second reference")
        return Blend(ends, min(max(float(share), 0.0), 1.0))


def _mean(means: Sequence[Mean], number: int) -> Code:
    """Return the mean style of a number. Raises UserError where there is none."""
    if not 0 <= _whole(number, "style") < len(means):
        raise UserError("Choose one of the styles first.")
    return Code(means[_whole(number, "style")].code)


def _whole(value: Any, called: str) -> int:
    """Read a number that a request brought. Raises UserError."""
    if isinstance(value, bool | str) or value is None or not np.isscalar(value) or value != value // 1:
        raise UserError(f"The {called} must be a whole number.")
    return int(value)


def build(offers: Offers, studio: Studio, worker: Worker, folder: Path) -> gr.Blocks:
    """Lay the page of a run out; its files lie in a folder, which its caller removes behind it."""
    page = Page(offers, studio, worker, folder)
    contents, references = _kept(offers.contents, folder, "content"), _kept(offers.references, folder, "reference")
    ways = _ways(offers)
    chosen = ways[0][1] if ways else None
    tiny = ["tiny"] if studio.side <= _TINY else None
    image, told, near = None, "", ""
    if contents and (references or not offers.styled):
        image, told, near = page.draw(contents[0], chosen, *references[:1])
    with gr.Blocks(title=f"{offers.title}: try it", analytics_enabled=False, delete_cache=(_SWEEP, KEPT)) as blocks:
        gr.HTML(header_html(offers), padding=False)
        with gr.Row(elem_classes=tiny):
            with gr.Column(min_width=_COLUMN):
                content = _picture("Image to translate", contents, "content")
            with gr.Column(min_width=_COLUMN, visible=offers.styled):
                styles, picks = _styles(offers, ways, references)
            with gr.Column(min_width=_COLUMN):
                button = gr.Button("Translate", variant="primary", elem_id="translate")
                result = gr.Image(
                    image, label="Translation", format="png", interactive=False, buttons=["download", "fullscreen"],
                    height=_HEIGHT, elem_id="result", elem_classes=["sharp"] if studio.side <= _SHARP else None,
                    alt_text="The translation",
                )
                said = gr.HTML(told, elem_id="said", padding=False)
        shown = gr.HTML(near, elem_id="nearest", elem_classes=tiny, padding=False)
        if offers.notes:
            gr.HTML("".join(f"<p class='note'>{html.escape(note)}</p>" for note in offers.notes), padding=False)
        how = dict(inputs=[content, *styles], outputs=[result, said, shown], concurrency_limit=None)
        button.click(page.draw, **how, api_name="draw", show_progress_on=result)
        for pick in picks:
            pick(page.draw, **how, api_visibility="private", trigger_mode="always_last", show_progress_on=result)
    return blocks


def _styles(offers: Offers, ways: Sequence[tuple[str, str]], references: Sequence[Path]) -> tuple[list[Any], list[Any]]:
    """Lay out the choice of a style; return its components, as `Page.draw` takes them, and what asks for a drawing."""
    chosen = ways[0][1] if ways else None
    way = gr.Radio(ways, value=chosen, label="Style by", visible=len(ways) > 1, elem_id="way")
    groups, picks = {}, []
    with gr.Column(visible=chosen == "reference") as groups["reference"]:
        with gr.Row(elem_classes="pair"):
            with gr.Column(min_width=_NARROW):
                first = _picture("Reference", references, "first", _HEIGHT // 2)
            with gr.Column(min_width=_NARROW):
                second = _picture("Another", references, "second", _HEIGHT // 2, empty=True)
        share = gr.Slider(0, 1, 0, step=0.05, label="Blend of the two", elem_id="share")
        picks.append(share.release)
    numbers = []
    for key, means in (("domain", offers.pseudo_domains), ("class", offers.classes)):
        with gr.Column(visible=False) as groups[key]:
            number, pick = _means(means, key)
            numbers.append(number)
            picks += [pick]
    with gr.Column(visible=False) as groups["random"]:
        of = [("any", None), *((name, index) for index, name in enumerate(offers.sampled_of))]
        sampled_of = gr.Dropdown(of, value=None, label="Of class", visible=len(of) > 1)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=_LARGEST_SEED, elem_id="seed")
        another = gr.Button("Another style", elem_id="another")
        # Drawn in the browser: chance is a visitor's own.
        picks.append(another.click(None, None, seed, js=f"() => Math.floor(Math.random() * {_LARGEST_SEED})").then)

    def show(now: str) -> list[Any]:
        return [gr.update(visible=now == key) for key in groups]

    way.change(show, way, list(groups.values()), queue=False, show_progress="hidden", api_visibility="private")
    picks.append(way.input)
    return [way, first, second, share, *numbers, seed, sampled_of], picks


def _means(means: Sequence[Mean], key: str) -> tuple[gr.Number, Any]:
    """Lay mean styles out to be clicked; return the number of the one that is chosen, and what follows a click."""
    number = gr.Number(0, precision=0, visible="hidden")
    gallery = gr.Gallery(
        [(mean.picture, mean.called) for mean in means], columns=4, height="auto", object_fit="contain", format="png",
        allow_preview=False, interactive=False, buttons=[], show_label=False, elem_id=key, elem_classes=["sharp"],
        selected_index=0 if means else None,
    )

    def choose(event: gr.SelectData) -> int:
        return event.index

    chosen = gallery.select(choose, None, number, queue=False, show_progress="hidden", api_visibility="private")
    return number, chosen.then


def _picture(
    called: str, examples: Sequence[Path], name: str, height: int = _HEIGHT, *, empty: bool = False
) -> gr.Image:
    """Lay out a place to hand an image in, and examples, of which the first is there already unless it is `empty`."""
    picture = _Unopened(
        str(examples[0]) if examples and not empty else None, label=called, type="filepath", image_mode=None,
        sources=["upload"], buttons=[], height=height, min_width=_NARROW, elem_id=name,
        placeholder="Drop an image",
    )
    if examples:
        paths, told = [[str(path)] for path in examples], "or take one"
        gr.Examples(paths, picture, label=told, api_visibility="private", elem_id=f"{name}_examples")
    return picture


def _unopened() -> type[gr.Image]:
    """Return a kind of `gr.Image` that hands a file over as it was uploaded: what is in it, `Studio` finds out.

    Gradio would open it whatever its size, and fetch it from wherever a request says that it lies. It is a class, for
    Gradio makes a component anew when an example is taken; and made without Gradio's metaclass, which writes a file
    beside this one.
    """

    async def keep_uploaded(self, name: str | Path | None) -> str | None:
        if "://" in str(name):
            raise gr.Error(f"{name}: images are handed in as files", print_exception=False)
        return await gr.Image.async_move_resource_to_block_cache(self, name)

    def preprocess(self, payload):
        return None if payload is None or payload.path is None else Path(payload.path)

    own = {"async_move_resource_to_block_cache": keep_uploaded, "preprocess": preprocess}
    return abc.ABCMeta.__new__(type(gr.Image), "Image", (gr.Image,), {"__module__": gr.Image.__module__, **own})


_Unopened = _unopened()


def _kept(images: Sequence[np.ndarray], folder: Path, name: str) -> list[Path]:
    """Write example images uint8 or uint16 [H, W, C] as files; return where they are."""
    paths = [folder / f"{name}_{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        encode.write(path, image)
    return paths


def _ways(offers: Offers) -> list[tuple[str, str]]:
    """Return the ways to choose a style that there are: what each is called, and what `Page.draw` knows it by."""
    there = [
        ("images", "reference", offers.styled),
        ("pseudo domain", "domain", offers.pseudo_domains),
        ("class", "class", offers.classes),
        ("chance", "random", offers.sampled),
    ]
    return [(called, way) for called, way, offered in there if offered]


def header_html(offers: Offers) -> str:
    """Return the head of the page."""
    return f"<h1>{html.escape(offers.title)}</h1><p class='about'>{html.escape(offers.told)}</p>"


def nearest_html(found: Sequence[Near]) -> str:
    """Return a strip of the images nearest in style, "" where there are none."""
    if not found:
        return ""
    figures = "".join(
        f"<figure><img src='{near.picture}' alt='{html.escape(near.called)}'>"
        f"<figcaption>{near.cosine:.3f}<br>{html.escape(near.called)}</figcaption></figure>"
        for near in found
    )
    return f"<h2>Nearest in style</h2><div class='near'>{figures}</div>"


def _told(text: str, *, refused: bool = False) -> str:
    role, kind = ("alert", "refused") if refused else ("status", "told")
    return f"<p role='{role}' class='{kind}'>{html.escape(text)}</p>"
