"""Computes with our Inception-v3 and distances what a golden file of pytorch-fid and prdc records."""

import jax
import numpy as np

from tests import golden_tunit
from tests.golden_recipe import images, stream, weight
from uit_jax.convert import inception as convert
from uit_jax.images.resize import centred, resize
from uit_jax.metrics import frechet, manifold
from uit_jax.nn.inception import Inception


class Runner:
    """The network's features of three images, and two distances of features that are drawn."""

    def __init__(self, manifest, arrays):
        self.manifest, self.salt = manifest, manifest["salt"]

    @staticmethod
    def group(key: str) -> str:
        return "network" if key.startswith("pool") else "distances"

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a group."""
        return {"network": self.network, "distances": self.distances}[group]()

    def check(self, key: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Assert the rule of networks, and of distances a relative error of 1e-6."""
        if self.group(key) == "network":
            self.manifest.setdefault("float32_noise", {}).setdefault(key, 0)
            golden_tunit.Runner.check(self, key, ours, theirs)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)

    def network(self):
        specs = self.manifest["weights"]
        # The stream of a name is that of the salt and the name, without a network's.
        drawn = {name: weight(self.salt, *name.split(".", 1), spec) for name, spec in specs.items()}
        pixels = np.round((images(self.salt + "fid", 3, 96) + 1) * 127.5).astype(np.uint8)
        inputs = centred(resize(pixels, 299, "pytorch_fid"), "pytorch_fid")
        found = jax.jit(Inception().apply)(convert.take(drawn), inputs)
        return {f"pool{width}": found[width] for width in ("64", "192", "768", "2048")}

    def distances(self):
        rng = stream(self.salt + "feat")
        first, mixing = rng.standard_normal((500, 64)), rng.standard_normal((64, 64)) * 0.2
        second = rng.standard_normal((400, 64)) @ (np.eye(64) + mixing) + 0.3
        real = rng.standard_normal((500, 8)).astype(np.float32)
        fake = (rng.standard_normal((400, 8)) * 0.8 + 0.25).astype(np.float32)
        scores = manifold.scores(real, fake, k=5)
        return {
            "frechet": frechet.distance(frechet.moments(first), frechet.moments(second)),
            "prdc_k5": [scores[name] for name in ("precision", "recall", "density", "coverage")],
        }
