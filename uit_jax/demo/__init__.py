"""A page to try a run in a browser: images in, translations out, several people at once.

The libraries that it is made with come with `pip install 'uit-jax[demo]'`, and are imported where they are needed.
"""

import importlib.util
import os
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from uit_jax.demo import offers, server
from uit_jax.demo.requests import Limits, Studio
from uit_jax.demo.worker import Worker
from uit_jax.errors import UserError
from uit_jax.runs import Trained

LIBRARIES = {"gradio": "gradio"}
"""What the page is made with, by the name it is imported by: that of its package."""


def missing() -> list[str]:
    """Return the packages that the page is made with and that are not installed."""
    return [package for name, package in LIBRARIES.items() if importlib.util.find_spec(name) is None]


def check() -> None:
    """Raise a UserError where such a package is not installed."""
    if absent := missing():
        raise UserError(f"the page to try a run needs {', '.join(absent)}: pip install 'uit-jax[demo]'")


def serve(
    run: Trained,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    source: str | None = None,
    images: int = 1_000,
    side: int | None = None,
    batch_size: int = 8,
    waiting: int = 32,
    limits: Limits | None = None,
    ready: Callable[[str], None] = print,
    stop: threading.Event | None = None,
) -> None:
    """Serve the page of a run until the process is told to end, or `stop` is set.

    Args:
      host, port: where; 0 is any free port. Whoever reaches it can use the page.
      source, images: what is searched for the nearest images, as `Trained.search` has it, and at most how many of it.
      side: longest side of translations of a method without styles, pixels; by default as `Studio` has it.
      batch_size: translations drawn at once, at most.
      waiting: requests that are read, wait or are drawn at a time; more are answered that there are too many.
      limits: of the images that are handed in.
      ready: told the page's address once everything is compiled and it answers.

    Raises:
      UserError: a library is missing, nothing can be served there, or a browser shows no images of such channels.
    """
    check()
    studio, port = Studio(run, most=batch_size, side=side, limits=limits), server.free_port(host, port)
    studio.compile()
    found = offers.of(run, source, images)
    worker = Worker(studio.draw, most=batch_size, waiting=waiting)
    with worker, TemporaryDirectory(prefix="uit_demo_") as folder:
        # Gradio reads it whenever it makes a component.
        os.environ |= server.SETTINGS | {"GRADIO_TEMP_DIR": f"{folder}/cache"}
        from uit_jax.demo import page

        blocks = page.build(found, studio, worker, Path(folder))
        how = dict(most_bytes=studio.limits.most_bytes, waiting=waiting, ready=ready, stop=stop)
        server.run(blocks, host, port, page.LOOK, **how)
