"""Where the time of a training step goes: by the kind of its work and by network, from a trace and the program's text.

A trace names the instructions of the compiled program; the program's text says of each what it does, and from which
function and network of ours it comes. What XLA fused into one instruction is of one kind, that of the heaviest work in
it, and of one network, that of the operation it is named after.
"""

import contextlib
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.profiler import ProfileData

from uit_jax.errors import UserError
from uit_jax.method import Method
from uit_jax.training.hlo import FREE, Instruction, instructions

KINDS = (
    "convolution",
    "matrix product",
    "norm or sum",
    "padding or copy",
    "elementwise",
    "optimizer",
    "exchange",
    "other",
)
"""Kinds of work. A norm's elementwise part is a norm's; a sum is any reduction; the average of weights is optimizer."""

VIEWS, REST = "views", "losses and the rest"
"""What belongs to no network."""

_LARGEST = 20
_CONTAINERS = {"while", "call", "conditional"}  # what is in them has events of its own
_EXCHANGES = {"all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"}
_SUMS = {"reduce", "reduce-window", "select-and-scatter"}
_FILLS = {"pad", "concatenate"}
_MOVES = set("copy transpose reverse slice dynamic-slice dynamic-update-slice gather".split())
_OTHERS = set("sort scatter fft cholesky triangular-solve rng rng-bit-generator custom-call infeed outfeed".split())
_NORM = re.compile(r"(\w*Norm|(\w+_)?norm)(_\w+)?")


class Event(NamedTuple):
    """The run of an instruction: its name, and when it began and ended, in seconds of any clock."""

    name: str
    begin: float
    end: float


def measure(run: Callable[[], Any], steps: int, text: str, method: Method) -> dict[str, Any]:
    """Trace steps of a compiled program, and tell where the time of the first device goes.

    Args:
      run: does so many steps, waits for them, and has done some before.
      steps: how many.
      text: of the program.
      method: whose learners give the networks their names.

    Raises:
      UserError: the trace does not tell.

    Returns:
      A JSON-able record of one step: `seconds` by the clock, tracing included; `busy_seconds` in which the device had
      work; `kinds` and `networks`, seconds of each, which add up to those; the `largest` instructions.
    """
    with tempfile.TemporaryDirectory(prefix="uit_trace_") as folder:
        options = jax.profiler.ProfileOptions()
        # Of the host's Python functions there would be more than of all else.
        options.python_tracer_level = 0
        with jax.profiler.trace(folder, profiler_options=options):
            began = time.perf_counter()
            run()
            seconds = time.perf_counter() - began
        program = instructions(text)
        events = list(_events(Path(folder), program))
    if not events:
        raise UserError("where the time goes is not known: the trace names no instruction of the program")
    return {"steps": steps, "seconds": seconds / steps, **_summary(events, steps, program, _names(method))}


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Compile programs anew whose operations have other names now, where one that is kept would do otherwise."""
    option = "jax_compilation_cache_include_metadata_in_key"
    before = getattr(jax.config, option)
    jax.config.update(option, True)
    try:
        yield
    finally:
        jax.config.update(option, before)


def kind_of(each: Instruction) -> str:
    """Return which of KINDS an instruction is."""
    leaf, target, opcodes = each.path.rpartition("/")[2], each.target.lower(), each.opcodes
    product = "dot" in opcodes or re.search("gemm|matmul|dot", target)
    # A TPU's matrix products are convolutions too.
    if product or (leaf == "dot_general" and "convolution" in opcodes):
        return "matrix product"
    called = "custom-call" in opcodes and leaf == "conv_general_dilated"
    if "convolution" in opcodes or re.search("conv(?!ert)", target) or called:
        return "convolution"
    if opcodes & _EXCHANGES:
        return "exchange"
    if "/optimizer/" in each.path:
        return "optimizer"
    if opcodes & _FILLS:
        return "padding or copy"
    if opcodes & _SUMS or any(_NORM.fullmatch(part) for part in each.path.split("/")):
        return "norm or sum"
    if opcodes <= _MOVES | FREE:
        return "padding or copy"
    return "other" if opcodes & (_OTHERS | _CONTAINERS) else "elementwise"


def network_of(path: str, names: Mapping[str, str]) -> str:
    """Return what an operation belongs to: a learner's network, the views, or the rest.

    Args:
      path: of the operation.
      names: of the learners, by those of their modules' classes; several of one class stand together.
    """
    # The second is what XLA calls a weight that a program is given.
    if own := re.search(r"/optimizer/(\w+)|^state\.learners\[\\?'(\w+)", path):
        return own[1] or own[2]
    classes = "|".join(map(re.escape, names))
    if classes and (found := re.search(rf"\b({classes})\b", path)):
        return names[found[1]]
    return VIEWS if "/views/" in path else REST


def _names(method: Method) -> dict[str, str]:
    """Return the learners by their modules' classes."""
    found = defaultdict(list)
    for name, network in method.networks.items():
        found[type(network.module).__name__].append(name)
    return {kind: ", ".join(learners) for kind, learners in found.items()}


