"""A training iteration that also tells the gradients it descended by."""

import sys

import jax
import pytest

from uit_jax import state as game


def update_and_gradients(method, phase):
    """Return (state, views) -> (state, metrics, the gradients of the players' loss), of one iteration's `play`."""
    update = update_and_all_gradients(method, phase)

    def run(state, views):
        state, metrics, recorded = update(state, views)
        # What a player learned before the game is not of it.
        return state, metrics, {name: gradients[-1] for name, gradients in recorded.items()}

    return run


def update_and_all_gradients(method, phase):
    """Return (state, views) -> (state, metrics, each learner's gradients in the order of its steps).

    A third argument, if given, is by how much of what its optimiser says a weight moves: 0 leaves all where they are.
    """

    def run(state, views, share=None):
        recorded = {}

        def spy(learners, optimizers, loss_fn, **options):
            def watched(name, tx):
                def update(gradient, *rest):
                    recorded.setdefault(name, []).append(gradient)
                    updates, moved = tx.update(gradient, *rest)
                    return updates if share is None else jax.tree.map(lambda each: share * each, updates), moved

                return tx._replace(update=update)

            watching = {name: watched(name, optimizers[name]) for name in learners}
            return descend(learners, watching, loss_fn, **options)

        descend = game.descend
        with pytest.MonkeyPatch.context() as patch:
            # A method that plays no `play` descends by itself, or does what it is a kind of.
            modules = {sys.modules[kind.__module__] for kind in type(method).__mro__}
            for module in [game, *(module for module in modules if hasattr(module, "descend"))]:
                patch.setattr(module, "descend", spy)
            state, metrics = method.update(state, views, phase=phase)
        return state, metrics, recorded

    return run
