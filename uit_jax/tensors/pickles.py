"""The machine that pickles are programs for, of data alone: it builds tensors in plain containers, and nothing else.

A pickle is a program for a machine with a stack, which may call whatever it names. The machine here knows the
instructions that data are made of, and calls the few functions of `_CALLS`, all of this file: it builds tensors, dicts,
lists, numbers and texts. A file that asks for anything else is refused by the name of that.
"""

import math
import pickletools
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from uit_jax.errors import UserError

_MOST_SIDES = 64  # of a tensor, as numpy has it
_WIDEST = 128  # bits of a number
_COPIED = 64  # what calls copy for each byte of a program; those of real files copy less than there is

STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
}
_KINDS = (
    "float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 int64 int32 int16 int8 uint64 uint32 uint16 uint8"
    " bool complex64 complex128"
).split()


class Named(NamedTuple):
    """A function or a class that a program names."""

    name: str


# --- what a program may make ---


class _Kind:
    """A dtype of numpy's as a program makes it: of its name, then of its byte order."""

    def __init__(self, name: str, *_: Any):
        self.dtype = np.dtype(name)
        if self.dtype.kind not in "biufc":
            raise UserError(f"holds an array of {name!r}, not of numbers")

    def build(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array of numpy's as a program makes it: empty, then of its numbers."""

    shape = (0,)

    def __init__(self, *_: Any):
        self._values = np.zeros(0, np.float32)

    def build(self, state: tuple) -> None:
        _, shape, kind, fortran, data = state
        self._values = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if fortran else "C")
        self.shape = self._values.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._values


def _tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    """Look at a storage as a tensor, without a copy. Raises ValueError where it would reach beyond."""
    check_whole(offset, *listed(size), *listed(stride))
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if len(size) > _MOST_SIDES or (math.prod(size) and last >= len(storage)):
        raise ValueError("a tensor reaches beyond its storage")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _tensor_of_kind(storage: np.ndarray, offset: int, size: tuple, stride: tuple, _: bool, __: dict, *told: Named):
    """Look at a storage of bytes as a tensor of the kind that is told."""
    return _tensor(storage.view(np.dtype(told[0].name.removeprefix("torch."))), offset, size, stride)


def _scalar(kind: _Kind, data: bytes) -> np.ndarray:
    return np.frombuffer(data, kind.dtype)[0]


def _bytes(text: str, coding: str) -> bytes:
    if coding != "latin1":
        raise ValueError(f"bytes as {coding}")
    return text.encode(coding)


def listed(values: Any) -> list | tuple:
    """Return a list or a tuple. Raises ValueError for an array, of which few bytes may make very many entries."""
    if not isinstance(values, list | tuple):
        raise ValueError("what should be a list is none")
    return values


def check_whole(*numbers: Any) -> None:
    """Raise a ValueError unless all are whole numbers of at least 0."""
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("what should be sizes are none")


