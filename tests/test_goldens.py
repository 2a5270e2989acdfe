"""Golden values: what the published code computes, against ours, from the same weights, images and draws.

Each pair NAME.json and NAME.npz in the folder `--goldens` holds one run of the published code; the manifest says what
was run and the arrays what came out. One test stands for each group of keys that is computed together.
"""

import json
import pathlib

import numpy as np
import pytest

from tests import (
    golden_cut,
    golden_cyclegan,
    golden_distancegan,
    golden_drit,
    golden_funit,
    golden_gcgan,
    golden_inception,
    golden_munit,
    golden_perceptual,
    golden_semit,
    golden_sincut,
    golden_starganv2,
    golden_swapping_autoencoder,
    golden_tunit,
    golden_views,
)

RUNNERS = {
    "tunit": golden_tunit.Runner,
    "cut": golden_cut.Runner,
    "fastcut": golden_cut.Runner,
    "sincut": golden_sincut.Runner,
    "cyclegan": golden_cyclegan.Runner,
    "gcgan": golden_gcgan.Runner,
    "distancegan": golden_distancegan.Runner,
    "munit": golden_munit.Runner,
    "drit": golden_drit.Runner,
    "funit": golden_funit.Runner,
    "semit": golden_semit.Runner,
    "starganv2": golden_starganv2.Runner,
    "swapping_autoencoder": golden_swapping_autoencoder.Runner,
    "starganv2_fan": golden_starganv2.FanRunner,
    "image_pool": golden_cyclegan.PoolRunner,
    "views": golden_views.Runner,
    "perceptual": golden_perceptual.Runner,
    "inception": golden_inception.Runner,
}


def subject(path: pathlib.Path, manifest: dict) -> str:
    """Return what a golden file is about; files about no method tell it by their fields."""
    by_field = {"params": "views", "resize": "perceptual", "frechet_inputs": "inception"}
    known = [name for field, name in by_field.items() if field in manifest]
    return manifest.get("method") or (known[0] if known else path.stem)


def pytest_generate_tests(metafunc):
    folder = pathlib.Path(metafunc.config.getoption("goldens"))
    cases, names = [], []
    for path in sorted(folder.glob("*.json")):
        about = subject(path, json.loads(path.read_text()))
        if about in RUNNERS:
            with np.load(path.with_suffix(".npz")) as arrays:
                groups = [each for each in dict.fromkeys(map(RUNNERS[about].group, arrays.files)) if each]
        else:
            groups = [f"unknown subject {about}"]
        for group in groups:
            cases.append((path, group))
            names.append(f"{path.stem}-{group}")
    if not cases:
        raise pytest.UsageError(f"--goldens={folder}: no golden files (NAME.json beside NAME.npz) there")
    metafunc.parametrize("golden, group", cases, ids=names, indirect=["golden"], scope="module")


@pytest.fixture(scope="module")
def golden(request):
    """Return the runner of one golden file and the file's arrays, made once for all of its groups."""
    path = request.param
    manifest = json.loads(path.read_text())
    about = subject(path, manifest)
    assert about in RUNNERS, f"{path}: no runner for {about!r}; known: {', '.join(RUNNERS)}"
    with np.load(path.with_suffix(".npz")) as arrays:
        arrays = dict(arrays)
    return RUNNERS[about](manifest, arrays), arrays


@pytest.mark.slow
def test_golden_values(golden, group):
    runner, arrays = golden
    keys = [key for key in arrays if runner.group(key) == group]
    ours = runner.compute(group)
    faults = []
    for key in keys:
        assert key in ours, f"no computation for {key}"
        try:
            runner.check(key, np.asarray(ours[key]), arrays[key])
        except AssertionError as error:
            faults.append(f"{key}: {error}")
    assert not faults, "\n".join(faults)
