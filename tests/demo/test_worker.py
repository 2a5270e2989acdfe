"""The worker: what came together is answered together, nobody fails for another's sake, and there are only so many."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from uit_jax.demo.worker import Busy, Worker
from uit_jax.errors import UserError


class Gate:
    """Doubles numbers, batch by batch, each batch when it is let through; refuses 13."""

    def __init__(self):
        self.batches, self.entered, self.open = [], threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, requests):
        self.batches.append(list(requests))
        self.entered.release()
        assert self.open.acquire(timeout=20)
        if 13 in requests:
            raise UserError("no 13")
        return [2 * each for each in requests]


@pytest.fixture
def asked():
    """A gate, its worker, and people who ask."""
    gate = Gate()
    with ThreadPoolExecutor(12) as people, Worker(gate, most=4, waiting=6) as worker:

        def ask(*numbers):
            """Ask for some, and come back when the worker has them all."""
            ready = [threading.Event() for _ in numbers]

            def read(number, event):
                event.set()
                return number

            found = [
                people.submit(worker.ask, lambda n=n, e=e: read(n, e)) for n, e in zip(numbers, ready, strict=True)
            ]
            assert all(event.wait(20) for event in ready)
            return found

        yield gate, worker, ask
        gate.open.release(100)


def queued(worker, count):
    """Wait until so many wait for the next batch."""
    for _ in range(2_000):
        if worker._asked.qsize() == count:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{worker._asked.qsize()} wait")


def test_what_comes_while_a_batch_is_under_way_is_the_next_one(asked):
    gate, worker, ask = asked
    (first,) = ask(1)
    assert gate.entered.acquire(timeout=20)
    others = ask(2, 3, 4, 5, 6)
    queued(worker, 5)
    gate.open.release(3)
    assert first.result(20) == 2 and [each.result(20) for each in others] == [4, 6, 8, 10, 12]
    assert [len(batch) for batch in gate.batches] == [1, 4, 1]


def test_one_that_fails_fails_alone(asked):
    gate, worker, ask = asked
    ask(1)
    assert gate.entered.acquire(timeout=20)
    good, bad, other = ask(2, 13, 4)
    queued(worker, 3)
    gate.open.release(5)
    assert good.result(20) == 4 and other.result(20) == 8
    with pytest.raises(UserError, match="no 13"):
        bad.result(20)


def test_one_that_cannot_be_read_is_no_request(asked):
    gate, worker, ask = asked

    def read():
        raise UserError("no image")

    for _ in range(8):  # more than there are places: each gives its own back
        with pytest.raises(UserError, match="no image"):
            worker.ask(read)
    assert gate.batches == []


def test_who_comes_when_all_places_are_taken_is_told_so(asked):
    gate, worker, ask = asked
    found = ask(1, 2, 3, 4, 5, 6)
    with pytest.raises(Busy, match="try again"):
        worker.ask(lambda: pytest.fail("there is no place for it"))
    gate.open.release(6)
    assert sorted(each.result(20) for each in found) == [2, 4, 6, 8, 10, 12]
    gate.open.release()
    assert worker.ask(lambda: 7) == 14


def test_what_was_asked_for_is_answered_before_it_ends():
    with Worker(lambda requests: [-each for each in requests], most=2, waiting=2) as worker:
        assert worker.ask(lambda: 5) == -5
    assert not worker._thread.is_alive()
