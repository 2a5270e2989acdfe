"""Python files that make a config: where they are, and what they say."""

import importlib.util
import traceback
from pathlib import Path

from ml_collections import ConfigDict, FrozenConfigDict

from uit_jax.errors import UserError
from uit_jax.paths import as_path


def read(spec: str) -> ConfigDict:
    """Return what `path/of/config.py[:preset]` says, not checked yet. Raises UserError."""
    name, _, chosen = spec.partition(":")
    if chosen.startswith("//"):
        raise UserError(f"--config={spec}: a config is a Python file on this machine")
    path = find(name)
    module_spec = importlib.util.spec_from_file_location(f"uit_config_{path.stem}", path)
    if module_spec is None:
        raise UserError(f"--config={name}: is no Python file with a get_config(preset), as configs/tunit.py is")
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise UserError(f"{path} has no get_config(preset), as configs/tunit.py has")
        config = module.get_config(chosen)
    except UserError:
        raise
    # It is the user's own code.
    except (Exception, SystemExit) as error:
        raise UserError(f"{path}{_line(error, path)}: {_told(error)}") from error
    made = isinstance(config, ConfigDict) and not isinstance(config, FrozenConfigDict)
    if not made or not isinstance(config.get("method"), ConfigDict) or "name" not in config.method:
        raise UserError(f"{path}: get_config returns {type(config).__name__}, not what config.defaults(METHOD) gives")
    return config.lock()


def _line(error: BaseException, path: Path) -> str:
    """Say which line of a file an error comes from, "" where it is none of its."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
    return f", line {own[-1]}" if own else ""


def _told(error: BaseException) -> str:
    """Say in one line what went wrong in code of the user's."""
    if isinstance(error, SystemExit):
        return "it ends the program instead of returning a config"
    return " ".join(str(error).split()) or type(error).__name__


def find(name: str) -> Path:
    """Find a config file: as given, else among those shipped beside the package or, when installed, inside it.

    Raises UserError.
    """
    if Path(name).is_dir():
        raise UserError(f"--config={name}: is a folder; name a Python file, such as configs/tunit.py")
    package = Path(__file__).resolve().parent
    shipped = Path("configs") / Path(name).name
    for path in (as_path(name), package.parent / shipped, package / shipped):
        if path.is_file():
            return path
    known = sorted({f"configs/{path.name}" for root in (package.parent, package) for path in root.glob("configs/*.py")})
    raise UserError(f"--config={name}: no such file; with uit_jax come {', '.join(known)}")
