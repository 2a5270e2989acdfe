"""`uit search`: the neighbours are numpy's, and the picture, the text and the JSON say the same."""

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from tests import method_table as table
from tests import toy, toy_translator
from tests.saved_run import save
from uit_jax import checkpoint, data, main, runs
from uit_jax.images import pictures
from uit_jax.inference import search

SIZE = 16


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Let every workdir hold a method with styles and without pseudo domains, trained on `tmp_path/set`."""
    config = toy.config(SIZE, source=str(tmp_path / "set"))
    method = toy.method(image_size=SIZE)
    found = SimpleNamespace(config=config, method=toy.altered(method, readouts={"style": method.style}))
    state = SimpleNamespace(step=7, **toy.variables(), variables=toy_translator.variables())

    def open_run(workdir, which):
        return toy.restored(found.config, found.method, state)(workdir, which)

    monkeypatch.setattr(checkpoint, "restore_variables", open_run)
    return found


def paint(path, color, size=(SIZE, SIZE)):
    """Write an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, tuple(int(c) for c in color)).save(path)
    return path


def paint_set(root, count=6, seed=0):
    """Write a split tree of two classes: train/{cat,dog} and test/{cat,dog}, the cats reddish and the dogs bluish."""
    rng = np.random.default_rng(seed)
    for split in ("train", "test"):
        for i in range(count):
            paint(root / split / "cat" / f"{i}.png", rng.integers((150, 0, 0), (256, 100, 100)))
            paint(root / split / "dog" / f"{i}.png", rng.integers((0, 0, 150), (100, 100, 256)))


def uit(tmp_path, *arguments):
    named = [f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'search.png'}", f"--json={tmp_path / 'found.json'}"]
    # The last of two equal options counts.
    return main.main(["search", *named, "--overwrite", *(str(a) for a in arguments)])


def found(tmp_path):
    return json.loads((tmp_path / "found.json").read_text())


def unit(path):
    """Return the toy's style code of an image file, at length 1."""
    code = np.asarray(Image.open(path).convert("RGB").resize((SIZE, SIZE)), np.float64).mean((0, 1)) / 127.5 - 1
    return code / np.linalg.norm(code)


def expected(query, others, count):
    """Return the nearest of some files, by numpy: [(path, cosine)]."""
    cosines = [(str(path), float(unit(query) @ unit(path))) for path in others]
    return sorted(cosines, key=lambda each: -each[1])[:count]


def cell(picture, row, column, side=64):
    """Return a cell of a picture with two lines of caption below each, by the layout's own arithmetic."""
    y = pictures.MARGIN + 28 + row * (side + 30 + 2 * pictures.GAP)
    x = pictures.MARGIN + column * (side + pictures.GAP) + (pictures.FRAME if column else 0)
    return picture[y : y + side, x : x + side]


def test_the_nearest_test_images_of_files_are_numpys(tmp_path, opened, capsys):
    paint_set(tmp_path / "set")
    queries = [paint(tmp_path / "asked" / f"{i}.png", color) for i, color in enumerate(((200, 30, 60), (20, 60, 220)))]
    assert uit(tmp_path, f"--query={tmp_path / 'asked'}", "--count=4") == 0
    result, files = found(tmp_path), sorted((tmp_path / "set" / "test").rglob("*.png"))
    assert (result["images"], result["unreadable_images"], result["step"], len(result["queries"])) == (12, 0, 7, 2)
    text, picture = capsys.readouterr().out, np.asarray(Image.open(tmp_path / "search.png"))
    for row, (query, told) in enumerate(zip(queries, result["queries"], strict=True)):
        right = expected(query, files, 4)
        assert told["image"] == str(query) and "class" not in told
        assert [near["image"] for near in told["neighbours"]] == [path for path, _ in right]
        np.testing.assert_allclose([near["cosine"] for near in told["neighbours"]], [c for _, c in right], atol=1e-5)
        for column, path in enumerate([str(query), *(path for path, _ in right)]):
            color = np.asarray(Image.open(path))[0, 0]
            assert (cell(picture, row, column) == color).all()
        for path, cosine in right:
            assert re.search(rf"{cosine:.4f}  {path.split('/')[-2]}  {re.escape(path)}", text)
    assert {near["class"] for near in result["queries"][0]["neighbours"]} == {"cat"}
    assert {near["class"] for near in result["queries"][1]["neighbours"]} == {"dog"}


