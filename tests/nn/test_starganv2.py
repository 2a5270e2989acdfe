"""StarGAN v2's blocks and CLUIT's networks: the paper's tables row by row, numpy, precision, reach."""

import functools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn import arrays
from tests.nn.arrays import count, normal
from uit_jax.nn.starganv2 import Encoder, Generator, ResidualBlock, StyledBlock

CODES = {"code": 256, "logit": 1}
STYLES = {"style": 128}


def random_like(shapes, scale=0.3):
    return jax.tree.map(np.asarray, arrays.random_like(shapes, scale))


def inputs_of(network, *size, style_dim=128):
    """Return the shapes of a network's inputs: two images, and two styles where it takes any."""
    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    style = jax.ShapeDtypeStruct((2, style_dim), jnp.float32)
    return (image, style) if isinstance(network, Generator) else (image,)


def weights_of(network, style_dim=128):
    """Return the shapes of a network's weights, without computing any."""
    inputs = inputs_of(network, network.image_size, network.image_size, style_dim=style_dim)
    return jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]


# --- the paper's tables ---


def test_networks_have_the_sizes_that_follow_from_the_tables():
    networks = Encoder(128, CODES), Encoder(128, STYLES), Generator(128)
    assert [count(weights_of(network)) for network in networks] == [20_456_769, 16_195_776, 24_751_107]


def rows(network) -> dict[str, tuple]:
    """Return the output shape of every part of a network by its path, for one image."""
    variables = {"params": weights_of(network)}
    size = network.image_size

    def run(variables, *inputs):
        return network.apply(variables, *inputs, capture_intermediates=True)[1]["intermediates"]

    found = jax.eval_shape(run, variables, *inputs_of(network, size, size))
    paths = jax.tree_util.tree_flatten_with_path(found)[0]
    return {"/".join(str(step.key) for step in path[:-2]): leaf.shape[1:] for path, leaf in paths}


# Side and width behind the first convolution and behind every block; the paper's at 128 px.
TRUNKS = {
    32: [(32, 64), (16, 128), (8, 256), (4, 512)],
    64: [(64, 64), (32, 128), (16, 256), (8, 512), (4, 512)],
    128: [(128, 64), (64, 128), (32, 256), (16, 512), (8, 512), (4, 512)],
    256: [(256, 64), (128, 128), (64, 256), (32, 512), (16, 512), (8, 512), (4, 512)],
}


@pytest.mark.parametrize("size", TRUNKS)
@pytest.mark.parametrize("branches", [CODES, STYLES], ids=["discriminator", "encoder"])
def test_tables_4_and_6_row_by_row(size, branches):
    found = rows(Encoder(size, branches))
    for name, (side, width) in zip(["image", *(f"block_{i}" for i in range(9))], TRUNKS[size], strict=False):
        assert found[f"trunk/{name}"] == (side, side, width), name
    assert f"trunk/block_{len(TRUNKS[size]) - 1}" not in found
    assert found["trunk"] == (4, 4, 512)
    for name, features in branches.items():
        assert found[f"{name}/conv"] == (1, 1, 512) and found[f"{name}/out"] == found[name] == (features,)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_table_5_row_by_row(size):
    down = [row for row in TRUNKS[size] if row[0] >= 16]
    found = rows(Generator(size))
    expected = {"image_in": down[0]}
    expected |= {f"down_{index}": row for index, row in enumerate(down[1:])}
    expected |= {f"{kind}_{index}": down[-1] for kind in ("block", "styled") for index in (0, 1)}
    expected |= {f"up_{index}": row for index, row in enumerate(down[-2::-1])}
    expected["image_out"] = size, 3
    parts = {name: shape for name, shape in found.items() if name and "/" not in name}
    assert parts == {name: (side, side, width) for name, (side, width) in expected.items()}
    # Instance norms before the bottleneck's middle, adaptive ones behind it, and none at the image.
    learned = {name.split("/")[0] for name in found if name.endswith("norm_0")}
    styled = {name.split("/")[0] for name in found if name.endswith("norm_1/style")}
    assert learned == set(expected) - {"image_in", "image_out"}
    assert styled == {name for name in expected if name.startswith(("styled", "up"))}


