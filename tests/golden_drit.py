"""Computes with our DRIT what a golden file of the published code records, from equal weights, images and draws."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden_cyclegan, golden_wide
from tests.golden_gradients import update_and_all_gradients
from tests.golden_recipe import images, normal, weight
from tests.pieces import blank, piecewise, program
from uit_jax import optimizers, settings
from uit_jax import state as game
from uit_jax.convert import drit as convert
from uit_jax.methods import drit
from uit_jax.tensors import flatten

# The published code's second gradient is that of activations from before the first step with weights from behind it,
# which no pure function computes; `steps_same` has our order, and `steps_fresh` another one.
STALE = ("step0.gradnorm2.enc_c", "step0.gradnorm2.gen", "step0.delta_l2.total", "steps.delta_l2.total")
NETWORKS = ("enc_c", "enc_a", "gen", "disA", "disContent")


class Piecewise(drit.DRIT):
    """DRIT in programs that equal networks share, whatever settings of the losses they stand under."""

    def apply(self, name, params, *inputs):
        return program(self.modules[name][0])({"params": params[name]}, *inputs)


class Runner:
    """The networks and steps of one golden file; sizes and widths come from its manifest."""

    def __init__(self, manifest, arrays):
        self.manifest, self.salt = manifest, manifest["salt"]
        self.batch, self.size, self.stride = manifest["batch"], manifest["img_size"], manifest["out_stride"]
        self.iterations = len(arrays["steps.losses"])
        self.state_dicts = {
            network: {name: weight(self.salt, network, name, spec) for name, spec in specs.items()}
            for network, specs in manifest["weights"].items()
        }

    @staticmethod
    def group(key: str) -> str | None:
        """Return what is computed together; None for what describes another order of the steps."""
        first = key.split(".")[0]
        if first == "steps_fresh" or key in STALE:
            return None
        if first in NETWORKS:
            return "networks"
        return {"lr_multiplier": "schedule", "steps_no_ms": "steps_no_ms"}.get(first, "steps")

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a group."""
        with jax.default_matmul_precision("highest"):
            return getattr(self, group)()

    check = golden_cyclegan.Runner.check

    def images(self, name: str) -> np.ndarray:
        return images(self.salt + name, self.batch, self.size)

    def normal(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        return normal(self.salt + name, shape)

    @functools.cached_property
    def method(self):
        m = self.manifest
        optimiser = dict(zip(("b1", "b2"), m["betas"], strict=True), weight_decay=m["weight_decay"])
        values = convert.settings(self.state_dicts) | {
            "image_size": self.size,
            "load_size": self.size,
            "mode_seeking_weight": float(m["mode_seeking"]),
            "adam": {"learning_rate": m["lr"], **optimiser},
            "content_rate": m["lr_content_discriminator"],
            "content_clip": m["grad_clip_content"],
        }
        method = settings.build(Piecewise, values, "method")
        sizes = method.width, method.style_dim, method.discriminator.scales, method.styling == "concat"
        assert sizes == (m["dim"], m["nz"], m["dis_scale"], bool(m["concat"]))
        return method

    @functools.cached_property
    def start(self):
        return convert.import_state(flatten(self.state_dicts), blank(self.method, self.batch))

    def networks(self):
        """Return the networks' outputs; the generator draws the other domain's content."""
        given = {"a": self.images("A"), "b": self.images("B")}
        style, noise = self.normal("z", (self.batch, self.manifest["nz"])), self.noise("noise.content_a", self.batch)
        params = {name: learner.params for name, learner in self.start.learners.items()}

        codes, styles = (self.method.apply(name, params, given) for name in ("content_encoder", "style_encoder"))
        drawn = self.method.apply("generator", params, {"a": codes["b"], "b": codes["a"]}, {"a": style, "b": style})
        judged = self.method.apply("discriminator", params, given)["a"]
        (told,) = self.method.apply("content_discriminator", params, codes)["a"]
        found = {f"disA.scale{scale}": logits for scale, logits in enumerate(judged)}
        found |= {"disContent.a": told[:, 0, 0, 0], "enc_c.a": self.thinned(codes["a"])}
        found["enc_c.a.train.absmean_c"] = jnp.abs(codes["a"] + noise).mean((1, 2))
        for side in "ab":
            found[f"enc_c.{side}.absmean_c"] = jnp.abs(codes[side]).mean((1, 2))
            found[f"gen.{side}"] = self.thinned(drawn[side])
            mean, log_variance = styles[side]
            if log_variance is None:
                found[f"enc_a.{side}"] = mean
            else:
                found |= {f"enc_a.mu_{side}": mean, f"enc_a.logvar_{side}": log_variance}
        return found

    def thinned(self, maps):
        return maps[:, :: self.stride, :: self.stride]

    def noise(self, name: str, count: int = 1) -> np.ndarray:
        return self.normal(name, (count, self.size // 4, self.size // 4, 4 * self.manifest["dim"]))

    def schedule(self):
        """The multiplier of some epochs, which the rate has where a step is an epoch: it falls an epoch late."""
        about = self.manifest["lr_schedule"]
        half = about["n_ep_decay"]
        rate = optimizers.linear_decay(1.0, constant_steps=half, decay_steps=about["n_ep"] - half, lead=-1)
        return {"lr_multiplier": [rate(epoch) for epoch in about["epochs_recorded"]]}

    def steps(self):
        """Run the method's own updates on views made here."""
        losses, states, gradients = self.run(self.method, self.manifest["steps.losses.columns"])
        found = {"steps.losses": losses, "steps_same.losses": losses}
        found["steps_same.delta_l2.total"] = self.totals(states[0], states[-1])
        found["steps.params.l2"] = self.totals(jax.tree.map(jnp.zeros_like, states[0]), states[-1])
        for network, name in convert.LEARNERS.items():
            norms = self.norms(network, gradients[name][0])
            if network == "disContent":
                norms = np.array(norms) * min(1, self.method.content_clip / np.linalg.norm(norms))
            found[f"step0.gradnorm.{network}"] = norms
            change = self.norms(network, self.change(states[0], states[1], name))
            found |= {f"{step}.delta_l2.{network}": change for step in ("step0", "step0_same")}
            if len(gradients[name]) > 1:
                found[f"step0_same.gradnorm2.{network}"] = self.norms(network, gradients[name][1])
        if self.method.styling == "featurewise":
            for network, gradient in self.second_gradients().items():
                found[f"step0_same.gradnorm2.{network}"] = self.norms(network, gradient)
        return found

    def second_gradients(self):
        """Return the gradients, by network, of the first iteration's second game, in float64.

        The derivative of mode seeking jumps where two images are equal. In float32 some pixels that are nearly so fall
        on the other side: the norms of the content encoder's gradient are 2e-3 away, without mode seeking 3e-4.
        """
        method = golden_wide.method(self.method)
        update = update_and_all_gradients(method, method.phase(2))

        def second(state, **options):
            return game.play(state, **options) if "at" in options else (state, None, {})

        @jax.jit
        def gradients(state, views):
            found = update(state, views)[2]
            return {network: found[convert.LEARNERS[network]][0] for network in ("enc_c", "gen")}

        # The second game is played at the weights from before the first, which is left out.
        with golden_wide.float64(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(drit, "play", second)
            return gradients(golden_wide.widened(self.start), golden_wide.widened(self.views(0)))

    def steps_no_ms(self):
        """The same without mode seeking."""
        method = dataclasses.replace(self.method, mode_seeking_weight=0.0)
        losses, states, _ = self.run(method, self.manifest["steps_no_ms.losses.columns"])
        return {"steps_no_ms.losses": losses, "steps_no_ms.delta_l2.total": self.totals(states[0], states[-1])}

    def run(self, method, columns):
        """Return the losses, by iteration and column, the states, and the gradients of the first iteration."""
        alone, together = method.phase(0), method.phase(2)
        content = piecewise(method, method.update)
        update = piecewise(method, update_and_all_gradients(method, together))
        losses, states, recorded = [], [self.start], []
        for step in range(self.iterations):
            views = {side: self.images(f"{side.upper()}c{step}") for side in "ab"}
            views |= {f"noise_{side}": self.noise(f"c{step}.content_{side}") for side in "ab"}
            state, told = content(states[-1], views, phase=alone)
            state, metrics, gradients = update(state, self.views(step))
            found = self.columns(method, told, metrics)
            losses.append([found[column] for column in columns])
            states.append(state)
            recorded.append(gradients)
        return np.array(losses, np.float64), states, recorded[0]

    def views(self, step: int) -> dict[str, np.ndarray]:
        """Return what an iteration of all networks reads."""
        views = {side: self.images(f"{side.upper()}{step}") for side in "ab"}
        for name in ("a", "b", "fake_a", "fake_b"):
            views[f"noise_{name}"] = self.noise(f"s{step}.content_{name}")
            views[f"style_{name}"] = self.style(f"s{step}.eps_{name}")
        return views | {"random_0": self.style(f"s{step}.z"), "random_1": self.style(f"s{step}.z2")}

    def style(self, name: str) -> np.ndarray:
        return self.normal(name, (1, self.manifest["nz"]))

    @staticmethod
    def columns(method, told, metrics) -> dict[str, float]:
        """Return an iteration's losses by the file's names."""
        draws = 2 if method.mode_seeking_weight else 1
        found = {
            "content_only": sum(told.values()),
            "disContent": metrics["discriminator/content_a"] + metrics["discriminator/content_b"],
        }
        terms = {"adv_content": "content", "adv": "adversarial", "kl_attr": "prior", "l2_content": "size"}
        terms |= {"recon_cross": "cross", "recon_self": "self", "latent": "latent"}
        for side in "ab":
            for kind, name, count in (("", f"dis{side.upper()}", 1), ("random_", f"dis{side.upper()}2", draws)):
                found[name] = count * sum(metrics[f"{kind}discriminator/{term}_{side}"] for term in ("real", "fake"))
            for column, term in terms.items():
                weight = getattr(method, f"{term}_weight")
                found[f"{column}_{side}"] = weight * metrics[f"generator/{term}_{side}"]
            found[f"adv2_{side}"] = draws * metrics[f"generator/random_{side}"]
            if draws > 1:
                # Named by the way of the translation: into B where images of B differ.
                way = {"a": "ba", "b": "ab"}[side]
                found[f"mode_seeking_{way}"] = metrics[f"generator/mode_seeking_{side}"]
        return found

    @staticmethod
    def change(before, after, learner: str):
        return jax.tree.map(jnp.subtract, after.learners[learner].params, before.learners[learner].params)

    def totals(self, before, after) -> list[float]:
        """Return the norm of each network's change in the file's order."""
        order = self.manifest["totals.columns"]
        changes = {name: self.change(before, after, name) for name in after.learners}
        return [np.linalg.norm(self.norms(network, changes[convert.LEARNERS[network]])) for network in order]

    def norms(self, network: str, params) -> list[float]:
        """Return the norm of every parameter-shaped array in the file's order of names."""
        exported = convert.export_network(network, {"params": convert.own(network, params)})
        return [np.linalg.norm(exported[name]) for name in self.manifest["names"][network]]
