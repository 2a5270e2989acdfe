"""StarGAN v2: one update recomputed plainly, whose styles are whose, its views, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import method_table as table
from tests.methods.by_hand import (
    assert_close,
    assert_terms,
    drawn,
    images,
    is_fake,
    is_real,
    penalty,
    random_state,
    stepped,
)
from tests.saved_run import save
from uit_jax import augment, config, data, methods, runs
from uit_jax.errors import UserError
from uit_jax.methods.starganv2 import LAZY, PENALISED
from uit_jax.nn import fan
from uit_jax.training import beginning, loop


def l1(one, other):
    return abs(one - other).mean()


def test_an_update_is_the_papers():
    """Two steps of the discriminator, one of all that translates, and one of the generator alone, each on what the
    others have become; the diversity's weight has fallen by a half."""
    run = table.run("starganv2", "penalised", (PENALISED, PENALISED))
    method, v = run.method, run.views
    state = random_state(method, ()).replace(step=jnp.int32(2))
    # The views are random and the weights too, and the program is the one that other tests have compiled.
    after, metrics = jax.device_get(run.lifted.step(run.lifted.put_state(state), v, phase=PENALISED))
    labels, targets = np.asarray(v["label"]), np.asarray(v["target"])

    def apply(name, p, *inputs):
        return method.networks[name].module.apply({"params": p[name]}, *inputs)

    def own(all_of_them, domains):
        return all_of_them[jnp.arange(len(domains)), domains]

    def encode(p, x, domains):
        return own(apply("encoder", p, x)["style"], domains)

    def judge(p, x, domains):
        return own(apply("discriminator", p, x)["logit"], domains)

    def styles(p, source):
        if source == "latent":
            return [own(apply("mapping", p, v[name]), targets) for name in ("latent", "latent_2")]
        return [encode(p, v[name], targets) for name in ("reference", "reference_2")]

    def judging(own, p, source):
        fake = apply("generator", p, v["x"], styles(p, source)[0])
        p = p | own
        terms = {
            "real": is_real(judge(p, v["x"], labels)),
            "fake": is_fake(judge(p, fake, targets)),
            "r1": penalty(lambda x: judge(p, x, labels), v["x"]),
        }
        return terms["real"] + terms["fake"] + 0.5 * terms["r1"], terms

    def translating(own, p, source):
        p, x = p | own, v["x"]
        first, second = styles(p, source)
        fake = apply("generator", p, x, first)
        other = jax.lax.stop_gradient(apply("generator", p, x, second))
        terms = {
            "adversarial": is_real(judge(p, fake, targets)),
            "style": l1(encode(p, fake, targets), first),
            "diversity": l1(fake, other),
            "cycle": l1(apply("generator", p, fake, encode(p, x, labels)), x),
        }
        weights = {"adversarial": 1, "style": 2, "diversity": -1.5, "cycle": 5}
        return sum(weights[name] * value for name, value in terms.items()), terms

    @jax.jit
    def plain(p):
        found = {}
        for loss, source, names in (
            (judging, "latent", ["discriminator"]),
            (judging, "reference", ["discriminator"]),
            (translating, "latent", ["generator", "mapping", "encoder"]),
            (translating, "reference", ["generator"]),
        ):
            learn = {name: p[name] for name in names}
            gradient, terms = jax.grad(loss, has_aux=True)(learn, p, source)
            p = p | stepped(learn, gradient)
            found |= {f"{names[0]}/{source}_{name}": value for name, value in terms.items()}
        return p, found

    expected, terms = plain({name: learner.params for name, learner in state.learners.items()})
    assert_terms(metrics, terms)
    assert min(terms.values()) > 1e-3
    for name, learner in after.learners.items():
        assert_close(learner.params, expected[name], rtol=2e-3, atol=2e-5)
        if name != "discriminator":
            moved = jax.tree.map(lambda a, p: 0.999 * a + 0.001 * p, state.learners[name].ema, expected[name])
            assert_close(learner.ema, moved, rtol=1e-4, atol=1e-5)


@functools.cache
def model():
    method = table.build("starganv2")
    return method, method.variables(random_state(method, ()))


