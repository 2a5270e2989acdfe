"""A bucket for tests: a file system in memory behind s3:// names."""

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar
from unittest import mock

from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from uit_jax.paths import Remote, as_path


class Bucket(MemoryFileSystem):
    """An object store, as far as fsspec's memory is one."""

    protocol = "s3"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("s3://", "memory://", 1))


@contextlib.contextmanager
def in_memory() -> Iterator[Remote]:
    """Give an empty bucket; behind the block s3:// stands for what it did."""
    Bucket.store.clear()
    Bucket.pseudo_dirs[:] = [""]
    with mock.patch.dict(_registry, {"s3": Bucket}):
        yield as_path("s3://bucket")
