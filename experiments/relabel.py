"""The labels that k-means finds, in the place of the images' own: what a row learns from that has a `relabel`."""

import json
import os
from pathlib import Path
from typing import Any

from experiments import rows, tables
from uit_jax import config as config_module
from uit_jax import files
from uit_jax.data import labels
from uit_jax.errors import UserError
from uit_jax.evaluation import labelling, networks
from uit_jax.training import loop

FILE, FOUND = "labels.csv", "labels.json"


def place(workdir: Path) -> Path:
    """Return where the labels of a run are."""
    return workdir / FILE


def relabel(row: rows.Row, config, workdir: Path, features: str | None) -> dict[str, Any]:
    """Write the labels of a run where `place` says, once; return their "scores" and "protocol".

    Args:
      features: of which features they are, where the row names no run for that, as `uit data label` has it.

    Raises:
      UserError: none are named, or the images cannot be sorted by them.
    """
    how, spec, path, known = row.relabel, config.data.source, place(workdir), workdir / FOUND
    if how.by == labelling.WAYS[0] or how.run:
        if features:
            raise UserError(f"--features={features}: leave it out, for it is said of what {row.name}'s labels are")
    elif not (features := features or os.environ.get(networks.VARIABLE)):
        raise UserError(f"{row.name}: name features by --features=FILE or style:WORKDIR, as `uit data label` has it")
    if path.exists() and known.exists():
        result = json.loads(known.read_text())
        if (former := result.pop("features")) != features:
            raise UserError(f"--features={features}: the labels in {workdir} are by {former}; give another --workdir")
        return result
    named = _style(how.run, config, workdir) if how.run else features or ""
    points = labelling.points_of(spec, how.by, side=how.side, features=named)
    found = labelling.label(spec, points, config.method.domains, seed=config.seed)
    workdir.mkdir(parents=True, exist_ok=True)
    labels.write(path, found.source, found.labels)
    result = {"scores": found.held_out or found.training, "protocol": {"clusters": f"labels by {found.protocol}"}}
    files.write_json(known, {"features": features, **result})
    return result


def _style(run: str, config, workdir: Path) -> str:
    """Name the style codes of a "TABLE/ROW"'s run of the same seed and images; it is trained where it is not yet."""
    table, _, name = run.rpartition("/")
    other = tables.find_row(table, name).config()
    config_module.update(other, {"data.source": config.data.source, "seed": config.seed})
    folder = workdir.parents[len(Path(table).parts) + 1] / table / name / workdir.name
    loop.train(other, folder)
    return f"style:{folder}"
