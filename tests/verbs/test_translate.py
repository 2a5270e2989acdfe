import json
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests import toy
from uit_jax import checkpoint, data, files, main, methods, runs
from uit_jax.errors import UserError
from uit_jax.images import pictures, video
from uit_jax.inference import batched, inputs
from uit_jax.inference import files as drawing

SIZE = 16


@pytest.fixture
def traced():
    return []


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch, traced):
    """Let every workdir hold the toy, whose training source is `tmp_path/train`."""
    config = toy.config(SIZE, source=str(tmp_path / "train"))
    state = SimpleNamespace(step=7, **toy.variables())
    method = toy.method(multiple=8, traced=traced, image_size=SIZE)
    monkeypatch.setattr(checkpoint, "restore_variables", toy.restored(config, method, state))
    monkeypatch.setattr(runs, "drawn_form", lambda workdir, direction: (3, 8))
    (tmp_path / "run").mkdir()
    return runs.Trained(tmp_path / "run", config, method, toy.variables(), 7)


def altered(run, **attributes):
    """Return the run with some of its method's functions replaced."""
    return runs.Trained(run.workdir, run.config, toy.altered(run.method, **attributes), run.variables, run.step)


def pixels_of(run, paths):
    """Return images as references are read: [n, S, S, C]."""
    return np.concatenate(list(inputs.in_parts(inputs.gather(paths, ""), 1, size=SIZE, **run.form)))


