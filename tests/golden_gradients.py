"""A training iteration that also tells the gradients it descended by."""


def update_and_gradients(module, method, phase: str):
    """Return (state, views) -> (state, metrics, the gradients of the generator's loss), of one training iteration.

    `module` is the method's file, whose `descend` is watched.
    """

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

        descend, module.descend = module.descend, spy
        try:
            state, metrics = method.update(state, views, phase=phase)
        finally:
            module.descend = descend
        return state, metrics, recorded

    return run
