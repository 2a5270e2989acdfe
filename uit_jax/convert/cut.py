"""The networks of CUT, FastCUT and SinCUT under the names and layouts of the published PyTorch code, both ways.

The published code keeps each network in a file of its own, NAME_net_G.pth, NAME_net_D.pth and NAME_net_F.pth (the patch
MLPs), a plain state_dict. Its blurs are buffers there and code here: they are left out on the way in and written as
the constants they are on the way out.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.convert import fitting
from uit_jax.errors import UserError
from uit_jax.state import TrainState
from uit_jax.types import PyTree

LEARNERS = {"G": "generator", "D": "discriminator", "F": "patches"}

# Buffers that mean nothing here.
IGNORED = re.compile(r".*\.(filt|kernel|num_batches_tracked)")

OWNED = re.compile(r"(?:net_?)?(?P<network>[GDF])\.(?P<name>.+)")


class Form(NamedTuple):
    """How an entry is laid out there and here."""

    theirs: Callable[[np.ndarray], np.ndarray]
    ours: Callable[[np.ndarray], np.ndarray]


SAME = Form(lambda value: value, lambda value: value)
CONV = Form(lambda value: value.transpose(3, 2, 0, 1), lambda value: value.transpose(2, 3, 1, 0))
TRANSPOSED = Form(lambda value: value.transpose(2, 3, 0, 1), lambda value: value.transpose(2, 3, 0, 1))
MODULATED = Form(lambda value: CONV.theirs(value)[None], lambda value: CONV.ours(value[0]))
LINEAR = Form(lambda value: value.transpose(1, 0), lambda value: value.transpose(1, 0))
PER_MAP = Form(lambda value: value[None, :, None, None], lambda value: value[0, :, 0, 0])


class Entry(NamedTuple):
    """An entry of our variables: its path and its form."""

    path: tuple[str, ...]
    form: Form


def networks(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Sort a file's tensors by network: "G", "D", "F" -> its state_dict.

    Takes the file of one network, told by the names in it, or one of several with `G.`, `net_G.` and so on before
    each name; the `module.` of distributed training is dropped.

    Raises:
      UserError: there is no network of CUT among them.
    """
    found, bare = {}, {}
    for full, value in tensors.items():
        owned = OWNED.fullmatch(full)
        name = (owned["name"] if owned else full).removeprefix("module.")
        (found.setdefault(owned["network"], {}) if owned else bare)[name] = value
    roots = {name.split(".")[0] for name in bare}
    if any(root.startswith("mlp_") for root in roots):
        found["F"] = bare
    elif "encoder" in roots or any(".conv_block." in name for name in bare):
        found["G"] = bare
    elif roots & {"model", "net", "convs"}:
        found["D"] = bare
    if not found:
        raise UserError(
            f"no network of CUT (G, D, F) found; the file holds {fitting.some(tensors, 3) if tensors else 'nothing'}"
        )
    return found


def settings(found: Mapping[str, Mapping[str, np.ndarray]]) -> dict:
    """Read the hyper-parameters that shape the networks from the shapes of G, D and F, as far as they are there.

    The layers that the patch loss compares are not in the files.

    Raises:
      UserError: a network is none of the published ones.
    """
    readers = {"G": _generator_settings, "D": _discriminator_settings, "F": _patch_settings}
    read = {}
    for network, reader in readers.items():
        if network in found:
            try:
                read |= reader(found[network])
            except (KeyError, IndexError, ValueError) as error:
                raise UserError(
                    f"the checkpoint's {network} is none of CUT's: {error} is not among its"
                    f" keys {fitting.some(found[network], 3)}"
                ) from error
    return read


def _generator_settings(tensors) -> dict:
    if any(name.startswith("encoder.") for name in tensors):
        width, channels = tensors["encoder.convs.1.0.weight"].shape[:2]
        return {
            "generator": "stylegan2",
            "generator_width": width // 8,
            "channels": channels,
            "target_channels": len(tensors["decoder.convs.4.0.weight"]),
        }
    places = _places(tensors, r"model\.(\d+)\.weight", 4)
    blocks = _places(tensors, r"model\.(\d+)\.conv_block\.1\.weight", 4)
    width, channels = tensors["model.1.weight"].shape[:2]
    return {
        "generator": "resnet",
        "generator_width": width,
        "generator_blocks": len(blocks),
        "channels": channels,
        "target_channels": len(tensors[f"model.{places[-1]}.weight"]),
        # A layer that changes the size comes between two of the convolutions where it is not part of one of them.
        "antialias": places[2] - places[1] > 3,
        "antialias_up": places[4] - places[3] > 3,
        "norm": _norm(tensors, "model.1", "model.2"),
    }


