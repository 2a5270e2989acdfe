"""A folder to upload to a hub of models: weights, settings and a card, which `uit_jax.load` reads back.

    model.safetensors   what translates, without the networks that only training needs
    config.json         the run's settings; of places on the machine it was trained on, the last name alone
    README.md           the card
    converted.json      of weights that began with published ones: the names of these
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import jax
import numpy as np

from uit_jax import checkpoint, convert, runs
from uit_jax import config as config_module
from uit_jax.checkpoint import weights
from uit_jax.errors import UserError
from uit_jax.evaluation import manifest
from uit_jax.evaluation.report import CAPTIONS
from uit_jax.files import read_regular, write_json
from uit_jax.paths import as_path
from uit_jax.runs import Trained

_LONGEST_LINE = 20  # of runs that began with one another
_LICENCES = {
    True: (
        "cc-by-nc-4.0",
        "These weights began with published ones ({origin}), which are under CC BY-NC: they may be shared with credit"
        " to the paper's authors, and not be used commercially. Training them further does not change that.",
    ),
    False: (
        "other",
        "Whoever trained these weights says under which licence they are: none is named yet. Mind the licence of the"
        " images that they were learnt from. uit_jax itself is under Apache-2.0.",
    ),
}


def write(run: Trained, folder: Path) -> None:
    """Write a run's folder, and read it back. Raises UserError where that is not the same, bit for bit."""
    folder.mkdir(parents=True)
    config = portable(run.config)
    config_module.save(config, folder)
    weights.save(folder, run.variables, run.step)
    if run.clustered:
        _keep_domains(run, config, folder)
    if origin := converted_from(run):
        write_json(folder / convert.CONVERTED, {"networks": origin})
    (folder / "README.md").write_text(card(run, config), encoding="utf-8")
    back = runs.load(folder)
    pairs = zip(jax.tree.leaves(back.variables), jax.tree.leaves(run.variables), strict=True)
    if not all(np.array_equal(one, other) for one, other in pairs) or back.method != run.method:
        raise UserError(f"{folder}: is not read back as it was written: nothing is kept; tell us of it")


def portable(config: Any) -> Any:
    """Return the settings of a run without the places of the machine that it was trained on."""
    told = config_module.flatten(config)
    places = {key: value for key, value in told.items() if isinstance(value, str) and PurePath(value).is_absolute()}
    copy = config.copy_and_resolve_references()
    return config_module.update(copy, {key: PurePath(value).name for key, value in places.items()})


def _keep_domains(run: Trained, config: Any, folder: Path) -> None:
    """Keep beside the weights what the pseudo domains look like, as far as the training images are there."""
    with contextlib.suppress(UserError):
        runs.keep_domain_styles(run.domain_styles(), folder, run.step, config.data.source)


# --- the card ---


def card(run: Trained, config: Any) -> str:
    """Return the text of README.md."""
    origin = converted_from(run)
    licence, told = _LICENCES[bool(origin)]
    name = config.method.name
    front = {
        "license": licence,
        "library_name": "uit_jax",
        "pipeline_tag": "image-to-image",
        "tags": ["uit_jax", "jax", "image-to-image", name],
    }
    # Every JSON value is one of YAML.
    head = "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---"])
    sections = {
        f"{name}, {run.image_size} px": _about(run),
        "Use": _use(run),
        "Images it was trained on": _table(_images(run, config)),
        "Scores": _scores(run),
        "Settings": f"`config.json` holds them all.\n\n{_table(_made_by(run))}",
        "Licence": told.format(origin=origin),
    }
    body = "\n\n## ".join(f"{title}\n\n{text}" for title, text in sections.items())
    return f"{head}\n\n# {body}\n"


def converted_from(run: Trained) -> str:
    """Return the names of the published files that a run, or one that it began with, was made of; "" if of none."""
    workdir, origin = run.workdir, run.config.init_from
    for _ in range(_LONGEST_LINE):
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            return ", ".join(json.loads(read_regular(workdir / convert.CONVERTED)).values())
        if not origin:
            break
        if PurePath(origin).suffix in convert.SUFFIXES:
            return PurePath(origin).name
        workdir = as_path(origin if as_path(origin).exists() else origin.rpartition(":")[0])
        before = None
        with contextlib.suppress(UserError):
            before = checkpoint.begun_with(workdir)
        origin = "" if before is None else before.init_from
    # Those that were made before the names were kept were never trained.
    return "" if run.step else "files of the paper's published code"


def _about(run: Trained) -> str:
    method = run.method
    kind = {True: "redraws an image in the style of another", False: "translates images of one domain to another"}
    more = f", and sorts images into {method.classes} pseudo domains" * run.clustered
    told = (type(method).__doc__ or "").strip().splitlines()[:1]
    return f"A model that {kind[run.styled]}{more}, trained for {run.step} steps by uit_jax. {' '.join(told)}"


def _use(run: Trained) -> str:
    style = " --reference=IMAGE" * run.styled
    argument = ', reference="IMAGE"' * run.styled
    command = f"uit translate --workdir=FOLDER --content=IMAGES{style} --out=translated"
    python = f'import uit_jax\n\nmodel = uit_jax.load("FOLDER")\nimages = model.translate("IMAGES"{argument})'
    return f"```\n{command}\n```\n\n```python\n{python}\n```"


def _images(run: Trained, config: Any) -> dict[str, Any]:
    """Return what is known of the images: where they were, how many, of which classes."""
    found = {key: config.data[key] for key in ("source", "target", "test_source", "test_target") if config.data[key]}
    record = checkpoint.newest(run.workdir / "checkpoints") or {}
    found |= {key: value for key, value in record.get("data", {}).items() if key != "next_step"}
    if isinstance(classes := found.get("classes"), list):
        found["classes"] = ", ".join(map(str, classes[:20])) + f", and {len(classes) - 20} more" * (len(classes) > 20)
    return found


def _made_by(run: Trained) -> dict[str, Any]:
    """Return what tells the weights from others."""
    record = manifest.of_run(run)
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    told = {key: record[key] for key in ("step", "training_seed", "config_sha256")}
    return told | {"networks of averaged weights": ", ".join(record["averaged"]) or "none", "versions": versions}


def _scores(run: Trained) -> str:
    """Return the scores of the run's evaluations, with what they are of."""
    parts = []
    names = sorted(path.name for path in run.workdir.iterdir())
    for path in (run.workdir / name for name in names if name.startswith("evaluation") and name.endswith(".json")):
        with contextlib.suppress(ValueError, OSError, KeyError, TypeError, AttributeError):
            record = json.loads(read_regular(path))
            rows = {CAPTIONS.get(name, name): f"{value:.4f}" for name, value in record["scores"].items()}
            of = f"Step {record['step']}, {record['images']} images of {record['source']}, seed {record['seed']}:"
            parts.append(f"{_portable_text(of)}\n\n{_table(rows)}")
    return "\n\n".join(parts) or "None: `uit evaluate` writes some, and the export takes them over."


def _portable_text(text: str) -> str:
    """Leave of places in a text their last name."""
    return " ".join(PurePath(word).name if PurePath(word).is_absolute() else word for word in text.split())


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {key} | {str(value).replace('|', ' ')} |" for key, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines]) if lines else "Nothing is known of them."
