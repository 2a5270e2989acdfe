"""`uit translate`: redraw images in the style of references, of a pseudo domain, or between two references."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from uit_jax import inference, pictures, styles
from uit_jax.arguments import positive
from uit_jax.data import decoding
from uit_jax.errors import UserError
from uit_jax.styles import Look, Trained

_GRID_ROWS = 8
_DECODERS = 4
_ORIENTATION = 0x0112
# Pillow reads more formats than it should be asked to write: images of other formats become PNG.
_WRITTEN = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    sources = find_images(args.content)
    references = [find_images(path) for path in args.reference or ()]
    ends = _split_pair(args.interpolate) if args.interpolate else ()
    targets = place(sources, Path(args.content), Path(args.out))
    grid = _grid_path(args.grid, Path(args.out), targets)
    for folder in {path.parent for path in (*targets, *filter(None, [grid]))}:
        check_writable(folder)
    run = styles.open_run(args.workdir, args.checkpoint)
    if ends:
        look = styles.interpolation(run, ends, args.frames)
    elif args.domain is not None:
        look = styles.domain_look(run, args.domain, references=args.references, limit=args.domain_images)
    else:
        look = styles.reference_look(run, [path for paths in references for path in paths])
    rows, done = [], 0
    with tqdm(total=len(sources), unit="image", disable=None) as bar:
        for index, image, drawn in translations(
            run, look, sources, keep=args.size == "keep", batch_size=args.batch_size
        ):
            bar.update()
            if drawn is None:
                bar.write(f"skipped {sources[index]}: {image}", file=sys.stderr)
                continue
            pictures.save(targets[index], np.concatenate(drawn, axis=1))
            done += 1
            if len(rows) < _GRID_ROWS:
                rows.append((image, drawn, sources[index].name))
    if not done:
        raise UserError(f"--content={args.content}: none of its {len(sources)} images can be read")
    if grid is not None:
        pictures.save(grid, draw_grid(look, rows))
    skipped = f", skipped {len(sources) - done} unreadable" if done < len(sources) else ""
    print(f"translated {done} of {len(sources)} images to {args.out}{skipped}")
    return 0


def find_images(path: str | os.PathLike) -> list[Path]:
    """Return a file itself, or a folder's images, those of its subfolders included, sorted.

    Raises:
      UserError: there is no such path, or no image in it.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    found = (p for p in path.rglob("*") if p.suffix.lower() in decoding.SUFFIXES and p.is_file())
    images = sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(path).parts))
    if not images:
        raise UserError(f"{path}: no images in this folder (looked for {' '.join(sorted(decoding.SUFFIXES))})")
    return images


def place(sources: Sequence[Path], content: Path, out: Path) -> list[Path]:
    """Return where each translation goes: the same name below `out`, or `out` itself for one image into a file.

    Raises:
      UserError: `out` is a file where a folder is needed, or lies where the sources are.
    """
    if content.is_file() and out.suffix.lower() in _WRITTEN and not out.is_dir():
        targets = [out]
    else:
        if out.exists() and not out.is_dir():
            raise UserError(f"--out={out} is a file; give a folder" + ("" if content.is_dir() else ", or a name.png"))
        root = content if content.is_dir() else content.parent
        relative = [source.relative_to(root) for source in sources]
        targets = [out / (p if p.suffix.lower() in _WRITTEN else p.with_name(p.name + ".png")) for p in relative]
    taken = content.resolve()
    if taken in (out.resolve(), *out.resolve().parents) or any(path.resolve() == taken for path in targets):
        raise UserError(f"--out={out} lies where the images to translate are: name another place")
    return targets


