"""Every method in every format: how far the file is off, how large it is, what runs it. Not part of the suite.

pytest tests/exporting/measure.py -s     prints the table of docs/export.md
"""

import pytest

from tests import method_table as table
from tests.exporting import alone, small
from uit_jax import exporting

FORMATS = {"stablehlo": "file.npz", "onnx": "file.onnx", "savedmodel": "file"}


def kinds(run):
    """Return what a model can be asked for beside its translation."""
    yield {}
    if run.styled:
        yield {"style": "code"}
        yield {"function": "encode"}
    if run.clustered:
        yield {"function": "cluster"}
    if run.sampled:
        yield {"function": "sample"}


@pytest.mark.parametrize("name", table.TINY)
def test_a_method(name, tmp_path):
    run = small.run(tmp_path, name)
    for how in kinds(run):
        row = [name, how.get("style") or how.get("function") or "translate"]
        for to, file in FORMATS.items():
            if (to, how.get("function")) == ("onnx", "sample"):
                row.append("none")
                continue
            out = tmp_path / "_".join([*how.values(), file])
            made = exporting.export(run, to, out, **how)
            size = sum(each.stat().st_size for each in [out, *out.rglob("*")] if each.is_file())
            off = made.difference.largest / made.difference.span
            row.append(f"{off:.1e}, {size / 1024:.0f} KiB")
            if to == "stablehlo":
                assert made.function.free == (how.get("function") is None)
                row[-1] += f", alone {alone.off(out, made.function, tmp_path):.1e}"
        print("|", " | ".join(row), "|", flush=True)
