"""Files of torch without torch: what it wrote is read, what is no data is refused, and what is written is as it writes.

The files in `files/` were saved by torch 2.13: `zip.pth`, the same as `old.pth` in the format of before version 1.6,
`untyped.pth` of tensors whose storages are bytes, and `script.pt`, a program of TorchScript.
"""

import argparse
import collections
import io
import os
import pathlib
import pickle
import pickletools
import zipfile

import ml_dtypes
import numpy as np
import pytest

from uit_jax import tensors
from uit_jax.errors import UserError
from uit_jax.tensors import torch_files

FILES = pathlib.Path(__file__).parent / "files"
WHOLE = np.arange(24, dtype=np.float32).reshape(4, 6)
HELD = {
    "G.whole": WHOLE,
    "G.transposed": WHOLE.T,
    "G.part": WHOLE[1:3, ::2],
    "G.scalar": np.array(7),
    "G.empty": np.zeros((0, 3), np.float32),
    "G.half": np.array([0.5, -2], np.float16),
    "G.brain": np.array([1.5, -3], np.float32),
    "G.double": np.array([1e-300]),
    "G.flags": np.array([True, False]),
    "G.bytes": np.array([1, 255], np.uint8),
    "G.expanded": np.ones((3, 2), np.float32),
    "G.parameter": np.array([1, 2], np.float32),
    "groups.0.step": np.array(3, np.float32),
    "array": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.arange(6, dtype=np.int16).reshape(2, 3),
    "number": np.array(2.5, np.float32),
}


