"""A training iteration that also tells the gradients it descended by."""

from uit_jax import state as game


def update_and_gradients(method, phase):
    """Return (state, views) -> (state, metrics, the gradients of the players' loss), of one iteration's `play`."""

    def run(state, views):
        recorded = {}

        def spy(learners, optimizers, loss_fn, **options):
            def watched(name, tx):
                def update(gradient, *rest):
                    if "generator" in learners:
                        recorded[name] = gradient
                    return tx.update(gradient, *rest)

                return tx._replace(update=update)

            watching = {name: watched(name, optimizers[name]) for name in learners}
            return descend(learners, watching, loss_fn, **options)

        descend, game.descend = game.descend, spy
        try:
            state, metrics = method.update(state, views, phase=phase)
        finally:
            game.descend = descend
        return state, metrics, recorded

    return run