def test_a_query_is_not_its_own_neighbour_by_whatever_name(tmp_path, opened, monkeypatch):
    paint_set(tmp_path / "set")
    files = sorted((tmp_path / "set" / "test").rglob("*.png"))
    own, double = files[3], tmp_path / "set" / "test" / "dog" / "double.png"
    double.write_bytes(own.read_bytes())
    (tmp_path / "link.png").symlink_to(own)
    monkeypatch.chdir(own.parent)
    right = expected(own, [double, *files[:3], *files[4:]], 5)
    for name in (own, own.name, tmp_path / "link.png"):
        assert uit(tmp_path, f"--query={name}", "--count=5") == 0
        (told,) = found(tmp_path)["queries"]
        assert told["image"] == str(name) and told["class"] == "cat"
        assert [near["image"] for near in told["neighbours"]] == [path for path, _ in right]
    # Another file with the same pixels is another image.
    assert right[0] == (str(double), pytest.approx(1))


def test_without_a_query_images_of_the_source_are_asked(tmp_path, opened, capsys):
    opened.config.data.source = "procedural:species=3,test_count=40"
    assert uit(tmp_path, "--queries=3", "--count=2") == 0
    result = found(tmp_path)
    assert result["images"] == 40
    world = data.open_source(opened.config.data.source, split="test", size=SIZE)
    codes = world.images(range(40)).mean((1, 2)) / 127.5 - 1
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    cosines = codes @ codes.T - 9 * np.eye(40)
    for query, told in zip((0, 19, 39), result["queries"], strict=True):
        assert told["image"] == world.names[query] and told["class"] == world.classes[world.labels[query]]
        nearest = np.argsort(-cosines[query])[:2]
        assert [near["image"] for near in told["neighbours"]] == [world.names[k] for k in nearest]
        assert [near["class"] for near in told["neighbours"]] == [world.classes[world.labels[k]] for k in nearest]
    assert "procedural:species=3,test_count=40 test#39" in capsys.readouterr().out


def test_what_is_searched(tmp_path, opened):
    """The source that is named; else the run's test source; else its training source: of each the test split."""
    paint_set(tmp_path / "set")
    query = paint(tmp_path / "q.png", (200, 30, 60))
    for i in range(5):
        paint(tmp_path / "flat" / f"{i}.png", (10 * i, 9, 9))
        paint(tmp_path / "flat2" / f"{i}.png", (9, 10 * i, 9))

    def searched(*arguments):
        assert uit(tmp_path, f"--query={query}", "--count=3", *arguments) == 0
        return {os.path.relpath(near["image"], tmp_path) for near in found(tmp_path)["queries"][0]["neighbours"]}

    assert all(name.startswith("set/test/cat") for name in searched())
    assert all(name.startswith("set/train/cat") for name in searched(f"--source={tmp_path / 'set' / 'train'}"))
    assert all(name.startswith("set/test/dog") for name in searched(f"--source={tmp_path / 'set'}#dog"))
    opened.config.data.test_source = str(tmp_path / "flat")
    assert all(name.startswith("flat/") for name in searched())
    assert all(name.startswith("flat2/") for name in searched(f"--source={tmp_path / 'flat2'}"))
    opened.config.data.__dict__.update(test_source="", source=str(tmp_path / "flat"))
    assert all(name.startswith("flat/") for name in searched("--images=3"))
    assert found(tmp_path)["images"] == 3
    # Without classes the file's name is the caption.
    assert "class" not in found(tmp_path)["queries"][0]["neighbours"][0]


