"""The Python API: images of every kind go in, arrays come out, and what is wrong is said as the command says it."""

import inspect
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import uit_jax
from tests import method_table as table
from tests import tiny_method, toy, toy_translator
from tests.saved_run import save
from uit_jax import checkpoint, main, methods, runs
from uit_jax import config as configs
from uit_jax.errors import UserError
from uit_jax.images import encode as encoding
from uit_jax.inference import batched
from uit_jax.inference import files as drawing

SIZE = 16
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def styled(tmp_path_factory):
    """The toy: its style is the mean colour, its pseudo domain the brightest channel."""
    workdir = tmp_path_factory.mktemp("styled")
    for name, color in (("red", (200, 60, 60)), ("blue", (60, 60, 200))):
        (workdir / "train").mkdir(exist_ok=True)
        Image.new("RGB", (SIZE, SIZE), color).save(workdir / "train" / f"{name}.png")
    config = toy.config(SIZE, source=str(workdir / "train"))
    return runs.Trained(workdir, config, toy.method(image_size=SIZE), toy.variables(), 7)


def one_sided(channels=3, target_channels=3, **data):
    method = toy_translator.method(channels=channels, target_channels=target_channels, image_size=SIZE)
    variables = toy_translator.variables(channels, target_channels)
    return runs.Trained(Path("run"), toy.config(SIZE, **data), method, variables, 7)


@pytest.fixture(scope="module")
def unstyled():
    return one_sided()


def noise(height=SIZE, width=SIZE, channels=3, kind=np.uint8, seed=0):
    """Return an image of middling values, which no style's colour takes out of the range."""
    most, rng = np.iinfo(kind).max, np.random.default_rng(seed)
    return rng.integers(int(0.45 * most), int(0.55 * most), (height, width, channels), kind)


def paint(path, color=(120, 90, 60), size=(SIZE, SIZE)):
    Image.new("RGB", size, color).save(path)
    return path


def mean(image):
    return np.asarray(image, float).mean((0, 1))


# --- what goes in ---


def test_every_kind_of_image_is_the_same_image(styled, tmp_path):
    image, reference = noise(), np.full((SIZE, SIZE, 3), (200, 60, 50), np.uint8)
    encoding.write(tmp_path / "c.png", image)
    kinds = [
        image,
        tmp_path / "c.png",
        str(tmp_path / "c.png"),
        Image.fromarray(image),
        Image.open(tmp_path / "c.png"),
        (image / 255).astype(np.float32),
        (image / 255).astype(np.float64),
        image.astype(np.uint16) * 257,
        jax.numpy.asarray(image),
    ]
    expected = styled.translate(image, reference=reference)
    assert expected.dtype == np.uint8 and expected.shape == image.shape
    np.testing.assert_allclose(mean(expected), (200, 60, 50), atol=1)
    for kind in kinds:
        np.testing.assert_array_equal(styled.translate(kind, reference=reference), expected, err_msg=str(type(kind)))
        np.testing.assert_array_equal(
            styled.translate(image, reference=[kind]), styled.translate(image, reference=image)
        )
    np.testing.assert_allclose(styled.encode(kinds), np.tile(styled.encode(image), (len(kinds), 1)), atol=1e-6)


def test_channels_and_turns_are_as_for_files(styled, tmp_path):
    gray = noise(channels=1)
    np.testing.assert_array_equal(styled.encode(gray), styled.encode(gray[..., 0]))
    np.testing.assert_array_equal(styled.encode(gray), styled.encode(np.repeat(gray, 3, -1)))
    np.testing.assert_array_equal(styled.encode(gray), styled.encode(Image.fromarray(gray[..., 0])))
    # Opacity is composited on white.
    clear = Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0))
    np.testing.assert_allclose(styled.encode(clear), [[1, 1, 1]], atol=1e-6)
    exif = Image.Exif()
    exif[0x0112] = 6
    paint(tmp_path / "wide.jpg", size=(40, 20))
    Image.open(tmp_path / "wide.jpg").save(tmp_path / "turned.jpg", exif=exif)
    for turned in (tmp_path / "turned.jpg", Image.open(tmp_path / "turned.jpg")):
        assert styled.translate(turned, domain=0, size="keep").shape == (40, 20, 3)


