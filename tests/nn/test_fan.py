"""The landmarks' network of faces: its published names, its file, and the masks (golden values have its numbers)."""

import numpy as np
import pytest

from tests.convert.published import published_keys
from uit_jax import tensors
from uit_jax.errors import UserError
from uit_jax.nn import fan


def test_its_weights_are_the_published_ones():
    """But for the counts of batches, which nothing reads."""
    listed = published_keys("keys_starganv2.txt")["FAN"]
    expected = {name: shape for name, shape in listed.items() if not name.endswith("num_batches_tracked")}
    assert fan.shapes() == expected
    assert list(fan.state_dict({name: np.zeros(shape) for name, shape in expected.items()})) == list(listed)
    assert sum(np.prod(shape) for name, shape in expected.items() if ".running_" not in name) == 6_333_603


def test_a_file_that_holds_another_network_or_none_is_refused(tmp_path):
    zeros = {name: np.zeros(shape, np.float16) for name, shape in fan.shapes().items()}
    np.savez(tmp_path / "good.npz", **{f"state_dict.{name}": value for name, value in zeros.items()}, other=np.ones(3))
    assert fan.load(str(tmp_path / "good.npz")).keys() == fan.shapes().keys()
    np.savez(tmp_path / "short.npz", **{name: value for name, value in zeros.items() if name != "l0.bias"})
    np.savez(tmp_path / "nan.npz", **zeros | {"bn1.bias": np.full(64, np.nan, np.float16)})
    tensors.write(tmp_path / "nets.ckpt", {"generator": {"x": np.ones(3)}, "fan": fan.state_dict(zeros)})
    assert fan.load(str(tmp_path / "nets.ckpt")).keys() == fan.shapes().keys()
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04")
    for name, line in (
        ("short.npz", "short.npz holds no landmarks network: l0.bias is missing"),
        ("nan.npz", "nan.npz holds no landmarks network: bn1.bias is missing, of another shape or not all finite"),
        ("damaged.npz", "a face's landmarks network cannot be read: .*damaged.npz: cannot be read as a .npz file"),
        ("none.npz", "a face's landmarks network cannot be read: .*none.npz: no such file"),
    ):
        with pytest.raises(UserError, match=line):
            fan.load(str(tmp_path / name))


def test_masks_show_parts_of_a_face_by_their_landmarks():
    """An eye is in both, the mouth in the first alone, the cheek's outline in none."""
    for landmark, both in ((62, (1, 1)), (84, (1, 0)), (3, (0, 0))):
        heat = np.zeros((1, 64, 64, 98), np.float32)
        heat[0, 30:34, 20:24, landmark] = 1
        found = fan.masks(heat)
        assert [mask.shape for mask in found] == [(1, 256, 256, 1)] * 2
        assert [float(mask.max()) > 0.9 for mask in found] == [bool(one) for one in both]
        for mask in found:
            assert 0 <= mask.min() and mask.max() <= 1 and not mask[:, :, :60].any() and not mask[:, :, 110:].any()
