"""Checkpoints hold everything bit for bit, keep the latest and the best, and survive damage."""

import contextlib
import json
import os
import shutil
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from tests import tiny_method
from uit_jax import checkpoint, config, runs
from uit_jax.errors import UserError
from uit_jax.memory.key_queue import KeyQueue
from uit_jax.state import Learner, TrainState
from uit_jax.verbs import config as config_verb


def make_state(seed: int = 0) -> TrainState:
    draw = np.random.default_rng(seed)
    tx = optax.chain(optax.add_decayed_weights(1e-4), optax.adam(1e-3))
    params = {"a": {"kernel": jnp.asarray(draw.normal(size=(3, 4)), jnp.float32)}, "b": jnp.ones(2, jnp.bfloat16) / 3}
    learners = {
        "guide": Learner.create({"params": params, "batch_stats": {"mean": jnp.zeros(4)}}, tx, averaged=True),
        "generator": Learner.create({"params": params}, optax.sgd(0.1)),
    }
    return TrainState(jnp.int32(seed), jax.random.key(seed), learners, {"queue": KeyQueue(jnp.ones((5, 2)) / 7)})


def shapes(record=None):
    return jax.eval_shape(make_state)


def told(record):
    """What a run put into a record."""
    return {key: value for key, value in record.items() if key not in ("step", "scores", "digest")}


def raw(tree):
    return jax.tree.map(lambda leaf: np.asarray(jax.random.key_data(leaf) if "key" in str(leaf.dtype) else leaf), tree)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(raw(a)), jax.tree.leaves(raw(b)), strict=True):
        assert x.dtype == y.dtype and x.tobytes() == y.tobytes()


@pytest.fixture
def store(tmp_path):
    opened = checkpoint.Checkpoints(tmp_path, keep=2, best_metric="score")
    yield opened
    opened.close()


def reopened(tmp_path, **options) -> checkpoint.Checkpoints:
    return checkpoint.Checkpoints(tmp_path, keep=2, best_metric="score", **options)


def test_everything_returns_bit_for_bit(store, tmp_path):
    record = {"window": [{"loss": 0.1 + 0.2}], "best": {}, "data": {"next_step": 3}}
    store.save(3, make_state(3), record)
    store.wait()
    step, state, found = reopened(tmp_path).restore(shapes)
    assert step == 3 and told(found) == record
    assert_same(state, make_state(3))
    assert jax.random.normal(state.key) == jax.random.normal(make_state(3).key)


def test_the_saved_state_is_not_the_donated_buffer(store, tmp_path):
    spoil = jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)
    weights = {"w": jnp.arange(200_000.0)}
    store.save(1, weights, {})
    spoil(weights)
    store.wait()
    _, state, _ = store.restore(lambda _: {"w": jax.ShapeDtypeStruct((200_000,), np.float32)})
    assert np.array_equal(state["w"], np.arange(200_000.0))


def test_the_saved_record_is_not_the_one_that_training_goes_on_with(store):
    record = {"window": [{"loss": 0.5}]}
    store.save(1, make_state(1), record)
    record["window"].append({"loss": 0.25})
    store.wait()
    assert told(store.restore(shapes)[2]) == {"window": [{"loss": 0.5}]}


def test_the_latest_and_the_best_are_kept(store, tmp_path):
    for step, score in ((1, 0.1), (2, 0.9), (3, 0.5), (4, None), (5, 0.2), (6, None)):
        store.save(step, make_state(step), {}, {} if score is None else {"score": score})
    store.wait()
    assert store.steps == [2, 5, 6]
    again = reopened(tmp_path)
    assert again.best_step() == 2
    for step, score in ((7, 0.95), (8, None), (9, None)):
        again.save(step, make_state(step), {}, {} if score is None else {"score": score})
    again.wait()
    assert again.steps == [7, 8, 9] and again.best_step() == 7
    assert again.restore(shapes, again.best_step())[0] == 7


