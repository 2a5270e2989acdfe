"""Strictness for the whole suite, several CPU devices, and what tests share."""

import os

# Before JAX is imported: its devices are counted once.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--goldens", default=str(Path(__file__).parent / "goldens"), help="folder of golden values")


def pytest_configure(config):
    # What one test compiled, another and its subprocesses need not compile again.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


@pytest.fixture
def tiny(monkeypatch):
    """Register the tiny method, which trains in milliseconds, and return its module."""
    from tests import tiny_method
    from uit_jax import methods

    monkeypatch.setitem(methods.METHODS, "tiny", tiny_method.Tiny)
    return tiny_method