_CALLS: dict[str, Callable] = {
    "collections.OrderedDict": lambda pairs=(): _dict(listed(pairs)),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_kind,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch.Size": lambda numbers=(): tuple(listed(numbers)),
    "torch.device": lambda *told: None,
    "builtins.set": lambda entries=(): set(plain_keys(listed(entries))),
    "builtins.bytes": lambda: b"",
    "_codecs.encode": _bytes,
    "numpy.dtype": _Kind,
    **{f"numpy.{core}.multiarray._reconstruct": _Array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
}
TYPES = {
    **{f"{module}.{name}": kind for module in ("torch", "torch.cuda") for name, kind in STORAGES.items()},
    **dict.fromkeys(("torch.UntypedStorage", "torch.storage.UntypedStorage"), np.uint8),
}
_NAMES = {*_CALLS, *TYPES, "numpy.ndarray", *(f"torch.{kind}" for kind in _KINDS)}


# --- the machine ---

_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_GROUPS = {
    "TUPLE": tuple,
    "LIST": list,
    "FROZENSET": lambda found: frozenset(plain_keys(found)),
    "DICT": lambda found: _dict(_pairs(found)),
}
_VALUES = set(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE"
    " SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)


class Machine:
    """Runs one program after the other of a file.

    Attributes:
      storage: returns the numbers of a storage, of what a program says of it.
    """

    def __init__(self, file: BinaryIO, storage: Callable[[tuple], np.ndarray]):
        self._file, self._storage = file, storage

    def run(self) -> Any:
        """Return what the next program makes.

        Raises:
          UserError: it asks for what is not data.
          Exception: of any kind, where it is damaged.
        """
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        copied = 0
        for code, argument, place in pickletools.genops(self._file):
            if code.name == "REDUCE":
                copied += sum(len(each) for each in listed(self._stack[-1]) if isinstance(each, list | tuple | str))
            if copied > _COPIED * place:
                raise ValueError("its program copies the same again and again")
            self._do(code.name, argument)
        return self._stack.pop()

    def _do(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        stack, memo = self._stack, self._memo
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self._marks.append(len(stack))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(name[-1]))))
            case "APPEND" | "APPENDS":
                found = self._since_mark() if name == "APPENDS" else self._pop(1)
                list.extend(stack[-1], found)
            case "ADDITEMS":
                found = self._since_mark()
                set.update(stack[-1], plain_keys(found))
            case "SETITEM" | "SETITEMS":
                found = self._since_mark() if name == "SETITEMS" else self._pop(2)
                dict.update(stack[-1], _dict(_pairs(found)))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL" | "INST":
                stack.append(_named(*argument.split(" ")))
            case "STACK_GLOBAL":
                stack.append(_named(*self._pop(2)))
            case "REDUCE":
                function, arguments = self._pop(2)
                stack.append(_called(function)(*listed(arguments)))
            case "BUILD":
                (state,) = self._pop(1)
                _build(stack[-1], state)
            case "BINPERSID":
                stack.append(self._storage(*self._pop(1)))
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name]())
            case _ if name in _GROUPS:
                stack.append(_GROUPS[name](self._since_mark()))
            case _ if name in _VALUES:
                if isinstance(argument, int) and argument.bit_length() > _WIDEST:
                    raise ValueError("a number is larger than any that belongs there")
                stack.append(argument)
            case _:
                raise UserError(f"is no file of tensors alone: its pickle has the instruction {name}")

    def _since_mark(self) -> list[Any]:
        return self._pop(len(self._stack) - self._marks.pop())

    def _pop(self, count: int) -> list[Any]:
        start = len(self._stack) - count
        if not 0 <= start <= len(self._stack):
            raise ValueError("its program takes what is not there")
        found = self._stack[start:]
        del self._stack[start:]
        return found


def _pairs(found: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(found[::2], found[1::2], strict=True)


def _dict(pairs: Iterable[tuple[Any, Any]]) -> dict:
    """Return a dict. Raises ValueError for keys that `plain_keys` does not let pass."""
    pairs = [(key, value) for key, value in pairs]
    plain_keys(key for key, _ in pairs)
    return dict(pairs)


def plain_keys(found: Iterable[Any]) -> list[Any]:
    """Return what are plain keys. Raises ValueError for a nested one: to hash it may take for ever, or end Python."""
    found = list(found)
    if not all(each is None or isinstance(each, str | bytes | int | float | Named) for each in found):
        raise ValueError("what should be a name is none")
    return found


def _named(module: str, name: str) -> Named:
    """Return what a program names. Raises UserError where no tensor is built of that."""
    full = f"{module.replace('__builtin__', 'builtins')}.{name}"
    if full not in _NAMES:
        raise UserError(
            f"holds objects of {full[:80]}, not tensors alone: it is not read, for such a file can run code; save the"
            " state_dict alone"
        )
    return Named(full)


def _called(function: Any) -> Callable:
    if not isinstance(function, Named) or function.name not in _CALLS:
        raise UserError("is no file of tensors alone: its pickle calls what is no function that builds them")
    return _CALLS[function.name]


def _build(made: Any, state: Any) -> None:
    """Give an array of numpy's its numbers; of a dict's further attributes nothing is kept."""
    if isinstance(made, _Kind | _Array):
        made.build(state)
    elif not isinstance(made, dict):
        raise UserError(f"is no file of tensors alone: its pickle changes a {type(made).__name__}")
