"""StarGAN v2: Diverse Image Synthesis for Multiple Domains (Choi, Uh, Yoo and Ha, CVPR 2020, arXiv:1912.01865).

One generator redraws an image in a style of a domain, which a latent or a reference tells; a discriminator judges every
image within its domain. `domained.py` has the networks; `update` is the paper's iteration.
"""

import dataclasses
import functools

import jax

from uit_jax import augment, collectives
from uit_jax.losses import adversarial, reconstruction
from uit_jax.method import Phase, Stream
from uit_jax.methods.domained import Domained
from uit_jax.settings import R1, setting
from uit_jax.state import TrainState, descend, named
from uit_jax.types import Array, Batch, Metrics, PyTree

LABELLED = Stream("labelled", 1.0)
PENALISED, LAZY = Phase("penalised", LABELLED), Phase("lazy", LABELLED)
PLAYERS, JUDGE = ("generator", "mapping", "encoder"), ("discriminator",)
# What an iteration does in turn: who learns, and where the styles come from. Styles of references teach the generator
# alone: the style encoder learns to read those that were mapped from latents.
TURNS = ((JUDGE, "latent"), (JUDGE, "reference"), (PLAYERS, "latent"), (PLAYERS[:1], "reference"))


@dataclasses.dataclass(frozen=True)
class Crop:
    """How a view of an image is cropped."""

    probability: float = setting(0.5, "of a crop, or else the whole image is seen", low=0, high=1)
    scale: tuple[float, ...] = setting((0.8, 1.0), "its share of the area", above=0, length=2, rising=True)
    aspect: tuple[float, ...] = setting((0.9, 1.1), "its width / height", above=0, length=2, rising=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StarGANv2(Domained):
    """StarGAN v2's hyper-parameters; the defaults are the paper's for all but faces."""

    style_weight: float = setting(1.0, "of reading a translation's style off it (Eq. 2)", low=0)
    diversity_weight: float = setting(2.0, "of two styles' translations being different (Eq. 3), at first", low=0)
    diversity_steps: int = setting(100_000, "iterations in which that weight falls to 0", low=1, follows="steps")
    cycle_weight: float = setting(1.0, "of coming back to an image in its own style (Eq. 4)", low=0)
    r1: R1 = R1(weight=0.5, every=1)
    average: float = setting(
        0.999, "decay of the averages of all networks that translate", low=0, high=1, follows="average"
    )
    crop: Crop = Crop()
    flip: float = setting(0.5, "probability of mirroring", low=0, high=1)

    def phase(self, step: int) -> Phase:
        return PENALISED if self.r1.on(step) else LAZY

    def styles(self, params: PyTree, source: str, views: Batch) -> tuple[Array, Array]:
        """Return two styles [B, D] of the domain that each image is translated to, of latents or of references."""
        find = self.map if source == "latent" else self.encode
        return tuple(find(params, views[name], views["target"]) for name in (source, f"{source}_2"))

    def update(
        self, state: TrainState, views: Batch, *, phase: Phase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: two steps of either side (`TURNS`), each on what the others have become.

        `views` is what the method of that name makes.
        """
        views = {**views, "masks": self.masks(views["x"])}
        diversity = self.diversity_weight * (1 - state.step / self.diversity_steps).clip(0)
        judging = functools.partial(self.discrimination_loss, views=views, phase=phase)
        translating = functools.partial(self.translation_loss, views=views, diversity=diversity)
        terms = {}
        for names, source in TURNS:
            params = {name: learner.params for name, learner in state.learners.items()}
            loss = functools.partial(judging if names == JUDGE else translating, others=params, source=source)
            learners = {name: state.learners[name] for name in names}
            learners, found = descend(learners, self.optimizers, loss, axis_name=axis_name)
            state = state.with_learners(learners)
            terms |= named(names[0], {f"{source}_{name}": value for name, value in found.items()})
        state = state.average(**dict.fromkeys(PLAYERS, self.average))
        return state.replace(step=state.step + 1), collectives.mean(terms, axis_name)

    def discrimination_loss(self, params: PyTree, *, others: PyTree, source: str, views: Batch, phase: Phase):
        """Tell images of their domains from translations into their targets (Eq. 1)."""
        fake = self.generate(others, views["x"], self.styles(others, source, views)[0], views["masks"])
        domains, terms = views["label"], {}

        def judge(name, images, domains):
            seen = self.seen(images, views, f"{source}_{name}")
            return adversarial.select(self.judge(params, seen), domains)

        if phase == PENALISED:
            terms["r1"], real = adversarial.r1(lambda x: judge("real", x, domains), views["x"])
        else:
            real = judge("real", views["x"], domains)
        terms["real"] = adversarial.logistic(real, 1.0)
        terms["fake"] = adversarial.logistic(judge("fake", fake, views["target"]), 0.0)
        loss = terms["real"] + terms["fake"] + self.r1.weight * self.r1.every * terms.get("r1", 0.0)
        return loss, (terms, {})

    def translation_loss(self, params: PyTree, *, others: PyTree, source: str, views: Batch, diversity: Array):
        """Pass for real in the target's domain, keep the style, differ from another style's translation, and come back
        to the image in its own style (Eq. 1 to 4); `diversity` is the weight of the third."""
        params, l1 = {**others, **params}, reconstruction.l1
        x, target, masks = views["x"], views["target"], views["masks"]
        style, other = self.styles(params, source, views)
        fake = self.generate(params, x, style, masks)
        # Only the first style learns to differ.
        second = jax.lax.stop_gradient(self.generate(params, x, other, masks))
        own = self.encode(params, x, views["label"])
        seen = self.seen(fake, views, f"{source}_adversarial")
        terms = {
            "adversarial": adversarial.logistic(adversarial.select(self.judge(params, seen), target), 1.0),
            "style": l1(self.encode(params, fake, target), style),
            "diversity": l1(fake, second),
            "cycle": l1(self.generate(params, fake, own, self.masks(fake)), x),
        }
        loss = terms["adversarial"] + self.style_weight * terms["style"] - diversity * terms["diversity"]
        return loss + self.cycle_weight * terms["cycle"], (terms, {})

    def views(self, key: Array, batch: Batch, axis_name: str | None = None) -> Batch:
        """Make what an iteration reads of images uint8 [B, S, S, C] and their labels.

        Differs from the reference: domains are as frequent as in the data, and references are of the same batch, each
        image's second one by `augment.paired_places`.

        Returns:
          x, reference, reference_2: float32 [B, S, S, C]; label, target: int32 [B], the domains of images and of
          references; latent, latent_2: float32 [B, L]; and `changes`.
        """
        view, places, *latents = jax.random.split(key, 4)
        keys = functools.partial(collectives.example_keys, size=len(batch["image"]), axis_name=axis_name)
        x = augment.resized_view(keys(view), batch["image"], flip=self.flip, **vars(self.crop))
        images, labels = (collectives.gather(each, axis_name) for each in (x, batch["label"]))
        first, second = augment.paired_places(places, labels, len(x), axis_name)
        latent, latent_2 = (self.sample_latents(keys(part)) for part in latents)
        return {
            **{"x": x, "reference": images[first], "reference_2": images[second]},
            **{"label": batch["label"], "target": labels[first], "latent": latent, "latent_2": latent_2},
            **self.changes(key, len(x), axis_name),
        }
