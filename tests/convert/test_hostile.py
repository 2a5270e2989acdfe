"""Files of weights that are damaged or hostile: refused in one line with their name, and nothing of them is run.

UIT_FUZZ is how many mutants of each format are tried.
"""

import io
import json
import os
import pathlib
import random
import zipfile

import jax
import numpy as np
import pytest

from tests.convert.published import state_of
from tests.method_table import TINY
from uit_jax import convert, methods, tensors
from uit_jax.convert import cut, munit, starganv2, tunit
from uit_jax.convert.pooled import CYCLEGAN
from uit_jax.errors import UserError

OLD = pathlib.Path(__file__).parents[1] / "tensors" / "files" / "old.pth"
MUTANTS = int(os.environ.get("UIT_FUZZ", "150"))
GOOD = {
    "G_EMA.mlp.model.0.fc.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "C.disc.weight": np.ones((5, 2), np.float64),
    "D.main.0.weight": np.ones((2, 3, 1, 1), np.float16),
    "step": np.array(7, np.int64),
}


def refusal(action) -> str:
    """Return what an action is refused with; "" where it is not refused, and any other error is the test's."""
    try:
        action()
    except UserError as error:
        assert str(error).isprintable() and len(str(error)) < 2000
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.array([1, np.nan], np.float32), "NaN or infinity"),
        (np.array([1, -np.inf], np.float16), "NaN or infinity"),
        (np.array([1j]), "complex128"),
        (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
        (np.array(["text"]), "<U4"),
        (np.array([b"text"]), "|S4"),
        (np.zeros(2, [("a", "f4"), ("b", "i4")]), "not real numbers"),
        (np.zeros(2, "V3"), "|V3"),
    ],
)
def test_what_no_weight_is_is_refused_by_its_key(tmp_path, value, told):
    path, method = tmp_path / "file.npz", methods.build("tunit", TINY["tunit"])
    state = state_of("tunit", TINY["tunit"], seed=0)
    exported = tensors.flatten(tunit.export_state(state, stages=method.guide.stages))
    key = "G_state_dict.mlp.model.0.fc.bias"
    np.savez(path, **exported | {key: np.resize(value, exported[key].shape)})
    message = refusal(lambda: convert.import_file(path, method, state))
    assert message.startswith(f"{path}: the checkpoint's G is damaged: mlp.model.0.fc.bias holds ") and told in message


