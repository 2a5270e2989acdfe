"""What the makers publish of accelerators: how fast a step can be at most on one of them."""

from typing import NamedTuple


class Chip(NamedTuple):
    """One chip, or one card.

    Attributes:
      flops: a second, of dense bfloat16 products; of float16 where there are no others.
      flops32: a second, of float32 products as JAX makes them unless told otherwise: in one bfloat16 pass on a TPU, in
        TF32 on a GPU that has it, else in float32.
      bandwidth: of its memory, bytes a second.
      memory: bytes.
      links: to other chips, bytes a second in all.
      kinds: what JAX calls such a device.
    """

    flops: float
    flops32: float
    bandwidth: float
    memory: float
    links: float
    kinds: tuple[str, ...]


def _tpu(flops: float, bandwidth: float, memory: int, links: float, *kinds: str) -> Chip:
    return Chip(flops * 1e12, flops * 1e12, bandwidth * 1e9, memory * 2**30, links * 1e9, kinds)


def _gpu(flops: float, flops32: float, bandwidth: float, memory: int, links: float, *kinds: str) -> Chip:
    return Chip(flops * 1e12, flops32 * 1e12, bandwidth * 1e9, memory * 1e9, links * 1e9, kinds)


TPUS = {
    "v4": _tpu(275, 1228, 32, 300, "TPU v4"),
    "v5e": _tpu(197, 819, 16, 200, "TPU v5 lite", "TPU v5e"),
    "v5p": _tpu(459, 2765, 95, 600, "TPU v5", "TPU v5p"),
    "v6e": _tpu(918, 1640, 32, 448, "TPU v6 lite", "TPU v6e"),
}
"""By the first part of a topology's name; TFLOP/s, GB/s, GiB, GB/s (cloud.google.com/tpu/docs, a page for each)."""

GPUS = {
    # NVIDIA H200 Tensor Core GPU and H100 Tensor Core GPU, data sheets; those count sparse products: half of them here.
    "H200": _gpu(989.5, 494.7, 4800, 141, 900, "H200"),
    "H100 SXM": _gpu(989.5, 494.7, 3350, 80, 900, "H100 80GB HBM3"),
    "H100 NVL": _gpu(835.5, 417.5, 3900, 94, 600, "H100 NVL"),
    # NVIDIA H100 PCIe, product brief PB-11133-001, and the H100 data sheet of 2022.
    "H100 PCIe": _gpu(756, 378, 2000, 80, 600, "H100 PCIe"),
    # NVIDIA A100 Tensor Core GPU, data sheet.
    "A100 80 GB SXM": _gpu(312, 156, 2039, 80, 600, "A100-SXM4-80GB"),
    "A100 80 GB PCIe": _gpu(312, 156, 1935, 80, 600, "A100 80GB PCIe"),
    "A100 40 GB": _gpu(312, 156, 1555, 40, 600, "A100-SXM4-40GB", "A100-PCIE-40GB"),
    # NVIDIA L40S, L4 and A10 Tensor Core GPU, data sheets; without NVLink, over PCI Express 4.0.
    "L40S": _gpu(362, 183, 864, 48, 64, "L40S"),
    "L4": _gpu(121, 60, 300, 24, 64, "L4"),
    "A10": _gpu(125, 62.5, 600, 24, 64, "A10"),
    # NVIDIA V100 and T4 Tensor Core GPU, data sheets: float16, and no TF32.
    "V100 SXM2": _gpu(125, 15.7, 900, 32, 300, "V100-SXM2-16GB", "V100-SXM2-32GB"),
    "T4": _gpu(65, 8.1, 320, 16, 32, "T4"),
    # NVIDIA Ada GPU Architecture and Ampere GA102 GPU Architecture, white papers: with float32 sums.
    "RTX 4090": _gpu(165.2, 82.6, 1008, 24, 64, "GeForce RTX 4090"),
    "RTX 3090": _gpu(71, 35.6, 936, 24, 112, "GeForce RTX 3090"),
}
"""By what people call them; TFLOP/s, TFLOP/s, GB/s, GB, GB/s."""


def find(kind: str) -> Chip | None:
    """Return the chip of a device that JAX calls so; None where it is not known, as a part of one is not."""
    name = kind.removeprefix("NVIDIA ").removeprefix("Tesla ")
    return next((chip for chip in (*TPUS.values(), *GPUS.values()) if name in chip.kinds), None)


def floor(kind: str, precision: str, flops: float) -> float | None:
    """Return the seconds that so many operations take at least on a device; None where that is not known."""
    chip = find(kind)
    if chip is None or not flops > 0:
        return None
    return flops / (chip.flops if precision == "bf16" else chip.flops32)
