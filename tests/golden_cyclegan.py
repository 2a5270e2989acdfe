"""Computes with our CycleGAN what a golden file of the published code records, from equal weights and images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests import golden_tunit
from tests.golden_recipe import images, normal, weight
from tests.pieces import blank, piecewise
from uit_jax import methods, optimizers
from uit_jax.convert.pooled import CYCLEGAN
from uit_jax.losses import adversarial
from uit_jax.memory import image_pool
from uit_jax.tensors import flatten

COLUMNS = {
    "G_A": "generator_ab/adversarial",
    "G_B": "generator_ba/adversarial",
    "cycle_A": "generator_ab/cycle",
    "cycle_B": "generator_ba/cycle",
    "idt_A": "generator_ab/identity",
    "idt_B": "generator_ba/identity",
    "D_A_real": "discriminator_b/real",
    "D_A_fake": "discriminator_b/fake",
    "D_B_real": "discriminator_a/real",
    "D_B_fake": "discriminator_a/fake",
}


class Runner:
    """The networks and steps of one golden file; sizes and widths come from its manifest."""

    published = CYCLEGAN
    columns = COLUMNS

    def __init__(self, manifest, arrays):
        self.manifest, self.salt = manifest, manifest["salt"]
        self.batch, self.size, self.stride = manifest["batch"], manifest["img_size"], manifest["out_stride"]
        self.iterations = len(arrays["steps.losses"])
        self.state_dicts = {
            network: {name: weight(self.salt, network, name, spec) for name, spec in specs.items()}
            for network, specs in manifest["weights"].items()
        }

    @staticmethod
    def group(key: str) -> str:
        """Return what is computed together: the networks, the losses, the schedule, or the training steps."""
        first = key.split(".")[0]
        if first.startswith(("G_", "D_", "real_")):
            return "networks"
        groups = {"loss": "losses", "stats": "losses", "lr_multiplier": "schedule", "step0": "steps"}
        return groups.get(first, first)

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a group."""
        with jax.default_matmul_precision("highest"):
            return getattr(self, group)()

    def check(self, key: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Assert the error to be within the file's rule, of losses column by column too."""
        golden_tunit.Runner.check(self, key, ours, theirs)
        for column, noise in enumerate(self.manifest["float32_noise_by_column"].get(key, ())):
            mine, wanted = ours[:, column], np.asarray(theirs[:, column], np.float64)
            error = np.linalg.norm(mine - wanted) / np.linalg.norm(wanted)
            assert error <= max(1e-3, 10 * noise), f"column {column}: {error:.2e}"

    def images(self, name: str) -> np.ndarray:
        return images(self.salt + name, self.batch, self.size)

    @functools.cached_property
    def method(self):
        m = self.manifest
        assert m["lambda_A"] == m["lambda_B"]
        identity = m["lambda_A"] * m["lambda_identity"]
        return self.build("cyclegan", cycle_weight=m["lambda_A"], identity_weight=identity)

    def build(self, name: str, **settings):
        """Build a method of the manifest's sizes, networks and optimiser."""
        m = self.manifest
        return methods.build(
            name,
            image_size=self.size,
            load_size=self.size,
            generator={"width": m["ngf"], "blocks": m["n_blocks"]},
            discriminator={"width": m["ndf"]},
            gan_loss=m["gan_mode"],
            pool_size=m["pool_size"],
            adam={"learning_rate": m["lr"], "b1": m["betas"][0], "b2": m["betas"][1]},
            **settings,
        )

    @functools.cached_property
    def start(self):
        return self.published.import_state(flatten(self.state_dicts), blank(self.method, self.batch))

    def networks(self):
        """Return the networks' outputs and, of G_A, what its layers give, under the published modules' numbers."""
        a, b = self.images("A"), self.images("B")
        networks, learners = self.method.networks, self.start.learners
        blocks = self.manifest["n_blocks"]
        module = networks["generator_ab"].module
        # Their modules are our taps up to the last block; each up-convolution is three modules behind it.
        taps = (1, 4, 9, 10, 9 + blocks, 10 + blocks, 12 + blocks, 15 + blocks)
        drawn, features = jax.jit(functools.partial(module.apply, taps=taps))(learners["generator_ab"].variables, a)
        found = {f"G_A.feat{tap}.absmean_c": jnp.abs(maps).mean((1, 2)) for tap, maps in features.items()}
        found["G_A.out"] = drawn[:, :: self.stride, :: self.stride]
        found["G_B.out"] = self.out("G_B", b)[:, :: self.stride, :: self.stride]
        return found | {"D_A.out": self.out("D_A", b), "D_B.out": self.out("D_B", a)}

    def out(self, network: str, images):
        """Return what a network makes of images at the start."""
        name = self.published.learners[network]
        return jax.jit(self.method.apply, static_argnums=0)(name, self.start.learners[name].params, images)

    def losses(self):
        logits = jnp.asarray(normal(self.salt + "logit", (self.batch, 6, 5, 1)))
        kinds = {"lsgan": adversarial.least_squares, "vanilla": adversarial.logistic, "wgangp": adversarial.wasserstein}
        return {f"loss.{name}": [loss(logits, target) for target in (1.0, 0.0)] for name, loss in kinds.items()}

    def schedule(self):
        """The multiplier of each epoch, which the rate has where a step is an epoch."""
        about = self.manifest["lr_schedule"]
        rate = optimizers.linear_decay(
            1.0, constant_steps=about["n_epochs"], decay_steps=about["n_epochs_decay"], lead=about["epoch_count"]
        )
        return self.multipliers(rate, about["n_epochs"] + about["n_epochs_decay"])

    @staticmethod
    def multipliers(rate, epochs: int) -> dict[str, list]:
        return {"lr_multiplier": [rate(epoch) for epoch in range(epochs)]}

    @property
    def weights(self) -> dict[str, float]:
        """What the file's terms carry."""
        return {name: getattr(self.method, f"{name}_weight") for name in ("cycle", "identity")}

    @property
    def phase(self):
        """The phase that trains."""
        return self.method.phase(0)

    def steps(self, prefix: str = "steps"):
        """Run the method's own update on views made here."""
        m, state, losses, found = self.manifest, self.start, [], {}
        update = piecewise(self.method, self.method.update)
        none = image_pool.Tosses(np.zeros(self.batch, np.float32), np.zeros(self.batch, np.int32))
        tosses = {f"tosses_{name}": none for name in self.method.judged}
        for step in range(self.iterations):
            views = {"a": self.images(f"A{step}"), "b": self.images(f"B{step}"), **tosses}
            before = state
            state, metrics = update(state, views, phase=self.phase)
            terms = (self.columns[key] for key in m[f"{prefix}.losses.columns"])
            losses.append([self.weights.get(term.split("/")[1].split("_")[0], 1) * metrics[term] for term in terms])
            if step == 0 and prefix == "steps":
                gradients = self.gradients(state)
                for network in m["totals.columns"]:
                    learner = self.published.learners[network]
                    found[f"step0.gradnorm.{network}"] = self.norms(network, gradients[learner])
                    change = self.change(before, state, learner)
                    found[f"step0.delta_l2.{network}"] = self.norms(network, change)
                found["step0.delta_l2.total"] = self.totals(before, state)
        found[f"{prefix}.delta_l2.total"] = self.totals(self.start, state)
        zero = jax.tree.map(jnp.zeros_like, state)
        found["steps.params.l2"] = self.totals(zero, state)
        return found | {f"{prefix}.losses": np.array(losses, np.float64)}

    def gradients(self, after) -> dict:
        """Return every learner's gradient of the first step, to which Adam's average is in proportion then."""
        share = 1 - self.manifest["betas"][0]
        averages = {name: optax.tree_utils.tree_get(each.opt_state, "mu") for name, each in after.learners.items()}
        return jax.tree.map(lambda average: average / share, averages)

    @staticmethod
    def change(before, after, learner: str):
        return jax.tree.map(jnp.subtract, after.learners[learner].params, before.learners[learner].params)

    def totals(self, before, after) -> list[float]:
        """Return the norm of each network's change in the file's order."""
        order = (self.published.learners[network] for network in self.manifest["totals.columns"])
        return [np.linalg.norm(self.flat(self.change(before, after, learner))) for learner in order]

    @staticmethod
    def flat(tree) -> np.ndarray:
        return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])

    def norms(self, network: str, params) -> list[float]:
        """Return the norm of every parameter-shaped array in the file's order of names."""
        exported = self.published.export_network(network, {"params": params})
        return [np.linalg.norm(exported[name]) for name in self.manifest["names"][network]]


class PoolRunner:
    """The rule of the image pool."""

    def __init__(self, manifest, arrays):
        self.manifest = manifest

    @staticmethod
    def group(key: str) -> str:
        return "pool"

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Send images that carry their number through the pool, batch by batch."""
        m = self.manifest
        pool, returned = image_pool.create(m["pool_size"], (1, 1, 1)), []
        exchange = jax.jit(image_pool.exchange)
        numbers = np.arange(m["queries"] * m["batch"])
        coins, slots = np.array(m["coin"], np.float32), np.array(m["slot"], np.int32)
        for start in range(0, len(numbers), m["batch"]):
            rows = slice(start, start + m["batch"])
            images = numbers[rows].astype(np.float32)[:, None, None, None]
            pool, taken = exchange(pool, images, image_pool.Tosses(coins[rows], slots[rows]))
            returned.append(taken[:, 0, 0, 0])
        return {"returned": np.array(returned), "final": np.asarray(pool.images)[:, 0, 0, 0]}

    def check(self, key: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        np.testing.assert_array_equal(ours, theirs)
