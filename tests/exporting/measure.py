"""Every method in every format, with images as floats: how far off, of the range, and how large. Not in the suite.

"alone" is a StableHLO file in a process that has neither this library nor Flax.

pytest tests/exporting/measure.py -s     prints the table of docs/export.md
"""

import pytest

from tests import method_table as table
from tests.exporting import alone, small
from uit_jax import exporting

FORMATS = {"stablehlo": "file.npz", "onnx": "file.onnx", "savedmodel": "file"}


@pytest.mark.parametrize("name", table.TINY)
def test_translations(name, tmp_path):
    measure(small.run(tmp_path, name), {}, tmp_path)


@pytest.mark.parametrize("name", table.TINY)
def test_what_else_it_can_be_asked_for(name, tmp_path):
    run = small.run(tmp_path, name)
    kinds = {"code": run.styled, "encode": run.styled, "cluster": run.clustered, "sample": run.sampled}
    for kind in (kind for kind, known in kinds.items() if known):
        measure(run, {"style": kind} if kind == "code" else {"function": kind}, tmp_path / kind)


def measure(run, how, folder):
    """Print a row of the table."""
    folder.mkdir(exist_ok=True)
    row = [run.config.method.name, *(how.values() or ["translate"])]
    for to, file in FORMATS.items():
        if (to, how.get("function")) == ("onnx", "sample"):
            row.append("none")
            continue
        made = exporting.export(run, to, folder / file, floats=True, **how)
        size = sum(each.stat().st_size for each in [folder / file, *(folder / file).rglob("*")] if each.is_file())
        row.append(f"{made.difference.largest / made.difference.span:.0e}, {size / 1024:.0f} KiB")
        if to == "stablehlo":
            assert made.function.free == (how.get("function") is None) and not made.notes
            row[-1] += f"; alone {alone.off(folder / file, made.function, folder):.0e}"
    print("|", " | ".join(row), "|", flush=True)
