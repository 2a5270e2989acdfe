"""Everything a training run is, as one pytree; the one place where gradients are taken; the game of two players."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import optax

from uit_jax import collectives
from uit_jax.types import Array, Metrics, PyTree

Learners = dict[str, "Learner"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Learner:
    """One network under one optimiser.

    Attributes:
      params: the weights.
      stats: batch statistics and other variables that no gradient reaches; {} if there are none.
      opt_state: the optimiser's state.
      ema: the running average of `params`, or None where the method keeps none.
    """

    params: PyTree
    stats: PyTree
    opt_state: PyTree
    ema: PyTree = None

    @classmethod
    def create(cls, variables: Mapping, tx: optax.GradientTransformation, *, averaged: bool = False) -> "Learner":
        """Start a learner from a Flax module's variables; `averaged` starts its average as a copy."""
        params = variables["params"]
        stats = {name: value for name, value in variables.items() if name != "params"}
        # A copy, not an alias: a donated state may not hold one buffer twice.
        ema = jax.tree.map(jnp.copy, params) if averaged else None
        return cls(params, stats, tx.init(params), ema)

    @property
    def variables(self) -> dict[str, PyTree]:
        """The weights and the statistics, as a Flax module takes them."""
        return {"params": self.params, **self.stats}

    @property
    def averaged(self) -> dict[str, PyTree]:
        """The running average of the weights, and the statistics."""
        return {"params": self.ema, **self.stats}

    def replace(self, **changes) -> "Learner":
        return dataclasses.replace(self, **changes)

    def average(self, decay: float | Array) -> "Learner":
        """Move the average towards the weights: ema <- decay * ema + (1 - decay) * params."""
        return self.replace(ema=jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, self.ema, self.params))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """A training run between two steps.

    Attributes:
      step: int32 scalar, the number of updates done; the one counter.
      key: the root key, never advanced; a step's key is `fold_in(key, step)`.
      learners: name -> Learner; a method adds a name, never a field.
      memory: the method's own pytree (a KeyQueue for TUNIT, () for a method without memory).
    """

    step: Array
    key: Array
    learners: Learners
    memory: PyTree = ()

    def replace(self, **changes) -> "TrainState":
        return dataclasses.replace(self, **changes)

    def with_learners(self, learners: Learners) -> "TrainState":
        """Return the state with some of its learners replaced."""
        return self.replace(learners={**self.learners, **learners})

    def average(self, **decays: float | Array) -> "TrainState":
        """Move the running averages of some learners, each by its decay."""
        averaged = {}
        for name, decay in decays.items():
            with jax.named_scope("optimizer"), jax.named_scope(name):
                averaged[name] = self.learners[name].average(decay)
        return self.with_learners(averaged)


def descend(
    learners: Mapping[str, Learner],
    optimizers: Mapping[str, optax.GradientTransformation],
    loss_fn: Callable[[dict[str, PyTree]], tuple[Array, tuple[PyTree, dict[str, PyTree]]]],
    *,
    at: Mapping[str, PyTree] | None = None,
    axis_name: str | None = None,
) -> tuple[Learners, PyTree]:
    """Take one gradient step on the named learners together: the only gradient site of the program.

    Args:
      learners: the networks that this loss trains; nothing else changes.
      optimizers: one gradient transformation for each of them.
      loss_fn: weights of all named learners -> (scalar, (aux, stats)); `stats` holds the new statistics
        of those learners that have any.
      at: the weights at which the gradient is taken, by default those that are moved.
      axis_name: the device axis over which gradients and statistics are averaged.

    Returns:
      The new learners and `aux`.
    """
    params = {name: at[name] if at else learner.params for name, learner in learners.items()}
    grads, (aux, stats) = jax.grad(loss_fn, has_aux=True)(params)
    grads, stats = collectives.mean((grads, stats), axis_name)
    stepped = {}
    for name, learner in learners.items():
        # By these names a profile tells the work of each optimiser from that of the networks.
        with jax.named_scope("optimizer"), jax.named_scope(name):
            updates, opt_state = optimizers[name].update(grads[name], learner.opt_state, learner.params)
            params = optax.apply_updates(learner.params, updates)
        stepped[name] = learner.replace(params=params, opt_state=opt_state, stats=stats.get(name, learner.stats))
    return stepped, aux


def play(
    state: TrainState,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    players: Sequence[str],
    opponents: Sequence[str],
    make: Callable[[dict[str, PyTree]], tuple[PyTree, dict[str, PyTree]]],
    oppose: Callable[[dict[str, PyTree], PyTree], tuple[Array, tuple[Metrics, dict[str, PyTree]]]],
    deceive: Callable[[dict[str, PyTree], PyTree, Learners], tuple[Array, Metrics]],
    at: Mapping[str, PyTree] | None = None,
    axis_name: str | None = None,
) -> tuple[TrainState, PyTree, Metrics]:
    """Let opponents, then players learn from one set of translations: the order that a GAN's iteration has.

    The translations are made once. The opponents learn from them first, detached; then the players learn through
    the same translations against the opponents as they are now.

    Args:
      players, opponents: the learners of either side; the first name of a side stands before its terms.
      make: weights of the players -> (what they make, any pytree; their new statistics by name, {} for none).
      oppose: (weights of the opponents, what was made, detached) -> (loss, (its terms, the opponents' new statistics)).
      deceive: (weights of the players, what was made, the opponents by name after their step) -> (loss, its terms).
      at: the players' weights at which all this is computed, by default those that are moved.
      axis_name: the device axis.

    Returns:
      The state with both sides' learners, what was made, detached, and all terms as "learner/term", of this device.
    """

    def loss_fn(params):
        made, stats = make(params)
        shown = jax.lax.stop_gradient(made)
        opposing = {name: state.learners[name] for name in opponents}
        opposing, against = descend(opposing, optimizers, lambda own: oppose(own, shown), axis_name=axis_name)
        loss, terms = deceive(params, made, opposing)
        return loss, ((opposing, named(players[0], terms) | named(opponents[0], against), shown), stats)

    playing = {name: state.learners[name] for name in players}
    playing, (opposing, terms, shown) = descend(playing, optimizers, loss_fn, at=at, axis_name=axis_name)
    return state.with_learners({**playing, **opposing}), shown, terms


def named(learner: str, terms: Metrics) -> Metrics:
    """Put a learner's name before the names of its terms: "learner/term"."""
    return {f"{learner}/{name}": value for name, value in terms.items()}
