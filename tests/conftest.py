"""Strictness for the whole suite, several CPU devices, and what tests share."""

import collections
import contextlib
import gc
import importlib.util
import mmap
import os
import signal
import threading
from pathlib import Path

import pytest

# XLA's older emitters, and one module instead of 32, compile small programs for a CPU five times as fast.
QUICK = {"xla_cpu_use_fusion_emitters": "false", "xla_cpu_parallel_codegen_split_count": "1"}


def known(flag: str) -> bool:
    """Say whether this version of XLA has a flag: one that it does not know ends the process."""
    library = Path(importlib.util.find_spec("jaxlib").origin).with_name("libjax_common.so")
    if not library.exists():
        return False
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(flag.encode()) >= 0


# Before JAX is imported, which reads them once; subprocesses inherit them.
FLAGS = {"xla_force_host_platform_device_count": "8"} | {flag: QUICK[flag] for flag in filter(known, QUICK)}
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *(f"--{flag}={FLAGS[flag]}" for flag in FLAGS)])
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # what runs for milliseconds need not be compiled well
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Who runs the suite behind `nohup` or in the background lets it ignore these, which the command and its tests do not.
for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, default)


def pytest_addoption(parser):
    parser.addoption("--goldens", default=str(Path(__file__).parent / "goldens"), help="folder of golden values")
    parser.addoption("--photographs", nargs=2, metavar="FOLDER", help="images to be measured beside the standard tools")


def pytest_configure(config):
    # What one test compiled, another and its subprocesses need not compile again.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def pytest_collection_modifyitems(items):
    # The files with most slow tests come first, or at the end one worker would be left with such a file.
    slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish():
    share_contexts()
    # Tracing makes millions of objects: the collector would look through all that was imported again and again.
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)


def share_contexts():
    """Let the programs that a thread makes be written down in one context.

    JAX makes one for each, in 4 ms of which most programs of tests need no more, and keeps all of its 1 MB with the
    program. Where it has no such function any more, this changes nothing.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from jax._src.interpreters import mlir

        make, own = mlir.make_ir_context, threading.local()

        def context():
            if not hasattr(own, "context"):
                own.context = make()
            return own.context

        mlir.make_ir_context = context


@contextlib.contextmanager
def compiled_well():
    """Compile for speed what runs for hundreds of steps."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
        # Its programs round otherwise than those that the following tests compare with theirs.
        jax.clear_caches()


@pytest.fixture
def tiny(monkeypatch):
    """Register the tiny method, which trains in milliseconds, and return its module."""
    from tests import tiny_method
    from uit_jax import methods

    monkeypatch.setitem(methods.METHODS, "tiny", tiny_method.Tiny)
    return tiny_method
