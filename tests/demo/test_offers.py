"""What a page offers follows from the method and from the images that can be read."""

import numpy as np

from tests.demo.made import SIZE, Sampling, Unstyled, trained
from uit_jax.demo import offers


def test_a_run_with_styles_and_images_offers_all_there_is(monkeypatch, tmp_path):
    run = trained(monkeypatch, tmp_path / "run", Sampling)
    found = offers.of(run)
    assert found.styled and found.sampled and found.title == "run" and found.notes == []
    assert [len(each) for each in (found.contents, found.references)] == [offers.EXAMPLES] * 2
    assert len(found.classes) == 6 and found.sampled_of == [mean.called for mean in found.classes]
    assert found.pseudo_domains and found.pseudo_domains[0].picture.dtype == np.uint8
    labels = found.searched.gallery.source.labels
    rows = [found.searched.gallery.image(row) for row in range(len(labels)) if labels[row] == 2]
    np.testing.assert_allclose(found.classes[2].code, run.encode(rows).mean(0), rtol=1e-4, atol=1e-5)
    near = found.searched.nearest(found.searched.gallery.codes[5])
    assert len(near) == 8 and abs(near[0].cosine - 1) < 1e-6 and near[0].picture.startswith("data:image/webp")


def test_a_method_without_styles_offers_contents_alone(monkeypatch, tmp_path):
    found = offers.of(trained(monkeypatch, tmp_path / "run", Unstyled))
    assert not found.styled and not found.sampled and len(found.contents) == offers.EXAMPLES
    assert found.contents[0].shape == (SIZE, SIZE, 3) and "knows no styles" in found.notes[0]
    assert not found.references and not found.pseudo_domains and not found.classes and found.searched is None


def test_a_run_whose_images_are_gone_says_what_it_lacks(monkeypatch, tmp_path):
    gone = {"data.source": str(tmp_path / "gone")}
    found = offers.of(trained(monkeypatch, tmp_path / "run", Sampling, **gone))
    assert found.styled and found.sampled and found.sampled_of == [str(number) for number in range(6)]
    assert not found.contents and not found.pseudo_domains and found.searched is None
    told = ("no example images", "nearest images cannot be shown", "no pseudo domains to choose from")
    assert len(found.notes) == 3 and all(one in note for one, note in zip(told, found.notes, strict=True))
