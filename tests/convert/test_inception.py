"""The FID's Inception-v3 from files with the names of pytorch-fid's. Golden values have what it sees."""

import json
from pathlib import Path

import numpy as np
import pytest

from uit_jax.convert import inception
from uit_jax.errors import UserError

GOLDEN = Path(__file__).parents[1] / "goldens" / "inception.json"


@pytest.fixture(scope="module")
def given():
    """A state_dict of the published names and shapes: zeros that take no memory."""
    specs = json.loads(GOLDEN.read_text())["weights"]
    return {name: np.broadcast_to(np.float32(0), spec["shape"]) for name, spec in specs.items()}


def test_every_tensor_has_its_place(tmp_path, given):
    rng = np.random.default_rng(0)
    names = [f"Mixed_6b.branch7x7_2.{leaf}" for leaf in ("conv.weight", "bn.weight", "bn.running_var")]
    drawn = {name: rng.normal(size=given[name].shape).astype(np.float32) for name in (*names, "fc.weight")}
    counters = {f"{name.removesuffix('weight')}num_batches_tracked": np.int64(9) for name in names[1:2]}
    # As torch saves what was trained on several devices.
    np.savez_compressed(tmp_path / "fid.npz", **{f"module.{n}": v for n, v in {**given, **drawn, **counters}.items()})
    found = inception.read(tmp_path / "fid.npz")
    params, stats = (found[kind]["Mixed_6b"]["branch7x7_2"] for kind in ("params", "batch_stats"))
    np.testing.assert_array_equal(params["conv"]["kernel"], drawn[names[0]].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(params["bn"]["scale"], drawn[names[1]])
    np.testing.assert_array_equal(stats["bn"]["var"], drawn[names[2]])
    np.testing.assert_array_equal(found["params"]["fc"]["kernel"], drawn["fc.weight"].T)


def test_what_is_another_network_is_named_in_one_line(tmp_path, given):
    imagenet = {**given, "fc.weight": np.zeros((1000, 2048)), "AuxLogits.fc.bias": np.zeros(1000)}
    short = {name: value for name, value in given.items() if not name.startswith("Mixed_7c.branch1x1.bn")}
    broken = {**given, "Mixed_5b.branch1x1.bn.weight": np.full(64, np.nan)}
    for tensors, words in (
        (imagenet, ("unexpected: AuxLogits.fc.bias", "fc.weight (1000, 2048), not (1008, 2048)")),
        (short, ("missing: Mixed_7c.branch1x1.bn.weight, Mixed_7c.branch1x1.bn.bias",)),
        (broken, ("Mixed_5b.branch1x1.bn.weight holds NaN or infinity",)),
    ):
        with pytest.raises(UserError) as caught:
            inception.take(tensors)
        assert all(each in str(caught.value) for each in words) and "\n" not in str(caught.value)
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(UserError, match=r"other\.npz: the checkpoint's Inception-v3 does not fit .*missing: Conv2d_1a"):
        inception.read(tmp_path / "other.npz")
