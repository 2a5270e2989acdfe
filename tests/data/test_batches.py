"""Row i of step t is a function of (seed, t, i): whatever the pipeline, the processes, and where one begins."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.image_files import encode, picture
from uit_jax.data import batches, open_source
from uit_jax.data.order import Order, permutation, stream_members
from uit_jax.errors import UserError
from uit_jax.method import Stream

PIPELINES = ("tf.data", "threads")


def _take(source, asked, **options):
    with batches(source, **{"batch_size": 8, "seed": 3, **options}) as loader:
        return [loader.batch(step) for step in asked]


def _equal(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["label"], b["label"])


def test_the_order_is_frozen():
    # Literals: a run resumed under another version of anything has to see the images it would have seen.
    assert permutation(0, 0, 8).tolist() == [0, 3, 7, 5, 1, 2, 6, 4]
    assert permutation(5, 2, 8).tolist() == [4, 2, 6, 7, 5, 0, 1, 3]


def test_every_image_once_an_epoch():
    order = Order(np.arange(24), 24, False, 8, seed=1)
    first, second = (np.concatenate([order.rows(t) for t in range(e * 3, e * 3 + 3)]) for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(24)) and list(first) != list(second)
    uneven = np.concatenate([Order(np.arange(10), 10, False, 4, seed=1).rows(t) for t in range(5)])
    assert sorted(uneven[:10]) == sorted(uneven[10:]) == list(range(10))
    assert list(Order(np.arange(24), 24, False, 8, seed=2).rows(0)) != list(order.rows(0))


def test_orders_are_spread_evenly():
    places = np.array([permutation(0, epoch, 5) for epoch in range(2000)])
    counts = np.array([np.bincount(places[:, i], minlength=5) for i in range(5)])
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400)


def test_both_pipelines_give_the_decoded_images_and_their_labels(class_folders):
    source = open_source(str(class_folders), size=16)
    order = Order(np.arange(24), 24, False, 8, seed=3)
    expected = [
        {"image": np.stack([source.image(i) for i in order.rows(t)]), "label": source.labels[order.rows(t)]}
        for t in range(7)
    ]
    for pipeline in PIPELINES:
        found = _take(source, range(7), pipeline=pipeline)
        _equal(found, expected)
        assert found[0]["image"].dtype == np.uint8 and found[0]["label"].dtype == np.int32
        assert all((batch["number"] == order.rows(t)).all() for t, batch in enumerate(found))


def test_both_pipelines_read_files_whose_names_are_not_utf8(tmp_path):
    for seed, name in enumerate((b"\xff.png", b"a\nb.png", b"\x1b[2K.png", b"n" * 251 + b".png")):
        (tmp_path / os.fsdecode(name)).write_bytes(encode(Image.fromarray(picture(seed)), "PNG"))
    source = open_source(str(tmp_path), size=16)
    by_tf, by_threads = (_take(source, range(2), batch_size=4, pipeline=pipeline) for pipeline in PIPELINES)
    _equal(by_tf, by_threads)
    assert len(np.unique(by_tf[0]["image"], axis=0)) == 4


def test_both_pipelines_agree_on_every_format(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    colour, gray = Image.fromarray(picture(0)), Image.fromarray(picture(1)).convert("L")
    large = Image.fromarray(picture(2, 40, 30))
    files = {
        "a.jpg": encode(colour, "JPEG"), "b.jpg": encode(gray, "JPEG"), "c.jpg": encode(colour, "JPEG", exif=exif),
        "d.jpg": encode(colour.convert("CMYK"), "JPEG"), "e.png": encode(colour, "PNG"), "f.png": encode(gray, "PNG"),
        "g.png": encode(colour.convert("RGBA"), "PNG"), "h.png": encode(colour.quantize(16), "PNG"),
        "i.png": encode(Image.fromarray(np.asarray(gray).astype(np.uint16) << 8), "PNG"),
        "j.webp": encode(colour, "WebP"),
        "k.bmp": encode(colour, "BMP"), "l.gif": encode(colour, "GIF"), "m.tif": encode(colour, "TIFF"),
        "n.jpg": encode(large, "JPEG"), "o.png": encode(large, "PNG"),
        "p.jpg": encode(colour, "JPEG", progressive=True),
        "q.jpg": encode(colour, "JPEG", subsampling=0, quality=100), "r.jpg": encode(colour, "PNG"),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for channels in (1, 3):
        source = open_source(str(tmp_path), size=16, channels=channels)
        (by_tf,), (by_threads,) = (_take(source, [0], batch_size=len(files), pipeline=p) for p in PIPELINES)
        rows = Order(np.arange(len(files)), len(files), False, len(files), seed=3).rows(0)
        for row, index in enumerate(rows):
            np.testing.assert_array_equal(by_tf["image"][row], by_threads["image"][row], source.names[index])
        assert not source.unreadable


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_any_step_at_once_and_in_any_order(class_folders, pipeline):
    source = open_source(str(class_folders), size=16)
    straight = _take(source, range(10), pipeline=pipeline)
    _equal(_take(source, [7, 8, 9], start_step=7, pipeline=pipeline), straight[7:])
    _equal(_take(source, [9, 2, 3, 0], pipeline=pipeline), [straight[i] for i in (9, 2, 3, 0)])
    # A phase that draws from this stream now and then: the steps are known, so they are read ahead.
    listed = _take(source, [1, 4, 5, 9], steps=(s for s in (1, 4, 5, 9)), pipeline=pipeline)
    _equal(listed, [straight[i] for i in (1, 4, 5, 9)])
    _equal(_take(source, [5, 9, 2, 4], steps=[1, 4, 5, 9], pipeline=pipeline), [straight[i] for i in (5, 9, 2, 4)])
    with batches(source, batch_size=8, seed=3, steps=range(2, 5), start_step=2, pipeline=pipeline) as loader:
        _equal(list(loader), straight[2:5])


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_rows(class_folders, pipeline, count):
    source = open_source(str(class_folders), size=16)
    shares = [_take(source, range(4), process_index=p, process_count=count, pipeline=pipeline) for p in range(count)]
    joined = [{k: np.concatenate([share[t][k] for share in shares]) for k in ("image", "label")} for t in range(4)]
    _equal(joined, _take(source, range(4), pipeline=pipeline))


def _spoil(root):
    """Spoil two cats: one that TensorFlow would decode, one that is Pillow's."""
    jpeg = root / "cat" / "cat03.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:-40])
    (root / "cat" / "cat07.jpg").write_bytes(b"not an image at all")


