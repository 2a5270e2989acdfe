"""Computes with SinCUT's networks what a golden file of the published code records, from equal weights and images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import golden_tunit
from tests.golden_recipe import images, weight
from uit_jax.convert import cut as convert
from uit_jax.nn.sincut import StyleGAN2Discriminator, StyleGAN2Generator


class Runner:
    """The networks of one golden file; sizes and widths come from its manifest."""

    def __init__(self, manifest, arrays):
        self.manifest = manifest
        salt = manifest["salt"]
        self.images = images(salt + "A", manifest["batch"], manifest["img_size"])
        self.taps = tuple(int(key.split(".")[1].removeprefix("feat")) for key in arrays if ".feat" in key)
        self.state_dicts = {
            network: {name: weight(salt, network, name, spec) for name, spec in specs.items() if "fixed" not in spec}
            for network, specs in manifest["weights"].items()
        }
        self.settings = convert.settings(self.state_dicts)
        stated = {"generator_width": "ngf", "discriminator_width": "ndf", "image_size": "img_size"}
        for setting, name in stated.items():
            assert self.settings[setting] == manifest[name], f"{name} contradicts the weights' shapes"

    check = golden_tunit.Runner.check
    group = staticmethod(golden_tunit.Runner.group)

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a network."""
        with jax.default_matmul_precision("highest"):
            return {"G": self.generator, "D": self.discriminator}[group]()

    def load(self, network: str, module, *inputs):
        """Return the module's variables from the state_dict that the file's recipe draws."""
        like = jax.eval_shape(module.init, jax.random.key(0), *inputs)
        return convert.import_network(network, self.state_dicts[network], like)

    def generator(self):
        s = self.settings
        module = StyleGAN2Generator(s["channels"], s["target_channels"], s["generator_width"])
        inputs = self.images, np.zeros_like(self.images[..., :1])
        variables = self.load("G", module, *inputs)
        drawn, features = jax.jit(functools.partial(module.apply, taps=self.taps))(variables, *inputs)
        assert [list(features[tap].shape) for tap in self.taps] == self.manifest["feature_shapes_nhwc"]
        means = {f"G.feat{tap}.absmean_c": jnp.abs(maps).mean((1, 2)) for tap, maps in features.items()}
        return means | {"G.out": drawn}

    def discriminator(self):
        module = StyleGAN2Discriminator(self.settings["image_size"], self.settings["discriminator_width"])
        return {"D.out": jax.jit(module.apply)(self.load("D", module, self.images), self.images)}
