"""`uit search`: the images whose style is most like a query's (Section 4.2 and figure 6 of arXiv:2105.03117).

The images of a source are encoded into style codes, and those of the largest cosine with a query's code are drawn
beside it. An image of the source that is the query itself is left out of its neighbours.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from uit_jax import __version__, data
from uit_jax import files as outputs
from uit_jax.data.sources.base import FileSource, Source
from uit_jax.errors import UserError
from uit_jax.images import pictures
from uit_jax.inference import batched as inference
from uit_jax.inference import styles
from uit_jax.inference.styles import Trained
from uit_jax.metrics import retrieval
from uit_jax.verbs.arguments import positive

PROTOCOL = "largest cosine of the style codes, by the weights kept for inference, images resized to the model's size"
_CHUNK = 256
_READERS = 4


class Gallery(NamedTuple):
    """The images that are searched: their numbers in a source int64 [n], and their style codes float32 [n, D].

    `unreadable` counts those that were to be searched and are not.
    """

    source: Source
    indices: np.ndarray
    codes: np.ndarray
    unreadable: int = 0

    def about(self, row: int) -> dict[str, str]:
        """Return what is known of an image, for JSON: its name, and its class where that is known."""
        index = int(self.indices[row])
        label = int(self.source.labels[index])
        return {"image": self.source.names[index], **({"class": self.source.classes[label]} if label >= 0 else {})}

    def image(self, row: int) -> np.ndarray:
        return self.source.image(int(self.indices[row]))


class Queries(NamedTuple):
    """What is searched for: names, images, style codes float32 [m, D], and which rows of the gallery each one is."""

    names: list[str]
    images: Sequence[np.ndarray]
    codes: np.ndarray
    itself: np.ndarray


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    picture = outputs.picture_path("--out", args.out)
    places = [picture] if args.json is None else [picture, outputs.json_path("--json", args.json)]
    paths = None if args.query is None else styles.find_images(args.query)
    for place in places:
        outputs.check_writable(place.parent, "--out or --json")
    run = styles.open_run(args.workdir, args.checkpoint)
    if not run.styled:
        raise UserError(f"--workdir={args.workdir}: the method of this run has no style codes to search by")
    source = open_searched(run, args.source)
    chosen = _spread(range(len(source)), args.images or len(source))
    _check_count(args.count, len(chosen) - (paths is None), source, beside=paths is None)
    asked = None if paths is None else styles.read_images(run, _spread(paths, args.queries), "query")
    gallery = encode(run, source, chosen)
    queries = from_gallery(gallery, args.queries) if asked is None else from_files(run, *asked, gallery)
    rows, cosines = search(queries, gallery, args.count)
    result = {**record(queries, gallery, rows, cosines), "step": run.step, "version": __version__}
    title = f"nearest in style of {len(gallery.codes)} images, step {run.step}"
    pictures.save(picture, draw(queries, gallery, result, rows, title=title))
    if args.json is not None:
        outputs.write_json(places[-1], result)
    print(text(result))
    if paths is not None and len(paths) > args.queries:
        print(f"\n{args.queries} of the {len(paths)} images of {args.query}, evenly spread; more by --queries")
    print("\nwritten to " + " and ".join(map(str, places)))
    return 0


def open_searched(run: Trained, spec: str | None = None) -> Source:
    """Open the images to search: the test split of a source where it has one, else all of it.

    Without a source, that is the run's test source, else its training source. Raises UserError.
    """
    wanted = run.config.data
    spec = spec or getattr(wanted, "test_source", "") or wanted.source
    split = "test" if "test" in data.splits(spec) else "train"
    return data.open_source(spec, split=split, size=wanted.image_size, seed=run.config.seed, **run.form)


def encode(run: Trained, source: Source, chosen: Sequence[int]) -> Gallery:
    """Encode images of a source; unreadable ones are named and left out. Raises UserError where none is left."""
    size = min(64, len(chosen))
    kept, codes, why = [], [], ""

    def read(index):
        try:
            return source.image(index), None
        except (data.Unreadable, UserError) as error:
            return None, error

    with ThreadPoolExecutor(_READERS) as pool, tqdm(total=len(chosen), unit="image", disable=None) as bar:
        for start in range(0, len(chosen), _CHUNK):
            chunk, images = chosen[start : start + _CHUNK], []
            for index, (image, error) in zip(chunk, pool.map(read, chunk), strict=True):
                if error is None:
                    kept.append(index)
                    images.append(image)
                else:
                    bar.write(f"skipped {source.names[index]}: {error}", file=sys.stderr)
                    why = why or f" ({source.names[index]}: {error})"
                bar.update()
            if images:
                codes.append(inference.read(run.method, "style", run.variables, np.stack(images), batch_size=size))
    if not kept:
        raise UserError(f"{source.spec}: none of its {len(chosen)} images can be read{why}")
    return Gallery(source, np.array(kept), np.concatenate(codes), len(chosen) - len(kept))


def from_files(run: Trained, paths: Sequence[Path], images: np.ndarray, gallery: Gallery) -> Queries:
    """Encode image files [m, S, S, C] as queries, and find each among the files searched, by whatever name."""
    codes = inference.read(run.method, "style", run.variables, images)
    itself = np.zeros((len(paths), len(gallery.codes)), bool)
    if isinstance(gallery.source, FileSource):
        searched = [_identity(gallery.source.names[index]) for index in gallery.indices]
        for row, path in enumerate(paths):
            own = _identity(path)
            itself[row] = [own is not None and each == own for each in searched]
    return Queries([str(path) for path in paths], images, codes, itself)


def from_gallery(gallery: Gallery, count: int) -> Queries:
    """Let `count` of the images that are searched, evenly spread, be the queries."""
    rows = _spread(range(len(gallery.codes)), count)
    itself = np.array(rows)[:, None] == np.arange(len(gallery.codes))
    names = [gallery.about(row)["image"] for row in rows]
    return Queries(names, [gallery.image(row) for row in rows], gallery.codes[rows], itself)


def search(queries: Queries, gallery: Gallery, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` nearest images of each query, rows of the gallery int64 [m, count], and their cosines.

    Raises:
      UserError: there are not so many.
    """
    others = (~queries.itself).sum(1).min()
    _check_count(count, others, gallery.source, beside=bool(queries.itself.any()))
    return retrieval.nearest(queries.codes, gallery.codes, count, barred=queries.itself)


