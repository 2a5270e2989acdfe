"""`uit translate`: translate images or a video, in a style where the method knows any.

A method with styles takes that of references, of a pseudo domain or a class, or steps from one style to another, of
which one may be the content's own; or it samples some. One without (CUT and its kin) translates what it is given, and
that at its own size, in tiles where it is large. Of a video the pictures are kept, with their size and rate, and not
the sound.
"""

import argparse
import contextlib
import errno
import re
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from tqdm import tqdm

from uit_jax import runs
from uit_jax.errors import UserError, shown
from uit_jax.files import check_places, check_writable
from uit_jax.images import encode, pictures, video
from uit_jax.inference import batched, inputs
from uit_jax.inference import files as drawing
from uit_jax.inference.files import Job
from uit_jax.inference.styles import DOMAIN_IMAGES
from uit_jax.listing import ARRAYS, PICTURES, check_readable, find_images
from uit_jax.method import load_size, phases
from uit_jax.paths import as_path
from uit_jax.runs import Trained
from uit_jax.verbs.arguments import add_direction, add_overwrite, natural, parser_of_run, picture_path, positive

_GRID_ROWS = 8
_OWN = "own"
_FAR = 2  # From how many times the model's size on a model is told to be far from what it learnt.
# A file that cannot be written for the sake of its own name: the others may be.
_OF_THE_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    films = args.video is not None or as_path(args.content).suffix.lower() in video.SUFFIXES
    return _translate_film(args) if films else _translate_images(args)


def _translate_images(args: argparse.Namespace) -> int:
    """Translate image files each to its place, and render the grid."""
    if args.out is None:
        raise UserError("--out is missing: a folder, or for one image also a file name")
    given = inputs.gather(args.content, "content")
    form = runs.drawn_form(args.workdir, args.direction)
    targets = place(given.items, as_path(args.content), as_path(args.out), *form)
    grid = _grid_path(args.grid, as_path(args.out), targets)
    names = [given.told(index) for index in range(len(targets))]
    _check(args, {**dict(zip(names, targets, strict=True)), **({} if grid is None else {"--grid": grid})}, given.items)
    run = runs.load(args.workdir, args.checkpoint, direction=args.direction, data_max_pixels=args.data_max_pixels)
    job, total = _job(run, args), len(given.items)
    rows, done, unwritten, beside, side = [], 0, 0, "", 0
    with tqdm(total=total, unit="image", disable=None) as bar:
        for each in drawing.translations(job, given, progress=_told(bar)):
            bar.update()
            if each.reason is not None:
                bar.write(shown(f"skipped {given.told(each.index)}: {each.reason}"), file=sys.stderr)
                continue
            try:
                encode.write(targets[each.index], np.concatenate(each.frames, axis=1))
            except UserError as error:
                if getattr(error.__cause__, "errno", None) not in _OF_THE_NAME:
                    raise
                unwritten += 1
                bar.write(shown(f"not written: {error}"), file=sys.stderr)
                continue
            done += 1
            side = max(side, *each.image.shape[:2])
            if len(rows) < _GRID_ROWS:
                small = [pictures.thumbnail(frame) for frame in each.frames]
                rows.append((pictures.thumbnail(each.image), small, given.called(each.index)))
    if grid is not None and rows:
        pictures.save(grid, drawing.render(job.look, rows, title=run.title))
        beside = f"; side by side in {shown(grid)}"
    unreadable = total - done - unwritten
    but = f", skipped {unreadable} unreadable" * bool(unreadable) + f", could not write {unwritten}" * bool(unwritten)
    print(f"translated {done} of {total} images to {shown(args.out)}{beside}{but}")
    _tell_far(args, job, side)
    return 1 if unwritten else 0


def _translate_film(args: argparse.Namespace) -> int:
    """Translate a video, or the images of a folder in the order of their numbers, to a video."""
    content, rate, target = as_path(args.content), args.fps, _place_film(args)
    sources = sorted(find_images(content), key=_numbered) if args.video else None
    total = len(sources or ())
    if sources is None:
        rate, total = video.facts(content)
    _check(args, {"the video": target}, [content] if sources is None else sources)
    run = runs.load(args.workdir, args.checkpoint, direction=args.direction, data_max_pixels=args.data_max_pixels)
    job, count, side = _job(run, args, keep=True), 0, 0
    with tqdm(total=total or None, unit="frame", disable=None) as bar:

        def skipped(frame: Path | np.ndarray, error: Exception) -> None:
            if sources is None:
                raise UserError(f"{content} {error}") from error
            bar.write(shown(f"skipped {frame}: {error}"), file=sys.stderr)

        frames = video.frames(content, run.form["max_pixels"]) if sources is None else (path for path in sources)
        with video.Writer(target, rate) as writer, contextlib.closing(frames):
            for drawn in drawing.film(job, frames, skipped=skipped, progress=_told(bar)):
                writer.write(pictures.as_rgb(np.concatenate(drawn, axis=1)))
                bar.update()
                count, side = count + 1, max(side, *drawn[0].shape[:2])
            if not count:
                raise UserError(f"--content={content}: none of its {total} images can be read")
    print(f"translated {count} frames to {shown(target)}, {float(rate):g} a second")
    _tell_far(args, job, side)
    return 0


