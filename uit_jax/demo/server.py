"""Serving a page on a port of this machine, in a way that it asks for nothing of any other."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from uit_jax.errors import UserError

if TYPE_CHECKING:
    import gradio

# A browser that holds to it asks no other host for anything, whatever the libraries come to put into a page.
_POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
_SPARE_THREADS = 8


def is_loopback(host: str) -> bool:
    """Tell whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Take a port, 0 for any that is free. Raises UserError where it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        taken = socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--host={host} --port={port}: nothing can be served there ({reason}): name others") from None
    with taken:
        yield taken


def run(
    blocks: "gradio.Blocks",
    taken: socket.socket,
    look: dict[str, Any],
    *,
    most_bytes: int,
    waiting: int,
    ready: Callable[[str], None],
    stop: Callable[[Callable[[], None]], None] = lambda end: None,
) -> None:
    """Serve a page on a port that was taken, until a signal ends it.

    Args:
      look: theme and styles, as `gradio.mount_gradio_app` takes them.
      most_bytes: of a file that is uploaded; larger ones are refused while they arrive.
      waiting: requests that are under way at once, and as many again that wait for a thread.
      ready: told the address, once it answers.
      stop: handed a function that ends it.
    """
    import fastapi
    import gradio
    import uvicorn

    host, port = taken.getsockname()[:2]
    blocks.queue(max_size=waiting, api_open=False, default_concurrency_limit=None)
    blocks.max_threads = waiting + _SPARE_THREADS
    outer = fastapi.FastAPI(openapi_url=None)
    unwanted = ("run_history", "ssr_mode", "pwa", "mcp_server", "enable_monitoring", "show_error")
    where = dict(path="/", server_name=host, server_port=port)
    app = gradio.mount_gradio_app(
        outer, blocks, max_file_size=most_bytes, footer_links=[], **where, **dict.fromkeys(unwanted, False), **look
    )
    settings = uvicorn.Config(_closed(app), log_level="error", access_log=False, timeout_graceful_shutdown=2)
    server = uvicorn.Server(settings)
    stop(lambda: setattr(server, "should_exit", True))

    async def answer() -> None:
        serving = asyncio.create_task(server.serve(sockets=[taken]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.05)
        if server.started:
            ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        await serving

    asyncio.run(answer())


def _closed(app: Callable) -> Callable:
    """Wrap a web application so that its pages tell browsers to stay with this host."""

    async def closed(scope, receive, send):
        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", _POLICY)]
            await send(message)

        await app(scope, receive, send_with_policy)

    return closed
