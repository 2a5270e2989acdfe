"""Computes with our CUT and FastCUT what a golden file of the published code records, from equal weights and images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import golden_tunit
from tests.golden_gradients import update_and_gradients
from tests.golden_recipe import images, patch_ids, weight
from uit_jax import methods
from uit_jax.convert import cut as convert
from uit_jax.convert import flatten
from uit_jax.losses import contrastive
from uit_jax.methods import cut
from uit_jax.nn.cut import PatchDiscriminator, PatchMLP, ResNetGenerator

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
        self.settings = convert.settings(self.state_dicts)
        stated = {"generator_width": "ngf", "generator_blocks": "n_blocks"}
        for setting, name in stated.items():
            assert self.settings[setting] == manifest[name], f"{name} contradicts the weights' shapes"

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
        sides = self.network.tap_sizes(self.size, self.size)
        found = {}
        for index, layer in enumerate(self.layers):
            count = sides[layer][0] * sides[layer][1]
            ids = patch_ids(f"{self.salt}ids{step}{side}{index}", count, self.manifest["num_patches"])
            found[layer] = np.broadcast_to(ids, (self.batch, len(ids)))
        return found

    @property
    def network(self) -> ResNetGenerator:
        s = self.settings
        return ResNetGenerator(
            channels=s["channels"],
            target_channels=s["target_channels"],
            width=s["generator_width"],
            blocks=s["generator_blocks"],
            antialias=s["antialias"],
            antialias_up=s["antialias_up"],
            norm=s["norm"],
        )

    def load(self, network: str, module, *inputs):
        """Return the module's variables from the state_dict that the file's recipe draws."""
        like = jax.eval_shape(module.init, jax.random.key(0), *inputs)
        return convert.import_network(network, self.state_dicts[network], like, antialias=self.settings["antialias"])

    @functools.cached_property
    def drawn(self):
        """The translation of A and the features on the way to it."""
        x = self.images("A")
        variables = self.load("G", self.network, x)
        return jax.jit(functools.partial(self.network.apply, taps=tuple(self.layers)))(variables, x)

    def generator(self):
        drawn, features = self.drawn
        shapes = [list(features[layer].shape) for layer in self.layers]
        assert shapes == self.manifest["feature_shapes_nhwc"]
        means = {f"G.feat{layer}.absmean_c": jnp.abs(maps).mean((1, 2)) for layer, maps in features.items()}
        return means | {"G.out": drawn}

    def discriminator(self):
        s = self.settings
        module = PatchDiscriminator(
            s["discriminator_width"], s["discriminator_layers"], antialias=s["antialias"], norm=s["norm"]
        )
        x = self.images("A")
        return {"D.out": jax.jit(module.apply)(self.load("D", module, x), x)}

    def patches(self):
        places, features = self.positions(0, "X"), self.drawn[1]
        sampled = {}
        for layer, maps in features.items():
            flat = maps.reshape(self.batch, -1, maps.shape[-1])
            sampled[layer] = jnp.take_along_axis(flat, places[layer][..., None], axis=1)
        module = PatchMLP(self.settings["patch_dim"])
        codes = jax.jit(module.apply)(self.load("F", module, sampled), sampled)
        codes = [contrastive.normalize(codes[layer]).reshape(-1, module.dim)[:8] for layer in self.layers]
        return {f"F.sample{index}": code for index, code in enumerate(codes)}

    # --- steps ---

    def steps(self):
        """Run the method's own update on views made here."""
        name = self.manifest["method"]
        method = methods.build(
            name,
            **self.settings,
            image_size=self.size,
            patch_layers=tuple(self.layers),
            patches=self.manifest["num_patches"],
            temperature=self.manifest["temperature"],
            learning_rate=self.manifest["lr"],
            b1=self.manifest["betas"][0],
            b2=self.manifest["betas"][1],
        )
        hparams = methods.METHODS[name][0]()
        weights = dict.fromkeys(("nce_x", "nce_y"), hparams.nce_weight)
        batch = {side: jnp.zeros((self.batch, self.size, self.size, 3), jnp.uint8) for side in "ab"}
        state = jax.jit(method.init)(jax.random.key(0), batch)
        state = convert.import_state(flatten(self.state_dicts), state, antialias=self.settings["antialias"])
        update = jax.jit(update_and_gradients(cut, method, "cropped"))
        losses, found = [], {}
        for step in range(self.iterations):
            views = {"a": self.images(f"A{step}"), "b": self.images(f"B{step}")}
            views["positions_a"] = self.positions(step, "X")
            if hparams.identity:
                views["positions_b"] = self.positions(step, "Y")
            if hparams.flip_equivariance:
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
        exported = convert.export_network(network, {"params": params}, antialias=self.settings["antialias"])
        return [np.linalg.norm(exported[name]) for name in self.manifest["names"][network]]
