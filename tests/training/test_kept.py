"""Images kept on the device give the batches that reading gives, bit for bit, and are kept where it pays."""

from pathlib import Path

import jax
import numpy as np
import pytest

from tests import tiny_method
from tests.training.test_loop import assert_same_run, image_folder
from uit_jax import config, data
from uit_jax.data.packing import pack
from uit_jax.errors import UserError
from uit_jax.method import batch_shapes, training_step
from uit_jax.training import devices, feed, loop
from uit_jax.training.kept import Kept
from uit_jax.training.progress import Progress

EVERY_WAY = [("jit", 1), ("pmap", 2), ("shard_map", 2)]


@pytest.fixture(autouse=True)
def recipe(tiny, tmp_path):
    file = tmp_path / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


@pytest.fixture
def here_at_once(monkeypatch):
    """Wait for the images before the first step."""
    monkeypatch.setattr(Kept, "images", lambda self, images=Kept.images: images(self, wait=True))


def resolved(recipe, *overrides):
    return config.resolve(recipe, [f"--config.{each}" for each in overrides])


def fed(recipe, *overrides):
    """Return a config's streams, what feeds a run from them, how its devices are driven, and its shapes."""
    c = resolved(recipe, *overrides)
    method, used = config.method_of(c), devices.devices_for(c.devices)
    lifted = devices.lift(training_step(method), c.parallel, used)
    streams = feed.Streams(c, method, feed.open_sources(c, method)[0], [tiny_method.FIRST])
    shapes = jax.eval_shape(lambda: config.initial_state(c, method))
    return streams, feed.Feed(c, streams, lifted, used), lifted, shapes


def spoilt(folder: Path) -> Path:
    """Return a folder of which every class has an unreadable image."""
    source = image_folder(folder, count=12)
    (source / "train" / "cat" / "3.png").write_bytes(b"no image")
    (source / "train" / "dog" / "9.png").write_bytes((source / "train" / "dog" / "9.png").read_bytes()[:80])
    return source


@pytest.mark.parametrize("how, count", EVERY_WAY)
def test_a_batch_looked_up_is_the_one_that_was_read(recipe, tmp_path, how, count, here_at_once):
    """Its labels and how it lies on the devices, too, and what stands in the place of unreadable images."""
    given = (f"data.source={spoilt(tmp_path / 'set')}", f"parallel={how}", f"devices={count}", "batch_size=8")
    free = ("data.max_unreadable_share=0.1", "data.on_device=yes")
    streams, feeding, lifted, shapes = fed(recipe, *given, *free)
    feeding.begin(0, shapes, Progress(1, active=False))
    for step in (0, 1, 2, 7):
        read = lifted.put_batch(streams.batch(step, tiny_method.FIRST))
        found = feeding.batch(range(step, step + 1), tiny_method.FIRST)
        assert found.keys() == read.keys() == {"image", "label"}
        for name, rows in read.items():
            assert rows.dtype == found[name].dtype and found[name].sharding.is_equivalent_to(rows.sharding, rows.ndim)
            np.testing.assert_array_equal(found[name], rows)
    feeding.close()
    streams.close()


def test_a_run_goes_on_with_images_on_the_device_or_without(recipe, tmp_path, here_at_once, capsys):
    source = image_folder(tmp_path / "set", count=12)

    def run(name, *overrides):
        loop.train(resolved(recipe, f"data.source={source}", *overrides), tmp_path / name)

    run("whole", "data.on_device=no")
    run("parts", "data.on_device=yes", "steps=4")
    assert "all 24 images are on the device" in capsys.readouterr().err
    run("parts", "data.on_device=no", "steps=8")
    assert "on the device" not in capsys.readouterr().err
    run("parts", "data.on_device=yes")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_too_many_unreadable_images_end_it(recipe, tmp_path, here_at_once):
    given = (f"data.source={spoilt(tmp_path / 'set')}", "data.on_device=yes", "data.max_unreadable_share=0.05")
    with pytest.raises(UserError, match="2 of 24 images met so far are unreadable.*data.max_unreadable_share"):
        loop.train(resolved(recipe, *given), tmp_path / "run")


