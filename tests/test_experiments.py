import dataclasses
import functools
import json
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import cluit, cut, photographs, relabel, report, run, scoring, starganv2, tables, tunit, world
from experiments.tables import TABLES
from tests import toy
from tests.pieces import shapes_once
from uit_jax import config as config_module
from uit_jax import evaluation, runs
from uit_jax import method as method_module
from uit_jax.errors import UserError
from uit_jax.evaluation import Judge, networks, oracle, perceptual
from uit_jax.training import budget, feed, loop, measure

ROWS = [(f"{table} {row.name}", row) for table, found in TABLES.items() for row in found.rows]
OURS = [(name, row) for name, row in ROWS if not row.absent]
OWN = ("world/", "photographs/")


@pytest.mark.parametrize("name, row", OURS, ids=[name for name, _ in OURS])
def test_every_row_resolves_and_builds(name, row):
    config = run.build_config(row, source=row.data.source or "procedural", seed=1)
    config_module.method_of(config)
    shape = config.data.image_size, config.batch_size, config.steps
    if name.startswith("world/"):
        assert config.data.image_size == 32 and config.data.source == row.data.source
    elif name.startswith("photographs/views"):
        assert shape == (32, 16, 750) and config.method.guide_steps == 750 and config.method.domains == row.data.classes
    elif name.startswith("photographs/"):
        large = "128 " in name
        assert (config.data.image_size, config.hours) == ((128, 0.1667) if large else (64, 1))
        assert config.precision == ("bf16" if large else "float32")
        assert getattr(config.method, "domains", row.data.classes) == row.data.classes
    elif config.method.name == "tunit":
        assert shape == (128, 32, 200_000)
    elif config.method.name == "funit":
        assert shape == (128, 64, 100_000) and config.method.domains == row.data.classes
    elif config.method.name == "semit":
        assert shape == (128, 128, 130_000) and config.method.domains == row.data.classes
        assert 0 < config.method.labels.share < 1
    elif name.endswith("swapae"):
        assert shape == (128, 32, 781_250)
    elif name.startswith("starganv2/"):
        assert shape == (256, 8, 100_000) and config.method.domains == row.data.classes
        assert (config.method.high_pass > 0) == name.endswith("celebahq")
    elif name.endswith("stargan-v2"):
        assert shape == (128, 8, 100_000) and config.method.domains == 3 and config.method.diversity_weight == 2
    elif config.method.name == "cluit":
        assert shape == (128, 32, 100_000)
    elif name.endswith("sincut"):
        assert shape == (64, 1, 100_000)
    elif config.method.name == "gcgan":
        size, batch = (128, 12) if name.endswith("cityscapes-gcgan") else (256, 8)
        assert shape == (size, batch, 200 * (max(row.data.pair) // batch))
    elif config.method.name in ("distancegan", "selfdistance"):
        epoch = max(row.data.pair) // 2
        assert shape == (256, 2, min(900, epoch) + 200 * epoch)
    elif name.endswith("munit"):
        assert shape == (256, 1, 1_000_000)
        assert config.method.cycle_weight == (0 if "cat2dog" in name else 10) and config.method.load_size == 256
    elif name.endswith("drit"):
        # 1200 epochs, of two images a step.
        assert shape == (216, 2, 600 * max(row.data.pair)) and config.method.mode_seeking_weight == 0
        assert config.method.schedule.constant_steps == config.steps // 2 and config.method.load_size == 256
        assert config.method.styling == ("featurewise" if "cat2dog" in name else "concat")
    else:
        # Epochs are those of the larger domain.
        epochs = 200 if name.endswith(("fastcut", "cyclegan")) else 400
        assert shape == (256, 1, epochs * max(row.data.pair))
        assert config.method.schedule.constant_steps == config.steps * (3 if name.endswith("fastcut") else 2) // 4
        assert config.method.load_size == 286 and config.data.resample == "bicubic"
    assert config.seed == 1
    if "constant_steps" in config.method.get("schedule", ()):
        measured = config.method.get("measuring_steps", 0)
        assert config.steps - measured == config.method.schedule.constant_steps + config.method.schedule.decay_steps


@pytest.mark.slow
def test_every_row_can_be_initialised():
    """At the paper's widths, by shapes alone; rows that differ in nothing that has a shape are one case."""
    seen = {}
    shapeless = (
        "labelled_share labels.share labels.steps labels.cycle_steps average_start schedule.constant_steps"
        " schedule.decay_steps measuring_steps patches patches.count nce_weight nce_trains_decoder view.degrees"
        " view.translate view.shear view.crop_sides r1.weight cycle_weight"
    ).split()
    for name, row in OURS:
        config = row.config()
        flat = config_module.flatten(config.method)
        settings = {key: value for key, value in flat.items() if key not in shapeless}
        key = json.dumps([config.data.image_size, settings], sort_keys=True, default=str)
        if key not in seen:
            method = config_module.method_of(config)
            with shapes_once():
                seen[key] = jax.eval_shape(lambda c=config, m=method: config_module.initial_state(c, m))
        if config.method.name == "tunit":
            logits = seen[key].learners["guide"].params["cluster"]["kernel"]
            heads = len(config.method.marginal_weights)
            assert logits.shape[1] == heads * config.method.domains, name
            assert logits.shape[0] == 512 or name.startswith(OWN)
        elif not name.startswith(OWN):
            check_sizes(name, config, seen[key])


def check_sizes(name, config, state):
    """Compare a method's parameters with those of the published networks."""
    counts = {
        learner: sum(leaf.size for leaf in jax.tree.leaves(state.learners[learner].params))
        for learner in state.learners
    }
    if config.method.name == "funit":
        heads = 1_025 * (config.method.domains - 119)
        assert counts == {"generator": 29_866_435, "discriminator": 54_252_599 + heads}
        return
    if config.method.name == "semit":
        heads = 1_025 * (config.method.domains - 119)
        assert (counts["generator"], counts["discriminator"]) == (65_605_312, 54_252_599 + heads)
        return
    if name.endswith("swapae"):
        expected = {"encoder": 30_584_872, "generator": 25_064_743, "discriminator": 28_384_513}
        assert counts == {**expected, "patch_discriminator": 24_522_145}
        return
    if name.startswith("starganv2/"):
        assert 20_000_000 < counts["discriminator"] < counts["generator"]
        return
    if name.endswith("stargan-v2"):
        expected = {"generator": 33_632_003, "mapping": 3_259_072, "encoder": 20_832_576, "discriminator": 20_735_619}
        assert counts == expected
        return
    if name.startswith("cluit/"):
        assert counts == {"generator": 24_751_107, "encoder": 16_195_776, "discriminator": 20_456_769}
        return
    if name.endswith("sincut"):
        assert counts == {"generator": 3_068_404, "discriminator": 5_885_473, "patches": 280_832}
        return
    if name.endswith("cyclegan"):
        generators, discriminators = ("generator_ab", "generator_ba"), ("discriminator_a", "discriminator_b")
        assert counts == dict.fromkeys(generators, 11_378_179) | dict.fromkeys(discriminators, 2_764_737)
        return
    if config.method.name == "gcgan":
        generators = ["generator"] if config.method.shared else ["generator", "generator_turned"]
        if config.data.image_size == 256:
            assert [counts[each] for each in generators] == [11_378_179] * len(generators)
        assert [counts[f"discriminator_{each}"] for each in ("b", "turned")] == [2_764_737] * 2
        assert len(counts) == len(generators) + 2
        return
    if config.method.name in ("distancegan", "selfdistance"):
        generators, discriminators = ("generator_ab", "generator_ba"), ("discriminator_a", "discriminator_b")
        assert counts == dict.fromkeys(generators, 11_388_675) | dict.fromkeys(discriminators, 2_766_529)
        return
    if name.endswith("munit"):
        generators, discriminators = ("generator_a", "generator_b"), ("discriminator_a", "discriminator_b")
        assert counts == dict.fromkeys(generators, 15_026_187) | dict.fromkeys(discriminators, 8_271_171)
        return
    if name.endswith("drit"):
        featurewise = config.method.styling == "featurewise"
        assert counts == {
            "content_encoder": 9_018_112,
            "style_encoder": 5_529_872 if featurewise else 2_688_160,
            "generator": 17_146_374 if featurewise else 9_564_710,
            "discriminator": 2 * 8_271_171,
            "random_discriminator": 2 * 8_271_171,
            "content_discriminator": 10_683_649,
        }
        return
    layers = 1 if name.endswith("-last") else 5
    expected = {
        "generator": 11_378_179,
        "discriminator": 2_764_737,
        "patches": 560_384 if layers == 5 else 2 * (256 * 256 + 256),
    }
    if name.endswith("two-encoders"):
        expected |= {f"output_{learner}": expected[learner] for learner in ("generator", "patches")}
    assert counts == expected, name
    queues = jax.tree.leaves(state.memory)
    assert [queue.shape for queue in queues] == [(16_384, 256)] * (2 * layers if "-ext" in name else 0), name


def test_names_are_unique_and_data_sets_known():
    for table in TABLES.values():
        assert len({row.name for row in table.rows}) == len(table.rows)
    known = [*tunit.DATA_SETS.values(), *cut.DATA_SETS.values(), *cluit.DATA_SETS.values()]
    known += [
        *starganv2.DATA_SETS.values(),
        *photographs.DATA_SETS.values(),
        world.WORLD,
        world.DISKS,
        world.FIVE,
        world.EIGHTY,
    ]
    assert all(row.data in known for _, row in ROWS)
    # What is named has a number in the paper, or says that there is none; of our own nothing is published.
    for name, row in ROWS:
        assert bool(row.paper) == (tables.paper_of(name).published and cut._PICTURES not in row.notes), name
    assert all(metric in tables.paper_of(name).metrics for name, row in ROWS for metric in row.paper)
    assert all(row.config().method.domains == 10 for row in TABLES["tunit/table1"].rows if not row.absent)
    animals = tunit.DATA_SETS["animalfaces10"]
    assert len(set(animals.names)) == animals.classes


def test_rows_set_what_their_names_say():
    method = tables.find_row("tunit/table1", "animalfaces10-no-feedback").config().method
    assert not method.adversarial_feedback
    assert tables.find_row("tunit/table1", "food10-b").config().method.labels.share == 1
    assert tables.find_row("tunit/table1", "food10-e").config().method.joint_training == "frozen_domains"
    assert tables.find_row("tunit/table1", "food10-f").config().method.joint_training == "frozen"
    assert tables.find_row("tunit/table2", "food10-1000").config().method.domains == 1000
    few = tables.find_row("tunit/table3", "animalfaces149-funit-8pct").config().method
    assert (few.labelled_share, few.domains) == (0.08, 149)
    for letter, by in (("b", None), ("c", ("kmeans-pixels", 128, "")), ("d", ("kmeans-features", 32, ""))):
        row = tables.find_row("tunit/table1", f"food10-{letter}")
        assert row.config().method.labels.share == 1
        assert (row.relabel and dataclasses.astuple(row.relabel)) == by
    few = tables.find_row("tunit/table3", "food101-semit-8pct").config().method
    assert (few.labels.share, few.domains) == (0.08, 101)
    semi = tables.find_row("tunit/table3", "animalfaces149-tunit-8pct").config().method
    assert (semi.labels.share, semi.domains) == (0.08, 149)


def test_rows_of_cut_set_what_their_names_say():
    def settings(row, table="cut/figure4"):
        method = tables.find_row(table, row).config().method
        negatives, layers = (method.patches.count - 1, method.negatives.kind), method.patches.layers
        return method.identity, method.nce_weight, len(layers), layers[-1], *negatives

    assert settings("horse2zebra-cut") == (True, 1, 5, 16, 255, "internal")
    assert settings("horse2zebra-cut", "cut/table1") == settings("cut", "cut/c5") == settings("horse2zebra-cut")
    assert settings("horse2zebra-no-id") == (False, 10, 5, 16, 255, "internal")
    assert settings("cityscapes-no-id-15neg") == (False, 10, 5, 16, 15, "internal")
    assert settings("cityscapes-no-id-15neg-last") == (False, 10, 1, 16, 15, "internal")
    assert settings("horse2zebra-last") == (True, 1, 1, 16, 255, "internal")
    assert settings("cityscapes-ext") == (True, 1, 5, 16, 255, "external")
    assert settings("cityscapes-int-ext") == (True, 1, 5, 16, 255, "both")
    assert settings("cityscapes-ext-last") == (True, 1, 1, 16, 255, "external")
    assert not tables.find_row("cut/c5", "two-encoders").config().method.shared_encoder
    assert not tables.find_row("cut/c5", "no-decoder-gradient").config().method.nce_trains_decoder
    fast = tables.find_row("cut/table1", "cat2dog-fastcut").config().method
    assert (fast.name, fast.flip_equivariance, fast.identity, fast.nce_weight) == ("fastcut", True, False, 10)
    for name, row in OURS:
        if name.startswith("cut/"):
            direction = "BtoA" if "cityscapes" in name else "AtoB"
            assert row.config().data.direction == direction


def test_rows_of_cluit_set_what_their_names_say():
    def method(table, row):
        return tables.find_row(f"cluit/{table}", row).config().method

    assert method("table1", "afhq-tunit-3").domains == 3 and method("table1", "celeba-tunit-30").domains == 30
    assert all(row.config().method.name == "cluit" for row in TABLES["cluit/table2"].rows)

    def policy(row):
        m = method("table2", row)
        affine = m.view.degrees > 0, m.view.translate > 0, m.view.shear > 0
        assert m.view.hue > 0 and m.flip == 0.5 and m.patches == 4 and m.patch_sides == (0.125, 1)
        assert len(set(affine)) == 1
        return affine[0], m.view.crop_sides

    assert policy("color-0.125") == (False, (0.125, 1))
    assert policy("color-affine-0.125") == (True, (0.125, 1))
    assert policy("color-affine-0.5") == (True, (0.5, 1))
    assert policy("color-affine-0.9") == (True, (0.9, 1))
    patches = {row.name: row.config().method.patches for row in TABLES["cluit/table3"].rows}
    assert patches == {"full-image": 0, "patch-mean-1": 1, "patch-mean-4": 4, "patch-mean-8": 8}


def test_rows_of_the_world_set_what_their_names_say():
    assert tables.find_row("world/methods", "cluit").config().method.patches == 4
    assert tables.find_row("world/methods", "cluit-full").config().method.patches == 0
    assert tables.find_row("world/labels", "embedding-10pct").config().method.labelled_share == 0.1
    assert tables.find_row("world/labels", "embedding-100pct").config().method.labelled_share == 1
    assert tables.find_row("world/labels", "funit-10pct").config().method.labelled_share == 0.1
    semit = config_module.method_of(tables.find_row("world/labels", "semit-10pct").config())
    assert [semit.phase(step).translates for step in (399, 400)] == [False, True]
    for name in ("funit", "cluit"):
        row = tables.find_row("world/unseen", name)
        config = run.build_config(row, source=row.data.source, seed=0)
        assert (config.data.source, config.data.test_source) == ("procedural:species=5", "procedural")
    for name in ("projection", "logit"):
        assert tables.find_row("world/conditioning", name).config().method.conditioning == name


@pytest.mark.parametrize(
    ("share", "guide", "joint"),
    [("0pct", {"guide": 750}, 0), ("10pct", {"guide_labelled": 462, "guide": 288}, 84), ("100pct", {}, 850)],
)
def test_shares_of_labels_train_the_generator_equally_long(share, guide, joint):
    config = tables.find_row("world/labels", f"tunit-{share}").config()
    method = config_module.method_of(config)
    phases = [method.phase(step) for step in range(config.steps)]
    names = [phase.name for phase in phases]
    joints = [phase for phase in phases if phase.translates]
    assert len(joints) == 850 and sum(phase.name.endswith("labelled") for phase in joints) == joint
    assert {name: names.count(name) for name in names if not name.startswith("joint")} == guide
    # The average begins with the generator's training.
    assert phases[config.method.average_start :] == joints
    assert {phase.stream.kind for phase in joints} == ({"labelled", "unlabelled"} if share == "10pct" else {"all"})


def test_a_row_with_anothers_runs_has_its_settings():
    shared = [(name.split()[0], row) for name, row in ROWS if row.same_as]
    assert len(shared) == 11
    for table, row in shared:
        home, origin = tables.home(table, row)
        assert not origin.same_as and origin in TABLES[home].rows and set(row.seeds) <= set(origin.seeds)
        assert (origin.data, origin.relabel) == (row.data, row.relabel)
        assert origin.config().to_dict() == row.config().to_dict()


def test_the_papers_numbers_are_where_they_belong():
    """Some of them, read off the paper once more."""
    expected = {
        ("tunit/table1", "animalfaces10-g"): dict(mfid=47.7, density=1.039, coverage=0.805, accuracy=0.841),
        ("tunit/table1", "food10-f"): dict(mfid=61.1, density=0.908, coverage=0.777, accuracy=0.860),
        ("tunit/table2", "animalfaces10-10"): dict(mfid=47.7, density=1.039, coverage=0.805),
        ("tunit/table2", "food10-500"): dict(mfid=63.2, density=0.986, coverage=0.826),
        ("tunit/table3", "food101-tunit-60pct"): dict(mfid=68.2),
        ("tunit/table3", "animalfaces10-funit-1pct"): dict(mfid=179.8),
        ("tunit/table1", "food10-a"): dict(mfid=68.4, density=0.989, coverage=0.782),
        ("tunit/table1", "food10-d"): dict(mfid=64.6, density=0.968, coverage=0.808, accuracy=0.331),
        ("tunit/ioi", "food10-iic-contrast"): dict(ioi=2.50, accuracy=0.860),
        ("starganv2/synthesis", "afhq"): dict(
            latent_fid=16.18, latent_lpips=0.4501, reference_fid=19.78, reference_lpips=0.4315
        ),
        ("tunit/table3", "animalfaces149-semit-4pct"): dict(mfid=134.0),
        ("cut/table1", "horse2zebra-cut"): dict(fid=45.5, seconds=0.24, gigabytes=3.33),
        ("cut/table1", "horse2zebra-gcgan"): dict(fid=86.7, seconds=0.26, gigabytes=2.67),
        ("cut/table1", "cat2dog-fastcut"): dict(fid=94.0),
        ("cut/table1", "cityscapes-cut"): dict(miou=24.7, pixel_accuracy=68.8, class_accuracy=30.7, fid=56.4),
        ("cut/table1", "cityscapes-drit"): dict(miou=17.0, pixel_accuracy=58.7, class_accuracy=22.2, fid=155.3),
        ("cut/figure4", "horse2zebra-last"): dict(fid=441.7),
        ("cut/figure4", "cityscapes-int-ext"): dict(fid=64.4, miou=20.0),
        ("cut/figure4", "cityscapes-no-id-15neg-last"): dict(fid=114.1, miou=16.0),
        ("cut/c5", "no-decoder-gradient"): dict(fid=444.2),
        ("cluit/table1", "afhq-stargan-v2"): dict(mfid=14.6, accuracy=97.0),
        ("cluit/table1", "afhq-swapae"): dict(mfid=65.3, accuracy=52.5),
        ("cluit/table1", "afhq-cluit"): dict(mfid=17.8, accuracy=96.1),
        ("cluit/table1", "celeba-tunit-10"): dict(fid=5.3, accuracy=78.6),
        ("cluit/table1", "celeba-cluit"): dict(fid=5.0, accuracy=90.1),
        ("cluit/table2", "color-0.125"): dict(mfid_ablation=21.25, accuracy=94.9),
        ("cluit/table2", "color-affine-0.9"): dict(mfid_ablation=20.71, accuracy=95.8),
        ("cluit/table3", "full-image"): dict(mfid_ablation=19.08, accuracy=95.8),
        ("cluit/table3", "patch-mean-8"): dict(mfid_ablation=17.98, accuracy=96.4),
    }
    for (table, name), paper in expected.items():
        assert tables.find_row(table, name).paper == paper


def test_every_published_number_has_a_score_beside_it_or_a_reason_why_not():
    """A score is one of the evaluators' that the row's table runs, or of the cost of a step."""
    usual = {name for each in evaluation.USUAL for name in each.scores}
    cost = {"seconds_per_iteration", "gigabytes", "million_parameters"}
    for name, row in ROWS:
        table, metrics = name.split()[0], tables.paper_of(name).metrics
        own = {score for each in TABLES[tables.home(table, row)[0]].evaluators for score in each.scores}
        for metric in (metrics[each] for each in row.paper):
            assert bool(metric.score) != bool(metric.absent), (name, metric)
            assert not metric.score or metric.score in usual | cost | own, (name, metric)
    for paper in tables.PAPERS.values():
        for metric in paper.metrics.values():
            assert bool(metric.score) == bool(metric.protocol) and metric.needs in ("", *scoring.NEEDS)
            # What is by published weights is never taken for ours without them.
            by_weights = ("fid", "lpips", "class_density", "class_coverage")
            named = any(part in metric.score for part in by_weights) or metric.score in Judge.scores
            assert bool(metric.needs) == named


def test_what_nobody_names_is_left_out_with_a_line(tmp_path, monkeypatch):
    for variable in (networks.VARIABLE, perceptual.VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    weights = tmp_path / "inception.npz"
    weights.write_bytes(b"")
    table, row = "tunit/table1", tables.find_row("tunit/table1", "food10-g")
    assert [each.name for each in scoring.scorers(table, scoring.find_named())] == ["kmeans", "variance"]
    told = ["food10-g: without mFID, density, coverage, for which --inception=FILE or $UIT_INCEPTION is to be given"]
    assert scoring.left_out(table, row, scoring.find_named()) == told
    monkeypatch.setenv(networks.VARIABLE, str(weights))
    *_, classes = scoring.scorers(table, scoring.find_named())
    assert (classes.name, classes.inception) == ("tunit_classes", str(weights))
    # The input of the published numbers.
    assert classes.resize == "nearest_normalized_twice" and scoring.left_out(table, row, scoring.find_named()) == []
    judged = scoring.scorers("cluit/table2", scoring.find_named(judge=str(tmp_path / "judge.npz")))
    assert [each.name for each in judged] == ["cluit_classes", "judge"] and judged[1].file == tmp_path / "judge.npz"
    assert scoring.left_out("cluit/table1", tables.find_row("cluit/table1", "celeba-cluit"), {}) == []
    assert scoring.scorers("starganv2/synthesis", {}) == () and scoring.scorers("starganv2/synthesis", {"lpips": "x"})
    with pytest.raises(UserError, match="--inception=.*none.npz: no such file"):
        scoring.find_named(inception=str(tmp_path / "none.npz"))


@pytest.fixture
def inception(tmp_path, monkeypatch):
    """Pretend that random features are those of a file of Inception's."""
    path = tmp_path / "weights.npz"
    path.write_bytes(b"")
    network = dataclasses.replace(networks.random_network(), kind="inception", weights=str(path))

    def choose(*, inception, resize, channels, **others):
        assert inception == str(path) and channels == 3
        return network

    monkeypatch.setattr(networks, "choose", choose)
    return f"--inception={path}"


def test_with_weights_the_columns_of_classes_are_filled(tmp_path, trained, inception, capsys):
    source = write_set(tmp_path / "set", ["a", "b", "c"])
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", "--seeds=0", "--config.steps=5"]
    assert run.main(["tunit/1", "animalfaces10-g", f"--substitute={source}", inception, *where]) == 0
    assert "without" not in capsys.readouterr().out
    (path,) = (tmp_path / "results").rglob("*.json")
    record = json.loads(path.read_text())
    assert record["features"]["weights"] == "weights.npz"
    scores = {name: record["scores"][f"mean_class_{name}_tunit"] for name in ("fid", "density", "coverage")}
    assert report.main(["tunit/1", f"--results={tmp_path / 'results'}"]) == 0
    cells = table_of(capsys.readouterr().out, "Table 1: configurations")["animalfaces10-g"]
    assert cells["mFID"] == f"47.7 / {scores['fid']:.1f}" and cells["density"] == f"1.039 / {scores['density']:.3f}"
    assert cells["coverage"] == f"0.805 / {scores['coverage']:.3f}"


def test_with_weights_the_column_of_pairs_is_filled(tmp_path, trained_pair, inception, monkeypatch, capsys):
    monkeypatch.setitem(vars(cut.DATA_SETS["horse2zebra"]), "pair", (8, 8))
    sides = tuple(method_module.Side(name, 3) for name in ("a", "b"))
    method = toy.altered(toy.method(), readouts={}, sides=sides, translate=lambda variables, inputs: -inputs["content"])
    monkeypatch.setattr(runs, "load", lambda path, load=runs.load: dataclasses.replace(load(path), method=method))
    pair = write_pair(tmp_path / "pair", (8, 8), tests=8)
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", "--seeds=0"]
    assert run.main(["cut/figure4", "horse2zebra-cut", f"--data={pair}", inception, *where]) == 0
    (path,) = (tmp_path / "results").rglob("*.json")
    record = json.loads(path.read_text())
    assert record["scores"]["fid"] > 0 and "seconds_per_iteration" in record["scores"]
    capsys.readouterr()
    assert report.main(["cut/figure4", f"--results={tmp_path / 'results'}"]) == 0
    cells = table_of(capsys.readouterr().out, "Figure 4: ablations")["horse2zebra-cut"]
    assert cells["FID"] == f"45.5 / {record['scores']['fid']:.1f}"


def write_set(root, classes):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for index, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 100, (16, 16, 3))
                image[..., index % 3] += 100
                Image.fromarray(image.astype(np.uint8)).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture
def trained(monkeypatch):
    """Pretend to train: every workdir then holds the toy, trained for as many steps as its config asks."""
    made = {}

    def pretend(config, workdir, overrides=()):
        made[str(workdir)] = config

    def load(workdir):
        config = made[str(workdir)]
        method = toy.method(image_size=config.data.image_size)
        if "cluster" not in config_module.method_of(config).readouts:
            method = toy.altered(method, readouts={"style": method.style})
        return runs.Trained(workdir, config, method, toy.variables(), config.steps)

    monkeypatch.setattr(loop, "train", pretend)
    monkeypatch.setattr(runs, "load", load)
    return made


def test_a_row_is_run_for_each_seed_and_reported_beside_the_paper(tmp_path, trained, capsys):
    source = write_set(tmp_path / "set", ["a", "b", "c"])
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
    arguments = ["tunit/1", "animalfaces10-g", f"--substitute={source}", "--config.steps=5", *where]
    assert run.main([*arguments, "--seeds=0,2"]) == 0
    files = sorted((tmp_path / "results").rglob("*.json"))
    assert [path.name for path in files] == ["seed0.json", "seed2.json"]
    result = json.loads(files[1].read_text())
    assert (result["table"], result["row"], result["training_seed"]) == ("tunit/table1", "animalfaces10-g", 2)
    assert result["substitute"] and result["changes"] == {"steps": "5"} and result["step"] == 5
    assert result["commit"] and result["images"] == 12 and result["scores"]["cluster_accuracy"] == 1
    assert "kmeans_accuracy" in result["scores"]

    capsys.readouterr()
    assert report.main(["tunit/table1", f"--results={tmp_path / 'results'}"]) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.startswith("| animalfaces10-g "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:5] == ["47.7 / not run", "1.039 / not run", "0.805 / not run", "0.841 / 1.000 (1.000 to 1.000)"]
    assert cells[5].startswith("- / ") and cells[6:10] == ["0,2", "5", "12", result["commit"]]
    for note in ("other data, so no reproduction", "changed: steps=5", "not run: seed 1", "Hungarian"):
        assert note in text


def test_other_settings_are_another_line_and_another_run(tmp_path, trained, capsys):
    source = write_set(tmp_path / "set", ["a", "b", "c"])
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", "--seeds=0"]
    for steps in (5, 6):
        run.main(["tunit/2", "food10-4", f"--substitute={source}", f"--config.steps={steps}", *where])
    assert len(trained) == 2
    capsys.readouterr()
    report.main(["tunit/2", f"--results={tmp_path / 'results'}"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| food10-4 ")]
    assert len(lines) == 2 and all("- / 1.000" in line for line in lines)


def test_with_given_labels_there_is_no_clustering_to_score(tmp_path, trained, capsys):
    source = write_set(tmp_path / "set", ["a", "b", "c"])
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path}", "--seeds=0"]
    assert run.main(["tunit/1", "food10-b", f"--substitute={source}", *where]) == 0
    (path,) = (tmp_path / "tunit/table1").rglob("*.json")
    assert [name for name in json.loads(path.read_text())["scores"] if name.startswith("cluster")] == []
    capsys.readouterr()
    report.main(["tunit/1", f"--results={tmp_path}"])
    assert "| food10-b " in capsys.readouterr().out


def test_where_nothing_was_run_the_report_says_so(tmp_path, capsys):
    report.main([f"--results={tmp_path / 'none'}"])
    text = capsys.readouterr().out
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| row ")]
    assert len(lines) == len(ROWS)
    assert all(("not run" in line) != ("not here" in line) for line in lines)
    for remark in ("five best of a run", "GTX 1080", "best one over training"):
        assert remark in text


def test_a_series_is_no_result_of_a_row(tmp_path):
    (tmp_path / "series.json").write_text('{"series": {}, "steps": [1]}')
    assert report.load(tmp_path) == []


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "seed0.json").write_text("{}")
    with pytest.raises(UserError, match=r"seed0\.json is not a result"):
        report.load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table9", "x"], "no table 'table9'"),
        (["tunit/table1", "animalfaces10-h"], "did you mean animalfaces10-"),
        (["cluit/3", "patch-mean-2"], "did you mean patch-mean-"),
        (["cluit/1", "celeba-cluit"], "a folder with train and test of CelebA"),
        (["cluit/1", "afhq-swapae"], "--data=PATH is missing: a folder with train/CLASS and test/CLASS of AFHQ"),
        (["world/methods", "clut"], "did you mean cluit"),
        (["world/methods", "cluit", "--data=x"], "--data=x: leave it out, for the procedural world is 'procedural'"),
        (["world/methods", "cluit", "--config.data.source=procedural"], "say it with --data or --substitute"),
        (["cut/table1", "horse2zebra-cut"], "trainA, trainB, testA and testB of Horse→Zebra"),
        (["cut", "horse2zebra-cut"], "cut is a paper; name one of its tables: cut/table1, cut/figure4"),
        (["tunit/table1", "animalfaces10-g"], "--data=PATH is missing: a folder with train/CLASS"),
        (["tunit/1", "animalfaces10-g", "--substitute=x", "--config.seed=1"], "--seeds"),
        (["tunit/1", "animalfaces10-g", "--substitute=x", "--config.data.source=y"], "--substitute"),
        (["tunit/1", "animalfaces10-g", "--substitute=x", "--config.stepps=1"], "steps"),
        (["tunit/table1"], "name a table and a row"),
        (["--list", "unit"], "no table 'unit'"),
    ],
)
def test_what_cannot_be_run_is_told(arguments, message):
    with pytest.raises(UserError, match=message):
        run.main(arguments)


