"""What is published of a chip, and how fast a step can be at most."""

import pytest

from uit_jax.training import chips


def test_devices_are_known_by_what_jax_calls_them():
    assert chips.find("NVIDIA H200") is chips.GPUS["H200"] and chips.find("Tesla T4") is chips.GPUS["T4"]
    assert chips.find("TPU v5 lite") is chips.TPUS["v5e"] and chips.find("NVIDIA L4") is not chips.GPUS["L40S"]
    assert chips.find("cpu") is None and chips.find("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None
    kinds = [kind for chip in (*chips.TPUS.values(), *chips.GPUS.values()) for kind in chip.kinds]
    assert len(set(kinds)) == len(kinds)


def test_a_floor_is_arithmetic_at_full_speed():
    assert chips.floor("NVIDIA H200", "bf16", 989.5e12) == pytest.approx(1)
    assert chips.floor("NVIDIA H200", "float32", 989.5e12) == pytest.approx(2, rel=1e-3)
    assert chips.floor("TPU v5e", "float32", 197e12) == pytest.approx(1)
    assert chips.floor("cpu", "bf16", 1e12) is None and chips.floor("NVIDIA H200", "bf16", 0.0) is None
