"""DRIT and DRIT++: diverse translation by disentangled representations (Lee et al., ECCV 2018, IJCV 2020).

Content, which two domains share, and style, which each has to itself, are encoded apart, so that a content can be drawn
in either domain in many styles (arXiv:1808.00948, arXiv:1905.01270). `update` is the papers' iteration.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax.numpy as jnp
import optax

from uit_jax import collectives, optimizers
from uit_jax.losses import adversarial, latent, reconstruction
from uit_jax.method import Network, Phase
from uit_jax.methods.disentangled import OTHER, Disentangled, DRITPhase, Sides
from uit_jax.settings import Adam, LinearDecay, setting
from uit_jax.state import Learners, TrainState, descend, named, play
from uit_jax.types import Array, Batch, Metrics, PyTree

REAL, FAKE, UNDECIDED = (dict.fromkeys(OTHER, target) for target in (1.0, 0.0, 0.5))
DOMAIN = {"a": 0.0, "b": 1.0}  # what the content discriminator should say of contents


@dataclasses.dataclass(frozen=True, kw_only=True)
class DRIT(Disentangled):
    """DRIT++'s hyper-parameters; the defaults are the published code's. Without mode seeking it is DRIT."""

    adversarial_weight: float = setting(1.0, "of passing for real", low=0)
    content_weight: float = setting(1.0, "of contents that do not tell their domain", low=0)
    cross_weight: float = setting(10.0, "of what comes back when content and style change places twice", low=0)
    self_weight: float = setting(10.0, "of images drawn of their own content and style", low=0)
    latent_weight: float = setting(10.0, "of sampled styles read back", low=0)
    prior_weight: float = setting(0.01, "of styles like N(0, I)", low=0)
    size_weight: float = setting(0.01, "of small content codes", low=0)
    mode_seeking_weight: float = setting(1.0, "of images that differ as their styles do (DRIT++); 0: DRIT", low=0)
    update_every: int = setting(3, "period of all but the content discriminator's steps; 1 for every iteration", low=1)
    content_every: int = setting(1, "period of the content discriminator's steps", low=1)
    adam: Adam = Adam(1e-4, b1=0.5, b2=0.999, weight_decay=1e-4)
    content_rate: float = setting(4e-5, "step size of the content discriminator", above=0)
    content_clip: float = setting(5.0, "largest length of its gradient", above=0)
    schedule: LinearDecay = LinearDecay(400_200, 400_200)

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        if self.update_every > 1 and self.content_every > 1:
            yield "content_every", "must be 1 where method.update_every is not: some iterations would train nothing"

    def phase(self, step: int) -> Phase:
        translates, content = ((step + 1) % every == 0 for every in (self.update_every, self.content_every))
        name = "content" if not translates else "update" if content else "update_alone"
        return DRITPhase(name, load_size=self.load_size, translates=translates, content=content)

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        once, twice = (self.mover(self.adam, self.update_every, moves) for moves in (1, 2))
        slow = dataclasses.replace(self.adam, learning_rate=self.content_rate)
        clipped = optax.chain(optax.clip_by_global_norm(self.content_clip), self.mover(slow, self.content_every))
        movers = {"content_encoder": twice, "generator": twice, "content_discriminator": clipped}
        return {name: Network(each, movers.get(name, once), inputs) for name, (each, inputs) in self.modules.items()}

    def mover(self, adam: Adam, period: int, moves: int = 1) -> optax.GradientTransformation:
        """Return the optimiser of a network that moves so many times in every period of the run's iterations."""
        rate = optimizers.linear_decay(adam.learning_rate, **vars(self.schedule))
        at_count = {"learning_rate": lambda count: rate((count // moves + 1) * period - 1)}
        return optimizers.adam(**vars(adam) | at_count)

    def rates(self, step: int) -> dict[str, float]:
        share = float(optimizers.linear_decay(1.0, **vars(self.schedule))(step))
        own = {"content_discriminator": self.content_rate}
        return {name: share * own.get(name, self.adam.learning_rate) for name in self.networks}

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: DRITPhase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: a game of the styles of images, then one of sampled styles; or the content discriminator.

        `views` is what the method of that name makes. The second game is played with the players' weights from before
        the first: generator and content encoder move twice, by gradients at the same weights.
        """
        before = weights_of(state.learners)
        images, others = ({side: views[side][row::2] for side in OTHER} for row in (0, 1))
        if not phase.translates:
            tell = functools.partial(self.tell_apart, codes=self.encode(before, images, views))
            learning = {"content_discriminator": state.learners["content_discriminator"]}
            learning, terms = descend(learning, self.optimizers, tell, axis_name=axis_name)
            state, terms = state.with_learners(learning), named("discriminator", terms)
        else:
            game = functools.partial(play, optimizers=self.optimizers, axis_name=axis_name)
            state, _, terms = game(
                state,
                players=self.kept,
                opponents=("discriminator", "content_discriminator")[: 1 + phase.content],
                make=functools.partial(self.exchange, images, views),
                oppose=functools.partial(self.oppose, images, views),
                deceive=functools.partial(self.deceive, images, views, before),
            )
            draws = [views[f"random_{number}"] for number in range(2 if self.mode_seeking_weight else 1)]
            state, _, more = game(
                state,
                players=("generator", "content_encoder"),
                opponents=("random_discriminator",),
                make=functools.partial(self.vary, images, views, draws),
                oppose=functools.partial(self.oppose_varied, others, views, len(draws)),
                deceive=functools.partial(self.deceive_varied, draws, views, before),
                at=before,
            )
            terms |= more
        return state.replace(step=state.step + 1), collectives.mean(terms, axis_name)

    def exchange(self, images: Sides, views: Batch, params: PyTree):
        """Draw, in each domain, an image's content and that of the other domain's, both in the image's style."""
        codes = self.encode(params, images, views)
        moments, styles = self.sample(params, images, views)
        contents = {side: jnp.concatenate([codes[OTHER[side]], codes[side]]) for side in OTHER}
        styles = {side: jnp.concatenate([style, style]) for side, style in styles.items()}
        drawn = self.apply("generator", params, contents, styles)
        fake, same = ({side: jnp.split(x, 2)[half] for side, x in drawn.items()} for half in (0, 1))
        return {"codes": codes, "moments": moments, "fake": fake, "same": same}, {}

    def tell_apart(self, params: PyTree, codes: Sides):
        """Tell of which domain contents are."""
        loss, terms = weighed({"content": judged(self.apply("content_discriminator", params, codes), DOMAIN)})
        return loss, (terms, {})

    def judge(self, name: str, params: PyTree, real: Sides, fake: Sides, views: Batch):
        """Tell images from translations; return the loss and its terms."""
        shown = self.seen(real, views, f"{name}_real"), self.seen(fake, views, f"{name}_fake")
        told, of_fakes = (self.apply(name, params, each) for each in shown)
        return weighed({"real": judged(told, REAL), "fake": judged(of_fakes, FAKE)})

    def oppose(self, images: Sides, views: Batch, params: PyTree, made: PyTree):
        """Tell images from translations, and contents apart."""
        loss, terms = self.judge("discriminator", params, images, made["fake"], views)
        if "content_discriminator" in params:
            more, (told, _) = self.tell_apart(params, made["codes"])
            loss, terms = loss + more, terms | told
        return loss, (terms, {})

    def deceive(self, images: Sides, views: Batch, before: PyTree, params: PyTree, made: PyTree, opponents: Learners):
        """Pass for real, by contents that do not tell their domain, and come back by a second exchange."""
        against = before | weights_of(opponents)
        codes = self.encode(params, made["fake"], views, "fake_")
        _, styles = self.sample(params, made["fake"], views, "fake_")
        cross = self.apply("generator", params, {side: codes[OTHER[side]] for side in OTHER}, styles)
        seen = self.seen(made["fake"], views, "adversarial")
        terms = {
            "adversarial": judged(self.apply("discriminator", against, seen), REAL),
            "content": judged(self.apply("content_discriminator", against, made["codes"]), UNDECIDED),
            "prior": {side: latent.prior(*made["moments"][side]) for side in OTHER},
            "size": {side: jnp.square(made["codes"][side]).mean() for side in OTHER},
            "cross": {side: reconstruction.l1(cross[side], images[side]) for side in OTHER},
            "self": {side: reconstruction.l1(made["same"][side], images[side]) for side in OTHER},
        }
        return weighed(terms, {name: getattr(self, f"{name}_weight") for name in terms})

    def vary(self, images: Sides, views: Batch, draws: list[Array], params: PyTree):
        """Draw each domain's contents in the other, one after the other in all of the sampled styles."""
        codes = self.encode(params, images, views)
        contents = {side: jnp.concatenate([codes[OTHER[side]]] * len(draws)) for side in OTHER}
        return self.apply("generator", params, contents, dict.fromkeys(OTHER, jnp.concatenate(draws))), {}

    def oppose_varied(self, others: Sides, views: Batch, count: int, params: PyTree, made: Sides):
        """Tell other images from these translations, once for each of the sampled styles."""
        loss, terms = self.judge("random_discriminator", params, others, made, views)
        return count * loss, (terms, {})

    def deceive_varied(
        self, draws: list[Array], views: Batch, before: PyTree, params: PyTree, made: Sides, opponents: Learners
    ):
        """Pass for real, show the first style as the style encoder reads it, and differ as the styles do."""
        logits = self.apply("random_discriminator", weights_of(opponents), self.seen(made, views, "random"))
        parts = {side: jnp.split(x, len(draws)) for side, x in made.items()}
        read = self.apply("style_encoder", before, {side: images[0] for side, images in parts.items()})
        weights = {"random": len(draws) * self.adversarial_weight, "latent": self.latent_weight}
        seen = {side: reconstruction.l1(mean, draws[0]) for side, (mean, _) in read.items()}
        terms = {"random": judged(logits, REAL), "latent": seen}
        if len(draws) > 1:
            weights["mode_seeking"] = self.mode_seeking_weight
            terms["mode_seeking"] = {side: latent.mode_seeking(*parts[side], *draws) for side in OTHER}
        return weighed(terms, weights)


def weights_of(learners: Learners) -> dict[str, PyTree]:
    """Return the weights of learners by their names."""
    return {name: learner.params for name, learner in learners.items()}


def judged(logits: Mapping[str, list[Array]], targets: Mapping[str, float]) -> dict[str, Array]:
    """Return each side's adversarial loss by its target, 1 being real and 0 fake; the sum over scales."""
    return {side: sum(adversarial.logistic(each, targets[side]) for each in scales) for side, scales in logits.items()}


def weighed(terms: Mapping[str, Sides], weights: Mapping[str, float] | None = None) -> tuple[Array, Metrics]:
    """Return the sum of terms, by kind and side, times their kinds' weights, and the terms as "kind_side"."""
    weights = weights or dict.fromkeys(terms, 1.0)
    loss = sum(weights[kind] * value for kind, sides in terms.items() for value in sides.values())
    return loss, {f"{kind}_{side}": value for kind, sides in terms.items() for side, value in sides.items()}
