"""The history of what steps cost on a kind of machine: one line of JSON a measurement, in a file a kind."""

import datetime
import json
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uit_jax import __version__
from uit_jax.errors import UserError
from uit_jax.files import read_regular, write_whole

_SAME = ("config", "overrides", "device", "devices", "parallel", "precision")
"""What two measurements that can be compared have in common."""


def append(folder: Path, results: Sequence[Mapping[str, Any]]) -> tuple[Path, list[str]]:
    """Add results of `measure` to the file of this machine's kind; return the file, and what changed, in lines.

    Each is written with its date, the version of this library and, as processors are shared and clocks change, the
    seconds that numpy takes for a product of two 2048 x 2048 matrices of float32.

    Raises:
      UserError: what is there is no such file, or nothing can be written there.
    """
    path = folder / f"{_slug(_machine(results[0]))}.jsonl"
    before = _read(path)
    about = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "machine": _machine(results[0]),
        "product_seconds": _product_seconds(),
    }
    lines = [{**about, **result} for result in results]
    write_whole(path, "".join(json.dumps(line) + "\n" for line in (*before, *lines)).encode())
    return path, [told for line in lines for told in _changes(before, line)]


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in read_regular(path).decode().splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is no history of `uit bench --record` ({error}): mend it or name another") from error


def _changes(before: Sequence[Mapping[str, Any]], line: Mapping[str, Any]) -> list[str]:
    """Say how a measurement's phases compare with those of the latest one like it."""
    same = [other for other in before if all(other.get(name) == line[name] for name in _SAME)]
    if not same:
        return []
    rates = {phase["phase"]: phase["steps_per_second"] for phase in same[-1]["phases"]}
    slower = line["product_seconds"] / same[-1]["product_seconds"]
    return [
        f"{line['config']}, {phase['phase']}: {phase['steps_per_second'] / rates[phase['phase']]:.2f} times as fast as"
        f" on {same[-1]['date'][:10]}; a matrix product of numpy takes {slower:.2f} times as long as then"
        for phase in line["phases"]
        if phase["phase"] in rates
    ]


def _machine(result: Mapping[str, Any]) -> str:
    """Name the kind of machine: how many devices of which kind; of processors, which and how many cores."""
    if result["platform"] != "cpu":
        return f"{result['devices']} x {result['device']}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores of {_processor()}"


def _processor() -> str:
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        about = ""
    found = re.search(r"^model name\s*:\s*(.+)$", about, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _product_seconds(times: int = 5) -> float:
    """Return the least of several times for the product of two 2048 x 2048 matrices of float32."""
    one, found = np.ones((2048, 2048), np.float32), []
    for _ in range(times):
        began = time.perf_counter()
        one @ one
        found.append(time.perf_counter() - began)
    return min(found)