def _tell_far(args: argparse.Namespace, job: Job, side: int) -> None:
    """Say that, unasked, images were drawn far larger than they were seen in training, where they were resized."""
    unasked = job.keep and args.size is None
    if unasked and side >= _FAR * job.side and load_size(job.method, job.method.phase(0)):
        far = f"drawn at their own size, up to {side} px, by a model of {job.side}: what it learnt may not hold there;"
        print(f"{far} --size=resize draws what its training's pictures and scores show", file=sys.stderr)


def _check(args: argparse.Namespace, targets: dict[str, Path], contents: Sequence[Path]) -> None:
    """Make sure that all can be written, and that nothing that is read, or there already, is lost. Raises UserError."""
    named, styles = [*(args.reference or ()), *filter(None, [args.references])], []
    # What is wrong with them is told where they are read.
    with contextlib.suppress(UserError):
        named += filter(None, _split_pair(args.interpolate or ""))
    for each in named:
        with contextlib.suppress(UserError):
            styles += find_images(each)
    check_places(targets, [*contents, *styles], overwrite=args.overwrite)
    for folder in {path.parent for path in targets.values()}:
        check_writable(folder, "--out, --grid or --video")


def _job(run: Trained, args: argparse.Namespace, *, keep: bool | None = None) -> Job:
    """Gather what shall be drawn and how; `keep` is for where no size is asked for. Raises UserError."""
    if run.step and not any(phase.translates for phase in phases(run.method, run.step)):
        untrained = f"{args.workdir}: at step {run.step} the translator has not begun to learn, and draws noise"
        print(shown(untrained), file=sys.stderr)
    ends = args.interpolate
    if ends is not None and run.styled:
        ends = _split_pair(ends)
    places = dict(references=args.references, domain_images=args.domain_images)
    if args.frames is not None and args.interpolate is None:
        raise UserError(f"--frames={args.frames}: is for --interpolate=A,B; leave it out")
    several = dict(interpolate=ends, frames=args.frames or 8, styles=args.styles, seed=args.seed)
    look = run.look(args.reference, args.domain, of_class=args.of_class, **several, **places)
    return run.job(look, size=args.size, keep=keep, batch_size=args.batch_size, max_pixels=args.max_pixels)


def place(sources: Sequence[Path], content: Path, out: Path, channels: int = 3, depth: int = 8) -> list[Path]:
    """Return where each translation goes: the same name below `out`, or `out` itself for one image into a file.

    A name whose format cannot hold images of such channels and bits has another appended.

    Raises:
      UserError: `out` is a file where a folder is needed, cannot hold them, or lies where the sources are.
    """
    other = ".png" if channels in (1, 3) else ".tif"
    if content.is_file() and not out.is_dir() and _is_picture(out):
        if not encode.holds(out.suffix, channels, depth):
            kind = f"{channels} channel{'s' * (channels != 1)} of {depth} bits"
            raise UserError(f"--out={out}: {out.suffix} cannot hold {kind}; give {out.with_suffix(other)}")
        targets = [out]
    else:
        if out.exists() and not out.is_dir():
            raise UserError(f"--out={out} is a file; give a folder" + ("" if content.is_dir() else ", or a name.png"))
        if not out.exists() and out.suffix.lower() in PICTURES | ARRAYS | set(video.SUFFIXES):
            other_name = "a folder" if content.is_dir() else out.with_suffix(other)
            raise UserError(f"--out={out}: no {out.suffix} can be written of {content}; give {other_name}")
        root = content if content.is_dir() else content.parent
        relative = [source.relative_to(root) for source in sources]
        fits = [encode.holds(path.suffix, channels, depth) for path in relative]
        targets = [out / (p if fit else p.with_name(p.name + other)) for p, fit in zip(relative, fits, strict=True)]
    taken = content.resolve()
    if taken in (out.resolve(), *out.resolve().parents):
        raise UserError(f"--out={out} lies where the images to translate are: name another place")
    return targets


def _told(bar: tqdm) -> Callable[[int, int], None]:
    """Show beside a bar how far the tiles of one image are."""
    return lambda done, total: bar.set_postfix_str(f"tile {done} of {total}" if done < total else "")