def _events(folder: Path, program: Mapping[str, Instruction]) -> Iterator[Event]:
    """Yield the runs of a program's instructions on the first device of a trace."""
    (path,) = folder.rglob("*.xplane.pb")
    trace = ProfileData.from_file(str(path))
    planes = {plane.name: plane for plane in trace.planes}
    accelerators = sorted(name for name in planes if re.fullmatch(r"/device:\w+:\d+", name))
    for name in accelerators[:1]:
        lines = {line.name: line for line in planes[name].lines}
        # A TPU tells the same in several ways.
        for line in [lines["XLA Ops"]] if "XLA Ops" in lines else lines.values():
            for event in line.events:
                instruction = _instruction(event.name, dict(event.stats))
                if instruction in program:
                    begin = event.start_ns / 1e9
                    yield Event(instruction, begin, begin + event.duration_ns / 1e9)
    if not accelerators and "/host:CPU" in planes:
        yield from _events_of_processor(planes["/host:CPU"], program)


def _events_of_processor(plane, program: Mapping[str, Instruction]) -> Iterator[Event]:
    """Yield the same of a processor, whose threads begin an instruction and may end it elsewhere, in another event."""
    begun, ended = {}, {}
    for line in plane.lines:
        for event in line.events:
            stats = dict(event.stats)
            if event.name.startswith("end: "):
                ended[stats.get("_c")] = event.start_ns / 1e9
            elif stats.get("device_ordinal", 0) == 0 and (name := _instruction("", stats)) in program:
                begin = event.start_ns / 1e9
                begun[stats.get("_p", len(begun))] = Event(name, begin, begin + event.duration_ns / 1e9)
    for key, event in begun.items():
        yield event._replace(end=max(event.end, ended.get(key, 0.0)))


def _instruction(name: str, stats: Mapping[str, Any]) -> str:
    return str(stats.get("hlo_op", name)).removeprefix("%").partition(" = ")[0]


def _summary(
    events: list[Event], steps: int, program: Mapping[str, Instruction], names: Mapping[str, str]
) -> dict[str, Any]:
    """Sum up a trace: each moment is shared among the instructions that run in it."""
    leaves = [event for event in events if not program[event.name].opcodes & _CONTAINERS]
    seconds, times = _shared(leaves), Counter(event.name for event in leaves)
    kinds, networks, largest = Counter(), Counter(), []
    for name, spent in seconds.most_common():
        each, spent = program[name], spent / steps
        kind, network = kind_of(each), network_of(each.near, names)
        kinds[kind] += spent
        networks[network] += spent
        if len(largest) < _LARGEST:
            about = {"kind": kind, "network": network, "path": each.near, "times": times[name] / steps}
            largest.append({"instruction": name, "seconds": spent, **about})
    return {
        "busy_seconds": seconds.total() / steps,
        "kinds": {kind: kinds[kind] for kind in KINDS if kinds[kind]},
        "networks": dict(networks.most_common()),
        "instructions": len(leaves) / steps,
        "largest": largest,
    }


def _shared(events: Iterable[Event]) -> Counter:
    """Return the seconds of each name; where several run at once, each has its share of the moment."""
    changes = [(event.begin, 1, event.name) for event in events] + [(event.end, -1, event.name) for event in events]
    seconds, running, before = Counter(), Counter(), 0.0
    for moment, change, name in sorted(changes):
        if count := running.total():
            for other, times in running.items():
                seconds[other] += (moment - before) * times / count
        running[name] += change
        if not running[name]:
            del running[name]
        before = moment
    return seconds


def table(record: Mapping[str, Any]) -> str:
    """Lay a record out for a terminal, also one that tells only why there is none."""
    if "failed" in record:
        return f"no profile: {record['failed']}"
    head = "{seconds:.4g} s a step while traced, {busy_seconds:.4g} s of it busy with {instructions:.0f} instructions"
    rows = [("", "s", "share")]
    for title in ("kinds", "networks"):
        rows.append((f"by {title.removesuffix('s')}", "", ""))
        for name, seconds in sorted(record[title].items(), key=lambda item: -item[1]):
            rows.append((f"  {name}", f"{seconds:.3g}", f"{seconds / max(record['busy_seconds'], 1e-12):.1%}"))
    width = max(len(row[0]) for row in rows)
    return "\n".join([head.format(**record), *(f"{a:<{width}}  {b:>8}  {c:>6}" for a, b, c in rows)])