class Runs:
    """What makes a file when it is unpickled by who runs what a pickle says."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_objects_are_not_unpickled(tmp_path):
    path = tmp_path / "file.npz"
    np.savez(path, wrong=np.array([Runs(tmp_path / "ran")], object))
    assert refusal(lambda: tensors.read(path)).startswith(f"{path}: cannot be read")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_unpacks_to_very_much_is_refused_before_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "_LARGEST", 10**6)
    np.savez_compressed(tmp_path / "file.npz", zeros=np.zeros(10**6, np.float32))
    assert "unpacks to" in refusal(lambda: tensors.read(tmp_path / "file.npz"))


def mutant(data: bytes, pick: random.Random) -> bytes:
    """Return bytes with some of them changed, left out, doubled, or cut off."""
    found = bytearray(data)
    for _ in range(pick.choice((1, 1, 2, 8))):
        place, length = pick.randrange(len(found) + 1), pick.choice((1, 1, 4, 60))
        match pick.randrange(5):
            case 0:
                found[place : place + length] = pick.randbytes(length)
            case 1:
                del found[place : place + length]
            case 2:
                found[place:place] = found[place : place + length]
            case 3:
                del found[place:]
            case _:
                found[place : place + 8] = pick.choice((0, 2**31, 2**63 - 1, 2**64 - 1)).to_bytes(8, "little")
        if not found:
            break
    return bytes(found)


def tried(path, original: bytes, pick: random.Random) -> tuple[int, int]:
    """Read mutants of a file; return how many are refused and how many read."""
    refused = 0
    for _ in range(MUTANTS):
        path.write_bytes(mutant(original, pick))
        message = refusal(lambda: tensors.read(path))
        assert not message or message.startswith(f"{path}: ")
        refused += bool(message)
    return refused, MUTANTS - refused


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "pth", "pt"])
def test_mutants_of_files_are_read_or_refused(tmp_path, suffix):
    path = tmp_path / f"file.{suffix}"
    tensors.write(path, GOOD)
    original = OLD.read_bytes() if suffix == "pt" else path.read_bytes()
    refused, read = tried(path, original, random.Random(0))
    print(f"{suffix}: {MUTANTS} tried, {refused} refused, {read} read")
    assert refused > MUTANTS / 4


def test_mutants_of_a_pickle_are_read_or_refused(tmp_path):
    """What the checksums of a zip file would find first."""
    path, pick = tmp_path / "file.pth", random.Random(3)
    with zipfile.ZipFile(OLD.with_name("zip.pth")) as file:
        members = {name: file.read(name) for name in file.namelist()}
    for _ in range(MUTANTS):
        with zipfile.ZipFile(path, "w") as file:
            for name, data in members.items():
                file.writestr(name, mutant(data, pick) if name.endswith(".pkl") else data)
        refusal(lambda: tensors.read(path))


def test_mutants_of_headers_are_read_or_refused(tmp_path):
    """What no blind change finds: whole headers that say what cannot be."""
    path, pick = tmp_path / "file.safetensors", random.Random(1)
    values = [-1, 0, 2**40, 2**63, 1.5, "x", None, [], [0, 8], [8, 0], [-8, -4], [2, 2], [-1, 2], {}, "F32", "I8", True]
    for _ in range(MUTANTS):
        entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
        entry[pick.choice([*entry])] = pick.choice(values)
        header = pick.choice([{"x\n": entry}, {"": entry}, [entry], {"x": [entry]}, {"x": entry, "__metadata__": 3}])
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
        refusal(lambda: tensors.read(path))
    for shape in ((2**40,), (-1,), (2, 2**62), (2**31, 2**31)):
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(tmp_path / "file.npz", "w") as file:
            file.writestr("x.npy", stream.getvalue() + bytes(64))
        assert refusal(lambda: tensors.read(tmp_path / "file.npz"))


READERS = {"tunit": tunit, "cut": cut, "cyclegan": CYCLEGAN, "munit": munit, "starganv2": starganv2}


@pytest.mark.parametrize("name", READERS)
def test_tensors_of_other_names_and_shapes_are_refused_by_key(name):
    """Mutants of a whole checkpoint: names and shapes changed at random."""
    module, method, pick = READERS[name], methods.build(name, TINY[name]), random.Random(2)
    state = state_of(name, TINY[name], seed=0)
    how = {"stages": method.guide.stages} if name == "tunit" else {}
    exported = tensors.flatten(module.export_state(state, **how))
    for _ in range(MUTANTS // 3):
        changed = dict(exported)
        for key in pick.sample(sorted(changed), pick.choice((1, 2, 8))):
            value = changed.pop(key)
            match pick.randrange(4):
                case 0:
                    changed[key + pick.choice(("x", "\n", ".weight"))] = value
                case 1:
                    changed[key] = value[None]
                case 2:
                    changed[key] = np.zeros((), np.float32)
                case _:
                    changed[key] = value.reshape(-1)[: pick.randrange(3)]
        refusal(lambda changed=changed: module.settings(module.networks(changed)))
        refusal(lambda changed=changed: module.import_state(changed, state, **how))
    assert not refusal(lambda: module.import_state(exported, state, **how))


def test_the_method_says_which_code_s_weights_it_takes(tmp_path):
    state = state_of("tunit", TINY["tunit"], seed=0)
    method = methods.build("tunit", TINY["tunit"])
    tensors.write(tmp_path / "t.npz", tunit.export_state(state, stages=method.guide.stages))
    abstract = jax.eval_shape(lambda: method.init(jax.random.key(0), 2))
    read = convert.import_file(tmp_path / "t.npz", method, abstract)
    assert set(read.learners) == set(state.learners)
    np.testing.assert_array_equal(
        jax.tree.leaves(read.learners["generator"].params)[0], jax.tree.leaves(state.learners["generator"].params)[0]
    )
    other = methods.build("cyclegan", TINY["cyclegan"])
    like = jax.eval_shape(lambda: other.init(jax.random.key(0), 2))
    assert "t.npz: no network of CycleGAN" in refusal(lambda: convert.import_file(tmp_path / "t.npz", other, like))
    cluit = methods.build("cluit", TINY["cluit"])
    assert "no published weights" in refusal(lambda: convert.import_file(tmp_path / "t.npz", cluit, like))


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def tensor(size: bytes, stride: bytes, count: bytes = b"K\1") -> bytes:
    """A tensor of the first numbers of storage 0, of which there are `count`."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + count + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0(" + size + b"t(" + stride + b"t\x89}tR"


