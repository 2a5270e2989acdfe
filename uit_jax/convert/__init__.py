"""The published checkpoints of the papers' code, in and out."""

from uit_jax import tensors
from uit_jax.convert import papers
from uit_jax.convert.papers import PAPERS, of
from uit_jax.errors import UserError
from uit_jax.method import Method
from uit_jax.paths import PathLike
from uit_jax.state import TrainState

__all__ = ["CONVERTED", "PAPERS", "SUFFIXES", "import_file", "of"]

SUFFIXES = tuple(tensors.READERS)

CONVERTED = "converted.json"
"""In the folder of a run that was made of published files: of each network, the name of the file."""


def import_file(path: PathLike, method: Method, state: TrainState) -> TrainState:
    """Read a file of published weights and put its networks into a state of a method.

    Args:
      state: or its shapes; what the file lacks stays as it is there.

    Raises:
      UserError: the file cannot be read, it does not fit, or nothing was published for the method.
    """
    try:
        paper = papers.of(type(method))
    except UserError as error:
        raise UserError(f"{path}: {error}: give the workdir of a run of ours") from error
    return paper.import_state(paper.gather([path]), method, state)
