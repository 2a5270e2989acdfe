"""What stands where, what may import what, who may ask for what, and how long things may be.

    python -m tests.test_layers     prints the arrows between the folders, and the sizes of these
"""

import ast
import collections
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny_method
from uit_jax import main, methods

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "uit_jax"

# From the bottom up: a module imports only from lines below its own, or from its own package.
LAYERS = (
    ("__version__", "types", "errors"),
    ("collectives", "paths", "programs", "drawing", "remat"),
    ("files", "foreign_names", "listing", "mirror", "recipe_files"),
    ("tensors",),
    ("recipes", "settings", "memory", "losses", "nn", "optimizers", "augment", "images", "metrics"),
    ("state",),
    ("method",),
    ("methods",),
    ("data", "config", "convert", "inference"),
    ("checkpoint",),
    ("runs",),
    ("evaluation",),
    ("demo", "exporting", "report", "training"),
    ("verbs",),
    ("main",),
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}
FILES = (
    "__init__ types errors collectives paths programs drawing remat files listing mirror recipes recipe_files"
    " foreign_names settings state method optimizers config runs main"
).split()
FOLDERS = (
    "tensors memory losses nn augment images metrics methods data convert checkpoint inference evaluation demo"
    " exporting report training verbs"
).split()
# Settings that only some methods have, and what the first house asked of a method in their place.
METHODS_OWN = {"labelled_share", "layout", "domains"}
# A stream, which a method's phase names, has a share of labels; a network may have an output for each domain.
MAY_ASK = {"data/order.py", "nn", "convert", "methods"}
LONGEST_FILE, LONGEST_FUNCTION = 300, 60


def modules():
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def each_module(paths=None):
    return pytest.mark.parametrize("path", paths or modules(), ids=lambda p: str(p.relative_to(PACKAGE)))


def unit(path: Path) -> str:
    """Return the module or sub-package of uit_jax that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path):
    """Yield every dotted name a file imports, wherever in it."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_top_level_is_the_tree():
    assert {p.stem for p in PACKAGE.glob("*.py")} == set(FILES)
    assert {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"} == set(FOLDERS)
    assert set(FILES) | set(FOLDERS) == set(HEIGHT) - {"__version__"} | {"__init__"}


@each_module()
def test_imports_point_downwards(path):
    own = unit(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "uit_jax" and len(parts) > 1 and parts[1] != own:
            assert HEIGHT[parts[1]] < HEIGHT[own], f"{own} imports {parts[1]}"


@each_module()
def test_libraries_stay_where_they_belong(path):
    roots = {name.split(".")[0] for name in imports(path)}
    place = path.relative_to(PACKAGE)
    if place.parts[0] != "nn":
        assert "flax" not in roots
    if place.parts[0] != "data" and str(place) != "training/writers.py":
        assert not roots & {"tensorflow", "tensorflow_datasets", "clu"}
    assert "torch" not in roots


def test_names_say_what_is_inside():
    assert not {p.stem for p in modules()} & {"utils", "helpers", "common", "misc", "util"}


@each_module([PACKAGE / "__init__.py", *modules()])
def test_every_file_begins_with_what_it_holds(path):
    text = ast.get_docstring(parsed(path))
    assert text and path.read_text().startswith('"""'), "no docstring in its first line"


METHOD_FILES = sorted(PACKAGE.glob("methods/*.py"))


@each_module(METHOD_FILES)
def test_a_method_imports_no_other_method(path):
    """What two share is a loss, a network, a memory, a view, or a file here that holds no method."""
    holds_methods = {kind.__module__ for kind in methods.METHODS.values()}
    assert {f"uit_jax.methods.{name}" for name in ("tunit", "cluit", "cut")} <= holds_methods
    if path.stem != "__init__":
        imported = {name for name in imports(path) if name.startswith("uit_jax.methods")}
        assert not {name for name in imported if ".".join(name.split(".")[:3]) in holds_methods}
        assert "uit_jax.methods" not in {name.rpartition(".")[0] for name in imported}, "import the file, not from it"


@each_module(METHOD_FILES)
def test_a_method_is_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{node.name} fits on no screen"


def asked(path: Path):
    """Yield what code reads of objects by name: x.name, getattr(x, "name"), x.get("name"), x["name"]."""
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(name), ctx=ast.Load()):
                yield name
            case ast.Call(func=ast.Name("getattr" | "hasattr") | ast.Attribute(attr="get"), args=given):
                yield from (argument.value for argument in given if isinstance(argument, ast.Constant))


@each_module()
def test_nothing_but_methods_asks_for_what_only_some_have(path):
    place = path.relative_to(PACKAGE)
    if not {str(place), place.parts[0]} & MAY_ASK:
        assert not METHODS_OWN & {name for name in asked(path) if isinstance(name, str)}


@each_module()
def test_nothing_but_methods_knows_their_names(path):
    if unit(path) not in ("methods", "convert"):
        texts = {node.value for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant)}
        assert not {text for text in texts if isinstance(text, str)} & set(methods.METHODS)


