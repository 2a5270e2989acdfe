"""The page of a run: what was measured, drawn and learnt, in one HTML file that needs no network.

The libraries that it is made with come with `pip install 'uit-jax[report]'`, and are imported where they are needed.
"""

from uit_jax.report.page import missing, write

__all__ = ["missing", "write"]