def test_a_style_is_of_its_domain():
    """Sampled in a domain it is what that domain's layers make of the latent; where none is named, it is of any."""
    method, variables = model()
    keys, sample = jax.random.split(jax.random.key(0), 60), jax.jit(method.style_prior)
    latents = method.sample_latents(keys)
    everywhere = method.networks["mapping"].module.apply({"params": variables["mapping"]["params"]}, latents)
    for domain in range(3):
        found = sample(variables, keys, np.full(60, domain, np.int32))
        np.testing.assert_allclose(found, everywhere[:, domain], atol=1e-5)
    anywhere = np.abs(sample(variables, keys)[:, None] - everywhere).max(-1) < 1e-5
    assert (anywhere.sum(1) == 1).all() and (anywhere.sum(0) > 8).all()
    assert abs(latents.mean()) < 0.3 and abs(latents.std() - 1) < 0.2


def test_a_reference_is_read_in_the_domain_in_which_it_looks_most_real():
    method, variables = model()
    x = images(5, 4)
    logits = method.judge({"discriminator": variables["discriminator"]["params"]}, x)
    every = method.run({"encoder": variables["encoder"]["params"]}, "encoder", x)["style"]
    expected = np.asarray(every)[np.arange(4), logits.argmax(-1)]
    np.testing.assert_allclose(method.readouts["style"](variables, x), expected, atol=1e-5)
    np.testing.assert_array_equal(method.readouts["cluster"](variables, x).argmax(-1), logits.argmax(-1))


def test_a_class_of_its_own_is_read_in_its_own_domain(tmp_path):
    """Whatever its images look like, of whichever source; a class of another name in that in which each looks real."""
    save(tmp_path / "run", "starganv2", **{"data.source": "procedural:species=3,count=12"})
    run = runs.load(tmp_path / "run")
    for number, name in enumerate(("disk", "square", "triangle")):
        source = data.open_source(f"procedural:species=3,count=12#{name}", size=16)
        x = augment.normalize(source.images(range(len(source))))
        every = run.method.run({"encoder": run.variables["encoder"]["params"]}, "encoder", x)["style"]
        np.testing.assert_allclose(run.look(of_class=name).codes[0], every[:, number].mean(0), atol=1e-5)
        elsewhere = run.look(of_class=name, references="procedural:species=3,count=12").codes[0]
        np.testing.assert_allclose(elsewhere, every[:, number].mean(0), atol=1e-5)
    other = data.open_source("procedural:species=4,count=12", size=16).classes[3]
    source = data.open_source(f"procedural:species=4,count=12#{other}", size=16)
    guessed = run.look(of_class=other, references="procedural:species=4,count=12").codes[0]
    np.testing.assert_allclose(guessed, run.encode(source.images(range(len(source)))).mean(0), atol=1e-5)


def test_both_references_of_an_image_are_of_its_target_and_different_images():
    method = table.build("starganv2", crop=dict(probability=0.0), flip=0.0)
    batch = table.batch_of(method)
    batch["label"] = np.array([0, 0, 0, 0, 1, 1, 1, 2], np.int32)
    made = jax.jit(method.views)(jax.random.key(3), batch)
    x = np.asarray(made["x"])

    def places(images):
        return [int(np.abs(x - image).max((1, 2, 3)).argmin()) for image in np.asarray(images)]

    first, second = places(made["reference"]), places(made["reference_2"])
    assert sorted(first) == list(range(8)) and first != list(range(8))
    np.testing.assert_array_equal(batch["label"][first], made["target"])
    np.testing.assert_array_equal(batch["label"][second], made["target"])
    # An image that is alone in its domain is both.
    assert [one for one, other in zip(first, second, strict=True) if one == other] == [7]
    assert np.abs(made["latent"] - made["latent_2"]).min() > 1e-4