def test_configs_import_the_config_module_and_what_recipes_share():
    for path in sorted((ROOT / "configs").glob("*.py")):
        ours = {name for name in imports(path) if name.startswith("uit_jax")}
        assert ours <= {"uit_jax.config", "uit_jax.recipes", "uit_jax.errors.UserError"}, path


def test_every_verb_is_a_file_that_names_itself():
    for name, (module, told) in main.VERBS.items():
        assert module == f"uit_jax.verbs.{name}" and told
        assert importlib.import_module(module).__doc__.startswith(f"`uit {name}")


def python(code: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)


def test_nothing_imports_tensorflow_before_it_is_needed():
    modules = ", ".join(["uit_jax", "uit_jax.data", "uit_jax.methods", *(module for module, _ in main.VERBS.values())])
    done = python(f"import sys, {modules}; sys.exit('tensorflow' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_training_runs_where_tensorflow_is_absent(tmp_path):
    """From packed arrays, pictures and scores included; metrics are then JSON lines alone."""
    (tmp_path / "tiny.py").write_text(tiny_method.CONFIG)
    code = f"""
import sys
for name in ("tensorflow", "tensorflow_datasets", "clu", "tensorboard"):
    sys.modules[name] = None
from pathlib import Path
import numpy as np
from PIL import Image
for split in ("train", "test"):
    for k in range(2):
        for i in range(4):
            path = Path({str(tmp_path)!r}, "images", split, str(k), f"{{i}}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), 90 * k + i, np.uint8)).save(path)
from tests.tiny_method import registered
assert registered(["data", "pack", {str(tmp_path / "images")!r}, {str(tmp_path / "packed")!r}, "--size=16"]) == 0
sys.exit(registered([
    "train", "--config={tmp_path / "tiny.py"}", "--workdir={tmp_path / "run"}", "--config.devices=1",
    "--config.data.source={tmp_path / "packed"}", "--config.tensorboard=true",
    "--config.evaluate_every=4", "--config.image_every=6",
]))
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 6
    assert len(list((tmp_path / "run" / "images").iterdir())) == 4
    assert "TensorBoard" in done.stderr and not (tmp_path / "run" / "tb").exists()


def arrows() -> collections.Counter:
    """Count the imports from one file or folder of the package to another."""
    found = collections.Counter()
    for path in modules():
        units = {name.split(".")[1] for name in imports(path) if name.startswith("uit_jax.")}
        found.update((unit(path), other) for other in units - {unit(path)})
    return found


def sizes() -> collections.Counter:
    """Count the lines of each file or folder of the package."""
    found = collections.Counter()
    for path in modules():
        found[unit(path)] += len(path.read_text().splitlines())
    return found


if __name__ == "__main__":
    for (one, other), files in sorted(arrows().items(), key=lambda item: (-HEIGHT[item[0][0]], item)):
        print(f"{one:<12} -> {other:<12} from {files} files")
    print("\n" + "\n".join(f"{name:<12} {lines:>6} lines" for name, lines in sizes().most_common()))
    print(f"{len(arrows())} arrows, {sizes().total()} lines")