def paint(path, color, size=(SIZE, SIZE), noise=12):
    """Write an image of one colour with some texture of mean 0; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texture = np.random.default_rng(size).integers(-noise, noise + 1, (size[1], size[0], 1))
    Image.fromarray(np.clip(np.array(color) + texture, 0, 255).astype(np.uint8)).save(path)
    return path


def uit(tmp_path, *arguments):
    return main.main(["translate", f"--workdir={tmp_path / 'run'}", *(str(a) for a in arguments)])


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(float)


def mean(path):
    return pixels(path).mean((0, 1))


def test_a_folder_keeps_names_and_structure(tmp_path):
    for name in ("a.png", "deep/b.png", "deep/er/c.bmp", ".hidden/d.png"):
        paint(tmp_path / "content" / name, (40, 80, 120))
    Image.fromarray(np.full((5, 5), 90, np.uint8)).save(tmp_path / "content" / "still.gif")
    (tmp_path / "content" / "notes.txt").write_text("no image")
    reference = paint(tmp_path / "red.png", (200, 60, 50))
    arguments = [f"--reference={reference}", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, f"--content={tmp_path / 'content'}", *arguments) == 0
    written = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert written == ["a.png", "deep/b.png", "deep/er/c.bmp", "grid.png", "still.gif.png"]
    for name in written:
        if name != "grid.png":
            np.testing.assert_allclose(mean(tmp_path / "out" / name), mean(reference), atol=1)


def test_resized_images_have_the_models_size(tmp_path):
    content = paint(tmp_path / "wide.png", (10, 20, 30), size=(50, 20))
    reference = paint(tmp_path / "red.png", (200, 60, 50))
    assert uit(tmp_path, f"--content={content}", f"--reference={reference}", f"--out={tmp_path / 'new/it.png'}") == 0
    assert Image.open(tmp_path / "new" / "it.png").size == (SIZE, SIZE)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["it.png"]


@pytest.mark.parametrize("size", [(50, 20), (8, 61), (32, 32), (3, 2)])
def test_kept_sizes_come_back_cropped(tmp_path, size):
    content = paint(tmp_path / "odd.png", (100, 110, 120), size=size, noise=40)
    reference = paint(tmp_path / "red.png", (150, 90, 80))
    arguments = [f"--content={content}", f"--reference={reference}", "--size=keep", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, *arguments) == 0
    assert Image.open(tmp_path / "out" / "odd.png").size == size
    # The toy adds one colour to all pixels: what is left is the content, in its place.
    difference = pixels(tmp_path / "out" / "odd.png") - pixels(content)
    assert np.ptp(difference.reshape(-1, 3), axis=0).max() <= 2


def test_rotated_photos_are_kept_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.full((20, 40, 3), 90, np.uint8)).save(tmp_path / "turned.jpg", exif=exif)
    reference = paint(tmp_path / "red.png", (150, 90, 80))
    arguments = [f"--reference={reference}", "--size=keep", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, f"--content={tmp_path}/turned.jpg", *arguments) == 0
    assert Image.open(tmp_path / "out" / "turned.jpg").size == (20, 40)


def test_one_program_for_each_size(tmp_path, traced):
    for i in range(5):
        paint(tmp_path / "content" / f"{i}.png", (i, 0, 0), size=(32, 32))
    for i in range(3):
        paint(tmp_path / "content" / f"wide{i}.png", (i, 0, 0), size=(60 + i, 32))
    reference = paint(tmp_path / "red.png", (150, 90, 80))
    arguments = [f"--content={tmp_path / 'content'}", f"--reference={reference}", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, *arguments, "--size=keep", "--batch_size=8") == 0
    # 60, 61 and 62 wide are all drawn 64 wide; larger images go fewer at a time.
    assert sorted(traced) == [(1, 32, 64, 3), (2, 32, 32, 3)]


def test_several_references_give_their_mean_style(tmp_path):
    content = paint(tmp_path / "c.png", (100, 100, 100))
    red, blue = paint(tmp_path / "red.png", (200, 80, 60)), paint(tmp_path / "more/blue.png", (60, 80, 200))
    (tmp_path / "more" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    arguments = [f"--reference={red}", f"--reference={tmp_path / 'more'}", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, f"--content={content}", *arguments) == 0
    np.testing.assert_allclose(mean(tmp_path / "out" / "c.png"), (mean(red) + mean(blue)) / 2, atol=1)


def training_set(tmp_path):
    for i in range(6):
        paint(tmp_path / "train" / f"red{i}.png", (150 + 10 * i, 60, 60))
    for i in range(3):
        paint(tmp_path / "train" / f"blue{i}.png", (60, 60, 180 + 10 * i))


def test_a_pseudo_domain_gives_the_mean_style_of_its_training_images(tmp_path, monkeypatch):
    training_set(tmp_path)
    content = paint(tmp_path / "c.png", (100, 100, 100))
    assert uit(tmp_path, f"--content={content}", "--domain=0", f"--out={tmp_path / 'out'}") == 0
    np.testing.assert_allclose(mean(tmp_path / "out" / "c.png"), (175, 60, 60), atol=2)

    # The second call takes them from the workdir.
    monkeypatch.setattr(data, "open_source", None)
    assert uit(tmp_path, f"--content={content}", "--domain=2", f"--out={tmp_path / 'out'}", "--overwrite") == 0
    np.testing.assert_allclose(mean(tmp_path / "out" / "c.png"), (60, 60, 190), atol=2)
    assert not list((tmp_path / "run").glob(".*"))


def test_a_pseudo_domain_of_a_given_folder(tmp_path):
    training_set(tmp_path)
    content = paint(tmp_path / "c.png", (100, 100, 100))
    paint(tmp_path / "given" / "r.png", (230, 20, 20))
    arguments = ["--domain=0", f"--references={tmp_path / 'given'}", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, f"--content={content}", *arguments) == 0
    np.testing.assert_allclose(mean(tmp_path / "out" / "c.png"), mean(tmp_path / "given" / "r.png"), atol=2)


def test_a_class_gives_the_mean_style_of_its_images(tmp_path, run, capsys):
    """Of the training source, or of one that the run never saw."""
    for name, color, count in (("blue", 180, 3), ("red", 150, 5)):
        for i in range(count):
            paint(tmp_path / "train" / name / f"{i}.png", np.roll((color + 10 * i, 60, 60), 2 * (name == "blue")))
    given = paint(tmp_path / "given" / "green" / "0.png", (20, 230, 20))
    content = f"--content={paint(tmp_path / 'c.png', (100, 100, 100))}"
    elsewhere = f"--references={tmp_path / 'given'}"
    cases = [
        (["--class=red"], (170, 60, 60)),
        (["--class=0"], (60, 60, 190)),
        (["--class=red", "--domain_images=1"], (150, 60, 60)),
        (["--class=green", elsewhere], mean(given)),
    ]
    for number, (arguments, expected) in enumerate(cases):
        assert uit(tmp_path, content, *arguments, f"--out={tmp_path / str(number)}") == 0
        np.testing.assert_allclose(mean(tmp_path / str(number) / "c.png"), expected, atol=2)
    look = run.look(of_class="red")
    assert look.labels == ["red"] and look.title == "class red, mean style of 5 images"
    np.testing.assert_array_equal(run.translate(tmp_path / "c.png", of_class="red"), pixels(tmp_path / "0" / "c.png"))
    capsys.readouterr()
    out = f"--out={tmp_path / 'out'}"
    for arguments, line in (
        (["--class=rad"], f"{tmp_path / 'train'}#rad: no such class; did you mean red? (or give its number, 0 to 1)"),
        (["--class=red", f"--references={tmp_path / 'no'}"], f"{tmp_path / 'no'}"),
    ):
        assert uit(tmp_path, content, out, *arguments) == 2
        told = capsys.readouterr().err
        assert line in told and told.count("\n") == 1 and not (tmp_path / "out").exists()
    names = [*(f"blue/{i}.png" for i in range(3)), *(f"red/{i}.png" for i in range(5))]
    lines = ["image,label", *(f"{name},{'odd' if name[-5] in '13' else 'even'}" for name in names)]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    run.config.data.labels = str(tmp_path / "labels.csv")
    assert run.look(of_class="odd").title == "class odd, mean style of 3 images"
    with pytest.raises(UserError, match="no such class"):
        run.look(of_class="red")
    assert run.look(of_class="red", references=str(tmp_path / "train")).labels == ["red"]
    run.config.data.source = ""
    assert uit(tmp_path, content, out, "--class=red") == 2
    line = "uit: --class=red: this run has no classes of its own; name a source by --references\n"
    assert capsys.readouterr().err == line


def test_an_interpolation_runs_from_one_style_to_the_other(tmp_path):
    for i in range(2):
        paint(tmp_path / "content" / f"{i}.png", (100, 100, 100))
    first, last = paint(tmp_path / "a,b.png", (200, 80, 60)), paint(tmp_path / "z.png", (60, 80, 200))
    arguments = [f"--interpolate={first},{last}", "--frames=5", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, f"--content={tmp_path / 'content'}", *arguments) == 0
    strip = pixels(tmp_path / "out" / "1.png")
    assert strip.shape == (SIZE, 5 * SIZE, 3)
    means = strip.reshape(SIZE, 5, SIZE, 3).mean((0, 2))
    np.testing.assert_allclose(means, np.linspace(mean(first), mean(last), 5), atol=1)
    assert (tmp_path / "out" / "grid.png").exists()


def frame_means(path, frames):
    """Return the mean colour of each of the frames that lie side by side in an image: [frames, 3]."""
    strip = pixels(path)
    return strip.reshape(strip.shape[0], frames, -1, 3).mean((0, 2))


@pytest.mark.parametrize("reverse", [False, True])
def test_an_interpolation_from_the_contents_own_style_begins_with_the_content(tmp_path, monkeypatch, reverse):
    whole = drawing.render
    looks, titles, render = [], [], pictures.reference_grid
    monkeypatch.setattr(drawing, "render", lambda look, *_, **__: looks.append(look) or whole(look, *_, **__))
    monkeypatch.setattr(pictures, "reference_grid", lambda *_, title, **__: titles.append(title) or render(*_, **__))
    colors = {"red": (180, 60, 50), "green": (40, 170, 90)}
    contents = {name: paint(tmp_path / "content" / f"{name}.png", color) for name, color in colors.items()}
    # Colours that no two contents share, and a name with a comma.
    reference = paint(tmp_path / "a,b.png", (70, 80, 200))
    pair = f"{reference},own" if reverse else f"own,{reference}"
    arguments = [f"--interpolate={pair}", "--frames=5", "--batch_size=1", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, f"--content={tmp_path / 'content'}", *arguments) == 0
    for name, content in contents.items():
        ends = [mean(content), mean(reference)]
        means = frame_means(tmp_path / "out" / f"{name}.png", 5)
        np.testing.assert_allclose(means, np.linspace(*(ends[::-1] if reverse else ends), 5), atol=1)
        # The toy moves a content to the style's colour, which its own leaves where it is.
        own = pixels(tmp_path / "out" / f"{name}.png").reshape(SIZE, 5, SIZE, 3)[:, -1 if reverse else 0]
        np.testing.assert_allclose(own, pixels(content), atol=1)
    assert (tmp_path / "out" / "grid.png").exists() and looks[0].labels == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    assert titles == [("a,b.png to own style" if reverse else "own style to a,b.png") + ", step 7"]
    top = looks[0].images[:: -1 if reverse else 1]
    assert [image is None for image in top] == [True] * 4 + [False]
    np.testing.assert_array_equal(top[-1], pixels(reference))


def test_a_file_called_own_is_named_by_its_folder(tmp_path, monkeypatch):
    content, reference = paint(tmp_path / "c.png", (90, 90, 90)), paint(tmp_path / "z.png", (60, 80, 200))
    paint(tmp_path / "red.png", (200, 80, 60)).rename(tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    for spelt, first in (("own", content), ("./own", tmp_path / "own")):
        arguments = [f"--interpolate={spelt},z.png", "--frames=2", "--out=out", "--overwrite"]
        assert uit(tmp_path, "--content=c.png", *arguments) == 0
        np.testing.assert_allclose(frame_means(tmp_path / "out" / "c.png", 2), [mean(first), mean(reference)], atol=1)


def test_a_contents_own_style_is_read_as_a_references_is(tmp_path, run, traced):
    """At the model's size, whatever the size the content is drawn at; one program for all sizes."""
    read = []

    def style(variables, images):
        read.append(images.shape)
        # Not the same at every size: the left half alone.
        return images[:, :, : images.shape[2] // 2].mean((1, 2))

    run = altered(run, readouts={"style": style})
    sizes = [(50, 20), (16, 16), (21, 33), (40, 41)]
    paths = [paint(tmp_path / f"{w}.png", (100 + w, 120, 140), (w, h), noise=60) for w, h in sizes]
    job = run.job(run.look(interpolate=(None, paths[0]), frames=3), size="keep", batch_size=3)
    codes = job.codes([job.read(path) for path in paths], range(4))
    expected = batched.read(run.method, "style", run.variables, pixels_of(run, paths))
    assert codes.shape == (4, 3, 3)
    np.testing.assert_allclose(codes[:, 0], expected, atol=0.01)
    np.testing.assert_array_equal(codes[:, -1], np.broadcast_to(expected[0], (4, 3)))
    np.testing.assert_allclose(codes[:, 1], (codes[:, 0] + codes[:, 2]) / 2, rtol=1e-5)
    assert set(read) == {(1, SIZE, SIZE, 3), (3, SIZE, SIZE, 3), (4, SIZE, SIZE, 3)}
    drawn = {each.index: each.frames for each in drawing.translations(job, inputs.gather(paths, "content"))}
    assert [[frame.shape for frame in drawn[i]] for i in range(4)] == [[(h, w, 3)] * 3 for w, h in sizes]


def test_every_frame_of_a_film_has_its_own_style(tmp_path):
    paint(tmp_path / "z.png", (60, 80, 200))
    colors = [(200, 60, 60), (60, 200, 60)]
    for number, color in enumerate(colors):
        paint(tmp_path / "in" / f"{number}.png", color, (32, 32), noise=0)
    arguments = [f"--interpolate=own,{tmp_path / 'z.png'}", "--frames=3", f"--video={tmp_path / 'o.mp4'}"]
    assert uit(tmp_path, f"--content={tmp_path / 'in'}", *arguments) == 0
    film = list(video.frames(tmp_path / "o.mp4"))
    assert film[0].shape == (32, 96, 3) and len(film) == 2
    for frame, color in zip(film, colors, strict=True):
        means = frame.reshape(32, 3, 32, 3).mean((0, 2))
        np.testing.assert_allclose(means, np.linspace(color, mean(tmp_path / "z.png"), 3), atol=6)


def test_codes_on_a_sphere_stay_on_it(tmp_path, run):
    def sphere(variables, images):
        code = images.mean((1, 2)) + 2
        return code / (code**2).sum(-1, keepdims=True) ** 0.5

    run = altered(run, readouts={**run.method.readouts, "style": sphere})
    paths = [paint(tmp_path / "red.png", (200, 80, 60)), paint(tmp_path / "blue.png", (60, 80, 200))]
    for look in (run.look(paths), run.look(interpolate=paths, frames=4)):
        np.testing.assert_allclose(np.linalg.norm(look.codes, axis=-1), 1, rtol=1e-5)
    own = run.job(run.look(interpolate=(None, paths[1]), frames=4))
    codes = own.codes(pixels_of(run, paths), range(2))
    np.testing.assert_allclose(np.linalg.norm(codes, axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(codes[0], look.codes, atol=1e-6)


@pytest.fixture
def sampling(run, monkeypatch):
    """Let the toy sample styles, colours that fit into the range with the content's texture."""

    def style_prior(variables, keys):
        return jax.vmap(lambda key: jax.random.uniform(key, (3,), minval=-0.5, maxval=0.5))(keys)

    run = altered(run, style_prior=style_prior)
    state = SimpleNamespace(step=7, **toy.variables())
    monkeypatch.setattr(checkpoint, "restore_variables", toy.restored(run.config, run.method, state))
    return run


def test_sampled_styles_are_the_columns_of_every_strip(tmp_path, sampling, monkeypatch):
    told, table = [], pictures.table
    monkeypatch.setattr(pictures, "table", lambda rows, **how: told.append((rows, how)) or table(rows, **how))
    contents = [paint(tmp_path / "in" / f"{i}.png", (100, 110 + 9 * i, 120), size) for i, size in enumerate(SIZES)]
    codes = sampling.sample(12, seed=3)
    colors = (codes + 1) * 127.5
    for name, count, batch in (("few", 3, 8), ("many", 12, 2)):
        asked = [f"--styles={count}", "--seed=3", f"--batch_size={batch}", f"--out={tmp_path / name}"]
        assert uit(tmp_path, f"--content={tmp_path / 'in'}", "--size=keep", *asked) == 0
        for content, size in zip(contents, SIZES, strict=True):
            strip = tmp_path / name / content.name
            assert Image.open(strip).size == (count * size[0], size[1])
            # The first ones are the same for any number, and all the same for every content.
            np.testing.assert_allclose(frame_means(strip, count), colors[:count], atol=1)
    (rows, how), _ = told
    assert how["title"] == "3 sampled styles, seed 3, step 7" and [len(row) for row in rows] == [4, 4]
    assert how["column_labels"] == ["", "style 1", "style 2", "style 3"] and how["row_labels"] == ["0.png", "1.png"]


def test_sampled_styles_are_of_the_domain_that_is_named(run):
    """Where a method samples them by class; of no domain, of any."""

    def style_prior(variables, keys, domains=None):
        return jnp.zeros((len(keys), 3)) if domains is None else jax.nn.one_hot(domains, 3)

    run = altered(run, style_prior=style_prior, sampled_by_class=True)
    assert not run.sample(2).any() and run.sample(3, seed=4, domain=1).tolist() == [[0, 1, 0]] * 3
    look = run.look(styles=2, domain=2)
    assert look.codes.tolist() == [[0, 0, 1]] * 2 and look.title == "2 sampled styles of domain 2, seed 0"
    for options, line in (
        (dict(domain=3, styles=2), "--domain=3 must be 2 at most"),
        (dict(domain=-1, styles=2), "--domain=-1 is not a whole number of at least 0"),
        (dict(domain=0, styles=1001), "--styles=1001 must be 1000 at most"),
    ):
        with pytest.raises(UserError, match=line):
            run.look(**options)


def test_a_reference_is_read_as_of_the_class_that_is_named(run, tmp_path):
    """By its number or its name, alone, as the ends of an interpolation, and in Python; else by a guess."""

    def style(variables, images, domains=None):
        return jnp.zeros((len(images), 3)) if domains is None else jax.nn.one_hot(domains, 3)

    run = altered(run, readouts={"style": style, "cluster": run.method.cluster}, sampled_by_class=True)
    photo = tmp_path / "photo.png"
    paint(photo, (0, 0, 255))
    assert not run.look(photo).codes.any() and not run.encode(photo).any()
    assert run.encode([photo, photo], domain=1).tolist() == [[0, 1, 0]] * 2
    assert run.look(photo, 2).codes.tolist() == [[0, 0, 1]]
    strip = run.look(interpolate=(photo, photo), frames=3, domain=1)
    np.testing.assert_allclose(strip.codes, [[0, 1, 0]] * 3, atol=1e-6)
    for name in ("green", "red"):
        for number in range(2):
            paint(tmp_path / "set" / "train" / name / f"{number}.png", (9, 9, 9))
    run.config.data.source = str(tmp_path / "set")
    assert run.class_number("red") == 1 and run.look(photo, of_class="red").codes.tolist() == [[0, 1, 0]]
    # Images of another source, of a class of that name or of none.
    for name, code in (("red", [0, 1, 0]), ("blue", [0, 0, 0])):
        for folder in (name, "other"):
            paint(tmp_path / "more" / "train" / folder / "0.png", (1, 2, 3))
        assert run.class_look(name, str(tmp_path / "more")).codes.tolist() == [code]
    for options, line in (
        (dict(reference=photo, domain=3), "--domain=3 must be 2 at most"),
        (dict(reference=photo, of_class="blue"), "classes of other images are read from --references"),
        (dict(reference=photo, of_class="red", domain=1), "--reference and --class: a style comes from one of them"),
    ):
        with pytest.raises(UserError, match=line):
            run.look(**options)
    with pytest.raises(UserError, match="--domain=1: the styles of this method are of no domain"):
        altered(run, sampled_by_class=False).encode(photo, domain=1)


SIZES = (40, 20), (16, 18)


def test_no_more_translations_are_drawn_at_once_than_are_asked_for(tmp_path, sampling, traced):
    """Of many styles or large images fewer contents, and always as many together: one program for each size."""
    for i in range(3):
        paint(tmp_path / "in" / f"{i}.png", (100, 110, 120))
        paint(tmp_path / "in" / f"wide{i}.png", (100, 110, 120), size=(64, 32))
    for styles, batch in ((3, 8), (20, 4)):
        asked = [f"--styles={styles}", f"--batch_size={batch}", "--size=keep", f"--out={tmp_path / 'out'}"]
        traced.clear()
        assert uit(tmp_path, f"--content={tmp_path / 'in'}", *asked, "--overwrite") == 0
        assert sorted(traced) == {3: [(1, 32, 64, 3), (2, 32, 32, 3)], 20: [(1, 32, 32, 3)]}[styles]


def test_a_film_is_drawn_in_sampled_styles(tmp_path, sampling):
    for number in range(2):
        paint(tmp_path / "in" / f"{number}.png", (100, 110, 120), (32, 32), noise=0)
    asked = ["--styles=3", f"--video={tmp_path / 'o.mp4'}"]
    assert uit(tmp_path, f"--content={tmp_path / 'in'}", *asked) == 0
    film = list(video.frames(tmp_path / "o.mp4"))
    assert film[0].shape == (32, 96, 3) and len(film) == 2
    for frame in film:
        means = frame.reshape(32, 3, 32, 3).mean((0, 2))
        np.testing.assert_allclose(means, (sampling.sample(3) + 1) * 127.5, atol=8)


def test_styles_that_cannot_be_sampled_are_one_line(tmp_path, run, sampling, capsys, monkeypatch):
    content, out = f"--content={paint(tmp_path / 'c.png', (9, 9, 9))}", f"--out={tmp_path / 'out'}"
    cases = [
        (["--styles=1001"], "--styles=1001 must be 1000 at most"),
        (["--styles=2", "--seed=4294967296"], "--seed=4294967296 must be 4294967295 at most"),
        (["--domain=0", "--styles=2"], "--domain and --styles: a style comes from one of them; leave the others out"),
        (["--domain=0", "--seed=1"], "--seed=1: is for the styles that --styles=N samples; leave it out"),
        (["--interpolate=own,c.png", "--frames=1001"], "--frames=1001 must be 1000 at most"),
        ([], "give --reference, --domain, --class, --interpolate or --styles: the method of this run draws in a style"),
    ]
    monkeypatch.chdir(tmp_path)
    for arguments, line in cases:
        assert uit(tmp_path, content, out, *arguments) == 2, arguments
        assert capsys.readouterr().err == f"uit: {line}\n"
    for arguments in (["--styles=0"], ["--styles=two"], ["--styles=2", "--seed=-1"]):
        with pytest.raises(SystemExit):
            uit(tmp_path, content, out, *arguments)
    capsys.readouterr()
    assert uit(tmp_path, content, "--styles=2", "--seed=4294967295", f"--out={tmp_path / 'last.png'}") == 0
    state = SimpleNamespace(step=7, **toy.variables())
    monkeypatch.setattr(checkpoint, "restore_variables", toy.restored(run.config, run.method, state))
    assert uit(tmp_path, content, out, "--styles=2") == 2
    line = "--styles=2: the method of this run samples no styles; give --reference, --domain, --class or --interpolate"
    assert line in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_run_that_sorts_no_images_has_no_pseudo_domains(run):
    """A method leaves the read-out away where labels stand for the pseudo domains."""
    assert run.clustered
    run = altered(run, readouts={"style": run.method.style})
    assert not run.clustered
    with pytest.raises(UserError, match="--domain=0: this run knows no pseudo domains; give a --reference"):
        run.look(domain=0)


def test_unreadable_images_are_named_and_skipped(tmp_path, capsys):
    whole = paint(tmp_path / "content" / "b.png", (40, 80, 120), size=(64, 64), noise=60)
    (tmp_path / "content" / "a.jpg").write_bytes(b"not an image")
    (tmp_path / "content" / "torn.png").write_bytes(whole.read_bytes()[:-2000])
    reference = paint(tmp_path / "red.png", (200, 60, 50))
    for size in ("resize", "keep"):
        out = tmp_path / size
        arguments = [f"--content={tmp_path / 'content'}", f"--reference={reference}", f"--out={out}", f"--size={size}"]
        assert uit(tmp_path, *arguments) == 0
        text = capsys.readouterr()
        assert "a.jpg" in text.err and "torn.png" in text.err
        assert "translated 1 of 3 images" in text.out and "skipped 2" in text.out
        assert sorted(p.name for p in out.iterdir()) == ["b.png", "grid.png"]


def test_errors_are_one_line_and_leave_nothing(tmp_path, capsys):
    training_set(tmp_path)
    content, reference = paint(tmp_path / "c.png", (9, 9, 9)), paint(tmp_path / "red.png", (200, 60, 50))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "torn.png").write_bytes(b"torn")
    out, there = f"--out={tmp_path / 'out'}", f"--content={content}"
    cases = [
        ([f"--content={tmp_path / 'no'}", "--domain=0", out], "no: no such file or folder"),
        ([f"--content={tmp_path / 'empty'}", "--domain=0", out], "no images in this folder"),
        ([f"--content={tmp_path / 'torn.png'}", "--domain=0", out], "none of its 1 images can be read"),
        ([there, f"--reference={tmp_path / 'no.png'}", out], "no.png: no such file"),
        ([there, f"--reference={tmp_path / 'torn.png'}", out], "torn.png cannot be read"),
        ([there, "--domain=3", out], "3 pseudo domains, 0 to 2"),
        ([there, "--domain=-1", out], "3 pseudo domains, 0 to 2"),
        ([there, "--domain=1", out], "--domain=1 holds none of the 9 images; those with images: 0, 2"),
        ([there, f"--interpolate={reference}", out], "two image files, or own and one, with a comma"),
        ([there, f"--interpolate={reference},{tmp_path / 'no.png'}", out], "no.png"),
        ([there, f"--interpolate={reference},{reference}", "--frames=1", out], "at least its two ends"),
        ([there, "--interpolate=own,own", out], "one of the two ends is an image file"),
        ([there, f"--interpolate=own,{tmp_path / 'no.png'}", out], "there is no file"),
        ([there, f"--interpolate={tmp_path / 'no.png'},own", out], "no.png'"),
        ([there, f"--interpolate=own,{tmp_path / 'torn.png'}", out], "torn.png cannot be read"),
        ([there, "--interpolate=own", out], "two image files, or own and one, with a comma"),
        ([there, "--domain=0", f"--out={tmp_path / 'x.gif'}"], "x.gif: no .gif can be written of "),
        ([there, "--domain=0", f"--out={tmp_path / 'x.mp4'}"], "x.mp4: no .mp4 can be written of "),
        ([there, "--domain=0", f"--out={tmp_path / 'file'}"], "is a file"),
        ([there, "--domain=0", f"--out={tmp_path / 'file' / 'below'}"], "is a file"),
        ([there, "--domain=0", f"--out={tmp_path}"], "c.png is one of the files that are read"),
        ([f"--content={tmp_path / 'train'}", "--domain=0", f"--out={tmp_path / 'train' / 'out'}"], "lies where"),
        ([there, "--domain=0", out, f"--grid={tmp_path / 'grid.xyz'}"], "the name of a picture"),
        ([there, "--domain=0", out, f"--grid={tmp_path / 'out' / 'c.png'}"], "--grid=PATH"),
    ]
    for arguments, message in cases:
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        assert uit(tmp_path, *arguments) == 2, arguments
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert re.match("uit: ", error) and message in error, (arguments, error)
        after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.parent.name != "run"}
        assert after.items() <= before.items() and not (tmp_path / "out").exists(), arguments


def test_an_output_that_cannot_be_written_leaves_no_half_file(tmp_path, monkeypatch, capsys):
    content, reference = paint(tmp_path / "c.png", (9, 9, 9)), paint(tmp_path / "red.png", (200, 60, 50))

    def full(path, data):
        path.open("wb").write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert uit(tmp_path, f"--content={content}", f"--reference={reference}", f"--out={tmp_path / 'out'}") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_may_not_be_written_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="nothing can be written to .*: name another --out or --grid"):
        files.check_writable(tmp_path / "a" / "b", "--out or --grid")
    assert not (tmp_path / "a").exists()


