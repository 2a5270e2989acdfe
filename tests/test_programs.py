"""Where compiled programs are kept, and that they are found again."""

import os
import subprocess
import sys
import types
import warnings

from uit_jax import main, programs

COMPILE = """
from uit_jax import programs
programs.keep()
import jax
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
jax.jit(lambda x: jax.numpy.sin(x) @ x)(jax.numpy.ones((3, 3))).block_until_ready()
print(sum(name.endswith("cache_hits") for name in hits))
"""


def test_a_second_process_need_not_compile(tmp_path):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")}
    environ |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": "", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def hits(**more):
        run = subprocess.run([sys.executable, "-c", COMPILE], env=environ | more, capture_output=True, text=True)
        assert run.returncode == 0 and not run.stderr, run.stderr
        return int(run.stdout)

    assert hits(JAX_ENABLE_COMPILATION_CACHE="false") == 0
    assert hits() == 0
    kept = list((tmp_path / ".cache" / "uit_jax" / "programs").rglob("*-cache"))
    # As a process that is killed leaves them.
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])
    assert kept and hits() == 0
    assert hits() > 0


def test_the_folder_is_the_users_own_choice_or_in_his_cache(tmp_path):
    for environ, parent in (
        ({"XDG_CACHE_HOME": str(tmp_path / "x"), "HOME": "/nowhere"}, tmp_path / "x"),
        ({"HOME": str(tmp_path / "home")}, tmp_path / "home" / ".cache"),
    ):
        folder = programs.keep(environ)
        assert folder.is_dir() and folder.parent == parent / "uit_jax" / "programs"
        assert environ["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    for chosen in ("/elsewhere", ""):
        environ = {"JAX_COMPILATION_CACHE_DIR": chosen, "HOME": str(tmp_path / "other")}
        assert programs.keep(environ) is None and environ["JAX_COMPILATION_CACHE_DIR"] == chosen
    assert not (tmp_path / "other").exists()


def test_where_nothing_can_be_kept_nothing_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    homes = str(tmp_path / "file"), "", "here", "~nobody", f"{tmp_path}/\udcff"
    for environ in ({}, {"XDG_CACHE_HOME": "here"}, *({"HOME": home} for home in homes)):
        assert programs.keep(environ) is None and "JAX_COMPILATION_CACHE_DIR" not in environ
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_program_that_cannot_be_read_gives_way_and_nothing_else(tmp_path, recwarn, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    for name in ("jit_step-01-cache", "jit_read-02-cache"):
        (tmp_path / name).touch()
    programs.mend(tmp_path)
    warnings.warn("Error writing persistent compilation cache entry for 'jit_step': OSError: full", stacklevel=1)
    warnings.warn("something else", stacklevel=1)
    assert [path.name for path in tmp_path.iterdir()] == ["jit_read-02-cache"]
    assert [str(each.message) for each in recwarn] == ["something else"]


def test_what_was_not_asked_for_the_longest_gives_way(tmp_path):
    for age, name in enumerate(("new", "old", "older")):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    programs.make_room(tmp_path, 300)
    assert len(list(tmp_path.iterdir())) == 3
    programs.make_room(tmp_path, 250)
    assert {path.name for path in tmp_path.iterdir()} == {"new", "old"}


def test_a_verb_keeps_them_and_nothing_else_does(monkeypatch):
    kept = []
    monkeypatch.setattr(programs, "keep", lambda: kept.append(1))
    assert main.main(["--version"]) == main.main(["--help"]) == 0 and main.main(["trian"]) == 2 and not kept
    bench = types.SimpleNamespace(main=lambda argv: len(kept))
    monkeypatch.setattr(main.importlib, "import_module", lambda name: bench)
    assert main.main(["bench"]) == 1
