"""Functions of a batch whose gradients take less memory: computed anew on the way back, in parts of the batch.

Most of a training step's memory is what networks keep for their gradients. A network that is computed anew there keeps
its arguments alone (arXiv:1604.06174); one that the batch passes through in parts, one after the other, needs no more
than one part does, and its gradient is the sum of theirs. Losses see the results of all parts together, whatever they
compare across the batch, so that the numbers stay what they are but for rounding.
"""

from collections.abc import Callable

import jax

from uit_jax.types import Array, PyTree

KINDS = ("none", "light", "full")
"""What is computed anew: nothing; what is cheap, all but convolutions and products; all of a network."""

_KEPT = {
    "light": jax.checkpoint_policies.dots_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


def call(function: Callable, variables: PyTree, *inputs: PyTree, kind: str = "none", parts: int = 1) -> PyTree:
    """Return function(variables, *inputs), to be differentiated in less memory.

    Args:
      function: what it makes of an example depends on no other one, or `parts` must be 1.
      inputs, and what is returned: arrays whose first axis is that of the examples, in any trees.
      kind: one of `KINDS`; of parts everything is computed anew.
      parts: in which the examples are taken. So many examples as cannot be divided by it are taken together.
    """
    if parts > 1 and not any(len(leaf) % parts for leaf in jax.tree.leaves(inputs)):
        return _in_parts(function, variables, inputs, parts)
    if kind == "none":
        return function(variables, *inputs)
    return jax.checkpoint(function, policy=_KEPT[kind])(variables, *inputs)


def _in_parts(function: Callable, variables: PyTree, inputs: PyTree, parts: int) -> PyTree:
    def divided(rows: Array) -> Array:
        return rows.reshape(parts, -1, *rows.shape[1:])

    def joined(rows: Array) -> Array:
        return rows.reshape(-1, *rows.shape[2:])

    # No part's first computation can be taken for its second one, which stands in another loop.
    again = jax.checkpoint(function, policy=_KEPT["full"], prevent_cse=False)
    made = jax.lax.map(lambda part: again(variables, *part), jax.tree.map(divided, inputs))
    return jax.tree.map(joined, made)