def test_of_a_folder_of_queries_some_are_asked(tmp_path, opened, capsys):
    paint_set(tmp_path / "set")
    assert uit(tmp_path, f"--query={tmp_path / 'set' / 'train'}", "--count=2", "--queries=3") == 0
    asked = [query["image"].rsplit("/", 2)[1:] for query in found(tmp_path)["queries"]]
    assert asked == [["cat", "0.png"], ["cat", "5.png"], ["dog", "5.png"]]
    assert "3 of the 12 images of" in capsys.readouterr().out
    assert uit(tmp_path, f"--query={tmp_path / 'set' / 'train'}", "--count=2") == 0
    assert len(found(tmp_path)["queries"]) == 8


def test_unreadable_images_are_named_and_left_out(tmp_path, opened, capsys, caplog):
    paint_set(tmp_path / "set")
    for name in ("cat/2.png", "dog/0.png"):
        (tmp_path / "set" / "test" / name).write_bytes(b"torn")
    paint(tmp_path / "asked" / "a.png", (200, 30, 60))
    (tmp_path / "asked" / "b.png").write_bytes(b"torn")
    assert uit(tmp_path, f"--query={tmp_path / 'asked'}", "--count=10") == 0
    result, error = found(tmp_path), capsys.readouterr().err
    assert (result["images"], result["unreadable_images"]) == (10, 2) and len(result["queries"]) == 1
    assert "cat/2.png: not an image" in error and "dog/0.png: not an image" in error
    assert "asked/b.png is left out" in caplog.text
    names = [near["image"] for near in result["queries"][0]["neighbours"]]
    assert len(set(names)) == 10 and not any(name.endswith(("cat/2.png", "dog/0.png")) for name in names)
    # Ten are left, though twelve were to be searched.
    assert uit(tmp_path, f"--query={tmp_path / 'asked'}", "--count=11") == 2
    assert "--count=11 is more than the 10 images of" in capsys.readouterr().err


def test_sixteen_bits_of_one_channel(tmp_path, opened):
    opened.config.data.__dict__.update(depth=16, source=str(tmp_path / "flat"))
    opened.method = toy.method(image_size=SIZE, channels=1)
    for i in range(4):
        (tmp_path / "flat").mkdir(exist_ok=True)
        Image.fromarray(np.full((SIZE, SIZE), 9000 * i, np.uint16)).save(tmp_path / "flat" / f"{i}.png")
    assert uit(tmp_path, f"--query={tmp_path / 'flat' / '3.png'}", "--count=2") == 0
    assert found(tmp_path)["queries"][0]["neighbours"][0]["cosine"] == 1


def test_errors_are_one_line_and_leave_nothing(tmp_path, opened, capsys):
    paint_set(tmp_path / "set", count=2)
    paint(tmp_path / "pair" / "trainA" / "0.png", (9, 9, 9))
    paint(tmp_path / "pair" / "trainB" / "0.png", (9, 9, 9))
    query = f"--query={paint(tmp_path / 'q.png', (200, 30, 60))}"
    own = f"--query={tmp_path / 'set' / 'test' / 'cat' / '0.png'}"
    for name in ("empty", "torn"):
        (tmp_path / name).mkdir()
    (tmp_path / "torn" / "0.png").write_bytes(b"torn")
    (tmp_path / "file").write_text("")
    few = "--count=1"
    cases = [
        ([f"--query={tmp_path / 'no.png'}", few], "no.png: no such file or folder"),
        ([f"--query={tmp_path / 'empty'}", few], "no images in this folder"),
        ([f"--query={tmp_path / 'torn'}", few], "query .*torn/0.png cannot be read: not an image"),
        ([query, few, f"--source={tmp_path / 'none'}"], "none: no such folder"),
        ([query, few, f"--source={tmp_path / 'empty'}"], "empty: no images found"),
        ([query, few, f"--source={tmp_path / 'torn'}"], "torn: none of its 1 images can be read .*0.png: not an"),
        ([query, few, f"--source={tmp_path / 'pair'}"], "holds image pairs"),
        ([query, "--count=8"], r"--count=8 is more than the 4 images of .*set/test that are searched"),
        ([query, "--count=3", "--images=2"], "--count=3 is more than the 2 images of"),
        ([own, "--count=4"], "--count=4 is more than the 3 other images of"),
        (["--count=4"], "--count=4 is more than the 3 other images of"),
        ([query, few, f"--out={tmp_path / 'x.txt'}"], "--out=.*x.txt: give the name of a picture"),
        ([query, few, f"--out={tmp_path / 'file' / 'x.png'}"], "is a file"),
        ([query, few, f"--json={tmp_path / 'empty'}"], "--json=.*empty is a folder"),
        ([query, few, f"--json={tmp_path / 'search.png'}"], "--out and --json would both be written to .*search.png"),
        ([query, few, query.replace("--query", "--out")], ".png is one of the files that are read"),
    ]
    for arguments, message in cases:
        before = sorted(tmp_path.rglob("*"))
        assert uit(tmp_path, *arguments) == 2, arguments
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("uit: ")]
        assert len(error) == 1 and re.search(message, error[0]), (arguments, error)
        assert sorted(tmp_path.rglob("*")) == before, arguments
    opened.method = toy_translator.method()
    assert uit(tmp_path, query) == 2
    assert "the method of this run has no style codes to search by" in capsys.readouterr().err


