"""Names as they are printed, images as folders hold them, and files that are written whole or not at all."""

from pathlib import Path

import pytest

from uit_jax import files


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("plain name-1 é 猫.png", "plain name-1 é 猫.png"),
        ("back\\slash", "back\\slash"),
        ("a\n\x1b[2Kb.png: usable.png", "a\\n\\x1b[2Kb.png: usable.png"),
        ("a\rb\tc\x7f\x9b", "a\\rb\\tc\\x7f\\x9b"),
        ("a\u202egnp.jpg\u2028", "a\\u202egnp.jpg\\u2028"),
        (b"\xff.png".decode("utf-8", "surrogateescape"), "\\udcff.png"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_a_name_prints_on_one_line_of_any_terminal(name, printed):
    assert files.shown(name) == files.shown(Path(name)) == printed
    assert printed.isprintable() and printed.encode()
