"""StarGAN v2's networks under the names and layouts of the published PyTorch code, both ways.

The published code writes all networks into STEP_nets.ckpt and the averages of three, under the same names, into
STEP_nets_ema.ckpt; here these are called `generator_EMA` and so on. Where the generator keeps the parts of a face, both
also hold the network that finds these, `fan`, of which a run names a file. Layers that every domain has of its own are
one array here, and one tensor for each domain there.
"""

import re
from collections.abc import Mapping

import numpy as np

from uit_jax.convert import state_dicts
from uit_jax.convert.state_dicts import LINEAR, SAME, Entry, Form, Named, Tensors, affine, layer, numbered, places
from uit_jax.errors import UserError
from uit_jax.nn import fan
from uit_jax.state import TrainState
from uit_jax.types import PyTree

LEARNERS = {
    "generator": "generator",
    "mapping_network": "mapping",
    "style_encoder": "encoder",
    "discriminator": "discriminator",
}
FACES = "fan"
AVERAGES = {network: f"{network}_EMA" for network in LEARNERS if network != "discriminator"}
ROOTS = {"from_rgb": "generator", "encode": "generator", "decode": "generator", "to_rgb": "generator"}
ROOTS |= {"hpf": "generator", "main": "discriminator"}
FILTER = "hpf.filter"
OWN = re.compile(r"(unshared)\.(\d+)\.(.+)")
# Of the layers of every domain, and of a 1 x 1 convolution that is fully connected here.
EACH = Form(lambda value: value.transpose(0, 2, 1), lambda value: value.transpose(0, 2, 1))
POINT = Form(lambda value: value.T[:, :, None, None], lambda value: value[:, :, 0, 0].T)


def networks(tensors: Tensors) -> dict[str, dict[str, np.ndarray]]:
    """Sort a file's tensors by network: "generator", "mapping_network", "generator_EMA" ... -> its state_dict.

    Raises:
      UserError: there is no network of StarGAN v2 among them.
    """
    return state_dicts.sort("StarGAN v2", (*LEARNERS, *AVERAGES.values(), FACES, f"{FACES}_EMA"), tensors, ROOTS)


# --- what the shapes tell ---