def test_images_are_not_taken_for_a_data_set_they_are_not(tmp_path, trained):
    source = write_set(tmp_path / "set", [f"class{i}" for i in range(10)])
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", "--seeds=0"]
    with pytest.raises(UserError, match="is not AnimalFaces-10"):
        run.main(["tunit/1", "animalfaces10-g", f"--data={source}", *where])
    real = write_set(tmp_path / "real", tunit.DATA_SETS["animalfaces10"].names)
    assert run.main(["tunit/1", "animalfaces10-g", f"--data={real}", *where]) == 0
    assert (tmp_path / "results" / "tunit" / "table1" / "animalfaces10-g" / "seed0.json").exists()


def test_a_set_without_classes_is_known_by_its_number(tmp_path, monkeypatch):
    monkeypatch.setitem(vars(cluit.DATA_SETS["celeba"]), "images", 3)
    row = tables.find_row("cluit/table1", "celeba-cluit")
    for count in (3, 4):
        root = tmp_path / str(count)
        for split in ("train", "test"):
            (root / split).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (16, 16), (i, 0, 99)).save(root / split / f"{i}.png")
    run.check_data(row, run.build_config(row, source=str(tmp_path / "3"), seed=0))
    with pytest.raises(UserError, match="has 4 training images, not 3, and is not CelebA"):
        run.check_data(row, run.build_config(row, source=str(root), seed=0))


