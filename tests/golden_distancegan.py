"""Computes with our DistanceGAN what a golden file of the published code records, from equal weights and images."""

import functools

import jax
import jax.numpy as jnp

from tests import golden_cyclegan, golden_wide
from tests.golden_recipe import images
from uit_jax import optimizers
from uit_jax.convert.pooled import DISTANCEGAN
from uit_jax.losses import reconstruction

SIDES = {"A": "a", "B": "b"}


class Runner(golden_cyclegan.Runner):
    """The networks and steps of one golden file, of DistanceGAN or SelfDistance; the rest comes from its manifest."""

    published = DISTANCEGAN
    columns = golden_cyclegan.COLUMNS | {"distance_A": "generator_ab/distance", "distance_B": "generator_ba/distance"}

    @functools.cached_property
    def method(self):
        m = self.manifest
        assert m["lambda_distance_A"] == m["lambda_distance_B"]
        return self.build(
            "selfdistance" if m["use_self_distance"] else "distancegan",
            distance_weight=m["lambda_distance_A"],
            measuring_steps=max(m["stat_batches"].values()),
            measuring_reach=max(m["stat_batches"].values()),
        )

    @property
    def weights(self):
        return {"distance": self.method.distance_weight, "cycle": self.method.cycle_weight}

    @property
    def phase(self):
        return self.method.phase(self.method.measuring_steps)

    @functools.cached_property
    def start(self):
        """The state behind the iterations that measure, as many for each side as the file has batches of it."""
        state, memory, batches = super().start, {}, self.manifest["stat_batches"]
        measure = jax.jit(functools.partial(self.method.update, phase=self.method.phase(0)))
        for step in range(max(batches.values())):
            # Where one side's batches have ended, what the other's last ones do to it is not kept.
            views = {
                SIDES[side]: images(f"{self.salt}stat{side}{min(step, count - 1)}", self.batch, self.size)
                for side, count in batches.items()
            }
            state, _ = measure(state, views)
            for side, count in batches.items():
                if step == count - 1:
                    memory[f"distances_{SIDES[side]}"] = state.memory[f"distances_{SIDES[side]}"]
        return state.replace(memory={**state.memory, **memory})

    def networks(self):
        """Return the networks' outputs and, of G_A, what its layers give; theirs have no layer that pads."""
        a, b = self.images("A"), self.images("B")
        found = {"D_A.out": self.out("D_A", b), "D_B.out": self.out("D_B", a)}
        blocks, module = self.manifest["n_blocks"], self.method.networks["generator_ab"].module
        taps = (0, 3, 8, 9, 8 + blocks, 9 + blocks, 11 + blocks, 14 + blocks)
        variables = self.start.learners["generator_ab"].variables
        drawn, features = jax.jit(functools.partial(module.apply, taps=tuple(tap + 1 for tap in taps)))(variables, a)
        found |= {f"G_A.feat{tap}.absmean_c": jnp.abs(features[tap + 1]).mean((1, 2)) for tap in taps}
        found["G_A.out"] = drawn[:, :: self.stride, :: self.stride]
        found["G_B.out"] = self.out("G_B", b)[:, :: self.stride, :: self.stride]
        return found

    def losses(self):
        """Return the measured distances; and the loss of four images a side, in both directions, with its gradients."""
        known = {side: self.start.memory[f"distances_{side}"] for side in "ab"}
        stats = [value for side in "ab" for value in (known[side].moments.mean, known[side].moments.deviation)]
        names = ("real_A", "fake_B", "real_B", "fake_A")
        real_a, fake_b, real_b, fake_a = (images(f"{self.salt}pair.{name}", 4, self.size) for name in names)

        def losses(fake_b, fake_a, known):
            def loss(real, fake, source, target):
                before = self.method.distances(real, known.get(source), None)
                return reconstruction.l1(before, self.method.distances(fake, known.get(target), None))

            return jnp.stack([loss(real_a, fake_b, "a", "b"), loss(real_b, fake_a, "b", "a")])

        found = {"stats": stats}
        for name, stats in (("distance", known), ("distance_unnormalized", {})):
            gradients = jax.grad(lambda *fakes, s=stats: losses(*fakes, s).sum(), (0, 1))(fake_b, fake_a)
            found[f"loss.{name}"] = losses(fake_b, fake_a, stats)
            found[f"loss.{name}.gradnorm"] = [jnp.linalg.norm(each.ravel()) for each in gradients]
        return found

    def schedule(self):
        """The rate is constant through epoch 101 and an epoch's hundredth of it lower from each to the next."""
        rate = optimizers.linear_decay(1.0, constant_steps=101, decay_steps=99)
        about = self.manifest["lr_schedule"]
        return self.multipliers(rate, about["niter"] + about["niter_decay"])

    def steps(self, prefix: str = "steps", **settings):
        """Run the method's own update in float64.

        The derivative of a pair's distance jumps where two pixels are equal: in float32 one or two that are nearly so
        fall on the other side, each of which turns the gradient by 1e-4 of its length.
        """
        runner = golden_cyclegan.Runner.__new__(type(self))
        runner.__dict__.update(self.__dict__, method=golden_wide.method(self.method, **settings))
        with golden_wide.float64():
            runner.start = self.start.replace(memory=golden_wide.widened(self.start.memory))
            return golden_cyclegan.Runner.steps(runner, prefix)

    def steps_cycle(self):
        """Run the update with the cycles' terms on."""
        assert self.manifest["lambda_A"] == self.manifest["lambda_B"]
        return self.steps("steps_cycle", cycle_weight=self.manifest["lambda_A"])
