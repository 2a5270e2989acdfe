"""Computes with our StarGAN v2 what a golden file of the published code records, from equal weights and draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import golden_tunit
from tests.golden_gradients import update_and_all_gradients
from tests.golden_recipe import images, normal, stream, weight
from tests.pieces import blank, piecewise
from uit_jax import methods
from uit_jax.convert import starganv2 as convert
from uit_jax.losses import adversarial
from uit_jax.methods.starganv2 import PENALISED
from uit_jax.nn import fan

NAMES = {"G": "generator", "F": "mapping_network", "E": "style_encoder", "D": "discriminator"}
SOURCES = {"latent": "latent", "ref": "reference"}
JUDGED = {"real": "real", "fake": "fake", "reg": "r1"}
TRANSLATED = {"adv": "adversarial", "sty": "style", "ds": "diversity", "cyc": "cycle"}


class Runner:
    """The networks, losses and steps of one golden file; sizes and widths come from its manifest."""

    check = golden_tunit.Runner.check

    def __init__(self, manifest, arrays):
        self.manifest, self.salt, self.batch = manifest, manifest["salt"], manifest["batch"]
        self.iterations = len(arrays["steps.losses"])

    def drawn(self, network: str, prefix: str = "") -> dict[str, np.ndarray]:
        """Return the state_dict of a network, or, with a name of its own, of another of its shapes."""
        specs = self.manifest["weights"][network].items()
        return {name: weight(self.salt, prefix or network, name, spec) for name, spec in specs if not spec.get("fixed")}

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
        m, state_dicts = self.manifest, {NAMES[network]: self.drawn(network) for network in NAMES}
        read = convert.settings(state_dicts)
        assert read["image_size"] == m["img_size"] and read["domains"] == m["num_domains"]
        adam = dict(learning_rate=m["lr"], b1=m["betas"][0], b2=m["betas"][1], weight_decay=m["weight_decay"])
        return methods.build(
            "starganv2",
            read,
            style_weight=m["lambda_sty"],
            diversity_weight=m["lambda_ds"],
            diversity_steps=m["ds_iter"],
            cycle_weight=m["lambda_cyc"],
            r1=dict(weight=0.5 * m["lambda_reg"]),
            average=m["ema_beta"],
            adam=adam,
            mapping_rate=m["f_lr"],
        )

    @functools.cached_property
    def start(self):
        tensors = {f"{ours}.{name}": value for network, ours in NAMES.items()
                   for name, value in self.drawn(network).items()}  # fmt: skip
        tensors |= {f"{NAMES[network]}_EMA.{name}": value for network in "GFE"
                    for name, value in self.drawn(network, f"{network}_ema").items()}  # fmt: skip
        return convert.import_state(tensors, blank(self.method, self.batch))

    @property
    def params(self):
        return {name: learner.params for name, learner in self.start.learners.items()}

    def views(self, step: str = "") -> dict[str, np.ndarray]:
        n, size, m = self.batch, self.manifest["img_size"], self.manifest
        seen = {"x": "src", "reference": "ref", "reference_2": "refb"}
        labels = {name: m[f"{key}_steps"][int(step)] if step else m[key] for name, key in
                  (("label", "y_src"), ("target", "y_ref"))}  # fmt: skip
        return {
            **{name: images(f"{self.salt}{theirs}{step}", n, size) for name, theirs in seen.items()},
            **{name: normal(f"{self.salt}{theirs}{step}", (n, m["latent_dim"])) for name, theirs in
               (("latent", "z"), ("latent_2", "zb"))},
            **{name: np.array(values, np.int32) for name, values in labels.items()},
        }  # fmt: skip

    def networks(self):
        """Return styles, logits and images; the high-pass generator is one of its own, with masks and without."""
        method, views, m = self.method, self.views(), self.manifest
        masks = [images(f"{self.salt}mask{i}", self.batch, 256)[..., :1] * 0.5 + 0.5 for i in range(2)]
        passing = method.networks["generator"].module.clone(high_pass=m["w_hpf"], bottleneck=8)
        style = jax.ShapeDtypeStruct((1, m["style_dim"]), jnp.float32)
        like = jax.eval_shape(passing.init, jax.random.key(0), method.example(), style)
        filtered = convert.import_network("generator", self.drawn("Ghpf"), like)

        @jax.jit
        def run(params, filtered):
            style, _ = method.styles(params, "latent", views)
            last = f"block_{method.blocks - 1}"
            how = dict(capture_intermediates=lambda part, _: part.name == last, mutable=["intermediates"])
            variables = {"params": params["generator"]}
            out, seen = method.networks["generator"].module.apply(variables, views["x"], style, **how)
            narrowest = seen["intermediates"][last]["__call__"][0]
            return {
                "F.all": method.run(params, "mapping", views["latent"]),
                "E.all": method.run(params, "encoder", views["reference"])["style"],
                "D.all": method.judge(params, views["x"]),
                "G.enc.absmean_c": jnp.abs(narrowest).mean((1, 2)),
                "G.out": out,
                "Ghpf.out": passing.apply(filtered, views["x"], style, masks),
                "Ghpf.nomask": passing.apply(filtered, views["x"], style),
            }

        found = run(self.params, filtered)
        return found | {key: found[key][:, ::stride, ::stride] for key, stride in m["subsample"].items()}

    @functools.cached_property
    def iterate(self):
        """An iteration that tells its gradients; its last argument is 0 for one in which no weight moves."""
        return piecewise(self.method, update_and_all_gradients(self.method, PENALISED))

    def losses(self):
        """Return the terms and gradients of an iteration in which all passes see the drawn weights."""
        method, views, found = self.method, self.views(), {}
        _, metrics, gradients = self.iterate(self.start, views, 0.0)
        columns, terms = self.manifest["steps.losses.columns"], self.terms(metrics, 0)
        for key in SOURCES:
            found |= {
                f"loss.{side}_{key}": [value for column, value in zip(columns, terms, strict=True)
                                       if column.startswith(f"{side}_{key}.")] for side in "dg"
            }  # fmt: skip
        for name, learner in LEARNERS.items():
            for key, gradient in zip(SOURCES, gradients[learner], strict=False):
                found[f"grad.{name}.{key}"] = self.norms(name, gradient)

        def penalty(params):
            judge = functools.partial(method.judge, {"discriminator": params})
            return 0.5 * adversarial.r1(lambda x: adversarial.select(judge(x), views["label"]), views["x"])[0]

        found["loss.r1"], gradient = jax.jit(jax.value_and_grad(penalty))(self.params["discriminator"])
        logits = normal(self.salt + "logits", (8,))
        found["loss.adv"] = [adversarial.logistic(logits, target) for target in (1.0, 0.0)]
        return found | {"grad.D.r1": self.norms("D", gradient)}

    def steps(self):
        """Run the method's own update on views made here."""
        state, losses, found = self.start, [], {}
        start = jax.device_get(state)
        for step in range(self.iterations):
            state, metrics, _ = jax.device_get(self.iterate(state, self.views(str(step)), 1.0))
            losses.append(self.terms(metrics, step))
            if step == 0:
                for network, learner in LEARNERS.items():
                    found[f"step0.delta_l2.{network}"] = self.norms(network, change(start, state, learner))
        order = [LEARNERS[network] for network in self.manifest["steps.params.order"]]
        averaged = [LEARNERS[network] for network in self.manifest["steps.ema.order"]]
        return found | {
            "steps.losses": losses,
            "steps.params.l2": [golden_tunit.length(state.learners[name].params) for name in order],
            "steps.params.delta_l2": [golden_tunit.length(change(start, state, name)) for name in order],
            "steps.ema.l2": [golden_tunit.length(state.learners[name].ema) for name in averaged],
            "steps.ema.delta_l2": [golden_tunit.length(change(start, state, name, "ema")) for name in averaged],
        }

    def terms(self, metrics, step: int) -> list[float]:
        """Return the file's columns of an iteration; totals are of the diversity weight as it has become."""
        found, m = {}, self.manifest
        weights = {"adv": 1, "sty": m["lambda_sty"], "cyc": m["lambda_cyc"]}
        weights["ds"] = -m["lambda_ds"] * (1 - step / m["ds_iter"])
        for key, source in SOURCES.items():
            judged = judged_terms({name: metrics[f"discriminator/{source}_{name}"] for name in JUDGED.values()})
            found |= {f"d_{key}.{name}": value for name, value in zip(JUDGED, judged, strict=True)}
            found[f"d_{key}.total"] = judged[0] + judged[1] + m["lambda_reg"] * judged[2]
            own = {name: metrics[f"generator/{source}_{ours}"] for name, ours in TRANSLATED.items()}
            found |= {f"g_{key}.{name}": value for name, value in own.items()}
            found[f"g_{key}.total"] = sum(weights[name] * value for name, value in own.items())
        return [float(found[column]) for column in m["steps.losses.columns"]]

    def norms(self, network: str, params) -> list[float]:
        """Return the norm of every parameter-shaped array in the file's order of names."""
        exported = convert.export_network(NAMES[network], {"params": params})
        return [np.linalg.norm(exported[name]) for name in self.manifest["names"][network]]