def write_pair(root, counts, tests=1):
    """Write a tree of two domains with so many training images in A and in B, and so many test images of each."""
    for folder, count in zip(("trainA", "trainB", "testA", "testB"), (*counts, tests, tests), strict=True):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (16, 16), (i, 0, 99)).save(root / folder / f"{i}.png")
    return root


@pytest.fixture
def timed(monkeypatch):
    """Pretend that half of the steps take 1/4 second, half 1/8."""

    def pretend(config, steps, windows):
        phases = [{"share": 0.5, "steps_per_second": rate, "mib": mib} for rate, mib in ((4.0, 2048.0), (8.0, 1024.0))]
        about = {"devices": 1, "device": "abacus", "batch_size": config.batch_size, "parameters": 3_000_000}
        return {"phases": phases, **about}

    monkeypatch.setattr(measure, "measure", pretend)


@pytest.fixture
def trained_pair(trained, timed, monkeypatch):
    """Likewise for pairs of domains: what is trained has no pseudo domains."""
    method = toy.altered(toy.method(), readouts={})
    monkeypatch.setattr(runs, "load", lambda path, load=runs.load: dataclasses.replace(load(path), method=method))
    return trained


def test_a_row_of_pairs_is_run_on_a_tree_of_two_domains(tmp_path, trained_pair, monkeypatch, capsys):
    monkeypatch.setitem(vars(cut.DATA_SETS["horse2zebra"]), "pair", (2, 3))
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", "--seeds=1"]
    right = write_pair(tmp_path / "right", (2, 3))
    wrong = write_pair(tmp_path / "wrong", (3, 2))
    with pytest.raises(UserError, match="has 3 and 2 training images, not 2 and 3, and is not Horse→Zebra"):
        run.main(["cut/table1", "horse2zebra-cut", f"--data={wrong}", *where])
    assert not trained_pair
    assert run.main(["cut/table1", "horse2zebra-cut", f"--data={right}", *where]) == 0
    assert [config.data.source for config in trained_pair.values()] == [str(right)]
    (path,) = (tmp_path / "results" / "cut" / "table1" / "horse2zebra-cut").glob("*.json")
    result = json.loads(path.read_text())
    assert result["scores"] == {"seconds_per_iteration": 0.5 / 4 + 0.5 / 8, "million_parameters": 3, "gigabytes": 2}
    assert (result["data_set"], result["source"], result["training_seed"]) == ("Horse→Zebra", str(right), 1)

    capsys.readouterr()
    assert report.main(["cut/table1", f"--results={tmp_path / 'results'}"]) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.startswith("| horse2zebra-cut "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:7] == ["-", "-", "-", "45.5 / not run", "0.24 / 0.19", "3.33 / 2.00"]
    assert cells[7:10] == ["1", "533600", "-"]
    for note in ("not run: seed 0, 2", "1 x abacus, batch size 1", "61.7 and 68"):
        assert note in text


