"""Whether a file's tensors are the ones a network wants, and what to say if they are not."""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from uit_jax.errors import UserError


def check(
    network: str,
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    ignored: re.Pattern | None = None,
) -> None:
    """Check that tensors have the names and shapes that a network wants; names that match `ignored` may be there.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    missing = [name for name in shapes if name not in tensors]
    unexpected = [name for name in tensors if name not in shapes and not (ignored and ignored.fullmatch(name))]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)}, not {tuple(shape)}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != tuple(shape)
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    if any(faults.values()):
        listed = "; ".join(f"{kind}: {some(keys)}" for kind, keys in faults.items() if keys)
        raise UserError(f"the checkpoint's {network} does not fit this model's settings; keys {listed}")


def some(keys: Iterable[str], count: int = 5) -> str:
    """Join the first few of many names, and say how many more there are."""
    keys = list(keys)
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more
