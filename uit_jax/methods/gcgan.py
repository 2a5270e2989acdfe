"""GcGAN: Geometry-Consistent Generative Adversarial Networks for One-Sided Unsupervised Domain Mapping
(Fu et al., CVPR 2019).

What keeps the content is a turn of the image, by a quarter or upside down: turning and translating should come to the
same in either order (arXiv:1809.05852). `update` is the paper's iteration.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from uit_jax.losses import reconstruction
from uit_jax.method import Network, Phase
from uit_jax.methods.pairs import PairMethod
from uit_jax.methods.pooled import PooledMethod
from uit_jax.nn.patchgan import PatchDiscriminator
from uit_jax.nn.resnet import ResNetGenerator
from uit_jax.settings import changed, setting
from uit_jax.state import TrainState, named
from uit_jax.types import Array, Batch, Metrics, PyTree

TURNS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "rotation": (lambda x: jnp.rot90(x, -1, (1, 2)), lambda x: jnp.rot90(x, 1, (1, 2))),
    "flip": (lambda x: x[:, ::-1], lambda x: x[:, ::-1]),
}
"""Turns of square images [B, S, S, C] and their inverses: by 90 degrees clockwise, and upside down."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GcGAN(PooledMethod):
    """GcGAN's hyper-parameters; the defaults are the published code's at 256 px, the generator shared."""

    load_size: int = changed(PairMethod, "load_size", 288)
    turn: str = setting("rotation", "of the image: by 90 degrees clockwise, or upside down", choices=tuple(TURNS))
    shared: bool = setting(True, "whether one generator translates both frames, or the turned one has its own")
    consistency_weight: float = setting(20.0, "of turning and translating in either order (Eq. 4)", low=0)
    identity_weight: float = setting(5.0, "of keeping what is in the wanted domain already", low=0)

    kept = ("generator",)

    def rules(self):
        """Yield what of the settings does not go together."""
        yield from super().rules()
        if self.identity_weight and self.out_channels != self.channels:
            yield "identity_weight", "must be 0 where data.target_channels differ: an image of B cannot be taken for A"

    @property
    def judged(self) -> dict[str, int]:
        return {"b": self.out_channels, "turned": self.out_channels}

    @property
    def frames(self) -> dict[str, str]:
        """The generator of each frame, by the name behind its discriminator's."""
        return {"b": "generator", "turned": "generator" if self.shared else "generator_turned"}

    @functools.cached_property
    def networks(self) -> dict[str, Network]:
        generator = self.network(ResNetGenerator, (self.channels, self.out_channels))
        found = dict.fromkeys(self.frames.values(), generator)
        judge = self.network(PatchDiscriminator, (self.out_channels,))
        return found | {f"discriminator_{name}": judge for name in self.judged}

    # --- the iteration ---

    def update(
        self, state: TrainState, views: Batch, *, phase: Phase, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        """Do one iteration: the generator, or both; then the discriminators of both frames (Eq. 5).

        `views` is what the method of that name makes. The translations were made before the generators' step.
        """
        turn, _ = TURNS[self.turn]
        inputs = {"b": views["a"], "turned": turn(views["a"])}
        wanted = {"b": views["b"], "turned": turn(views["b"])}
        translate = functools.partial(self.translation_loss, inputs=inputs, wanted=wanted)
        return self.compete(state, translate, wanted, views, axis_name)

    def translation_loss(self, params, judge, *, inputs: Mapping[str, Array], wanted: Mapping[str, Array]):
        """Pass for real in both frames, agree across them, and keep what is in the wanted domain already."""
        fakes, terms = {}, {}
        for frame, name in self.frames.items():
            images = jnp.concatenate([inputs[frame], wanted[frame]]) if self.identity_weight else inputs[frame]
            fakes[frame], same = jnp.split(self.apply(name, params[name], images), [len(inputs[frame])])
            terms[f"adversarial_{frame}"] = judge(frame, fakes[frame])
            if self.identity_weight:
                terms[f"identity_{frame}"] = reconstruction.l1(same, wanted[frame])
        terms["consistency"] = consistency(fakes["b"], fakes["turned"], self.turn)
        weights = {"adversarial": 1.0, "identity": self.identity_weight, "consistency": self.consistency_weight}
        loss = sum(weights[term.partition("_")[0]] * value for term, value in terms.items())
        return loss, (fakes, named("generator", terms))

    # --- what a trained model offers ---

    def translate(self, variables: PyTree, inputs: Mapping[str, Array]) -> Array:
        """Translate inputs["content"] [B, H, W, C] from A to B."""
        return self.apply("generator", variables["generator"]["params"], inputs["content"])

    @functools.cached_property
    def stages(self):
        return tuple(stage.of("generator") for stage in self.networks["generator"].module.stages())


def consistency(plain: Array, turned: Array, turn: str) -> Array:
    """Return how far translations [B, S, S, C] of an image and of the turned one disagree (arXiv:1809.05852, Eq. 3).

    Both frames are drawn to the other's as it is: mean |y - f^-1(y')| + mean |y' - f(y)|, each target detached.
    """
    there, back = TURNS[turn]
    kept = jax.lax.stop_gradient
    return reconstruction.l1(plain, kept(back(turned))) + reconstruction.l1(turned, kept(there(plain)))
