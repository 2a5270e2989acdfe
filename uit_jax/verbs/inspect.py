"""`uit inspect`: what a patchwise method has learnt to find alike (figure 7 of arXiv:2007.15651).

For points of a translation, a map over the input shows how similar its patches are to the patch there: the cosine of
their codes, and a ring around the most similar. (The loss compares exponentials of the cosine over the temperature; in
a model that has learnt its task little else is left of these than that one patch.) Beside them, the first three
principal components of the codes of both images are colours: what is alike to the network has one colour.
"""

import argparse
import re

from uit_jax import runs
from uit_jax.errors import UserError, shown
from uit_jax.files import check_places
from uit_jax.images import pictures
from uit_jax.paths import as_path
from uit_jax.verbs.arguments import add_overwrite, natural, parser_of_run, picture_path, positive


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    content = as_path(args.content)
    if not content.is_file():
        why = "give one image, not a folder" if content.is_dir() else "no such file"
        raise UserError(f"--content={content}: {why}")
    out = picture_path("--out", args.out)
    check_places({"--out": out}, [content], overwrite=args.overwrite)
    run = runs.load(args.workdir, args.checkpoint, data_max_pixels=args.data_max_pixels)
    found = run.inspect(content, args.points, args.layer, longest=args.longest)
    title = f"{shown(content.name)}, {found.told()}, step {run.step}"
    pictures.save(out, found.render(title=title))
    print(f"written to {shown(out)}: {title}")
    return 0


def _points(text: str) -> list[tuple[float, float]]:
    number = r"\s*(\d+(?:\.\d+)?)\s*"
    found = [re.fullmatch(f"{number},{number}", part) for part in text.strip(";").split(";")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of points; write them as 'x,y;x,y', in pixels")
    return [(float(match[1]), float(match[2])) for match in found]


def _parser() -> argparse.ArgumentParser:
    parser = parser_of_run("inspect", __doc__)
    parser.add_argument("--content", required=True, help="the image to translate and inspect")
    parser.add_argument("--points", type=_points, metavar="X,Y;X,Y", help="pixels of the image (default: five, spread)")
    parser.add_argument("--layer", type=natural, help="whose codes to compare (default: the last there is)")
    parser.add_argument("--longest", type=positive, default=512, help="shrink a longer side to so many pixels (512)")
    parser.add_argument("--out", required=True, help="the picture to write")
    add_overwrite(parser)
    return parser
