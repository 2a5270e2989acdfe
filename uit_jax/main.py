"""The `uit` command: one verb per line."""

import errno
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from uit_jax import __version__, programs
from uit_jax.errors import UserError, shown

VERBS = {
    "train": ("uit_jax.verbs.train", "train a method on a folder of images, or continue a run"),
    "translate": ("uit_jax.verbs.translate", "translate images or a video, into a style where the method has any"),
    "search": ("uit_jax.verbs.search", "find the images whose style is most like a query's"),
    "inspect": ("uit_jax.verbs.inspect", "show which patches of an image a method finds alike"),
    "evaluate": ("uit_jax.verbs.evaluate", "score a trained run"),
    "report": ("uit_jax.verbs.report", "write a page of a run, or of several, to look at in a browser"),
    "demo": ("uit_jax.verbs.demo", "serve a page to try a run in a browser, on this machine"),
    "export": ("uit_jax.verbs.export", "write a model as StableHLO, ONNX or a SavedModel, or as a folder for a hub"),
    "convert": ("uit_jax.verbs.convert", "read the published checkpoints of a paper into a run, or write some"),
    "bench": ("uit_jax.verbs.bench", "measure a training step on the device at hand"),
    "plan": ("uit_jax.verbs.plan", "tell what a training step needs of devices, also of a TPU that is not here"),
    "data": ("uit_jax.verbs.data", "check or pack a source of images"),
    "config": ("uit_jax.verbs.config", "tell every setting of a recipe or a run, or what differs between two"),
}


# What each verb can be given to need less memory.
_SMALLER = (
    "lower --config.batch_size or --config.data.image_size, set --config.precision=bf16, --config.microbatches=2"
    " or --config.recompute=full, or lower widths"
)
ROOM = {
    "train": f"{_SMALLER}, or keep no images there: --config.data.on_device=no",
    "bench": _SMALLER,
    "plan": _SMALLER,
    "translate": "lower --batch_size or --max_pixels, or draw at the model's size by --size=resize",
    "inspect": "lower --longest",
    "evaluate": "lower --images",
    "search": "lower --images",
    "report": "lower --images",
    "demo": "lower --batch_size, --images or --size",
    "export": "give a smaller --image_size",
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return the exit status: 0, or 2 with one line on stderr for an error the user can act on.

    One that is interrupted or told to end says so in a line, and returns 128 and the signal's number.
    """
    _make_terminals_safe()
    verb, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb == "--version":
        print(f"uit_jax {__version__}")
        return 0
    if verb in ("-h", "--help"):
        print("usage: uit VERB ...   (uit VERB --help tells a verb's arguments; uit --version)\n")
        print("\n".join(f"  {name:<10} {text}" for name, (_, text) in VERBS.items()))
        return 0
    # TensorFlow, which only decodes images and writes events here, greets every import with its banners.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # Orbax and clu report their every move through absl's logger, and its event loop what went wrong in a task that
    # nobody waits for any more; what goes wrong there comes back as an exception.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        if verb not in VERBS:
            raise UserError(f"there is no verb {verb!r}; there are: {', '.join(VERBS)}")
        programs.keep()
        with _signals(_end_at_once):
            module = importlib.import_module(VERBS[verb][0])
        with _signals(_end):
            return module.main(rest) or 0
    except UserError as error:
        return _refused(str(error))
    except KeyboardInterrupt as stop:
        number = getattr(stop, "number", signal.SIGINT)
        _say(_SIGNALS[number.name])
        return 128 + number
    except BrokenPipeError:
        # Who read the output, such as `head`, has seen enough; Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None and error.errno == errno.ENOENT:
            return _refused("the folder that this was started in is gone: change to another one")
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        return _refused(f"{error.filename or verb}: {error.strerror}")
    except Exception as error:
        if told := _of_the_machine(error, verb):
            return _refused(told)
        raise


def command(argv: list[str] | None = None) -> int:
    """Run one verb as all that a process does; return its exit status as `main` does, or end the process with it."""
    try:
        status = main(argv)
    except Exception:
        traceback.print_exc()
        status = 1
    programs.leave(status)
    return status


def _refused(told: str) -> int:
    """Say in one line what the user can act on; return the exit status."""
    _say(told)
    return 2


def _of_the_machine(error: Exception, verb: str) -> str:
    """Say what is wrong with the machine, not with the program: too little memory, no such device; "" if nothing."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return f"out of memory: {ROOM.get(verb, 'give it fewer or smaller images')}"
    # Without the plugin of a platform JAX fails by an assertion.
    raised_in = [frame.filename for frame in traceback.extract_tb(error.__traceback__)][-1:]
    if "Unable to initialize backend" in text or any(name.endswith("xla_bridge.py") for name in raised_in):
        asked = f"JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}: " * ("JAX_PLATFORMS" in os.environ)
        return f"{asked}JAX finds no such device here: name another, or install JAX for it" + (text and f" ({text})")
    return ""


_SIGNALS = {"SIGINT": "interrupted", "SIGTERM": "ended by SIGTERM", "SIGHUP": "ended by SIGHUP"}


@contextmanager
def _signals(act: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let `act` answer Ctrl-C, SIGTERM and SIGHUP, where nobody has decided otherwise."""
    with ExitStack() as undo:
        known = [signal.Signals[name] for name in _SIGNALS if hasattr(signal, name)]  # Windows has no SIGHUP
        for number in known if threading.current_thread() is threading.main_thread() else ():
            if (before := signal.getsignal(number)) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, act)
                undo.callback(signal.signal, number, before)
        yield


def _end(number: int, frame: FrameType | None) -> None:
    """End a verb as an error does: what is half-written is cleared away."""
    stop = KeyboardInterrupt()
    stop.number = signal.Signals(number)
    raise stop


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """End while modules are loaded: nothing is written yet, and what is half-loaded may crash or hide an error."""
    _say(_SIGNALS[signal.Signals(number).name])
    os._exit(128 + number)


def _say(text: str) -> None:
    print(f"uit: {shown(text)}", file=sys.stderr)


class _OneLine(logging.Formatter):
    """Prints a message on one line, whatever names it holds."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(super().formatMessage(record))


def _make_terminals_safe() -> None:
    """Let no character of a name end a verb or move a terminal's cursor."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.lastResort.setFormatter(_OneLine())
    # A library that logs without a logger of its own would add a handler that prints names as they are.
    logging.basicConfig(handlers=[logging.lastResort])


if __name__ == "__main__":
    sys.exit(command())
