"""The page about a method of one's own is true: its method trains, stops, goes on, translates and is scored."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import uit_jax
from tests.conftest import compiled_well
from tests.test_methods import over_two_devices
from uit_jax import config, methods

PAGE = Path(__file__).parents[1] / "docs" / "own_method.md"
STEPS = 40


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page defines, run from top to bottom for a few steps."""
    namespace = {"STEPS": STEPS, "WORKDIR": tmp_path_factory.mktemp("own") / "run"}
    with compiled_well(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "METHODS", dict(methods.METHODS))
        for snippet in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(snippet, PAGE.name, "exec"), namespace)
        yield namespace


def test_the_method_has_40_lines():
    code = re.search(r"@dataclasses.dataclass\(frozen=True.*?\n\n\n", PAGE.read_text(), re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 40


@pytest.mark.slow
def test_it_is_scored_by_the_evaluators_there_are(page):
    found = page["found"]
    assert {"style_retrieval", "translation_follows_reference", "translation_position"} <= found.keys()
    assert all(np.isfinite(value) for value in found.values())


def test_it_goes_on_where_it_stopped(page):
    """From its checkpoint, and to the same weights as without the stop."""
    workdir, settings = page["WORKDIR"], page["settings"]
    longer = config.update(settings.copy_and_resolve_references().lock(), {"steps": STEPS + 8})
    state = uit_jax.train(longer, workdir)
    whole = uit_jax.train(longer, workdir.with_name("whole"))
    assert int(state.step) == STEPS + 8
    jax.tree.map(np.testing.assert_array_equal, state, whole)


def test_it_translates_images_of_any_size(page):
    contents = [np.full((33, 40, 3), 90, np.uint8), np.full((64, 32, 3), 200, np.uint8)]
    found = page["model"].translate(contents, reference=np.full((20, 20, 3), (200, 30, 30), np.uint8), size="keep")
    assert [image.shape for image in found] == [(33, 40, 3), (64, 32, 3)]


def test_it_has_the_proof_that_every_method_inherits(page):
    """A forgotten mean or gather would refuse to trace here."""
    method = page["Recolour"](image_size=16, width=4, style_dim=4)
    before, after, metrics = over_two_devices(method, method.phase(0))
    assert jax.tree.structure(before) == jax.tree.structure(after) and set(metrics) == {"generator/reconstruction"}
