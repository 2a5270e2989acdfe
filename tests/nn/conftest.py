"""What is compiled for a user, for the modules that look at it."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def optimized(request):
    """Optimise what a module with `OPTIMIZED = True` compiles, unlike that of all other tests."""
    usual = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", usual and not getattr(request.module, "OPTIMIZED", False))
    yield
    jax.config.update("jax_disable_most_optimizations", usual)
