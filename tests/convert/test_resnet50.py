"""ResNet-50 from MoCo v2's checkpoints and torchvision's files, by their names."""

import jax
import numpy as np
import pytest

from uit_jax import tensors
from uit_jax.convert import resnet50
from uit_jax.errors import UserError
from uit_jax.evaluation import labelling, networks

BLOCKS = {"layer1": (64, 3), "layer2": (128, 4), "layer3": (256, 6), "layer4": (512, 3)}


def published():
    """The names and shapes of torchvision's resnet50 without its classes."""
    found = {}

    def add(conv, norm, features, read, size):
        found[f"{conv}.weight"] = (features, read, size, size)
        found.update({f"{norm}.{leaf}": (features,) for leaf in ("weight", "bias", "running_mean", "running_var")})
        found[f"{norm}.num_batches_tracked"] = ()

    add("conv1", "bn1", 64, 3, 7)
    read = 64
    for stage, (width, blocks) in BLOCKS.items():
        for index in range(blocks):
            name = f"{stage}.{index}"
            add(f"{name}.conv1", f"{name}.bn1", width, read, 1)
            add(f"{name}.conv2", f"{name}.bn2", width, width, 3)
            add(f"{name}.conv3", f"{name}.bn3", 4 * width, width, 1)
            if index == 0:
                add(f"{name}.downsample.0", f"{name}.downsample.1", 4 * width, read, 1)
            read = 4 * width
    return found


@pytest.fixture(scope="module")
def given():
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in published().items()}


def test_every_tensor_has_its_place(given):
    rng = np.random.default_rng(0)
    names = ("conv1.weight", "layer2.0.downsample.0.weight", "layer4.2.bn3.running_var", "layer3.5.conv2.weight")
    drawn = {name: rng.normal(size=given[name].shape).astype(np.float32) for name in names}
    of_moco = {f"module.encoder_q.{name}": value for name, value in {**given, **drawn}.items()}
    of_moco |= {f"module.encoder_k.{name}": value + 1 for name, value in given.items() if "conv1" in name}
    of_moco |= {"module.encoder_q.fc.0.weight": np.ones((2, 2)), "module.queue": np.ones((2, 2))}
    for state_dict in (of_moco, {**given, **drawn, "fc.weight": np.ones((2, 2))}):
        assert resnet50.is_one(state_dict)
        found = resnet50.take(state_dict)
        params, stats = found["params"], found["batch_stats"]
        first, shortcut, variance, inner = drawn.values()
        np.testing.assert_array_equal(params["stem"]["conv"]["kernel"], first.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(params["layer2_0"]["shortcut"]["conv"]["kernel"], shortcut.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(stats["layer4_2"]["layer_3"]["bn"]["var"], variance)
        np.testing.assert_array_equal(params["layer3_5"]["layer_2"]["conv"]["kernel"], inner.transpose(2, 3, 1, 0))
    leaves = len(jax.tree.leaves(found))
    assert leaves == sum("num_batches_tracked" not in name for name in given)


def test_what_is_another_network_is_named_in_one_line(given):
    short = {name: value for name, value in given.items() if name != "layer3.5.conv2.weight"}
    with pytest.raises(UserError, match="ResNet-50 does not fit .*missing: layer3.5.conv2.weight") as caught:
        resnet50.take(short)
    assert "\n" not in str(caught.value)
    # A deeper one.
    with pytest.raises(UserError, match="unexpected: layer3.6.conv1.weight"):
        resnet50.take({**given, "layer3.6.conv1.weight": np.zeros((256, 1024, 1, 1))})
    assert not resnet50.is_one(["features.10.weight", "Mixed_7c.branch1x1.conv.weight", "layer4.1.conv2.weight"])


def test_labels_are_found_by_its_features(tmp_path, given, monkeypatch):
    """Of a file as MoCo's code saves it."""
    monkeypatch.setattr(networks, "BATCH", 1)
    state_dict = {f"module.encoder_q.{name}": np.array(value) for name, value in given.items()}
    path = tmp_path / "moco.pth"
    tensors.write(path, {"epoch": 800, "arch": "resnet50", "state_dict": state_dict})
    points = labelling.points_of("procedural:count=2", "kmeans-features", features=str(path))
    assert points.form == {"size": 256}
    assert points.told == f"ResNet-50's features (SHA-256 {networks.sha256(path):.12})"
    assert points.read(np.zeros((1, 256, 256, 3), np.uint8)).shape == (1, 2048)
