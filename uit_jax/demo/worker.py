"""What many ask for at the same time, done by one thread in batches: none waits for more than is there already."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from uit_jax.errors import UserError

_READERS = 2  # of what is asked for, at once: an image of many pixels takes much memory until it is small


class Busy(UserError):
    """There are as many requests as may wait."""


class Worker:
    """Answers requests in batches: whatever came while a batch was under way is the next one.

    Use as a context: its thread ends with it, when what was asked for is answered.
    """

    def __init__(self, answer: Callable[[Sequence[Any]], Sequence[Any]], *, most: int, waiting: int):
        """Begin to answer.

        Args:
          answer: returns the answers to some requests, in their order; called in one thread alone.
          most: requests of a batch.
          waiting: requests that are read, wait or are answered at a time; more are refused.
        """
        self._answer, self._most = answer, most
        self._places, self._readers = threading.BoundedSemaphore(waiting), threading.BoundedSemaphore(_READERS)
        self._asked: queue.SimpleQueue[tuple[Any, Future] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="demo", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._asked.put(None)
        self._thread.join()

    def ask(self, read: Callable[[], Any]) -> Any:
        """Return the answer to the request that `read` makes, in this thread, once there is a place for it.

        Raises:
          Busy: there is none.
          Exception: whatever `read` raised, or the answer to this request alone.
        """
        if not self._places.acquire(blocking=False):
            raise Busy("Too many are waiting at the moment: try again in a few seconds.")
        try:
            with self._readers:
                request = read()
            future: Future = Future()
            self._asked.put((request, future))
            return future.result()
        finally:
            self._places.release()

    def _work(self) -> None:
        """Answer batch after batch until there is a None."""
        while (first := self._asked.get()) is not None:
            batch = [first]
            while len(batch) < self._most and not self._asked.empty():
                if (another := self._asked.get()) is None:
                    self._asked.put(None)
                    break
                batch.append(another)
            self._settle(batch)

    def _settle(self, batch: Sequence[tuple[Any, Future]]) -> None:
        """Answer a batch; where that fails, each request by itself, so that none fails for another's sake."""
        requests, futures = zip(*batch, strict=True)
        try:
            answers = self._answer(requests)
        except Exception as error:
            if len(batch) == 1:
                futures[0].set_exception(error)
            else:
                for each in batch:
                    self._settle([each])
            return
        for future, found in zip(futures, answers, strict=True):
            future.set_result(found)
