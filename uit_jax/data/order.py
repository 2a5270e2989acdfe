"""Which image is row i of step t: a pure function of (seed, t, i), in numpy alone."""

import functools
from typing import NamedTuple

import numpy as np

from uit_jax.data.sources.base import Source
from uit_jax.errors import UserError
from uit_jax.method import Stream, portion

ALL = Stream()
STREAMS = ("all", "labelled", "unlabelled", "partly_labelled")


@functools.lru_cache(maxsize=8)
def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of one epoch, int64 [count].

    It sorts raw Philox words, which numpy promises never to change, as it does not of its own shuffles.
    """
    words = np.random.Philox(np.random.SeedSequence((seed, epoch))).random_raw(count)
    order = np.argsort(words, kind="stable")
    order.flags.writeable = False
    return order


@functools.lru_cache(maxsize=8)
def draws(seed: int, epoch: int, count: int, limit: int) -> np.ndarray:
    """Return `count` numbers below `limit`, each drawn by itself and uniformly, int64 [count], of one epoch."""
    words = np.random.Philox(np.random.SeedSequence((seed, epoch), spawn_key=(1,))).random_raw(count)
    drawn = (words % np.uint64(limit)).astype(np.int64)
    drawn.flags.writeable = False
    return drawn


class Order(NamedTuple):
    """The order of one side of a method's data.

    Steps follow each other through the epochs without a gap; a batch that begins in one epoch may end in the next.
    An epoch is as many examples as the largest side has images. The first side is gone through in an order of its own
    for each epoch, again and again where it is the smaller one, so that every image is seen equally often; an image of
    a later side is drawn at random for each example.

    Attributes:
      members: indices of the side's images, int64 [m].
      length: examples of an epoch.
      drawn: whether this is a later side.
      batch_size: of the global batch.
      seed: of the order.
      process_index, process_count: whose share of the rows this is.
    """

    members: np.ndarray
    length: int
    drawn: bool
    batch_size: int
    seed: int
    process_index: int = 0
    process_count: int = 1

    def rows(self, step: int) -> np.ndarray:
        """Return the image indices of this process's rows of a step, int64 [B_local]."""
        share = self.batch_size // self.process_count
        positions = step * self.batch_size + self.process_index * share + np.arange(share)
        epochs, offsets = np.divmod(positions, self.length)
        # One epoch or, where the batch goes beyond its end, several.
        found = [self._places(int(epoch), offsets[epochs == epoch]) for epoch in np.unique(epochs)]
        return self.members[np.concatenate(found)]

    def _places(self, epoch: int, offsets: np.ndarray) -> np.ndarray:
        """Return the places among the members of some examples of an epoch."""
        if self.drawn:
            return draws(self.seed, epoch, self.length, len(self.members))[offsets]
        return permutation(self.seed, epoch, self.length)[offsets] % len(self.members)


def stream_members(source: Source, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Return a stream's image indices, ascending int64 [m], and the labels it shows, int32 [n] over the source.

    "labelled" holds the first `portion` of the images of each class, at least one; "unlabelled" holds the
    others and shows every label as -1; "all" holds and shows everything; "partly_labelled" holds everything and shows
    the labels of "labelled" alone.
    Raises UserError where the stream is empty or unknown.
    """
    kind, share = stream.kind, stream.labelled_share
    if kind not in STREAMS:
        raise UserError(f"unknown stream {kind!r}; there are {', '.join(STREAMS)}")
    if kind == "all":
        return np.arange(len(source)), source.labels
    if not 0.0 <= share <= 1.0:
        raise UserError(f"labelled_share is {share:g}; it must lie between 0 and 1")
    labelled = np.zeros(len(source), bool)
    if share > 0:
        for label in np.unique(source.labels[source.labels >= 0]):
            of_class = np.flatnonzero(source.labels == label)
            labelled[of_class[: max(1, portion(len(of_class), share))]] = True
    hidden = np.full(len(source), -1, np.int32)
    if kind == "partly_labelled":
        return np.arange(len(source)), np.where(labelled, source.labels, hidden)
    members = np.flatnonzero(labelled if kind == "labelled" else ~labelled)
    if not len(members):
        raise UserError(
            f"{source.spec}: the {kind} stream is empty with labelled_share={share:g}"
            + ("" if source.classes else "; its images have no classes (class folders give them)")
        )
    return members, (source.labels if kind == "labelled" else hidden)
