"""A labels file says every training image's label, or one line says what is wrong with it."""

import numpy as np
import pytest
from PIL import Image

from uit_jax.data import fingerprint, of_training, open_source, relabelled
from uit_jax.data.labels import write
from uit_jax.data.packing import pack
from uit_jax.errors import UserError


def keys(source):
    return [source.key(index) for index in range(len(source))]


def test_labels_come_back_as_they_were_written(tmp_path, class_folders):
    source, path = open_source(str(class_folders), size=16), tmp_path / "labels.csv"
    given = np.arange(24) % 11
    write(path, source, given)
    found = relabelled(source, path)
    assert found.classes == tuple(str(number) for number in range(11))  # 10 behind 9
    assert found.labels.dtype == np.int32
    np.testing.assert_array_equal(found.labels, given)
    np.testing.assert_array_equal(found.image(3), source.image(3))
    assert source.classes == ("cat", "dog", "eel") and source.labels[-1] == 2
    assert keys(source)[:2] == ["cat/cat00.jpg", "cat/cat01.jpg"]
    assert open_source(f"{class_folders}#eel", size=16).key(0) == "eel/eel00.jpg"
    assert len(found.of_class("10")) == 2


def test_labels_are_any_texts_in_any_order(tmp_path):
    """As a spreadsheet writes them: with a mark at the beginning, other line ends, quotes, and a line without text."""
    root = tmp_path / "flat"
    (root / "a, b").mkdir(parents=True)
    for name in ("1.png", "2.png", "a, b/3.png"):
        Image.new("RGB", (16, 16)).save(root / name)
    path = tmp_path / "labels.csv"
    path.write_bytes('\ufeffimage,label\r\n"a, b/3.png",tabby cat\r\n2.png,pug\r\n\r\n1.png,tabby cat\r\n'.encode())
    found = relabelled(open_source(str(root), size=16), path)
    assert found.classes == ("pug", "tabby cat") and found.labels.tolist() == [1, 0, 1]


def test_an_accent_is_one_however_it_is_written_and_a_blank_is_no_part_of_a_label(tmp_path):
    root = tmp_path / "flat"
    root.mkdir()
    for name in ("cha\u0302t.png", "\u00e9te.png"):
        Image.new("RGB", (16, 16)).save(root / name)
    path = tmp_path / "labels.csv"
    path.write_text("image,label\nch\u00e2t.png, 2\ne\u0301te.png,10 \n", encoding="utf-8")
    found = relabelled(open_source(str(root), size=16), path)
    assert found.classes == ("2", "10") and sorted(found.labels.tolist()) == [0, 1]


def test_a_file_is_of_the_procedural_worlds_numbers(tmp_path):
    source, path = open_source("procedural:count=6", size=16), tmp_path / "labels.csv"
    assert keys(source) == list("012345")
    write(path, source, list("babbab"))
    found = relabelled(source, path)
    assert found.classes == ("a", "b") and found.labels.tolist() == [1, 0, 1, 1, 0, 1]
    part = found.of_class("a")
    assert keys(part) == ["1", "4"] and (part.images([1]) == source.images([4])).all()
    assert (found.scenes.species == source.scenes.species).all()  # what it is scored by


def test_a_packed_set_goes_by_the_names_that_it_keeps(tmp_path, class_folders):
    pack(str(class_folders), tmp_path / "packed", size=16)
    source = open_source(str(tmp_path / "packed"), size=16)
    write(tmp_path / "labels.csv", source, np.arange(24) // 12)
    assert relabelled(source, tmp_path / "labels.csv").labels.tolist() == [0] * 12 + [1] * 12


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("image,label 0,a 1,b", "says no label of 2; add a line of each, or write it for this source: `uit data"),
        ("image,label 1,b", "says no label of 0 and of 1 more; add"),
        ("image,label 0,a 1,b 2,b 3,c 9,c", "names 3 and 1 more, not in procedural:count=3; remove the lines, or"),
        ("image,label 0,a 1,b 0,b 2,a", "lines 2 and 4 both name 0; remove one of them"),
        ("image,label 0,a 1 2,a", "line 3 is not IMAGE,LABEL; give each image one label"),
        ("image,label 0,a 1, 2,a", "line 3 is not IMAGE,LABEL"),
        ("0,a 1,b 2,b", "does not begin with the line image,label; put it first"),
        ("", "does not begin with the line"),
        ("image,label 0,2 1,02 2,1", "the labels '02' and '2' are one number; write it in one way"),
        ('image,label 0,"a', "is no CSV file (unexpected end of data); its lines are IMAGE,LABEL"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, lines, told):
    path = tmp_path / "labels.csv"
    path.write_text(lines.replace(" ", "\n"))
    with pytest.raises(UserError) as caught:
        relabelled(open_source("procedural:count=3", size=16), path)
    assert str(caught.value).startswith(f"{path}: {told}") and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named_with_its_setting(tmp_path):
    source = open_source("procedural:count=3", size=16)
    with pytest.raises(UserError, match="data.labels=.*none.csv: cannot be read"):
        relabelled(source, tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("image,label\n0,caf\xe9".encode("latin-1"))
    with pytest.raises(UserError, match="is no CSV file"):
        relabelled(source, tmp_path / "latin.csv")


def test_they_are_of_one_side_and_in_its_fingerprint(tmp_path):
    source, path = open_source("procedural:count=3", size=16), tmp_path / "labels.csv"
    assert of_training({"image": source}, "") == {"image": source}
    with pytest.raises(UserError, match="of two domains no other labels are read; leave it out"):
        of_training({"a": source, "b": source}, str(path))
    seen = set()
    for labels in ("aab", "aba"):
        write(path, source, list(labels))
        found = fingerprint(of_training({"image": source}, str(path)))
        assert found["classes"] == ["a", "b"]
        seen.add(found["labels"])
    assert len(seen) == 2 and "labels" not in fingerprint({"image": source})
