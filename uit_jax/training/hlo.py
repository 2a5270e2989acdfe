"""The text of a compiled program, read: what each instruction does, and where in our code it comes from."""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

FREE = set("parameter constant bitcast get-tuple-element tuple iota convert broadcast reshape".split())
"""What costs nothing beside other work that it is fused with."""

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = .*? ([a-z][a-z0-9-]*)\(")
_FARTHEST = 4  # how many instructions away what XLA made up may look for a name


class Instruction(NamedTuple):
    """What a compiled program's text says of one instruction.

    Attributes:
      opcodes: its own or, where several are fused in it, theirs.
      path: the functions and modules it comes from, as in "jit(step)/jvp(Generator)/conv_0/conv_general_dilated"; ""
        for what XLA made up.
      near: its path, or of what XLA made up that of what needs it or else of what it is made from.
      target: of a call into a library, which.
    """

    opcodes: frozenset[str]
    path: str
    near: str = ""
    target: str = ""


def instructions(text: str) -> dict[str, Instruction]:
    """Read the instructions of a compiled program's text by their names."""
    lines, inside, place = {}, defaultdict(list), ""
    for line in text.splitlines():
        if found := _INSTRUCTION.match(line):
            name, opcode = found.groups()
            lines[name] = (re.sub("-(start|done|update)$", "", opcode), _first(r'op_name="([^"]*)"', line), line)
            inside[place].append(name)
        elif begun := _COMPUTATION.match(line):
            place = begun[1]
    read = {}
    for name, (opcode, path, line) in lines.items():
        opcodes, paths = {opcode}, [path]
        if opcode in ("fusion", "async"):
            within = inside[_first(r"calls=%?([\w.-]+)", line)]
            opcodes = {lines[other][0] for other in within} - FREE or {lines[other][0] for other in within}
            paths += [lines[other][1] for other in within]
        path = next(filter(None, paths), "")
        target = _first(r'custom_call_target="([^"]*)"', line)
        read[name] = Instruction(frozenset(opcodes), path, path, target)
    return _near(read, {name: line for name, (_, _, line) in lines.items()})


def _near(read: dict[str, Instruction], lines: Mapping[str, str]) -> dict[str, Instruction]:
    """Give instructions without a path one from near by."""
    nameless = {name for name, each in read.items() if not each.path}
    makers, users = defaultdict(list), defaultdict(list)
    for name, line in lines.items():
        found = [other for other in re.findall(r"%([\w.-]+)", line) if other in read and other != name]
        if name in nameless:
            makers[name] = found
        for other in nameless.intersection(found):
            users[other].append(name)
    for around in [users] * _FARTHEST + [makers] * _FARTHEST:
        found = {}
        for name in nameless:
            if near := next((read[other].near for other in around[name] if read[other].near), ""):
                found[name] = read[name]._replace(near=near)
        read |= found
        nameless -= set(found)
    return read


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
