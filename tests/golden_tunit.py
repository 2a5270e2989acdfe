"""Computes with our TUNIT what a golden file of the published code records, from the same weights and images."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests.golden_gradients import update_and_gradients
from tests.golden_recipe import images, normal, weight
from tests.pieces import blank
from uit_jax import methods
from uit_jax.convert import tunit as convert
from uit_jax.losses import adversarial, clustering, contrastive
from uit_jax.memory.key_queue import KeyQueue

COLUMNS = {
    "iic": "guide/clustering",
    "contrastive": "guide/contrastive",
    "d_real": "discriminator/real",
    "d_fake": "discriminator/fake",
    "r1_weighted": "discriminator/r1",
    "g_adv": "generator/adversarial",
    "g_rec": "generator/reconstruction",
    "g_style": "generator/style",
}


class Runner:
    """The networks, losses and steps of one golden file; sizes and widths come from its manifest."""

    def __init__(self, manifest, arrays):
        self.manifest, self.salt, self.batch = manifest, manifest["salt"], manifest["batch"]
        self.temperature, self.queue_size = manifest.get("temperature", 0.07), manifest.get("queue_size", 64)
        self.iterations = len(arrays.get("steps.losses", ()))
        self.state_dicts = {
            network: {name: weight(self.salt, network, name, spec) for name, spec in specs.items()}
            for network, specs in manifest["weights"].items()
        }
        self.method = self.build()
        stated = {"image_size": "img_size", "domains": "num_domains", "style_dim": "style_dim"}
        for setting, name in stated.items():
            assert getattr(self.method, setting) == manifest[name], f"{name} contradicts the weights' shapes"
        self.stages = self.method.guide.stages

    def build(self, **more):
        """Return the method whose networks have the file's shapes."""
        return methods.build("tunit", convert.settings(self.state_dicts), **more)

    @staticmethod
    def group(key: str) -> str:
        """Return what is computed together: a network, the losses, or the training steps."""
        return key.split(".")[0].replace("steps", "step").replace("step0", "step")

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a group."""
        compute = {
            "C": self.guide,
            "G": self.generator,
            "D": self.discriminator,
            "loss": self.losses,
            "step": self.steps,
        }
        assert group in compute, f"no computation for keys of {group!r}"
        with jax.default_matmul_precision("highest"):
            return compute[group]()

    def check(self, key: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        """Assert the relative L2 error to be within ten times the reference's own float32 error, or 1e-4."""
        limit = max(1e-4, 10 * self.manifest["float32_noise"][key])
        theirs = np.asarray(theirs, np.float64)
        # With one domain the clustering loss is 0 exactly.
        error = np.linalg.norm(np.asarray(ours, np.float64) - theirs) / max(np.linalg.norm(theirs), 1e-8)
        print(f"{key}: relative error {error:.2e}, limit {limit:.2e}")
        assert error <= limit

    # --- networks ---

    def images(self, name: str) -> np.ndarray:
        return images(self.salt + name, self.batch, self.method.image_size)

    def load(self, network: str, *inputs, **options):
        """Return a network and its variables from the state_dict that the file's recipe draws."""
        module = self.method.networks[convert.LEARNERS[network]].module
        like = jax.eval_shape(functools.partial(module.init, **options), jax.random.key(0), *inputs)
        return module, convert.import_network(network, self.state_dicts[network], like, stages=self.stages)

    def guide(self):
        x = self.images("x_org")
        module, variables = self.load("C", x, train=False)
        eval_logits, eval_style = jax.jit(functools.partial(module.apply, train=False))(variables, x)
        train = jax.jit(functools.partial(module.apply, train=True, mutable=["batch_stats"]))
        (logits, style), changed = train(variables, x)
        first = changed["batch_stats"]["norm_0"]
        return {
            "C.eval.disc": eval_logits,
            "C.eval.cont": eval_style,
            "C.train.disc": logits,
            "C.train.cont": style,
            "C.train.running_mean0": first["mean"],
            "C.train.running_var0": first["var"],
        }

    def generator(self):
        x, style = self.images("x_org"), normal(self.salt + "style", (self.batch, self.method.style_dim))
        module, variables = self.load("G", x, style)
        content = jax.jit(functools.partial(module.apply, method="encode"))(variables, x)
        drawn = jax.jit(functools.partial(module.apply, method="decode"))(variables, content, style)
        return {"G.content.absmean_c": jnp.abs(content).mean((1, 2)), "G.out": drawn}

    @functools.cached_property
    def judge(self):
        """The discriminator, (variables, images) -> logits [B, K], and its variables."""
        module, variables = self.load("D", self.images("x_org"))
        return module.apply, variables

    @property
    def domains(self) -> np.ndarray:
        return np.arange(self.batch) % self.method.domains

    def discriminator(self):
        judge, variables = self.judge
        logits = jax.jit(judge)(variables, self.images("x_org"))
        return {"D.all": logits, "D.logit": adversarial.select(logits, self.domains)}

    # --- losses and steps ---

    def losses(self):
        def drawn(name, *shape):
            return normal(self.salt + name, shape)

        dim, domains = self.method.style_dim, self.method.domains
        query, key, queue = (
            0.1 * drawn(name, count, dim)
            for name, count in (("q", self.batch), ("k", self.batch), ("queue", self.queue_size))
        )
        first, second = (jax.nn.softmax(drawn(name, self.batch, domains)) for name in ("p1", "p2"))
        judge, variables = self.judge

        @jax.jit
        def penalty(variables, x):
            return adversarial.r1(lambda x: adversarial.select(judge(variables, x), self.domains), x)[0]

        return {
            "loss.contrastive": contrastive.info_nce(query, key, queue, self.temperature),
            "loss.iic": clustering.iic(first, second),
            "loss.r1": penalty(variables, self.images("x_org")),
        }

    def steps(self):
        """Run the method's own update on views made here, in the phase that trains all networks."""
        rate = self.manifest["lr"]
        method = self.build(
            guide_steps=0,
            queue_size=self.queue_size,
            temperature=self.temperature,
            guide_adam=dataclasses.replace(self.method.guide_adam, learning_rate=rate),
            joint_guide_rate=rate,
            adam=dataclasses.replace(self.method.adam, learning_rate=rate),
        )
        state = blank(method, self.batch)
        tensors = {f"{network}.{name}": v for network, names in self.state_dicts.items() for name, v in names.items()}
        state = convert.import_state(tensors, state, stages=self.stages)
        queue = 0.06 * normal(self.salt + "queue", (self.queue_size, self.method.style_dim))
        state = state.replace(memory={**state.memory, "queue": KeyQueue(jnp.asarray(queue))})

        found, losses = {}, []
        update = jax.jit(update_and_gradients(method, method.phase(0)))
        for step in range(self.iterations):
            batch = {
                "x": self.images(f"x_org{step}"),
                "x_aug": self.images(f"x_tf{step}"),
                "perm": np.array(self.manifest["perm"], np.int32),
                "label": np.full(self.batch, -1, np.int32),
            }
            before = state
            state, metrics, gradients = update(state, batch)
            weights = {"r1_weighted": method.r1.weight}
            columns = self.manifest["steps.losses.columns"]
            losses.append([weights.get(column, 1) * float(metrics[COLUMNS[column]]) for column in columns])
            if step == 0:
                for network in "GC":
                    name = convert.LEARNERS[network]
                    found[f"step0.gradnorm.{network}"] = self.norms(network, state, gradients[name])
                for network, name in convert.LEARNERS.items():
                    change = jax.tree.map(jnp.subtract, state.learners[name].params, before.learners[name].params)
                    found[f"step0.delta_l2.{network}"] = self.norms(network, state, change)
        ends = [state.learners[convert.LEARNERS[network]].params for network in "GDC"] + [state.learners["guide"].ema]
        norms = [length(end) for end in ends]
        tail = state.memory["queue"].keys[-self.batch :]
        return found | {"steps.losses": losses, "steps.params.l2": norms, "steps.queue_tail": tail}

    def norms(self, network: str, state, params) -> list[float]:
        """Return the norm of every parameter-shaped array in the file's order of names."""
        stats = state.learners[convert.LEARNERS[network]].stats
        variables = {"params": params, **stats}
        exported = convert.export_network(network, variables, stages=self.stages)
        return [np.linalg.norm(exported[name]) for name in self.manifest["names"][network]]


def length(tree) -> float:
    """Return the norm of all numbers of a tree together."""
    return np.sqrt(sum(np.square(leaf, dtype=np.float64).sum() for leaf in jax.tree.leaves(tree)))