def test_two_folders_of_images_are_a_substitute_with_a_target(tmp_path, trained_pair):
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
    sides = [f"--substitute={tmp_path / 'a'}", f"--config.data.target={tmp_path / 'b'}"]
    assert run.main(["cut/pictures", "monet2etretat-sincut", *sides, *where]) == 0
    (path,) = (tmp_path / "results" / "cut" / "pictures").rglob("*.json")
    result = json.loads(path.read_text())
    assert result["source"] == f"{tmp_path / 'a'} and {tmp_path / 'b'}" and result["substitute"]


def table_of(text, title):
    """Return the cells of a Markdown table: row -> head -> cell."""
    lines = text.partition(f"## {title}\n")[2].strip().partition("\n\n")[0].splitlines()
    heads, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(heads, row, strict=True)) for row in rows}


@pytest.mark.parametrize(("name", "by"), [("tunit-c", "pixels"), ("tunit-d", "style codes")])
def test_a_row_learns_from_labels_that_are_found_before(tmp_path, trained, timed, monkeypatch, name, by):
    monkeypatch.setitem(vars(world.WORLD), "source", "procedural:count=40,test_count=24")
    monkeypatch.setattr(evaluation, "USUAL", (evaluation.Retrieval(),))
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
    assert run.main(["world/methods", name, "--seeds=2", *where, "--config.steps=5"]) == 0
    (path,) = (tmp_path / "results").rglob("*.json")
    record = json.loads(path.read_text())
    assert 1 / 6 < record["scores"]["cluster_accuracy"] <= 1 and "style_retrieval" in record["scores"]
    assert record["protocol"]["clusters"].startswith("labels by k-means") and by in record["protocol"]["clusters"]
    assert str(tmp_path) not in path.read_text()
    workdir = next(iter((tmp_path / "runs" / "world" / "methods").glob(f"{name}-*/seed2")))
    config = trained[str(workdir)]
    assert config.data.labels == str(workdir / "labels.csv") and config.method.labels.share == 1
    sources, _ = feed.open_sources(config, config_module.method_of(config))
    assert sources["image"].classes == tuple("012345") and len(sources["image"]) == 40
    # The run that gives the style codes is CLUIT's own, of this seed and at its full length.
    other = trained.get(str(tmp_path / "runs" / "world" / "methods" / "cluit" / "seed2"))
    assert (other is not None) == (name == "tunit-d") and (other is None or (other.seed, other.steps) == (2, 1_600))
    # Once written, they stay.
    (workdir / "labels.csv").write_text("kept")
    assert relabel.relabel(tables.find_row("world/methods", name), config, workdir, None)["scores"].items() <= {
        *record["scores"].items()
    }
    assert (workdir / "labels.csv").read_text() == "kept"
    with pytest.raises(UserError, match="--features=x: leave it out"):
        run.main(["world/methods", name, "--seeds=2", "--features=x", *where])