def _discriminator_settings(tensors) -> dict:
    if any(name.startswith("convs.") for name in tensors):
        side = 4 * 2 ** len(_places(tensors, r"convs\.(\d+)\.skip\.1\.weight", 4))
        width, channels = tensors["convs.0.0.weight"].shape[:2]
        return {
            "discriminator": "stylegan2",
            "discriminator_width": width * side // 256,
            "image_size": side,
            "target_channels": channels,
        }
    if any(name.startswith("net.") for name in tensors):
        width, channels = tensors["net.0.weight"].shape[:2]
        norm = _norm(tensors, "net.2", "net.3")
        return {"discriminator": "pixel", "discriminator_width": width, "target_channels": channels, "norm": norm}
    places = _places(tensors, r"model\.(\d+)\.weight", 4)
    width, channels = tensors["model.0.weight"].shape[:2]
    return {
        "discriminator": "patch",
        "discriminator_width": width,
        "discriminator_layers": len(places) - 2,
        "target_channels": channels,
        "antialias": places[1] > 2,
        "norm": _norm(tensors, f"model.{places[1]}", f"model.{places[1] + 1}"),
    }


def _patch_settings(tensors) -> dict:
    return {"patch_dim": len(tensors["mlp_0.0.weight"])}


def _places(tensors, pattern: str, ndim: int) -> list[int]:
    """Return the sorted numbers in the names of weights of so many axes."""
    matches = ((re.fullmatch(pattern, name), value) for name, value in tensors.items())
    return sorted(int(match[1]) for match, value in matches if match and value.ndim == ndim)


def _norm(tensors, conv: str, norm: str) -> str:
    if f"{norm}.running_mean" in tensors:
        return "batch"
    return "instance" if f"{conv}.bias" in tensors else "none"


def names(network: str, variables: PyTree, *, antialias: bool = True) -> dict[str, Entry]:
    """Map every name of a network's state_dict, but the constants, to the entry of our `variables`.

    Args:
      network: "G", "D" or "F".
      variables: the Flax variables (or their shapes), which tell the kind of network, depth and widths.
      antialias: whether the network blurs before it halves, which shifts the names and leaves no trace in the shapes.
    """
    walked = _walk(network, variables, antialias)
    return {name: entry for name, entry in walked if isinstance(entry, Entry)}


def import_network(network: str, tensors: Mapping[str, np.ndarray], like: PyTree, *, antialias: bool = True) -> PyTree:
    """Turn a state_dict into Flax variables of the structure and shapes of `like`.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    expected = names(network, like, antialias=antialias)
    shapes = {
        name: form.theirs(np.broadcast_to(np.float32(0), _at(like, path).shape)).shape
        for name, (path, form) in expected.items()
    }
    fitting.check(network, tensors, shapes, IGNORED)
    values = {path: form.ours(np.asarray(tensors[name])) for name, (path, form) in expected.items()}
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(values[tuple(entry.key for entry in path)], leaf.dtype), like
    )


def export_network(network: str, variables: PyTree, *, antialias: bool = True) -> dict[str, np.ndarray]:
    """Turn Flax variables into a state_dict, with the buffers that the published code expects to find."""
    tensors = {}
    for name, entry in _walk(network, variables, antialias):
        if isinstance(entry, Entry):
            entry = np.ascontiguousarray(entry.form.theirs(np.asarray(_at(variables, entry.path))))
        tensors[name] = entry
        if name.endswith("running_var"):
            tensors[name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    return tensors


def import_state(tensors: Mapping[str, np.ndarray], state: TrainState, *, antialias: bool = True) -> TrainState:
    """Put the networks of one or several files into a state; running averages start at them.

    Networks that the files lack and the optimisers' states stay as they are.

    Raises:
      UserError: no network is found, one does not fit, or one is there that the model has not.
    """
    learners = dict(state.learners)
    for network, given in networks(tensors).items():
        name = LEARNERS[network]
        if name not in learners:
            raise UserError(f"the checkpoint holds {network}, which this model's settings leave out: drop it")
        learner = learners[name]
        variables = import_network(network, given, {"params": learner.params, **learner.stats}, antialias=antialias)
        stats = {key: value for key, value in variables.items() if key != "params"}
        average = {} if learner.ema is None else {"ema": variables["params"]}
        learners[name] = learner.replace(params=variables["params"], stats=stats, **average)
    return state.replace(learners=learners)


def export_state(
    state: TrainState, *, antialias: bool = True, averaged: bool = False
) -> dict[str, dict[str, np.ndarray]]:
    """Return the state_dicts of a state's networks, "G", "D" and "F"; their running averages where `averaged`."""
    found = {}
    for network, name in LEARNERS.items():
        if name in state.learners:
            learner = state.learners[name]
            params = learner.ema if averaged and learner.ema is not None else learner.params
            found[network] = export_network(network, {"params": params, **learner.stats}, antialias=antialias)
    return found


