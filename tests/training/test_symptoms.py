"""What goes wrong with a run is seen in what it draws and loses, and said once, with settings that the method has."""

import functools
import json

import jax
import numpy as np
import pytest

from tests import method_table as table
from tests import tiny_method
from tests.pieces import networks_once
from uit_jax import config, methods, settings
from uit_jax.method import Phase, training_step
from uit_jax.training import loop
from uit_jax.training.symptoms import SYMPTOMS, Drawn, Watch, of_losses, signs

SIDE = 32


def images(count: int, seed: int) -> np.ndarray:
    """Draw images of large patches of colour, float in [0, 1]."""
    patches = np.random.default_rng(seed).uniform(0, 1, (count, 4, 4, 3))
    return patches.repeat(SIDE // 4, 1).repeat(SIDE // 4, 2)


def whole(values: np.ndarray) -> np.ndarray:
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


CONTENTS, REFERENCES = images(6, 0), images(5, 1)
GOOD = (CONTENTS[:, None] + REFERENCES[None]) / 2


def styled(translations, domains=None) -> Drawn:
    return Drawn({}, whole(CONTENTS), whole(translations), whole(REFERENCES), domains)


def test_what_follows_both_is_half_of_each():
    found = signs(styled(GOOD))
    half = pytest.approx(0.5, abs=0.01)
    assert found == {"signs/content_follows": half, "signs/style_follows": half}


@pytest.mark.parametrize(
    ("translations", "content", "style"),
    [
        (np.broadcast_to(CONTENTS[:, None], GOOD.shape), 1, 0),
        (np.broadcast_to(REFERENCES[None], GOOD.shape), 0, 1),
        (np.full(GOOD.shape, 0.3), 0, 0),
    ],
)
def test_what_follows_neither_or_one(translations, content, style):
    found = signs(styled(translations))
    assert found["signs/content_follows"] == pytest.approx(content, abs=1e-6)
    assert found["signs/style_follows"] == pytest.approx(style, abs=1e-6)


def test_noise_of_single_pixels_is_no_answer():
    noise = np.random.default_rng(2).normal(0, 0.1, GOOD.shape)
    assert max(signs(styled(0.5 + noise)).values()) < 0.25
    fine = np.random.default_rng(2).normal(0, 0.1, (6, 5, 320, 320, 3))
    assert max(signs(styled(0.5 + fine)).values()) < 0.05


def test_sampled_styles_answer_to_no_reference():
    more = np.concatenate([GOOD, images(6, 3)[:, None]], axis=1)
    assert signs(styled(more))["signs/style_follows"] == signs(styled(GOOD))["signs/style_follows"]


@pytest.mark.parametrize("depth", [8, 16])
def test_translations_without_style_are_held_against_their_images(depth):
    def drawn(translations):
        stack = [whole(CONTENTS), whole(translations)]
        return Drawn({}, *(each.astype(np.uint16) * 257 if depth == 16 else each for each in stack))

    assert signs(drawn(CONTENTS)) == {"signs/content_follows": 1.0, "signs/changed": 0.0}
    negative = signs(drawn(1 - CONTENTS))
    assert negative["signs/content_follows"] == pytest.approx(1, abs=1e-3) and negative["signs/changed"] > 1
    # Other channels are no change of the same.
    assert signs(drawn(CONTENTS[..., :1])).keys() == {"signs/content_follows"}


def test_another_texture_is_a_change():
    contents, rows = images(6, 0).repeat(4, 1).repeat(4, 2) * 0.8 + 0.1, np.arange(4 * SIDE)
    checks = np.where((rows[:, None] + rows) % 2, 0.1, -0.1)[..., None]
    found = signs(Drawn({}, whole(contents), whole(contents + checks)))
    assert found["signs/content_follows"] == pytest.approx(1, abs=1e-2) and found["signs/changed"] > 0.3


def test_images_that_are_all_alike_tell_nothing():
    same = np.repeat(CONTENTS[:1], 6, 0)
    assert signs(Drawn({}, whole(same), whole(same))) == {}
    assert signs(Drawn({}, whole(CONTENTS[:1]), whole(1 - CONTENTS[:1]))) == {}


def test_the_largest_domain_leaves_a_share():
    found = signs(styled(GOOD, (np.array([2] * 9 + [0]), 4)))
    assert found["signs/free_domains"] == pytest.approx(0.1)
    assert "signs/free_domains" not in signs(styled(GOOD, (np.zeros(10, int), 1)))
    # Of a few images all may well be of one kind.
    assert "signs/free_domains" not in signs(styled(GOOD, (np.zeros(9, int), 4)))


def test_the_surest_discriminator_counts():
    told = functools.partial(of_losses, method=methods.kind("cyclegan")())
    record = {"phase": "train", "discriminator_a/real": 0.3, "discriminator_a/fake": 0.4, "discriminator_b/real": 0.01}
    assert told(record) == {"signs/undecided": 0.7, "signs/bounded": 1}
    assert told({**record, "discriminator_b/fake": 0.02})["signs/undecided"] == pytest.approx(0.03)
    assert told({}) == told({"generator/real": 0.1, "generator/fake": 0.1}) == {}


def test_losses_without_bounds_are_said():
    method = methods.kind("cyclegan")()
    record = {"discriminator_a/real": 0.3, "discriminator_a/fake": 0.4, "discriminator_b/real": 150.0}
    found = of_losses({**record, "discriminator_b/fake": 50.0}, method)
    assert found == {"signs/undecided": 0.7, "signs/bounded": pytest.approx(1 / 200)}
    watch = Watch(method)
    (line,) = [line for _ in range(9) for line in watch.look(found, translates=True)]
    assert line.startswith("the discriminator's losses sum to 200: training has diverged; try less than method.adam")


def test_of_two_kinds_of_drawn_images_that_counts_which_is_told_less_well():
    record = {f"discriminator/{name}": value for name, value in {"real": 0.01, "own": 0.0, "mix": 0.5}.items()}
    assert of_losses(record, methods.kind("swapping_autoencoder")())["signs/undecided"] == pytest.approx(0.51)


def test_losses_that_have_no_least_value_tell_nothing():
    record = {"discriminator_b/real": -3.0, "discriminator_b/fake": 3.01}
    for name in ("cut", "cyclegan"):
        assert of_losses(record, methods.kind(name)(gan_loss="wasserstein")) == {}


SUREST = {"drit": 4, "starganv2": 2, "swapping_autoencoder": 2, "gcgan": 2, "munit": 2}
"""How many pairs of losses on real and drawn images there are, where it is not one."""
SUREST |= dict.fromkeys(("cyclegan", "distancegan", "selfdistance"), 2)


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_tells_how_sure_its_discriminators_are(name):
    """By the names of the metrics that it has; each discriminator is the surest where its loss on real images is 0."""
    method, found = table.build(name), set()
    for phase in table.phases(method):
        step = functools.partial(training_step(method), phase=phase)
        with networks_once():
            found |= set(jax.eval_shape(step, table.shapes(method), table.batch_of(method, phase=phase))[1])
    record = dict.fromkeys(found, 0.25)
    assert of_losses(record, method)["signs/undecided"] == 0.5
    real = [key for key in found if of_losses({**record, key: 0.0}, method)["signs/undecided"] == 0.25]
    real = [key for key in real if "real" in key.partition("/")[2].split("_")]
    assert len(real) == SUREST.get(name, 1), sorted(found)


def test_it_is_said_once_and_only_when_it_stays():
    watch, bad = Watch(methods.kind("tunit")()), {"signs/style_follows": 0.01}
    said = [list(watch.look(found, translates=True)) for found in (bad, {"signs/style_follows": 0.3}, bad, bad, bad)]
    assert [len(lines) for lines in said] == [0, 0, 0, 1, 0]
    assert said[3][0] == (
        "translations in different styles are alike, 1.0% as different as the references: style is ignored;"
        " try more than method.style_weight=0.01, method.adversarial_weight=1.0"
    )


def test_before_translations_are_learnt_domains_alone_count():
    watch = Watch(methods.kind("tunit")())
    found = {"signs/content_follows": 0.0, "signs/free_domains": 0.0}
    lines = [line for _ in range(4) for line in watch.look(found, translates=False)]
    assert len(lines) == 1 and lines[0].startswith("one pseudo domain holds 100% of the images")


def test_looks_at_something_else_are_no_looks():
    watch, bad = Watch(methods.kind("tunit")()), {"signs/style_follows": 0.01}
    said = [list(watch.look(found, translates=True)) for found in (bad, {}, {"signs/undecided": 1.0}, bad)]
    assert [len(lines) for lines in said] == [0, 0, 0, 1]


def advice(method, measure: str) -> str:
    watch = Watch(method)
    said = [line for _ in range(5) for line in watch.look({measure: 0.0}, translates=True)]
    return "".join(said).partition("; try ")[2]


def test_there_is_no_less_than_nothing_and_no_more_than_all():
    kind = methods.kind("cut")
    assert "less than method.nce_weight=1.0" in advice(kind(), "signs/changed")
    assert "less" not in advice(kind(nce_weight=0.0), "signs/changed")
    assert "augmentation.kinds=()" in advice(kind(), "signs/undecided")
    changed = {"augmentation": {"kinds": ("color", "translation", "cutout")}}
    assert "augmentation" not in advice(methods.build("cut", changed), "signs/undecided")
    # Of a batch size that is 0 for another's there is no more.
    collapsed = advice(methods.kind("tunit")(), "signs/free_domains")
    assert "method.guide_steps=65000" in collapsed and "guide_batch_size" not in collapsed
    given = methods.build("tunit", {"guide_batch_size": 64})
    assert "method.guide_batch_size=64" in advice(given, "signs/free_domains")


@pytest.mark.parametrize(
    ("name", "measure", "setting"),
    [
        ("distancegan", "signs/content_follows", "distance_weight=1.0"),
        ("drit", "signs/content_follows", "cross_weight=10.0"),
        ("swapping_autoencoder", "signs/content_follows", "l1_weight=1.0"),
        ("swapping_autoencoder", "signs/style_follows", "patch_weight=1.0"),
        ("sincut", "signs/changed", "identity_l1_weight=1.0"),
    ],
)
def test_advice_names_what_a_method_calls_it(name, measure, setting):
    assert f"method.{setting}" in advice(methods.kind(name)(), measure)


def test_advice_names_settings_that_there_are():
    known = {name: [told.key for told in settings.describe(methods.kind(name), "method")] for name in methods.METHODS}
    for each in SYMPTOMS:
        for name in (each.more + " " + each.less).split():
            assert any(f"method.{name}" in keys for keys in known.values()), name


def test_a_run_says_what_is_wrong(tiny, tmp_path, monkeypatch, capsys):
    recipe = tmp_path / "tiny.py"
    recipe.write_text(tiny_method.CONFIG)
    constant = styled(np.full(GOOD.shape, 0.3), (np.zeros(12, int), 6))
    monkeypatch.setattr(loop.grids, "render", lambda *_, **__: constant)
    # Stopped after every look, it is the same run.
    for steps in (4, 8, 12):
        loop.train(config.resolve(str(recipe), ["--config.image_every=4", f"--config.steps={steps}"]), tmp_path / "run")
    told = capsys.readouterr().err
    assert told.count("step 8: one pseudo domain holds 100% of the images: the clusters have collapsed") == 1
    assert told.count("content is lost") == told.count("style is ignored") == 1
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [each["signs/content_follows"] for each in records if each["step"] % 4 == 0] == [0.0] * 3


def test_a_method_of_turns_is_looked_at_from_its_first_turn_on(tiny, tmp_path, monkeypatch, capsys):
    """Though pictures are drawn behind another's, and the run went on from a checkpoint since."""
    recipe = tmp_path / "tiny.py"
    recipe.write_text(tiny_method.CONFIG)
    monkeypatch.setattr(tiny_method.Tiny, "phase", lambda _, step: Phase("turn", translates=step == 0))
    monkeypatch.setattr(loop.grids, "render", lambda *_, **__: styled(np.full(GOOD.shape, 0.3)))
    for steps in (4, 12):
        settings = [f"--config.steps={steps}", "--config.image_every=4"]
        loop.train(config.resolve(str(recipe), settings), tmp_path / "run")
    assert "step 8: translations of different images are alike" in capsys.readouterr().err
