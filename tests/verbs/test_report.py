"""`uit report`, and the page that a training ends with."""

import pytest

from tests.report.made import write_run
from uit_jax import main, report
from uit_jax.verbs import train

pytest.importorskip("bokeh")
pytest.importorskip("sklearn")


def test_the_page_is_written_to_the_run_or_where_it_is_asked_for(tiny, tmp_path, capsys):
    write_run(tmp_path / "run")
    write_run(tmp_path / "other")
    arguments = ["report", f"--workdir={tmp_path / 'run'}", "--images=0"]
    for _ in range(2):
        assert main.main(arguments) == 0
    assert (tmp_path / "run" / "report.html").exists()
    out = [*arguments, f"--compare={tmp_path / 'other'}", f"--out={tmp_path / 'both.html'}"]
    assert main.main(out) == 0 and "other" in (tmp_path / "both.html").read_text()
    assert main.main(out) == 2 and "--overwrite" in capsys.readouterr().err
    assert main.main([*out, "--overwrite"]) == 0
    for refused in (f"--out={tmp_path / 'page.txt'}", f"--compare={tmp_path / 'none'}"):
        assert main.main([*arguments, refused]) == 2
    assert "none: no run was trained there" in capsys.readouterr().err


@pytest.fixture
def trains(tiny, tmp_path):
    (tmp_path / "tiny.py").write_text(tiny.CONFIG.replace('"report": False', '"report": True'))
    given = ["--config.devices=1", "--config.steps=4", "--config.data.source=procedural:count=24"]
    return [f"--config={tmp_path / 'tiny.py'}", f"--workdir={tmp_path / 'run'}", *given]


def test_a_training_ends_with_its_page(trains, tmp_path, capsys):
    assert train.main([*trains]) == 0
    page = tmp_path / "run" / "report.html"
    text = page.read_text()
    assert "report.html: a page of the run" in capsys.readouterr().err and "step 4 of 4" in text
    # By recipe, speed, devices and versions that the training left, and by its model.
    assert f"{tmp_path / 'tiny.py'}" in text and "speed-1" in text and "1 x cpu" in text and 'id="sizes-0"' in text
    page.unlink()
    # Nothing was learnt since.
    assert train.main(trains) == 0 and not page.exists()


def test_a_page_that_fails_costs_a_training_nothing(trains, monkeypatch, capsys):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(report, "write", fail)
    assert train.main(trains) == 0
    assert "no page of the run: MemoryError" in capsys.readouterr().err


def test_no_page_where_none_is_wanted_or_a_library_is_missing(trains, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "missing", lambda: ["bokeh"])
    assert train.main([*trains]) == 0 and "bokeh is not installed" in capsys.readouterr().err
    assert train.main([*trains, "--config.steps=6", "--config.report=false"]) == 0
    assert "page of the run" not in capsys.readouterr().err and not (tmp_path / "run" / "report.html").exists()
