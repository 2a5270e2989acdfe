"""Serving a page on a port of this machine, so that it asks for nothing of any other."""

import ipaddress
import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from uit_jax.errors import UserError

if TYPE_CHECKING:
    import gradio

SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    # Records of requests, which it keeps, and sums up behind every so many, all of them every time.
    "GRADIO_ANALYTICS_MAX_EVENTS": "100",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000",
}
"""What Gradio is told by the environment: to tell nobody anything, and to remember little."""

# A browser that holds to it asks no other host for anything, whatever the libraries come to put into a page.
_POLICY = (b"content-security-policy", b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:")
_SESSIONS = 200  # of which the last values are kept, which no visitor needs
_SPARE_THREADS = 8
_UNWANTED = ("share", "run_history", "ssr_mode", "pwa", "mcp_server", "enable_monitoring", "show_error", "inbrowser")


def is_loopback(host: str) -> bool:
    """Tell whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str, port: int) -> int:
    """Return a port that can be served at, any for 0. Raises UserError where it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family) as taken:
            return taken.getsockname()[1]
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--host={host} --port={port}: nothing can be served there ({reason}): name others") from None


def run(
    blocks: "gradio.Blocks",
    host: str,
    port: int,
    look: dict[str, Any],
    *,
    most_bytes: int,
    waiting: int,
    ready: Callable[[str], None],
    stop: threading.Event | None = None,
) -> None:
    """Serve a page until a signal, or an event that is set, ends it.

    Args:
      look: theme and styles, as `gradio.Blocks.launch` takes them.
      most_bytes: of a file that is uploaded; larger ones are refused while they arrive.
      waiting: requests that are under way at once, and as many again that wait for a thread.
      ready: told the address, once it answers.
    """
    from starlette.middleware import Middleware

    # It asks itself whether it answers, which no proxy can.
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), host, "localhost"]))
    blocks.queue(max_size=waiting, api_open=False, default_concurrency_limit=None)
    try:
        blocks.launch(
            server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, footer_links=[],
            max_file_size=most_bytes, max_threads=waiting + _SPARE_THREADS, state_session_capacity=_SESSIONS,
            app_kwargs={"middleware": [Middleware(_Closed)]}, **dict.fromkeys(_UNWANTED, False), **look,
        )
    except OSError as error:  # gone since it was looked for
        raise UserError(f"--host={host} --port={port}: nothing can be served there ({error}): name others") from error
    try:
        ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        stop = stop or threading.Event()
        while not stop.wait(0.5):  # a signal may come to another thread, and wakes nobody who waits for ever
            pass
    finally:
        blocks.close(verbose=False)


class _Closed:
    """A web application whose pages tell browsers to stay with this host."""

    def __init__(self, app: Callable):
        self._app = app

    async def __call__(self, scope: Any, receive: Callable, send: Callable) -> None:
        async def send_with_policy(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), _POLICY]
            await send(message)

        await self._app(scope, receive, send_with_policy)
