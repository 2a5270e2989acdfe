"""A training iteration that also tells the gradients it descended by."""

import sys

import pytest

from uit_jax import state as game


def update_and_gradients(method, phase):
    """Return (state, views) -> (state, metrics, the gradient of each learner's last step), of one iteration."""

    def run(state, views):
        recorded = {}

        def spy(learners, optimizers, loss_fn, **options):
            def watched(name, tx):
                def update(gradient, *rest):
                    recorded[name] = gradient
                    return tx.update(gradient, *rest)

                return tx._replace(update=update)

            watching = {name: watched(name, optimizers[name]) for name in learners}
            return descend(learners, watching, loss_fn, **options)

        descend = game.descend
        with pytest.MonkeyPatch.context() as patch:
            # A method that plays no `play` descends by itself.
            for module in (game, sys.modules[type(method).__module__]):
                patch.setattr(module, "descend", spy, raising=False)
            state, metrics = method.update(state, views, phase=phase)
        return state, metrics, recorded

    return run
