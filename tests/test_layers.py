"""What may import what, and that TensorFlow is needed by the tf.data sources alone."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny_method

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "uit_jax"

# From the bottom up: a module imports only from lines below its own, or from its own package.
LAYERS = (
    ("__version__", "arguments", "errors", "types"),
    ("collectives",),
    ("nn", "losses", "key_queue", "optimizers", "augment", "data", "metrics"),
    ("state",),
    ("methods", "tiling", "video"),
    ("parallel", "convert", "config", "inference", "progress", "window"),
    ("pictures", "checkpoint", "feed", "outputs", "oracle", "classifier"),
    ("writers", "styles"),
    ("run", "drawing"),
    ("train", "evaluate", "translate", "search", "inspection", "bench"),
    ("main",),
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}


def modules():
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def unit(path: Path) -> str:
    """Return the module or sub-package of uit_jax that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path):
    """Yield every dotted name a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    own = unit(path)
    assert own in HEIGHT, f"{own} has no place in LAYERS"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "uit_jax" and len(parts) > 1 and parts[1] != own:
            assert HEIGHT[parts[1]] < HEIGHT[own], f"{own} imports {parts[1]}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_libraries_stay_where_they_belong(path):
    roots = {name.split(".")[0] for name in imports(path)}
    place = path.relative_to(PACKAGE)
    if place.parts[0] != "nn" and str(place) != "metrics/inception.py":
        assert "flax" not in roots
    if place.parts[0] != "data" and str(place) != "writers.py":
        assert not roots & {"tensorflow", "tensorflow_datasets", "clu"}
    if place.parts[0] not in ("convert",):
        assert "torch" not in roots


def test_names_say_what_is_inside():
    assert not {p.stem for p in modules()} & {"utils", "helpers", "common", "misc", "util"}


def test_configs_import_the_config_module_alone():
    for path in sorted((ROOT / "configs").glob("*.py")):
        ours = {name for name in imports(path) if name.startswith("uit_jax")}
        assert ours <= {"uit_jax.config", "uit_jax.errors.UserError"}, path


def python(code: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)


def test_methods_do_not_import_tensorflow():
    code = "import sys, uit_jax.methods, uit_jax.verbs.train, uit_jax.data; sys.exit('tensorflow' in sys.modules)"
    done = python(code)
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