def _numbered(path: Path) -> list[tuple[int, str]]:
    """Sort names by the numbers in them: frame 10 comes after frame 9."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _split_pair(text: str) -> list[Path | None]:
    """Split A,B into two image files, of which either may have a comma in its name; None stands for "own"."""
    cuts = [i for i, letter in enumerate(text) if letter == ","]
    for cut in cuts:
        pair = [None if part == _OWN else as_path(part) for part in (text[:cut], text[cut + 1 :])]
        if all(path is None or path.is_file() for path in pair):
            if pair == [None, None]:
                raise UserError(f"--interpolate={text}: one of the two ends is an image file")
            return pair
    if len(cuts) == 1:
        missing = next(part for part in text.split(",") if part != _OWN and not as_path(part).is_file())
        raise UserError(f"--interpolate={text}: there is no file {missing!r}")
    raise UserError(f"--interpolate={text}: give two image files, or {_OWN} and one, with a comma between them")


def _is_picture(path: Path) -> bool:
    return any(encode.holds(path.suffix, channels, 8) for channels in (1, 3))


def _grid_path(grid: str | None, out: Path, targets: Sequence[Path]) -> Path | None:
    """Return where the labelled picture goes; one image written to a named file has none unless asked for."""
    if grid is None and list(targets) == [out]:
        return None
    path = out / "grid.png" if grid is None else as_path(grid)
    if path in targets:
        raise UserError(f"{path} is the place of a translation and of the grid picture: name another with --grid=PATH")
    return picture_path("--out" if grid is None else "--grid", path)


def _place_film(args: argparse.Namespace) -> Path:
    """Return where the video goes: the file that is named, or the content's name in the folder that is.

    Raises:
      UserError: the arguments do not go together, or the name is not that of a video.
    """
    content, named = as_path(args.content), args.out if args.video is None else args.video
    check_readable(content)
    if args.video is not None and content.is_file():
        raise UserError(f"--video={args.video} is for a folder of frames; {content} is a file: name the place by --out")
    if args.video is not None and args.out is not None:
        raise UserError("--video and --out: a folder of frames becomes one video, or images; give one of the two")
    if named is None:
        raise UserError("--out is missing: a folder, or the name of a video")
    if args.grid is not None:
        raise UserError(f"--grid={args.grid}: a video has no grid; leave it out")
    path, key = as_path(named), "--out" if args.video is None else "--video"
    if args.video is None and path.suffix.lower() not in video.WRITTEN:
        if path.exists() and not path.is_dir():
            raise UserError(f"--out={path} is a file; give a folder, or a name.mp4")
        path = path / (content.name if content.suffix.lower() in video.WRITTEN else content.stem + ".mp4")
    if path.is_dir() or path.suffix.lower() not in video.WRITTEN:
        raise UserError(f"{key}={path}: give the name of a video ({' '.join(sorted(video.WRITTEN))})")
    return path


def _number(text: str) -> int:
    """Read the number of a domain; classes have names, and an option of their own."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; --class takes names") from None


def _rate(text: str) -> Fraction:
    """Read frames per second: 25, 29.97 or 30000/1001."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames per second, such as 25 or 30000/1001")
    return rate.limit_denominator(1001)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of_run("translate", __doc__)
    parser.add_argument("--content", required=True, help="the image, folder of images or video to translate")
    add_direction(parser)
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--reference", action="append", help="an image, or a folder for its mean style; may be repeated")
    style.add_argument(
        "--interpolate",
        metavar="A,B",
        help="two images; draws a strip from one's style to the other's. `own` in the place of one is the style of the"
        " content itself: own,B goes from every content's own style to B's (a file of that name is ./own)",
    )
    style.add_argument(
        "--styles", type=positive, metavar="N", help="so many sampled ones, side by side, the same for all images"
    )
    parser.add_argument(
        "--domain",
        type=_number,
        metavar="K",
        help="a domain's number, for its mean style; of methods whose styles are of classes, with --reference,"
        " --interpolate or --styles, whose style that is",
    )
    parser.add_argument(
        "--class", dest="of_class", metavar="NAME", help="a class of the images, by its name: as --domain by its number"
    )
    parser.add_argument("--seed", type=natural, help="of --styles: the first ones are the same for any N (default: 0)")
    parser.add_argument(
        "--references", help="a source whose images stand for the pseudo domains or classes (default: training's)"
    )
    told = "at most so many of them are read"
    parser.add_argument("--domain_images", type=positive, default=DOMAIN_IMAGES, help=told)
    parser.add_argument("--frames", type=positive, help="images of an interpolation (default: 8)")
    parser.add_argument(
        "--size",
        choices=("resize", "keep"),
        help="to the model's size, or kept (default: kept for videos and methods without styles, else resized)",
    )
    parser.add_argument("--out", help="a folder, or for one image or video also a file name")
    parser.add_argument("--grid", help="where the labelled grid picture goes (default: OUT/grid.png)")
    add_overwrite(parser)
    parser.add_argument("--video", metavar="OUT.mp4", help="make one video of the images of a folder, without sound")
    parser.add_argument("--fps", type=_rate, default=Fraction(25), help="frames per second of --video (default: 25)")
    parser.add_argument("--batch_size", type=positive, default=8, help="images at once (default: 8)")
    parser.add_argument(
        "--max_pixels",
        type=positive,
        help="larger images are drawn in tiles, in less memory and more time"
        f" (default: {batched.MAX_PIXELS}; no limit for methods that cannot)",
    )
    return parser
