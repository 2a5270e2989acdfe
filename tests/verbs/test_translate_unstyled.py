"""`uit translate` with a method that has no styles: images of their own size, tiles, videos."""

import json
import re
from fractions import Fraction
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from tests import method_table as table
from tests import toy, toy_translator
from tests.images.test_video import clip, psnr
from tests.images.test_video import write as write_video
from uit_jax import checkpoint, main, runs
from uit_jax import config as config_module
from uit_jax.images import decode as decoding
from uit_jax.images import encode as encoding
from uit_jax.images import video
from uit_jax.inference import batched
from uit_jax.inference import files as drawing
from uit_jax.inference.files import Job
from uit_jax.method import Phase
from uit_jax.verbs import translate

SIZE = 16


@pytest.fixture
def traced():
    return []


@pytest.fixture
def settings():
    """What a test may change of the run's data before it is opened."""
    return dict(channels=3, target_channels=0, depth=8, resample="bicubic")


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch, traced, settings):
    """Let every workdir hold the toy translator, with as many channels as the settings have."""

    def open_run(workdir, which):
        channels, out = settings["channels"], settings["target_channels"] or settings["channels"]
        config = toy.config(SIZE, depth=settings["depth"], resample=settings["resample"])
        method = toy_translator.method(channels=channels, target_channels=out, traced=traced, image_size=SIZE)
        variables = toy_translator.variables(channels, out)
        return config, method, variables, 7

    monkeypatch.setattr(checkpoint, "restore_variables", open_run)

    def drawn(workdir, direction):
        return settings["target_channels"] or settings["channels"], settings["depth"]

    monkeypatch.setattr(runs, "drawn_form", drawn)
    (tmp_path / "run").mkdir()


