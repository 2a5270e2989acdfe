"""What papers' files are called and hold: networks out into them and in again, and what is told of other files."""

import jax
import numpy as np
import pytest

from tests.convert.published import assert_equal, state_of, weights
from tests.method_table import TINY
from uit_jax import convert, methods, tensors
from uit_jax.convert import papers
from uit_jax.errors import UserError

FILES = {
    "tunit": {"model_7000.ckpt"},
    "cut": {"latest_net_G.pth", "latest_net_D.pth", "latest_net_F.pth"},
    "cyclegan": {f"latest_net_{network}.pth" for network in ("G_A", "G_B", "D_A", "D_B")},
    "munit": {"gen_00007000.pt", "dis_00007000.pt"},
    "drit": {"last.pth"},
    "funit": {"gen_00007000.pt", "dis_00007000.pt"},
    "semit": {"gen_00007000.pt", "dis_00007000.pt"},
    "starganv2": {"007000_nets.ckpt", "007000_nets_ema.ckpt"},
}


@pytest.fixture(scope="module")
def cyclegan(tmp_path_factory):
    """A folder of published files, and the state that they are of."""
    folder, state = tmp_path_factory.mktemp("cyclegan"), state_of("cyclegan", TINY["cyclegan"], seed=0)
    written(folder, "cyclegan", state)
    return folder, state


def written(folder, name, state):
    """Write a state's networks as the published code does; return the files."""
    paper = convert.PAPERS[name]
    laid = paper.files(paper.export_state(methods.build(name, TINY[name]), state), 7000)
    for file, values in laid.items():
        tensors.write(folder / file, values)
    return sorted(folder / file for file in laid)


def test_every_paper_has_a_recipe_and_its_own_networks():
    for name, paper in convert.PAPERS.items():
        assert convert.of(methods.kind(name)) is paper and set(paper.needed) <= set(paper.learners)
    varied = type("Varied", (methods.kind("cut"),), {})
    assert convert.of(varied) is convert.PAPERS["cut"]
    with pytest.raises(UserError, match="no published weights of this method; there are of tunit, cut, .*drit"):
        convert.of(methods.kind("cluit"))


@pytest.mark.parametrize("name", FILES)
def test_published_files_of_every_kind_go_out_and_come_in(tmp_path, name):
    state, other = (state_of(name, TINY[name], seed) for seed in (0, 1))
    files, paper = written(tmp_path, name, state), convert.PAPERS[name]
    assert {file.name for file in files} == FILES[name]
    gathered = paper.gather(files)
    assert not paper.missing(gathered, state)
    paper.settings(gathered)
    loaded = paper.import_state(gathered, methods.build(name, TINY[name]), other)
    # What the published code has not, SEMIT's classifier, stays as it was.
    published = set(paper.learners.values())
    expected = {learner: own for learner, own in weights(other).items() if learner not in published}
    expected |= {learner: own for learner, own in weights(state).items() if learner in published}
    assert_equal(weights(loaded), expected)


def test_what_an_average_translates_by_is_what_goes_out(tmp_path):
    settings = TINY["cut"] | {"average": 0.9}
    state = state_of("cut", settings, seed=0)
    out = convert.PAPERS["cut"].export_state(methods.build("cut", settings), state)
    kernel = state.learners["generator"].ema["stem"]["conv"]["kernel"]
    np.testing.assert_array_equal(out["G"]["model.1.weight"], kernel.transpose(3, 2, 0, 1))