def everything(tmp_path):
    return {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_nothing_that_is_read_or_there_is_written_over(tmp_path, capsys, monkeypatch):
    """And it is refused before the run is looked at."""
    monkeypatch.setattr(checkpoint, "restore_variables", None)
    content, reference = paint(tmp_path / "c.png", (9, 9, 9)), paint(tmp_path / "red.png", (200, 60, 50))
    paint(tmp_path / "more" / "blue.png", (60, 50, 200))
    paint(tmp_path / "two" / "x.gif", (1, 2, 3))
    paint(tmp_path / "two" / "x.gif.png", (1, 2, 3))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "c.png").symlink_to("../c.png")
    (tmp_path / "same").symlink_to(".")
    paint(tmp_path / "old" / "c.png", (7, 7, 7))
    (tmp_path / "folder" / "c.png").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe.png")
    there, styled = f"--content={content}", f"--reference={reference}"
    out, both = f"--out={tmp_path / 'out'}", f"--reference={tmp_path / 'more'}"
    cases = [
        ([f"--content={tmp_path / 'links'}", styled, f"--out={tmp_path}"], "c.png is one of the files that are read"),
        ([f"--content={tmp_path / 'links'}", styled, f"--out={tmp_path / 'same'}"], "c.png is one of the files"),
        ([there, styled, out, f"--grid={content}"], "c.png is one of the files that are read"),
        ([there, styled, f"--out={reference}"], "red.png is one of the files that are read"),
        ([there, styled, both, f"--out={tmp_path / 'more' / 'blue.png'}"], "blue.png is one of the files"),
        ([there, f"--interpolate=own,{reference}", f"--out={reference}"], "red.png is one of the files"),
        ([there, "--domain=0", f"--references={tmp_path / 'more'}", f"--out={tmp_path / 'more' / 'blue.png'}"], "blue"),
        ([f"--content={tmp_path / 'two'}", styled, out], "x.gif.png would both be written to"),
        ([f"--content={tmp_path / 'pipe.png'}", styled, out], "pipe.png: is a pipe, a socket or a device"),
        ([there, styled, f"--out={tmp_path / 'pipe.png'}"], "pipe.png is there already and no file"),
        ([there, styled, f"--out={tmp_path / 'folder'}"], "c.png is there already and no file"),
        ([f"--content={tmp_path / 'more'}", styled, f"--video={tmp_path / 'more' / 'c.mp4'}"], None),
    ]
    (tmp_path / "more" / "c.mp4").write_bytes(b"someone's")
    before = everything(tmp_path)
    for arguments, message in cases:
        overwrite = ["--overwrite"] * (message is not None)
        assert uit(tmp_path, *arguments, *overwrite) == 2, arguments
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and (message or "c.mp4 is there already: name another place") in error, error
    old = [there, styled, f"--out={tmp_path / 'old'}"]
    assert uit(tmp_path, *old) == 2
    assert "c.png is there already: name another place, or replace by --overwrite" in capsys.readouterr().err
    assert everything(tmp_path) == before


