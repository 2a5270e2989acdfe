"""Beside the standard tools: of the same random weights and the same two folders of images they have the same numbers.

    pip install '.[test,parity]'
    python -m pytest tests/evaluation/test_standard_tools.py -s --photographs FOLDER FOLDER

prints the table of docs/metrics.md; without folders, images are drawn. Tools would download weights: here they read the
file that ours read, whose numbers are drawn. Where a tool is missing, its test is skipped.
"""

import json
import re
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from tests import golden_recipe
from tests.conftest import compiled_well
from uit_jax.convert import lpips as lpips_file
from uit_jax.evaluation import comparison, networks, reading
from uit_jax.images import decode
from uit_jax.listing import find_images
from uit_jax.metrics import clusters
from uit_jax.nn.lpips import LPIPS

torch = pytest.importorskip("torch")

GOLDENS = Path(__file__).parents[1] / "goldens"
LIMIT = 1e-3
PAIRS = 20


def drawn(golden: str, network: str = "") -> dict[str, torch.Tensor]:
    """Draw a network's weights as a golden file's manifest says."""
    specs = json.loads((GOLDENS / f"{golden}.json").read_text())["weights"]
    specs = specs[network] if network else specs
    found = {name: golden_recipe.weight("tools/", network, name, spec) for name, spec in specs.items()}
    return {name: torch.tensor(np.abs(v) if specs[name].get("abs") else v) for name, v in found.items()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of Inception's weights, as pytorch-fid's is."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(drawn("inception"), path)
    return path


@pytest.fixture(scope="module")
def folders(request, tmp_path_factory):
    """Two folders of images: given, or drawn, the second with more contrast."""
    if given := request.config.getoption("photographs"):
        return [Path(folder) for folder in given]
    found = [tmp_path_factory.mktemp(name) for name in "ab"]
    for folder, power in zip(found, (1.0, 1.5), strict=True):
        for index, image in enumerate(golden_recipe.images(folder.name, 24, 80)):
            pixels = np.clip(np.round((power * image + 1) * 127.5), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:03}.png")
    return found


@pytest.fixture(scope="module")
def ours(weights, folders):
    """mode -> our scores, and the features of both folders."""
    found = {}

    def compare(mode: str):
        if mode not in found:
            network = networks.inception_network(weights, mode)
            with compiled_well():
                measured = [reading.measured(folder, name, network) for folder, name in zip(folders, "ab", strict=True)]
            found[mode] = comparison.likeness(*measured, network)[0], [each.features for each in measured]
        return found[mode]

    return compare


def check(tool: str, what: str, theirs: float, ours: float) -> None:
    """Print a row of the table and assert the relative difference."""
    apart = abs(ours - theirs) / abs(theirs)
    print(f"\n| {tool} {metadata.version(tool)} | {what} | {theirs:.7g} | {ours:.7g} | {apart:.1e} |", end="")
    assert apart <= LIMIT, f"{what}: {tool} has {theirs}, ours are {ours}"


@pytest.mark.slow
def test_pytorch_fid_and_prdc(weights, folders, ours, monkeypatch):
    score = pytest.importorskip("pytorch_fid.fid_score")
    network = pytest.importorskip("pytorch_fid.inception")
    prdc = pytest.importorskip("prdc")
    monkeypatch.setattr(network, "load_state_dict_from_url", lambda *_, **__: torch.load(weights))
    read, found = score.get_activations, []
    monkeypatch.setattr(score, "get_activations", lambda *args, **how: found.append(read(*args, **how)) or found[-1])
    fid = score.calculate_fid_given_paths([str(folder) for folder in folders], 50, "cpu", 2048, num_workers=0)
    scores, features = ours("pytorch_fid")
    for one, other in zip(found, features, strict=True):
        assert np.linalg.norm(one - other) <= 1e-4 * np.linalg.norm(one)
    check("pytorch-fid", "FID", fid, scores["fid"])
    for name, value in prdc.compute_prdc(*found, nearest_k=5).items():
        check("prdc", name, value, scores[name])


@pytest.mark.slow
def test_clean_fid(weights, folders, ours, monkeypatch):
    fid = pytest.importorskip("cleanfid.fid")
    network = pytest.importorskip("pytorch_fid.inception")
    monkeypatch.setattr(network, "load_state_dict_from_url", lambda *_, **__: torch.load(weights))
    # clean-fid reads its network as a program; this one is the same.
    inception = network.InceptionV3(resize_input=False, normalize_input=False).eval()
    read = [
        fid.get_folder_features(
            str(folder),
            lambda images: inception((images - 128) / 128)[0][:, :, 0, 0],
            num_workers=0,
            batch_size=50,
            device=torch.device("cpu"),
            mode="clean",
        )
        for folder in folders
    ]
    scores, _ = ours("clean")
    check("clean-fid", "FID", fid.fid_from_feats(*read), scores["fid"])
    if len(read[0]) == len(read[1]):
        # A subset of all of them is drawn in one way.
        check("clean-fid", "KID", fid.kernel_distance(*read, num_subsets=1), scores["kid"])


@pytest.mark.slow
def test_torch_fidelity(weights, folders, ours):
    fidelity = pytest.importorskip("torch_fidelity")
    count = min(len(find_images(folder)) for folder in folders)
    found = fidelity.calculate_metrics(
        **dict(zip(("input1", "input2"), map(str, folders), strict=True)),
        fid=True,
        kid=True,
        kid_subsets=1,
        kid_subset_size=count,
        feature_extractor_weights_path=str(weights),
        cuda=False,
        cache=False,
        batch_size=50,
        verbose=False,
    )
    scores, _ = ours("legacy_tensorflow")
    check("torch-fidelity", "FID", found["frechet_inception_distance"], scores["fid"])
    check("torch-fidelity", "KID", found["kernel_inception_distance_mean"], scores["kid"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["alex", "vgg"])
def test_lpips(kind, folders, tmp_path):
    lpips = pytest.importorskip("lpips")
    # The package has its own weights with it, not those of the network.
    theirs = lpips.LPIPS(net=kind, pretrained=True, pnet_rand=True, verbose=False).eval()
    network = {name: value for name, value in drawn("perceptual", kind).items() if name.startswith("net.")}
    theirs.load_state_dict(network, strict=False)
    torch.save({re.sub(r"net\.slice\d", "features", name): v for name, v in network.items()}, tmp_path / "network.pth")
    weights = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{kind}.pth"
    variables = lpips_file.read(kind, tmp_path / "network.pth", weights)
    pairs = [
        np.stack([decode.decode(path.read_bytes(), size=64, channels=3) for path in find_images(folder)[:PAIRS]])
        for folder in folders
    ]
    pairs = [np.float32(images) / 127.5 - 1 for images in pairs]
    with compiled_well():
        found = jax.jit(LPIPS(kind).apply)(variables, *pairs)
    with torch.no_grad():
        wanted = theirs(*(torch.tensor(images.transpose(0, 3, 1, 2)) for images in pairs))[:, 0, 0, 0].numpy()
    np.testing.assert_allclose(found, wanted, rtol=LIMIT)
    check("lpips", f"LPIPS ({kind}), mean of {PAIRS} pairs", wanted.mean(), found.mean())


def test_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    true = rng.integers(5, size=300)
    predicted = np.where(rng.random(300) < 0.6, true, rng.integers(7, size=300))
    wanted = sklearn.normalized_mutual_info_score(true, predicted)
    check("scikit-learn", "NMI", wanted, clusters.normalized_mutual_information(predicted, true))
