"""VGG-16: the files it is read from, what it sees, and the distance of two images in that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn.arrays import normal
from uit_jax.errors import UserError
from uit_jax.nn import vgg


def tensors(width: int = 4) -> dict:
    """Random weights of a narrow VGG-16 as its authors name them, leaning to the positive, so that no layer is dead."""
    found, channels = {}, 3
    for seed, name in enumerate(vgg.LAYERS):
        found[f"{name}.weight"] = (0.1 + normal(width, channels, 3, 3, seed=seed)) * np.float32(np.sqrt(0.2 / channels))
        found[f"{name}.bias"] = normal(width, seed=seed)
        channels = width
    return found


def write_weights(path) -> vgg.Weights:
    """Write a file of a narrow VGG-16 and read it."""
    np.savez(path, **tensors())
    return vgg.load(str(path))


def test_files_of_either_naming_are_read(tmp_path):
    given, theirs = tensors(), {}
    for number, name in zip(vgg.NUMBERS, vgg.LAYERS, strict=True):
        theirs |= {f"features.{number}.{leaf}": given[f"{name}.{leaf}"] for leaf in ("weight", "bias")}
    np.savez(tmp_path / "theirs.npz", **theirs, **{"classifier.0.bias": np.zeros(3)})
    one, other = write_weights(tmp_path / "ours.npz"), vgg.load(str(tmp_path / "theirs.npz"))
    assert len(one) == 13 and one[3][0].shape == (3, 3, 4, 4)
    np.testing.assert_array_equal(one[5][0][1, 2], given["conv3_2.weight"][:, :, 1, 2].T)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_what_is_no_such_file_is_named_in_one_line(tmp_path):
    (tmp_path / "text.npz").write_text("no archive\n")
    np.savez(tmp_path / "short.npz", **{name: value for name, value in tensors().items() if "conv5_3" not in name})
    np.savez(tmp_path / "other.npz", **{**tensors(), "conv1_2.weight": np.zeros((4, 3, 3, 3))})
    np.savez(tmp_path / "empty.npz", **{name: value[:0] for name, value in tensors().items()})
    np.savez(tmp_path / "text_inside.npz", **{**tensors(), "conv1_1.bias": np.array(["a"] * 4)})
    np.savez(tmp_path / "nan.npz", **{**tensors(), "conv2_1.bias": np.full(4, np.nan)})
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name, words in (
        ("missing.npz", "No such file or directory"),
        ("text.npz", "cannot be read as an .npz file of VGG-16's weights"),
        ("array.npy", "cannot be read as an .npz file of VGG-16's weights"),
        ("short.npz", "holds no weights of VGG-16: conv5_3 is missing or of another shape"),
        ("empty.npz", "holds no weights of VGG-16: conv1_1 is missing or of another shape"),
        ("text_inside.npz", "holds no weights of VGG-16: conv1_1 is not all finite numbers"),
        ("nan.npz", "holds no weights of VGG-16: conv2_1 is not all finite numbers"),
        ("other.npz", "holds no weights of VGG-16: conv1_2 is missing or of another shape"),
    ):
        with pytest.raises(UserError) as caught:
            vgg.load(str(tmp_path / name))
        assert str(caught.value).startswith(str(tmp_path / name)) and words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_images_are_seen_blue_first_and_around_their_means():
    """The first layer, alone, of an image of one colour: everything behind it passes its maps on."""
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[1, 1] = np.eye(3)
    weights = ((kernel, np.zeros(3, np.float32)),) * len(vgg.LAYERS)
    seen = vgg.features(weights, jnp.array([1.0, 0.5, 0.25])[None, None, None].repeat(8, 1).repeat(8, 2))
    assert seen.shape == (1, 1, 1, 3)
    np.testing.assert_allclose(seen[0, 0, 0], np.array([1.25, 1.5, 2]) * 127.5 - vgg.MEANS, rtol=1e-5)


def test_an_image_is_at_no_distance_from_itself(tmp_path):
    weights = write_weights(tmp_path / "vgg.npz")
    one, other = (jnp.tanh(normal(1, 16, 16, 3, seed=seed)) for seed in (1, 2))
    distance = jax.jit(lambda one, other: vgg.distance(weights, one, other))
    assert distance(one, one) == 0 and distance(one, other) > 0
    assert distance(one, other) == distance(other, one)