def test_a_file_of_one_network_says_which_by_its_name(cyclegan, tmp_path):
    folder, state = cyclegan
    paper, data = convert.PAPERS["cyclegan"], (folder / "latest_net_G_A.pth").read_bytes()
    for name, network in {"20_net_G_B.pth": "G_B", "latest_net_G.pth": "G_A", "my_net_D_A.ckpt": "D_A"}.items():
        (tmp_path / name).write_bytes(data)
        assert list(paper.gather([tmp_path / name])) == [network]
    (tmp_path / "zebra.pth").write_bytes(data)
    told = "zebra.pth: no network of CycleGAN .* says which by its name, as latest_net_G_A.pth does"
    with pytest.raises(UserError, match=told):
        paper.gather([tmp_path / "zebra.pth"])
    with pytest.raises(UserError, match="latest_net_G.pth: holds G_A, as .*latest_net_G_A.pth does: give one of the"):
        paper.gather([folder / "latest_net_G_A.pth", tmp_path / "latest_net_G.pth"])
    # As `--init_from` takes it.
    method, other = methods.build("cyclegan", TINY["cyclegan"]), state_of("cyclegan", TINY["cyclegan"], seed=1)
    loaded = convert.import_file(tmp_path / "20_net_G_B.pth", method, other)
    assert_equal(loaded.learners["generator_ba"].params, state.learners["generator_ab"].params)


def test_a_generator_of_cyclegan_without_blurs_is_one_of_cut(cyclegan):
    folder, _ = cyclegan
    paper = convert.PAPERS["cut"]
    read = paper.settings(paper.gather([folder / "latest_net_G_A.pth"]))
    assert read["generator"] == {"width": 4, "blocks": 2, "antialias": False, "antialias_up": False}


def test_a_learner_of_two_domains_is_whole_with_both():
    state = state_of("drit", TINY["drit"], seed=0)
    shapes, paper = jax.eval_shape(lambda: state), convert.PAPERS["drit"]
    networks = paper.export_state(methods.build("drit", TINY["drit"]), state)
    for given, whole in ((("disA",), False), (("disA", "disB"), True)):
        gathered = {network: papers.Found("file.pth", networks[network]) for network in given}
        loaded = paper.import_state(gathered, methods.build("drit", TINY["drit"]), shapes)
        assert papers.is_whole(loaded.learners["discriminator"]) == whole
        assert not papers.is_whole(loaded.learners["generator"])


def test_settings_besides_the_shapes_are_told():
    found = {"G_AB": 0, "D_B": 0}
    assert convert.PAPERS["gcgan"].implied(found) == {"shared": True}
    assert convert.PAPERS["gcgan"].implied(found | {"G_gc_AB": 0}) == {"shared": False}
    assert convert.PAPERS["tunit"].implied({}) == {"guide_steps": 0, "average_start": 0}


def test_files_that_do_not_fit_are_refused_by_file_and_key(cyclegan, tmp_path):
    folder, state = cyclegan
    paper, method = convert.PAPERS["cyclegan"], methods.build("cyclegan", TINY["cyclegan"])
    good = tensors.read(folder / "latest_net_D_B.pth")

    def refusal(changes, own=paper, name="latest_net_D_B.pth"):
        tensors.write(tmp_path / name, {key: value for key, value in (good | changes).items() if value is not None})
        with pytest.raises(UserError) as caught:
            gathered = own.gather([tmp_path / name])
            own.settings(gathered)
            own.import_state(gathered, method, state)
        assert str(caught.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(caught.value)
        return str(caught.value)

    assert "D_B does not fit" in (told := refusal({"model.5.bias": None})) and "missing: model.5.bias" in told
    assert "of another shape: model.2.bias (3,), not (8,)" in refusal({"model.2.bias": np.zeros(3, np.float32)})
    assert "unexpected: model.9.bias" in refusal({"model.9.bias": np.zeros(3, np.float32)})
    assert "D_B is damaged: model.0.bias holds NaN" in refusal({"model.0.bias": np.full(4, np.nan, np.float32)})
    blurs = dict(tensors.read(folder / "latest_net_G_A.pth"))
    blurs["model.9.weight"] = blurs.pop("model.7.weight")
    good = {}
    assert "G_A blurs where it halves" in refusal(blurs, name="latest_net_G_A.pth")
    good = tensors.read(folder / "latest_net_G_A.pth")
    wrong = {"tunit": "G is none of TUNIT's: .*cnt_encoder", "drit": "no network of DRIT", "munit": "no network of MUN"}
    for name, told in wrong.items():
        with pytest.raises(UserError, match=told):
            tensors.write(tmp_path / "latest_net_G.pth", good)
            convert.PAPERS[name].settings(convert.PAPERS[name].gather([tmp_path / "latest_net_G.pth"]))
