"""A run, its images and what is made of them in a bucket, which a file system in memory stands for here."""

import json
import shutil
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import buckets, tiny_method
from uit_jax import checkpoint, config, data, files, main, methods, mirror, paths, runs, tensors
from uit_jax.errors import UserError
from uit_jax.images import video
from uit_jax.training import loop


@pytest.fixture(autouse=True, scope="module")
def bucket():
    """Give a bucket that the tests of this file fill together, and know the tiny method."""
    with pytest.MonkeyPatch.context() as patch, buckets.in_memory() as root:
        patch.setitem(methods.METHODS, "tiny", tiny_method.Tiny)
        yield root


TEST = ("test/a", "test/b")


def write_images(folder, *names):
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        files.write_whole(folder / name, lambda partial, noise=noise: Image.fromarray(noise).save(partial))


@pytest.fixture(scope="module")
def images(bucket):
    write_images(bucket / "set", *(f"{part}/{i}.png" for part in ("train/a", "train/b", *TEST) for i in range(4)))
    return bucket / "set"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "tiny.py"
    file.write_text(tiny_method.CONFIG)
    return str(file)


@pytest.fixture(scope="module")
def settings(images):
    changed = (f"data.source={images}", "image_every=6", "evaluate_every=4", "devices=1")
    return [f"--config.{each}" for each in changed]


@pytest.fixture(scope="module")
def workdir(bucket, recipe, settings):
    """Return the workdir of a run in the bucket that was stopped and continued."""
    place = bucket / "runs" / "stopped"
    for steps in (8, 12):
        args = ["train", f"--config={recipe}", f"--workdir={place}", *settings, f"--config.steps={steps}"]
        assert main.main([*args, "--config.tensorboard=true"]) == 0
    return place


