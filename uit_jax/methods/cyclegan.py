"""CycleGAN: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu et al., ICCV 2017).

Two translators, A to B and B to A, each the other's inverse (arXiv:1703.10593). `update` is the paper's iteration.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax.numpy as jnp

from uit_jax.losses import reconstruction
from uit_jax.method import Network, Phase
from uit_jax.methods.pooled import ROUTES, PooledMethod
from uit_jax.nn.patchgan import PatchDiscriminator
from uit_jax.nn.resnet import ResNetGenerator
from uit_jax.settings import setting
from uit_jax.state import TrainState, named
from uit_jax.types import Array, Batch, Metrics, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class CycleGAN(PooledMethod):
    """CycleGAN's hyper-parameters; the defaults are the published code's at 256 px, for horses and zebras."""

    cycle_weight: float = setting(10.0, "of the cycles A-B-A and B-A-B (Eq. 2)", low=0)
    identity_weight: float = setting(5.0, "of keeping what is in the wanted domain already (Section 5.2)", low=0)

    kept = ("generator_ab", "generator_ba")
    opposites = (kept,)

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        if self.identity_weight and self.out_channels != self.channels:
            yield "identity_weight", "must be 0 where data.target_channels differ: an image of B cannot be taken for A"

    @property
    def judged(self) -> dict[str, int]:
        return {side.name: side.channels for side in self.sides}

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        published = dict(initializer="normal", gain=0.02)
        channels, found = self.judged, {}
        for source, target, there, _ in ROUTES:
            found[there] = self.network(ResNetGenerator, (channels[source], channels[target]), **published)
            found[f"discriminator_{target}"] = self.network(PatchDiscriminator, (channels[target],), **published)
        return found

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: Phase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: both generators; then both discriminators, on translations out of the pools (Eq. 3).

        `views` is what the method of that name makes. The translations were made before the generators' step.
        """
        translate = functools.partial(self.translation_loss, views=views)
        return self.compete(state, translate, {side: views[side] for side in "ab"}, views, axis_name)

    def translation_loss(self, params, judge, *, views: Batch):
        """Pass for real in the other domain, come back from there, and keep what is in it already."""
        loss, fakes, found = 0.0, {}, {}
        for source, target, there, back in ROUTES:
            x, y = views[source], views[target]
            images = jnp.concatenate([x, y]) if self.identity_weight else x
            fake, same = jnp.split(self.apply(there, params[there], images), [len(x)])
            cycle = reconstruction.l1(self.apply(back, params[back], fake), x)
            terms = {"adversarial": judge(target, fake), "cycle": cycle}
            loss += terms["adversarial"] + self.cycle_weight * cycle
            if self.identity_weight:
                terms["identity"] = reconstruction.l1(same, y)
                loss += self.identity_weight * terms["identity"]
            fakes[target], found = fake, found | named(there, terms)
        return loss, (fakes, found)

    # --- what a trained model offers ---

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] [B, H, W, C] from A to B."""
        return self.apply("generator_ab", variables["generator_ab"]["params"], inputs["content"])

    @functools.cached_property
    def stages(self):
        return tuple(stage.of("generator_ab") for stage in self.networks["generator_ab"].module.stages())
