"""`uit demo`: what it is told, and what is wrong before anything is served. The page itself is tested in tests/demo."""

import socket

import pytest

from tests.demo.made import Unstyled, trained
from uit_jax import demo, main, runs


@pytest.fixture
def served(monkeypatch, tmp_path):
    """What the page is asked to serve; nothing is served."""
    asked = []
    run = trained(monkeypatch, tmp_path / "run", Unstyled)
    monkeypatch.setattr(runs, "load", lambda *given, **how: asked.append((given, how)) or run)
    monkeypatch.setattr(demo, "serve", lambda *given, **how: asked.append((given, how)))
    monkeypatch.setattr(demo, "missing", lambda: [])
    return asked


def test_it_is_served_to_this_machine_unless_another_address_is_named(served, capsys):
    assert main.main(["demo", "--workdir=runs/mine", "--port=0", "--size=64", "--megabytes=3"]) == 0
    assert capsys.readouterr().err == ""
    (load, _), (_, how) = served
    assert load == ("runs/mine", "latest") and how["host"] == "127.0.0.1" and how["port"] > 0 and how["side"] == 64
    assert how["limits"] == demo.Limits(3 * 2**20, 50_000_000)
    assert main.main(["demo", "--workdir=runs/mine", "--port=0", "--host=0.0.0.0", "--data.max_pixels=1000"]) == 0
    assert "--host=0.0.0.0: others reach the page there" in capsys.readouterr().err
    assert served[-1][1]["limits"].most_pixels == 1000 and served[-2][1]["data_max_pixels"] == 1000


def test_what_is_wrong_is_told_before_the_run_is_read(served, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main.main(["demo", "--workdir=runs/mine", f"--port={port}"]) == 2
    assert f"--host=127.0.0.1 --port={port}: nothing can be served there" in capsys.readouterr().err
    assert main.main(["demo", "--workdir=runs/mine", "--host=192.0.2.1"]) == 2
    monkeypatch.setattr(demo, "missing", lambda: ["gradio"])
    assert main.main(["demo", "--workdir=runs/mine"]) == 2
    assert "the page to try a run needs gradio: pip install 'uit-jax[demo]'" in capsys.readouterr().err
    assert served == []
