"""Checkpoints hold everything bit for bit, keep the latest and the best, and survive damage."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny_method
from uit_jax import checkpoint, config
from uit_jax.errors import UserError
from uit_jax.memory.key_queue import KeyQueue
from uit_jax.state import Learner, TrainState


def make_state(seed: int = 0) -> TrainState:
    draw = np.random.default_rng(seed)
    tx = optax.chain(optax.add_decayed_weights(1e-4), optax.adam(1e-3))
    params = {"a": {"kernel": jnp.asarray(draw.normal(size=(3, 4)), jnp.float32)}, "b": jnp.ones(2, jnp.bfloat16) / 3}
    learners = {
        "guide": Learner.create({"params": params, "batch_stats": {"mean": jnp.zeros(4)}}, tx, averaged=True),
        "generator": Learner.create({"params": params}, optax.sgd(0.1)),
    }
    return TrainState(jnp.int32(seed), jax.random.key(seed), learners, {"queue": KeyQueue(jnp.ones((5, 2)) / 7)})


def shapes():
    return jax.eval_shape(make_state)


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
    step, state, found = reopened(tmp_path).restore(shapes())
    assert step == 3 and found == record
    assert_same(state, make_state(3))
    assert jax.random.normal(state.key) == jax.random.normal(make_state(3).key)


def test_the_saved_state_is_not_the_donated_buffer(store, tmp_path):
    spoil = jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)
    weights = {"w": jnp.arange(200_000.0)}
    store.save(1, weights, {})
    spoil(weights)
    store.wait()
    _, state, _ = store.restore({"w": jax.ShapeDtypeStruct((200_000,), np.float32)})
    assert np.array_equal(state["w"], np.arange(200_000.0))


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
    assert again.restore(shapes(), again.best_step())[0] == 7


def test_no_checkpoint_is_none(store):
    assert store.restore(shapes()) is None


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
        store.save(step, make_state(step), {"step": step})
    store.wait()
    damage(kind, tmp_path / "checkpoints" / "2")
    again = reopened(tmp_path)
    step, state, record = again.restore(shapes())
    assert (step, record) == (1, {"step": 1}) and "checkpoint 2" in caplog.text
    assert_same(state, make_state(1))
    again.drop_after(1)
    again.save(2, make_state(2), {"step": 2})
    again.wait()
    assert reopened(tmp_path).restore(shapes())[0] == 2


def test_when_all_are_damaged_it_says_so_instead_of_beginning_anew(store, tmp_path):
    store.save(1, make_state(1), {})
    store.wait()
    damage("missing", tmp_path / "checkpoints" / "1")
    with pytest.raises(UserError, match="none of the checkpoints"):
        reopened(tmp_path).restore(shapes())


def test_other_networks_are_refused(store, tmp_path):
    store.save(1, {"w": jnp.ones((2, 3))}, {})
    store.wait()
    with pytest.raises(UserError, match="none of the checkpoints"):
        store.restore({"w": jax.ShapeDtypeStruct((3, 3), np.float32)})


def test_a_save_that_was_cut_off_leaves_the_one_before(store, tmp_path):
    store.save(1, make_state(1), {})
    store.wait()
    whole = tmp_path / "checkpoints" / "1"
    shutil.copytree(whole, tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp")
    again = reopened(tmp_path)
    assert again.steps == [1] and again.restore(shapes())[0] == 1


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


def test_a_failing_disk_is_one_line(store, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store._manager, "save", full)
    with pytest.raises(UserError, match="step 1.*no space left on device"):
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