def published(section: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of StarGAN v2's weights by their names; its convolutions are [out, in, height, width]."""
    text = (pathlib.Path(__file__).parents[1] / "convert" / "keys_starganv2.txt").read_text()
    (body,) = [part for part in text.split("## ") if part.startswith(section)]
    pairs = [line.split(" ", 1) for line in body.splitlines()[1:] if line]
    return {name: tuple(int(number) for number in shape.strip("(),").split(",")) for name, shape in pairs}


def as_published(leaf) -> tuple[int, ...]:
    return leaf.shape if len(leaf.shape) == 1 else (*leaf.shape[:-3:-1], *leaf.shape[:-2])


BLOCK = {
    "conv_0/conv/kernel": "conv1.weight",
    "conv_0/conv/bias": "conv1.bias",
    "conv_1/conv/kernel": "conv2.weight",
    "conv_1/conv/bias": "conv2.bias",
    "shortcut/conv/kernel": "conv1x1.weight",
    **{f"norm_{i}/{ours}": f"norm{i + 1}.{theirs}" for i in (0, 1) for ours, theirs in
       (("scale", "weight"), ("bias", "bias"), ("style/kernel", "fc.weight"), ("style/bias", "fc.bias"))},
}  # fmt: skip


def flat(params) -> dict:
    paths = jax.tree_util.tree_flatten_with_path(params)[0]
    return {"/".join(str(step.key) for step in path): leaf for path, leaf in paths}


@pytest.mark.parametrize(
    "section, start, blocks",
    [
        ("G 256 w_hpf0", "encode.0", ["down_0", "down_1", "down_2", "down_3", "block_0", "block_1"]),
        ("G 256 w_hpf0", "decode.0", ["styled_0", "styled_1", "up_0", "up_1", "up_2", "up_3"]),
        ("E 256", "shared.1", [f"block_{index}" for index in range(6)]),
        ("D 256", "main.1", [f"block_{index}" for index in range(6)]),
    ],
)
def test_blocks_are_starganv2s(section, start, blocks):
    """Every block of the published networks at 256 px has a block of ours with the same weights, no more, no fewer."""
    theirs = published(section)
    network = Generator(256) if section.startswith("G") else Encoder(256, {"style": 64})
    params = weights_of(network, style_dim=64)
    part, first = start.split(".")
    for index, block in enumerate(blocks, int(first)):
        ours = flat(params.get("trunk", params)[block])
        prefix = f"{part}.{index}."
        expected = {name.removeprefix(prefix): shape for name, shape in theirs.items() if name.startswith(prefix)}
        assert {BLOCK[path]: as_published(leaf) for path, leaf in ours.items()} == expected, block


def test_branches_are_starganv2s():
    style = {name: as_published(leaf) for name, leaf in flat(weights_of(Encoder(256, {"style": 64}))["style"]).items()}
    theirs = published("E 256")
    assert style["conv/conv/kernel"] == theirs["shared.8.weight"] and style["conv/conv/bias"] == theirs["shared.8.bias"]
    assert style["out/kernel"] == theirs["unshared.0.weight"] and style["out/bias"] == theirs["unshared.0.bias"]
    assert style["conv/conv/kernel"] == published("D 256")["main.8.weight"]


# --- against numpy ---


def oracle_conv(x, params, pad=0):
    kernel = np.asarray(params["kernel"], np.float64)
    x = np.pad(np.asarray(x, np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("bhwipq,pqio->bhwo", windows, kernel) + params.get("bias", 0)


def oracle_leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def oracle_pool(x):
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def oracle_norm(x):
    return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)


def oracle_residual(params, x, down):
    """[norm] -> LReLU -> conv -> [pool] -> [norm] -> LReLU -> conv, beside [1 x 1] -> [pool], over sqrt 2."""

    def norm(y, name):
        return oracle_norm(y) * params[name]["scale"] + params[name]["bias"] if name in params else y

    y = oracle_conv(oracle_leaky(norm(x, "norm_0")), params["conv_0"]["conv"], pad=1)
    y = oracle_pool(y) if down else y
    y = oracle_conv(oracle_leaky(norm(y, "norm_1")), params["conv_1"]["conv"], pad=1)
    shortcut = oracle_conv(x, params["shortcut"]["conv"]) if "shortcut" in params else x
    shortcut = oracle_pool(shortcut) if down else shortcut
    return (shortcut + y) / np.sqrt(2)


def oracle_blur(x):
    """[1, 2, 1] / 4 along both axes, borders repeated."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    x = (x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]) / 4
    return (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 4


def oracle_styled(params, x, style, up, smooth=False):
    """AdaIN -> LReLU -> [repeat] -> conv [-> blur] -> AdaIN -> LReLU -> conv, beside [repeat [-> blur]] -> [1 x 1],
    over sqrt 2."""

    def norm(y, name):
        both = style.astype(np.float64) @ params[name]["style"]["kernel"] + params[name]["style"]["bias"]
        gamma, beta = both[:, None, None, : y.shape[-1]], both[:, None, None, y.shape[-1] :]
        return (1 + gamma) * oracle_norm(y) + beta

    def grow(y):
        return y.repeat(2, axis=1).repeat(2, axis=2) if up else y

    blur = oracle_blur if up and smooth else lambda y: y
    y = grow(oracle_leaky(norm(x, "norm_0")))
    y = blur(oracle_conv(y, params["conv_0"]["conv"], pad=1))
    y = oracle_conv(oracle_leaky(norm(y, "norm_1")), params["conv_1"]["conv"], pad=1)
    shortcut = blur(grow(x))
    shortcut = oracle_conv(shortcut, params["shortcut"]["conv"]) if "shortcut" in params else shortcut
    return (shortcut + y) / np.sqrt(2)


def drawn(network, *inputs):
    """Return random weights of a network, biases and norms included."""
    return random_like(jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"])


@pytest.mark.parametrize("features", [3, 5])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("down", [False, True])
def test_residual_block_against_numpy(features, norm, down):
    block, x = ResidualBlock(features, down=down, norm=norm), normal(2, 6, 4, 3)
    params = drawn(block, x)
    assert ("shortcut" in params) == (features != 3) and ("norm_0" in params) == norm
    ours = jax.jit(block.apply)({"params": params}, x)
    np.testing.assert_allclose(ours, oracle_residual(params, x, down), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("features", [3, 5])
@pytest.mark.parametrize(("up", "smooth"), [(False, False), (True, False), (True, True), (False, True)])
def test_styled_block_against_numpy(features, up, smooth):
    block, x, style = StyledBlock(features, up=up, smooth=smooth), normal(2, 3, 4, 3), normal(2, 6, seed=1)
    params = drawn(block, x, style)
    assert ("shortcut" in params) == (features != 3)
    ours = jax.jit(block.apply)({"params": params}, x, style)
    np.testing.assert_allclose(ours, oracle_styled(params, x, style, up, smooth), rtol=1e-4, atol=1e-5)


ENCODER = Encoder(16, {"code": 5, "logit": 1}, width=4, max_width=8)
GENERATOR = Generator(16, width=4, max_width=6, bottleneck=4)


@functools.cache
def encoder_params():
    return random_like(weights_of(ENCODER))


@functools.cache
def generator_params():
    return random_like(weights_of(GENERATOR, style_dim=6))


def test_discriminator_against_numpy():
    params, images = encoder_params(), normal(3, 16, 16, 3)
    x = oracle_conv(images, params["trunk"]["image"]["conv"])
    for index in range(2):
        x = oracle_residual(params["trunk"][f"block_{index}"], x, down=True)
    ours = jax.jit(ENCODER.apply)({"params": params}, images)
    assert ours.keys() == {"code", "logit"} and ours["code"].shape == (3, 5) and ours["logit"].shape == (3, 1)
    for name, branch in ours.items():
        y = oracle_leaky(oracle_conv(oracle_leaky(x), params[name]["conv"]["conv"]))[:, 0, 0]
        expected = y @ params[name]["out"]["kernel"] + params[name]["out"]["bias"]
        np.testing.assert_allclose(branch, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("height, width", [(16, 16), (8, 20)])
def test_generator_against_numpy(height, width):
    params, images, style = generator_params(), normal(2, height, width, 3), normal(2, 6, seed=1)
    x = oracle_conv(images, params["image_in"]["conv"])
    for name in ("down_0", "down_1", "block_0", "block_1"):
        x = oracle_residual(params[name], x, down=name.startswith("down"))
    for name in ("styled_0", "styled_1", "up_0", "up_1"):
        x = oracle_styled(params[name], x, style, up=name.startswith("up"))
    expected = oracle_conv(x, params["image_out"]["conv"])
    ours = jax.jit(GENERATOR.apply)({"params": params}, images, style)
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3 * expected.std())


# --- what the numbers are at first ---


@pytest.mark.parametrize("network", [Encoder(16, CODES, width=32), Generator(16, width=64, bottleneck=8, blocks=1)])
def test_he_initialisation(network):
    inputs = [jnp.zeros(leaf.shape) for leaf in inputs_of(network, 16, 16)]
    for path, leaf in flat(jax.jit(network.init)(jax.random.key(0), *inputs)["params"]).items():
        if path.endswith("kernel"):
            deviation = math.sqrt(2 / math.prod(leaf.shape[:-1]))
            spread = 5 / math.sqrt(2 * leaf.size)
            np.testing.assert_allclose(leaf.std(), deviation, rtol=spread, err_msg=path)
            assert abs(leaf.mean()) < 5 * deviation / math.sqrt(leaf.size), path
        else:
            assert (leaf == (1 if path.endswith("scale") else 0)).all(), path


# --- precision ---


def convolved_types(function, *arguments) -> set:
    """Return the types of all that a function convolves."""
    found = set()

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv_general_dilated":
                found.update(variable.aval.dtype for variable in equation.invars)
            for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
                if hasattr(inner := getattr(value, "jaxpr", value), "eqns"):
                    visit(inner)

    visit(jax.make_jaxpr(function)(*arguments).jaxpr)
    return found


@pytest.mark.parametrize("network", [ENCODER, GENERATOR], ids=["encoder", "generator"])
def test_bf16_computes_in_bf16_with_float32_weights_and_outputs(network):
    params = encoder_params() if network is ENCODER else generator_params()
    inputs = [normal(*leaf.shape) for leaf in inputs_of(network, 16, 16, style_dim=6)]
    half = network.clone(dtype=jnp.bfloat16)
    shapes = weights_of(half, style_dim=6)
    assert shapes == jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), params)

    def run(network, params):
        return network.apply({"params": params}, *inputs)

    for chosen, dtype in ((network, jnp.float32), (half, jnp.bfloat16)):
        run_chosen = functools.partial(run, chosen)
        assert convolved_types(run_chosen, params) == {jnp.dtype(dtype)}
        gradient = jax.grad(lambda params, run=run_chosen: sum(leaf.sum() for leaf in jax.tree.leaves(run(params))))
        assert convolved_types(gradient, params) == {jnp.dtype(dtype)}
        assert {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(gradient, params))} == {jnp.dtype("float32")}
    exact, near = jax.jit(lambda params: [jax.tree.leaves(run(chosen, params)) for chosen in (network, half)])(params)
    for one, other in zip(exact, near, strict=True):
        assert one.dtype == other.dtype == jnp.float32
        # Eight bits of mantissa: a few per cent of an output's size, and not nothing.
        assert 1e-5 < np.abs(one - other).mean() / np.abs(one).mean() < 0.1


# --- sizes, and what reaches what ---


@pytest.mark.parametrize("height, width", [(16, 16), (8, 20), (12, 32), (64, 4)])
def test_generator_takes_images_of_any_size(height, width):
    inputs = inputs_of(GENERATOR, height, width, style_dim=6)
    out = jax.eval_shape(GENERATOR.apply, {"params": generator_params()}, *inputs)
    assert GENERATOR.multiple == 4 and out.shape == (2, height, width, 3) and out.dtype == jnp.float32


@pytest.mark.parametrize(
    "image_size, bottleneck, multiple", [(128, 16, 8), (64, 16, 4), (256, 16, 16), (32, 8, 4), (8, 8, 1)]
)
def test_the_bottleneck_tells_the_multiple(image_size, bottleneck, multiple):
    network = Generator(image_size, width=2, bottleneck=bottleneck)
    assert network.multiple == multiple
    assert sum(name.startswith("up_") for name in weights_of(network)) == math.log2(multiple)


def test_a_style_is_learnt_and_decides():
    images, style = normal(2, 16, 16, 3), normal(2, 6, seed=1)

    def run(params, style):
        return GENERATOR.apply({"params": params}, images, style)

    @jax.jit
    def compute(params):
        gradient = jax.grad(lambda style: jnp.square(run(params, style)[0]).sum())(style)
        return gradient, run(params, style), run(params, style[::-1])

    fresh = jax.jit(GENERATOR.init)(jax.random.key(0), images, style)["params"]
    for params in (generator_params(), fresh):
        gradient, out, exchanged = compute(params)
        # Through the first image alone, and from fresh weights too: gamma and beta do not begin at 0.
        assert (jnp.abs(gradient[0]) > 1e-3).all() and (gradient[1] == 0).all()
        assert np.abs(out - exchanged).mean() > 0.1 * np.std(out)


def test_only_computes_the_branches_named():
    variables, images = {"params": encoder_params()}, normal(2, 16, 16, 3)
    both = jax.jit(ENCODER.apply)(variables, images)
    for name, other in (("code", "logit"), ("logit", "code")):
        # Without the other branch's weights: they are not as much as read.
        part = {"params": {key: value for key, value in encoder_params().items() if key != other}}
        alone = jax.jit(functools.partial(ENCODER.apply, only=(name,)))(part, images)
        assert alone.keys() == {name}
        np.testing.assert_allclose(alone[name], both[name], rtol=1e-5, atol=1e-5)


def test_bilinear_upsampling_leaves_no_grid():
    """Smooth maps stay so: of a generator of random weights the lines between squares of 2 x 2 stand out by nearest
    upsampling, and do not by bilinear."""

    def unevenness(upsampling):
        network = Generator(32, width=8, max_width=8, bottleneck=8, blocks=1, upsampling=upsampling)
        params = network.init(jax.random.key(0), *(jnp.zeros(each.shape) for each in inputs_of(network, 32, 32)))
        images = jax.jit(network.apply)(params, normal(4, 32, 32, 3), normal(4, 128, seed=1))
        steps = np.abs(np.diff(images, axis=1))
        return steps[:, 1::2].mean() / steps[:, 0::2].mean()

    assert unevenness("nearest") > 1.2
    np.testing.assert_allclose(unevenness("bilinear"), 1.0, atol=0.05)
