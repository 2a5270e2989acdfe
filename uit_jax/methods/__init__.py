"""The methods: one file, one paper."""

import dataclasses
import difflib

import jax

from uit_jax.errors import UserError
from uit_jax.methods import cluit, cut, embedding, tunit
from uit_jax.types import Method

METHODS = {
    "tunit": (tunit.Settings, tunit.build),
    "cluit": (cluit.Settings, cluit.build),
    "embedding": (embedding.Settings, embedding.build),
    "cut": (cut.Settings, cut.build),
    "fastcut": (cut.FastSettings, cut.build),
    "sincut": (cut.SinSettings, cut.build),
}


def build(name: str, **hparams) -> Method:
    """Build a method from its name and hyper-parameters.

    Raises:
      UserError: an unknown method or hyper-parameter (the nearest known one is named), or a value out of range.
    """
    if name not in METHODS:
        raise UserError(f"method.name={name!r} is unknown{_nearest(name, METHODS)}")
    settings, factory = METHODS[name]
    known = [field.name for field in dataclasses.fields(settings)]
    for key in hparams:
        if key not in known:
            raise UserError(f"method.{key} is not a setting of {name}{_nearest(key, known)}")
    return factory(settings(**hparams))


def training_step(method: Method):
    """Compose a method's views and update into the function that the trainer compiles."""

    def step(state, batch, *, phase: str, axis_name: str | None = None):
        key = jax.random.fold_in(state.key, state.step)
        return method.update(state, method.views(key, batch, axis_name), phase=phase, axis_name=axis_name)

    return step


def _nearest(name: str, known) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"