# --- the names, in the order of the published code ---

Named = Iterator[tuple[str, Entry | np.ndarray]]


def _walk(network: str, variables: PyTree, antialias: bool) -> Named:
    """Yield every name with the entry of `variables` it stands for, or the constant."""
    params = variables["params"]
    if network == "F":
        yield from _patches(variables)
    elif network == "G":
        yield from _styled_generator(params) if "stem" in params and "down" in params else _resnet(variables, antialias)
    elif "dense" in params:
        yield from _styled_discriminator(params)
    elif params["logits"]["conv"]["kernel"].shape[0] == 1:
        yield from _pixels(variables)
    else:
        yield from _patch_discriminator(variables, antialias)


def _resnet(variables: PyTree, antialias: bool) -> Named:
    params, place = variables["params"], 4
    yield from _conv(variables, "model.1", "stem/conv")
    yield from _batch_norm(variables, "model.2", "norm_down_0/batch")
    for index in range(_count(params, "down_")):
        yield from _conv(variables, f"model.{place}", f"down_{index}/conv")
        yield from _batch_norm(variables, f"model.{place + 1}", f"norm_down_{index + 1}/batch")
        place += 3
        if antialias:
            yield _filter(f"model.{place}", (1, 2, 1), params[f"down_{index}"]["conv"]["kernel"].shape[3])
            place += 1
    for block in range(_count(params, "block_")):
        for index in range(2):
            inner = f"model.{place}.conv_block"
            yield from _conv(variables, f"{inner}.{4 * index + 1}", f"block_{block}/conv_{index}/conv")
            yield from _batch_norm(variables, f"{inner}.{4 * index + 2}", f"block_{block}/norm_{index}/batch")
        place += 1
    for index in range(_count(params, "up_")):
        if "conv" in params[f"up_{index}"]:
            yield _filter(f"model.{place}", (1, 3, 3, 1), params[f"up_{index}"]["conv"]["kernel"].shape[2], gain=4)
            place += 1
            yield from _conv(variables, f"model.{place}", f"up_{index}/conv")
        else:
            yield from _conv(variables, f"model.{place}", f"up_{index}", TRANSPOSED)
        yield from _batch_norm(variables, f"model.{place + 1}", f"norm_up_{index}/batch")
        place += 3
    yield from _conv(variables, f"model.{place + 1}", "image/conv")


def _patch_discriminator(variables: PyTree, antialias: bool) -> Named:
    params, place = variables["params"], 0
    last = _count(params, "conv_") - 1
    for index in range(last + 1):
        yield from _conv(variables, f"model.{place}", f"conv_{index}/conv")
        yield from _batch_norm(variables, f"model.{place + 1}", f"norm_{index}/batch")
        place += 3 if index else 2
        if antialias and index < last:
            yield _filter(f"model.{place}", (1, 2, 1), params[f"conv_{index}"]["conv"]["kernel"].shape[3])
            place += 1
    yield from _conv(variables, f"model.{place}", "logits/conv")


def _pixels(variables: PyTree) -> Named:
    yield from _conv(variables, "net.0", "conv_0/conv")
    yield from _conv(variables, "net.2", "conv_1/conv")
    yield from _batch_norm(variables, "net.3", "norm_1/batch")
    yield from _conv(variables, "net.5", "logits/conv")


