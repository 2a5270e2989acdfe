"""The `uit` command: verbs, one-line errors, exit statuses."""

import errno
import subprocess
import sys
import types

import pytest

import uit_jax
from uit_jax import main
from uit_jax.errors import UserError


@pytest.fixture
def verb(monkeypatch):
    """Let the verb "bench" do what a test wants."""

    def become(action):
        module = types.SimpleNamespace(main=action)
        monkeypatch.setattr(main.importlib, "import_module", lambda name: module)

    return become


def fail(error):
    def action(argv):
        raise error

    return action


def test_help_lists_every_verb(capsys):
    for argv in ([], ["--help"], ["-h"]):
        assert main.main(argv) == 0
        shown = capsys.readouterr().out
        verbs = ("train", "translate", "search", "inspect", "evaluate", "bench", "data", "config")
        assert all(f"\n  {name} " in shown for name in verbs) and max(map(len, shown.splitlines())) <= 100


def test_every_verb_exists_and_explains_itself(capsys):
    for name in main.VERBS:
        with pytest.raises(SystemExit) as exit_:
            main.main([name, "--help"])
        assert exit_.value.code == 0 and "usage: uit " + name in capsys.readouterr().out


def test_an_unknown_verb_is_named(capsys):
    assert main.main(["trian"]) == 2
    assert "'trian'" in capsys.readouterr().err


def test_a_user_error_is_one_line_and_status_2(verb, capsys):
    verb(fail(UserError("data.source=x: no such folder")))
    assert main.main(["bench"]) == 2
    assert capsys.readouterr().err == "uit: data.source=x: no such folder\n"


def test_a_full_disk_is_one_line(verb, capsys):
    verb(fail(OSError(errno.ENOSPC, "No space left on device")))
    assert main.main(["bench"]) == 2
    assert capsys.readouterr().err == "uit: bench: No space left on device\n"


def test_the_version_is_told(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"uit_jax {uit_jax.__version__}\n"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "uit: out of memory: lower --config.batch_size or --config.data.image_size, set --config.prec"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nwhile trying"), "uit: out of memory: lower --config.batch"),
        (RuntimeError("Unable to initialize backend 'cuda': no"), "uit: JAX_PLATFORMS=cuda: JAX finds no such device"),
        (UserError("no/such\n\x1b[31mname: is none"), "uit: no/such\\n\\x1b[31mname: is none"),
    ],
)
def test_what_is_wrong_with_the_machine_is_one_line(verb, capsys, monkeypatch, error, told):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    verb(fail(error))
    assert main.main(["bench"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(told) and said.count("\n") == 1


def test_a_mistake_of_the_program_keeps_its_traceback(verb):
    verb(fail(KeyError("guide")))
    with pytest.raises(KeyError):
        main.main(["bench"])


def test_verbs_are_imported_only_when_used():
    code = "import sys, uit_jax.main; sys.exit('jax' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
