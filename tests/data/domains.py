"""Two domains opened as a method's sides, for the tests."""

from uit_jax.data import Sources, Wanted, open_sides, open_test_sides
from uit_jax.method import Side


def open_domains(source, target="", *, split="train", size, channels=3, target_channels=0, seed=0, **wanted) -> Sources:
    """Open sides "a" and "b"; the keywords are those of `Wanted` and of a config's data."""
    return open_sides(
        _sides(channels, target_channels), Wanted(source, target, **wanted), split=split, size=size, seed=seed
    )


def open_test_domains(
    source, target="", test_source="", test_target="", *, size, channels=3, target_channels=0, seed=0, **wanted
) -> Sources:
    """Open what is held out of sides "a" and "b"."""
    wanted = Wanted(source, target, test_source=test_source, test_target=test_target, **wanted)
    return open_test_sides(_sides(channels, target_channels), wanted, size=size, seed=seed)


def _sides(channels, target_channels):
    return Side("a", channels), Side("b", target_channels or channels)