def test_sixteen_bits_stay_sixteen_bits():
    run = one_sided(channels=1, target_channels=1, depth=16)
    deep = noise(channels=1, kind=np.uint16)
    drawn = run.translate(deep)
    assert drawn.dtype == np.uint16 and np.unique(drawn % 257).size > 50
    for kind in (deep[..., 0], deep / 65535, Image.fromarray(deep[..., 0])):
        np.testing.assert_array_equal(run.translate(kind), drawn)
    shallow = noise(channels=1)
    np.testing.assert_array_equal(run.translate(shallow), run.translate(shallow.astype(np.uint16) * 257))
    assert run.translate(deep, pil=True).mode == "I;16"
    with pytest.raises(UserError, match="PIL has no images of 3 channels of 16 bits"):
        one_sided(depth=16).translate(noise(), pil=True)


NOT_IMAGES = {
    "above": (np.full((8, 8, 3), 1.5), "0 to 1, and these are 0 to 1.5"),
    "below": (np.full((8, 8, 3), -0.5, np.float32), "these are -0.5 to 0"),
    "bytes as floats": (np.full((8, 8, 3), 255.0), "these are 0 to 255"),
    "nan": (np.full((8, 8, 3), np.nan), "these are NaN"),
    "integers": (np.zeros((8, 8, 3), np.int64), "int64 is no image; .* uint8, uint16 or floats"),
    "a row": (np.zeros(8, np.uint8), r"\[8\] is no image; .*\[H, W, C\]"),
    "five axes": (np.zeros((1, 1, 8, 8, 3), np.uint8), "is no image"),
    "no pixels": (np.zeros((0, 8, 3), np.uint8), "is no image"),
    "no images": (np.zeros((0, 8, 8, 3), np.uint8), "there is no image in an array"),
    "nothing": ([], "no images are given"),
    "a number": (7, "int is no image; images are file names, PIL images, or arrays"),
    "five channels": (np.zeros((8, 8, 5), np.uint8), "has 5 channels, of which 3 cannot be made"),
    "no file": ("no.png", "no.png: no such file or folder"),
}


@pytest.mark.parametrize("case", NOT_IMAGES)
def test_what_is_no_image_is_told(styled, unstyled, case):
    given, message = NOT_IMAGES[case]
    for ask in (unstyled.translate, styled.encode, styled.cluster, lambda g: styled.translate(noise(), reference=g)):
        with pytest.raises(UserError, match=message):
            ask(given)
    with pytest.raises(UserError, match=message):
        unstyled.translate([noise(), given] if case != "nothing" else given)


# --- what comes out ---


def test_one_gives_one_and_many_give_many(unstyled, tmp_path):
    images = [noise(20, 30, seed=1), noise(16, 16, seed=2), noise(20, 30, seed=3)]
    alone = [unstyled.translate(image) for image in images]
    assert [each.shape for each in alone] == [image.shape for image in images]
    together = unstyled.translate(images)
    assert isinstance(together, list)
    for index, image in enumerate(images):
        np.testing.assert_array_equal(together[index], alone[index])
        encoding.write(tmp_path / "in" / f"{index}.png", image)
    stacked = unstyled.translate(np.stack([images[0], images[2]]))
    assert isinstance(stacked, np.ndarray)
    np.testing.assert_array_equal(stacked, np.stack([alone[0], alone[2]]))
    for folder in (tmp_path / "in", [tmp_path / "in"], [str(tmp_path / "in" / f"{index}.png") for index in range(3)]):
        for drawn, expected in zip(unstyled.translate(folder), alone, strict=True):
            np.testing.assert_array_equal(drawn, expected)
    (only,) = unstyled.translate(images[:1])
    np.testing.assert_array_equal(only, alone[0])


def test_images_of_one_size_are_drawn_together(styled):
    traced = []
    run = runs.Trained(styled.workdir, styled.config, toy.method(traced=traced, image_size=SIZE), styled.variables, 7)
    run.translate([noise(32, 32, seed=k) for k in range(5)] + [noise(16, 48)], domain=0, size="keep", batch_size=8)
    assert sorted(traced) == [(1, 16, 48, 3), (2, 32, 32, 3)]