def paint(path, size=(SIZE, SIZE), channels=3, dtype=np.uint8, seed=0):
    """Write an image; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, channels))
    planes = [np.asarray(Image.fromarray(p.astype(np.uint8)).resize(size)) for p in np.moveaxis(coarse, -1, 0)]
    image = np.stack(planes, -1).astype(dtype) * (1 if dtype == np.uint8 else 257)
    encoding.write(path, image)
    return image


def expected(image):
    """Translate one image whole, continued to even sides and cut back, in its own type."""
    method, channels = toy_translator.method(), image.shape[-1]
    most = np.iinfo(image.dtype).max
    height, width = image.shape[:2]
    size = [max(8, side + side % 2) for side in (height, width)]
    padded = np.pad(image, ((0, size[0] - height), (0, size[1] - width), (0, 0)), "reflect")
    content = (padded / (most / 2) - 1).astype(np.float32)[None]
    drawn = np.asarray(jax.jit(method.translate)(toy_translator.variables(channels, channels), {"content": content}))
    return np.rint((drawn[0, :height, :width] + 1) * most / 2)


def uit(tmp_path, *arguments):
    return main.main(["translate", f"--workdir={tmp_path / 'run'}", *(str(a) for a in arguments)])


def pixels(path, channels=3, depth=8):
    return decoding.decode(path.read_bytes(), channels=channels, depth=depth).astype(float)


def test_a_folder_keeps_names_structure_and_sizes(tmp_path, capsys):
    images = {
        "a.png": paint(tmp_path / "in" / "a.png", (40, 22), seed=1),
        "deep/b.bmp": paint(tmp_path / "in" / "deep" / "b.bmp", (17, 31), seed=2),
        "deep/er/c.png": paint(tmp_path / "in" / "deep" / "er" / "c.png", (3, 2), seed=3),
    }
    (tmp_path / "in" / "torn.png").write_bytes(b"torn")
    assert uit(tmp_path, f"--content={tmp_path / 'in'}", f"--out={tmp_path / 'out'}") == 0
    said = capsys.readouterr()
    assert "torn.png: not an image" in said.err and "translated 3 of 4 images" in said.out
    written = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert written == [*images, "grid.png"]
    for name, image in images.items():
        drawn = pixels(tmp_path / "out" / name)
        assert drawn.std() > 5
        np.testing.assert_allclose(drawn, expected(image), atol=1)


def test_images_far_larger_than_the_model_are_told_of(tmp_path, capsys):
    for name, width, told in (("near", 2 * SIZE - 1, False), ("far", 2 * SIZE, True)):
        paint(tmp_path / f"{name}.png", (width, 20))
        common = [f"--content={tmp_path / f'{name}.png'}", f"--out={tmp_path / 'out'}", "--overwrite"]
        assert uit(tmp_path, *common) == 0
        said = f"drawn at their own size, up to {width} px, by a model of {SIZE}: " in capsys.readouterr().err
        assert said == told
        for asked in ("--size=keep", "--size=resize"):
            assert uit(tmp_path, *common, asked) == 0
            assert "drawn at their own size" not in capsys.readouterr().err


def test_what_was_seen_at_its_own_size_in_training_is_not_far_from_it(capsys):
    for load_size, told in ((0, False), (SIZE, True)):
        method = SimpleNamespace(image_size=SIZE, phase=lambda step, side=load_size: Phase("train", load_size=side))
        translate._tell_far(SimpleNamespace(size=None), Job(method, {}, {}, keep=True), 4 * SIZE)
        assert bool(capsys.readouterr().err) == told


def test_the_models_size_can_be_had(tmp_path):
    paint(tmp_path / "wide.png", (50, 20))
    common = [f"--content={tmp_path / 'wide.png'}", "--size=resize"]
    assert uit(tmp_path, *common, f"--out={tmp_path / 'small.png'}") == 0
    assert Image.open(tmp_path / "small.png").size == (SIZE, SIZE)


def test_large_images_are_drawn_in_tiles_and_look_the_same(tmp_path, monkeypatch, traced):
    image = paint(tmp_path / "large.png", (91, 70))
    content = f"--content={tmp_path / 'large.png'}"
    monkeypatch.setattr(batched.tiling, "BUDGET", 0)
    assert uit(tmp_path, content, f"--out={tmp_path / 'whole.png'}") == 0
    assert ("encode", 70, 92, 3) in traced and ("encode", 24, 24, 3) not in traced
    assert uit(tmp_path, content, "--max_pixels=600", f"--out={tmp_path / 'tiled.png'}") == 0
    assert ("encode", 24, 24, 3) in traced
    np.testing.assert_allclose(pixels(tmp_path / "tiled.png"), expected(image), atol=1)
    np.testing.assert_allclose(pixels(tmp_path / "tiled.png"), pixels(tmp_path / "whole.png"), atol=1)


def test_a_method_that_cannot_draw_in_tiles_says_so(tmp_path, monkeypatch, capsys):
    method = toy.altered(toy_translator.method(image_size=SIZE), stages=())
    state = SimpleNamespace(step=7, variables=toy_translator.variables())
    monkeypatch.setattr(checkpoint, "restore_variables", toy.restored(toy.config(SIZE), method, state))
    paint(tmp_path / "in" / "large.png", (91, 70))
    paint(tmp_path / "in" / "small.png", (20, 20))
    common = [f"--content={tmp_path / 'in'}", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, *common, "--max_pixels=6000") == 0
    assert "large.png: 92 x 70 px are more than --max_pixels=6000, and this method cannot" in capsys.readouterr().err
    assert not (tmp_path / "out" / "large.png").exists() and (tmp_path / "out" / "small.png").exists()
    # Nobody set a limit: it is tried.
    monkeypatch.setattr(batched, "MAX_PIXELS", 100)
    assert uit(tmp_path, *common, "--overwrite") == 0 and (tmp_path / "out" / "large.png").exists()


def test_sixteen_bits_are_kept(tmp_path, settings):
    settings["depth"] = 16
    deep = paint(tmp_path / "in" / "deep.png", (20, 18), dtype=np.uint16)
    shallow = paint(tmp_path / "in" / "shallow.jpg", (20, 18))
    assert uit(tmp_path, f"--content={tmp_path / 'in'}", f"--out={tmp_path / 'out'}") == 0
    drawn = pixels(tmp_path / "out" / "deep.png", depth=16)
    np.testing.assert_allclose(drawn, expected(deep), atol=3)
    assert np.unique(drawn % 257).size > 50
    # JPEG has no 16 bits, so that its translation is a PNG.
    assert pixels(tmp_path / "out" / "shallow.jpg.png", depth=16).shape == shallow.shape
    assert pixels(tmp_path / "out" / "grid.png").shape[-1] == 3


@pytest.mark.parametrize("channels, target, name, written", [(5, 0, "five.npy", "five.npy"), (1, 3, "g.png", "g.png")])
def test_any_number_of_channels(tmp_path, settings, channels, target, name, written):
    settings |= dict(channels=channels, target_channels=target)
    paint(tmp_path / "in" / name, (20, 18), channels=channels)
    assert uit(tmp_path, f"--content={tmp_path / 'in'}", f"--out={tmp_path / 'out'}") == 0
    assert pixels(tmp_path / "out" / written, target or channels).shape == (18, 20, target or channels)


def test_other_channels_are_one_line(tmp_path, settings, capsys):
    settings["channels"] = 5
    paint(tmp_path / "rgb.png")
    assert uit(tmp_path, f"--content={tmp_path / 'rgb.png'}", f"--out={tmp_path / 'out'}") == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "none of its 1 images can be read (rgb.png: has 3 channels, of which 5 cannot be made)" in last


def test_a_video_becomes_a_video(tmp_path):
    frames = clip(11, 36, 48)
    write_video(tmp_path / "in.mp4", frames, Fraction(30000, 1001))
    read = list(video.frames(tmp_path / "in.mp4"))
    assert uit(tmp_path, f"--content={tmp_path / 'in.mp4'}", f"--out={tmp_path / 'out'}") == 0
    assert video.facts(tmp_path / "out" / "in.mp4") == (Fraction(30000, 1001), 11)
    drawn = list(video.frames(tmp_path / "out" / "in.mp4"))
    assert drawn[0].shape == (36, 48, 3)
    # Colour is stored at half the size, and the toy's changes from pixel to pixel: their mean is what is kept.
    assert psnr([f.mean(-1) for f in drawn], [expected(frame).mean(-1) for frame in read]) > 28
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["in.mp4"]


def test_a_folder_of_frames_becomes_a_video(tmp_path, capsys):
    frames = clip(11, 35, 50)
    for number, frame in enumerate(frames):
        encoding.write(tmp_path / "in" / f"frame{number}.png", frame)
    (tmp_path / "in" / "frame3.png").write_bytes(b"torn")
    out = tmp_path / "new" / "out.mkv"
    assert uit(tmp_path, f"--content={tmp_path / 'in'}", f"--video={out}", "--fps=23.976") == 0
    said = capsys.readouterr()
    assert "frame3.png: not an image" in said.err and "translated 10 frames" in said.out
    assert f"up to 50 px, by a model of {SIZE}" in said.err
    assert video.facts(out) == (Fraction(2997, 125), 10)
    drawn = list(video.frames(out))
    # 10 comes after 9, not after 1.
    assert psnr(drawn, [expected(frame) for number, frame in enumerate(frames) if number != 3]) > 28


def test_a_video_is_never_in_memory_whole(tmp_path, run):
    job = runs.load(tmp_path / "run").job(size="keep", batch_size=12)
    asked = []

    def frames():
        for frame in clip(20, SIZE, 2 * SIZE):
            asked.append(1)
            yield frame

    for done, drawn in enumerate(drawing.film(job, frames())):
        # Two of these have four times the model's pixels, so six are drawn at once; one more shows that these are all.
        assert drawn.shape == (1, SIZE, 2 * SIZE, 3) and len(asked) <= done // 6 * 6 + 7
    assert done == 19


def test_styles_are_refused_where_there_are_none_and_asked_for_where_there_are(tmp_path, monkeypatch, capsys):
    paint(tmp_path / "c.png")
    common = [f"--content={tmp_path / 'c.png'}", f"--out={tmp_path / 'out'}"]
    for option in (f"--reference={tmp_path / 'c.png'}", "--domain=0", f"--interpolate={tmp_path / 'c.png'},b.png"):
        assert uit(tmp_path, *common, option) == 2
        name = option.split("=")[0]
        assert (
            capsys.readouterr().err
            == f"uit: {name}: the method of this run has no styles to choose from; leave it out\n"
        )
    method, state = toy.method(image_size=SIZE), SimpleNamespace(step=7, **toy.variables())
    monkeypatch.setattr(checkpoint, "restore_variables", toy.restored(toy.config(SIZE), method, state))
    assert uit(tmp_path, *common) == 2
    assert capsys.readouterr().err.startswith("uit: give --reference, --domain, --class or --interpolate")
    method = toy.altered(method, readouts={"style": method.style})
    monkeypatch.setattr(checkpoint, "restore_variables", toy.restored(toy.config(SIZE), method, state))
    assert uit(tmp_path, *common, "--domain=0") == 2
    assert "knows no pseudo domains; give a --reference" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_style_is_drawn_in_a_video_too(tmp_path, monkeypatch):
    method, state = toy.method(image_size=SIZE), SimpleNamespace(step=7, **toy.variables())
    monkeypatch.setattr(checkpoint, "restore_variables", toy.restored(toy.config(SIZE), method, state))
    Image.new("RGB", (SIZE, SIZE), (150, 90, 80)).save(tmp_path / "red.png")
    write_video(tmp_path / "in.mp4", clip(5, 36, 48))
    arguments = [f"--reference={tmp_path / 'red.png'}", f"--out={tmp_path / 'out.mp4'}"]
    assert uit(tmp_path, f"--content={tmp_path / 'in.mp4'}", *arguments) == 0
    drawn = np.stack(list(video.frames(tmp_path / "out.mp4")))
    assert drawn.shape == (5, 36, 48, 3)
    np.testing.assert_allclose(drawn.mean((0, 1, 2)), (150, 90, 80), atol=8)


def test_errors_about_videos_are_one_line_and_leave_nothing(tmp_path, settings, capsys):
    write_video(tmp_path / "in.mp4", clip(3))
    paint(tmp_path / "frames" / "0.png")
    paint(tmp_path / "mixed" / "0.png")
    paint(tmp_path / "mixed" / "1.png", (18, 16))
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "file").write_text("")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "0.png").write_bytes(b"")
    film, folder, out = (
        f"--content={tmp_path / 'in.mp4'}",
        f"--content={tmp_path / 'frames'}",
        f"--out={tmp_path / 'o.mp4'}",
    )
    cases = [
        ([film], "--out is missing"),
        ([folder], "--out is missing"),
        ([f"--content={tmp_path / 'no.mp4'}", out], "no.mp4: no such file"),
        ([f"--content={tmp_path / 'text.mp4'}", out], "text.mp4: not a video that can be read"),
        ([film, f"--video={tmp_path / 'o.mp4'}"], "is for a folder of frames"),
        ([folder, out, f"--video={tmp_path / 'o.mp4'}"], "give one of the two"),
        ([folder, f"--video={tmp_path / 'o.png'}"], "o.png: give the name of a video"),
        ([film, f"--out={tmp_path / 'in.mp4'}"], "in.mp4 is one of the files that are read"),
        ([film, f"--out={tmp_path / 'file'}"], "is a file; give a folder, or a name.mp4"),
        ([film, out, f"--grid={tmp_path / 'g.png'}"], "a video has no grid"),
        ([f"--content={tmp_path / 'mixed'}", f"--video={tmp_path / 'o.mp4'}"], "frame 2 has 18 x 16 px"),
        ([f"--content={tmp_path / 'torn'}", f"--video={tmp_path / 'o.mp4'}"], "none of its 1 images can be read"),
        (
            [f"--content={tmp_path / 'frames' / '0.png'}", f"--out={tmp_path / 'x.jpg'}"],
            "x.jpg: .jpg cannot hold 5 channels",
        ),
        ([film, out], "in.mp4 has 3 channels, of which 5 cannot be made"),
    ]
    for arguments, message in cases:
        settings["channels"] = 5 if "5" in message else 3
        before = sorted(tmp_path.rglob("*"))
        assert uit(tmp_path, *arguments) == 2, arguments
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert re.match("uit: ", error) and message in error, (arguments, error)
        assert sorted(tmp_path.rglob("*")) == before, arguments
    with pytest.raises(SystemExit):
        uit(tmp_path, folder, f"--video={tmp_path / 'o.mp4'}", "--fps=0")
    assert "frames per second" in capsys.readouterr().err


def test_every_verb_asks_a_real_checkpoint(tmp_path, monkeypatch, capsys):
    """Of a method of the library, through config and checkpoint: verbs branch on what it offers, not on its name."""
    monkeypatch.undo()
    hparams = config_module.flatten({"method": table.TINY["cut"]})
    settings = {"data.source": "procedural:count=8,test_count=24,species=2", "data.image_size": 16, "batch_size": 1}
    del hparams["method.image_size"]
    config, workdir = config_module.update(config_module.defaults("cut"), hparams | settings), tmp_path / "trained"
    workdir.mkdir()
    config_module.save(config, workdir)
    state = config_module.initial_state(config, config_module.method_of(config))
    checkpoints = checkpoint.Checkpoints(workdir)
    checkpoints.save(1, state, {})
    checkpoints.close()
    from uit_jax.evaluation import oracle

    monkeypatch.setattr(oracle, "train", lambda world: oracle.Reader(lambda images: (np.ones(len(images)), 0), 1.0))
    assert main.main(["evaluate", f"--workdir={workdir}"]) == 0
    scores = json.loads((workdir / "evaluation.json").read_text())["scores"]
    assert scores["translation_species"] == 1 and scores["translation_ground"] > 0
    content = f"--content={tmp_path / 'c.png'}"
    paint(tmp_path / "c.png", (50, 34))
    assert main.main(["translate", f"--workdir={workdir}", content, f"--out={tmp_path / 'whole.png'}"]) == 0
    monkeypatch.setattr(batched.tiling, "BUDGET", 0)
    tiled = ["--max_pixels=1000", f"--out={tmp_path / 'tiled.png'}"]
    assert main.main(["translate", f"--workdir={workdir}", content, *tiled]) == 0
    whole, tiled = (pixels(tmp_path / f"{name}.png") for name in ("whole", "tiled"))
    assert whole.shape == (34, 50, 3) and np.abs(whole - tiled).max() <= 1
    assert main.main(["inspect", f"--workdir={workdir}", content, f"--out={tmp_path / 'seen.png'}"]) == 0
    assert "layer 12 of 0, 4, 12, step 0" in capsys.readouterr().out
