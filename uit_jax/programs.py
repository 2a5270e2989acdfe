"""Compiled programs are kept on disk, so that what was compiled once, which takes minutes, is there the next time.

JAX keeps them itself, where it is told a folder. JAX_COMPILATION_CACHE_DIR names another than the one chosen here, and
JAX_ENABLE_COMPILATION_CACHE=false keeps none.
"""

import contextlib
import hashlib
import os
import platform
import re
import sys
import threading
import time
import warnings
from collections.abc import Mapping, MutableMapping
from pathlib import Path

MOST_BYTES = 4 * 2**30
"""Of all programs together; the ones that were not asked for the longest give way."""

began = time.monotonic()
"""When this process began to load the package."""

compiling: list[threading.Thread] = []
"""What compiles programs besides the main thread; nothing can interrupt it."""

_BROKEN = re.compile("Error (?:reading|writing) persistent compilation cache entry for '([^']+)'")  # JAX's warning
_FOLDER, _CACHE = "JAX_COMPILATION_CACHE_DIR", Path("uit_jax", "programs")


def keep(environ: MutableMapping[str, str] = os.environ) -> Path | None:
    """Tell JAX, before it is imported, where to keep programs; return the folder, None where it is not chosen here.

    It lies in the user's cache, one for each kind of processor: a program may use what another processor has not.
    """
    root = _cache(environ)
    if root is None or environ.get(_FOLDER) is not None:
        return None
    folder = root / _CACHE / _processor()
    try:
        str(folder).encode()  # or XLA does not take it
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            return None
        make_room(folder)
    # A full machine, or one where nothing may be written: programs are compiled as if there were no cache.
    except (OSError, UnicodeError):
        return None
    environ[_FOLDER] = str(folder)
    mend(folder)
    return folder


def keep_later() -> None:
    """Do what `keep` does where JAX is imported already."""
    if kept := keep():
        import jax

        jax.config.update("jax_compilation_cache_dir", str(kept))


def mend(folder: Path) -> None:
    """Remove programs of a folder, and say nothing, when JAX warns that one could not be read or wholly written.

    JAX never writes over a file: one that was half written when a process was killed would be compiled every time.
    """
    others = warnings.showwarning

    def show(message, *rest, **more):
        if not (broken := _BROKEN.match(str(message))):
            return others(message, *rest, **more)
        for path in folder.iterdir():
            if path.name.startswith(broken[1]):
                with contextlib.suppress(OSError):
                    path.unlink()

    warnings.showwarning = show


def make_room(folder: Path, most: int = MOST_BYTES) -> None:
    """Remove the files of a folder that were not asked for the longest until the rest has at most so many bytes."""
    found = []
    for path in folder.iterdir():
        # Another process may remove it at the same moment.
        with contextlib.suppress(OSError):
            about = path.stat()
            found.append((max(about.st_atime, about.st_mtime), about.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size


def leave(status: int) -> None:
    """End the process with this status where a thread still compiles, which Python would wait for or crash on."""
    if any(thread.is_alive() for thread in compiling):
        import jax

        if jax.distributed.is_initialized():
            jax.distributed.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _cache(environ: Mapping[str, str]) -> Path | None:
    """Return the user's cache folder, None where he has no home: a relative path would lie wherever he stands."""
    chosen, home = (Path(environ.get(name, "")) for name in ("XDG_CACHE_HOME", "HOME"))
    if chosen.is_absolute():
        return chosen
    return home / ".cache" if home.is_absolute() else None


def _processor() -> str:
    """Return what tells this kind of processor from others."""
    told = platform.machine() + platform.processor()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        told += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(told.encode()).hexdigest()[:12]