NUMBER = b"\x8b" + (10**6).to_bytes(4, "little") + b"\1" * 10**6
DOUBLED = b")q\0" + b"h\0h\0\x86q\0" * 60  # a tuple of a tuple twice, 60 times
HOSTILE = {
    "keys that take for ever": (DOUBLED + b"}h\0K\1s", "what should be a name is none"),
    "keys that end Python": (b"})" + b"\x85" * 10**6 + b"K\1s", "what should be a name is none"),
    "a set that takes for ever": (DOUBLED + b"cbuiltins\nset\n(](h\0e\x85tR", "none"),
    "a device that takes for ever": (DOUBLED + b"}" + text("x") + b"ctorch\ndevice\nh\0\x85Rs", ""),
    "a dict in itself": (b"}q\0" + text("x") + b"h\0s", "holds dicts in dicts without an end"),
    "names that grow": (
        text("x" * 99999) + b"q\1" + text("y" * 99999) + b"q\2}q\0" + b"}h\1h\0sh\2h\0sq\0" * 18 + b"h\0",
        "or very long ones",
    ),
    "numbers that fill the memory": (
        b"}" + text("x") + tensor(NUMBER + b"q\0" + b"h\0" * 50, b"K\0" * 51) + b"s",
        "larger",
    ),
    "copies that fill the memory": (
        b"]q\0(" + b"N" * 10**5 + b"e" + b"ctorch\nSize\nh\0\x85R" * 999,
        "again and again",
    ),
    "one number for all": (b"}" + text("x") + tensor(b"J\xff\xff\xff\x7f", b"K\0") + b"s", "save copies"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_small_program_takes_neither_long_nor_much(tmp_path, name):
    program, told = HOSTILE[name]
    with zipfile.ZipFile(tmp_path / "file.pth", "w") as file:
        file.writestr("archive/data.pkl", b"\x80\2" + program + b".")
        file.writestr("archive/data/0", bytes(4))
    message = refusal(lambda: tensors.read(tmp_path / "file.pth"))
    assert told in message and bool(message) == bool(told)


def test_numbers_that_tensors_share_are_not_copied(tmp_path):
    """Neither of a zip file's storage nor of safetensors: 64 tensors of one megabyte take one."""
    entry = {"dtype": "U8", "shape": [2**20], "data_offsets": [0, 2**20]}
    header = json.dumps({f"x{number}": entry for number in range(60)}).encode()
    path = tmp_path / "file.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2**20))
    found = tensors.read(path)
    assert np.shares_memory(found["x0"], found["x1"])
    program = (
        b"\x80\2}" + text("x") + tensor(b"K\1", b"K\1") + b"s" + text("y") + tensor(b"K\2", b"K\1", b"K\2") + b"s."
    )
    with zipfile.ZipFile(tmp_path / "file.pth", "w") as file:
        file.writestr("archive/data.pkl", program)
        file.writestr("archive/data/0", bytes(12))
    found = tensors.read(tmp_path / "file.pth")
    assert np.shares_memory(found["x"], found["y"])


def test_what_is_packed_in_an_unknown_way_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "file.pth", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("archive/data.pkl", b"\x80\2}.")
    assert "packed as neither torch nor numpy" in refusal(lambda: tensors.read(tmp_path / "file.pth"))


def test_what_is_no_file_of_its_kind_is_told(tmp_path):
    (tmp_path / "text.npz").write_text("<html>")
    (tmp_path / "folder.pth").mkdir()
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as file:
        file.writestr("readme.txt", "no array")
    told = {
        name: refusal(lambda name=name: tensors.read(tmp_path / name))
        for name in ("text.npz", "folder.pth", "other.npz")
    }
    assert "text.npz: is no .npz file: save it by numpy.savez" in told["text.npz"]
    assert "folder.pth: is no file: name one" in told["folder.pth"]
    assert "readme.txt in it is no array" in told["other.npz"]


def test_kinds_that_a_file_cannot_hold_are_named(tmp_path):
    values = {"x": np.zeros(2, np.complex64), "y": np.zeros(2, ">f4")}
    told = refusal(lambda: tensors.write(tmp_path / "file.safetensors", values))
    assert told == "x: safetensors has no tensors of complex64: convert them to float32"
    np.savez(tmp_path / "file.npz", y=values["y"])
    tensors.write(tmp_path / "file.pth", tensors.read(tmp_path / "file.npz"))  # in this machine's order of bytes
    assert tensors.read(tmp_path / "file.pth")["y"].dtype == np.float32


def test_what_was_not_copied_whole_is_told(tmp_path):
    tensors.write(tmp_path / "file.pth", {"x": np.zeros(9, np.float32)})
    whole = (tmp_path / "file.pth").read_bytes()
    for part in (b"", whole[: len(whole) // 2]):
        (tmp_path / "file.pth").write_bytes(part)
        told = refusal(lambda: tensors.read(tmp_path / "file.pth"))
        assert "cannot be read as a .pth file (it is cut off): copy or export it again" in told
