"""The ResNet translator, its discriminators and CUT's patch MLP under the published names (CycleGAN's and CUT's code).

Blurs are buffers there and code here: they are left out on the way in and written as the constants they are on the way
out.
"""

import numpy as np

from uit_jax.convert.state_dicts import (
    LINEAR,
    TRANSPOSED,
    Named,
    Tensors,
    affine,
    batch_norm,
    has,
    layer,
    numbered,
    places,
)
from uit_jax.types import PyTree


def generator_names(variables: PyTree, antialias: bool) -> Named:
    """Yield the names of a generator; whether it blurs before it halves shifts them and shows in no shape.

    One whose norms scale and shift is DistanceGAN's, whose borders of zeros are no layers of their own.
    """
    params = variables["params"]
    pad = int(not has(params, ("norm_down_0", "scale")))
    place = pad + 3
    yield from layer(variables, f"model.{pad}", "stem/conv")
    yield from _norm_names(variables, f"model.{pad + 1}", "norm_down_0")
    for index in range(numbered(params, "down_")):
        yield from layer(variables, f"model.{place}", f"down_{index}/conv")
        yield from _norm_names(variables, f"model.{place + 1}", f"norm_down_{index + 1}")
        place += 3
        if antialias:
            yield blur(f"model.{place}", (1, 2, 1), params[f"down_{index}"]["conv"]["kernel"].shape[3])
            place += 1
    for block in range(numbered(params, "block_")):
        for index in range(2):
            inner = f"model.{place}.conv_block"
            conv = (3 + pad) * index + pad
            yield from layer(variables, f"{inner}.{conv}", f"block_{block}/conv_{index}/conv")
            yield from _norm_names(variables, f"{inner}.{conv + 1}", f"block_{block}/norm_{index}")
        place += 1
    for index in range(numbered(params, "up_")):
        if "conv" in params[f"up_{index}"]:
            yield blur(f"model.{place}", (1, 3, 3, 1), params[f"up_{index}"]["conv"]["kernel"].shape[2], gain=4)
            place += 1
            yield from layer(variables, f"model.{place}", f"up_{index}/conv")
        else:
            yield from layer(variables, f"model.{place}", f"up_{index}", TRANSPOSED)
        yield from _norm_names(variables, f"model.{place + 1}", f"norm_up_{index}")
        place += 3
    yield from layer(variables, f"model.{place + pad}", "image/conv")


def discriminator_names(variables: PyTree, antialias: bool) -> Named:
    """Yield the names of a discriminator of patches or of pixels."""
    params, place = variables["params"], 0
    if params["logits"]["conv"]["kernel"].shape[0] == 1:
        yield from layer(variables, "net.0", "conv_0/conv")
        yield from layer(variables, "net.2", "conv_1/conv")
        yield from batch_norm(variables, "net.3", "norm_1/batch")
        yield from layer(variables, "net.5", "logits/conv")
        return
    last = numbered(params, "conv_") - 1
    for index in range(last + 1):
        yield from layer(variables, f"model.{place}", f"conv_{index}/conv")
        if index:
            yield from _norm_names(variables, f"model.{place + 1}", f"norm_{index}")
        place += 3 if index else 2
        if antialias and index < last:
            yield blur(f"model.{place}", (1, 2, 1), params[f"conv_{index}"]["conv"]["kernel"].shape[3])
            place += 1
    yield from layer(variables, f"model.{place}", "logits/conv")


def _norm_names(variables: PyTree, theirs: str, ours: str) -> Named:
    """Yield the entries of a norm if it has any."""
    if has(variables["params"], (*ours.split("/"), "scale")):
        yield from affine(theirs, ours)
    yield from batch_norm(variables, theirs, f"{ours}/batch")


def patch_names(variables: PyTree) -> Named:
    """Yield the names of the patch MLP, whose layers the published code counts and ours are called by their tap."""
    taps = sorted({int(name.split("_")[1]) for name in variables["params"]})
    for place, tap in enumerate(taps):
        for index in range(2):
            yield from layer(variables, f"mlp_{place}.{2 * index}", f"tap_{tap}_{index}", LINEAR)


def blur(theirs: str, taps: tuple[int, ...], channels: int, gain: float = 1.0) -> tuple[str, np.ndarray]:
    """Return the name and value of a blur that is kept once for every channel."""
    return f"{theirs}.filt", np.tile(binomial(taps, gain)[None, None], (channels, 1, 1, 1))


def binomial(taps: tuple[int, ...], gain: float = 1.0) -> np.ndarray:
    """Return the filter [n, n] whose rows and columns are taps, of sum `gain`."""
    values = np.outer(taps, taps).astype(np.float32)
    return gain * values / values.sum()


# --- what the shapes tell ---


def read_generator(tensors: Tensors) -> dict:
    """Return width, blocks, antialias, antialias_up, norm and the channels of inputs and outputs."""
    convs = places(tensors, r"model\.(\d+)\.weight")
    pad = convs[0]
    width, channels = tensors[f"model.{pad}.weight"].shape[:2]
    return {
        "width": width,
        "blocks": len(places(tensors, rf"model\.(\d+)\.conv_block\.{pad}\.weight")),
        # A layer that changes the size comes between two of the convolutions where it is not part of one of them.
        "antialias": convs[2] - convs[1] > 3,
        "antialias_up": convs[4] - convs[3] > 3,
        "norm": _norm(tensors, f"model.{pad}", f"model.{pad + 1}"),
        "channels": channels,
        "target_channels": len(tensors[f"model.{convs[-1]}.weight"]),
    }


def read_discriminator(tensors: Tensors) -> dict:
    """Return kind, width, norm, the channels of its images and, of one of patches, layers and antialias."""
    if any(name.startswith("net.") for name in tensors):
        width, channels = tensors["net.0.weight"].shape[:2]
        return {"kind": "pixel", "width": width, "norm": _norm(tensors, "net.2", "net.3"), "channels": channels}
    convs = places(tensors, r"model\.(\d+)\.weight")
    width, channels = tensors["model.0.weight"].shape[:2]
    return {
        "kind": "patch",
        "width": width,
        "layers": len(convs) - 2,
        "antialias": convs[1] > 2,
        "norm": _norm(tensors, f"model.{convs[1]}", f"model.{convs[1] + 1}"),
        "channels": channels,
    }


def _norm(tensors: Tensors, conv: str, norm: str) -> str:
    # Old files have statistics of instance norms too.
    scaled, biased = f"{norm}.weight" in tensors, f"{conv}.bias" in tensors
    return ("affine" if scaled else "instance") if biased else ("batch" if scaled else "none")
