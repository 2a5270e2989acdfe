"""SinCUT's networks of StyleGAN2's parts under the published names."""

from uit_jax.convert.resnet import binomial
from uit_jax.convert.state_dicts import CONV, LINEAR, PER_MAP, SAME, Entry, Form, Named, Tensors, numbered, places
from uit_jax.types import PyTree

MODULATED = Form(lambda value: CONV.theirs(value)[None], lambda value: CONV.ours(value[0]))


def generator_names(variables: PyTree) -> Named:
    """Yield the names of a generator."""
    blocks = numbered(variables["params"], "block_")
    yield from _layer("encoder.convs.1", ("stem",))
    yield from _block("encoder.convs.2", ("down",), down=True)
    for index in range(blocks):
        coder, place = ("encoder", index + 3) if index < blocks // 2 else ("decoder", index - blocks // 2)
        yield from _block(f"{coder}.convs.{place}", (f"block_{index}",), down=False)
    last = f"decoder.convs.{blocks - blocks // 2}"
    yield f"{last}.conv.weight", Entry(("params", "up", "kernel"), MODULATED)
    yield f"{last}.conv.blur.kernel", binomial((1, 3, 3, 1), gain=4)
    yield f"{last}.noise.weight", Entry(("params", "up", "strength"), SAME)
    yield f"{last}.activate.bias", Entry(("params", "up", "bias"), PER_MAP)
    yield from _layer(f"decoder.convs.{blocks - blocks // 2 + 1}", ("image",))


def discriminator_names(variables: PyTree) -> Named:
    """Yield the names of a discriminator."""
    yield from _layer("convs.0", ("stem",))
    for index in range(numbered(variables["params"], "block_")):
        yield from _block(f"convs.{index + 1}", (f"block_{index}",), down=True)
    yield from _layer("final_conv", ("last",))
    for index, name in enumerate(("dense", "logit")):
        yield f"final_linear.{index}.weight", Entry(("params", name, "kernel"), LINEAR)
        yield f"final_linear.{index}.bias", Entry(("params", name, "bias"), SAME)


def _block(theirs: str, ours: tuple[str, ...], down: bool) -> Named:
    yield from _layer(f"{theirs}.conv1", (*ours, "layer_0"))
    yield from _layer(f"{theirs}.conv2", (*ours, "layer_1"), down)
    if down:
        yield from _layer(f"{theirs}.skip", (*ours, "shortcut"), down, activated=False)


def _layer(theirs: str, ours: tuple[str, ...], down: bool = False, activated: bool = True) -> Named:
    if down:
        yield f"{theirs}.0.kernel", binomial((1, 3, 3, 1))
    yield f"{theirs}.{int(down)}.weight", Entry(("params", *ours, "kernel"), CONV)
    if activated:
        yield f"{theirs}.{int(down) + 1}.bias", Entry(("params", *ours, "bias"), PER_MAP)


def read_generator(tensors: Tensors) -> dict:
    """Return width and the channels of inputs and outputs."""
    width, channels = tensors["encoder.convs.1.0.weight"].shape[:2]
    target = len(tensors["decoder.convs.4.0.weight"])
    return {"width": width // 8, "channels": channels, "target_channels": target}


def read_discriminator(tensors: Tensors) -> dict:
    """Return width, the side of its images and their channels."""
    side = 4 * 2 ** len(places(tensors, r"convs\.(\d+)\.skip\.1\.weight"))
    width, channels = tensors["convs.0.0.weight"].shape[:2]
    return {"width": width * side // 256, "image_size": side, "channels": channels}
