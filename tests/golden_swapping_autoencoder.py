"""Computes with our Swapping Autoencoder what a golden file of the published code records, from equal draws."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import golden_tunit
from tests.golden_gradients import update_and_all_gradients
from tests.golden_recipe import images, normal, stream, weight
from uit_jax import methods
from uit_jax.convert import swapping_autoencoder as convert
from uit_jax.losses import adversarial, reconstruction
from uit_jax.methods.swapping_autoencoder import DISCRIMINATE, PENALISED, TRANSLATE, SwappingAutoencoder

# By our names of where crops lie, the end of the file's tags, of the discriminators' turns.
TAGS = {"known": "d{}.real", "other": "d{}.target", "mix": "d{}.mix"}
TAGS |= {"penalised": "r{}.real", "penalised_other": "r{}.target"}
JUDGED = {"D_real": "real", "D_rec": "own", "D_mix": "mix", "PatchD_real": "patch_real", "PatchD_mix": "patch_mix"}
MADE = {"G_L1": "l1", "G_GAN_rec": "own", "G_GAN_mix": "mix", "G_mix": "patch"}


class Published(SwappingAutoencoder):
    """The method on one device, which redraws the first half of its images from their own codes, as published."""

    def some(self, rows):
        return rows[: len(rows) // 2]


class Runner:
    """The networks, losses and steps of one golden file; sizes and widths come from its manifest."""

    check = golden_tunit.Runner.check

    def __init__(self, manifest, arrays):
        self.manifest, self.salt, self.batch = manifest, manifest["salt"], manifest["batch"]
        self.iterations = len(arrays["steps.losses"])

    @staticmethod
    def group(key: str) -> str:
        """Return what is computed together: the networks and losses, or the training steps, with noise and without."""
        first = key.removeprefix("quiet.").split(".")[0]
        return {"steps": "steps", "step0": "steps", "r1": "steps"}.get(first, "networks")

    def compute(self, group: str) -> dict[str, np.ndarray]:
        """Return the values of all keys of a group."""
        with jax.default_matmul_precision("highest"):
            return getattr(self, group)()

    @functools.cached_property
    def state_dicts(self):
        return {
            network: {name: weight(self.salt, network, name, spec) for name, spec in specs.items()
                      if not spec.get("fixed")} for network, specs in self.manifest["weights"].items()
        }  # fmt: skip

    @functools.cached_property
    def method(self):
        m, read = self.manifest, convert.settings(self.state_dicts)
        stated = {"image_size": "img_size", "structure_dim": "spatial_code_ch", "texture_dim": "global_code_ch"}
        for setting, name in stated.items():
            assert read[setting] == m[name], f"{name} contradicts the weights' shapes"
        scales = {"encoder": "E", "generator": "G", "discriminator": "D", "patch_discriminator": "PatchD"}
        for network, name in scales.items():
            assert read[network]["scale"] == m[f"net{name}_scale_capacity"]
        weights, (b1, b2) = m["loss_weights"], m["betas_G"]
        plain = methods.build(
            "swapping_autoencoder",
            convert.state_dicts.merged(
                read, dict(patches=dict(count=m["patch_num_crops"], sides=tuple(m["patch_scale"])))
            ),
            l1_weight=weights["L1"],
            adversarial_weight=weights["GAN"],
            patch_weight=weights["PatchGAN"],
            r1=dict(weight=weights["R1"], every=m["R1_once_every"]),
            patch_r1_weight=weights["patch_R1"],
            adam=dict(learning_rate=m["lr"], b1=b1, b2=b2),
        )
        return Published(**{field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)})

    @functools.cached_property
    def start(self):
        tensors = {f"{network}.{name}": value for network, own in self.state_dicts.items()
                   for name, value in own.items()}  # fmt: skip
        # All weights come from the file, and optimisers begin at 0: nothing need be sampled.
        shapes = jax.eval_shape(lambda: self.method.init(jax.random.PRNGKey(0), self.batch))
        state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return convert.import_state(tensors, state)

    # --- the draws ---

    def images(self, name: str) -> np.ndarray:
        return images(self.salt + name, self.batch, self.method.image_size)

    def chances(self, tag: str) -> np.ndarray:
        count = self.method.patches.count
        drawn = stream(f"{self.salt}crop.{tag}").uniform(size=(self.batch * count, 5))
        return drawn.astype(np.float32).reshape(self.batch, count, 5)

    def noise(self, tag: str, rows: int) -> tuple[np.ndarray, ...]:
        """Return the noise of a call of the generator: of the file's tag, or for none zeros."""
        side = self.method.image_size >> self.method.encoder.downs
        sides = self.method.networks["generator"].module.noise_sides(side, side)
        layers = zip(self.manifest["noise_layers"], sides, strict=True)
        drawn = [normal(f"{self.salt}noise.{tag}.{layer}", (rows, *each, 1)) for layer, each in layers]
        return tuple(drawn if tag else [0 * each for each in drawn])

    def views(self, turn: str, step: int, quiet: bool) -> dict:
        """Return what an iteration reads, of a turn "d" or "g"."""
        tags = TAGS if turn == "d" else {"known": "g{}.real", "mix": "g{}.mix"}
        halves = {"noise_own": ("rec", self.batch // 2), "noise_mix": ("mix", self.batch)}
        return {
            "x": self.images(f"{turn}{step}"),
            "chances": {name: self.chances(tag.format(step)) for name, tag in tags.items()},
            **{name: self.noise("" if quiet else f"{turn}{step}.{tag}", rows) for name, (tag, rows) in halves.items()},
        }

    # --- networks and losses ---

    def networks(self):
        method, x, other = self.method, self.images("A"), self.images("B")
        params = {name: learner.params for name, learner in self.start.learners.items()}
        last = f"block_{method.encoder.downs - 1}"
        quiet, noise = self.noise("", self.batch), self.noise("out", self.batch)
        chances = {name: self.chances(name) for name in ("real", "target", "mix")}

        @jax.jit
        def run(params):
            how = dict(capture_intermediates=lambda part, _: part.name == last, mutable=["intermediates"])
            module, variables = method.networks["encoder"].module, {"params": params["encoder"]}
            (structure, texture), found = module.apply(variables, x, **how)
            middle = found["intermediates"][last]["__call__"][0]
            swapped = structure.reshape(-1, 2, *structure.shape[1:])[:, ::-1].reshape(structure.shape)
            codes = [structure, structure, swapped, 2 * structure]
            textures = [texture, texture, texture, (texture + texture[::-1]) / 2]
            added = [jnp.concatenate(each) for each in zip(quiet, noise, quiet, quiet, strict=True)]
            drawn = method.run(params, "generator", *map(jnp.concatenate, (codes, textures)), tuple(added))
            plain, noisy, swap, between = jnp.split(drawn, 4)
            seen = {"real": x, "target": x, "mix": other}
            real, target, mix = (method.crops(of, chances[name]) for name, of in seen.items())
            rows = real.reshape(-1, *real.shape[2:])
            features = method.run(params, "patch_discriminator", rows, method="features")
            single = dataclasses.replace(method, patches=dataclasses.replace(method.patches, pooled=False))
            known, mixed = (each.reshape(-1, 1) for each in method.compare(params, real, target, mix))

            gradient = jax.grad(lambda x: method.judge(params, x)[0].sum())(x)
            of_crops = jax.grad(lambda *crops: method.compare(params, *crops)[0].sum(), (0, 1))(real, target)
            return {
                "E.sp": structure,
                "E.gl": texture,
                "E.mid.absmean_c": jnp.abs(middle).mean((1, 2)),
                "G.out": plain[:1],
                "G.out_noise": noisy[:, ::3, ::3],
                "G.swap": swap[:2, ::3, ::3],
                "G.lerp": between[:1, ::3, ::3],
                "D.out": method.judge(params, x)[0][:, None],
                "crops.real": real[:, ::2, ::3, ::3],
                "Dpatch.feat": features[..., ::4],
                "Dpatch.feat_mean": features.reshape(*real.shape[:2], *features.shape[1:]).mean(1)[..., ::4],
                "Dpatch.logit_single": single.compare(params, real, target)[0].reshape(-1, 1),
                "Dpatch.logit_real": known,
                "Dpatch.logit_mix": mixed,
                "loss.gan_true": adversarial.logistic(mixed, 1.0),
                "loss.gan_false": adversarial.logistic(mixed, 0.0),
                "loss.l1": reconstruction.l1(x, other),
                "loss.r1_image": method.r1.weight / 2 * (gradient**2).sum((1, 2, 3)),
                "loss.r1_patch": method.patch_r1_weight / 4 * sum((each**2).sum((1, 2, 3, 4)) for each in of_crops),
            }

        return run(params)

    # --- steps ---

    @functools.cached_property
    def turns(self):
        """Iterations of each kind that tell their gradients; their last argument is 0 for one that moves no weight."""
        kinds = DISCRIMINATE, PENALISED, TRANSLATE
        return {turn: jax.jit(update_and_all_gradients(self.method, turn)) for turn in kinds}

    def steps(self):
        """Run the method's own update on views made here, with noise and without."""
        views = self.views("d", 0, quiet=True)
        views |= {"x": self.images("A"), "chances": views["chances"]
                  | {"penalised": self.chances("real"), "penalised_other": self.chances("target")}}  # fmt: skip
        _, _, gradients = self.turns[PENALISED](self.start, views, 0.0)
        found = {f"r1.gradnorm.{name}": self.norms(name, gradients[convert.LEARNERS[name]][1])
                 for name in ("D", "Dpatch")}  # fmt: skip
        for prefix in ("", "quiet."):
            found |= {prefix + key: value for key, value in self.two(quiet=bool(prefix)).items()}
        return found

    def two(self, quiet: bool):
        state, losses, found, start = self.start, [], {}, jax.device_get(self.start)
        for step in range(self.iterations):
            due = (step + 1) % self.method.r1.every == 0
            turn = self.turns[PENALISED if due else DISCRIMINATE]
            state, judged, against = jax.device_get(turn(state, self.views("d", step, quiet), 1.0))
            state, made, gradients = jax.device_get(self.turns[TRANSLATE](state, self.views("g", step, quiet), 1.0))
            losses.append(self.terms(judged, made))
            if step == 0:
                for network, learner in convert.LEARNERS.items():
                    gradient = (against | gradients)[learner][0]
                    found[f"step0.gradnorm.{network}"] = self.norms(network, gradient)
                    found[f"step0.delta_l2.{network}"] = self.norms(network, change(start, state, learner))
        for network, learner in convert.LEARNERS.items():
            found[f"steps.delta_l2.{network}"] = self.norms(network, change(start, state, learner))
        order = [convert.LEARNERS[network] for network in self.manifest["steps.params.l2.columns"]]
        lengths = [length(state.learners[name].params) for name in order]
        return found | {"steps.losses": losses, "steps.params.l2": lengths}

    def terms(self, judged, made) -> list[float]:
        """Return the file's columns of an iteration, weighted; the penalty without its period."""
        m = self.method
        weights = {"D_real": 1, "D_rec": 0.5, "D_mix": 0.5, "G_GAN_rec": 0.5, "G_GAN_mix": m.mix_weight}
        weights = {name: m.adversarial_weight * value for name, value in weights.items()}
        weights |= dict.fromkeys(("PatchD_real", "PatchD_mix", "G_mix"), m.patch_weight) | {"G_L1": m.l1_weight}
        found = {name: judged[f"discriminator/{ours}"] for name, ours in JUDGED.items()}
        found |= {name: made[f"generator/{ours}"] for name, ours in MADE.items()}
        found = {name: weights[name] * value for name, value in found.items()}
        penalty = m.r1.weight / 2 * judged.get("discriminator/r1", 0.0)
        found["D_R1"] = penalty + m.patch_r1_weight / 4 * judged.get("discriminator/patch_r1", 0.0)
        return [float(found[column]) for column in self.manifest["steps.losses.columns"]]

    def norms(self, network: str, params) -> list[float]:
        """Return the norm of every parameter-shaped array in the file's order of names."""
        exported = convert.export_network(network, {"params": params})
        return [np.linalg.norm(exported[name]) for name in self.manifest["names"][network]]


def change(before, after, learner: str):
    return jax.tree.map(np.subtract, *(state.learners[learner].params for state in (after, before)))


def length(tree) -> float:
    return np.sqrt(sum(np.square(leaf, dtype=np.float64).sum() for leaf in jax.tree.leaves(tree)))
