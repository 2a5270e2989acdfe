"""Computes what a golden file of lpips, of clean-fid's resizers and of the kernel distance records."""

import jax
import numpy as np

from tests.golden_recipe import images, stream, weight
from uit_jax.convert import lpips as convert
from uit_jax.images.resize import resize
from uit_jax.metrics import kernel
from uit_jax.nn.lpips import LPIPS

# The file's "legacy_tensorflow" is TensorFlow 2's, which is torch's: TensorFlow 1 takes pixels by their corners.
MODES = {"clean": "clean", "legacy_pytorch": "legacy_pytorch", "legacy_tensorflow": "legacy_pytorch"}
# Side, and of which rows and columns the file keeps one.
SIDES = {"up": (299, 7), "down": (48, 1)}


class Runner:
    """Distances of images by both networks, an image in other sizes, and the distance of two sets."""

    def __init__(self, manifest, arrays):
        self.manifest, self.salt = manifest, manifest["salt"]

    @staticmethod
    def group(key: str) -> str:
        return key if key.startswith("lpips") else key.split(".")[0]

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a group."""
        name, _, kind = group.partition(".")
        return {"lpips": self.lpips, "resize": self.resize, "kid": self.kid}[name](*[kind] * bool(kind))

    def check(self, key: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Assert a relative error of 1e-5; of resized images, a difference of one step of 8 bits at every pixel."""
        if key.startswith("resize"):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)

    def lpips(self, kind: str):
        specs = self.manifest["weights"][kind]
        drawn = {name: weight(self.salt, kind, name, spec) for name, spec in specs.items()}
        drawn = {name: np.abs(value) if specs[name]["abs"] else value for name, value in drawn.items()}
        first, second = (images(self.salt + name, 3, 64) for name in "ab")
        return {f"lpips.{kind}": jax.jit(LPIPS(kind).apply)(convert.take(kind, drawn), first, second)}

    def resize(self):
        image = np.round((images(self.salt + "resize", 1, 96)[0] + 1) * 127.5).astype(np.uint8)[:80]
        return {
            f"resize.{theirs}.{way}": resize(image, side, ours)[::step, ::step]
            for theirs, ours in MODES.items()
            for way, (side, step) in SIDES.items()
        }

    def kid(self):
        rng = stream(self.salt + "kid")
        first, second = rng.standard_normal((300, 32)), rng.standard_normal((300, 32)) * 1.1 + 0.2
        return {"kid": kernel.distance(first, second)}
