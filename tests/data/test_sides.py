"""The sides of a method: every layout opens, what is wrong is one clear line, and step, row and seed decide all."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.data.domains import open_domains, open_test_domains
from tests.data.image_files import encode, picture
from uit_jax.data import (
    Wanted,
    batches,
    check_enough,
    check_same,
    describe,
    fingerprint,
    open_last_side,
    open_sides,
    open_source,
    open_test,
    open_test_sides,
    side_batches,
    splits,
)
from uit_jax.data.check import check
from uit_jax.data.order import Order, draws, permutation
from uit_jax.data.packing import pack
from uit_jax.errors import UserError
from uit_jax.images import decode as decoding
from uit_jax.method import Side, Stream
from uit_jax.verbs.data import main

SIZE = 16


def _fill(folder, count, *, start=0, size=(16, 16)):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        data = encode(Image.fromarray(picture(i, *size)), "JPEG", quality=95)
        (folder / f"{i:03d}.jpg").write_bytes(data)
    return folder


@pytest.fixture
def tree(tmp_path):
    """Make a tree of 7 trainA, 4 trainB, 3 testA and 2 testB; return its root."""
    for start, (name, count) in enumerate({"trainA": 7, "trainB": 4, "testA": 3, "testB": 2}.items()):
        _fill(tmp_path / "tree" / name, count, start=100 * start)
    return tmp_path / "tree"


def _fails(line, *specs, opened=open_domains, **options):
    with pytest.raises(UserError) as caught:
        opened(*map(str, specs), **{"size": SIZE, **options})
    assert line in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def _take(pair, asked, **options):
    with side_batches(pair, **{"batch_size": 4, "seed": 3, **options}) as loader:
        return [loader.batch(step) for step in asked]


def _equal(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert set(one) == set(other) == {"a", "b"}
        for side in one:
            np.testing.assert_array_equal(one[side], other[side])


# Layouts


def test_trees(tree):
    pair = open_domains(str(tree), size=SIZE)
    assert (list(pair), len(pair["a"]), len(pair["b"])) == (["a", "b"], 7, 4)
    assert describe(pair).startswith("A ") and "trainA: 7 images" in describe(pair)
    assert "; B " in describe(pair) and "trainB: 4 images" in describe(pair)
    np.testing.assert_array_equal(pair["b"].image(1), open_source(str(tree / "trainB"), size=SIZE).image(1))
    test = open_test_domains(str(tree), size=SIZE)
    assert (len(test["a"]), len(test["b"])) == (3, 2) and test["a"].names[0].endswith("testA/200.jpg")
    back = open_domains(str(tree), direction="BtoA", size=SIZE)
    assert (len(back["a"]), len(back["b"])) == (4, 7)
    np.testing.assert_array_equal(back["a"].image(1), pair["b"].image(1))
    back = open_test_domains(str(tree), direction="BtoA", size=SIZE)
    assert (len(back["a"]), len(back["b"])) == (2, 3)


def test_val_stands_for_test_and_b_may_be_missing_there(tree):
    (tree / "testA").rename(tree / "valA")
    shutil.rmtree(tree / "testB")
    pair = open_test_domains(str(tree), size=SIZE)
    assert set(pair) == {"a"} and len(pair["a"]) == 3 and describe(pair) == pair["a"].describe()
    _fails("has no testB split", tree, opened=open_test_domains, direction="BtoA")
    shutil.rmtree(tree / "valA")
    _fails("has no testA split", tree, opened=open_test_domains)


def test_two_sources_of_any_kind(tree, tmp_path, class_folders):
    a, b = tree / "trainA", tree / "testB"
    flat = open_domains(str(a), str(b), size=SIZE)
    assert (len(flat["a"]), len(flat["b"])) == (7, 2)
    one = open_domains(str(a / "000.jpg"), str(b), size=SIZE)
    assert len(one["a"]) == 1 and one["a"].names == [str(a / "000.jpg")] and len(one["b"]) == 2
    pets = open_domains(f"{class_folders}#cat", f"{class_folders}#dog", size=SIZE)
    assert (
        (len(pets["a"]), len(pets["b"])) == (12, 8) and pets["b"].classes == ("dog",) and set(pets["b"].labels) == {0}
    )
    np.testing.assert_array_equal(pets["b"].image(0), open_source(str(class_folders), size=SIZE).image(12))
    assert len(open_domains(f"{class_folders}#2", str(a), size=SIZE)["a"]) == 4  # a number
    mixed = open_domains(str(a), "procedural:count=20#star", size=SIZE)
    assert mixed["b"].classes == ("star",)
    pack(str(class_folders), tmp_path / "packed", size=SIZE)
    packed = open_domains(f"{tmp_path / 'packed'}#eel", str(a), size=SIZE)["a"]
    np.testing.assert_array_equal(packed.images([1, 3]), open_source(str(class_folders), size=SIZE).images([21, 23]))
    with pytest.raises(UserError, match="one set of images"):
        open_domains(f"{class_folders}#cat", size=SIZE)


def test_a_path_with_a_hash_is_a_path(tmp_path, tree):
    shutil.copytree(tree / "trainA", tmp_path / "take #2")
    assert len(open_domains(str(tmp_path / "take #2"), str(tree / "trainB"), size=SIZE)["a"]) == 7


def test_the_procedural_world_is_a_pair_of_its_own():
    pair = open_domains("procedural:count=60,species=3", size=SIZE, seed=2)
    whole = open_source("procedural:count=60,species=3", size=SIZE, seed=2)
    assert (pair["a"].classes, pair["b"].classes) == (("disk",), ("square",))
    for label, side in enumerate((pair["a"], pair["b"])):
        members = np.flatnonzero(whole.labels == label)
        np.testing.assert_array_equal(side.images(range(len(side))), whole.images(members))
        np.testing.assert_array_equal(side.scenes.position, whole.scenes[members].position)
    assert len(open_test_domains("procedural:count=60", size=SIZE)["b"]) > 0
    assert open_domains("procedural", size=0)["a"].shape == (256, 256, 3)
    assert open_domains("procedural:size=40,count=12", size=0)["a"].shape == (40, 40, 3)


def test_the_held_out_images_of_two_sources(tree, tmp_path, class_folders):
    shutil.copytree(class_folders, tmp_path / "split" / "train")
    shutil.copytree(class_folders / "cat", tmp_path / "split" / "test" / "cat")
    split, a, b = str(tmp_path / "split"), str(tree / "trainA"), str(tree / "trainB")
    cats = open_test_domains(f"{split}#cat", a, size=SIZE)
    assert len(cats["a"]) == 12 and "b" not in cats
    named = open_test_domains(a, b, str(tree / "testA"), str(tree / "testB"), size=SIZE)
    assert (len(named["a"]), len(named["b"])) == (3, 2)
    assert "b" not in open_test_domains(a, b, str(tree / "testA"), size=SIZE)
    both = open_test_domains(a, b, str(tree), size=SIZE)
    assert (len(both["a"]), len(both["b"])) == (3, 2)
    other = open_test_domains(str(tree), "", str(class_folders / "cat"), size=SIZE)
    assert (len(other["a"]), len(other["b"])) == (12, 2)
    shutil.rmtree(tree / "testA"), shutil.rmtree(tree / "testB")
    assert len(open_test_domains(a, b, str(tree), size=SIZE)["a"]) == 7  # named for it, and one whole
    _fails("has no test split", a, b, opened=open_test_domains)
    _fails("has no test split", a, b, "", tree / "trainB", opened=open_test_domains)
    _fails("leave data.test_target empty", a, b, a, tree, opened=open_test_domains)


def test_a_source_in_the_place_of_the_held_out_images_is_both_domains_or_what_is_translated(tree, class_folders):
    a, b, cats = str(tree / "trainA"), str(tree / "trainB"), str(class_folders / "cat")
    sides = Side("a", 3), Side("b", 3)

    def opened(spec, *specs, sides=sides, **options):
        found = open_test_sides(sides, Wanted(*map(str, specs), **options), str(spec), size=SIZE)
        return {name: len(source) for name, source in found.items()}

    assert opened(cats, tree) == {"a": 12, "b": 2} and opened(cats, tree, direction="BtoA") == {"a": 12, "b": 3}
    own = {"test_source": str(tree / "testA"), "test_target": str(tree / "testB")}
    for direction, left in {"AtoB": 2, "BtoA": 3}.items():
        assert opened(cats, a, b, direction=direction, **own) == {"a": 12, "b": left}
        assert opened(tree, a, b, direction=direction, **own) == {"a": 5 - left, "b": left}
    assert opened(cats, tree, direction="BtoA", test_source=str(tree)) == {"a": 12, "b": 3}
    assert opened(cats, class_folders, sides=(Side("image", 3),), direction="BtoA") == {"image": 12}


def test_of_the_last_side_the_held_out_images_are_opened_or_where_there_are_none_all(tree, class_folders):
    sides = Side("a", 3), Side("b", 3)

    def opened(*specs, sides=sides, spec="", **options):
        source = open_last_side(sides, Wanted(*map(str, specs), **options), str(spec), size=SIZE)
        return str(source.names[0]).removeprefix(f"{tree}/"), len(source)

    assert opened(tree) == ("testB/300.jpg", 2) and opened(tree, direction="BtoA") == ("testA/200.jpg", 3)
    a, b = tree / "trainA", tree / "trainB"
    assert opened(a, b) == ("trainB/100.jpg", 4) and opened(a, b, direction="BtoA") == ("trainA/000.jpg", 7)
    assert opened(a, b, test_source=str(tree)) == ("testB/300.jpg", 2)
    assert opened(a, b, test_target=str(tree / "testB")) == ("testB/300.jpg", 2)
    # Another pair, or a source of that side alone.
    assert opened(a, b, spec=tree) == ("testB/300.jpg", 2)
    assert opened(a, b, direction="BtoA", spec=tree) == ("testA/200.jpg", 3)
    assert opened(tree, spec=a) == opened(tree, spec=a, direction="BtoA") == ("trainA/000.jpg", 7)
    world = "procedural:species=3,test_count=60"
    assert opened(world) == opened("procedural", spec=f"{world}#1") != opened(world, direction="BtoA")
    (tree / "testB").rename(tree / "moved")
    assert opened(tree) == ("trainB/100.jpg", 4)
    one = (Side("image", 3),)
    assert opened(class_folders, sides=one)[1] == 24 and opened(class_folders, sides=one, test_source=str(a))[1] == 7
    with pytest.raises(UserError, match="holds image pairs"):
        opened(class_folders, sides=one, spec=tree)


def test_packed_pairs_open_as_pairs(tree, tmp_path):
    assert pack(str(tree), tmp_path / "out", size=12, channels=1, target_channels=3, resample="bicubic") == []
    options = dict(size=12, channels=1, target_channels=3, resample="bicubic")
    for opened in (open_domains, open_test_domains):
        packed, files = (opened(str(root), **options) for root in (tmp_path / "out", tree))
        for side in ("a", "b"):
            one, other = packed[side], files[side]
            np.testing.assert_array_equal(one.images(range(len(one))), other.images(range(len(other))))
            assert list(one.names) == list(other.names)
    _fails("is packed at 12 px, and 16 are asked for", tmp_path / "out")
    _equal(
        _take(open_domains(str(tmp_path / "out"), **options), range(3)),
        _take(open_domains(str(tree), **options), range(3)),
    )


def test_checking_a_pair(tree, capsys):
    shutil.copy(tree / "trainA" / "000.jpg", tree / "testB" / "copy.jpg")
    report = check(str(tree))
    assert [(part.split, part.count) for part in report.splits] == [
        ("trainA", 7), ("trainB", 4), ("testA", 3), ("testB", 3),
    ]  # fmt: skip
    assert report.usable and [one[-7:] for one, _ in report.shared] == ["000.jpg"]
    assert "in two splits       1" in str(report)
    assert main(["check", str(tree / "trainA" / "000.jpg")]) == 0
    shutil.rmtree(tree / "trainB")
    assert main(["check", str(tree)]) == 1 and "has trainA but not the other folder" in capsys.readouterr().out


# One side


def test_one_side_opens_as_its_source_does(class_folders, tmp_path):
    sides, root = (Side("image", 3, labelled=True),), tmp_path / "split"
    shutil.copytree(class_folders, root / "train")
    shutil.copytree(class_folders / "cat", root / "test" / "cat")
    for wanted in (Wanted(str(root)), Wanted(str(root), direction="?", test_source=str(class_folders))):
        train, test = open_sides(sides, wanted, size=SIZE), open_test_sides(sides, wanted, size=SIZE)
        assert list(train) == list(test) == ["image"]
        alone = open_source(wanted.source, size=SIZE), open_test(wanted.source, wanted.test_source, size=SIZE)
        for source, other in zip((train["image"], test["image"]), alone, strict=True):
            assert source.describe() == other.describe() and list(source.names) == list(other.names)
            np.testing.assert_array_equal(source.image(3), other.image(3))
        assert describe(train) == alone[0].describe()
    assert open_test_sides(sides, Wanted(str(root)), size=SIZE)["image"].classes == ("cat", "dog", "eel")
    test = open_sides(sides, Wanted(str(root)), split="test", size=SIZE)
    assert len(test["image"]) == 12
    with pytest.raises(UserError, match="has no test split"):
        open_test_sides(sides, Wanted(str(class_folders)), size=SIZE)
    with pytest.raises(UserError, match="set data.channels=3"):
        open_sides((Side("image", 5),), Wanted(str(root)), size=SIZE)


def test_labels_stand_beside_the_images_of_a_labelled_side(class_folders):
    sources = {"image": open_source(str(class_folders), size=SIZE)}
    for stream in (Stream(), Stream("partly_labelled", 0.3), Stream("labelled", 0.3)):
        with (
            side_batches(sources, beside={"image": ["label", "number"]}, stream=stream, batch_size=8, seed=3) as loader,
            batches(sources["image"], stream=stream, batch_size=8, seed=3) as alone,
            side_batches(sources, stream=stream, batch_size=8, seed=3) as unlabelled,
        ):
            for step in range(3):
                found, expected = loader.batch(step), alone.batch(step)
                assert list(found) == ["image", "label", "number"] and list(unlabelled.batch(step)) == ["image"]
                for name in found:
                    np.testing.assert_array_equal(found[name], expected[name])
    with pytest.raises(UserError, match="24 images .all. are fewer than batch_size=25"):
        side_batches(sources, batch_size=25, seed=3)


# What is wrong


def test_bad_pairs(tree, tmp_path, class_folders):
    _fails("one set of images", class_folders)
    _fails("set data.target", tree / "trainA")
    _fails("absent: no such folder", tmp_path / "absent")
    _fails("absent: no such folder", tree / "trainA", tmp_path / "absent")
    _fails("no such class; did you mean dog?", f"{class_folders}#dgo", tree / "trainA")
    _fails("no such class", f"{class_folders}#3", tree / "trainA")
    _fails("has no classes", f"{tree / 'trainA'}#cat", tree / "trainB")
    _fails("name a class behind the #", f"{class_folders}#", tree / "trainB")
    _fails("data.source=", tree, tree / "trainB")
    _fails("data.target=", tree / "trainA", tree)
    _fails("data.source is empty", "")
    _fails("unknown split", tree, split="valid")
    _fails("data.direction is 'AtoC'", tree, direction="AtoC")
    _fails("data.target_channels is -1", tree, target_channels=-1)
    _fails("data.depth is 12", tree, depth=12)
    _fails("data.resample is 'area'; it is one of bilinear, bicubic", tree, resample="area")
    _fails("no images of this class", "procedural:count=1#0", "procedural:count=1#1", seed=5)
    (tree / "notes.txt").write_text("no image")
    _fails("notes.txt: is not an image file", tree / "notes.txt", tree / "trainB")
    _fails("has no test split", tree / "trainA" / "000.jpg", tree / "trainB", split="test")
    with pytest.raises(UserError, match="holds image pairs"):
        open_source(str(tree), size=SIZE)
    with pytest.raises(UserError, match="holds image pairs"):
        splits(str(tree))
    for file in (tree / "trainA").iterdir():
        file.unlink()
    _fails("trainA: no images found", tree)
    (tree / "trainA").rmdir()
    _fails("has trainB but no trainA", tree)
    (tree / "trainB").rename(tree / "trainA")
    _fails("has trainA but no trainB", tree)


def test_bad_batches(tree):
    pair = open_domains(str(tree), size=SIZE)
    for options, line in [({"process_count": 3}, "does not divide among 3"), ({"pipeline": "magic"}, "pipeline")]:
        with pytest.raises(UserError, match=line):
            side_batches(pair, **{"batch_size": 4, "seed": 0, **options})


@pytest.mark.parametrize("pipeline", ["tf.data", "threads"])
def test_unreadable_files_are_replaced_up_to_the_share(tree, pipeline):
    (tree / "trainB" / "101.jpg").write_bytes(b"junk")
    drawn = _take(open_domains(str(tree), size=SIZE), range(6), max_unreadable_share=0.3, pipeline=pipeline)
    good = {open_domains(str(tree), size=SIZE)["b"].image(i).tobytes() for i in (0, 2, 3)}
    assert {image.tobytes() for batch in drawn for image in batch["b"]} == good
    with pytest.raises(UserError, match="trainB: 1 of 4 images.*101.jpg"):
        _take(open_domains(str(tree), size=SIZE), range(6), pipeline=pipeline)


def test_no_readable_file_at_all(tree):
    for file in (tree / "trainB").iterdir():
        file.write_bytes(b"junk")
    with pytest.raises(UserError, match="trainB: .* of 4 images met so far are unreadable"):
        _take(open_domains(str(tree), size=SIZE), range(3))
    _fails("trainB: none of its 4 images is readable", tree, size=0)
    lone = tree / "trainB" / "100.jpg"
    with pytest.raises(UserError, match="1 of 1 images met so far"):
        _take(open_domains(str(tree / "trainA"), str(lone), size=SIZE), range(3))


def test_going_on_with_other_images(tree, class_folders):
    alone = {"image": open_source(str(class_folders), size=SIZE)}
    assert fingerprint(alone) == {"images": 24, "classes": ["cat", "dog", "eel"]}
    pair = open_domains(str(tree), size=SIZE)
    assert fingerprint(pair) == {"images": 7, "target_images": 4}
    for sources in (alone, pair):
        check_same({"next_step": 5, **fingerprint(sources)}, sources)
    with pytest.raises(UserError, match="the source now has images 24, the run began with 30: continue on the same"):
        check_same({**fingerprint(alone), "images": 30}, alone)
    with pytest.raises(UserError, match="now has target_images 4, the run began with 5"):
        check_same({"images": 7, "target_images": 5}, pair)
    with pytest.raises(UserError, match="now has classes"):
        check_same({"images": 24, "classes": ["cat"]}, alone)


def test_one_side_needs_a_batch_of_images(tree, class_folders):
    alone = {"image": open_source(str(class_folders), size=SIZE)}
    check_enough("data.source=pets", alone, 24)
    check_enough("", open_domains(str(tree), size=SIZE), 100)
    with pytest.raises(UserError, match="^data.source=pets: 24 images are fewer than batch_size=25: lower it$"):
        check_enough("data.source=pets", alone, 25)


# The order


def test_the_order_is_frozen():
    assert draws(0, 0, 8, 100).tolist() == [79, 6, 87, 55, 30, 66, 51, 59]
    frozen = [3, 3, 1, 6, 6, 1, 6, 0]
    assert draws(5, 2, 8, 7).tolist() == frozen
    order = Order(np.arange(5), 8, False, 4, seed=5)
    assert np.concatenate([order.rows(4), order.rows(5)]).tolist() == (permutation(5, 2, 8) % 5).tolist()
    order = Order(np.arange(7), 8, True, 4, seed=5)
    assert np.concatenate([order.rows(4), order.rows(5)]).tolist() == frozen


def test_one_order_draws_what_those_of_one_source_and_of_pairs_drew():
    """As computed by version 0.1.0, which had one for each."""
    members = np.array([1, 2, 5, 7, 8, 11, 12])
    expected = [[2, 12, 1, 7], [11, 8, 5, 12], [8, 1, 11, 5], [7, 2, 8, 5], [2, 11, 12, 1]]
    assert [Order(members, 7, False, 4, 9).rows(step).tolist() for step in range(5)] == expected
    assert [Order(members, 7, False, 4, 9, process, 2).rows(3).tolist() for process in (0, 1)] == [[7, 2], [8, 5]]
    few = Order(np.array([3, 4, 6]), 3, False, 8, seed=1)
    assert few.rows(0).tolist() == [6, 3, 4, 4, 3, 6, 4, 3] and few.rows(7).tolist() == [6, 6, 3, 4, 6, 3, 4, 4]
    for count, drawn, expected in (
        (7, False, [[1, 6, 0], [3, 5, 4], [2, 6, 4], [1, 4, 2]]),
        (4, True, [[0, 1, 1], [0, 1, 1], [3, 3, 3], [0, 3, 1]]),
        (4, False, [[1, 2, 0], [3, 1, 0], [2, 2, 0], [1, 0, 2]]),
        (7, True, [[6, 0, 3], [4, 0, 0], [2, 0, 2], [5, 2, 1]]),
    ):
        order = Order(np.arange(count), 7, drawn, 3, seed=9)
        assert [order.rows(step).tolist() for step in (0, 1, 2, 1000)] == expected
    assert [Order(np.arange(4), 7, True, 4, 9, process, 2).rows(3).tolist() for process in (0, 1)] == [[2, 0], [1, 0]]


@pytest.mark.parametrize("a, b", [(7, 4), (4, 7), (3, 10), (5, 5), (1, 1), (1, 9)])
def test_a_is_gone_through_evenly(a, b):
    length, batch = max(a, b), 3
    order = Order(np.arange(a), length, False, batch, seed=1)
    rows = np.concatenate([order.rows(step) for step in range(length)])  # three whole epochs
    for epoch in rows.reshape(batch, length):
        counts = np.bincount(epoch, minlength=a)
        assert counts.min() >= length // a and counts.max() <= -(-length // a)
    if a > 1 and length > 4:
        assert len({tuple(epoch) for epoch in rows.reshape(batch, length)}) == 3


@pytest.mark.parametrize("a, b", [(40, 10), (10, 40)])
def test_b_is_drawn_uniformly_and_apart_from_a(a, b):
    length, epochs = 40, 500
    sides = Order(np.arange(a), length, False, 8, seed=2), Order(np.arange(b), length, True, 8, seed=2)
    rows_a, rows_b = (np.concatenate([side.rows(t) for t in range(length * epochs // 8)]) for side in sides)

    def chi_square(counts):
        mean = counts.sum() / counts.size
        return ((counts - mean) ** 2 / mean).sum()

    degrees = b - 1
    assert chi_square(np.bincount(rows_b, minlength=b)) < degrees + 4 * np.sqrt(2 * degrees)
    joint = np.zeros((a, b))
    np.add.at(joint, (rows_a, rows_b), 1)
    degrees = a * b - 1
    assert abs(chi_square(joint) - degrees) < 4 * np.sqrt(2 * degrees)
    # A uniform draw misses images in an epoch, as a permutation would not.
    assert any(len(set(epoch)) < min(b, length) for epoch in rows_b.reshape(epochs, length))


@pytest.mark.parametrize("size", [16, 12, 0])
def test_both_pipelines_give_the_same_batches(tree, size):
    pair = open_domains(str(tree), size=size, resample="bicubic")
    by_tf, by_threads = (_take(pair, range(6), pipeline=p) for p in ("tf.data", "threads"))
    _equal(by_tf, by_threads)
    orders = Order(np.arange(7), 7, False, 4, 3), Order(np.arange(4), 7, True, 4, 3)
    for step, batch in enumerate(by_tf):
        for side, order in zip("ab", orders, strict=True):
            expected = np.stack([pair[side].image(int(i)) for i in order.rows(step)])
            np.testing.assert_array_equal(batch[side], expected)


@pytest.mark.parametrize("pipeline", ["tf.data", "threads"])
def test_any_step_at_once_and_any_number_of_processes(tree, pipeline):
    pair = open_domains(str(tree), size=SIZE)
    straight = _take(pair, range(8), pipeline=pipeline)
    for first in (1, 5):
        _equal(_take(pair, range(first, 8), start_step=first, pipeline=pipeline), straight[first:])
    _equal(_take(pair, [7, 2, 0], pipeline=pipeline), [straight[i] for i in (7, 2, 0)])
    _equal(_take(pair, [1, 4, 6], steps=(s for s in (1, 4, 6)), pipeline=pipeline), [straight[i] for i in (1, 4, 6)])
    shares = [_take(pair, range(8), process_index=p, process_count=2, pipeline=pipeline) for p in (0, 1)]
    _equal([{k: np.concatenate([one[k], two[k]]) for k in one} for one, two in zip(*shares, strict=True)], straight)
    assert any(not np.array_equal(x["b"], y["b"]) for x, y in zip(straight, _take(pair, range(8), seed=4), strict=True))


def test_tensorflow_reads_each_side_where_it_helps(tree):
    shutil.rmtree(tree / "trainB")
    _fill(tree / "trainB", 5, size=(20, 20))

    def chosen(**options):
        with side_batches(open_domains(str(tree), **options), batch_size=4, seed=0) as loader:
            loader.batch(0)
            return loader.pipelines

    assert chosen(size=16) == ("tf.data", "threads") and chosen(size=20) == ("threads", "tf.data")
    assert chosen(size=0) == ("tf.data", "tf.data") and chosen(size=16, depth=16) == ("threads", "threads")


# Images of their own size


def test_two_single_images_of_their_own_sizes(tmp_path):
    a, b = _fill(tmp_path / "a", 1, size=(24, 31)), _fill(tmp_path / "b", 1, start=5, size=(17, 22))
    for pair in (open_domains(str(a), str(b), size=0), open_domains(str(a / "000.jpg"), str(b / "005.jpg"), size=0)):
        assert (pair["a"].shape, pair["b"].shape) == ((24, 31, 3), (17, 22, 3))
        assert "1 image, 31 x 24 px" in describe(pair)
        batch = _take(pair, [5])[0]
        assert batch["a"].shape == (4, 24, 31, 3) and batch["b"].shape == (4, 17, 22, 3)
        assert all(np.array_equal(image, batch["a"][0]) for image in batch["a"])


def test_own_sizes_must_be_one(tree, tmp_path):
    assert open_domains(str(tree), size=0)["a"].shape == (16, 16, 3)
    _fill(tree / "trainB", 2, start=150, size=(18, 20))
    _fails("100.jpg is 16 x 16 and ", tree, size=0)
    _fails("150.jpg is 20 x 18: images that are read at their own size must all have one", tree, size=0)
    turned = Image.Exif()
    turned[0x0112] = 6
    _fill(tmp_path / "flat", 1, size=(10, 14))
    stored = Image.fromarray(picture(3, 14, 10))
    (tmp_path / "flat" / "turned.jpg").write_bytes(encode(stored, "JPEG", exif=turned))
    (tmp_path / "flat" / "turned.png").write_bytes(encode(stored, "PNG", exif=turned))
    assert open_source(str(tmp_path / "flat"), size=0).images(range(3)).shape == (3, 10, 14, 3)


def test_packing_at_the_own_size(tmp_path):
    _fill(tmp_path / "a", 3, size=(10, 14))
    pack(str(tmp_path / "a"), tmp_path / "out", size=0)
    files, packed = (open_source(str(tmp_path / name), size=0) for name in ("a", "out"))
    assert packed.shape == (10, 14, 3) and packed.size == (10, 14)
    np.testing.assert_array_equal(packed.images(range(3)), files.images(range(3)))
    assert check(str(tmp_path / "out")).splits[0].sizes == {(14, 10): 3}
    with pytest.raises(UserError, match="is packed at 14 x 10 px, and 12 are asked for .*: pack with --size 12"):
        open_source(str(tmp_path / "out"), size=12)
    smaller = open_source(str(tmp_path / "out"), size=8)
    assert smaller.shape == (8, 8, 3)
    np.testing.assert_array_equal(smaller.images(range(3)), open_source(str(tmp_path / "a"), size=8).images(range(3)))


@pytest.mark.parametrize("depth, channels, resample", [(8, 3, "bilinear"), (8, 1, "bicubic"), (16, 3, "bicubic")])
def test_what_is_packed_larger_than_asked_for_is_resized(tmp_path, depth, channels, resample):
    """As CUT asks, which crops at first and later resizes."""
    _fill(tmp_path / "a" / "cat", 2, size=(20, 20))
    _fill(tmp_path / "a" / "dog", 3, size=(20, 20))
    pack(str(tmp_path / "a"), tmp_path / "out", size=18, depth=depth)
    how = dict(depth=depth, channels=channels, resample=resample)
    for name, count in (("out", 5), ("out#dog", 3)):
        stored, found = (open_source(str(tmp_path / name), size=size, **how) for size in (18, 12))
        assert (found.shape, found.dtype, len(found)) == ((12, 12, channels), stored.dtype, count)
        wanted = [decoding.resize(image, (12, 12), resample) for image in stored.images(range(count))]
        np.testing.assert_array_equal(found.images(range(count)), wanted)
        assert found.images([]).shape == (0, 12, 12, channels)
        assert found.images([1]).dtype == stored.dtype


def test_a_handful_of_images_is_decoded_once(tmp_path, monkeypatch):
    source = open_domains(str(_fill(tmp_path / "a", 1)), str(_fill(tmp_path / "b", 1)), size=SIZE)["a"]
    monkeypatch.setattr(source, "encoded", None)
    image = source.image(0)
    with pytest.raises(ValueError):
        image[0] = 0
    assert source.image(0) is image
