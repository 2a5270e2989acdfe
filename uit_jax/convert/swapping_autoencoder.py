"""The Swapping Autoencoder's networks under the names and layouts of the published PyTorch code, both ways.

The published code writes all four into one file, 25000k_checkpoint.pth, each tensor's name behind `E.`, `G.`, `D.` or
`Dpatch.`, and beside them how often the discriminators have learnt.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from uit_jax.convert import state_dicts
from uit_jax.convert.resnet import binomial
from uit_jax.convert.state_dicts import CONV, LINEAR, PER_MAP, SAME, Entry, Named, Tensors, layer, numbered
from uit_jax.convert.stylegan2 import MODULATED
from uit_jax.errors import UserError
from uit_jax.nn import swapping_autoencoder as nn
from uit_jax.settings import LARGEST
from uit_jax.state import TrainState
from uit_jax.types import PyTree

LEARNERS = {"E": "encoder", "G": "generator", "D": "discriminator", "Dpatch": "patch_discriminator"}
ROOTS = {"FromRGB": "E", "DownToSpatialCode": "E", "ToSpatialCode": "E", "DownToGlobalCode": "E", "ToGlobalCode": "E"}
ROOTS |= {"SpatialCodeModulation": "G", "ToRGB": "G", "stylegan2_D": "D", "convs": "Dpatch", "pairlinear": "Dpatch"}
TOLD = re.compile(r"(HeadResnetBlock|UpsamplingResBlock)\d+")


def networks(tensors: Tensors) -> dict[str, dict[str, np.ndarray]]:
    """Sort a file's tensors by network: "E", "G", "D", "Dpatch" -> its state_dict.

    Raises:
      UserError: there is no network of the Swapping Autoencoder among them.
    """
    blocks = {name.split(".")[0]: "G" for name in tensors if TOLD.match(name)}
    return state_dicts.sort("the Swapping Autoencoder", LEARNERS, tensors, ROOTS | blocks)


# --- what the shapes tell ---


def settings(found: Mapping[str, Tensors]) -> dict:
    """Read the settings that shape the networks from their shapes, as far as they are there: nested.

    Raises:
      UserError: a network is none of the published ones.
    """
    return state_dicts.read_settings("the Swapping Autoencoder", READERS, found)


def _encoder(tensors: Tensors) -> dict:
    downs, further = (_count(tensors, rf"DownTo{code}Code\.\w+DownBy(\d+)\..+") for code in ("Spatial", "Global"))
    structure_dim, texture_dim = len(tensors["ToSpatialCode.1.Conv.weight"]), len(tensors["ToGlobalCode.0.weight"])
    stem = tensors["FromRGB.Conv.weight"]
    names = [f"DownToSpatialCode.ResBlockDownBy{2**times}.conv2.Conv.weight" for times in range(downs)]
    names += [f"DownToGlobalCode.ConvLayerDownBy{2 ** (downs + times)}.Conv.weight" for times in range(further)]
    widths = [len(stem), *(len(tensors[name]) for name in names)]

    def widths_at(scale: float, most: int) -> Iterable[int]:
        return map(nn.Encoder(texture_dim=most, scale=scale).width, range(len(widths)))

    scale = _scale("E", widths, texture_dim, widths_at)
    shape = {"scale": scale, "downs": downs, "texture_downs": further}
    return {"channels": stem.shape[1], "structure_dim": structure_dim, "texture_dim": texture_dim, "encoder": shape}


def _generator(tensors: Tensors) -> dict:
    structure_dim, texture_dim = tensors["SpatialCodeModulation.scale.weight"].shape
    heads, ups = (_count(tensors, rf"{kind}Block(\d+)\..+") for kind in ("HeadResnet", "UpsamplingRes"))
    names = [f"HeadResnetBlock{heads - 1}", *(f"UpsamplingResBlock{16 * 2**index}" for index in range(ups))]
    widths = [tensors[f"{name}.conv2.conv.weight"].shape[1] for name in names]
    scale = _scale("G", widths, 0, lambda scale, most: map(nn.Generator(scale=scale, ups=ups).width, range(ups + 1)))
    found = {"channels": tensors["ToRGB.conv.weight"].shape[1], "structure_dim": structure_dim}
    shape = {"scale": scale, "head_blocks": heads}
    return {**found, "texture_dim": texture_dim, "generator": shape, "encoder": {"downs": ups}}


def _discriminator(tensors: Tensors) -> dict:
    count, stem = _count(tensors, r"stylegan2_D\.convs\.(\w+)\.skip\..+"), tensors["stylegan2_D.convs.0.Conv.weight"]
    names = [f"stylegan2_D.convs.{name}.conv2.Conv.weight" for name in _places(count, 9)]
    widths = [len(stem), *(len(tensors[name]) for name in names)]
    size = math.isqrt(tensors["stylegan2_D.final_linear.0.weight"].shape[1] // widths[-1]) * 2**count
    scale = _scale("D", widths, widths[-1], lambda scale, most: nn.Discriminator(size, scale, most).widths)
    shape = {"scale": scale, "max_width": widths[-1]}
    return {"channels": stem.shape[1], "image_size": size, "discriminator": shape}


def _patch_discriminator(tensors: Tensors) -> dict:
    # One block more than there are halvings.
    count, stem = _count(tensors, r"convs\.(\w+)\.skip\..+") - 1, tensors["convs.0.Conv.weight"]
    names = [f"convs.{name}.conv2.Conv.weight" for name in _places(count, 7)]
    widths, sides = [len(stem), *(len(tensors[name]) for name in names)], [4 << times for times in range(count, -1, -1)]
    widest = len(tensors["convs.6.Conv.weight"])

    def widths_at(scale: float, most: int) -> Iterable[int]:
        return map(nn.PatchDiscriminator(sides[0], scale, most).width, sides)

    scale = _scale("Dpatch", widths, widest, widths_at)
    shape = {"scale": scale, "max_width": widest, "pair_width": len(tensors["pairlinear.0.weight"])}
    return {"channels": stem.shape[1], "patches": {"size": sides[0]}, "patch_discriminator": shape}


READERS = {"E": _encoder, "G": _generator, "D": _discriminator, "Dpatch": _patch_discriminator}


def _count(tensors: Tensors, pattern: str) -> int:
    """Count the different names within names."""
    return len({match[1] for name in tensors if (match := re.fullmatch(pattern, name))})


def _scale(network: str, widths: list[int], most: int, widths_at: Callable[[float, int], Iterable[int]]) -> float:
    """Return the roundest scale at which a network has these widths, given the largest there may be.

    Raises:
      UserError: there is none.
    """
    ratios = [width / one for width, one in zip(widths, widths_at(1.0, LARGEST), strict=True)]
    for digits in range(17):
        for scale in (round(ratio, digits) for ratio in ratios):
            if scale > 0 and list(widths_at(scale, most)) == widths:
                return float(scale)
    raise UserError(f"the checkpoint's {network} has widths {widths}, which no scale of the published ones gives")


# --- the names ---


def _places(count: int, base: int) -> list[str]:
    """Return the names of so many halving blocks, that of the largest maps first: numbers, or sides before these."""
    powers = range(count + 2, 2, -1)
    return [str(base - power) if power < base else f"{2**power}x{2**power}" for power in powers]


def _layer(theirs: str, ours: str, blur: tuple[int, ...] = (), bias: str = "Act") -> Named:
    """Yield a layer behind a blur, if it has one, with a bias of its own or of its activation, or none."""
    path = ("params", *ours.split("/"))
    if blur:
        yield f"{theirs}.Blur.kernel", binomial(blur)
    yield f"{theirs}.Conv.weight", Entry((*path, "kernel"), CONV)
    if bias:
        yield f"{theirs}.{bias}.bias", Entry((*path, "bias"), SAME)


def _block(theirs: str, ours: str, blur: tuple[int, ...] = ()) -> Named:
    yield from _layer(f"{theirs}.conv1", f"{ours}/layer_0")
    yield from _layer(f"{theirs}.conv2", f"{ours}/layer_1", blur)
    yield from _layer(f"{theirs}.skip", f"{ours}/shortcut", blur, bias="")


def _encoder_names(variables: PyTree) -> Named:
    params = variables["params"]
    yield from _layer("FromRGB", "stem")
    downs = numbered(params, "block_")
    for index in range(downs):
        yield from _block(f"DownToSpatialCode.ResBlockDownBy{2**index}", f"block_{index}", (1, 2, 1))
    yield from _layer("ToSpatialCode.0", "structure_0")
    yield from _layer("ToSpatialCode.1", "structure_1", bias="Conv")
    for index in range(numbered(params, "texture_")):
        yield from _layer(f"DownToGlobalCode.ConvLayerDownBy{2 ** (downs + index)}", f"texture_{index}", (1,))
    yield from layer(variables, "ToGlobalCode.0", "texture", LINEAR)


def _modulated(variables: PyTree, theirs: str, ours: str, up: bool = False) -> Named:
    yield f"{theirs}.weight", Entry(("params", *ours.split("/"), "kernel"), MODULATED)
    if up:
        yield f"{theirs}.blur.kernel", binomial((1, 3, 3, 1), gain=4)
    yield from layer(variables, f"{theirs}.modulation", f"{ours}/style", LINEAR)


def _styled_block(variables: PyTree, theirs: str, ours: str, up: bool) -> Named:
    for index in range(2):
        own, path = f"{theirs}.conv{index + 1}", ("params", ours, f"layer_{index}")
        yield from _modulated(variables, f"{own}.conv", f"{ours}/layer_{index}/conv", up and not index)
        yield f"{own}.noise.weight", Entry((*path, "strength"), SAME)
        yield f"{own}.activate.bias", Entry((*path, "bias"), SAME)
    if "shortcut" in variables["params"][ours]:
        yield from _layer(f"{theirs}.skip", f"{ours}/shortcut", bias="Act" if up else "")


def _generator_names(variables: PyTree) -> Named:
    params = variables["params"]
    for theirs, ours in {"scale": "scale", "bias": "shift"}.items():
        yield from layer(variables, f"SpatialCodeModulation.{theirs}", f"structure_{ours}", LINEAR)
    for index in range(numbered(params, "head_")):
        yield from _styled_block(variables, f"HeadResnetBlock{index}", f"head_{index}", up=False)
    for index in range(numbered(params, "up_")):
        yield from _styled_block(variables, f"UpsamplingResBlock{16 * 2**index}", f"up_{index}", up=True)
    yield "ToRGB.bias", Entry(("params", "bias"), PER_MAP)
    yield "ToRGB.upsample.kernel", binomial((1, 3, 3, 1), gain=4)
    yield from _modulated(variables, "ToRGB.conv", "image")


def _trunk_names(variables: PyTree, prefix: str, base: int) -> Named:
    yield from _layer(f"{prefix}convs.0", "stem")
    for index, name in enumerate(_places(numbered(variables["params"], "block_"), base)):
        yield from _block(f"{prefix}convs.{name}", f"block_{index}", (1, 3, 3, 1))


def _discriminator_names(variables: PyTree) -> Named:
    yield from _trunk_names(variables, "stylegan2_D.", 9)
    yield from _layer("stylegan2_D.final_conv", "last")
    for index, ours in enumerate(("dense", "logit")):
        yield from layer(variables, f"stylegan2_D.final_linear.{index}", ours, LINEAR)


def _patch_discriminator_names(variables: PyTree) -> Named:
    yield from _trunk_names(variables, "", 7)
    yield from _block("convs.5", "wide")
    yield from _layer("convs.6", "last")
    for index, ours in enumerate(("pair_0", "pair_1", "pair_2", "logit")):
        yield from layer(variables, f"pairlinear.{index}", ours, LINEAR)


NAMES = {
    "E": _encoder_names,
    "G": _generator_names,
    "D": _discriminator_names,
    "Dpatch": _patch_discriminator_names,
}


# --- in and out ---


def import_network(network: str, tensors: Tensors, like: PyTree) -> PyTree:
    """Turn a state_dict into Flax variables of the structure and shapes of `like`.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    return state_dicts.take(network, tensors, NAMES[network](like), like)


def export_network(network: str, variables: PyTree) -> dict[str, np.ndarray]:
    """Turn Flax variables into a state_dict, with the constants that the published code expects to find."""
    return state_dicts.give(NAMES[network](variables), variables)


def import_state(tensors: Tensors, state: TrainState) -> TrainState:
    """Put the networks that are there into a state, averages beginning as copies; all else stays as it is.

    Raises:
      UserError: no network is found, or one does not fit.
    """
    return state_dicts.begun(state, networks(tensors), LEARNERS, import_network)


def export_state(state: TrainState) -> dict[str, dict[str, np.ndarray]]:
    """Return the state_dicts of a state's networks, averages where there are any: the published code has none."""
    learners = {network: state.learners[name] for network, name in LEARNERS.items()}
    return {
        network: export_network(network, own.variables if own.ema is None else own.averaged)
        for network, own in learners.items()
    }
