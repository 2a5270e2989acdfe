"""The `uit` command: verbs, one-line errors, exit statuses."""

import errno
import io
import logging
import os
import signal
import subprocess
import sys
import threading
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
        verbs = "train translate search inspect evaluate report demo export convert bench data config".split()
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


def test_an_error_stays_on_one_line_whatever_the_name(verb, capsys):
    verb(fail(UserError("a\n\x1b[2Kb.png: usable.png: is no image")))
    assert main.main(["bench"]) == 2
    verb(fail(OSError(errno.EACCES, "Permission denied", "a\nb\udcff.png")))
    assert main.main(["bench"]) == 2
    assert capsys.readouterr().err == (
        "uit: a\\n\\x1b[2Kb.png: usable.png: is no image\nuit: a\\nb\\udcff.png: Permission denied\n"
    )


def test_a_warning_stays_on_one_line_whatever_the_name():
    main._make_terminals_safe()
    record = logging.LogRecord("uit_jax.data", logging.WARNING, "", 0, "unreadable: %s", ("a\nb\x1b[2K.png",), None)
    assert logging.lastResort.format(record) == "unreadable: a\\nb\\x1b[2K.png"


def test_a_library_that_logs_adds_no_handler_that_prints_names_as_they_are(monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    main._make_terminals_safe()
    logging.basicConfig()  # as logging.warning does
    assert logging.root.handlers == [logging.lastResort]


def test_a_folder_that_is_gone_is_one_line(verb, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    verb(lambda argv: os.getcwd())
    assert main.main(["bench"]) == 2
    monkeypatch.undo()
    assert capsys.readouterr().err == "uit: the folder that this was started in is gone: change to another one\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_no_name_is_too_strange_for_a_terminal(verb, monkeypatch, encoding):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, errors="strict"))
    verb(lambda argv: print("\udcff é", flush=True))
    assert main.main(["bench"]) == 0
    assert written.getvalue() == (b"\\udcff \\xe9\n" if encoding == "ascii" else "\\udcff é\n".encode())


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [
        (signal.SIGINT, 130, "uit: interrupted\n"),
        (signal.SIGTERM, 143, "uit: ended by SIGTERM\n"),
        (signal.SIGHUP, 129, "uit: ended by SIGHUP\n"),
    ],
)
def test_a_signal_ends_a_verb_in_one_line(verb, capsys, number, status, line):
    before = signal.getsignal(number)

    def wait(argv):
        os.kill(os.getpid(), number)
        threading.Event().wait(60)

    verb(wait)
    assert main.main(["bench"]) == status
    assert capsys.readouterr().err == line
    assert signal.getsignal(number) == before


def test_a_closed_terminal_is_ignored_where_it_shall_be(verb):
    """As `nohup` asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        verb(lambda argv: os.kill(os.getpid(), signal.SIGHUP))
        assert main.main(["bench"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


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


def test_a_platform_without_its_plugin_is_one_line(verb, capsys, monkeypatch):
    """JAX fails by an assertion then."""
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    verb(lambda argv: exec(compile("assert False", "/jax/_src/xla_bridge.py", "exec")))
    assert main.main(["bench"]) == 2
    told = "uit: JAX_PLATFORMS=cuda: JAX finds no such device here: name another, or install JAX for it\n"
    assert capsys.readouterr().err == told


def test_a_mistake_of_the_program_keeps_its_traceback(verb):
    verb(fail(KeyError("guide")))
    with pytest.raises(KeyError):
        main.main(["bench"])


def test_verbs_are_imported_only_when_used():
    code = "import sys, uit_jax.main; sys.exit(any(n in sys.modules for n in ('jax', 'tensorflow', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
