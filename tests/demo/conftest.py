"""A run with styles that may be sampled, and its page, served by a thread of this process."""

import threading

import pytest

from tests.demo.made import Sampling, trained
from uit_jax import demo
from uit_jax.demo import offers
from uit_jax.demo.requests import Limits


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setattr(offers, "EXAMPLES", 2)
    return trained(monkeypatch, tmp_path / "run", Sampling)


@pytest.fixture
def address(run):
    """Where a thread of this process serves the run."""
    ready, stop, told = threading.Event(), threading.Event(), []

    def answers(where):
        told.append(where)
        ready.set()

    how = dict(port=0, batch_size=2, limits=Limits(most_bytes=100_000), ready=answers, stop=stop)
    thread = threading.Thread(target=demo.serve, args=(run,), kwargs=how)
    thread.start()
    assert ready.wait(60)
    yield told[0]
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
