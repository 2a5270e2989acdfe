"""TUNIT's networks under the names and layouts of the published PyTorch code, both ways.

The published checkpoint holds the state_dicts of C (guiding network), G, D and the averages C_EMA and G_EMA.
Convolutions are OIHW there and HWIO here; linear weights are transposed.
"""

import re
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax.convert import fitting
from uit_jax.errors import UserError
from uit_jax.state import TrainState
from uit_jax.types import PyTree

LEARNERS = {"C": "guide", "G": "generator", "D": "discriminator"}
STAGES = (1, 1, 2, 2, 2)
BLOCKS_PER_STAGE = 2

# Which name a module's own entries have there.
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}

# Buffers that the published code carries but never reads, or that mean nothing here.
IGNORED = re.compile(r".*\.num_batches_tracked|decoder\..*\.norm\.running_(mean|var)")

BARE = {"features": "C", "disc": "C", "cont": "C", "cnt_encoder": "G", "decoder": "G", "mlp": "G", "main": "D"}
OWNED = re.compile(r"(?P<network>C_EMA|G_EMA|C|G|D)(_state_dict)?\.(?P<name>.+)")


def networks(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Sort a file's tensors by network: "C", "G", "D", "C_EMA", "G_EMA" -> its state_dict.

    Takes whole checkpoints (`G_EMA_state_dict.` or `G_EMA.` before each name) and the state_dict of one network;
    the `module.` of distributed training is dropped, optimiser states are left out.

    Raises:
      UserError: there is no network of TUNIT among them.
    """
    found = {}
    for full, value in tensors.items():
        owned = OWNED.fullmatch(full)
        name = (owned["name"] if owned else full).removeprefix("module.")
        network = owned["network"] if owned else BARE.get(name.split(".")[0])
        if network:
            found.setdefault(network, {})[name] = value
    if not found:
        some = ", ".join(list(tensors)[:3]) or "nothing"
        raise UserError(f"no network of TUNIT (C, G, D, C_EMA, G_EMA) found; the file holds {some}")
    return found


def settings(found: Mapping[str, Mapping[str, np.ndarray]]) -> dict:
    """Read TUNIT's hyper-parameters that shape its networks from the shapes of C, G and D, as far as they are there."""
    read = {}
    guide, generator, judge = (found.get(name) or found.get(f"{name}_EMA") for name in "CGD")
    if guide:
        read["domains"], read["style_dim"] = len(guide["disc.weight"]), len(guide["cont.weight"])
        read["guide_width"], read["channels"] = guide["features.0.weight"].shape[:2]
        read["guide_stages"] = _stages(guide)
    if generator:
        downs = _count(generator, r"decoder\.model\.(\d+)\.conv\.weight") - 1
        read["generator_width"], read["channels"] = generator["cnt_encoder.model.0.conv.weight"].shape[:2]
        read["generator_blocks"] = _count(generator, r"decoder\.model\.0\.model\.(\d+)\..*")
        read["mlp_width"], read["style_dim"] = generator["mlp.model.0.fc.weight"].shape
        read["image_size"], read["bottleneck"] = 16 * 2**downs, 16
    if judge:
        blocks = _count(judge, r"main\.(\d+)\.conv1\.weight")
        read["discriminator_width"], read["channels"] = judge["main.0.weight"].shape[:2]
        read["discriminator_max_width"] = len(judge[f"main.{blocks + 2}.weight"])
        read["domains"] = len(judge[f"main.{blocks + 4}.weight"])
        read["image_size"] = 2 ** (blocks // BLOCKS_PER_STAGE + 2)
        if generator:
            read["bottleneck"] = read["image_size"] // 2**downs
    return read


def _count(names, pattern: str) -> int:
    return len({found[1] for found in map(re.compile(pattern).fullmatch, names) if found})


def _stages(guide: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Count the convolutions before each pooling, which takes a place in the sequence but has no weights."""
    places = sorted(
        int(name.split(".")[1]) for name, value in guide.items() if name.startswith("features.") and value.ndim == 4
    )
    stages = [1]
    for before, after in zip(places, places[1:], strict=False):
        stages += [1] if after - before > 3 else []
        stages[-1] += after - before <= 3
    return tuple(stages)


def names(network: str, variables: PyTree, *, stages: tuple[int, ...] = STAGES) -> dict[str, tuple[str, ...]]:
    """Map every name of a network's state_dict to the path of its entry in our `variables`.

    Args:
      network: "C", "G" or "D".
      variables: the Flax variables (or their shapes), which tell depth and widths.
      stages: the guiding network's convolutions per stage.
    """
    modules = {ours: theirs for theirs, ours in MODULES[network](variables["params"], stages)}
    found = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(variables):
        collection, *module, leaf = (entry.key for entry in path)
        found[f"{modules['/'.join(module)]}.{LEAVES.get(leaf, leaf)}"] = (collection, *module, leaf)
    return found


def _guide_modules(params, stages) -> Iterator[tuple[str, str]]:
    place = index = 0
    for convolutions in stages:
        for _ in range(convolutions):
            yield f"features.{place}", f"conv_{index}/conv"
            yield f"features.{place + 1}", f"norm_{index}"
            place, index = place + 3, index + 1
        place += 1
    yield "disc", "cluster"
    yield "cont", "style"


def _generator_modules(params, stages) -> Iterator[tuple[str, str]]:
    downs = sum(name.startswith("down_") for name in params["encoder"])
    blocks = sum(name.startswith("block_") for name in params["encoder"])
    yield "cnt_encoder.model.0.conv", "encoder/stem/conv"
    for index in range(downs):
        yield f"cnt_encoder.model.{index + 1}.conv", f"encoder/down_{index}/conv"
        yield f"decoder.model.{2 * index + 2}.conv", f"decoder/up_{index}/conv"
    for block in range(blocks):
        for index in range(2):
            inner = f"model.{block}.model.{index}.conv"
            yield f"cnt_encoder.model.{downs + 1}.{inner}", f"encoder/block_{block}/conv_{index}/conv"
            yield f"decoder.model.0.{inner}", f"decoder/block_{block}/conv_{index}/conv"
    yield f"decoder.model.{2 * downs + 1}.conv", "decoder/image/conv"
    for index in range(3):
        yield f"mlp.model.{index}.fc", f"mlp_{index}"


def _discriminator_modules(params, stages) -> Iterator[tuple[str, str]]:
    blocks = sum(name.startswith("block_") for name in params)
    yield "main.0", "stem/conv"
    for block in range(blocks):
        for index in range(2):
            yield f"main.{block + 1}.norm{index + 1}", f"block_{block}/norm_{index}"
            yield f"main.{block + 1}.conv{index + 1}", f"block_{block}/conv_{index}/conv"
        yield f"main.{block + 1}.conv1x1", f"block_{block}/shortcut/conv"
    yield f"main.{blocks + 2}", "patch/conv"
    yield f"main.{blocks + 4}", "logits/conv"


MODULES = {"C": _guide_modules, "G": _generator_modules, "D": _discriminator_modules}


def import_network(
    network: str, tensors: Mapping[str, np.ndarray], like: PyTree, *, stages: tuple[int, ...] = STAGES
) -> PyTree:
    """Turn a state_dict into Flax variables of the structure and shapes of `like`.

    Raises:
      UserError: keys are missing, unexpected or of another shape; the line names them.
    """
    tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    expected = names(network, like, stages=stages)
    shapes = {name: _their_shape(path, _at(like, path).shape) for name, path in expected.items()}
    fitting.check(network, tensors, shapes, IGNORED)
    values = {path: _to_ours(path, np.asarray(tensors[name]), _at(like, path)) for name, path in expected.items()}
    return jax.tree_util.tree_map_with_path(lambda path, _: values[tuple(entry.key for entry in path)], like)


def export_network(network: str, variables: PyTree, *, stages: tuple[int, ...] = STAGES) -> dict[str, np.ndarray]:
    """Turn Flax variables into a state_dict, with the buffers that the published code expects to find."""
    tensors = {}
    for name, path in names(network, variables, stages=stages).items():
        tensors[name] = _to_theirs(path, np.asarray(_at(variables, path)))
        if name.endswith("running_var"):
            tensors[name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
        adaptive = re.fullmatch(r"(decoder\.model\.(?:0\..*|\d*[02468]))\.conv\.bias", name)
        if adaptive:
            tensors[f"{adaptive[1]}.norm.running_mean"] = np.zeros_like(tensors[name])
            tensors[f"{adaptive[1]}.norm.running_var"] = np.ones_like(tensors[name])
    return tensors


def import_state(
    tensors: Mapping[str, np.ndarray], state: TrainState, *, stages: tuple[int, ...] = STAGES
) -> TrainState:
    """Put a checkpoint's networks into a state; the averages fall back to the networks themselves.

    Networks that the checkpoint lacks, the optimisers' states and the queue stay as they are.
    """
    found = networks(tensors)
    learners = dict(state.learners)
    for network, learner_name in LEARNERS.items():
        learner = learners[learner_name]
        like = {"params": learner.params, **learner.stats}
        for source, average in ((network, False), (f"{network}_EMA", True)):
            given = found.get(source) or found.get(network) or found.get(f"{network}_EMA")
            if given and not (average and learner.ema is None):
                variables = import_network(network, given, like, stages=stages)
                stats = {name: value for name, value in variables.items() if name != "params"}
                changes = {"ema": variables["params"]} if average else {"params": variables["params"], "stats": stats}
                learner = learner.replace(**changes)
        learners[learner_name] = learner
    return state.replace(learners=learners)


def export_state(state: TrainState, *, stages: tuple[int, ...] = STAGES) -> dict[str, dict[str, np.ndarray]]:
    """Return the networks of a state as the published checkpoint names them: "C_state_dict" and so on."""
    found = {}
    for network, learner_name in LEARNERS.items():
        learner = state.learners[learner_name]
        for name, params in ((network, learner.params), (f"{network}_EMA", learner.ema)):
            if params is not None:
                variables = {"params": params, **learner.stats}
                found[f"{name}_state_dict"] = export_network(network, variables, stages=stages)
    return found


def _at(tree: PyTree, path: tuple[str, ...]):
    for name in path:
        tree = tree[name]
    return tree


def _their_shape(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    return _to_theirs(path, np.broadcast_to(np.float32(0), shape)).shape


def _to_theirs(path: tuple[str, ...], value: np.ndarray) -> np.ndarray:
    if path[-1] == "kernel":
        return value.transpose((3, 2, 0, 1) if value.ndim == 4 else (1, 0))
    if path[-1] in ("tau", "gamma", "beta"):
        return value.reshape(1, -1, 1, 1)
    return value


def _to_ours(path: tuple[str, ...], value: np.ndarray, like):
    if path[-1] == "kernel":
        value = value.transpose((2, 3, 1, 0) if value.ndim == 4 else (1, 0))
    return jnp.asarray(value.reshape(like.shape), like.dtype)
