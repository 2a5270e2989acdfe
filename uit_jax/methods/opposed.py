"""What methods with a discriminator share: what that sees of images, which may be changed where images are few."""

import dataclasses
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from uit_jax import collectives
from uit_jax.augment import differentiable
from uit_jax.method import Method
from uit_jax.settings import setting
from uit_jax.types import Array, Batch


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How each image that a discriminator sees is changed, real or translated (`augment.differentiable`)."""

    kinds: tuple[str, ...] = setting(
        (), "changes of what discriminators see; none by default", choices=tuple(differentiable.CHANGES), empty=True
    )
    probability: float = setting(1.0, "of each change, for each image", above=0, high=1)

    def rules(self):
        """Yield what of the settings does not go together."""
        if len(set(self.kinds)) < len(self.kinds):
            yield "kinds", "names a change twice"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opposed(Method):
    """A translator against a discriminator, which sees of images what `seen` returns.

    A method adds `changes` to its views, and calls `seen` wherever a discriminator judges whether images are real:

    - Real or translated, in the discriminator's loss and in the generator's, each under a name of its own, so that
      draws are independent. Pools remember images as they are, and all other losses read these.
    - Images that are compared by what a discriminator sees in them, its features or their texture, have the same name:
      else they would differ by their draws. Codes that it learns from views of their own are of images as they are.
    - A gradient penalty is with respect to images as they are: `seen` stands inside of what is differentiated, as in
      StyleGAN2-ADA (arXiv:2006.06676) and the published code for few images. What has to be smooth near real images is
      the judgement that the generator learns from, and that has the changes in it.
    - An image is changed whole, and crops are cut out of what is seen of it: a texture has the same colours in all of
      its crops, and a shift is small beside the image, not the crop. A penalty on crops is with respect to these.
    """

    augmentation: Augmentation = Augmentation()

    def changes(self, key: Array, size: int, axis_name: str | None) -> dict[str, Array]:
        """Return what views hold for `seen`: under "changes" a key for each of `size` examples; {} without changes.

        `key` is that of the views, from which no other draw of theirs is taken by so large a number.
        """
        if not self.augmentation.kinds:
            return {}
        return {"changes": collectives.example_keys(jax.random.fold_in(key, _number("changes")), size, axis_name)}

    def seen(self, images: Array, views: Batch, name: str, every: int = 1) -> Array:
        """Return what a discriminator sees of images [N, H, W, C]: themselves, where `augmentation` has no kinds.

        Args:
          images: of each example one; or several, all first ones before all second ones.
          views: of B examples, with what `changes` returns.
          name: of the draw: the same images, or others of the same examples, are changed in the same way under the
            same name, and independently under another.
          every: 2 for images of every second example, from the first on.
        """
        if not self.augmentation.kinds:
            return images
        keys, drawn = views["changes"][::every], jax.vmap(jax.random.fold_in, (0, None))
        keys = drawn(keys, _number(name))
        keys = jnp.concatenate([drawn(keys, number) for number in range(len(images) // len(keys))])
        return differentiable.changed(keys, images, **vars(self.augmentation))


def _number(name: str) -> np.uint32:
    return np.uint32(zlib.crc32(name.encode()))