def test_files_that_are_there_are_replaced_when_asked_to(tmp_path, capsys):
    content, reference = paint(tmp_path / "c.png", (9, 9, 9)), paint(tmp_path / "red.png", (200, 60, 50))
    arguments = [f"--content={content}", f"--reference={reference}", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, *arguments) == 0
    paint(tmp_path / "out" / "c.png", (7, 7, 7))
    assert uit(tmp_path, *arguments) == 2
    assert "c.png is there already, and 1 more" in capsys.readouterr().err
    assert uit(tmp_path, *arguments, "--overwrite") == 0
    np.testing.assert_allclose(mean(tmp_path / "out" / "c.png"), mean(reference), atol=1)


def test_a_name_that_cannot_be_written_costs_that_image_alone(tmp_path, capsys):
    long, longer = "n" * 251 + ".png", "n" * 251 + ".gif"  # the second becomes .gif.png, of more than 255 bytes
    strange = os.fsdecode(b"\xff\n.png")
    for name in ("a.png", long, longer, strange):
        paint(tmp_path / "content" / name, (40, 80, 120))
    reference = paint(tmp_path / "red.png", (200, 60, 50))
    arguments = [f"--content={tmp_path / 'content'}", f"--reference={reference}", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, *arguments) == 1
    said = capsys.readouterr()
    assert "could not write 1\n" in said.out and "translated 3 of 4 images" in said.out
    assert f"; side by side in {tmp_path / 'out' / 'grid.png'}, could" in said.out
    assert f"{longer}.png cannot be written: File name too long\n" in said.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(["a.png", "grid.png", long, strange])