def test_a_run_in_a_bucket_is_the_run_on_a_disk(workdir, recipe, settings, tmp_path):
    loop.train(config.resolve(recipe, settings), tmp_path / "whole")
    whole = tmp_path / "whole"
    assert (workdir / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    ours = {str(file.relative_to(workdir)) for file in workdir.files()}
    theirs = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert {name for name in theirs if name.startswith("images/")} <= ours
    assert {name.split("/")[1] for name in ours if name.startswith("checkpoints/")} == {"8", "12"}
    assert "config.json" in ours and any(name.startswith("tb/events") for name in ours)
    one, other = runs.load(str(workdir)), runs.load(whole)
    assert one.step == other.step == 12 and one.workdir == workdir
    np.testing.assert_array_equal(one.variables["params"]["mix"], other.variables["params"]["mix"])
    assert runs.load(workdir, 8).step == 8


def test_checkpoints_copied_from_the_bucket_are_a_run(workdir, tmp_path):
    for file in workdir.files():
        file.download(tmp_path / str(file.relative_to(workdir)))
    assert runs.load(tmp_path).step == 12


@pytest.mark.parametrize("at", [1, 3, 6])
def test_an_upload_cut_off_leaves_the_checkpoint_before(bucket, recipe, settings, monkeypatch, at):
    """As a kill does: nothing is tidied up, and the next start finds what is there."""
    place, put, count = bucket / "runs" / f"cut{at}", buckets.Bucket.put_file, [0]

    def fail(self, source, target, **how):
        count[0] += (of_this := "checkpoints/8/" in target)
        if of_this and count[0] >= at:
            raise ConnectionError("reset by peer")
        put(self, source, target, **how)

    with monkeypatch.context() as patch:
        patch.setattr(buckets.Bucket, "put_file", fail)
        with pytest.raises(UserError, match=f"^{place}/checkpoints could not be written: reset by peer$"):
            loop.train(config.resolve(recipe, settings), place)
    left = {file.relative_to(place).parts[1] for file in (place / "checkpoints").files()}
    assert left == ({"4", "8"} if at > 1 else {"4"})
    assert runs.load(place).step == 4
    loop.train(config.resolve(recipe, settings), place)
    assert runs.load(place).step == 12
    assert {file.relative_to(place).parts[1] for file in (place / "checkpoints").files()} == {"8", "12"}


def test_a_damaged_checkpoint_is_set_aside_in_the_bucket(bucket, workdir, recipe, settings, tmp_path):
    """And TensorBoard's curves do not fold back where the run goes on from the one before."""
    place = bucket / "runs" / "damaged"
    for file in workdir.files():
        (place / str(file.relative_to(workdir))).write_bytes(file.read_bytes())
    for file in (place / "checkpoints" / "12" / "state").files():
        file.write_bytes(b"garbage")
    before = {file.name: file.read_bytes() for file in (place / "checkpoints" / "12").files()}
    loop.train(config.resolve(recipe, [*settings, "--config.tensorboard=true"]), place)
    assert {file.name: file.read_bytes() for file in (place / "unreadable_checkpoints" / "12").files()} == before
    assert {file.relative_to(place).parts[1] for file in (place / "checkpoints").files()} == {"8", "12"}
    assert (place / "metrics.jsonl").read_bytes() == (workdir / "metrics.jsonl").read_bytes()
    one, other = runs.load(place), runs.load(workdir)
    assert one.step == 12
    np.testing.assert_array_equal(one.variables["params"]["mix"], other.variables["params"]["mix"])
    pytest.importorskip("tensorflow")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for file in (place / "tb").files():
        file.download(tmp_path / file.name)
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    assert [event.step for event in events.Tensors("fit")] == [2, 4, 6, 8, 10, 12]


def test_a_network_that_fails_is_no_damaged_checkpoint(workdir, monkeypatch):
    def fail(self, source, *_, **__):
        raise TimeoutError("timed out")

    before = {str(file) for file in workdir.files()}
    with monkeypatch.context() as patch:
        patch.setattr(buckets.Bucket, "get_file", fail)
        with pytest.raises(UserError, match=f"^{workdir}/checkpoints cannot be read: timed out$"):
            runs.load(workdir)
    assert {str(file) for file in workdir.files()} == before


def test_a_network_that_fails_is_no_unreadable_image(bucket, monkeypatch):
    write_images(images := bucket / "few", *(f"train/a/{i}.png" for i in range(8)))
    source = data.open_source(str(images / "train"), split="train", size=16)

    def fail(self, *_, **__):
        raise TimeoutError("timed out")

    monkeypatch.setattr(buckets.Bucket, "cat_file", fail)
    with pytest.raises(UserError, match=f"^{images}/train/a/2.png cannot be read: timed out$"):
        source.image(2)
    monkeypatch.undo()
    (images / "train" / "a" / "2.png").unlink()
    with pytest.raises(data.Unreadable, match="no such file"):
        source.image(2)


def test_a_load_reads_the_arrays_of_one_checkpoint(workdir, monkeypatch):
    get, read = buckets.Bucket.get_file, []

    def note(self, source, target, **how):
        read.append(source)
        get(self, source, target, **how)

    monkeypatch.setattr(buckets.Bucket, "get_file", note)
    assert runs.load(workdir, 8).step == 8
    assert {name.split("/checkpoints/")[1].split("/")[0] for name in read if f"/{mirror._ARRAYS}/" in name} == {"8"}


def test_translate_reads_and_writes_a_bucket(workdir, images, bucket, capsys):
    content, out = f"{images}/test", bucket / "out"
    reference = f"--reference={images}/test/a/0.png"
    assert main.main(["translate", f"--workdir={workdir}", f"--content={content}", reference, f"--out={out}"]) == 0
    assert "translated 8 of 8 images" in capsys.readouterr().out
    inside = {str(file.relative_to(out)) for file in out.files()}
    assert inside == {"grid.png", *(f"{kind}/{i}.png" for kind in "ab" for i in range(4))}
    with (out / "a" / "1.png").open("rb") as file:
        assert Image.open(file).size == (16, 16)
    one = f"{bucket}/one.png"
    translate = ["translate", f"--workdir={workdir}", reference]
    assert main.main([*translate, f"--content={images}/test/a/0.png", f"--out={one}"]) == 0
    assert paths.as_path(one).exists()
    again = [*translate, f"--content={content}", f"--out={out}"]
    assert main.main(again) == 2
    assert f"{out}/a/0.png is there already, and 8 more" in capsys.readouterr().err
    assert main.main([*again, "--overwrite"]) == 0
    assert main.main([*translate, f"--content={content}", f"--out={content}"]) == 2
    assert "lies where the images to translate are" in capsys.readouterr().err


def test_evaluate_search_and_domains_keep_their_results_in_a_bucket(workdir, images, bucket, capsys):
    assert main.main(["evaluate", f"--workdir={workdir}"]) == 0
    assert json.loads((workdir / "evaluation.json").read_text())["images"] == 8
    assert main.main(["evaluate", f"--workdir={workdir}", f"--out={bucket}/e.json"]) == 0
    assert (bucket / "e.json").exists()
    found = [f"--out={bucket}/s.png", f"--json={bucket}/s.json", f"--query={images}/test/a", "--count=2"]
    assert main.main(["search", f"--workdir={workdir}", *found]) == 0
    queries = json.loads((bucket / "s.json").read_text())["queries"]
    there = {str(file) for file in (images / "test").files()}
    for query in queries:
        # The query is itself an image of the source, and no neighbour of its own.
        assert {each["image"] for each in query["neighbours"]} <= there - {query["image"]}
    one = runs.load(workdir).domain_styles()
    assert [path for path in workdir.files() if path.name.startswith("domain_styles")]
    np.testing.assert_array_equal(runs.load(workdir).domain_styles().counts, one.counts)


def test_a_packed_set_in_a_bucket(images, bucket, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    packed = bucket / "packed"
    assert main.main(["data", "pack", str(images), str(packed), "--size=16"]) == 0
    assert main.main(["data", "pack", str(images), str(packed), "--size=16"]) == 2
    assert f"{packed}: exists already" in capsys.readouterr().err
    assert main.main(["data", "check", str(packed)]) == main.main(["data", "check", str(images)]) == 0
    one, other = (data.open_source(str(each), split="train", size=16) for each in (packed, images))
    np.testing.assert_array_equal(one.images(range(8)), other.images(range(8)))
    assert one.classes == other.classes == ("a", "b")


def test_a_class_of_a_bucket(images):
    assert len(data.open_source(f"{images}#b", split="train", size=16)) == 4


@pytest.mark.parametrize("name", ["ftp://b/run", "foo://b/run"])
def test_an_unknown_scheme_is_refused_at_once(name, recipe, settings, images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = [
        ["train", f"--config={recipe}", f"--workdir={name}", *settings],
        ["train", f"--config={recipe}", "--workdir=run", f"--config.data.source={name}"],
        ["translate", f"--workdir={name}", f"--content={images}", "--out=out"],
        ["translate", "--workdir=run", f"--content={name}", "--out=out"],
        ["evaluate", f"--workdir={name}"],
        ["data", "check", name],
        ["data", "pack", str(images), name, "--size=16"],
    ]
    for command in commands:
        assert main.main(command) == 2, command
        told = capsys.readouterr().err
        assert told.startswith(f"uit: {name}") and "is not supported" in told and told.count("\n") == 1, told
    assert not list(Path.cwd().iterdir())


def test_videos_and_tensors_in_a_bucket(workdir, images, bucket):
    film = ["translate", f"--workdir={workdir}", f"--reference={images}/test/a/0.png", "--size=resize"]
    assert main.main([*film, f"--content={images}/test/a", f"--video={bucket}/film/a.mp4"]) == 0
    assert main.main([*film, f"--content={bucket}/film/a.mp4", f"--out={bucket}/film/b.mp4"]) == 0
    assert len(list(video.frames(bucket / "film" / "b.mp4"))) == 4
    tensors.write(bucket / "weights.npz", {"a": np.arange(3)})
    np.testing.assert_array_equal(tensors.read(f"{bucket}/weights.npz")["a"], np.arange(3))


def test_room_is_checked_where_checkpoints_are_written_first(bucket, monkeypatch):
    monkeypatch.setattr(checkpoint.host.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=0))
    with pytest.raises(UserError, match=f"^{tempfile.gettempdir()}: .* GB are needed for checkpoints"):
        checkpoint.check_room(bucket, {"a": np.zeros(10)}, keep=2, best=False)


def test_a_tilde_is_the_home_folder_in_every_path(recipe, tmp_path, monkeypatch, capsys):
    """Behind "=" no shell expands it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "set", *(f"{part}/{i}.png" for part in ("train/a", "train/b", *TEST) for i in range(4)))
    shutil.copy(recipe, tmp_path / "tiny.py")
    run, one, other = "--workdir=~/run", "~/set/test/a/0.png", "~/set/test/b/0.png"
    small = ("steps=1", "devices=1", "data.source=~/set")
    commands = [
        ["data", "check", "~/set"],
        ["data", "pack", "~/set", "~/packed", "--size=16"],
        ["config", "~/tiny.py"],
        ["train", "--config=~/tiny.py", run, *(f"--config.{each}" for each in small)],
        ["config", "~/run", "--diff=~/tiny.py"],
        ["translate", run, "--content=~/set/test", f"--reference={one}", "--out=~/out", "--grid=~/grid.png"],
        ["translate", run, f"--content={one}", f"--interpolate={one},{other}", "--frames=2", "--out=~/strip.png"],
        ["translate", run, f"--content={one}", "--domain=5", "--references=~/set", "--out=~/domain.png"],
        ["translate", run, "--content=~/set/test/a", f"--reference={one}", "--video=~/a.mp4", "--size=resize"],
        ["search", run, f"--query={one}", "--source=~/set", "--count=2", "--out=~/s.png", "--json=~/s.json"],
        ["evaluate", run, "--source=~/set", "--out=~/e.json"],
        ["bench", "--data=~/set", "--size=16", "--images=4", "--batch_size=4", "--windows=1", "--out=~/b.json"],
    ]
    for command in commands:
        assert main.main(command) == 0, (command, capsys.readouterr().err)
    made = "set tiny.py run packed out grid.png strip.png domain.png a.mp4 s.png s.json e.json b.json"
    assert {path.name for path in tmp_path.iterdir()} == set(made.split())
