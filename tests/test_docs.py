"""The pages: every command is one that there is, every link leads somewhere, the site is built, a newcomer's page runs.

`python -m pytest tests/test_docs.py -s` prints the commands that were checked.
"""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from markdown.extensions.toc import slugify
from PIL import Image

from tests import doc_commands
from tests.doc_commands import PAGES, ROOT, Command
from uit_jax import main, methods
from uit_jax.errors import UserError

README = (ROOT / "README.md").read_text()
OWN_IMAGES = "docs/your_own_images.md"
TOY = ("hours=0", "steps=12", "devices=1", "image_every=6", "data.image_size=16")


def test_every_command_is_understood():
    commands = doc_commands.everywhere()
    assert len(commands) > 200
    failures = []
    for command in commands:
        print(command)
        try:
            if not command.unchecked:
                doc_commands.check(command)
        except (AssertionError, UserError, SystemExit) as error:
            failures.append(f"{command}\n    {error}")
    checked = [command for command in commands if not command.unchecked]
    print(f"{len(checked)} checked, {sum(each.whole for each in checked)} of them whole commands; of {len(commands)}")
    assert not failures, "\n" + "\n".join(failures)


@pytest.mark.parametrize(
    "text, told",
    [
        ("uit trian --workdir=W", "no verb 'trian'"),
        ("uit train --workdir=W --init_form=R", "--init_form"),
        ("uit train --config=configs/tunit.py", "--workdir"),
        ("uit train --config=configs/tunit.py:photoz --workdir=W", "photoz"),
        ("uit train --config=configs/tunti.py --workdir=W", "no such file"),
        ("uit train --config=configs/cut.py --config.method.domains=K --workdir=W", "method.domains"),
        ("uit train --workdir=W --config.data.sorce=PATH", "data.sorce"),
        ("uit translate --workdir=W --content=A --reference=B --styles=3", "not allowed with"),
        ("uit evaluate --workdir=W --evaluators=likenes", "likeness"),
        ("uit convert a.pth --method=cutt --workdir=W", "cutt"),
        ("uit plan configs/NAME.py:no_recipe_has_it", "no_recipe_has_it"),
        ("uit data pack PATH OUT", "--size"),
        ("make dmeo", "demo"),
        ("pip install '.[cud]'", "cuda"),
        ("pytest tests/test_nothing.py", "no such tests"),
        ("python -m experiments.run cut/table9 x", "cut/table9"),
        ("python -m experiments.run cut/table1 x", "no row"),
        ("python -m experiments.nothing", "nobody knows"),
    ],
)
def test_a_command_that_is_none_is_found(text, told):
    with pytest.raises((AssertionError, UserError)) as caught:
        doc_commands.check(Command("page.md", 1, text, whole=True))
    assert told in str(caught.value)


def test_commands_are_found_wherever_they_stand():
    page = """
Text with `uit train` and `uit
plan CONFIG`, and `make.py`.

    uit data check PATH    # a remark
    uit train --config=X \\
        --workdir=W

<!-- not checked: it is not ours -->

    make coffee

Then:

```console
make demo
uit train ... --config.hours=1
```

```python
uit = "uit train"
```
"""
    commands = [(each.line, each.text, each.whole, each.unchecked) for each in doc_commands.found(page, "page.md")]
    assert commands == [
        (5, "uit data check PATH", True, ""),
        (7, "uit train --config=X --workdir=W", True, ""),
        (11, "make coffee", True, "it is not ours"),
        (16, "make demo", True, ""),
        (17, "uit train ... --config.hours=1", False, ""),
        (2, "uit train", False, ""),
        (2, "uit plan CONFIG", False, ""),
    ]


# --- links ---


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings; those that the site and the repository's host name alike."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    hosts = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
    return hosts & {slugify(head, "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    """In the repository; those of docs/ on the site too, which holds nothing else."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), f"{page.name}: {link}"
        assert page.parent == ROOT or target.is_relative_to(page.parent), f"{page.name}: {link} is not on the site"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_recipe_and_page_of_a_method_is_among_the_choices():
    text = (ROOT / "docs" / "choosing.md").read_text()
    for path in (ROOT / "configs").glob("*.py"):
        assert f"configs/{path.name}" in text
    for kind in methods.METHODS.values():
        assert f"`methods/{kind.__module__.rpartition('.')[2]}.py`" in text, kind


# --- the site ---


def test_the_site_is_built_without_warnings_and_needs_no_network(tmp_path):
    """A proxy that is none stands for the network that is not there."""
    lost = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    lost["NO_MKDOCS_2_WARNING"] = "1"  # the theme's, of another program
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=ROOT, env={**os.environ, **lost}, capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    pages = {path.stem: path.read_text() for path in (tmp_path / "site").glob("*.html")}
    assert {page.stem for page in PAGES if page.parent != ROOT} <= set(pages)
    for name, text in pages.items():
        fetched = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(https?:[^\"]+)", text)
        assert not fetched, f"{name} fetches {fetched}"
    for told in ("Read a trained run back.", "Redraw <code>inputs", "averaged weights where there are any"):
        assert told in pages["reference"], told


# --- a newcomer's page, at the size of a toy ---


@pytest.fixture
def newcomer(tmp_path, monkeypatch, tiny):
    """A folder with images of the page's names, and a recipe for the tests' method, which trains in milliseconds."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.py").write_text(tiny.CONFIG)
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for number, name in enumerate(("hat", "shoes", "t-shirt")):
            folder = tmp_path / "clothes" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(40 * number, 40 * number + 90, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path


def test_your_own_images_runs_from_top_to_bottom(newcomer, capsys):
    """And behind it what the README does with the run in Python."""
    commands = [each for each in doc_commands.found((ROOT / OWN_IMAGES).read_text(), OWN_IMAGES) if each.whole]
    verbs = [shlex.split(each.text)[1] for each in commands]
    assert verbs[:2] == ["data", "train"] and {"translate", "search", "evaluate"} <= set(verbs)
    for command in commands:
        _, verb, *rest = shlex.split(command.text)
        rest = ["--config=tiny.py" if word.startswith("--config=") else word for word in rest]
        rest += [f"--config.{setting}" for setting in TOY] if verb == "train" else []
        assert main.main([verb, *rest]) == 0, (command, capsys.readouterr().err)
    for name in made():
        assert list(newcomer.glob(name)), name
    (snippet,) = re.findall(r"(?:^    .*\n|^\n)*^    import uit_jax\n(?:^    .*\n|^\n)*", README, re.MULTILINE)
    places = {"runs/mine": "runs/clothes", "IMAGES": "clothes/test/hat", "IMAGE": "clothes/test/hat/0.png"}
    for name, own in places.items():
        snippet = snippet.replace(f'"{name}"', f'"{own}"')
    exec(compile(textwrap.dedent(snippet), "README.md", "exec"), {})


def made() -> list[str]:
    """Return the files that the page says there are, as patterns: STEP is the run's."""
    names = re.findall(r"^\| `(runs/[\w/.-]+)`", (ROOT / OWN_IMAGES).read_text(), re.MULTILINE)
    assert len(names) >= 4
    return [name.replace("STEP", "*") for name in names]
