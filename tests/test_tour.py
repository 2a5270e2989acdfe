"""The notebook runs from top to bottom: here with the tests' method on a few images."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "tour.ipynb"
TOY = """
from tests import tiny_method
from uit_jax import methods

methods.METHODS["tiny"] = tiny_method.Tiny
CONFIG, SOURCE, WORKDIR, SETTINGS = "tiny.py", "procedural:count=40", "run", ["devices=1"]
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory, request):
    """The notebook's cells with what came of them; a cell that fails raises."""
    folder = tmp_path_factory.mktemp("tour")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source = TOY
    with pytest.MonkeyPatch.context() as patch:
        from tests import tiny_method

        (folder / "tiny.py").write_text(tiny_method.CONFIG)
        patch.setenv("PYTHONPATH", str(ROOT))
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def told(cell) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def test_it_runs_and_shows_pictures(ran):
    pictures = [output for cell in ran for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 5
    assert "procedural" in told(ran[2])
    assert len(eval(told(ran[-1]))) == 4


def test_what_stands_in_the_repository_was_run_to_its_end():
    """With the outputs that a reader sees, none of them an error; along the gradient there is more and more red."""
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    reds = eval(told(cells[-1]))
    assert reds == sorted(reds) and reds[-1] > reds[0] + 0.1
    assert NOTEBOOK.stat().st_size < 2_000_000
