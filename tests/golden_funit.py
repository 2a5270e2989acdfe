"""Computes with our FUNIT what a golden file of the published code records, from equal weights, images and labels."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import golden_tunit
from tests.golden_gradients import update_and_all_gradients
from tests.golden_recipe import images, weight
from tests.pieces import blank, piecewise
from uit_jax import methods
from uit_jax.convert import funit as convert
from uit_jax.losses import adversarial
from uit_jax.tensors import flatten

# The file's names of the networks, and the published code's.
NETWORKS = {"G": "gen", "D": "dis"}
TERMS = {
    "real": "discriminator/real",
    "fake": "discriminator/fake",
    "reg": "discriminator/r1",
    "adv": "generator/adversarial",
    "x_rec": "generator/reconstruction",
    "c_rec": "generator/own_features",
    "m_rec": "generator/class_features",
}


class Runner:
    """The networks, losses and steps of one golden file; sizes and widths come from its manifest."""

    name, published, terms = "funit", convert.FUNIT, TERMS

    def __init__(self, manifest, arrays):
        self.manifest, self.salt, self.iterations = manifest, manifest["salt"], len(arrays["steps.losses"])
        drawn = {"gen": ("G", "G"), "dis": ("D", "D"), convert.AVERAGE: ("G_ema", "G")}
        self.state_dicts = {
            network: {name: weight(self.salt, own, name, spec) for name, spec in manifest["weights"][of].items()}
            for network, (own, of) in drawn.items()
        }

    check = golden_tunit.Runner.check

    @staticmethod
    def group(key: str) -> str:
        """Return what is computed together: the networks, the losses with their gradients, or the training steps."""
        first = key.split(".")[0]
        return {"loss": "losses", "grad": "losses", "steps": "steps", "step0": "steps"}.get(first, "networks")

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a group."""
        with jax.default_matmul_precision("highest"):
            return getattr(self, group)()

    @functools.cached_property
    def method(self):
        m = self.manifest
        stated = dict(domains=m["num_classes"], style_dim=m["gen"]["latent_dim"])
        read = self.published.settings(self.state_dicts)
        assert stated.items() <= read.items(), "the manifest contradicts the weights' shapes"
        return methods.build(
            self.name,
            read,
            image_size=m["img_size"],
            load_size=m["img_size"],
            adversarial_weight=float(m["gan_w"]),
            reconstruction_weight=float(m["r_w"]),
            feature_weight=float(m["fm_w"]),
            r1_weight=float(m["reg_w"]),
            average=m["ema_beta"],
            rmsprop=dict(learning_rate=m["lr"]["G"], decay=m["rmsprop_alpha"], weight_decay=m["weight_decay"]),
            discriminator_rate=m["lr"]["D"],
            **self.more(),
        )

    def more(self) -> dict:
        """Return settings besides FUNIT's."""
        return {}

    @functools.cached_property
    def start(self):
        blank_state = blank(self.method, self.manifest["batch"])
        return self.published.import_state(flatten(self.state_dicts), blank_state)

    @property
    def params(self):
        return {name: learner.params for name, learner in self.start.learners.items()}

    def images(self, name: str, count: int = 0) -> np.ndarray:
        return images(self.salt + name, count or self.manifest["batch"], self.manifest["img_size"])

    def views(self, step: int | None = None) -> dict:
        """Return the contents and references of an iteration, or of the single keys."""
        place, of = ("", "") if step is None else (step, "_steps")
        labels = [np.array(self.manifest[f"{name}{of}"], np.int32) for name in ("la", "lb")]
        label, reference_label = labels if step is None else (each[step] for each in labels)
        views = {"x": self.images(f"A{place}"), "reference": self.images(f"B{place}")}
        return {**views, "label": label, "reference_label": reference_label}

    def networks(self):
        method, views, few = self.method, self.views(), self.images("K", self.manifest["k_shot"])
        plain = dataclasses.replace(method, discriminator=dataclasses.replace(method.discriminator, in_place=False))

        @jax.jit
        def run(params, variables):
            generator, judge, a = params["generator"], params["discriminator"], views["x"]
            content = method.generate(generator, a, part="read_content")
            codes = jnp.stack(
                [method.generate(generator, views[name], part="read_style") for name in ("x", "reference")]
            )
            logits, features = method.networks["discriminator"].module.apply({"params": judge}, a)
            plain_logits, plain_features = plain.discriminate(judge, a, views["label"])
            code = method.readouts["style"](variables, few).mean(0, keepdims=True)
            return {
                "G.content.absmean_c": jnp.abs(content).mean((1, 2)),
                "G.code": codes,
                "G.trans": method.generate(generator, content, codes[1], part="decode"),
                "G.rec": method.generate(generator, content, codes[0], part="decode"),
                "D.logit": adversarial.select(logits, views["label"]),
                "D.feat.mean": features,
                "D.all.mean": logits.mean((1, 2)),
                "D.plain.logit": plain_logits,
                "D.plain.feat.mean": plain_features,
                "Gema.kshot.code": code,
                "Gema.kshot.out": method.translate(variables, {"content": a[:1], "style": code}),
            }

        found = run(self.params, method.variables(self.start))
        hidden, layers = np.asarray(found["G.code"][1]), method.generator.mlp_layers
        for index in range(layers):
            kernel, bias = (np.asarray(self.params["generator"][f"mlp_{index}"][name]) for name in ("kernel", "bias"))
            hidden = hidden @ kernel + bias
            hidden = np.maximum(hidden, 0) if index < layers - 1 else hidden
        assert hidden.shape[-1] == self.manifest["num_adain"]
        strides = self.manifest["subsample"]
        found["G.adain"] = hidden[:, :: strides["G.adain"]]
        return found | {key: found[key][:, ::k, ::k] for key, k in strides.items() if key != "G.adain"}

    @functools.cached_property
    def iterate(self):
        """An iteration that tells its gradients; its last argument is 0 for one in which no weight moves."""
        return piecewise(self.method, update_and_all_gradients(self.method, self.method.phase(0)))

    def losses(self):
        """Return both losses and their gradients before any step."""
        views, found = self.views(), {}
        _, metrics, gradients = jax.device_get(self.iterate(self.start, views, 0.0))
        for side, totals in self.totals(metrics).items():
            terms = {name: metrics[own] for name, own in self.terms.items()} | totals
            found[f"loss.{side}"] = [terms[name] for name in self.manifest[f"loss.{side}.columns"]]
        for network, name in (("D", "discriminator"), ("G", "generator")):
            found[f"grad.{network}"] = self.norms(network, {name: gradients[name][0]})
        if "grad.D.r1" in self.manifest["float32_noise"]:
            found |= self.penalty(views)
        return found | {"loss.g.total": found["loss.g"][-1]}

    def penalty(self, views):
        """Return the gradient penalty and its own gradient."""

        def of(params):
            def judge(x):
                return self.method.discriminate(params, x, views["reference_label"])[0]

            return adversarial.r1(judge, views["reference"])[0] / self.manifest["batch"] ** 2

        penalty, gradient = jax.jit(jax.value_and_grad(of))(self.params["discriminator"])
        return {"loss.r1": penalty, "grad.D.r1": self.norms("D", {"discriminator": gradient})}

    def steps(self):
        """Run the method's own update on views made here."""
        state, losses, found = jax.device_get(self.start), [], {}
        start = state
        for step in range(self.iterations):
            before = state
            state, metrics, _ = jax.device_get(self.iterate(state, self.views(step), 1.0))
            losses.append(self.columns(metrics))
            if step == 0:
                for network in NETWORKS:
                    found[f"step0.delta_l2.{network}"] = self.norms(network, change(before, state))
        names = [convert.LEARNERS[NETWORKS[network]] for network in self.manifest["steps.params.order"]]
        average = state.learners["generator"].ema
        moved = jax.tree.map(np.subtract, average, start.learners["generator"].ema)
        return found | {
            "steps.losses": losses,
            "steps.params.l2": [golden_tunit.length(state.learners[name].params) for name in names],
            "steps.params.delta_l2": [golden_tunit.length(change(start, state)[name]) for name in names],
            "steps.ema.l2": [golden_tunit.length(average), golden_tunit.length(moved)],
        }

    def columns(self, metrics) -> list[float]:
        """Return the file's columns of an iteration."""
        found = {name: metrics[own] for name, own in self.terms.items()}
        totals = self.totals(metrics)
        told = {f"{side}.{name}": value for side in totals for name, value in {**found, **totals[side]}.items()}
        return [float(told[name]) for name in self.manifest["steps.losses.columns"]]

    def totals(self, metrics) -> dict[str, dict[str, float]]:
        """Return the sums that the published code tells of either side."""
        m, found = self.manifest, {name: metrics[own] for name, own in self.terms.items()}
        features = m["fm_w"] * (found["c_rec"] + found["m_rec"])
        return {
            "d": {"total": m["gan_w"] * (found["real"] + found["fake"]) + m["reg_w"] * found["reg"]},
            "g": {"total": m["gan_w"] * found["adv"] + m["r_w"] * found["x_rec"] + features},
        }

    def norms(self, network: str, params) -> list[float]:
        """Return the norm of every parameter-shaped array in the file's order of names."""
        published = NETWORKS[network]
        exported = self.published.export_network(published, {"params": params[convert.LEARNERS[published]]})
        return [np.linalg.norm(exported[name]) for name in self.manifest["names"][network]]


def change(before, after) -> dict:
    """Return by how much all weights differ, by the networks' names."""
    return {
        name: jax.tree.map(np.subtract, learner.params, before.learners[name].params)
        for name, learner in after.learners.items()
    }
