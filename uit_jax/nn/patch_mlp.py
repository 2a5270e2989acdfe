"""The MLP that maps features of patches to codes (arXiv:2007.15651, Section 3)."""

import flax.linen as nn

from uit_jax.nn.convs import initializer
from uit_jax.types import Array


class PatchMLP(nn.Module):
    """Map features of patches to codes, by two layers of each tap's own: {tap: [B, P, C]} -> {tap: [B, P, dim]}."""

    dim: int = 256
    initializer: str = "xavier"
    gain: float = 0.02

    @nn.compact
    def __call__(self, features: dict[int, Array]) -> dict[int, Array]:
        codes, kernel_init = {}, initializer(self.initializer, self.gain)
        for tap, x in sorted(features.items()):
            x = nn.relu(nn.Dense(self.dim, kernel_init=kernel_init, name=f"tap_{tap}_0")(x))
            codes[tap] = nn.Dense(self.dim, kernel_init=kernel_init, name=f"tap_{tap}_1")(x)
        return codes