def test_features_that_a_row_leaves_open_are_to_be_named(tmp_path, trained, monkeypatch):
    monkeypatch.delenv(networks.VARIABLE, raising=False)
    source = write_set(tmp_path / "set", ["a", "b", "c"])
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path}", "--seeds=0", "--config.method.domains=3"]
    row = ["tunit/1", "food10-d", f"--substitute={source}", *where]
    with pytest.raises(UserError, match="food10-d: name features by --features=FILE or style:WORKDIR"):
        run.main(row)
    method, config = toy.method(image_size=16), toy.config(16)
    made = runs.Trained("x", config, method, toy.variables(), 7)
    monkeypatch.setattr(runs, "load", lambda path, load=runs.load: made if path == "x" else load(path))
    assert run.main([*row, "--features=style:x"]) == 0
    (path,) = (tmp_path / "tunit").rglob("*.json")
    assert json.loads(path.read_text())["scores"]["cluster_accuracy"] == 1
    with pytest.raises(UserError, match="are by style:x; give another --workdir"):
        run.main([*row, "--features=style:y"])


WORLD_SCORES = (
    "translation_species translation_color translation_position translation_ground_follows_reference style_retrieval"
    " million_parameters seconds_per_iteration"
).split()


def test_a_row_of_the_world_is_run_from_images_to_report(tmp_path, monkeypatch, capsys):
    """Nothing is pretended here but the length of things."""
    monkeypatch.setitem(vars(world.WORLD), "source", "procedural:count=40,test_count=24")
    monkeypatch.setattr(oracle, "train", functools.partial(oracle.train, steps=2, batch_size=4))
    monkeypatch.setattr(evaluation, "USUAL", (evaluation.Retrieval(), evaluation.Oracle(pairs=24)))
    monkeypatch.setattr(scoring, "_STEPS", 1)
    monkeypatch.setattr(scoring, "_WINDOWS", 1)
    small = {"steps": 1, "batch_size": 4, "devices": 1, "parallel": "jit", "tensorboard": "false", "image_every": 0}
    small |= {"data.image_size": 16, "method.width": 4, "method.max_width": 8, "method.queue_size": 8}
    small |= {"method.code_dim": 8, "method.style_dim": 4, "method.r1.every": 1}
    changes = [f"--config.{key}={value}" for key, value in small.items()]
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
    assert run.main(["world/methods", "cluit", "--seeds=0", *changes, *where]) == 0
    (path,) = (tmp_path / "results" / "world" / "methods").rglob("*.json")
    record = json.loads(path.read_text())
    assert str(tmp_path) not in path.read_text() and not record["substitute"]
    assert (record["training_seed"], record["step"], record["images"]) == (0, 1, 24)

    capsys.readouterr()
    assert report.main(["world", f"--results={tmp_path / 'results'}"]) == 0
    text = capsys.readouterr().out
    cells = table_of(text, "Methods")["cluit"]
    assert list(cells.values())[1:8] == [f"{record['scores'][name]:.3f}" for name in WORLD_SCORES]
    assert (cells["seeds"], cells["step"], cells["images"]) == ("0", "1", "24")
    # The protocols of oracle, retrieval and cost, what was changed, and the seed that is missing.
    assert len(cells["notes"]) == 5 * len("[1]")
    assert "changed: steps=1" in text and "not run: seed 1, 2" in text and "all are ours" in text
    assert "paper / ours" not in text and list(table_of(text, "Methods")["tunit"].values())[1:8] == ["-"] * 7