def check_writable(folder: Path) -> None:
    """Make sure, without making anything, that a folder can be made and written to. Raises UserError."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"{folder} cannot be made: {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"nothing can be written to {existing}: name another --out or --grid")


def translations(
    run: Trained, look: Look, sources: Sequence[Path], *, keep: bool = False, batch_size: int = 8
) -> Iterator[tuple[int, Any, list[np.ndarray] | None]]:
    """Translate image files to every style of `look`, those of one size together.

    Args:
      keep: at the images' own sizes (padded by reflection to `method.multiple`, and cropped), not at the model's.
      batch_size: images drawn at once at the model's size; of larger images fewer.

    Yields:
      (index of the file, its image uint8 [H, W, C], its translations), or (index, reason, None) if it is unreadable.
    """
    model_size, channels = run.config.data.image_size, run.config.data.channels
    groups = {(model_size, model_size): range(len(sources))}
    if keep:
        groups, bad = _by_size(sources, run.method.multiple)
        yield from ((index, reason, None) for index, reason in bad.items())

    def decode(index):
        try:
            return decoding.decode(
                sources[index].read_bytes(), size=None if keep else model_size, channels=channels
            ), None
        except (decoding.Unreadable, OSError) as error:
            return None, error

    with ThreadPoolExecutor(_DECODERS) as pool:
        for size, members in groups.items():
            together = max(1, min(batch_size * model_size**2 // (size[0] * size[1]), len(members)))
            for start in range(0, len(members), together):
                chunk = members[start : start + together]
                images = {}
                for index, (image, error) in zip(chunk, pool.map(decode, chunk), strict=True):
                    if error is None:
                        images[index] = image
                    else:
                        yield index, error, None
                if images:
                    drawn = _draw(run, look.codes, [_pad(image, size) for image in images.values()], together)
                    for (index, image), frames in zip(images.items(), drawn, strict=True):
                        yield index, image, [frame[: image.shape[0], : image.shape[1]] for frame in frames]


def draw_grid(look: Look, rows: Sequence[tuple[np.ndarray, list[np.ndarray], str]]) -> np.ndarray:
    """Draw contents x styles with their captions: uint8 [H, W, 3]; `rows` are (content, translations, name)."""
    contents, drawn, names = zip(*rows, strict=True)
    return pictures.reference_grid(
        contents, look.images, drawn, title=look.title, row_labels=names, column_labels=look.labels
    )


def _draw(run: Trained, codes: np.ndarray, images: list[np.ndarray], together: int) -> np.ndarray:
    """Translate up to `together` images of one size to all codes [n, D]: uint8 [m, n, H, W, C]."""
    # Always as many pairs: fewer in the last batch would be another program to compile.
    return inference.redraw_all(
        run.method, run.variables, np.stack(images), codes, batch_size=max(1, min(together * len(codes), 32))
    )


def _by_size(sources: Sequence[Path], multiple: int) -> tuple[dict[tuple[int, int], list[int]], dict[int, str]]:
    """Group images by the padded height and width they are drawn at, and name those whose headers are unreadable."""
    groups, bad = {}, {}
    # Reflecting at the narrowest layer takes more than one pixel there.
    least = 4 * multiple
    for index, path in enumerate(sources):
        try:
            with Image.open(path) as image:
                width, height = image.size
                if image.getexif().get(_ORIENTATION, 1) >= 5:
                    width, height = height, width
        # Pillow's parsers raise nearly any type on corrupt bytes.
        except Exception as error:
            bad[index] = str(error)
            continue
        size = tuple(max(least, -(-side // multiple) * multiple) for side in (height, width))
        groups.setdefault(size, []).append(index)
    return groups, bad


def _pad(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Continue an image [H, W, C] below and to the right by its reflection."""
    return np.pad(image, ((0, size[0] - image.shape[0]), (0, size[1] - image.shape[1]), (0, 0)), "reflect")


def _split_pair(text: str) -> list[Path]:
    """Split A,B into two image files, of which either may have a comma in its name."""
    cuts = [i for i, letter in enumerate(text) if letter == ","]
    for cut in cuts:
        pair = [Path(text[:cut]), Path(text[cut + 1 :])]
        if all(path.is_file() for path in pair):
            return pair
    if len(cuts) == 1:
        missing = next(part for part in text.split(",") if not Path(part).is_file())
        raise UserError(f"--interpolate={text}: there is no file {missing!r}")
    raise UserError(f"--interpolate={text}: give two image files with a comma between them")


def _grid_path(grid: str | None, out: Path, targets: Sequence[Path]) -> Path | None:
    """Return where the labelled picture goes; one image written to a named file has none unless asked for."""
    if grid is None and list(targets) == [out]:
        return None
    path = out / "grid.png" if grid is None else Path(grid)
    if path in targets:
        raise UserError(f"{path} is the place of a translation and of the grid picture: name another with --grid=PATH")
    if path.suffix.lower() not in _WRITTEN or path.is_dir():
        raise UserError(f"--grid={path}: give the name of a picture, such as {path}.png")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uit translate", description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="where `uit train` put the run")
    parser.add_argument("--checkpoint", default="latest", help="latest, best or a step (default: latest)")
    parser.add_argument("--content", required=True, help="the image or folder of images to redraw")
    style = parser.add_mutually_exclusive_group(required=True)
    style.add_argument("--reference", action="append", help="an image, or a folder for its mean style; may be repeated")
    style.add_argument("--domain", type=int, help="a pseudo domain's number, for its mean style")
    style.add_argument("--interpolate", metavar="A,B", help="two images; draws a strip from one's style to the other's")
    parser.add_argument("--references", help="a folder whose images stand for the pseudo domains (default: training's)")
    parser.add_argument("--domain_images", type=positive, default=5000, help="at most so many of them are read")
    parser.add_argument("--frames", type=positive, default=8, help="images of an interpolation (default: 8)")
    parser.add_argument("--size", choices=("resize", "keep"), default="resize", help="to the model's size, or kept")
    parser.add_argument("--out", required=True, help="a folder, or for one image also a file name")
    parser.add_argument("--grid", help="where the labelled grid picture goes (default: OUT/grid.png)")
    parser.add_argument("--batch_size", type=positive, default=8, help="images at once (default: 8)")
    return parser
