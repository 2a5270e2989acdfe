"""`uit export`: from the words of a command to a file, and one line of what it is."""

import numpy as np
import pytest
from PIL import Image

from tests.saved_run import SIZE, save
from uit_jax import main
from uit_jax.exporting import onnx_files


def uit(capsys, *words):
    status = main.main(["export", *words])
    told = capsys.readouterr()
    return status, (told.out + told.err).strip()


def test_a_file_of_what_is_asked_for(tmp_path, capsys):
    save(tmp_path / "run", "starganv2")
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    run, images = f"--workdir={tmp_path / 'run'}", f"--images={tmp_path / 'image.png'}"
    out = tmp_path / "x.onnx"
    status, told = uit(capsys, run, "--to=onnx", f"--out={out}", "--styles=2", "--domain=1", "--seed=3", images)
    assert status == 0 and told.startswith(f"written to {out}: content uint8 [b, 16, 16, 3], number int32 [b] to")
    assert "largest difference from the model" in told and len(told.splitlines()) == 1
    assert onnx_files.opened(out)(image[None], np.int32([1])).shape == (1, SIZE, SIZE, 3)
    status, told = uit(capsys, run, "--to=onnx", f"--out={out}", images)
    assert status == 2 and "--overwrite" in told
    status, told = uit(capsys, run, "--to=onnx", f"--out={tmp_path / 'y.onnx'}", images, "--image_size=any")
    assert status == 2 and "--image_size=any" in told
    status, told = uit(capsys, run, "--to=onnx", f"--out={tmp_path / 'y.onnx'}", images, "--style=code", "--domain=1")
    assert status == 2 and "leave one of the two out" in told


@pytest.mark.parametrize("text", ["16x", "x16", "small", "16x16x3"])
def test_a_size_that_is_none_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        main.main(["export", "--workdir=W", "--to=onnx", "--out=x.onnx", f"--image_size={text}"])
    assert "HEIGHTxWIDTH" in capsys.readouterr().err
