"""Computes with SinCUT's networks what a golden file of the published code records, from equal weights and images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import golden_tunit
from tests.golden_recipe import images, weight
from uit_jax import methods
from uit_jax.convert import cut as convert


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
        self.method = method = methods.build("sincut", convert.settings(self.state_dicts))
        read = {"ngf": method.generator.width, "ndf": method.discriminator.width, "img_size": method.image_size}
        for name, value in read.items():
            assert value == manifest[name], f"{name} contradicts the weights' shapes"

    check = golden_tunit.Runner.check
    group = staticmethod(golden_tunit.Runner.group)

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a network."""
        with jax.default_matmul_precision("highest"):
            return {"G": self.generator, "D": self.discriminator}[group]()

    def load(self, network: str):
        """Return a network's module, and its variables from the state_dict that the file's recipe draws."""
        module, _, inputs, *_ = self.method.networks[convert.LEARNERS[network]]
        like = jax.eval_shape(module.init, jax.random.key(0), *inputs)
        return module, convert.import_network(network, self.state_dicts[network], like)

    def generator(self):
        module, variables = self.load("G")
        inputs = self.images, np.zeros_like(self.images[..., :1])
        drawn, features = jax.jit(functools.partial(module.apply, taps=self.taps))(variables, *inputs)
        assert [list(features[tap].shape) for tap in self.taps] == self.manifest["feature_shapes_nhwc"]
        means = {f"G.feat{tap}.absmean_c": jnp.abs(maps).mean((1, 2)) for tap, maps in features.items()}
        return means | {"G.out": drawn}

    def discriminator(self):
        module, variables = self.load("D")
        return {"D.out": jax.jit(module.apply)(variables, self.images)}