def test_unreadable_files_are_named_once_and_replaced_alike_everywhere(class_folders, caplog):
    _spoil(class_folders)
    spec, options = str(class_folders), {"max_unreadable_share": 0.1}
    whole = _take(open_source(spec, size=16), range(9), pipeline="threads", **options)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2 and all(sum(name in m for m in messages) == 1 for name in ("cat03.jpg", "cat07.jpg"))
    source = open_source(spec, size=16)
    _equal(_take(source, range(9), pipeline="tf.data", **options), whole)
    assert sorted(source.unreadable) == [3, 7]
    _equal(_take(open_source(spec, size=16), range(5, 9), pipeline="tf.data", **options), whole[5:])
    for pipeline in PIPELINES:
        fresh = open_source(spec, size=16)
        options = {**options, "pipeline": pipeline, "process_count": 2}
        shares = [_take(fresh, range(9), process_index=p, **options) for p in (0, 1)]
        _equal([{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in zip(*shares, strict=True)], whole)
    rows, good = Order(np.arange(24), 24, False, 8, seed=3).rows, open_source(spec, size=16)
    for t in range(9):
        for row, index in enumerate(rows(t)):
            np.testing.assert_array_equal(whole[t]["image"][row], good.image({3: 4, 7: 8}.get(index, index)))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_too_many_unreadable_files_end_it(class_folders, pipeline):
    _spoil(class_folders)
    source = open_source(str(class_folders), size=16)
    with pytest.raises(UserError, match="2 of 24 images.*max_unreadable_share.*cat0[37].jpg"):
        _take(source, range(9), pipeline=pipeline, max_unreadable_share=0.05)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_file_that_vanishes_is_unreadable(class_folders, pipeline):
    source = open_source(str(class_folders), size=16)
    (class_folders / "dog" / "dog05.jpg").unlink()
    _take(source, range(3), pipeline=pipeline, max_unreadable_share=0.05)
    assert source.unreadable == {17: "No such file or directory"}


def test_streams(class_folders):
    source = open_source(str(class_folders), size=16)
    labelled, shown = stream_members(source, Stream("labelled", 0.3))
    assert labelled.tolist() == [0, 1, 2, 12, 13, 20]  # int(12 * .3), int(8 * .3), at least one of 4
    np.testing.assert_array_equal(shown[labelled], source.labels[labelled])
    unlabelled, hidden = stream_members(source, Stream("unlabelled", 0.3))
    assert sorted([*labelled, *unlabelled]) == list(range(24)) and (hidden == -1).all()
    drawn = _take(source, range(6), stream=Stream("labelled", 0.3))
    assert {int(label) for batch in drawn for label in batch["label"]} == {0, 1, 2}
    rest = _take(source, range(3), stream=Stream("unlabelled", 0.3))
    assert all((batch["label"] == -1).all() for batch in rest)
    images = {image.tobytes() for batch in drawn for image in batch["image"]}
    assert images == {source.image(i).tobytes() for i in labelled}


def test_a_share_in_hundredths_is_one():
    """Of 100 images; .29, .57 and .58 times 100 are a little less than whole as floats."""
    source = open_source("procedural:count=600,species=6", size=16)
    source.labels = np.repeat(np.arange(6, dtype=np.int32), 100)
    for hundredths in range(1, 100):
        members, _ = stream_members(source, Stream("labelled", hundredths / 100))
        assert len(members) == 6 * hundredths


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_partly_labelled_holds_everything_and_shows_the_labels_of_labelled(class_folders, share):
    source = open_source(str(class_folders), size=16)
    members, shown = stream_members(source, Stream("partly_labelled", share))
    assert members.tolist() == list(range(24)) and shown.dtype == np.int32
    labelled = stream_members(source, Stream("labelled", share))[0] if share else np.array([], np.int64)
    assert len(labelled) == {0.0: 0, 0.1: 3, 1.0: 24}[share]
    np.testing.assert_array_equal(np.flatnonzero(shown >= 0), labelled)
    np.testing.assert_array_equal(shown[labelled], source.labels[labelled])
    rest = np.setdiff1d(members, labelled)
    assert (shown[rest] == -1).all()
    # The images come in the order of the stream "all"; only labels are withheld.
    drawn, whole = (_take(source, range(6), stream=Stream(stream, share)) for stream in ("partly_labelled", "all"))
    order = Order(np.arange(24), 24, False, 8, seed=3)
    for step, (part, every) in enumerate(zip(drawn, whole, strict=True)):
        np.testing.assert_array_equal(part["image"], every["image"])
        np.testing.assert_array_equal(part["label"], shown[order.rows(step)])


def test_partly_labelled_needs_no_classes(class_folders):
    flat = open_source(str(class_folders / "cat"), size=16)
    members, shown = stream_members(flat, Stream("partly_labelled", 0.5))
    assert len(members) == 12 and (shown == -1).all()
    with pytest.raises(UserError, match="labelled_share is -0.1; .* between 0 and 1"):
        stream_members(flat, Stream("partly_labelled", -0.1))


def test_arrays_and_files_share_the_order():
    source = open_source("procedural:count=24", size=16)
    found, order = _take(source, range(4)), Order(np.arange(24), 24, False, 8, seed=3)
    for t in range(4):
        np.testing.assert_array_equal(found[t]["image"], source.images(order.rows(t)))
        np.testing.assert_array_equal(found[t]["label"], source.labels[order.rows(t)])


def test_tensorflow_is_used_where_it_helps(class_folders):
    def chosen(size):
        with batches(open_source(str(class_folders), size=size), batch_size=8, seed=0) as loader:
            loader.batch(0)
            return loader.pipeline

    assert chosen(16) == "tf.data" and chosen(12) == "threads"


def test_bad_requests(class_folders):
    source = open_source(str(class_folders), size=16)
    flat = open_source(str(class_folders / "cat"), size=16)
    for options, line in [
        ({"batch_size": 25}, "24 images .*batch_size=25"),
        ({"process_count": 3}, "does not divide among 3"),
        ({"stream": Stream("other")}, "unknown stream"),
        ({"stream": Stream("labelled")}, "labelled stream is empty"),
        ({"stream": Stream("unlabelled", 1.0)}, "unlabelled stream is empty"),
        ({"stream": Stream("labelled", 1.5)}, "between 0 and 1"),
        ({"pipeline": "magic"}, "unknown pipeline"),
    ]:
        with pytest.raises(UserError, match=line):
            batches(source, **{"batch_size": 8, "seed": 0, **options})
    with pytest.raises(UserError, match="no classes"):
        batches(flat, batch_size=4, seed=0, stream=Stream("labelled", 0.5))
    with pytest.raises(UserError, match="no image files"):
        batches(open_source("procedural:count=24", size=16), batch_size=8, seed=0, pipeline="tf.data")


def test_closing_in_the_middle_ends_the_threads(class_folders):
    import threading

    source = open_source(str(class_folders), size=32)  # resized: Pillow's path inside tf.data
    for pipeline in PIPELINES:
        for _ in range(10):
            _take(source, [0, 5], pipeline=pipeline)
        assert [t.name for t in threading.enumerate() if t.name.startswith(("decode", "batches"))] == []


def test_without_tensorflow_the_batches_are_the_same(class_folders, tmp_path):
    source = open_source(str(class_folders), size=16)
    np.save(tmp_path / "expected.npy", np.stack([b["image"] for b in _take(source, range(5), pipeline="tf.data")]))
    program = f"""
import sys
sys.modules["tensorflow"] = None
import numpy as np
from uit_jax.data import batches, open_source
from uit_jax.verbs.data import main
source = open_source({str(class_folders)!r}, size=16)
with batches(source, batch_size=8, seed=3) as loader:
    found = np.stack([loader.batch(step)["image"] for step in range(5)])
np.testing.assert_array_equal(found, np.load({str(tmp_path / "expected.npy")!r}))
assert main(["check", {str(class_folders)!r}]) == 0
assert main(["pack", {str(class_folders)!r}, {str(tmp_path / "packed")!r}, "--size", "16"]) == 0
with batches(open_source({str(tmp_path / "packed")!r}, size=16), batch_size=8, seed=3) as loader:
    np.testing.assert_array_equal(found[4], loader.batch(4)["image"])
from uit_jax.errors import UserError
try:
    open_source("tfds:mnist", size=16)
except UserError as error:
    assert "tensorflow" in str(error)
else:
    raise SystemExit("no error")
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_does_not_import_tensorflow():
    program = "import sys, uit_jax.data, uit_jax.verbs.data; assert 'tensorflow' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2]).returncode == 0


def test_no_pixel_depends_on_whether_tensorflow_is_installed(tmp_path):
    """Of damaged JPEGs TensorFlow accepts some that Pillow refuses, and reads some otherwise."""
    folder = Path(__file__).parent / "damaged"
    files, draw = [path.read_bytes() for path in sorted(folder.iterdir())], np.random.default_rng(0)
    for number in range(300):
        image = Image.fromarray(picture(number, 32, 32)).convert("RGB" if number % 5 else "L")
        data = bytearray(encode(image, "JPEG", quality=80, progressive=number % 3 == 0))
        for _ in range(number % 4):
            data[draw.integers(len(data))] ^= 1 << draw.integers(8)
        files.append(bytes(data[: len(data) - draw.integers(3) * draw.integers(40)]))
    for number, data in enumerate(files):
        (tmp_path / f"{number:03d}.jpg").write_bytes(data)
    steps = range(3 * len(files) // 8)  # three times all: seen, and then perhaps left to TensorFlow
    by_tf, by_threads = (
        _take(open_source(str(tmp_path), size=32), steps, pipeline=pipeline, max_unreadable_share=1.0)
        for pipeline in PIPELINES
    )
    _equal(by_tf, by_threads)