def record(queries: Queries, gallery: Gallery, rows: np.ndarray, cosines: np.ndarray) -> dict[str, Any]:
    """Return what was found in a form for JSON."""
    found = []
    for name, itself, row, values in zip(queries.names, queries.itself, rows, cosines, strict=True):
        # What the source knows of the query, under the name it was asked for by.
        known = gallery.about(int(itself.argmax())) if itself.any() else {}
        near = [{**gallery.about(k), "cosine": round(float(v), 6)} for k, v in zip(row, values, strict=True)]
        found.append({**known, "image": name, "neighbours": near})
    return {
        "queries": found,
        "source": gallery.source.describe(),
        "images": len(gallery.codes),
        "unreadable_images": gallery.unreadable,
        "protocol": {"search": PROTOCOL},
    }


def draw(queries: Queries, gallery: Gallery, result: dict[str, Any], rows: np.ndarray, *, title: str) -> np.ndarray:
    """Draw a row for each query: itself and its neighbours with cosine and class or name: uint8 [H, W, 3]."""
    cells = [[image, *map(gallery.image, near)] for image, near in zip(queries.images, rows, strict=True)]
    captions = [
        ["query\n" + _told(query), *(f"{each['cosine']:.3f}\n{_told(each)}" for each in query["neighbours"])]
        for query in result["queries"]
    ]
    return pictures.table(cells, title=title, captions=captions, lead=True)


def text(result: dict[str, Any]) -> str:
    """Lay what was found out for a terminal."""
    lines = [result["source"]]
    width = max((len(near.get("class", "")) for query in result["queries"] for near in query["neighbours"]), default=0)
    for query in result["queries"]:
        lines += ["", query["image"] + (f" ({query['class']})" if "class" in query else "")]
        for near in query["neighbours"]:
            known = f"{near.get('class', ''):<{width}}  " if width else ""
            lines.append(f"  {near['cosine']:7.4f}  {known}{near['image']}")
    return "\n".join(lines)


def _told(image: dict[str, Any]) -> str:
    """Name an image in a caption: by its class where that is known, else by its file's name."""
    return image.get("class") or Path(image["image"]).name


def _check_count(count: int, there: int, source: Source, *, beside: bool) -> None:
    if count > there:
        images = "other images" if beside else "images"
        raise UserError(f"--count={count} is more than the {there} {images} of {source.spec} that are searched")


def _identity(path: str | os.PathLike) -> tuple[int, int] | None:
    """Return what tells a file apart under all its names; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _spread(items: Sequence, count: int) -> list:
    """Return at most `count` of some items, evenly spread."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uit search", description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="where `uit train` put the run")
    parser.add_argument("--checkpoint", default="latest", help="latest, best or a step (default: latest)")
    parser.add_argument("--query", help="an image or a folder of images (default: some of the source's own)")
    parser.add_argument("--queries", type=positive, default=8, help="at most so many, evenly spread (default: 8)")
    parser.add_argument(
        "--source",
        help="what to search, as in config.data.source; of one with a test split that (default: the run's test source,"
        " else its training source)",
    )
    parser.add_argument("--count", type=positive, default=8, help="neighbours of each query (default: 8)")
    parser.add_argument("--images", type=positive, help="search at most so many images of the source, evenly spread")
    parser.add_argument("--out", default="search.png", help="the picture to write (default: search.png)")
    parser.add_argument("--json", help="a JSON file to write beside it")
    return parser