class FanRunner:
    """The landmarks' network and the masks of a golden file."""

    check = golden_tunit.Runner.check

    def __init__(self, manifest, arrays):
        self.manifest = manifest

    @staticmethod
    def group(key: str) -> str:
        return {"FAN": "heat", "P": "masks"}[key.split(".")[0]]

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a group."""
        with jax.default_matmul_precision("highest"):
            found = getattr(self, group)()
        return found | {key: found[key][:, ::k, ::k] for key, k in self.manifest["subsample"].items() if key in found}

    def heat(self):
        m = self.manifest
        weights = {name: weight(m["salt"], "FAN", name, spec) for name, spec in m["weights"]["FAN"].items()}
        weights = {name: weights[name] for name in fan.shapes()}
        heat = jax.jit(functools.partial(fan.heat_maps, weights))(images(m["salt"] + "src", m["batch"], m["img_size"]))
        return {"FAN.heat": heat, "FAN.heat.mean": heat.mean((1, 2)), "FAN.heat.std": heat.std((1, 2))}

    def masks(self):
        m = self.manifest
        centres = stream(m["salt"] + "heat").uniform(4, 60, size=(m["batch"], fan.LANDMARKS, 2))
        rows, columns = (centres[:, None, None, :, axis] for axis in (0, 1))
        y, x = (np.arange(64).reshape(shape) for shape in ((1, 64, 1, 1), (1, 1, 64, 1)))
        heat = m["heat_scale"] * np.exp(-((y - rows) ** 2 + (x - columns) ** 2) / (2 * m["sigma"] ** 2))
        return dict(zip(("P.mask0", "P.mask1"), jax.jit(fan.masks)(heat.astype(np.float32)), strict=True))


LEARNERS = {network: convert.LEARNERS[ours] for network, ours in NAMES.items()}


def judged_terms(terms) -> list:
    """Return the terms of a discriminator's loss in the file's order; its penalty is half of ours."""
    return [terms[ours] * (0.5 if ours == "r1" else 1) for ours in JUDGED.values()]


def change(before, after, learner: str, weights: str = "params"):
    return jax.tree.map(np.subtract, *(getattr(state.learners[learner], weights) for state in (after, before)))