@pytest.fixture
def scored(trained, monkeypatch):
    """Pretend to measure too: accuracies are 0.5 and a tenth of the seed."""

    def score(trained, wanted, *, also):
        # A command measures the cost of a step for the first of its seeds.
        timed = {"cost"} if trained.config.seed < 2 else set()
        assert wanted == {"translations", "clusters", "style_retrieval", "shots", *timed} and not also
        scores = dict.fromkeys(WORLD_SCORES, 0.25) | {"translation_species": 0.5 + 0.1 * trained.config.seed}
        if not timed:
            del scores["seconds_per_iteration"], scores["million_parameters"]
        return {
            "scores": scores,
            "images": 600 - trained.config.seed,
            "source": f"{trained.config.data.source}: {600 - trained.config.seed} images, 32 px",
            "protocol": {protocol: f"how: {protocol}" for protocol in wanted},
            "step": trained.step,
            "training_seed": trained.config.seed,
        }

    monkeypatch.setattr(scoring, "score", score)
    return trained


def test_runs_of_one_setting_are_made_once_and_shown_in_each_table(tmp_path, scored, monkeypatch, capsys):
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
    commits = iter("abc")
    monkeypatch.setattr(run, "commit", lambda: next(commits))
    assert run.main(["world/labels", "tunit-0pct", *where]) == 0
    assert run.main(["world/methods", "tunit", "--seeds=1,2", *where]) == 0
    folder = tmp_path / "results" / "world" / "methods" / "tunit"
    assert sorted(tmp_path.glob("results/**/*.json")) == [folder / f"seed{seed}.json" for seed in (0, 1, 2)]
    assert all(config.data.source == "procedural" for config in scored.values())
    text = "\n\n".join(report.report(table, report.load(tmp_path / "results")) for table in TABLES)
    cells = table_of(text, "Methods")["tunit"]
    assert (cells["translation accuracy"], cells["commit"]) == ("0.600 (0.500 to 0.700)", "a, b, c")
    assert cells["images"] == "598 to 600"
    cells = table_of(text, "Shares of labels")["tunit-0pct"]
    assert (cells["translation accuracy"], cells["seeds"], cells["s/it"]) == ("0.500", "0", "0.250")
    assert table_of(text, "Shares of labels")["tunit-10pct"]["seeds"] == "not run"


