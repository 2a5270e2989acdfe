"""The published checkpoints of the papers' code, in and out."""

from uit_jax.convert import cut, munit, pooled, tensors, tunit
from uit_jax.errors import UserError
from uit_jax.method import Method
from uit_jax.methods.cut import CUT
from uit_jax.methods.munit import MUNIT
from uit_jax.methods.pooled import PooledMethod
from uit_jax.methods.sincut import SinCUT
from uit_jax.methods.tunit import TUNIT
from uit_jax.paths import PathLike
from uit_jax.state import TrainState

SUFFIXES = tuple(tensors.READERS)


def import_file(path: PathLike, method: Method, state: TrainState) -> TrainState:
    """Read a file of published weights and put its networks into a state of a method.

    Args:
      state: or its shapes; what the file lacks stays as it is there.

    Raises:
      UserError: the file cannot be read, it does not fit, or nothing was published for the method.
    """
    read = tensors.read(path)
    try:
        if isinstance(method, TUNIT):
            return tunit.import_state(read, state, stages=method.guide.stages)
        if isinstance(method, CUT):
            return cut.import_state(read, state, antialias=method.generator.antialias)
        if isinstance(method, SinCUT):
            return cut.import_state(read, state)
        if isinstance(method, PooledMethod):
            return pooled.of(method).import_state(read, state)
        if isinstance(method, MUNIT):
            return munit.import_state(read, state)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    raise UserError(f"{path}: there are no published weights of this method: give the workdir of a run of ours")