def test_no_checkpoint_is_none(store):
    assert store.restore(shapes) is None


def damage(kind: str, folder):
    if kind == "missing":
        shutil.rmtree(folder / "state")
        return
    files = sorted((f for f in (folder / "state").rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    for file in files[-3:] if kind == "truncated" else files:
        data = file.read_bytes()
        if kind == "truncated":
            file.write_bytes(data[: len(data) // 2])
        elif file.parent.name == "d":
            at = len(data) // 2
            file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize("kind", ["missing", "truncated", "flipped bit"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(store, tmp_path, kind, caplog):
    for step in (1, 2):
        store.save(step, make_state(step), {"note": step})
    store.wait()
    damage(kind, tmp_path / "checkpoints" / "2")
    again = reopened(tmp_path)
    step, state, record = again.restore(shapes)
    assert (step, told(record)) == (1, {"note": 1}) and "checkpoint 2" in caplog.text
    assert_same(state, make_state(1))
    kept = {file.name: file.read_bytes() for file in (tmp_path / "checkpoints" / "2").rglob("*") if file.is_file()}
    again.set_aside_after(1)
    aside = tmp_path / "unreadable_checkpoints" / "2"
    assert again.steps == [1] and str(aside) in caplog.text
    assert {file.name: file.read_bytes() for file in aside.rglob("*") if file.is_file()} == kept
    again.save(2, make_state(2), {})
    again.wait()
    assert reopened(tmp_path).restore(shapes)[0] == 2
    # Once more: what lies there already is kept too.
    damage(kind, tmp_path / "checkpoints" / "2")
    again = reopened(tmp_path)
    again.restore(shapes)
    again.set_aside_after(1)
    assert sorted(path.name for path in aside.parent.iterdir()) == ["2", "2_2"]


def test_of_what_tensorstore_gives_up_nothing_is_printed(store, monkeypatch):
    """For a full disk and for a damaged state that was a traceback for each of its arrays."""
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: heard.append(unraisable.exc_value))
    checkpoint.manager._tell_failures_once()
    checkpoint.manager._tell_failures_once()
    for error in (RuntimeError("Event loop is closed"), RuntimeError("another")):
        sys.unraisablehook(SimpleNamespace(exc_value=error))
    assert [str(error) for error in heard] == ["another"]


def test_when_all_are_damaged_it_says_so_instead_of_beginning_anew(store, tmp_path):
    store.save(1, make_state(1), {})
    store.wait()
    damage("missing", tmp_path / "checkpoints" / "1")
    with pytest.raises(UserError, match="none of the checkpoints"):
        reopened(tmp_path).restore(shapes)


def test_other_networks_are_refused(store, tmp_path):
    store.save(1, {"w": jnp.ones((2, 3))}, {})
    store.wait()
    with pytest.raises(UserError, match="none of the checkpoints"):
        store.restore(lambda _: {"w": jax.ShapeDtypeStruct((3, 3), np.float32)})


def test_a_save_that_was_cut_off_leaves_the_one_before(store, tmp_path):
    store.save(1, make_state(1), {})
    store.wait()
    whole = tmp_path / "checkpoints" / "1"
    shutil.copytree(whole, tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp")
    again = reopened(tmp_path)
    assert again.steps == [1] and again.restore(shapes)[0] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_state_that_is_not_finite_is_never_saved(store, value):
    store.save(1, make_state(1), {})
    state = make_state(2)
    guide = state.learners["guide"]
    opt_state = jax.tree.map(lambda x: x * value if x.ndim else x, guide.opt_state)
    bad = state.replace(learners={**state.learners, "guide": guide.replace(opt_state=opt_state)})
    bad = jax.tree.map(lambda x: x + value if getattr(x, "shape", ()) == (5, 2) else x, bad)
    with pytest.raises(UserError, match="learners/guide/opt_state|memory/queue") as caught:
        store.save(2, bad, {})
    assert "step 2" in str(caught.value) and "last good checkpoint is step 1" in str(caught.value)
    assert store.steps == [1]


def test_room_is_checked_beforehand(tmp_path, monkeypatch):
    big = {"w": jax.ShapeDtypeStruct((1_000_000,), np.float32)}
    checkpoint.check_room(tmp_path, big, keep=2, best=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 15_000_000))
    with pytest.raises(UserError, match=r"0\.02 GB are needed.*0\.01 GB|0\.02 GB.*free"):
        checkpoint.check_room(tmp_path, big, keep=2, best=True)
    checkpoint.check_room(tmp_path, big, keep=1, best=False)


@pytest.mark.parametrize("reason", ["No space left on device", "File too large"])
def test_a_failing_disk_is_one_line(store, monkeypatch, reason):
    def full(*args, **kwargs):
        raise ValueError(f"OUT_OF_RANGE: Error opening {'x' * 300}: {reason}")

    monkeypatch.setattr(store._manager, "save", full)
    with pytest.raises(UserError, match=f"step 1.* could not be written: {reason.lower()}$"):
        store.save(1, make_state(1), {})


def test_a_run_is_read_back_with_config_and_method(tiny, tmp_path):
    (tmp_path / "tiny.py").write_text(tiny_method.CONFIG)
    c = config.resolve(str(tmp_path / "tiny.py"), ["--config.method.width=3"])
    with pytest.raises(UserError, match="no run was trained there"):
        checkpoint.restore_run(tmp_path)
    config.save(c, tmp_path)
    with pytest.raises(UserError, match="no checkpoint yet"):
        checkpoint.restore_run(tmp_path)
    method = config.method_of(c)
    state = config.initial_state(c, method)
    store = checkpoint.Checkpoints(tmp_path, best_metric=c.best_metric)
    for step, score in ((4, 0.7), (8, 0.3)):
        store.save(step, state.replace(step=jnp.int32(step)), {}, {"cluster_accuracy": score})
    store.close()
    found, again, latest = checkpoint.restore_run(tmp_path)
    assert found.to_dict() == c.to_dict() and latest.step == 8
    assert set(again.readouts) == {"cluster", "style"}
    assert_same(latest.replace(step=state.step), state)
    assert [checkpoint.restore_run(tmp_path, which)[2].step for which in ("best", 4, "4")] == [4, 4, 4]
    for which in (5, "5", "newest", "lates", "last", "6.0", "-1", ""):
        with pytest.raises(UserError, match=rf"no checkpoint is '?{which}'?; there are: \[4, 8\]"):
            checkpoint.restore_run(tmp_path, which)


def test_another_metric_finds_no_best_among_checkpoints_of_the_first(tmp_path):
    """A run may be continued with another best_metric: earlier checkpoints have no score of it, and stay readable."""
    state = {"w": np.zeros(2, np.float32)}
    for step, metric, score in ((1, "a", 0.5), (2, "b", 0.1), (3, "b", 0.2), (4, "b", 0.0)):
        checkpoints = checkpoint.Checkpoints(tmp_path, keep=1, best_metric=metric)
        checkpoints.save(step, state, {}, {metric: score})
        checkpoints.wait()
        best = checkpoints.best_step()
        checkpoints.close()
    assert best == 3


def test_behind_a_minus_the_least_is_the_best(tmp_path):
    with contextlib.closing(checkpoint.Checkpoints(tmp_path, keep=1, best_metric="-b")) as checkpoints:
        for step, score in ((1, 0.5), (2, 0.1), (3, 0.2)):
            checkpoints.save(step, {"w": np.zeros(2, np.float32)}, {}, {"b": score})
        checkpoints.wait()
        assert checkpoints.best_step() == 2 and checkpoints.steps == [2, 3]
    assert checkpoint.rank({"b": 3}, "-b") == -3 and checkpoint.rank({"b": 3}, "b") == 3
    assert checkpoint.rank({"b": "3"}, "b") is checkpoint.rank({}, "-b") is None


# --- the record beside the state ---


def edit(folder, change):
    """Change what a checkpoint's record says, behind the library's back."""
    path = folder / "record" / "metadata"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


CHANGES = {
    "window": lambda record: record["window"][0].update(loss=0.31),
    "best": lambda record: record["best"].update(value=0.95),
    "score": lambda record: record["scores"].update(score=0.99),
    "config": lambda record: record["config"].update(rate=0.2),
    "data": lambda record: record["data"].update(images=25),
    "step": lambda record: record.update(step=1),
    "digest of the state": lambda record: record["digest"].update(state=1),
    "no digest": lambda record: record.pop("digest"),
    "a digest of nothing": lambda record: record.update(digest={}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_is_changed_in_a_record_is_found(store, tmp_path, change, caplog):
    """And it is no score: `best` does not move."""
    for step, score in ((1, 0.9), (2, 0.5)):
        record = {"config": {"rate": 0.1}, "data": {"images": 24}, "window": [{"loss": 0.3}], "best": {"value": 0.9}}
        store.save(step, make_state(step), record, {"score": score})
    store.wait()
    edit(tmp_path / "checkpoints" / "2", change)
    again = reopened(tmp_path)
    assert again.restore(shapes)[0] == 1 and "checkpoint 2" in caplog.text
    assert again.best_step() == 1


def test_the_order_of_a_records_keys_is_nothing_to_it(store, tmp_path):
    store.save(1, make_state(1), {"b": {"d": 1, "c": 2}, "a": 0.1})
    store.wait()
    path = tmp_path / "checkpoints" / "1" / "record" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True, indent=3))
    assert told(reopened(tmp_path).restore(shapes)[2]) == {"b": {"d": 1, "c": 2}, "a": 0.1}


def test_the_best_is_kept_though_its_own_record_is_damaged(store, tmp_path):
    """Its score stands in the records behind it; the state alone is still one to translate with."""
    best = {"step": 1, "value": 0.9, "metric": "score"}
    for step, scores in ((1, {"score": 0.9}), (2, {"score": 0.5}), (3, {})):
        store.save(step, make_state(step), {"best": best}, scores)
    store.wait()
    edit(tmp_path / "checkpoints" / "1", lambda record: record["scores"].update(score=0.1))
    again = reopened(tmp_path)
    assert again.best_step() == 1
    again.save(4, make_state(4), {"best": best})
    again.wait()
    assert again.steps == [1, 3, 4]
    step, state, record = again.restore(shapes, 1, state_alone=True)
    assert (step, record) == (1, {})
    assert_same(state, make_state(1))
    with pytest.raises(UserError, match=r"\[1\] can be read: record/metadata is not the record that was saved"):
        again.restore(shapes, 1)


def save_as_before(folder, step, score):
    """Write a checkpoint as version 0.2.0 did: a digest of the state alone, the score in a file of Orbax's."""
    host = jax.tree.map(checkpoint.host.to_host, make_state(step))
    record = {"window": [], "best": {}, "digest": checkpoint.host.digest(host)}
    with ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(best_fn=lambda m: m["score"])) as manager:
        items = ocp.args.Composite(state=ocp.args.StandardSave(host), record=ocp.args.JsonSave(record))
        manager.save(step, args=items, metrics={"score": score})


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"score": "0.9"}', '{"score": NaN}'])
def test_older_checkpoints_are_read_and_a_damaged_score_is_none(tmp_path, text, caplog):
    for step, score in ((1, 0.9), (2, 0.5), (3, 0.7)):
        save_as_before(tmp_path / "checkpoints", step, score)
    (tmp_path / "checkpoints" / "1" / "metrics" / "metrics").write_text(text)
    again = reopened(tmp_path)
    step, state, record = again.restore(shapes)
    assert step == 3 and told(record) == {"window": [], "best": {}}
    assert_same(state, make_state(3))
    assert again.best_step() == 3
    again.save(4, make_state(4), {}, {"score": 0.6})
    again.wait()
    assert again.steps == [3, 4]
    assert caplog.text.count("checkpoint 1 ") == ("score" not in text)


def config_of(tmp_path, *overrides):
    (tmp_path / "tiny.py").write_text(tiny_method.CONFIG)
    return config.resolve(str(tmp_path / "tiny.py"), [f"--config.{each}" for each in overrides])


@pytest.fixture
def saved_run(tiny, tmp_path):
    """Make a folder with a run of one checkpoint; return it and its config."""
    c = config_of(tmp_path, "method.width=3")
    config.save(c, tmp_path / "run")
    store = checkpoint.Checkpoints(tmp_path / "run")
    store.save(4, config.initial_state(c, config.method_of(c)), {"config": c.to_dict()})
    store.close()
    return tmp_path / "run", c


@pytest.mark.parametrize("text", [None, "", "[]", "\x00garbage", '{"version": "0.2.0", "method": {"name": "tiny"}}'])
def test_a_damaged_config_is_replaced_by_the_checkpoints_record(saved_run, text, caplog):
    run, c = saved_run
    (run / "config.json").unlink()
    if text is not None:
        (run / "config.json").write_text(text)
    found, method, state = checkpoint.restore_run(run)
    assert found == c and method.width == 3 and state.learners["model"].params["mix"].shape == (3, 3)
    assert len(caplog.records) == 1 and "config.json" in caplog.text and "checkpoint 4" in caplog.text


def test_where_a_config_differs_from_the_checkpoints_record_the_record_holds(saved_run, tmp_path, caplog):
    run, c = saved_run
    config.save(config_of(tmp_path, "method.width=5", "method.rate=0.3", "log_every=7"), run)
    found, _, _ = checkpoint.restore_run(run)
    # What may differ when a run is continued is as it was last.
    assert found.log_every == 7
    found.unlock().log_every = c.log_every
    assert found.to_dict() == c.to_dict()
    assert len(caplog.records) == 1 and "method.rate=0.1, not 0.3, method.width=3, not 5" in caplog.text


def test_without_a_whole_record_a_damaged_config_is_named(saved_run):
    run, _ = saved_run
    edit(run / "checkpoints" / "4", lambda record: record["config"].update(seed=1))
    assert checkpoint.restore_run(run)[0].method.width == 3
    (run / "config.json").write_text("{}")
    with pytest.raises(UserError, match="config.json is not the config of a run"):
        checkpoint.restore_run(run)


def test_a_damaged_config_is_told_once_and_keeps_no_verb_from_the_run(saved_run, caplog, capsys):
    run, _ = saved_run
    width = str(checkpoint.begun_with(run).method.width)
    path = run / "config.json"
    path.unlink()
    os.mkfifo(path)  # nobody writes to it
    channels, depth = runs.drawn_form(run)
    assert (channels, depth) == (3, 8) and checkpoint.restore_run(run)
    assert config_verb.main([str(run), "--json"]) == 0
    rows = {row["key"]: str(row["value"]) for row in json.loads(capsys.readouterr().out)}
    assert rows["method.width"] == width
    assert caplog.text.count("config.json is not the config of a run") == 1


def test_a_checkpoint_of_another_run_is_not_taken_for_ones_own(saved_run, tmp_path, caplog):
    """With networks of the same shapes."""
    run, _ = saved_run
    other = config_of(tmp_path, "method.width=3", "method.rate=0.3")
    store = checkpoint.Checkpoints(run)
    state = config.initial_state(other, config.method_of(other))
    store.save(8, state, {"config": other.to_dict(), "window": [], "best": {}})
    store.wait()
    assert checkpoint.begun_with(run).method.rate == 0.3
    mine = config_of(tmp_path, "method.width=3")
    like = jax.eval_shape(lambda: state)
    assert store.restore(lambda record: checkpoint.of_run(record, mine, like))[0] == 4
    assert "checkpoint 8" in caplog.text and "method.rate=0.3, not 0.1" in caplog.text
    store.close()
