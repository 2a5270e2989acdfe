"""`uit export`: from the words of a command to a file, and one line of what it is."""

import numpy as np
import pytest
from PIL import Image

from tests.saved_run import SIZE, save
from uit_jax import exporting, main
from uit_jax.exporting import onnx_files


def uit(capsys, *words):
    status = main.main(["export", *words])
    told = capsys.readouterr()
    return status, (told.out + told.err).strip()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny run, and an image to try files on."""
    folder = tmp_path_factory.mktemp("export")
    save(folder / "run", "starganv2")
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    Image.fromarray(image).save(folder / "image.png")
    return folder


def test_a_file_of_what_is_asked_for(place, capsys):
    words = [f"--workdir={place / 'run'}", "--to=onnx", f"--out={place / 'x.onnx'}", f"--images={place / 'image.png'}"]
    status, told = uit(capsys, *words, "--function=cluster")
    assert status == 0 and told.startswith(f"written to {place / 'x.onnx'}: images uint8 [b, 16, 16, 3] to")
    assert "probabilities float32 [b, 3], 0.0 MiB; largest difference from the model" in told
    assert onnx_files.opened(place / "x.onnx")(np.zeros((2, SIZE, SIZE, 3), np.uint8)).shape == (2, 3)
    for more, wanted in (
        (["--function=cluster"], "--overwrite"),
        (["--image_size=any", "--overwrite"], "--image_size=any"),
        (["--image_size=18x16", "--overwrite"], "multiples of"),
    ):
        status, told = uit(capsys, *words, *more)
        assert status == 2 and wanted in told and len(told.splitlines()) == 1


def test_styles_and_sizes_are_handed_over(place, capsys, monkeypatch):
    asked = {}

    def export(run, to, out, **how):
        asked.update(how)
        return exporting.Exported(out)

    monkeypatch.setattr(exporting, "export", export)
    words = [f"--workdir={place / 'run'}", "--to=stablehlo", f"--out={place / 'out'}"]
    status, told = uit(capsys, *words, "--styles=2", "--domain=1", "--seed=3", "--image_size=32x48", "--floats")
    assert (status, told) == (0, f"written to {place / 'out'}: read back bit for bit")
    assert asked["look"].codes.shape == (2, 4) and asked["size"] == (32, 48) and asked["floats"]


@pytest.mark.parametrize("text", ["16x", "x16", "small", "16x16x3"])
def test_a_size_that_is_none_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        main.main(["export", "--workdir=W", "--to=onnx", "--out=x.onnx", f"--image_size={text}"])
    assert "HEIGHTxWIDTH" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, told",
    [
        ("--to=hub-folder --style=code", "--style: the folder holds the whole model"),
        ("--to=hub-folder --function=encode", "--function: the folder"),
        ("--to=hub-folder --floats", "--floats: the folder"),
        ("--to=stablehlo --seed=3", "--seed: it is for --styles"),
        ("--to=stablehlo --references=imgs", "--references: it is for --style=domain"),
        ("--to=stablehlo --function=encode --image_size=32", "--image_size: --function=encode draws nothing"),
    ],
)
def test_what_would_change_nothing_is_refused(words, told, capsys):
    status, said = uit(capsys, "--workdir=W", "--out=x", *words.split())
    assert status == 2 and told in said and len(said.splitlines()) == 1