def test_sizes_are_the_models_or_kept(styled, unstyled):
    image = noise(21, 33)
    assert styled.translate(image, domain=0).shape == (SIZE, SIZE, 3)
    assert styled.translate(image, domain=0, size="keep").shape == (21, 33, 3)
    assert unstyled.translate(image).shape == (21, 33, 3)
    assert unstyled.translate(image, size="resize").shape == (SIZE, SIZE, 3)
    for wrong in (dict(size="large"), dict(batch_size=0), dict(max_pixels=0)):
        with pytest.raises(UserError, match=f"--{next(iter(wrong))}="):
            unstyled.translate(image, **wrong)


def test_pil_images_come_out_where_they_are_asked_for(styled, unstyled):
    image = noise(20, 24)
    drawn = unstyled.translate(image, pil=True)
    assert isinstance(drawn, Image.Image) and drawn.size == (24, 20)
    np.testing.assert_array_equal(np.asarray(drawn), unstyled.translate(image))
    assert [each.size for each in unstyled.translate([image, image[:10]], pil=True)] == [(24, 20), (24, 10)]
    gray = one_sided(channels=3, target_channels=1).translate(image, pil=True)
    assert gray.mode == "L"
    film = styled.interpolate(image, None, image, 3, pil=True)
    assert [each.size for each in film] == [(SIZE, SIZE)] * 3
    with pytest.raises(UserError, match="PIL has no images of 5 channels"):
        one_sided(target_channels=5).translate(image, pil=True)


def test_large_images_are_drawn_in_tiles_and_look_the_same(unstyled, monkeypatch):
    image, told = noise(70, 91), []
    monkeypatch.setattr(batched.tiling, "BUDGET", 0)
    tiled = unstyled.translate(image, max_pixels=600, progress=lambda *now: told.append(now))
    assert np.abs(tiled.astype(int) - unstyled.translate(image)).max() <= 1
    # Tiles are parts of the one image.
    assert len(told) > 10 and told[-1] == (1, 1) and told == sorted(set(told))


def test_progress_counts_images(styled):
    told = []
    styled.translate([noise(), noise()], domain=0, batch_size=1, progress=lambda *now: told.append(now))
    assert told == [(1, 2), (2, 2)]


# --- styles ---


