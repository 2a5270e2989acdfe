"""LPIPS from one file or from two. Golden values have what it measures."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from uit_jax import tensors
from uit_jax.convert import lpips
from uit_jax.errors import UserError

GOLDEN = Path(__file__).parents[1] / "goldens" / "perceptual.json"


@pytest.fixture(scope="module")
def joined():
    """A whole state_dict of lpips in AlexNet, drawn."""
    rng = np.random.default_rng(0)
    specs = json.loads(GOLDEN.read_text())["weights"]["alex"]
    return {name: rng.random(spec["shape"], np.float32) for name, spec in specs.items()}


def parted(joined):
    """Return what of it torchvision's file has, by its names and with its classes, and what lpips' own has."""
    network = {re.sub(r"net\.slice\d", "features", name): value for name, value in joined.items() if "net" in name}
    classes = {"classifier.6.weight": np.zeros((10, 4), np.float32)}
    return network | classes, {name: value for name, value in joined.items() if "lin" in name}


def test_one_file_or_two_in_any_order_give_the_same(tmp_path, joined):
    network, weights = parted(joined)
    # What lpips itself saves has the weights twice, and constants.
    twice = {name.replace("lin", "lins.", 1): value for name, value in weights.items()}
    constants = {"scaling_layer.shift": np.zeros((1, 3, 1, 1), np.float32)}
    tensors.write(tmp_path / "whole.npz", {**joined, **twice, **constants})
    tensors.write(tmp_path / "alexnet.safetensors", network)
    tensors.write(tmp_path / "alex.npz", weights)
    found = lpips.read("alex", tmp_path / "whole.npz")
    second, last = (found["params"][name]["kernel"] for name in ("conv_3", "weights_4"))
    np.testing.assert_array_equal(second, joined["net.slice2.3.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(last[0, 0, :, 0], weights["lin4.model.1.weight"].ravel())
    for pair in (("alexnet.safetensors", "alex.npz"), ("alex.npz", "alexnet.safetensors")):
        jax.tree.map(np.testing.assert_array_equal, found, lpips.read("alex", *(tmp_path / name for name in pair)))


def test_what_does_not_fit_is_named_in_one_line(tmp_path, joined):
    network, weights = parted(joined)
    for kind, given, words in (
        ("alex", network, "LPIPS in AlexNet needs lpips' file v0.1/alex.pth too: none of"),
        ("vgg", weights, "torchvision's file of VGG-16 too: none of the tensors is called features.*"),
        ("vgg", joined, "missing: features.2.weight"),
        ("alex", {**joined, "mlp.weight": np.zeros(3)}, "unexpected: mlp.weight"),
        ("alex", {**joined, "lin0.model.1.weight": np.zeros((1, 3, 1, 1))}, "lin0.model.1.weight (1, 3, 1, 1), not"),
    ):
        with pytest.raises(UserError) as caught:
            lpips.take(kind, given)
        assert words in str(caught.value) and "\n" not in str(caught.value)
    tensors.write(tmp_path / "alex.npz", weights)
    with pytest.raises(UserError, match=r"alex\.npz: LPIPS in AlexNet needs torchvision's file"):
        lpips.read("alex", tmp_path / "alex.npz")
