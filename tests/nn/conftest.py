"""The numbers of these tests are few: what compiles them need not be fast."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def quick_compile(request):
    """Compile in half the time what runs for milliseconds, but for the modules that look at what was compiled."""
    slow = getattr(request.module, "OPTIMIZED", False)
    jax.config.update("jax_disable_most_optimizations", not slow)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
