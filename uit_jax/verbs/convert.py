"""`uit convert`: make a run of published checkpoints, or published checkpoints of a run."""

import argparse

from uit_jax import config as config_module
from uit_jax import convert, tensors
from uit_jax.errors import UserError, shown
from uit_jax.files import check_places
from uit_jax.paths import as_path
from uit_jax.training import conversion
from uit_jax.training.conversion import Imported
from uit_jax.verbs.arguments import add_overwrite

_WAYS = "give FILE ... and --workdir to read published files, --workdir and --out to write some, or one FILE and --out"


def main(argv: list[str]) -> int:
    rest, overrides = config_module.split(argv)
    args = _parser().parse_args(rest)
    reads = bool(args.files and args.workdir and not args.out)
    if not reads and (overrides or args.config or args.method):
        raise UserError("--config and --method are for published files that are read into a --workdir: leave them out")
    if reads:
        print(_told(conversion.import_run(args.files, args.workdir, _recipe(args), overrides), args.workdir))
    elif args.workdir and args.out and not args.files:
        written = conversion.export_run(args.workdir, args.out, args.checkpoint, overwrite=args.overwrite)
        print(f"written: {', '.join(map(shown, written))}")
    elif args.out and len(args.files) == 1 and not args.workdir:
        path, out = as_path(args.files[0]), as_path(args.out)
        check_places({"--out": out}, [path], overwrite=args.overwrite)
        tensors.write(out, tensors.read(path))
        print(f"written: {shown(out)}")
    else:
        raise UserError(_WAYS)
    return 0


def _recipe(args: argparse.Namespace) -> str:
    """Return the config that is named, by its own name or by its method's. Raises UserError."""
    if bool(args.config) == bool(args.method):
        known = "|".join(convert.PAPERS)
        raise UserError(f"say whose weights these are, by --config=configs/NAME.py or --method={known}")
    return args.config or convert.PAPERS[args.method].recipe


def _told(made: Imported, workdir: str) -> str:
    """Say what a run was made of, and what it lacks."""
    lines = [f"{shown(workdir)} holds {', '.join(made.networks)}, at step 0: `uit translate` draws by it"]
    if made.anew:
        lines.append(f"not there: {', '.join(made.anew)}; where `uit train` goes on, these begin at random")
    if not made.config.data.source:
        lines.append("no images are named: `uit train` takes --config.data.source=PATH, `uit evaluate` --source=PATH")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uit convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="""\
  uit convert latest_net_G.pth --method=cut --workdir=DIR      published files, of one model, into a new run
  uit convert --workdir=RUN --out=DIR                          a run's networks, in files of the published names
  uit convert vgg16.pth --out=vgg16.npz                        the same tensors in another kind of file""",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"{', '.join(convert.SUFFIXES)}; nothing in it is run")
    parser.add_argument("--workdir", help="the run that is made, or whose networks are written")
    parser.add_argument("--config", help="configs/NAME.py[:preset] of the model; any setting: --config.KEY=VALUE")
    parser.add_argument("--method", choices=tuple(convert.PAPERS), help="in its place: the method, as published")
    parser.add_argument("--out", help="a folder, or one file of these kinds for all networks")
    parser.add_argument("--checkpoint", default="latest", help="latest, best or a step (default: latest)")
    add_overwrite(parser)
    return parser
