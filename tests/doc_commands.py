"""The command lines of README and docs, and whether they would be understood: parsed, configs resolved, nothing run."""

import argparse
import ast
import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments import run, tables
from uit_jax import config, convert, evaluation, methods
from uit_jax.errors import UserError
from uit_jax.images.resize import MODES
from uit_jax.main import VERBS

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
HEADS = ("uit ", "make ", "pip ", "pytest ", "python -m ", "configs/")
MARK = re.compile(r"<!-- not checked: (.+) -->")
"""What stands above a block of commands that cannot be checked, with the reason."""
NUMBER = re.compile(r"=(K|N|S|SEED)$")
"""What stands for a number of the reader's; other words in capitals stand for names, and are taken as such."""
ANY_RECIPE = re.compile(r"^(configs/NAME\.py|CONFIG|FILE|\.\.\.)(?=:|$)")


class Command(NamedTuple):
    """A command line of a page; one in a sentence may leave arguments out, as one with `...` in it does."""

    page: str
    line: int
    text: str
    whole: bool
    unchecked: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}" + f"  (not checked: {self.unchecked})" * bool(self.unchecked)


def found(text: str, page: str) -> Iterator[Command]:
    """Yield the commands of a page: first those of indented and fenced blocks, then those in sentences and tables."""
    prose, joined, fence, why = [], "", None, ""
    for number, line in enumerate(text.splitlines(), start=1):
        prose.append("")
        if line.startswith("```"):
            why = why if fence is None else ""
            fence = line.strip("` ") if fence is None else None
        elif fence is None and line.strip() and not line.startswith("    "):
            prose[-1] = line
            why = "".join(MARK.findall(line))
        elif fence != "python":
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined.removesuffix("\\")
                continue
            command = re.sub(r"\s+#\s.*", "", joined)
            if command.startswith(HEADS):
                yield Command(page, number, command, "..." not in command, why)
        joined = ""
    for match in re.finditer(r"`([^`]+)`", "\n".join(prose)):
        command = " ".join(match[1].split())
        if command.startswith(HEADS):
            yield Command(page, "\n".join(prose)[: match.start()].count("\n") + 1, command, False)


def everywhere() -> list[Command]:
    """Return the commands of all pages."""
    return [each for page in PAGES for each in found(page.read_text(), str(page.relative_to(ROOT)))]


def check(command: Command) -> None:
    """Raise an AssertionError or a UserError where a command line would not be understood."""
    words = [NUMBER.sub("=8", word) for word in shlex.split(command.text) if word not in ("...", "--help")]
    match words:
        case ["uit", "VERB"] | ["configs/"]:
            pass  # any of them
        case ["uit", verb, *rest]:
            assert verb in VERBS, f"there is no verb {verb!r}"
            _check_verb(verb, rest, command.whole)
        case [recipe, *overrides] if recipe.startswith("configs/"):
            _resolved(recipe, overrides)
        case ["make", *targets]:
            known = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert targets and set(targets) <= set(known), f"make knows {known}"
        case ["pip", "install", *packages]:
            asked = {name for each in packages for name in ",".join(re.findall(r"\[(.+)\]", each)).split(",") if name}
            assert asked <= extras(), f"extras are {extras()}"
        case ["pytest", *rest] | ["python", "-m", "pytest", *rest]:
            files = [word for word in rest if word.startswith("tests")]
            assert files and all((ROOT / file).exists() for file in files), f"{files}: no such tests"
        case ["python", "-m", "experiments.run" | "experiments.report" | "experiments.accelerator" as module, *rest]:
            _check_experiment(module, rest, command.whole)
        case _:
            raise AssertionError("nobody knows this command")


def extras() -> set[str]:
    """Return the names of the extras in setup.py."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    (told,) = (node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "extras_require")
    return {key.value for key in told.keys}


def _check_verb(verb: str, words: Sequence[str], whole: bool) -> None:
    rest, overrides = config.split(word for word in words if "NAME=" not in word and "KEY=" not in word)
    args = _parsed(importlib.import_module(VERBS[verb][0]), rest, whole)
    given = getattr(args, "config", None)
    specs = given if isinstance(given, list) else [given] if given else []
    if getattr(args, "method", None):
        specs = [convert.PAPERS[args.method].recipe]
    for spec in (*specs, *filter(None, [getattr(args, "diff", None)])):
        if ANY_RECIPE.search(spec) or spec.partition(":")[0].endswith(".py"):  # not the folder of a run
            _resolved(spec, overrides)
    if not specs:
        known = {key for name in methods.METHODS for key in config.known(name)}
        asked = {override.removeprefix("--config.").partition("=")[0] for override in overrides}
        assert asked <= known, f"no method has {asked - known}"
    names = (getattr(args, "evaluators", None) or "").split(",")
    assert set(names) <= {"", *evaluation.EVALUATORS}, f"evaluators are {list(evaluation.EVALUATORS)}"
    assert getattr(args, "resize", None) in (None, "MODE", *MODES), f"modes are {list(MODES)}"


def _check_experiment(module: str, words: Sequence[str], whole: bool) -> None:
    rest, overrides = config.split(words)
    args = _parsed(importlib.import_module(module), rest, whole)
    table, row = getattr(args, "table", None), getattr(args, "row", None)
    if table and not re.search("[A-Z]", table):
        assert tables.table_names(table)
    if row and not re.search("[A-Z]", row):
        config.check(run.build_config(tables.find_row(table, row), source="PATH", seed=0, overrides=overrides))


def _parsed(module: object, words: list[str], whole: bool) -> argparse.Namespace:
    """Read words as a verb does; where it is not the whole command, nothing that is missing is an error."""
    parser = module._parser()
    if not whole:
        _ask_for_nothing(parser)
        if words and words[-1] in parser._option_string_actions and "=" not in words[-1]:
            words = words[:-1]  # an option that is named without its value
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return parser.parse_args(words)
    except SystemExit as stop:
        raise AssertionError(told.getvalue()) from stop


def _ask_for_nothing(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        action.required = False
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                _ask_for_nothing(verb)


def _resolved(spec: str, overrides: Sequence[str]) -> None:
    """Resolve a config as the verbs do; one that stands for any of them, with a preset that some of them have."""
    recipes = [spec]
    if ANY_RECIPE.search(spec):
        recipes = [ANY_RECIPE.sub(f"configs/{path.name}", spec) for path in sorted((ROOT / "configs").glob("*.py"))]
    failures = []
    for recipe in recipes:
        try:
            return config.resolve(recipe, overrides)
        except UserError as error:
            failures.append(error)
    raise failures[0]