def test_the_librarys_own_results_are_those_of_rows():
    """What is committed belongs to a row, and tells nothing about the machine but its devices."""
    for result in report.load(run.RESULTS):
        row = tables.find_row(result["table"], result["row"])
        assert not row.same_as and not row.absent
        if row.data.source:
            texts = [str(value) for value in config_module.flatten(result).values()]
            assert not any(text.startswith(("/", "~")) or ":\\" in text for text in texts), texts
    if (run.ROOT / ".git").exists():
        path = run.RESULTS / "world" / "methods" / "tunit" / "seed0.json"
        assert subprocess.run(["git", "-C", str(run.ROOT), "check-ignore", "--quiet", str(path)]).returncode == 1


def test_a_run_that_was_stopped_is_no_result(tmp_path, trained, monkeypatch):
    monkeypatch.setattr(runs, "load", lambda workdir: SimpleNamespace(step=3, config=SimpleNamespace(steps=4)))
    with pytest.raises(UserError, match="stopped at step 3"):
        run.main(["tunit/1", "animalfaces10-g", "--substitute=procedural", f"--workdir={tmp_path}", "--seeds=0"])


def test_a_run_that_has_hours_is_as_long_as_these_made_it(tmp_path, trained, monkeypatch):
    """The row says 3,000 steps; the config that the run was begun with says how many there was time for."""

    def train(config, workdir, overrides, train=loop.train):
        train(budget.of_run(config, workdir, None, overrides), workdir)

    def fitted(config, *, overrides, **_):
        assert "--config.log_every=5" in overrides
        return budget.scaled(config, 7, budget._keys(overrides))

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(budget, "fitted", fitted)
    monkeypatch.setattr(scoring, "score", lambda run, *_, **__: {"scores": {}, "step": run.step})
    where = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", "--seeds=0"]
    given = ["--config.hours=2", "--config.log_every=5"]
    assert run.main(["photographs/flowers", "cluit", "--substitute=procedural", *given, *where]) == 0
    (path,) = (tmp_path / "results").rglob("*.json")
    assert json.loads(path.read_text())["step"] == 7
    (config,) = trained.values()
    assert (config.steps, config.log_every, config.hours) == (7, 5, 2)