def _patches(variables: PyTree) -> Named:
    taps = sorted({int(name.split("_")[1]) for name in variables["params"]})
    for place, tap in enumerate(taps):
        for index in range(2):
            yield from _conv(variables, f"mlp_{place}.{2 * index}", f"tap_{tap}_{index}", LINEAR)


def _styled_generator(params: PyTree) -> Named:
    blocks = _count(params, "block_")
    yield from _styled_layer("encoder.convs.1", ("stem",))
    yield from _styled_block("encoder.convs.2", ("down",), down=True)
    for index in range(blocks):
        coder, place = ("encoder", index + 3) if index < blocks // 2 else ("decoder", index - blocks // 2)
        yield from _styled_block(f"{coder}.convs.{place}", (f"block_{index}",), down=False)
    last = f"decoder.convs.{blocks - blocks // 2}"
    yield f"{last}.conv.weight", Entry(("params", "up", "kernel"), MODULATED)
    yield f"{last}.conv.blur.kernel", _binomial((1, 3, 3, 1), gain=4)
    yield f"{last}.noise.weight", Entry(("params", "up", "strength"), SAME)
    yield f"{last}.activate.bias", Entry(("params", "up", "bias"), PER_MAP)
    yield from _styled_layer(f"decoder.convs.{blocks - blocks // 2 + 1}", ("image",))


def _styled_discriminator(params: PyTree) -> Named:
    yield from _styled_layer("convs.0", ("stem",))
    for index in range(_count(params, "block_")):
        yield from _styled_block(f"convs.{index + 1}", (f"block_{index}",), down=True)
    yield from _styled_layer("final_conv", ("last",))
    for index, name in enumerate(("dense", "logit")):
        yield f"final_linear.{index}.weight", Entry(("params", name, "kernel"), LINEAR)
        yield f"final_linear.{index}.bias", Entry(("params", name, "bias"), SAME)


def _styled_block(theirs: str, ours: tuple[str, ...], down: bool) -> Named:
    yield from _styled_layer(f"{theirs}.conv1", (*ours, "layer_0"))
    yield from _styled_layer(f"{theirs}.conv2", (*ours, "layer_1"), down)
    if down:
        yield from _styled_layer(f"{theirs}.skip", (*ours, "shortcut"), down, activated=False)


def _styled_layer(theirs: str, ours: tuple[str, ...], down: bool = False, activated: bool = True) -> Named:
    if down:
        yield f"{theirs}.0.kernel", _binomial((1, 3, 3, 1))
    yield f"{theirs}.{int(down)}.weight", Entry(("params", *ours, "kernel"), CONV)
    if activated:
        yield f"{theirs}.{int(down) + 1}.bias", Entry(("params", *ours, "bias"), PER_MAP)


def _conv(variables: PyTree, theirs: str, ours: str, form: Form = CONV) -> Named:
    path = ("params", *ours.split("/"))
    yield f"{theirs}.weight", Entry((*path, "kernel"), form)
    if "bias" in _at(variables, path):
        yield f"{theirs}.bias", Entry((*path, "bias"), SAME)


def _batch_norm(variables: PyTree, theirs: str, ours: str) -> Named:
    """Yield the names of a batch norm if there is one."""
    module, leaf = ours.split("/")[:-1], ours.split("/")[-1]
    scope = variables["params"]
    for name in (*module, leaf):
        if name not in scope:
            return
        scope = scope[name]
    leaves = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    for name, own in leaves.items():
        collection = "batch_stats" if name.startswith("running") else "params"
        yield f"{theirs}.{name}", Entry((collection, *module, leaf, own), SAME)


def _filter(theirs: str, taps: tuple[int, ...], channels: int, gain: float = 1.0) -> tuple[str, np.ndarray]:
    """Return the name and value of a blur that is kept once for every channel."""
    values = _binomial(taps, gain)
    return f"{theirs}.filt", np.tile(values[None, None], (channels, 1, 1, 1))


def _binomial(taps: tuple[int, ...], gain: float = 1.0) -> np.ndarray:
    values = np.outer(taps, taps).astype(np.float32)
    return gain * values / values.sum()


def _count(params: PyTree, prefix: str) -> int:
    return sum(name.startswith(prefix) for name in params)


def _at(tree: PyTree, path: tuple[str, ...]):
    for name in path:
        tree = tree[name]
    return tree
