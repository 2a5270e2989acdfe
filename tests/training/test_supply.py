"""How reading is measured: once for batches of one kind, and no longer than it is asked to."""

import pytest

from uit_jax import config
from uit_jax.data import benchmark, open_source
from uit_jax.training import supply

SMALL = {"steps": 40, "data.source": "procedural:count=24", "data.image_size": 16, "batch_size": 8, "devices": 1}


def phases(count: int):
    return [{"phase": str(number), "images_per_second": 10.0} for number in range(count)]


@pytest.mark.parametrize(
    ("name", "settings", "steps", "kinds"),
    [
        ("embedding", {"method.bottleneck": 8, "method.queue_size": 16}, 2, 1),
        ("tunit", {"method.guide_steps": 4, "method.guide_batch_size": 16, "method.guide.stages": (1, 1)}, 2, 2),
    ],
)
def test_batches_of_one_kind_are_read_once(monkeypatch, name, settings, steps, kinds):
    read = []
    monkeypatch.setattr(benchmark, "measure", lambda *_, **how: read.append(how) or [(20.0 * len(read), 1.0)])
    chosen = config.update(config.defaults(name), {**SMALL, **settings})
    found = supply.reading(chosen, supply.opened(chosen), phases(steps), images=64, windows=1, warm=32)
    assert len(read) == kinds and all((how["images"], how["warm"]) == (64, 32) for how in read)
    assert [each["read_per_second"] for each in found] == ([20.0] * steps if kinds == 1 else [20.0, 40.0])
    assert found[0]["keeps_up"] == 2


@pytest.mark.parametrize(("warm", "batches"), [(None, 6 + 4), (8, 2 + 4), (99, 6 + 4)])
def test_what_is_read_before_is_an_epoch_at_most(monkeypatch, warm, batches):
    read = []

    class Loader:
        __init__ = __exit__ = lambda self, *_, **__: None
        __enter__ = lambda self: self  # noqa: E731
        batch = lambda self, step: read.append(step)  # noqa: E731

    monkeypatch.setattr(benchmark, "side_batches", Loader)
    source = open_source("procedural:count=24", size=16)
    assert len(source) == 24
    benchmark.measure({"image": source}, batch_size=4, images=16, windows=1, warm=warm)
    assert read == list(range(batches))
