"""A function as a SavedModel of TensorFlow, for its CPU, CUDA and TPU; the header lies beside it in uit_jax.json."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from uit_jax.errors import UserError
from uit_jax.exporting import stablehlo
from uit_jax.exporting.functions import SMALLEST, Function

HEADER = "uit_jax.json"


def write(function: Function, path: Path) -> None:
    """Write a function to a folder. Raises UserError where TensorFlow is absent."""
    tensorflow, jax2tf = _library("tensorflow"), _library("jax.experimental.jax2tf")
    exported, weights = stablehlo.exported_of(function)
    converted = jax2tf.convert(
        exported.call,
        with_gradient=False,
        polymorphic_shapes=[None, *(f"({', '.join(map(str, each.shape))},)" for each in function.inputs)],
        polymorphic_constraints=[f"{side} >= {SMALLEST}" for side in "hw"] if function.free else (),
        native_serialization_platforms=stablehlo.PLATFORMS,
    )
    module = tensorflow.Module()
    module.weights = [tensorflow.Variable(each, trainable=False) for each in weights]
    like = [
        tensorflow.TensorSpec([part if isinstance(part, int) else None for part in each.shape], each.dtype, each.name)
        for each in function.inputs
    ]

    @tensorflow.function(input_signature=like, autograph=False)
    def call(*arrays: Any) -> dict[str, Any]:
        return {function.output.name: converted(module.weights, *arrays)}

    module.call = call
    tensorflow.saved_model.save(module, str(path), signatures={"serving_default": call})
    (path / HEADER).write_text(json.dumps(function.header(), indent=2) + "\n")


def opened(path: Path) -> Callable[..., np.ndarray]:
    """Read a folder back and run it by TensorFlow: arrays -> array."""
    tensorflow, header = _library("tensorflow"), json.loads((path / HEADER).read_text())
    module = tensorflow.saved_model.load(str(path))
    names = [each["name"] for each in header["inputs"]]

    def call(*arrays: np.ndarray) -> np.ndarray:
        given = dict(zip(names, map(tensorflow.constant, arrays), strict=True))
        return module.signatures["serving_default"](**given)[header["output"]["name"]].numpy()

    return call


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        told = f"--to=savedmodel: takes {name}, which cannot be imported here ({error})"
        raise UserError(f"{told}: install it, or give --to=stablehlo") from error
