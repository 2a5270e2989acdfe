"""Two folders of label maps compared by their names."""

import numpy as np
import pytest
from PIL import Image

from uit_jax.errors import UserError
from uit_jax.evaluation import segmentation


def write(path, labels, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(labels, np.uint8))
    if mode == "P":
        image = image.convert("L")
        image.putpalette([value for i in range(256) for value in (255 - i, i, 7)])
    image.save(path)


def test_maps_are_paired_by_name(tmp_path):
    write(tmp_path / "a" / "x" / "0.png", [[0, 1], [255, 18]])
    write(tmp_path / "a" / "1.png", [[2, 2], [2, 2]])
    write(tmp_path / "b" / "x" / "0.png", [[0, 0], [3, 18]], "P")
    write(tmp_path / "b" / "1.tif", [[2, 2], [2, 1]])
    record = segmentation.compare_labels(tmp_path / "a", tmp_path / "b", bar=False)
    assert record["scores"]["pixel_accuracy"] == 5 / 7 and record["maps"] == 2
    assert record["scores"]["class_accuracy"] == pytest.approx((1 + 0 + 3 / 4 + 1) / 4)
    assert record["class_ious"][:3] == [0.5, 0, 0.75] and record["class_ious"][5] is None
    assert "19 classes, pixels whose true label is 255" in record["protocol"]["segmentation"]
    text = segmentation.table(record)
    assert 'mean IoU ("mAP")' in text and "IoU of class 18  1.0000" in text and "class 5" not in text


def test_what_cannot_be_compared_is_one_line(tmp_path):
    write(tmp_path / "a" / "0.png", [[0, 1]])
    for labels, message in (
        ([[0, 1, 1]], r"a/0.png and .*b/0.png: maps of \[1, 2\] and of \[1, 3\] cannot be compared"),
        ([[0, 77]], "b/0.png: a predicted label is 77, and classes are 0 to 18"),
        ([[[0, 1, 2]] * 2], "b/0.png: is a picture of 3 channels; a label map has one"),
    ):
        write(tmp_path / "b" / "0.png", labels)
        with pytest.raises(UserError, match=message):
            segmentation.compare_labels(tmp_path / "a", tmp_path / "b", bar=False)
    (tmp_path / "b" / "0.png").write_bytes(b"torn")
    with pytest.raises(UserError, match="b/0.png cannot be read: not an image"):
        segmentation.compare_labels(tmp_path / "a", tmp_path / "b", bar=False)
    write(tmp_path / "b" / "1.png", [[0, 1]])
    with pytest.raises(UserError, match="a: holds no map called 1, which the other folder has"):
        segmentation.compare_labels(tmp_path / "a", tmp_path / "b", bar=False)
