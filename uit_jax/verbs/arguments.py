"""Arguments that verbs share: their types, where results go, and the run that is asked."""

import argparse
from collections.abc import Callable
from pathlib import Path

from uit_jax.errors import UserError
from uit_jax.files import check_writable
from uit_jax.images import encode
from uit_jax.method import DIRECTIONS
from uit_jax.paths import PathLike, as_path


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def at_most(highest: int) -> Callable[[str], int]:
    """Return what reads a whole number of 1 to `highest`."""

    def read(text: str) -> int:
        if (number := positive(text)) > highest:
            raise argparse.ArgumentTypeError(f"{text} must be {highest} at most")
        return number

    return read


def natural(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def parser_of_run(verb: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of a verb that asks a trained run, with the arguments --workdir and --checkpoint."""
    parser = argparse.ArgumentParser(
        prog=f"uit {verb}",
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, help="where `uit train` put the run")
    parser.add_argument("--checkpoint", default="latest", help="latest, best or a step (default: latest)")
    add_limit(parser, None, "the run's own")
    return parser


def add_direction(parser: argparse.ArgumentParser) -> None:
    """Add --direction, as `runs.load` has it."""
    parser.add_argument(
        "--direction",
        choices=DIRECTIONS,
        help="of two domains, as config.data.direction names them (default: the run's own); the other one is there"
        " where a method learns both",
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add --overwrite, without which `files.check_places` lets no file be replaced."""
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")


def add_limit(parser: argparse.ArgumentParser, default: int | None, told: str) -> None:
    """Add the argument --data.max_pixels: how large the image files may be that are read."""
    parser.add_argument(
        "--data.max_pixels",
        dest="data_max_pixels",
        metavar="N",
        type=positive,
        default=default,
        help=f"pixels of an image file; a larger one is not read (default: {told})",
    )


def picture_path(option: str, name: PathLike) -> Path:
    """Return the path of a picture to write. Raises UserError where its name is that of none."""
    path = as_path(name)
    if not encode.holds(path.suffix, 3, 8) or path.suffix.lower() == ".npy" or path.is_dir():
        raise UserError(f"{option}={path}: give the name of a picture, such as {path.with_suffix('.png')}")
    check_writable(path.parent, option)
    return path


def json_path(option: str, name: PathLike) -> Path:
    """Return the path of a JSON file to write. Raises UserError where it is a folder's, or nothing can be written."""
    path = as_path(name)
    if path.is_dir():
        raise UserError(f"{option}={path} is a folder; give the name of a .json file")
    check_writable(path.parent, option)
    return path


def suffixed_path(option: str, name: PathLike, suffix: str) -> Path:
    """Return the path of a file to write whose name must end so. Raises UserError."""
    path = as_path(name)
    if path.suffix != suffix or path.is_dir():
        raise UserError(f"{option}={path}: give the name of a file that ends in {suffix}")
    check_writable(path.parent, option)
    return path