def test_sides_kept_are_those_ever_drawn_whatever_their_size_and_kind(tmp_path):
    """Of several blocks, 16 bits, and packed."""
    image_folder(tmp_path / "set", count=12)
    pack(str(tmp_path / "set"), tmp_path / "packed", size=16)
    sides = {
        "a": data.open_source(str(tmp_path / "packed"), size=16),
        "b": data.open_source("procedural:count=9", size=16, depth=16),
        "c": data.open_source(str(tmp_path / "set"), size=20, channels=1),
    }
    members = {"a": np.arange(3, 20), "b": np.array([1, 8]), "c": np.arange(24)}
    whole = devices.lift(lambda *_: None, "pmap", devices.devices_for(2)).whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uit_jax.training.kept._BLOCK", 5 * 16 * 16 * 3)
        kept = Kept(sides, members, whole, max_unreadable_share=0.0)
        kept.begin()
        images = kept.images(wait=True)
    assert kept.count == 43 and kept.longest == 24
    assert kept.bytes == sum(each.nbytes for each in images.values())
    for name, source in sides.items():
        np.testing.assert_array_equal(images[name], source.images(members[name]))
        assert images[name].dtype == source.dtype and len(images[name].devices()) == 2
    rows = {"a": [19, 3], "b": [8, 1], "c": [0, 5], "label": [7, 7]}
    places = kept.places({name: np.array(each) for name, each in rows.items()})
    assert {name: each.tolist() for name, each in places.items()} == {**rows, "a": [16, 0], "b": [1, 0]}


def test_images_are_kept_unasked_where_they_are_few_and_it_saves_decoding(recipe, tmp_path, monkeypatch):
    files = f"data.source={image_folder(tmp_path / 'set', count=12)}"
    streams, feeding, _, shapes = fed(recipe, files)
    taken = 2 * 24 * 16 * 16 * 3  # two devices that are threads of one machine
    assert feeding.bytes == taken and feeding.keeps(0, shapes)
    # Each image twice at least in the steps that are left.
    assert not feeding.keeps(1, shapes) and not fed(recipe, files, "batch_size=2")[1].keeps(0, shapes)
    assert fed(recipe, files, "data.on_device=yes")[1].keeps(11, shapes)
    assert not fed(recipe, files, "data.on_device=no")[1].keeps(0, shapes)
    # Arrays are as fast to read as to look up.
    assert not fed(recipe)[1].keeps(0, shapes)
    monkeypatch.setattr(devices, "memory_of", lambda device: 8 * taken + devices.bytes_of(shapes))
    assert feeding.keeps(0, shapes)
    monkeypatch.setattr(devices, "memory_of", lambda device: 8 * taken + devices.bytes_of(shapes) - 8)
    assert not feeding.keeps(0, shapes)


def test_images_that_fit_no_memory_are_refused_before_anything_is_made(recipe, tmp_path, monkeypatch):
    c = resolved(recipe, "data.on_device=yes")
    method = config.method_of(c)
    shapes = jax.eval_shape(lambda: config.initial_state(c, method))
    needed = devices.bytes_of(shapes) + 4 * sum(
        each.size for each in batch_shapes(method, tiny_method.FIRST, 4).values()
    )
    monkeypatch.setattr(devices, "memory_of", lambda device: needed)
    with pytest.raises(UserError, match="and all images 0.0 GB, but .* or set data.on_device=no$"):
        loop.train(c, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_room_for_images_is_no_error_unless_they_were_asked_for(recipe, tmp_path, monkeypatch):
    def full(self):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    files = f"data.source={image_folder(tmp_path / 'set', count=12)}"
    for moment in ("images", "begin"):
        monkeypatch.setattr(Kept, moment, full)
        streams, feeding, lifted, shapes = fed(recipe, files)
        feeding.begin(0, shapes, Progress(1, active=False))
        read = lifted.put_batch(streams.batch(0, tiny_method.FIRST))
        jax.tree.map(np.testing.assert_array_equal, feeding.batch(range(1), tiny_method.FIRST), read)
        streams.close()
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        fed(recipe, files, "data.on_device=yes")[1].begin(0, shapes, Progress(1, active=False))


def test_reading_stops_with_the_run(recipe, tmp_path, monkeypatch):
    source = data.open_source(str(image_folder(tmp_path / "set", count=12)), size=16)
    seen = []

    def slow(index, image=source.image):
        seen.append(index)
        kept._stop.wait(0.2)
        return image(index)

    monkeypatch.setattr(source, "image", slow)
    whole = devices.lift(lambda *_: None, "jit", devices.devices_for(1)).whole
    kept = Kept({"image": source}, {"image": np.arange(24)}, whole, max_unreadable_share=0.0)
    kept.begin()
    assert kept.images() is None
    kept.close()
    assert len(seen) < 24 and not kept._thread.is_alive()