def test_files_that_are_there_are_replaced_only_when_asked_to(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "search.png", (1, 2, 3))
    assert main.main(["search", f"--workdir={tmp_path / 'run'}"]) == 2
    line = "uit: search.png is there already: name another place, or replace by --overwrite\n"
    assert capsys.readouterr().err == line


def test_of_fewer_images_than_are_found_by_default_all_are(tmp_path, opened):
    paint_set(tmp_path / "set", count=2)
    assert uit(tmp_path, f"--query={paint(tmp_path / 'q.png', (200, 30, 60))}") == 0
    assert [len(each["neighbours"]) for each in found(tmp_path)["queries"]] == [4]
    assert uit(tmp_path, "--overwrite") == 0
    assert {len(each["neighbours"]) for each in found(tmp_path)["queries"]} == {3}


def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path, opened, monkeypatch, capsys):
    paint_set(tmp_path / "set", count=2)

    write = Path.write_bytes

    def full(path, content):
        if path.suffix != ".json":
            return write(path, content)
        path.open("wb").write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert uit(tmp_path, "--count=2") == 2
    assert "found.json cannot be written: No space left on device" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["search.png", "set"]


def test_codes_are_encoded_in_batches_of_one_size(tmp_path, opened, monkeypatch):
    seen, read = [], opened.method.readouts["style"]
    opened.method = toy.altered(opened.method, readouts={"style": lambda v, x: seen.append(x.shape) or read(v, x)})
    opened.config.data.source = "procedural:species=3,test_count=11"
    monkeypatch.setattr(search, "_CHUNK", 4)
    assert uit(tmp_path, "--count=2") == 0 and seen == [(11, SIZE, SIZE, 3)]


@pytest.mark.parametrize("name", [name for name in table.TINY if "style" in table.build(name).readouts])
def test_a_real_checkpoint_is_asked(name, tmp_path):
    """Through the trainer's own files, of every method with styles."""
    save(tmp_path / "run", name, **{"data.source": "procedural:count=8,test_count=24,species=2"})
    assert uit(tmp_path, "--count=3", "--queries=2") == 0
    (first, _), run = found(tmp_path)["queries"], runs.load(tmp_path / "run")
    # Of two domains, styles are those of the second.
    source = data.open_test(run.config.data.source + "#1" * (len(run.method.sides) > 1), size=SIZE)
    images = (source.images(range(len(source))) / 127.5 - 1).astype(np.float32)
    codes = np.asarray(jax.jit(run.method.readouts["style"])(run.variables, images))
    codes = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    nearest = np.sort(codes[1:] @ codes[0])[::-1][:3]
    np.testing.assert_allclose([near["cosine"] for near in first["neighbours"]], nearest, atol=1e-4)