def test_seeds_of_one_length_in_hours_are_one_line_of_other_steps():
    row = tables.find_row("photographs/flowers", "cluit")
    protocol = {"judged_translations": "2 translations, drawn at random (seed {}; the same for every run on them)"}
    results = [
        {
            **{"table": "photographs/flowers", "row": row.name, "substitute": False, "changes": {}, "commit": "c"},
            **{"source": "s: 5 images", "images": 5, "training_seed": seed, "step": 3_000 + 10 * seed},
            "scores": {"translation_accuracy": 0.5 + 0.1 * seed},
            "protocol": {name: text.format(seed) for name, text in protocol.items()},
        }
        for seed in range(3)
    ]
    (line,) = [line for line in report.report("photographs/flowers", results).splitlines() if "| cluit" in line]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["cluit", "0.600 (0.500 to 0.700)", "0,1,2", "3000 to 3020", "5", "c", "[1]"]
    shorter = [{**results[0], "table": "world/methods"}, {**results[1], "table": "world/methods"}]
    assert len(report._alike(shorter)) == 2


@pytest.mark.parametrize(
    ("module", "argument", "shown"),
    [
        ("run", "--list", "cut/c5"),
        ("report", "tunit/2", "food10-1000"),
        ("report", "cut", "horse2zebra-fastcut"),
        ("report", "world", "cluit-full"),
    ],
)
def test_the_modules_are_commands(module, argument, shown):
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{module}", argument], cwd=run.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and shown in done.stdout, done.stderr


def test_a_commands_error_is_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.run", "table9", "x"], cwd=run.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("experiments: there is no table")
