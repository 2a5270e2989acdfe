"""Swapping Autoencoder for Deep Image Manipulation (Park et al., NeurIPS 2020, arXiv:2007.00653).

An encoder takes an image apart into a structure, a small map, and a texture, a vector; a generator draws any structure
in any texture. One discriminator judges images, another one whether crops of two images have the same texture. There
are no labels and no domains. The two sides learn in turns, each iteration on images of its own.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from uit_jax import augment, collectives
from uit_jax.losses import adversarial, reconstruction
from uit_jax.method import Phase
from uit_jax.methods.swapped import PLAYERS, Swapped
from uit_jax.settings import setting
from uit_jax.state import TrainState, descend, named
from uit_jax.types import Array, Batch, Metrics, PyTree

JUDGES = ("discriminator", "patch_discriminator")


@dataclasses.dataclass(frozen=True)
class Turn(Phase):
    """Whether the discriminators, where they learn, have the gradient penalty."""

    penalised: bool = False


TRANSLATE, DISCRIMINATE = Turn("translate"), Turn("discriminate", translates=False)
PENALISED = Turn("penalised", translates=False, penalised=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SwappingAutoencoder(Swapped):
    """Its hyper-parameters; the defaults are the published code's."""

    l1_weight: float = setting(1.0, "of coming back to an image from its own codes", low=0)
    adversarial_weight: float = setting(1.0, "of passing for real, and of telling apart", low=0)
    mix_weight: float = setting(1.0, "within passing for real, of mixed images, beside 0.5; 0.5 in the paper", low=0)
    patch_weight: float = setting(1.0, "of having the texture's texture, and of telling so", low=0)
    patch_r1_weight: float = setting(1.0, "of the penalty on crops, where r1 has one on images", low=0)
    flip: float = setting(0.5, "probability of mirroring", low=0, high=1)

    def phase(self, step: int) -> Turn:
        if step % 2:
            turn = TRANSLATE
        else:
            # Of every 16 turns the last.
            turn = PENALISED if self.r1.on(step // 2 + 1) else DISCRIMINATE
        return dataclasses.replace(turn, load_size=self.load_size or None)

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: Turn, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: encoder and generator, or both discriminators and then, at times, these by the penalty.

        `views` is what the method of that name makes.
        """
        params, terms = {name: learner.params for name, learner in state.learners.items()}, {}
        if phase.translates:
            turns = [(PLAYERS, functools.partial(self.translation_loss, others=params))]
        else:
            turns = [(JUDGES, functools.partial(self.discrimination_loss, made=self.make(params, views)))]
            turns += [(JUDGES, self.penalty)] if phase.penalised else []
        for names, loss in turns:
            loss = functools.partial(loss, views=views)
            learners = {name: state.learners[name] for name in names}
            learners, found = descend(learners, self.optimizers, loss, axis_name=axis_name)
            state, terms = state.with_learners(learners), terms | named(names[0], found)
        if phase.translates and self.average:
            state = state.average(**dict.fromkeys(PLAYERS, self.average))
        return state.replace(step=state.step + 1), collectives.mean(terms, axis_name)

    def make(self, params: PyTree, views: Batch) -> tuple[Array, Array]:
        """Return half of the images redrawn from their own codes, and every image's texture in the structure of its
        neighbour."""
        structure, texture = self.run(params, "encoder", views["x"])
        swapped = structure.reshape(-1, 2, *structure.shape[1:])[:, ::-1].reshape(structure.shape)
        own = self.some(structure), self.some(texture), views["noise_own"]
        both = jax.tree.map(lambda *parts: jnp.concatenate(parts), own, (swapped, texture, views["noise_mix"]))
        images = self.run(params, "generator", *both)
        return images[: -len(texture)], images[-len(texture) :]

    def some(self, rows: Array) -> Array:
        """Return the half of a batch that is redrawn from its own codes: one of every two neighbours.

        Differs from the reference, which has the first half of each device's share: that depends on how many there are.
        """
        return rows[::2]

    def shown(self, made: tuple[Array, Array], views: Batch, name: str) -> tuple[Array, Array]:
        """Return what discriminators see of what was made.

        By the same name an image and what has its texture are changed alike: else their colours would tell them apart.
        """
        own, mix = made
        return self.seen(own, views, name, every=2), self.seen(mix, views, name)

    def discrimination_loss(self, params: PyTree, *, made: tuple[Array, Array], views: Batch):
        """Tell images from what was made of them, and an image's texture from a mixed image's."""
        (own, mix), chances = self.shown(made, views, "told"), views["chances"]
        x = self.seen(views["x"], views, "told")
        logits = dict(zip(("real", "own", "mix"), self.judge(params, x, own, mix), strict=True))
        crops = [self.crops(x, chances["known"]), self.crops(x, chances["other"]), self.crops(mix, chances["mix"])]
        logits |= dict(zip(("patch_real", "patch_mix"), self.compare(params, *crops), strict=True))
        terms = {name: adversarial.logistic(each, float(name.endswith("real"))) for name, each in logits.items()}
        whole = terms["real"] + 0.5 * terms["own"] + 0.5 * terms["mix"]
        crops = terms["patch_real"] + terms["patch_mix"]
        return self.adversarial_weight * whole + self.patch_weight * crops, (terms, {})

    def penalty(self, params: PyTree, *, views: Batch):
        """Penalise the gradients of logits of images, and of those that compare crops of one image."""
        x, chances, seen = views["x"], views["chances"], functools.partial(self.seen, views=views, name="penalised")
        crops = self.crops(seen(x), chances["penalised"]), self.crops(seen(x), chances["penalised_other"])
        terms = {
            "r1": adversarial.r1(lambda x: self.judge(params, seen(x))[0], x)[0],
            "patch_r1": adversarial.r1(lambda crops: self.compare(params, *crops)[0].sum(1), crops)[0],
        }
        loss = self.r1.weight / 2 * terms["r1"] + self.patch_r1_weight / 4 * terms["patch_r1"]
        return self.r1.every * loss, (terms, {})

    def translation_loss(self, params: PyTree, *, others: PyTree, views: Batch):
        """Come back to images, pass for real, and have the texture's texture."""
        made, x, chances = self.make(params, views), views["x"], views["chances"]
        own, mix = self.shown(made, views, "passed")
        passed = dict(zip(("own", "mix"), self.judge(others, own, mix), strict=True))
        known = self.crops(self.seen(x, views, "passed"), chances["known"])
        (alike,) = self.compare(others, known, self.crops(mix, chances["mix"]))
        terms = {name: adversarial.logistic(logits, 1.0) for name, logits in {**passed, "patch": alike}.items()}
        terms["l1"] = reconstruction.l1(made[0], self.some(x))
        passing = 0.5 * terms["own"] + self.mix_weight * terms["mix"]
        loss = self.l1_weight * terms["l1"] + self.adversarial_weight * passing + self.patch_weight * terms["patch"]
        return loss, (terms, {})

    # --- the data ---

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Make what an iteration reads of images uint8 [B, H, W, C], neighbours being two to swap.

        Returns:
          x: float32 [B, S, S, C], mirrored crops; noise_own, noise_mix: for each map that noise is added to [B / 2, h,
          w, 1], [B, h, w, 1]; chances: where crops of images lie, by what for, [B, T, 5]; and `changes`.
        """
        size, side = len(batch["image"]), self.image_size >> self.encoder.downs
        view, chance, *parts = jax.random.split(key, 4)
        keys = functools.partial(collectives.example_keys, axis_name=axis_name)
        sides, count = self.networks["generator"].module.noise_sides(side, side), self.patches.count
        chances = {}
        for number, name in enumerate(("known", "other", "mix", "penalised", "penalised_other")):
            own = keys(jax.random.fold_in(chance, number), size)
            chances[name] = jax.vmap(lambda key: jax.random.uniform(key, (count, 5)))(own)
        made = {"x": augment.cropped_view(keys(view, size), batch["image"], self.image_size, flip=self.flip)}
        for name, part, rows in zip(("noise_own", "noise_mix"), parts, (size // 2, size), strict=True):
            made[name] = tuple(_noise(keys(jax.random.fold_in(part, n), rows), each) for n, each in enumerate(sides))
        return {**made, "chances": chances, **self.changes(key, size, axis_name)}

def _noise(keys: Array, sides: tuple[int, int]) -> Array:
    return jax.vmap(lambda key: jax.random.normal(key, (*sides, 1)))(keys)
