"""DistanceGAN and SelfDistance: One-Sided Unsupervised Domain Mapping (Benaim and Wolf, NeurIPS 2017).

What keeps the content is a distance: two images that are far apart should have translations that are, or, for
SelfDistance, the two halves of one (arXiv:1706.00826). A domain's distances are measured before anything learns.
`update` is the paper's iteration.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp

from uit_jax import collectives
from uit_jax.losses import distances, reconstruction
from uit_jax.memory import moments
from uit_jax.memory.moments import Moments
from uit_jax.method import Network, Phase, require
from uit_jax.methods.pooled import ROUTES, PooledMethod
from uit_jax.nn.patchgan import PatchDiscriminator
from uit_jax.nn.resnet import ResNetGenerator
from uit_jax.settings import LinearDecay, setting
from uit_jax.state import TrainState, named
from uit_jax.types import Array, Batch, Metrics, PyTree


@dataclasses.dataclass(frozen=True)
class DistancePhase(Phase):
    """Whether an iteration measures distances and nothing learns."""

    measures: bool = False


class Measured(NamedTuple):
    """The distances in a domain: their moments; the latest batches, [R, B, S, S, C]; and how many batches came."""

    moments: Moments
    recent: Array
    batches: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistanceGAN(PooledMethod):
    """DistanceGAN's hyper-parameters; the defaults are the published code's at 256 px, for horses and zebras."""

    distance_weight: float = setting(1.0, "of keeping distances (Eq. 4)", low=0)
    cycle_weight: float = setting(0.0, "of the cycles A-B-A and B-A-B; 10 in the paper's runs with both", low=0)
    both_ways: bool = setting(True, "whether B to A is learned too; without cycles the directions share nothing")
    normalize: bool = setting(True, "whether distances are measured in their domain's standard deviations")
    measuring_steps: int = setting(
        900, "first iterations, in which distances are measured and nothing learns", low=0, follows="steps"
    )
    measuring_reach: int = setting(8, "earlier batches that each batch is compared with in them", low=1)
    schedule: LinearDecay = LinearDecay(67_367, 66_033)

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        if self.normalize and self.measuring_steps < 2:
            yield "measuring_steps", "must be 2 at least, or method.normalize false: distances are measured by them"
        if self.cycle_weight and not self.both_ways:
            yield "cycle_weight", "must be 0 where method.both_ways is false: nothing comes back"

    @property
    def routes(self):
        """The translators that are learned, as CycleGAN has them."""
        return ROUTES if self.both_ways else ROUTES[:1]

    @property
    def kept(self) -> tuple[str, ...]:
        return tuple(there for _, _, there, _ in self.routes)

    @property
    def opposites(self) -> tuple[tuple[str, str], ...]:
        return (self.kept,) if self.both_ways else ()

    @property
    def judged(self) -> dict[str, int]:
        return {target: self._channels[target] for _, target, _, _ in self.routes}

    @property
    def _channels(self) -> dict[str, int]:
        return {side.name: side.channels for side in self.sides}

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        published, found = dict(initializer="normal", gain=0.02, norm="affine"), {}
        for source, target, there, _ in self.routes:
            channels = (self._channels[source], self._channels[target])
            found[there] = self.network(ResNetGenerator, channels, border="zero", **published)
            found[f"discriminator_{target}"] = self.network(PatchDiscriminator, channels[1:], **published)
        return found

    def phase(self, step: int) -> Phase:
        measures = self.normalize and step < self.measuring_steps
        name = "measure" if measures else "train"
        return DistancePhase(name, load_size=self.load_size, translates=not measures, measures=measures)

    def memory(self, key: Array, batch_size: int) -> PyTree:
        require(batch_size >= 2, f"batch_size={batch_size} must be 2 at least: distances are between images of a batch")
        found = super().memory(key, batch_size)
        for side, channels in self._channels.items() if self.normalize else ():
            shape = (self.measuring_reach, batch_size, self.image_size, self.image_size, channels)
            found[f"distances_{side}"] = Measured(moments.create(), jnp.zeros(shape), jnp.zeros((), jnp.int32))
        return found

    def rates(self, step: int) -> dict[str, float]:
        # The optimisers stand still while distances are measured.
        return super().rates(max(0, step - self.measuring_steps * self.normalize))

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: DistancePhase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Measure the distances of a batch, or do one iteration: the generators, then the discriminators (Eq. 8).

        `views` is what the method of that name makes. The translations were made before the generators' step.
        """
        if phase.measures:
            return self.measure(state, views, axis_name)
        translate = functools.partial(self.translation_loss, views=views, memory=state.memory, axis_name=axis_name)
        return self.compete(state, translate, views, views, axis_name)

    def translation_loss(self, params, judge, *, views: Batch, memory: PyTree, axis_name: str | None):
        """Pass for real in the other domain, keep distances on the way there, and come back from there if asked to."""
        loss, fakes, found = 0.0, {}, {}
        for source, target, there, back in self.routes:
            fake = self.apply(there, params[there], views[source])
            before = self.distances(views[source], memory.get(f"distances_{source}"), axis_name)
            after = self.distances(fake, memory.get(f"distances_{target}"), axis_name)
            terms = {"adversarial": judge(target, fake), "distance": reconstruction.l1(before, after)}
            loss += terms["adversarial"] + self.distance_weight * terms["distance"]
            if self.cycle_weight:
                terms["cycle"] = reconstruction.l1(self.apply(back, params[back], fake), views[source])
                loss += self.cycle_weight * terms["cycle"]
            fakes[target], found = fake, found | named(there, terms)
        return loss, (fakes, found)

    def distances(self, images: Array, measured: Measured | None, axis_name: str | None) -> Array:
        """Return the distances of a global batch, in standard deviations from their domain's mean if measured."""
        found = self.apart(collectives.gather(images, axis_name))
        if measured is None:
            return found
        deviation = measured.moments.deviation
        # Images that are all the same distance apart have no scale of their own.
        return (found - measured.moments.mean) / jnp.where(deviation > 1e-6, deviation, 1.0)

    def apart(self, images: Array) -> Array:
        """Return the distances of a batch [B, H, W, C]."""
        return distances.between(images)

    # --- the distances of the domains ---

    def measure(self, state: TrainState, views: Batch, axis_name: str | None) -> tuple[TrainState, Metrics]:
        """Add a batch to what is known of the distances in each domain."""
        memory, metrics = dict(state.memory), {}
        for side in self._channels:
            name = f"distances_{side}"
            memory[name] = known = self.met(state.memory[name], collectives.gather(views[side], axis_name))
            metrics |= named(name, {"mean": known.moments.mean, "deviation": known.moments.deviation})
        return state.replace(step=state.step + 1, memory=memory), metrics

    def met(self, measured: Measured, images: Array) -> Measured:
        """Compare a batch [B, S, S, C] with those before it, image by image, each time averaged over the batch."""
        found = jnp.abs(images[None] - measured.recent).mean((1, 2, 3, 4))
        known = moments.add(measured.moments, found, jnp.arange(len(found)) < measured.batches)
        place = measured.batches % self.measuring_reach
        return Measured(known, measured.recent.at[place].set(images), measured.batches + 1)

    # --- what a trained model offers ---

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] [B, H, W, C] from A to B."""
        return self.apply("generator_ab", variables["generator_ab"]["params"], inputs["content"])

    @functools.cached_property
    def stages(self):
        return tuple(stage.of("generator_ab") for stage in self.networks["generator_ab"].module.stages())


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfDistance(DistanceGAN):
    """DistanceGAN between the halves of one image (Section 3.2, Eq. 6)."""

    def apart(self, images: Array) -> Array:
        return distances.within(images)

    def met(self, measured: Measured, images: Array) -> Measured:
        return measured._replace(moments=moments.add(measured.moments, self.apart(images)))
