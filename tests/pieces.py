"""Training iterations in pieces: a network that is used in several places is traced and compiled once for all."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from uit_jax.method import Method


@contextlib.contextmanager
def networks_once():
    """Trace equal networks once, whatever method and place they stand in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Method, "call", _call)
        yield


def piecewise(method: Method, iterate):
    """Return a function of a method's training that runs step by step, each network and optimiser a program."""
    optimizers = {name: _alone(tx) for name, tx in method.optimizers.items()}

    def run(*given, **options):
        with networks_once(), pytest.MonkeyPatch.context() as patch:
            patch.setitem(vars(method), "optimizers", optimizers)
            return iterate(*given, **options)

    return run


def blank(method: Method, batch_size: int):
    """Return a state of zeros, as optimisers begin, for a file's weights: nothing need be sampled."""
    shapes = jax.eval_shape(lambda: method.init(jax.random.PRNGKey(0), batch_size))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def _call(self: Method, network, variables, *inputs, **options):
    assert self.recompute == "none" and self.microbatches == 1
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return _program(network, tuple(options.items()))(variables, *inputs)


_programs = []


def _program(network, options):
    """Return the program of a network, of which one with a dict in its fields has no hash."""
    for known, program in _programs:
        if known == (network, options):
            return program
    program = jax.jit(functools.partial(network.apply, **dict(options)))
    _programs.append(((network, options), program))
    return program


@functools.cache
def _alone(tx):
    return optax.GradientTransformation(tx.init, jax.jit(tx.update))