def test_styles_are_given_by_reference_by_code_or_by_domain(styled):
    image = noise()
    red, blue = (np.full((SIZE, SIZE, 3), color, np.uint8) for color in ((200, 60, 60), (60, 60, 200)))
    np.testing.assert_allclose(mean(styled.translate(image, reference=[red, blue])), (130, 60, 130), atol=1)
    codes = styled.encode([red, blue])
    assert codes.shape == (2, 3) and codes.dtype == np.float32
    for style in (codes[0], codes[:1], list(codes[0])):
        np.testing.assert_array_equal(styled.translate(image, style=style), styled.translate(image, reference=red))
    # A code for each image.
    both = styled.translate([image, image], style=codes, batch_size=1)
    np.testing.assert_allclose([mean(each) for each in both], [(200, 60, 60), (60, 60, 200)], atol=1)
    sorted_by = styled.cluster([red, blue])
    assert sorted_by.shape == (2, 3) and list(sorted_by.argmax(1)) == [0, 2]
    np.testing.assert_allclose(sorted_by.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(mean(styled.translate(image, domain=2)), (60, 60, 200), atol=1)
    assert list(styled.domain_styles().counts) == [1, 0, 1]


def test_an_interpolation_goes_from_end_to_end(styled, tmp_path):
    image = np.full((SIZE, SIZE, 3), (10, 120, 30), np.uint8)
    red, blue = paint(tmp_path / "red.png", (200, 60, 60)), np.full((SIZE, SIZE, 3), (60, 60, 200), np.uint8)
    film = styled.interpolate(image, red, blue, 5)
    assert film.shape == (5, SIZE, SIZE, 3) and film.dtype == np.uint8
    np.testing.assert_allclose(film.mean((1, 2)), np.linspace((200, 60, 60), (60, 60, 200), 5), atol=1)
    own = styled.interpolate([image, blue], None, red, 3)
    assert [each.shape for each in own] == [(3, SIZE, SIZE, 3)] * 2
    np.testing.assert_allclose([each[0].mean((0, 1)) for each in own], [(10, 120, 30), (60, 60, 200)], atol=1)
    assert styled.interpolate(np.stack([image, blue]), red, None, 2).shape == (2, 2, SIZE, SIZE, 3)
    with pytest.raises(UserError, match="--frames=1: an interpolation has at least its two ends"):
        styled.interpolate(image, red, blue, 1)
    with pytest.raises(UserError, match="one of the two ends is an image"):
        styled.interpolate(image, None, None)


def test_styles_that_cannot_be_had_are_told(styled, unstyled):
    image = noise()
    cases = [
        (lambda: styled.translate(image), "give --reference, --domain, --class or --interpolate"),
        (
            lambda: styled.translate(image, reference=image, domain=1),
            "--reference and --domain: a style comes from one",
        ),
        (lambda: styled.translate(image, domain=1), "--domain=1 holds none of the 2 images"),
        (lambda: styled.translate(image, domain=3), "3 pseudo domains, 0 to 2"),
        (
            lambda: styled.translate([image, image], style=np.zeros((3, 3))),
            r"\[3, 3\]; give finite codes \[3\] or \[2, 3\], as",
        ),
        (lambda: styled.translate(image, style=[np.nan] * 3), "give finite codes"),
        (lambda: styled.translate(image, style=np.zeros((1, 1, 3))), "give finite codes"),
        (lambda: styled.translate(image, style=np.zeros(5)), r"\[1, 5\]; give finite codes \[3\], as"),
        (lambda: unstyled.translate(image, reference=image), "--reference: the method of this run has no styles"),
        (lambda: unstyled.interpolate(image, image, None), "--interpolate: the method of this run has no styles"),
        (lambda: unstyled.encode(image), "has no style codes"),
        (lambda: unstyled.cluster(image), "knows no pseudo domains"),
        (lambda: unstyled.search(image), "has no style codes to search by"),
        (lambda: styled.inspect(image), "compares no patches"),
    ]
    for ask, message in cases:
        with pytest.raises(UserError, match=message):
            ask()


def test_unreadable_files_are_told(styled, tmp_path, caplog):
    (tmp_path / "torn.png").write_bytes(b"torn")
    good = paint(tmp_path / "good.png")
    for ask in (styled.encode, styled.cluster):
        with pytest.raises(UserError, match="image .*torn.png cannot be read: not an image"):
            ask([good, tmp_path / "torn.png"])
    with pytest.raises(UserError, match="content .*torn.png: not an image"):
        styled.translate([good, tmp_path / "torn.png"], domain=0)
    with pytest.raises(UserError, match="reference .*torn.png cannot be read: not an image"):
        styled.translate(good, reference=tmp_path / "torn.png")
    # Of several references the others give the style.
    drawn = styled.translate(noise(), reference=tmp_path)
    np.testing.assert_allclose(mean(drawn), (120, 90, 60), atol=1)
    assert "reference" in caplog.text and "torn.png is left out" in caplog.text


# --- many images, films ---


def test_translations_and_films_are_drawn_as_they_are_asked_for(styled, tmp_path):
    look = styled.look(interpolate=(None, noise()), frames=3)
    given = [noise(20, 30, seed=1), b"no image", noise(seed=2)]
    (tmp_path / "torn.png").write_bytes(b"torn")
    given[1] = tmp_path / "torn.png"
    found = list(drawing.translations(styled.job(look), drawing.inputs.gather(given, "content")))
    assert sorted(each.index for each in found) == [0, 1, 2]
    for each in found:
        assert (each.reason is None) == (each.index != 1) and len(each.frames) == 3 * (each.reason is None)
    frames = (noise(seed=k) for k in range(5))
    film = list(drawing.film(styled.job(look, size="keep", batch_size=2), frames))
    assert [each.shape for each in film] == [(3, SIZE, SIZE, 3)] * 5
    grid = drawing.render(look, [(noise(), each, "a frame") for each in film[:2]], title="step 7")
    assert grid.ndim == 3 and grid.dtype == np.uint8
    skipped = []
    film = drawing.film(styled.job(look), given, skipped=lambda frame, error: skipped.append(frame))
    assert len(list(film)) == 2 and skipped == [tmp_path / "torn.png"]
    with pytest.raises(UserError, match="a frame cannot be read: not an image"):
        list(drawing.film(styled.job(look), given))


# --- searching, inspecting ---


def test_images_are_searched_by_style(styled, tmp_path):
    colors = {"red": (200, 30, 30), "pink": (210, 60, 90), "blue": (30, 30, 200), "sky": (60, 90, 220)}
    paths = {name: paint(tmp_path / f"{name}.png", color) for name, color in colors.items()}
    found = styled.search(paths["red"], list(paths.values()), 3)
    assert found.names[0][0] == str(paths["pink"]) and str(paths["red"]) not in found.names[0]
    assert found.rows.shape == found.cosines.shape == (1, 3) and (np.diff(found.cosines[0]) <= 0).all()
    np.testing.assert_array_equal(found.images()[0][0, 0], colors["pink"])
    # Arrays have numbers for names, and are never the query itself.
    arrays = np.stack([np.asarray(Image.open(path)) for path in paths.values()])
    found = styled.search(arrays[2:3], arrays, 2)
    assert found.names == [["image 2", "image 3"]] and found.cosines[0, 0] == pytest.approx(1)
    assert found.record()["queries"][0]["image"] == "image 0" and "image 3" in found.text()
    assert found.render(title="found").ndim == 3
    # A source is a text, and without a query its own images are asked for.
    found = styled.search(images="procedural:species=3,test_count=12", count=2, queries=3)
    assert found.rows.shape == (3, 2) and len(found.gallery.codes) == 12
    assert styled.search(paths["red"], count=1).names == [[str(styled.workdir / "train" / "red.png")]]
    with pytest.raises(UserError, match="--count=4 is more than the 3 other images of images"):
        styled.search(images=arrays, count=4)


def test_patches_are_inspected(unstyled, tmp_path):
    image = noise(24, 32)
    found = unstyled.inspect(image, [(16, 12)], 3)
    assert found.image.shape == found.translation.shape == image.shape and found.layer == 3
    assert found.maps.shape == (1, 12, 16) and list(found.labels) == ["x = 16, y = 12"]
    np.testing.assert_array_equal(found.translation, unstyled.translate(image))
    assert found.told() == "layer 3 of 0, 3" and found.render(title="").dtype == np.uint8
    assert len(unstyled.inspect(image).maps) == 5
    with pytest.raises(UserError, match="give one image, not 2"):
        unstyled.inspect([image, image])
    with pytest.raises(UserError, match="32,1 lies outside the image of 32 x 24 px"):
        unstyled.inspect(image, [(32, 1)])


# --- errors as the command tells them ---


def test_errors_are_those_of_the_command(styled, unstyled, tmp_path, monkeypatch, capsys):
    (tmp_path / "torn.png").write_bytes(b"torn")
    content, torn = paint(tmp_path / "c.png"), tmp_path / "torn.png"
    there, out = f"--content={content}", f"--out={tmp_path / 'out'}"
    picture = f"--out={tmp_path / 'o.png'}"
    cases = [
        (styled, ["translate", there, "--domain=3", out], lambda r: r.translate(content, domain=3)),
        (styled, ["translate", there, "--domain=1", out], lambda r: r.translate(content, domain=1)),
        (styled, ["translate", there, out], lambda r: r.translate(content)),
        (styled, ["translate", f"--content={torn}", "--domain=0", out], lambda r: r.translate(torn, domain=0)),
        (styled, ["translate", f"--content={tmp_path / 'no'}", out], lambda r: r.translate(tmp_path / "no")),
        (
            styled,
            ["translate", there, f"--reference={torn}", out],
            lambda r: r.translate(content, reference=torn),
        ),
        (
            styled,
            ["translate", there, f"--interpolate={content},{content}", "--frames=1", out],
            lambda r: r.interpolate(content, content, content, 1),
        ),
        (unstyled, ["translate", there, "--domain=0", out], lambda r: r.translate(content, domain=0)),
        (unstyled, ["search", f"--query={content}", picture], lambda r: r.search(content)),
        (styled, ["search", f"--query={content}", "--count=9", picture], lambda r: r.search(content, count=9)),
        (styled, ["search", f"--query={torn}", "--count=1", picture], lambda r: r.search([torn], count=1)),
        (styled, ["inspect", there, picture], lambda r: r.inspect(content)),
        (unstyled, ["inspect", f"--content={torn}", picture], lambda r: r.inspect(torn)),
        (unstyled, ["inspect", there, "--layer=9", picture], lambda r: r.inspect(content, layer=9)),
        (unstyled, ["inspect", there, "--points=99,0", picture], lambda r: r.inspect(content, [(99, 0)])),
    ]
    monkeypatch.setattr(runs, "drawn_form", lambda workdir, direction: (3, 8))
    for run, command, ask in cases:
        state = SimpleNamespace(step=7, variables=run.variables, **toy.variables())
        monkeypatch.setattr(checkpoint, "restore_variables", toy.restored(run.config, run.method, state))
        assert main.main([command[0], f"--workdir={run.workdir}", *command[1:]]) == 2, command
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("uit: ")]
        with pytest.raises(UserError) as error:
            ask(run)
        assert told == [f"uit: {error.value}"], command


