"""Computes with our MUNIT what a golden file of the published code records, from equal weights, images and styles."""

import dataclasses
import functools
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from tests import golden_tunit
from tests.golden_gradients import update_and_gradients
from tests.golden_recipe import images, normal, weight
from tests.pieces import blank, piecewise
from uit_jax import methods, optimizers
from uit_jax.convert import munit as convert
from uit_jax.nn import norms, vgg
from uit_jax.tensors import flatten, write

# Of the published terms about domain A's images; B's are the others'.
COLUMNS = {
    "gen_adv": ("generator_a", "adversarial"),
    "recon_x": ("generator_a", "image"),
    "recon_s": ("generator_a", "style"),
    "recon_c": ("generator_b", "content"),
    "cycrecon_x": ("generator_b", "cycle"),
}
WEIGHTS = {"adversarial": "gan", "image": "recon_x", "style": "recon_s", "content": "recon_c", "cycle": "recon_x_cyc"}
OTHER = {"a": "b", "b": "a"}


class Runner:
    """The networks, losses and steps of one golden file; sizes and widths come from its manifest."""

    def __init__(self, manifest, arrays):
        self.manifest, self.salt, self.batch = manifest, manifest["salt"], manifest["batch"]
        self.iterations = len(arrays["steps.losses"])
        self.state_dicts = {
            network: {name: self.drawn(network, name, spec) for name, spec in specs.items()}
            for network, specs in manifest["weights"].items()
        }

    def drawn(self, network: str, name: str, spec: dict) -> np.ndarray:
        # Dummies of adaptive norms are not drawn.
        dummy = np.full(spec["shape"], float(name.endswith("running_var")), np.float32)
        return dummy if spec.get("fixed") else weight(self.salt, network, name, spec)

    @staticmethod
    def group(key: str) -> str:
        """Return what is computed together: the networks, the losses, VGG's features, or the training steps."""
        first = key.split(".")[0]
        if "vgg" in key:
            return "vgg"
        return {"loss": "losses", "layernorm": "losses", "steps": "steps", "step0": "steps"}.get(first, "networks")

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a group."""
        with jax.default_matmul_precision("highest"):
            return getattr(self, group)()

    def check(self, key: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Assert the error to be within the file's rule, of losses column by column too."""
        golden_tunit.Runner.check(self, key, ours, theirs)
        if key == "steps.losses":
            np.testing.assert_allclose(ours, theirs, rtol=1e-3)

    def images(self, name: str) -> np.ndarray:
        return images(self.salt + name, self.batch, self.manifest["img_size"])

    def styles(self, name: str) -> np.ndarray:
        return normal(self.salt + name, (self.batch, self.manifest["style_dim"]))

    @functools.cached_property
    def method(self):
        m = self.manifest
        weights = {f"{ours}_weight": float(m["loss_weights"][theirs]) for ours, theirs in WEIGHTS.items()}
        return methods.build(
            "munit",
            image_size=m["img_size"],
            load_size=m["img_size"],
            style_dim=m["style_dim"],
            generator=dict(width=m["gen_dim"], downs=m["n_downsample"], blocks=m["n_res"], mlp_width=m["mlp_dim"]),
            discriminator=dict(width=m["dis_dim"], layers=m["n_layer"], scales=m["num_scales"]),
            gan_loss={"lsgan": "lsgan", "nsgan": "nonsaturating"}[m["gan_type"]],
            adam=dict(learning_rate=m["lr"], b1=m["betas"][0], b2=m["betas"][1], weight_decay=m["weight_decay"]),
            schedule=dict(every=0),
            **weights,
        )

    @functools.cached_property
    def start(self):
        found = {network: names for network, names in self.state_dicts.items() if network != "vgg"}
        read = convert.settings(convert.networks(flatten(found)))
        for name, value in read.items():
            ours = getattr(self.method, name)
            assert (vars(ours) if isinstance(value, dict) else ours) == value, f"{name} contradicts the weights' shapes"
        return convert.import_state(flatten(found), blank(self.method, self.batch))

    @property
    def params(self):
        return {name: learner.params for name, learner in self.start.learners.items()}

    def networks(self):
        """Return codes, images and logits; a style's adaptive parameters are what the perceptron makes of it."""
        method, x = self.method, {"a": self.images("A"), "b": self.images("B")}
        styles = {side: self.styles(f"s_{side}") for side in "ab"}

        @jax.jit
        def run(params):
            codes = {side: method.encode(params, side, x[side]) for side in "ab"}
            found = {f"gen_{side}.content.absmean_c": jnp.abs(codes[side][0]).mean((1, 2)) for side in "ab"}
            found |= {f"gen_{side}.style": codes[side][1] for side in "ab"}
            found["gen_a.recon"] = method.decode(params, "a", *codes["a"])
            for side, other in OTHER.items():
                found[f"x_{other}{side}"] = method.decode(params, side, codes[other][0], styles[side])
                logits = method.run(params, f"discriminator_{side}", x[side])
                found |= {f"dis_{side}.out{scale}": each for scale, each in enumerate(logits)}
            return found

        found = run(self.params)
        hidden = styles["a"]
        for index in range(3):
            kernel, bias = (np.asarray(self.params["generator_a"][f"mlp_{index}"][name]) for name in ("kernel", "bias"))
            hidden = hidden @ kernel + bias
            hidden = np.maximum(hidden, 0) if index < 2 else hidden
        found["gen_a.adain"] = hidden
        strides = {key: stride for key, stride in self.manifest["strides"].items() if found[key].ndim == 4}
        return found | {key: found[key][:, ::stride, ::stride] for key, stride in strides.items()}

    def losses(self):
        a, b = self.images("A"), self.images("B")

        @jax.jit
        def judge(params):
            found = {}
            for name, objective in {"lsgan": "lsgan", "nsgan": "nonsaturating"}.items():
                method = dataclasses.replace(self.method, gan_loss=objective)
                found[f"loss.{name}.dis"] = method.realism(params, "a", b, 0.0) + method.realism(params, "a", a, 1.0)
                found[f"loss.{name}.gen"] = method.realism(params, "a", b, 1.0)
            return found

        found = judge(self.params)
        params = {"gamma": jnp.array([0.5, 1, -1, 2]), "beta": jnp.array([0, 0.1, 0.2, 0.3])}
        found["layernorm"] = norms.LayerNorm().apply({"params": params}, 0.01 * normal(self.salt + "ln", (2, 3, 5, 4)))
        example = self.manifest["lr_example"]
        rate = optimizers.step_decay(example["lr"], every=example["step_size"], factor=example["gamma"])
        rates = example["lr_used_by_iteration"]
        np.testing.assert_allclose([rate(step) for step in range(len(rates))], rates)
        return found

    def vgg(self):
        with tempfile.TemporaryDirectory() as folder:
            write(f"{folder}/vgg.npz", self.state_dicts["vgg"])
            weights = vgg.load(f"{folder}/vgg.npz")
        a, b = self.images("A"), self.images("B")
        see = jax.jit(lambda w, a, b: (jnp.abs(vgg.features(w, a)).mean((1, 2)), vgg.distance(w, a, b)))
        return dict(zip(("vgg.feat.absmean_c", "loss.vgg"), see(weights, a, b), strict=True))

    def steps(self):
        """Run the method's own update on views made here."""
        state = start = jax.device_get(self.start)
        losses, found = [], {}
        update = piecewise(self.method, update_and_gradients(self.method, self.method.phase(0)))
        for step in range(self.iterations):
            views = {side: self.images(f"{side.upper()}{step}") for side in "ab"}
            views |= {f"shown_{side}": self.styles(f"d.s_{side}{step}") for side in "ab"}
            views |= {f"style_{side}": self.styles(f"g.s_{side}{step}") for side in "ab"}
            before = state
            state, metrics, gradients = jax.device_get(update(state, views))
            losses.append(self.terms(metrics))
            if step == 0:
                for network, learner in convert.LEARNERS.items():
                    found[f"step0.gradnorm.{network}"] = self.norms(network, gradients[learner])
                    found[f"step0.delta_l2.{network}"] = self.norms(network, self.change(before, state, learner))
        for network, learner in convert.LEARNERS.items():
            found[f"steps.delta_l2.{network}"] = self.norms(network, self.change(start, state, learner))
        ends = [state.learners[convert.LEARNERS[name]].params for name in self.manifest["steps.params.l2.columns"]]
        squares = [sum(np.square(leaf, dtype=np.float64).sum() for leaf in jax.tree.leaves(end)) for end in ends]
        return found | {"steps.losses": np.array(losses, np.float64), "steps.params.l2": np.sqrt(squares)}

    def terms(self, metrics) -> list[float]:
        """Return the file's columns of an iteration."""
        found = {f"dis_{s}": metrics[f"discriminator_{s}/real"] + metrics[f"discriminator_{s}/fake"] for s in "ab"}
        weights = self.manifest["loss_weights"]
        found["dis_total"] = weights["gan"] * (found["dis_a"] + found["dis_b"])
        found["gen_total"] = 0.0
        for column, (learner, term) in COLUMNS.items():
            for side in "ab":
                name = learner if side == "a" else f"generator_{OTHER[learner[-1]]}"
                found[f"{column}_{side}"] = metrics[f"{name}/{term}"]
                found["gen_total"] += weights[WEIGHTS[term]] * metrics[f"{name}/{term}"]
        return [float(found[column]) for column in self.manifest["steps.losses.columns"]]

    @staticmethod
    def change(before, after, learner: str):
        return jax.tree.map(np.subtract, after.learners[learner].params, before.learners[learner].params)

    def norms(self, network: str, params) -> list[float]:
        """Return the norm of every parameter-shaped array in the file's order of names."""
        exported = convert.export_network(network, {"params": params})
        return [np.linalg.norm(exported[name]) for name in self.manifest["names"][network]]
