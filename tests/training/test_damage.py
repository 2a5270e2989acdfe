"""One damaged file of a run costs at most what it held: no state but a saved one is gone on from, and nothing is lost.

UIT_FUZZ=N damages N copies of a run instead of a few.
"""

import collections
import json
import logging
import os
import random
import shutil
from pathlib import Path

import jax
import pytest

from tests import tiny_method
from uit_jax import checkpoint, config, methods
from uit_jax.errors import UserError
from uit_jax.training import loop

COUNT = int(os.environ.get("UIT_FUZZ", "40"))
SETTINGS = ("log_every=3", "evaluate_every=4", "keep_checkpoints=3", "devices=1", "parallel=jit")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(methods.METHODS, "tiny", tiny_method.Tiny)
        recipe = tmp_path_factory.mktemp("recipe") / "tiny.py"
        recipe.write_text(tiny_method.CONFIG)
        yield config.resolve(str(recipe), [f"--config.{each}" for each in SETTINGS])


@pytest.fixture(scope="module")
def intact(settings, tmp_path_factory):
    """Make a run of 12 steps with three checkpoints: its folder, and by step the bytes of the state and the record."""
    folder = tmp_path_factory.mktemp("intact") / "run"
    loop.train(settings, folder)
    store = checkpoint.Checkpoints(folder, read_only=True)
    saved = {step: (raw(checkpoint.restore_run(folder, step)[2]), store.record(step)) for step in store.steps}
    store.close()
    assert list(saved) == [4, 8, 12]
    return folder, saved


def raw(state) -> list[bytes]:
    return [leaf.tobytes() for leaf in jax.tree.leaves(jax.device_get(state))]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flipped(content: bytes, pick: random.Random) -> bytes:
    at = pick.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << pick.randrange(8)]) + content[at + 1 :]


def digit(content: bytes, pick: random.Random) -> bytes:
    """Put another digit in the place of one."""
    places = [at for at, byte in enumerate(content) if chr(byte).isdigit()]
    if not places:
        return flipped(content, pick)
    at = pick.choice(places)
    other = pick.choice([each for each in b"0123456789" if each != content[at]])
    return content[:at] + bytes([other]) + content[at + 1 :]


def line(content: bytes, pick: random.Random) -> bytes:
    """Put something else in the place of a line."""
    lines = content.split(b"\n")
    lines[pick.randrange(len(lines))] = pick.choice([b"", b"[]", b"{}", b"null", b'{"step": "4"}', b"\0", b"\xff"])
    return b"\n".join(lines)


CHANGES = {
    "flipped": flipped,
    "digit": digit,
    "line": line,
    "cut": lambda content, pick: content[: pick.randrange(len(content))],
    "longer": lambda content, pick: content + pick.randbytes(9),
    "garbage": lambda content, pick: pick.randbytes(len(content)),
    "zeros": lambda content, pick: bytes(len(content)),
    "empty": lambda *_: b"",
    "json": lambda _, pick: pick.choice([b"[]", b"{}", b"null", b"3", b'"text"', b'{"digest": {}}', b"[" * 9_999]),
}


def damage(folder: Path, pick: random.Random) -> str:
    """Damage one file; return what was done."""
    # As often as the many files of arrays, the few that hold text.
    path = pick.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    if pick.random() < 0.5:
        path = folder / pick.choice(
            ["config.json", "metrics.jsonl", *(f"checkpoints/{step}/record/metadata" for step in (4, 8, 12))]
        )
    how = pick.choice([*CHANGES, "digit", "deleted", "folder", "another"])
    if how == "deleted":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "another":
        path.write_bytes(pick.choice(sorted(path for path in folder.rglob("*") if path.is_file())).read_bytes())
    else:
        path.write_bytes(CHANGES[how](path.read_bytes(), pick))
    return f"{path.relative_to(folder)}: {how}"


def one_line(error: UserError, folder: Path) -> str:
    assert "\n" not in str(error) and str(folder) in str(error)
    return "refused"


def used(folder: Path, settings, saved) -> None:
    """Read a run as `uit translate` does: the state of a checkpoint, under the run's settings; it changes nothing."""
    before = files(folder)
    for which in ("latest", "best"):
        try:
            found, _, state = checkpoint.restore_run(folder, which)
        except UserError as error:
            one_line(error, folder)
        else:
            assert raw(state) == saved[int(state.step)][0]
            flat = config.flatten(found)
            assert {key: flat[key] for key in flat.keys() - config.FREE} == {
                key: value for key, value in config.flatten(settings).items() if key not in config.FREE
            }
    assert files(folder) == before


def resumed(folder: Path, settings, saved) -> str:
    """Go on with a run as `uit train` does; return from where."""
    before = files(folder)
    try:
        with loop.Run(settings, folder) as run:
            state, step = run.begin()
            assert raw(state) == saved[step][0]
            assert run.window.record() == saved[step][1]["window"] and run.best == saved[step][1]["best"]
    except UserError as error:
        assert files(folder) == before
        return one_line(error, folder)
    after = files(folder)
    lines = after.get("metrics.jsonl", b"").split(b"\n")
    assert all(each in lines for each in before.get("metrics.jsonl", b"").split(b"\n") if readable(each, step))
    for name in before.keys() - {"metrics.jsonl", "config.json", "started.json"}:
        aside = name.replace("checkpoints/", "unreadable_checkpoints/", 1)
        assert before[name] in (after.get(name), after.get(aside)), f"{name} is lost"
    return f"from step {step}"


def readable(line: bytes, step: int) -> bool:
    try:
        return json.loads(line)["step"] <= step
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def test_a_damaged_file_costs_at_most_what_it_held(settings, intact, tmp_path, capsys):
    folder, saved = intact
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    counts, work = collections.Counter(), tmp_path / "run"
    for seed in range(COUNT):
        shutil.copytree(folder, work)
        done = damage(work, random.Random(seed))
        try:
            used(work, settings, saved)
            counts[resumed(work, settings, saved)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, {done}") from error
        shutil.rmtree(work)
    assert counts["from step 12"] and counts["from step 8"]
    if "UIT_FUZZ" in os.environ:
        with capsys.disabled():
            print(f"\n{COUNT} damaged runs: {dict(counts)}")
