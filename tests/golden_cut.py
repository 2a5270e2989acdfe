"""Computes with our CUT and FastCUT what a golden file of the published code records, from equal weights and images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import golden_tunit
from tests.golden_gradients import update_and_gradients
from tests.golden_recipe import images, patch_ids, weight
from tests.pieces import blank, piecewise
from uit_jax import methods
from uit_jax.convert import cut as convert
from uit_jax.nn.patch_mlp import at_places
from uit_jax.tensors import flatten

COLUMNS = {
    "d_fake": "discriminator/fake",
    "d_real": "discriminator/real",
    "g_gan": "generator/adversarial",
    "nce_x": "generator/nce",
    "nce_y": "generator/nce_identity",
}


class Runner:
    """The networks and steps of one golden file; sizes and widths come from its manifest."""

    def __init__(self, manifest, arrays):
        self.manifest, self.salt, self.layers = manifest, manifest["salt"], manifest["nce_layers"]
        self.batch, self.size = manifest["batch"], manifest["img_size"]
        self.iterations = len(arrays.get("steps.losses", ()))
        self.state_dicts = {
            network: {
                name: weight(self.salt, network, name, spec) for name, spec in specs.items() if "fixed" not in spec
            }
            for network, specs in manifest["weights"].items()
        }
        self.method = self.build()
        stated = {"width": "ngf", "blocks": "n_blocks"}
        for setting, name in stated.items():
            assert getattr(self.method.generator, setting) == manifest[name], f"{name} contradicts the weights' shapes"

    def build(self):
        """Return the method whose networks have the file's shapes and whose settings are the manifest's."""
        stated, read = self.manifest, convert.settings(self.state_dicts)
        patches = dict(layers=tuple(self.layers), count=stated["num_patches"], temperature=stated["temperature"])
        adam = dict(learning_rate=stated["lr"], b1=stated["betas"][0], b2=stated["betas"][1])
        changes = dict(image_size=self.size, patches=read["patches"] | patches, adam=adam)
        return methods.build(stated["method"], {**read, **changes})

    check = golden_tunit.Runner.check
    group = staticmethod(golden_tunit.Runner.group)

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a group."""
        compute = {"G": self.generator, "D": self.discriminator, "F": self.patches, "step": self.steps}
        assert group in compute, f"no computation for keys of {group!r}"
        with jax.default_matmul_precision("highest"):
            return compute[group]()

    # --- networks ---

    def images(self, name: str) -> np.ndarray:
        return images(self.salt + name, self.batch, self.size)

    def positions(self, step: int, side: str) -> dict[int, np.ndarray]:
        """Return the compared places of every layer, the same ones in every image: {layer: int32 [B, P]}."""
        sides = self.method.sizes
        found = {}
        for index, layer in enumerate(self.layers):
            count = sides[layer][0] * sides[layer][1]
            ids = patch_ids(f"{self.salt}ids{step}{side}{index}", count, self.manifest["num_patches"])
            found[layer] = np.broadcast_to(ids, (self.batch, len(ids)))
        return found

    @property
    def antialias(self) -> bool:
        return self.method.generator.antialias

    def load(self, network: str):
        """Return a network's module, and its variables from the state_dict that the file's recipe draws."""
        module, _, inputs, *_ = self.method.networks[convert.LEARNERS[network]]
        like = jax.eval_shape(module.init, jax.random.key(0), *inputs)
        return module, convert.import_network(network, self.state_dicts[network], like, antialias=self.antialias)

    @functools.cached_property
    def drawn(self):
        """The translation of A and the features on the way to it."""
        module, variables = self.load("G")
        return jax.jit(functools.partial(module.apply, taps=tuple(self.layers)))(variables, self.images("A"))

    def generator(self):
        drawn, features = self.drawn
        shapes = [list(features[layer].shape) for layer in self.layers]
        assert shapes == self.manifest["feature_shapes_nhwc"]
        means = {f"G.feat{layer}.absmean_c": jnp.abs(maps).mean((1, 2)) for layer, maps in features.items()}
        return means | {"G.out": drawn}

    def discriminator(self):
        module, variables = self.load("D")
        return {"D.out": jax.jit(module.apply)(variables, self.images("A"))}

    def patches(self):
        _, variables = self.load("F")
        chosen = at_places(self.drawn[1], self.positions(0, "X"))
        codes = jax.jit(self.method.codes)({"patches": variables}, chosen)
        return {
            f"F.sample{index}": codes[layer].reshape(-1, self.method.patches.dim)[:8]
            for index, layer in enumerate(self.layers)
        }

    # --- steps ---

    def steps(self):
        """Run the method's own update on views made here."""
        method = self.method
        weights = dict.fromkeys(("nce_x", "nce_y"), method.nce_weight)
        state = convert.import_state(flatten(self.state_dicts), blank(method, self.batch), antialias=self.antialias)
        update = piecewise(method, update_and_gradients(method, method.phase(0)))
        losses, found = [], {}
        for step in range(self.iterations):
            views = {"a": self.images(f"A{step}"), "b": self.images(f"B{step}")}
            views["places_a"] = self.positions(step, "X")
            if method.identity:
                views["places_b"] = self.positions(step, "Y")
            if method.flip_equivariance:
                views["mirror"] = np.full(self.batch, self.manifest["flip_per_step"][step])
            before = state
            state, metrics, gradients = update(state, views)
            columns = self.manifest["steps.losses.columns"]
            # A term that the method leaves out is recorded as 0.
            losses.append([weights.get(key, 1) * float(metrics.get(COLUMNS[key], 0)) for key in columns])
            if step == 0:
                for network, learner in convert.LEARNERS.items():
                    if network != "D":
                        found[f"step0.gradnorm.{network}"] = self.norms(network, gradients[learner])
                    change = jax.tree.map(jnp.subtract, state.learners[learner].params, before.learners[learner].params)
                    found[f"step0.delta_l2.{network}"] = self.norms(network, change)
        return found | {"steps.losses": losses}

    def norms(self, network: str, params) -> list[float]:
        """Return the norm of every parameter-shaped array in the file's order of names."""
        exported = convert.export_network(network, {"params": params}, antialias=self.antialias)
        return [np.linalg.norm(exported[name]) for name in self.manifest["names"][network]]