def test_capitals_are_no_other_file_where_a_disk_knows_none(tmp_path, monkeypatch):
    targets = {"A.png": tmp_path / "A.png", "a.png": tmp_path / "a.png"}
    files.check_places(targets)
    monkeypatch.setattr(files, "_place", lambda folder: (str(folder), True))
    with pytest.raises(UserError, match="A.png and a.png would both be written to"):
        files.check_places(targets)
    with pytest.raises(UserError, match="A.png is one of the files that are read"):
        files.check_places({"A.png": tmp_path / "A.png"}, [tmp_path / "a.png"])


def test_a_translation_that_is_told_to_end_leaves_no_half_file(tmp_path, monkeypatch, capsys):
    for name in "abc":
        paint(tmp_path / "content" / f"{name}.png", (40, 80, 120))
    reference = paint(tmp_path / "red.png", (200, 60, 50))
    write = Path.write_bytes

    def halfway(path, data):
        if len(list(path.parent.glob("*.png"))) == 1:
            write(path, data[:10])
            os.kill(os.getpid(), signal.SIGTERM)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", halfway)
    arguments = [f"--content={tmp_path / 'content'}", f"--reference={reference}", f"--out={tmp_path / 'out'}"]
    assert uit(tmp_path, *arguments) == 143
    assert capsys.readouterr().err.endswith("uit: ended by SIGTERM\n")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]


