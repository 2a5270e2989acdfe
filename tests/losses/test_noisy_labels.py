"""PENCIL's terms, one by one; the golden values have them too."""

import numpy as np

from uit_jax.losses import noisy_labels


def test_each_term_is_what_it_says():
    draw = np.random.default_rng(0)
    logits, beliefs = draw.normal(size=(2, 4, 3))
    labels = np.array([0, 2, 1, 1])
    said, believed = (np.exp(each) / np.exp(each).sum(-1, keepdims=True) for each in (logits, beliefs))
    again = np.exp(believed) / np.exp(believed).sum(-1, keepdims=True)
    found = noisy_labels.terms(logits, beliefs, labels)
    expected = {
        "agreement": (said * np.log(said / believed)).mean(),
        "anchor": -np.log(again[np.arange(4), labels]).mean(),
        "entropy": -(said * np.log(said)).mean(),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)
