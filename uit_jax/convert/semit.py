"""The names of SEMIT's generator in the published PyTorch code; `funit.py` has the rest, which is FUNIT's.

In its state_dict are batch norms of the class encoder that nothing calls: they are not read on the way in, and written
as they begin on the way out.
"""

import numpy as np

from uit_jax.convert import funit
from uit_jax.convert.state_dicts import LINEAR, Named, Tensors, at, layer, numbered, places
from uit_jax.nn.octave import DOWNS
from uit_jax.types import PyTree

OCTAVE = {"L2L": "low_low", "L2H": "low_high", "H2L": "high_low", "H2H": "high_high"}
ENDS = {"convh": "high", "convl": "low"}
BRANCHES = ("bnh", "bnl")


def _read(tensors: Tensors) -> dict:
    width, channels = tensors["enc_content.conv1.convh.weight"].shape[:2]
    mlp_width, style_dim = tensors["mlp.model.0.fc.weight"].shape
    shape = {
        "width": width,
        "blocks": len(places(tensors, r"enc_content\.Res(\d+)\.conv1\.L2L\.weight")),
        "mlp_width": mlp_width,
        "mlp_layers": sum(name.startswith("mlp.") and name.endswith(".weight") for name in tensors),
    }
    return {"channels": channels, "style_dim": style_dim, "generator": shape}


def _names(variables: PyTree) -> Named:
    yield from _style_names(variables)
    yield from _kinds(variables, "enc_content.conv1", "encoder/stem", ENDS)
    for index in range(DOWNS):
        yield from _kinds(variables, f"enc_content.conv{index + 2}", f"encoder/down_{index}", OCTAVE)
    yield from _block_names(variables, "enc_content", "encoder")
    yield from _block_names(variables, "dec", "decoder", adaptive=True)
    for index in range(DOWNS):
        yield from _kinds(variables, f"dec.conv{index + 1}", f"decoder/up_{index}", OCTAVE)
    yield from _kinds(variables, f"dec.conv{DOWNS + 1}", "decoder/image", ENDS)
    for index in range(numbered(variables["params"], "mlp_")):
        yield from layer(variables, f"mlp.model.{index}.fc", f"mlp_{index}", LINEAR)


def _style_names(variables: PyTree) -> Named:
    theirs, places = "enc_class_model", {"stem": ENDS, **{f"down_{index}": OCTAVE for index in range(DOWNS - 1)}}
    for number, (ours, kinds) in enumerate(places.items(), 1):
        yield from _kinds(variables, f"{theirs}.conv{number}", f"style/{ours}", kinds)
        features = _features(variables, f"style/{ours}", kinds)
        for branch in BRANCHES:
            norm = f"{theirs}.bn{number}.{branch}"
            yield f"{norm}.weight", np.ones(features, np.float32)
            yield f"{norm}.bias", np.zeros(features, np.float32)
            yield from _statistics(norm, features)
            yield f"{norm}.num_batches_tracked", np.zeros((), np.int64)
    yield from _kinds(variables, f"{theirs}.conv{DOWNS + 1}", "style/joined", ENDS)
    yield from layer(variables, f"{theirs}.Conv2d", "style/code/conv")


def _block_names(variables: PyTree, theirs: str, ours: str, *, adaptive: bool = False) -> Named:
    for block, index in np.ndindex(numbered(variables["params"][ours], "block_"), 2):
        own = f"{ours}/block_{block}/conv_{index}"
        yield from _kinds(variables, f"{theirs}.Res{block + 1}.conv{index + 1}", own, OCTAVE)
        for branch in BRANCHES if adaptive else ():
            norm = f"{theirs}.Res{block + 1}.bn{index + 1}.{branch}"
            yield from _statistics(norm, _features(variables, own, OCTAVE))


def _kinds(variables: PyTree, theirs: str, ours: str, kinds: dict[str, str]) -> Named:
    for their_kind, our_kind in kinds.items():
        yield from layer(variables, f"{theirs}.{their_kind}", f"{ours}/{our_kind}/conv")


def _features(variables: PyTree, ours: str, kinds: dict[str, str]) -> int:
    first = next(iter(kinds.values()))
    return at(variables["params"], (*ours.split("/"), first, "conv"))["kernel"].shape[-1]


def _statistics(norm: str, features: int) -> Named:
    yield f"{norm}.running_mean", np.zeros(features, np.float32)
    yield f"{norm}.running_var", np.ones(features, np.float32)


SEMIT = funit.Published("SEMIT", _read, _names)