def test_faces_keep_what_masks_show_of_them(monkeypatch):
    """Of the contents in all passes, and of the translation on the way back; nothing learns to change them."""
    seen = []

    def heat_maps(weights, images):
        seen.append(images)
        return jnp.zeros((len(images), 64, 64, 98)) + images.mean((1, 2, 3), keepdims=True)

    monkeypatch.setattr(fan, "load", lambda path: {})
    monkeypatch.setattr(fan, "heat_maps", heat_maps)
    narrow = dict(width=2, max_width=2, mapping_width=2, bottleneck=8, image_size=32)
    method = table.build("starganv2", high_pass=1.0, landmarks="there.npz", **narrow)
    views = jax.eval_shape(method.views, jax.random.key(0), table.batch_of(method))
    jax.eval_shape(functools.partial(method.update, phase=LAZY), table.shapes(method), views)
    # Once for the contents, and in either pass of the generator for the way back.
    assert len(seen) == 3
    params = {name: network.params for name, network in random_state(method, ()).learners.items()}
    faces, style = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32), drawn(0, 2, 4)
    nothing, all_of_it = (np.full((2, 256, 256, 1), share, np.float32) for share in (0, 1))
    draw = jax.jit(method.generate)
    plain = draw(params, faces, style, (nothing, nothing))
    # What is 32 pixels high is shown by the first mask.
    np.testing.assert_array_equal(draw(params, faces, style, (nothing, all_of_it)), plain)
    assert np.abs(draw(params, faces, style, (all_of_it, nothing)) - plain).max() > 1e-2


def test_training_does_not_begin_without_the_landmarks_of_faces(tmp_path):
    lines = {"": "method.landmarks is empty: .*--config.method.landmarks=FILE", "none.npz": "none.npz: no such file"}
    for path, line in lines.items():
        method = methods.build("starganv2", high_pass=1.0, landmarks=path and str(tmp_path / path))
        with pytest.raises(UserError, match=line):
            method.check_files()
        # Nor does anything translate, though inference checks no files.
        with pytest.raises(UserError, match=line):
            method.masks(jnp.zeros((1, 8, 8, 3)))


def test_faces_alone_have_half_the_weight_of_diversity():
    """What is recorded of the small presets was made with 1.0."""
    wanted = {"": 2.0, "afhq": 2.0, "celeba": 1.0, "photos": 1.0, "world": 1.0}
    recipes = {preset: config.resolve(f"configs/starganv2.py:{preset}").method for preset in wanted}
    assert {preset: recipe.diversity_weight for preset, recipe in recipes.items()} == wanted
    assert [recipes[preset].high_pass for preset in ("", "afhq", "celeba")] == [0, 0, 1]


def test_images_without_classes_or_of_too_many_are_refused(tmp_path):
    """And of fewer a note is made: styles are sampled in every domain."""
    method = methods.build("starganv2", domains=2)
    method.check_images("it", 10, ("cat", "dog"))
    for classes, line in (
        ((), "it has no labels, but this"),
        (tuple("abc"), "it has 3 classes: set method.domains"),
    ):
        with pytest.raises(UserError, match=line):
            method.check_images("it", 10, classes)
    wanted = config.update(config.defaults("starganv2"), {"data.source": "procedural:species=3,count=20"})
    with pytest.raises(UserError, match="3 classes: set method.domains to as many"):
        loop.train(wanted, tmp_path / "run")
    source = data.open_source("procedural:species=2,count=20", size=16)
    note = "of 4 domains 2 have images: set method.domains to as many, or noise is sampled too"
    for domains, expected in ((2, []), (4, [note])):
        method = methods.build("starganv2", domains=domains)
        told = list(beginning.notes(wanted, method, {"image": source}, {}, jax.local_devices()))
        assert [line for line in told if "domains" in line] == expected


@pytest.mark.parametrize(
    "values, line",
    [
        (dict(bottleneck=512), "method.bottleneck=512 must be data.image_size=256 at most"),
        (dict(image_size=100), "data.image_size=100 must be a power of two"),
        (dict(crop=dict(scale=(1.0, 0.8))), "method.crop.scale=.* the smaller first"),
        (dict(domains=0), "method.domains=0 must be 1 to 1000"),
    ],
)
def test_settings_that_cannot_be(values, line):
    with pytest.raises(UserError, match=line):
        methods.build("starganv2", values)


def test_the_first_width_follows_the_size():
    for settings, width in ((dict(image_size=64), 256), (dict(image_size=256), 64), (dict(width=7), 7)):
        networks = methods.build("starganv2", settings).networks
        assert networks["generator"].module.width == networks["encoder"].module.width == width