def test_a_run_that_was_really_trained_can_be_asked(tiny, tmp_path, monkeypatch, capsys):
    """Through the trainer's own files: config, checkpoint, test split."""
    monkeypatch.undo()
    monkeypatch.setitem(methods.METHODS, "tiny", tiny.Tiny)
    config = tmp_path / "config.py"
    config.write_text(tiny.CONFIG)
    workdir = tmp_path / "trained"
    arguments = ["--config.devices=1", "--config.steps=3", "--config.checkpoint_every=0"]
    assert main.main(["train", f"--config={config}", f"--workdir={workdir}", *arguments]) == 0
    assert main.main(["evaluate", f"--workdir={workdir}", "--pairs=0", "--kmeans"]) == 0
    result = json.loads((workdir / "evaluation.json").read_text())
    assert result["step"] == 3 and sum(result["cluster_sizes"]) == result["images"] == 600
    used = result["cluster_sizes"].index(max(result["cluster_sizes"]))
    content = paint(tmp_path / "c.png", (100, 100, 100), size=(20, 30))
    common = [f"--workdir={workdir}", f"--content={content}", "--size=keep", f"--domain={used}"]
    assert main.main(["translate", *common, f"--out={tmp_path / 'out'}"]) == 0
    assert Image.open(tmp_path / "out" / "c.png").size == (20, 30)
    assert main.main(["translate", *common, "--checkpoint=2", f"--out={tmp_path / 'out2'}"]) == 2
    assert "no checkpoint" in capsys.readouterr().err and not (tmp_path / "out2").exists()