# --- the door ---


def test_nothing_heavy_is_imported_at_the_door():
    code = (
        "import sys, uit_jax; print(uit_jax.__version__, sorted(uit_jax.__all__), hasattr(uit_jax, 'nothing'));"
        "assert set(uit_jax.__all__) <= set(dir(uit_jax));"
        "sys.exit(bool({'jax', 'numpy', 'tensorflow', 'orbax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(" ", 1)[0] == "0.2.0" and "'load'" in done.stdout and done.stdout.endswith("False\n")


PUBLIC = [uit_jax.load, uit_jax.train, uit_jax.evaluate, uit_jax.Trained]
PUBLIC += [getattr(runs.Trained, name) for name in dir(runs.Trained) if not name.startswith("_")]


@pytest.mark.parametrize(
    "member", PUBLIC, ids=lambda m: getattr(m, "__name__", None) or getattr(m, "attrname", "property")
)
def test_what_is_public_is_documented_and_typed(member):
    function = member.fget if isinstance(member, property) else member
    assert inspect.getdoc(function) and len(inspect.getdoc(function).splitlines()[0]) <= 120
    signature = inspect.signature(function)
    for parameter in list(signature.parameters.values())[
        isinstance(member, property) or "." in function.__qualname__ :
    ]:
        assert parameter.annotation is not parameter.empty, parameter
    assert inspect.isclass(function) or signature.return_annotation is not signature.empty


# --- a run that was really trained ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with runs of the tiny method and of a tiny CUT, a config file, and images, as docs/api.md names them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(methods.METHODS, "tiny", tiny_method.Tiny)
        folder = tmp_path_factory.mktemp("trained")
        patch.chdir(folder)
        Path("my_config.py").write_text(tiny_method.CONFIG)
        for index, color in enumerate([(200, 60, 60), (60, 60, 200), (90, 160, 60)]):
            Path("photos").mkdir(exist_ok=True)
            paint(f"photos/{index}.png", color, (40, 30))
            paint(("cat.jpg", "red.jpg", "blue.jpg")[index], color, (24, 20))
        state = uit_jax.train("my_config.py", "runs/flowers", ["steps=3", "devices=1", "evaluate_every=0"])
        assert int(state.step) == 3
        hparams = configs.flatten({"method": table.TINY["cut"]})
        del hparams["method.image_size"]
        data = {"data.source": "procedural:count=8,test_count=24,species=2", "data.image_size": 16, "batch_size": 1}
        config = configs.update(configs.defaults("cut"), hparams | data)
        Path("runs/horses").mkdir()
        configs.save(config, "runs/horses")
        checkpoints = checkpoint.Checkpoints("runs/horses")
        checkpoints.save(1, configs.initial_state(config, configs.method_of(config)), {})
        checkpoints.close()
        save(folder / "runs" / "pets", "munit")
        yield folder


def test_a_trained_run_is_loaded(trained):
    run = uit_jax.load("runs/flowers")
    assert isinstance(run, uit_jax.Trained) and run.step == 3 and run.image_size == 16
    assert run.styled and run.clustered and run.target_channels == 3
    assert run.form == {"channels": 3, "depth": 8, "resample": "bilinear", "max_pixels": 100_000_000}
    assert repr(run) == "Trained(workdir=PosixPath('runs/flowers'), step=3)"
    assert uit_jax.load(trained / "runs" / "flowers", 3).step == 3
    with pytest.raises(UserError, match="no checkpoint is 2"):
        uit_jax.load("runs/flowers", 2)
    with pytest.raises(UserError, match="no run was trained there"):
        uit_jax.load("runs")
    with pytest.raises(UserError, match="did you mean"):
        uit_jax.train("my_config.py", "runs/other", ["stepps=3"])


def test_larger_files_than_the_limit_are_refused_until_it_is_raised(trained, tmp_path, capsys):
    """The run's own limit, or another: cat.jpg has 24 x 20 pixels."""
    refusal = "24 x 20 px are more than data.max_pixels=479: raise it to read this image"
    run = uit_jax.load("runs/horses", data_max_pixels=479)
    for ask in (run.translate, run.inspect, uit_jax.load("runs/flowers", data_max_pixels=479).encode):
        with pytest.raises(UserError, match=refusal):
            ask("cat.jpg")
    assert run.translate(Image.open("cat.jpg")).shape == (20, 24, 3)  # which someone has opened already
    raised = uit_jax.load("runs/horses", data_max_pixels=480).translate("cat.jpg", max_pixels=100)
    assert raised.shape == (20, 24, 3)
    with pytest.raises(UserError, match="data.max_pixels=0 must be 1 at least"):
        uit_jax.load("runs/horses", data_max_pixels=0)
    asked = {
        "translate": ["--content=cat.jpg", f"--out={tmp_path / 'a.png'}"],
        "inspect": ["--content=cat.jpg", f"--out={tmp_path / 'b.png'}"],
        "search": ["--query=cat.jpg", "--source=photos", "--count=1", f"--out={tmp_path / 'c.png'}"],
    }
    for verb, arguments in asked.items():
        workdir = f"--workdir=runs/{'flowers' if verb == 'search' else 'horses'}"
        assert main.main([verb, workdir, *arguments, "--data.max_pixels=479"]) == 2
        assert refusal in capsys.readouterr().err.splitlines()[-1]
        assert main.main([verb, workdir, *arguments, "--data.max_pixels=1200"]) == 0


def test_a_config_that_is_resolved_trains_too(trained):
    config = configs.resolve("my_config.py", ["--config.steps=1", "--config.devices=1"])
    uit_jax.train(config, "runs/again")
    assert uit_jax.load("runs/again").step == 1


def snippets():
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)


