"""`uit export`: write a model to a file that needs no uit_jax, or to a folder for a hub of models.

A file holds one function: the translation of images, in the style of a reference, of a code, of a pseudo domain, or of
what is named here and goes into the file; or what says of images which style or pseudo domain they are of. It is kept
if it does on real images what the model does.
"""

import argparse
import re

from uit_jax import exporting, runs
from uit_jax.errors import UserError, shown
from uit_jax.exporting import functions
from uit_jax.inference.styles import DOMAIN_IMAGES
from uit_jax.verbs.arguments import add_direction, add_overwrite, natural, parser_of_run, positive


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    _check_wanted(args)
    run = runs.load(args.workdir, args.checkpoint, direction=args.direction, data_max_pixels=args.data_max_pixels)
    given = (args.reference, args.of_class, args.domain, args.styles)
    look = None
    if any(each is not None for each in given):
        how = dict(of_class=args.of_class, styles=args.styles, seed=args.seed)
        places = dict(references=args.references, domain_images=args.domain_images or DOMAIN_IMAGES)
        look = run.look(args.reference, args.domain, **how, **places)
    domains = None
    if args.style == "domain":
        domains = run.domain_styles(args.references, limit=args.domain_images or DOMAIN_IMAGES)
    made = exporting.export(
        run,
        args.to,
        args.out,
        function=args.function,
        style=args.style,
        look=look,
        domains=domains,
        size=args.image_size,
        floats=args.floats,
        images=args.images,
        overwrite=args.overwrite,
    )
    for note in made.notes:
        print(note)
    print(f"written to {shown(made.path)}: {told(made)}")
    return 0


def _check_wanted(args: argparse.Namespace) -> None:
    """Refuse what would be read and change nothing. Raises UserError."""
    styles = ("style", "reference", "of_class", "domain", "styles")
    chosen = [name for name in styles if getattr(args, name) is not None]
    useless = []
    if args.to == exporting.HUB:
        useless = [*chosen, "seed", "references", "domain_images", "image_size", "floats", "images", "overwrite"]
        useless += ["function"] if args.function != "translate" else []
        why = "the folder holds the whole model"
    elif args.function != "translate":
        useless, why = ["image_size", "references", "domain_images"], f"--function={args.function} draws nothing"
    elif not {"of_class", "domain"} & set(chosen) and args.style != "domain":
        useless, why = ["references", "domain_images"], "it is for --style=domain, --domain and --class"
    if args.seed is not None and args.styles is None and "seed" not in useless:
        useless, why = [*useless, "seed"], "it is for --styles"
    for name in useless:
        if getattr(args, name) not in (None, False):
            raise UserError(f"--{'class' if name == 'of_class' else name}: {why}; leave it out")


def told(made: exporting.Exported) -> str:
    """Say what a file takes and gives, and how far it is off."""
    if made.function is None:
        return "read back bit for bit"
    function = made.function
    arrays = ", ".join(f"{each.name} {_shape(each)}" for each in function.inputs)
    size = sum(file.stat().st_size for file in [made.path, *made.path.rglob("*")] if file.is_file())
    output = f"{function.output.name} {_shape(function.output)}"
    return f"{arrays} to {output}, {size / 2**20:.1f} MiB; {made.difference.told()}"


def _shape(each: functions.Named) -> str:
    return f"{each.dtype} [{', '.join(map(str, each.shape))}]"


def _size(text: str) -> str | tuple[int, int]:
    """Read any, N or HEIGHTxWIDTH."""
    if text == "any":
        return text
    if not (match := re.fullmatch(r"(\d+)(?:x(\d+))?", text)):
        raise argparse.ArgumentTypeError(f"{text!r} is neither any, nor N, nor HEIGHTxWIDTH in pixels")
    return int(match[1]), int(match[2] or match[1])


def _parser() -> argparse.ArgumentParser:
    parser = parser_of_run("export", __doc__)
    parser.add_argument("--to", required=True, choices=tuple(exporting.FORMATS), help="the kind of file")
    parser.add_argument("--out", required=True, help="an .npz (stablehlo) or .onnx file, or a folder that is not there")
    add_direction(parser)
    parser.add_argument(
        "--function",
        choices=functions.FUNCTIONS,
        default="translate",
        help="translate (default); encode: to style codes; cluster: to probabilities; sample: seeds to style codes",
    )
    style = parser.add_mutually_exclusive_group()
    style.add_argument(
        "--style",
        choices=functions.STYLES,
        help="what is given with every image, where the method has styles: a reference (default), a style code, or the"
        " number of a pseudo domain, of which the file holds the mean style",
    )
    style.add_argument("--reference", action="append", help="put into the file: the style of an image, or a mean one")
    style.add_argument("--class", dest="of_class", metavar="NAME", help="put into the file: a class's mean style")
    parser.add_argument("--domain", type=int, help="put into the file: a pseudo domain's mean style")
    style.add_argument("--styles", type=positive, metavar="N", help="put into the file: N sampled styles, by number")
    parser.add_argument("--seed", type=natural, help="of --styles (default: 0)")
    parser.add_argument(
        "--references", help="a source whose images stand for the pseudo domains or classes (default: training's)"
    )
    parser.add_argument(
        "--domain_images", type=positive, help=f"at most so many of them are read (default: {DOMAIN_IMAGES})"
    )
    parser.add_argument(
        "--image_size",
        type=_size,
        metavar="any|N|HxW",
        help="of the images to translate (default: any; for ONNX the model's)",
    )
    parser.add_argument("--floats", action="store_true", help="images are float32 from -1 to 1, not whole numbers")
    parser.add_argument("--images", help="an image or a folder to try the file on (default: some of the run's own)")
    add_overwrite(parser)
    return parser