def settings(found: Mapping[str, Tensors]) -> dict:
    """Read the settings that shape the networks from their shapes, as far as they are there: nested.

    Raises:
      UserError: a network is none of the published ones.
    """
    found = {name: given for name in LEARNERS if (given := found.get(name) or found.get(AVERAGES.get(name)))}
    read = state_dicts.read_settings("StarGAN v2", READERS, found)
    if "generator" in found and "image_size" in read:
        # The generator alone does not tell its depth; the published one always has as many halvings as it takes to 16.
        count = len(places(found["generator"], r"encode\.(\d+)\.conv1\.weight"))
        blocks = count - (read["image_size"] // read["bottleneck"]).bit_length() + 1
        read["blocks"] = max(blocks, 1)
    return read


def _generator(tensors: Tensors) -> dict:
    width, channels = tensors["from_rgb.weight"].shape[:2]
    widest = max(len(value) for name, value in tensors.items() if name.endswith("conv2.weight"))
    style_dim = tensors["decode.0.norm1.fc.weight"].shape[1]
    read = {"channels": channels, "width": width, "max_width": widest, "style_dim": style_dim, "bottleneck": 16}
    read["upsampling"] = "nearest"
    if FILTER in tensors:
        # Of the filter's middle; the published generator is then one halving deeper.
        read |= {"bottleneck": 8, "high_pass": float(8 / tensors[FILTER][1, 1])}
    return read


def _mapping(tensors: Tensors) -> dict:
    width, latent_dim = tensors["shared.0.weight"].shape
    style_dim, domains = len(tensors["unshared.0.6.weight"]), len({m[2] for m in map(OWN.fullmatch, tensors) if m})
    return {"latent_dim": latent_dim, "mapping_width": width, "style_dim": style_dim, "domains": domains}


def _encoder(tensors: Tensors) -> dict:
    domains = len({match[2] for match in map(OWN.fullmatch, tensors) if match})
    return {**_trunk(tensors, "shared"), "style_dim": len(tensors["unshared.0.weight"]), "domains": domains}


def _discriminator(tensors: Tensors) -> dict:
    last = max(int(name.split(".")[1]) for name in tensors)
    return {**_trunk(tensors, "main"), "domains": len(tensors[f"main.{last}.weight"])}


def _trunk(tensors: Tensors, theirs: str) -> dict:
    width, channels = tensors[f"{theirs}.0.weight"].shape[:2]
    blocks = places(tensors, rf"{theirs}\.(\d+)\.conv1\.weight")
    widest = len(tensors[f"{theirs}.{blocks[-1]}.conv2.weight"])
    return {"channels": channels, "width": width, "max_width": widest, "image_size": 2 ** (len(blocks) + 2)}


READERS = {
    "generator": _generator,
    "mapping_network": _mapping,
    "style_encoder": _encoder,
    "discriminator": _discriminator,
}


# --- the names ---


def _block(variables: PyTree, theirs: str, ours: str) -> Named:
    """Yield a residual block, with its norms of either kind, or none."""
    params = variables["params"]
    for name in ours.split("/"):
        params = params[name]
    for index in range(2):
        yield from layer(variables, f"{theirs}.conv{index + 1}", f"{ours}/conv_{index}/conv")
    for index in range(numbered(params, "norm_")):
        if "style" in params[f"norm_{index}"]:
            yield from layer(variables, f"{theirs}.norm{index + 1}.fc", f"{ours}/norm_{index}/style", LINEAR)
        else:
            yield from affine(f"{theirs}.norm{index + 1}", f"{ours}/norm_{index}")
    inner, features = params["conv_0"]["conv"]["kernel"].shape[2], params["conv_1"]["conv"]["kernel"].shape[3]
    if "shortcut" in params:
        yield from layer(variables, f"{theirs}.conv1x1", f"{ours}/shortcut/conv")
    elif inner != features:
        # Beside a high-pass skip the published blocks have shortcuts that nothing reads.
        yield f"{theirs}.conv1x1.weight", np.zeros((features, inner, 1, 1), np.float32)


def _generator_names(variables: PyTree) -> Named:
    params = variables["params"]
    yield from layer(variables, "from_rgb", "image_in/conv")
    for part, kinds in (("encode", ("down_", "block_")), ("decode", ("styled_", "up_"))):
        blocks = [f"{kind}{index}" for kind in kinds for index in range(numbered(params, kind))]
        for index, ours in enumerate(blocks):
            yield from _block(variables, f"{part}.{index}", ours)
    yield from affine("to_rgb.0", "norm_out")
    yield from layer(variables, "to_rgb.2", "image_out/conv")


def _mapping_names(variables: PyTree) -> Named:
    for index in range(4):
        yield from layer(variables, f"shared.{2 * index}", f"shared_{index}", LINEAR)
    for index in range(4):
        yield from _of_each(f"unshared.{2 * index}", f"own_{index}")


def _of_each(theirs: str, ours: str) -> Named:
    """Yield a layer of every domain, as `_joined` has it."""
    path = ("params", *ours.split("/"))
    yield f"{theirs}.weight", Entry((*path, "kernel"), EACH)
    yield f"{theirs}.bias", Entry((*path, "bias"), SAME)


def _trunk_names(variables: PyTree, theirs: str, branch: str) -> Named:
    yield from layer(variables, f"{theirs}.0", "trunk/image/conv")
    blocks = numbered(variables["params"]["trunk"], "block_")
    for index in range(blocks):
        yield from _block(variables, f"{theirs}.{index + 1}", f"trunk/block_{index}")
    yield from layer(variables, f"{theirs}.{blocks + 2}", f"{branch}/conv/conv")


def _encoder_names(variables: PyTree) -> Named:
    yield from _trunk_names(variables, "shared", "style")
    yield from _of_each("unshared", "style/out")


def _discriminator_names(variables: PyTree) -> Named:
    yield from _trunk_names(variables, "main", "logit")
    last = numbered(variables["params"]["trunk"], "block_") + 4
    yield from layer(variables, f"main.{last}", "logit/out", POINT)


NAMES = {
    "generator": _generator_names,
    "mapping_network": _mapping_names,
    "style_encoder": _encoder_names,
    "discriminator": _discriminator_names,
}


# --- in and out ---


def _joined(tensors: Tensors) -> dict[str, np.ndarray]:
    """Stack what every domain has of its own: `unshared.K.0.weight` -> `unshared.0.weight` [K, ...]."""
    joined, own = {}, {}
    for name, value in tensors.items():
        if match := OWN.fullmatch(name):
            own.setdefault(f"{match[1]}.{match[3]}", {})[int(match[2])] = value
        else:
            joined[name] = value
    for name, values in own.items():
        alike = len({value.shape for value in values.values()}) == 1 and sorted(values) == list(range(len(values)))
        # What does not belong together is told by its own names.
        joined |= (
            {name: np.stack([values[index] for index in sorted(values)])}
            if alike
            else {name.replace("unshared", f"unshared.{index}", 1): value for index, value in values.items()}
        )
    return joined


def _parted(tensors: Tensors) -> dict[str, np.ndarray]:
    """Undo `_joined`: the layers of each domain follow those of the one before."""
    parted = {name: value for name, value in tensors.items() if not name.startswith("unshared.")}
    own = {name: value for name, value in tensors.items() if name not in parted}
    for domain in range(len(next(iter(own.values()), ()))):
        parted |= {name.replace("unshared", f"unshared.{domain}", 1): value[domain] for name, value in own.items()}
    return parted


def import_network(network: str, tensors: Tensors, like: PyTree) -> PyTree:
    """Turn a state_dict into Flax variables of the structure and shapes of `like`.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    tensors = _joined({name.removeprefix("module."): value for name, value in tensors.items()})
    named = list(NAMES[network](like))
    unread = {FILTER, *(name for name, entry in named if not isinstance(entry, Entry))}
    tensors = {name: value for name, value in tensors.items() if name not in unread}
    return state_dicts.take(network, tensors, iter(named), like)


def export_network(network: str, variables: PyTree) -> dict[str, np.ndarray]:
    """Turn Flax variables into a state_dict, with the constants that the published code expects to find."""
    return _parted(state_dicts.give(NAMES[network](variables), variables))


def import_state(tensors: Tensors, state: TrainState) -> TrainState:
    """Put the networks that are there into a state; averages fall back to the networks themselves, and they to these.

    Networks that are not there and the optimisers' states stay as they are.

    Raises:
      UserError: no network is found, or one does not fit.
    """
    found, learners = networks(tensors), {}
    for network, name in LEARNERS.items():
        learner, average = state.learners[name], found.get(AVERAGES.get(network))
        if given := found.get(network) or average:
            variables = import_network(network, given, learner.variables)
            averaged = import_network(network, average, learner.variables) if average else None
            learners[name] = state_dicts.started(learner, variables, averaged)
    return state.with_learners(learners)


def export_state(
    state: TrainState, *, high_pass: float = 0.0, landmarks: str = "", upsampling: str = "nearest"
) -> dict[str, dict[str, np.ndarray]]:
    """Return the state_dicts of a state's networks, and of its averages.

    Args:
      high_pass, landmarks, upsampling: the method's settings; the network of the file that the second names goes out
        too.

    Raises:
      UserError: that file cannot be read; or the published code, which repeats pixels, would draw other images.
    """
    if upsampling != "nearest":
        told = "the published code repeats pixels where it enlarges, and would draw other images by these weights"
        raise UserError(f"method.upsampling={upsampling!r}: {told}; train with method.upsampling=nearest for it")
    found = {network: export_network(network, state.learners[name].variables) for network, name in LEARNERS.items()}
    for network, average in AVERAGES.items():
        found[average] = export_network(network, state.learners[LEARNERS[network]].averaged)
    if high_pass:
        passed = np.full((3, 3), -1 / high_pass, np.float32)
        passed[1, 1] = 8 / high_pass
        found["generator"][FILTER] = found[AVERAGES["generator"]][FILTER] = passed
    if high_pass and landmarks:
        found[FACES] = found[f"{FACES}_EMA"] = fan.state_dict(fan.load(landmarks))
    return found
