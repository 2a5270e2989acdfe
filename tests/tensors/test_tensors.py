"""Tensor files, in and out."""

import ml_dtypes
import numpy as np
import pytest

from uit_jax import tensors
from uit_jax.errors import UserError
from uit_jax.tensors import torch_files

TENSORS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "a.count": np.array(7, np.int64),
    "b.half": np.array([0.5, -2], np.float16),
}


def assert_same(read, written):
    assert read.keys() == written.keys()
    for name, value in written.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "pth"])
def test_what_is_written_is_read(tmp_path, suffix):
    tensors.write(tmp_path / f"file.{suffix}", TENSORS)
    assert_same(tensors.read(tmp_path / f"file.{suffix}"), TENSORS)
    assert [path.name for path in tmp_path.iterdir()] == [f"file.{suffix}"]


def test_nested_names_are_joined_by_dots(tmp_path):
    tensors.write(tmp_path / "file.npz", {"a": {"weight": TENSORS["a.weight"]}, "epoch": 3})
    assert_same(tensors.read(tmp_path / "file.npz"), {"a.weight": TENSORS["a.weight"]})


def test_the_safetensors_layout_is_the_published_one(tmp_path):
    tensors.write(tmp_path / "file.safetensors", {"x": np.array([1.0, 2.0], np.float32)})
    data = (tmp_path / "file.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert data[8 : 8 + length].decode().rstrip() == '{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
    assert data[8 + length :] == np.array([1.0, 2.0], "<f4").tobytes()


def test_torchs_files_keep_their_nesting_and_what_is_no_array(tmp_path):
    tensors.write(tmp_path / "file.ckpt", {"C": {"weight": TENSORS["a.weight"]}, "epoch": 3})
    assert_same(tensors.read(tmp_path / "file.ckpt"), {"C.weight": TENSORS["a.weight"]})
    assert torch_files.read(tmp_path / "file.ckpt")["epoch"] == 3


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_numbers_of_16_bits_that_numpy_has_not_become_float32(tmp_path, suffix):
    values = np.array([1.5, -3], ml_dtypes.bfloat16)
    tensors.write(tmp_path / f"file.{suffix}", {"x": values})
    assert_same(tensors.read(tmp_path / f"file.{suffix}"), {"x": values.astype(np.float32)})


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "pt"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_named(tmp_path, suffix, share):
    path = tmp_path / f"file.{suffix}"
    tensors.write(path, TENSORS)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=f"file.{suffix}: cannot be read"):
        tensors.read(path)


def test_missing_files_and_other_kinds_are_named(tmp_path):
    with pytest.raises(UserError, match="none.npz: no such file"):
        tensors.read(tmp_path / "none.npz")
    with pytest.raises(UserError, match="model.h5: the name must end in .pth, .pt, .ckpt, .npz, .safetensors"):
        tensors.read(tmp_path / "model.h5")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.npz"
    tensors.write(path, TENSORS)

    def fail(unfinished, **arrays):
        unfinished.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(UserError, match="file.npz cannot be written: No space left on device"):
        tensors.write(path, {})
    assert_same(tensors.read(path), TENSORS)
    assert list(tmp_path.iterdir()) == [path]
