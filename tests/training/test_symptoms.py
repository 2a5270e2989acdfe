"""What goes wrong with a run is seen in what it draws and loses, and said once, with settings that the method has."""

import json

import numpy as np
import pytest

from tests import tiny_method
from uit_jax import config, methods, settings
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


def test_images_that_are_all_alike_tell_nothing():
    same = np.repeat(CONTENTS[:1], 6, 0)
    assert signs(Drawn({}, whole(same), whole(same))) == {}


def test_the_largest_domain_leaves_a_share():
    found = signs(styled(GOOD, (np.array([2] * 9 + [0]), 4)))
    assert found["signs/free_domains"] == pytest.approx(0.1)
    assert "signs/free_domains" not in signs(styled(GOOD, (np.zeros(10, int), 1)))


def test_the_surest_discriminator_counts():
    record = {"phase": "train", "discriminator_a/real": 0.3, "discriminator_a/fake": 0.4, "discriminator_b/real": 0.01}
    assert of_losses(record) == {"signs/undecided": 0.7}
    assert of_losses({**record, "discriminator_b/fake": 0.02}) == {"signs/undecided": pytest.approx(0.03)}
    # Wasserstein's have no least value.
    assert of_losses({"discriminator/real": -3.0, "discriminator/fake": 1.0}) == of_losses({}) == {}


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


def test_advice_names_settings_that_there_are():
    known = {name: [told.key for told in settings.describe(methods.kind(name), "method")] for name in methods.METHODS}
    for each in SYMPTOMS:
        for name in (each.more + " " + each.less).split():
            assert any(f"method.{name}" in keys for keys in known.values()), name


def test_a_run_says_what_is_wrong(tiny, tmp_path, monkeypatch, capsys):
    recipe = tmp_path / "tiny.py"
    recipe.write_text(tiny_method.CONFIG)
    constant = styled(np.full(GOOD.shape, 0.3), (np.zeros(8, int), 6))
    monkeypatch.setattr(loop.grids, "render", lambda *_: constant)
    loop.train(config.resolve(str(recipe), ["--config.image_every=4"]), tmp_path / "run")
    told = capsys.readouterr().err
    assert told.count("step 8: one pseudo domain holds 100% of the images: the clusters have collapsed") == 1
    assert told.count("content is lost") == told.count("style is ignored") == 1
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [each["signs/content_follows"] for each in records if each["step"] % 4 == 0] == [0.0] * 3