def test_the_page_about_the_api_runs_from_top_to_bottom(trained):
    namespace, found = {}, snippets()
    assert len(found) >= 6
    for snippet in found:
        exec(compile(snippet, "docs/api.md", "exec"), namespace)


def test_munits_page_samples_styles(trained):
    page = (ROOT / "docs" / "munit.md").read_text().replace("runs/munit", "runs/pets").replace("horse.jpg", "cat.jpg")
    lines = re.findall(r"^    (run = uit_jax.load.*)\n    (images = .*)$", page, re.MULTILINE)
    assert len(lines) == 1
    namespace = {"uit_jax": uit_jax}
    exec(compile("\n".join(lines[0]), "docs/munit.md", "exec"), namespace)
    images = namespace["images"]
    assert len(images) == 10 and len({image.tobytes() for image in images}) == 10


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda run: run.translate(Image.new("RGB", (0, 5)), reference="red.jpg"), "no pixel"),
        (lambda run: run.translate(b"bytes", reference="red.jpg"), "bytes is no image"),
        (lambda run: run.translate({"a": 1}, reference="red.jpg"), "dict is no image"),
        (lambda run: run.translate("cat.jpg", domain=1.5), "--domain=1.5"),
        (lambda run: run.translate("cat.jpg", domain=True), "--domain=True"),
        (lambda run: run.translate("cat.jpg", style="abc"), "holds no codes"),
        (lambda run: run.translate("cat.jpg", reference="red.jpg", batch_size=1.5), "--batch_size=1.5"),
        (lambda run: run.translate("cat.jpg", reference="red.jpg", batch_size=True), "--batch_size=True"),
        (lambda run: run.translate("cat.jpg", reference="red.jpg", max_pixels=float("nan")), "--max_pixels=nan"),
        (lambda run: run.interpolate("cat.jpg", "red.jpg", None, frames=2.5), "--frames=2.5"),
        (lambda run: run.encode("cat.jpg", batch_size=0), "--batch_size=0"),
        (lambda run: run.sample(3), "has no styles to sample"),
        (lambda run: run.look(styles=3), "--styles=3: the method of this run samples no styles; give --reference,"),
        (lambda run: run.look(reference="red.jpg", seed=3), "--seed=3: is for the styles"),
        (lambda run: uit_jax.load("runs/horses").look(styles=3), "--styles: the method of this run has no styles to"),
        (lambda run: uit_jax.load("runs/pets").sample(0), "--count=0"),
        (lambda run: uit_jax.load("runs/pets").sample(1, seed=1.5), "--seed=1.5 is not a whole number of at least 0"),
        (lambda run: uit_jax.load("runs/pets").look(styles=True), "--styles=True"),
        (lambda run: uit_jax.load("runs/pets").look("red.jpg", styles=2), "--reference and --styles: a style comes fr"),
        (lambda run: uit_jax.load("runs/flowers", direction="BtoA"), "--direction=BtoA: this run has no two domains"),
        (lambda run: run.search("cat.jpg", "photos", count=0), "--count=0"),
        (lambda run: run.search("cat.jpg", "photos", count=1, limit=0), "0 images are asked for"),
        (lambda run: run.search(None, "photos", count=1, queries=-1), "-1 images are asked for"),
        (lambda run: uit_jax.evaluate(run, "oracle"), "give a list"),
        (lambda run: uit_jax.evaluate(run, [3]), "3 is no evaluator"),
        (lambda run: uit_jax.load(None), "--workdir=None"),
        (lambda run: uit_jax.load("runs/flowers", "²"), "no checkpoint is"),
        (lambda run: uit_jax.load("runs/flowers", "best"), "none is the best"),
        (lambda run: uit_jax.load("runs/horses").domain_styles("photos"), "knows no pseudo domains"),
        (lambda run: uit_jax.load("runs/horses").inspect("cat.jpg", points=[]), "--points"),
        (lambda run: uit_jax.load("runs/horses").inspect("cat.jpg", points=[(1, 2, 3)]), "--points"),
        (lambda run: uit_jax.load("runs/horses").inspect("cat.jpg", longest=0), "--longest=0"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(trained, call, words):
    with pytest.raises(uit_jax.UserError) as caught:
        call(uit_jax.load("runs/flowers"))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_arrays_of_any_byte_order_are_images(trained):
    run, image = uit_jax.load("runs/flowers"), np.arange(48, dtype=np.uint16).reshape(4, 4, 3) * 900
    one, other = (run.translate(each, reference="red.jpg") for each in (image, image.astype(">u2")))
    np.testing.assert_array_equal(one, other)


def test_training_in_another_thread_and_a_damaged_cache_of_domains(trained, tmp_path, monkeypatch):
    with ThreadPoolExecutor(1) as pool:
        state = pool.submit(uit_jax.train, "my_config.py", tmp_path / "run", ["steps=2", "devices=1"]).result()
    assert int(state.step) == 2
    run = uit_jax.load(tmp_path / "run")
    whole = run.domain_styles(limit=8)
    (kept,) = (tmp_path / "run").glob("domain_styles_*.npz")
    wrong = whole._asdict() | {"means": whole.means.astype(object)}
    damaged = {
        "garbage": b"damaged",
        "empty": b"",
        "cut short": kept.read_bytes()[:-30],
        "flipped": bytes(255 - byte if at == 200 else byte for at, byte in enumerate(kept.read_bytes())),
        "pickled": wrong,
        "fewer": jax.tree.map(lambda array: array[1:], whole)._asdict(),
        "other codes": whole._asdict() | {"means": whole.means[:, 1:]},
        "wider numbers": whole._asdict() | {"means": whole.means.astype(np.float64)},
        "NaN": whole._asdict() | {"means": whole.means * np.nan},
        "negative counts": whole._asdict() | {"counts": -whole.counts},
        "an array too few": {"means": whole.means},
    }
    for name, content in damaged.items():
        if isinstance(content, bytes):
            kept.write_bytes(content)
        else:
            np.savez_compressed(kept, **content)
        for found, right in zip(run.domain_styles(limit=8), whole, strict=True):
            np.testing.assert_array_equal(found, right, name)
    monkeypatch.setattr(runs.Trained, "_domain_styles", None)
    jax.tree.map(np.testing.assert_array_equal, run.domain_styles(limit=8), whole)
