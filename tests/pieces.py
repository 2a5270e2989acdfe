"""Training iterations in pieces: a network that is used in several places is traced and compiled once for all."""

import contextlib
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from uit_jax.method import Method

WELL = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
"""How XLA compiles by itself, and this suite what is worth it."""


@contextlib.contextmanager
def networks_once():
    """Trace equal networks once, whatever method and place they stand in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Method, "call", _call)
        yield


@contextlib.contextmanager
def shapes_once():
    """Trace how equal networks are drawn once, whatever method they stand in: of states, shapes alone are right."""
    plain = nn.Module.init

    def init(module, key, *inputs, **options):
        about = module, jax.tree.map(lambda x: (x.shape, x.dtype), inputs), options
        shapes = next((shapes for known, shapes in _shapes if known == about), None)
        if shapes is None:
            shapes = jax.eval_shape(functools.partial(plain, module, **options), key, *inputs)
            _shapes.append((about, shapes))
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "init", init)
        yield


_shapes = []


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
    with shapes_once():
        shapes = jax.eval_shape(lambda: method.init(jax.random.PRNGKey(0), batch_size))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def _call(self: Method, network, variables, *inputs, **options):
    assert self.recompute == "none" and self.microbatches == 1
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return program(network, **options)(variables, *inputs)


_programs = []


def program(network, **options):
    """Return the program of a network, (variables, *inputs) -> outputs: one for all that are equal."""
    # A network with a dict in its fields has no hash.
    for known, made in _programs:
        if known == (network, options):
            return made
    made = jax.jit(functools.partial(network.apply, **options))
    _programs.append(((network, options), made))
    return made


@functools.cache
def _alone(tx):
    """Return an optimiser that moves all of a network's weights as one vector, compiled well.

    Ours treat each number like every other one; by weights it is a program of hundreds of loops, which is long in
    compiling, and in running too where it is compiled badly.
    """
    step = jax.jit(tx.update, compiler_options=WELL)

    def update(gradient, state, params):
        like = jax.tree.structure(params)

        def mirrors(tree):
            return jax.tree.structure(tree) == like

        def joined(tree):
            return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) if mirrors(tree) else tree

        def parted(vector):
            if np.shape(vector) != (ends[-1],):
                return vector
            parts = np.split(np.asarray(vector), ends[:-1])
            return jax.tree.unflatten(like, [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])

        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(params)]
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
        return jax.tree.map(parted, step(*jax.tree.map(joined, (gradient, state, params), is_leaf=mirrors)))

    return optax.GradientTransformation(tx.init, update)
