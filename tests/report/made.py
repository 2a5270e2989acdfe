"""Runs made by hand, without training: settings, metrics, pictures, evaluations."""

import json

import numpy as np
from PIL import Image

from uit_jax import config as configs

RECIPE = {"steps": 12, "batch_size": 4, "data.image_size": 16}


def write_config(workdir, **changes):
    """Write the config.json of a run of the tiny method, which has to be registered."""
    workdir.mkdir(parents=True, exist_ok=True)
    config = configs.update(configs.defaults("tiny"), RECIPE | {"log_every": 2} | changes)
    configs.save(config, workdir)
    return config


def write_lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def metrics(steps=(2, 4, 6, 8, 10, 12), scale=1.0):
    """Return records as a training writes them: two phases, a term of each, a score now and then."""
    found = []
    for step in steps:
        record = {"step": step, "phase": "first" if step <= 4 else "second", "model/fit": scale * 1.1 / step}
        record |= {"model/second": scale * step / 7} if step > 4 else {}
        record |= {"cluster_accuracy": step / 20} if step % 4 == 0 else {}
        found.append(record | {"model/rate": 0.1})
    return found


def write_picture(path, seed=0, size=(48, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(path)


def write_run(workdir, **changes):
    """Write a whole run but for its checkpoints."""
    write_config(workdir, **changes)
    write_lines(workdir / "metrics.jsonl", metrics())
    write_lines(workdir / "speed.jsonl", [{"step": 2, "images_per_second": 31.5, "input_wait": 0.25}])
    for step in (4, 8, 12):
        write_picture(workdir / "images" / f"translations_{step:08d}.png", step)
    record = {"scores": {"cluster_accuracy": 0.75}, "step": 12, "protocol": {"clusters": "how"}, "source": "s"}
    (workdir / "evaluation.json").write_text(json.dumps(record))
