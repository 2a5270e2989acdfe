"""`uit convert`: its three ways, and what it says."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from uit_jax import main, tensors
from uit_jax.training import conversion


@pytest.fixture
def asked(monkeypatch):
    """What the two ways are asked for, which do nothing."""
    calls = []

    def import_run(*arguments):
        calls.append(arguments)
        config = ConfigDict({"data": {"source": ""}})
        return conversion.Imported(config, {"G": "g.pth"}, ["D", "F"])

    monkeypatch.setattr(conversion, "import_run", import_run)
    monkeypatch.setattr(conversion, "export_run", lambda *a, **more: calls.append((*a, more)) or ["out/g.pth"])
    return calls


def test_published_files_become_a_run(asked, capsys):
    assert main.main(["convert", "g.pth", "--method=fastcut", "--workdir=runs/x", "--config.seed=3"]) == 0
    assert asked == [(["g.pth"], "runs/x", "cut.py:fastcut", ["--config.seed=3"])]
    told = capsys.readouterr().out
    assert "runs/x holds G, at step 0" in told and "not there: D, F; where `uit train` goes on, these begin at" in told
    assert "`uit train` takes --config.data.source=PATH, `uit evaluate` --source=PATH" in told
    assert main.main(["convert", "g.pth", "d.pth", "--config=mine.py:small", "--workdir=runs/x"]) == 0
    assert asked[1] == (["g.pth", "d.pth"], "runs/x", "mine.py:small", [])


def test_a_run_becomes_published_files(asked, capsys):
    assert main.main(["convert", "--workdir=runs/x", "--out=files", "--checkpoint=best", "--overwrite"]) == 0
    assert asked == [("runs/x", "files", "best", {"overwrite": True})]
    assert capsys.readouterr().out == "written: out/g.pth\n"


def test_tensors_go_into_another_kind_of_file(tmp_path, capsys):
    file, out = tmp_path / "vgg16.pth", tmp_path / "vgg16.npz"
    tensors.write(file, {"features": {"0.weight": np.ones(2, np.float32)}})
    assert main.main(["convert", str(file), f"--out={out}"]) == 0
    assert tensors.read(out)["features.0.weight"].tolist() == [1, 1]
    assert main.main(["convert", str(file), f"--out={out}"]) == 2
    assert "vgg16.npz is there already: name another place" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, told",
    [
        (["g.pth"], "give FILE ... and --workdir to read published files"),
        (["--workdir=x"], "give FILE ... and --workdir to read published files"),
        (["a.pth", "b.pth", "--out=c.pth"], "give FILE ... and --workdir to read published files"),
        (["a.pth", "--workdir=x", "--out=c.pth"], "give FILE ... and --workdir to read published files"),
        (["g.pth", "--workdir=x"], "say whose weights these are, by --config=configs/NAME.py or --method=tunit|cut|"),
        (["g.pth", "--workdir=x", "--method=cut", "--config=cut.py"], "say whose weights these are"),
        (["--workdir=x", "--out=y", "--method=cut"], "--config and --method are for published files that are read"),
    ],
)
def test_what_does_not_go_together_is_told(asked, capsys, argv, told):
    assert main.main(["convert", *argv]) == 2
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1 and not asked