def assert_same(read, wanted):
    assert read.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (read[name].dtype, read[name].shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("name", ["zip.pth", "old.pth"])
def test_what_torch_saved_is_read(name):
    """Strides, offsets, a storage that several share, parameters, all kinds of numbers, arrays and scalars of numpy."""
    assert_same(tensors.read(FILES / name), HELD)
    values = torch_files.read(FILES / name)
    plain = {"epoch": 12, "none": None, "text": "x", "list": [1, 2.5, (3, True)], "size": (1, 2), "set": {1}}
    assert {key: values[key] for key in plain} == plain


def test_tensors_of_untyped_storages_are_read():
    wanted = {"eight": np.array([1, 2.5], np.float32), "unsigned": np.array([1, 2], np.uint16)}
    assert_same(tensors.read(FILES / "untyped.pth"), wanted)


def test_a_file_may_have_the_ending_that_papers_chose(tmp_path):
    for suffix in ("pt", "ckpt"):
        path = tmp_path / f"model.{suffix}"
        path.write_bytes((FILES / "zip.pth").read_bytes())
        assert_same(tensors.read(path), HELD)


def test_what_is_written_is_read_and_holds_what_torch_holds(tmp_path):
    """`torch.load(weights_only=True)` of torch 2.13 was given such a file by hand."""
    nested = {"G": {"a": WHOLE.T, "b": np.array(7), "c": np.ones(2, ml_dtypes.bfloat16)}, "epoch": 300, "less": -5}
    tensors.write(tmp_path / "ours.pth", nested)
    values = torch_files.read(tmp_path / "ours.pth")
    assert {key: values[key] for key in ("epoch", "less")} == {"epoch": 300, "less": -5}
    assert values["G"]["c"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(values["G"]["a"], WHOLE.T)
    with zipfile.ZipFile(tmp_path / "ours.pth") as ours, zipfile.ZipFile(FILES / "zip.pth") as theirs:
        assert all(each.compress_type == zipfile.ZIP_STORED for each in ours.infolist())
        assert ours.read("archive/data/0") == WHOLE.T.tobytes()
        for member in ("version", "byteorder"):
            assert ours.read(f"archive/{member}") == theirs.read(f"zip/{member}")
        assert globals_of(ours.read("archive/data.pkl")) <= globals_of(theirs.read("zip/data.pkl"))
    with pytest.raises(UserError, match="torch has no tensors of uint16"):
        tensors.write(tmp_path / "ours.pth", {"a": np.zeros(2, np.uint16)})
    assert values.keys() == torch_files.read(tmp_path / "ours.pth").keys()


def globals_of(program):
    return {argument for code, argument, _ in pickletools.genops(program) if code.name == "GLOBAL"}


class Runs:
    """What runs a command when it is unpickled by who does what a pickle says."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def zipped(program, **storages):
    """Return a file of torch's with a program of our own."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("x/data.pkl", program)
        for key, data in storages.items():
            file.writestr(f"x/data/{key[1:]}", data)
    return stream.getvalue()


def refused(path, data):
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        tensors.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 400
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("how", ["plain", "zip", "within", "old"])
def test_a_hostile_file_runs_nothing_and_is_told_by_what_it_asks_for(tmp_path, how, protocol):
    hostile = Runs(tmp_path / "ran")
    program = pickle.dumps({"G": {"more": hostile}} if how == "within" else hostile, protocol)
    if how == "old":
        before = (torch_files._MAGIC, 1001, {"little_endian": True})
        program = b"".join(pickle.dumps(each, 2) for each in before) + program
    message = refused(tmp_path / "m.pth", program if how in ("plain", "old") else zipped(program))
    assert message.startswith("holds objects of posix.system, not tensors alone: it is not read, for such a file can")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "value, asked",
    [
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (eval, "builtins.eval"),
        (getattr, "builtins.getattr"),
        (collections.Counter("a"), "collections.Counter"),
        (collections.defaultdict(list), "collections.defaultdict"),
        (np.array([Runs("x")], object), "holds an array of 'O8', not of numbers"),
        (np.array(["2020"], "M8[D]"), "holds an array of 'M8', not of numbers"),
    ],
)
def test_other_objects_are_refused_by_name(tmp_path, value, asked):
    assert asked in refused(tmp_path / "m.pth", zipped(pickle.dumps({"args": value}, 2)))


@pytest.mark.parametrize(
    "program, told",
    [
        (b"(ios\nsystem\nR.", "holds objects of os.system"),
        (b"c__builtin__\neval\n.", "holds objects of builtins.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "holds objects of os.system"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"ccollections\nOrderedDict\n)\x81.", "instruction NEWOBJ"),
        (b"Px\n.", "instruction PERSID"),
        (b"}(U\x01aK\x01tR.", "calls what is no function that builds them"),
        (b"ctorch\nFloatStorage\n)R.", "calls what is no function that builds them"),
        (b"ctorch\nSize\n}b.", "changes a Named"),
        (b"K\x07.", "holds one int"),
        (b"K\x07", "cannot be read as a .pth file"),
        (b"(K\x07.", "holds one int"),
        (b"0.", "instruction POP"),
        (b"t.", "cannot be read"),
        (b"h\x05.", "cannot be read"),
        (b"}K\x01a.", "cannot be read"),
        (b"](K\x01K\x02u.", "cannot be read"),
        (b"}]K\x01s.", "cannot be read"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00utf16tR.", "cannot be read"),
    ],
)
def test_other_programs_are_refused(tmp_path, program, told):
    assert told in refused(tmp_path / "m.pth", zipped(program))


def tensor_program(storage="ctorch\nFloatStorage\n", count=4, offset=0, size=(2, 2), stride=(2, 1), key="0"):
    """Return a program that makes {"w": a tensor} as it is told."""

    def put(value):
        inner = b"".join(map(put, value)) if isinstance(value, tuple) else b""
        return b"(" + inner + b"t" if isinstance(value, tuple) else pickle.dumps(value, 0)[:-1]

    place = b"(" + put("storage") + storage.encode() + put(key) + put("cpu") + put(count) + b"tQ"
    build = b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + put(offset) + put(size) + put(stride) + b"I00\n}tR"
    return b"}" + put("w") + build + b"s."


def test_tensors_are_looked_at_where_their_storage_is(tmp_path):
    data = np.arange(4, dtype=np.float32).tobytes()
    (tmp_path / "m.pth").write_bytes(zipped(tensor_program(), _0=data))
    assert tensors.read(tmp_path / "m.pth")["w"].tolist() == [[0, 1], [2, 3]]
    for changed in (
        dict(size=(2, 3)),
        dict(offset=1),
        dict(offset=-1),
        dict(stride=(-2, 1)),
        dict(stride=(2,)),
        dict(size=(2**40, 2**40), stride=(0, 0)),
        dict(size=("2", 2)),
        dict(count=5),
        dict(count=2**62),
        dict(key="1"),
        dict(storage="ctorch\nSize\n"),
        dict(storage="I7\n"),
    ):
        message = refused(tmp_path / "m.pth", zipped(tensor_program(**changed), _0=data))
        assert message.startswith("cannot be read as a .pth file"), changed


def test_few_bytes_do_not_become_very_many_entries(tmp_path):
    """A tensor whose steps are 0 has as many entries as it says."""
    spread = tensor_program(size=(2**34,), stride=(0,))
    message = refused(tmp_path / "m.pth", zipped(spread, _0=bytes(16)))
    assert message == "unpacks to 69 GB; networks have 34 at most"
    tensor = spread[: -len(b"s.")].removeprefix(b"}Vw\np0\n")
    for program in (b"ctorch\nSize\n(" + tensor + b"tR.", b"c__builtin__\nset\n" + tensor + b"R."):
        assert "what should be a list is none" in refused(tmp_path / "m.pth", zipped(program, _0=bytes(16)))


def test_files_that_are_none_of_torchs_weights_are_told(tmp_path):
    path = tmp_path / "m.pth"
    assert "is a program of TorchScript" in refused(path, (FILES / "script.pt").read_bytes())
    assert "is a pickle, but not of torch's" in refused(path, pickle.dumps({"a": 1}))
    assert "not of torch's" in refused(path, zipped(b"").replace(b"data.pkl", b"data.xyz"))
    assert "holds one list, not tensors by their names" in refused(path, zipped(pickle.dumps([1])))
    stream = io.BytesIO(zipped(pickle.dumps({})))
    with zipfile.ZipFile(stream, "a") as file:
        file.writestr("x/byteorder", b"big")
    assert "begin with their last bytes" in refused(path, stream.getvalue())


@pytest.mark.parametrize("name", ["zip.pth", "old.pth"])
def test_a_file_that_is_cut_off_is_told(tmp_path, name):
    data = (FILES / name).read_bytes()
    for share in (0, 0.01, 0.3, 0.6, 0.9, 0.99):
        assert "cannot be read as a .pth file" in refused(tmp_path / "m.pth", data[: int(share * len(data))])


def test_dicts_that_hold_each_other_are_refused(tmp_path, monkeypatch):
    """Of few bytes come very many names, or endlessly many."""
    monkeypatch.setattr(tensors, "_MOST", 1000)
    many = {"a": 1}
    for _ in range(30):
        many = {"a": many, "b": many}
    assert "more than 1000 names" in refused(tmp_path / "m.pth", zipped(pickle.dumps(many, 2)))
    itself = {}
    itself["a"] = itself
    assert "dicts in dicts without an end" in refused(tmp_path / "m.pth", zipped(pickle.dumps(itself, 2)))
