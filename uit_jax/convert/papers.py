"""What is known of the files that each paper's published code writes: what they are called, and what is in which."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from uit_jax import methods, tensors
from uit_jax.convert import cut, drit, funit, munit, pooled, semit, starganv2, swapping_autoencoder, tunit
from uit_jax.convert.state_dicts import with_path
from uit_jax.errors import UserError
from uit_jax.method import Method
from uit_jax.paths import PathLike, as_path
from uit_jax.state import Learner, TrainState

Tensors = Mapping[str, np.ndarray]
Networks = Mapping[str, Tensors]


class Found(NamedTuple):
    """A network as a file holds it: the file's name, and its state_dict."""

    path: PathLike
    tensors: Tensors


@dataclasses.dataclass(frozen=True)
class Paper:
    """One paper's published files.

    Attributes:
      code: what turns its networks into ours and back: a module of this package, or what has the functions of one.
      learners: our name of each published network.
      recipe: the config of a run of such weights: a file of `configs`, with its preset.
      needed: the networks without which no image of A is translated.
      files: (networks, step) -> {name of a file: what it holds, nested}.
      inwards, outwards: of a method, what the two ways have to know besides the shapes.
      implied: of networks by their names, settings besides those that their shapes tell.
      called: other names of networks in the names of files.
      averaged: how the names of files end that hold averages under the names of the networks themselves; "": none do.
    """

    code: Any
    learners: Mapping[str, str]
    recipe: str
    needed: tuple[str, ...]
    files: Callable[[Networks, int], dict[str, Mapping]]
    inwards: Callable[[Method], dict] = lambda method: {}
    outwards: Callable[[Method], dict] = lambda method: {}
    implied: Callable[[Mapping[str, Found]], dict] = lambda gathered: {}
    called: Mapping[str, str] = dataclasses.field(default_factory=dict)
    averaged: str = ""

    def gather(self, paths: Sequence[PathLike]) -> dict[str, Found]:
        """Read files: published name of a network -> where it was found, and its tensors.

        Raises:
          UserError: one cannot be read or holds no network of the paper, or two hold the same one.
        """
        gathered: dict[str, Found] = {}
        for path in paths:
            averages = self.averaged and str(path).endswith(self.averaged)
            for network, own in self._networks(path).items():
                network = f"{network}_EMA" if averages else network
                if network in gathered:
                    raise UserError(f"{path}: holds {network}, as {gathered[network].path} does: give one of the two")
                gathered[network] = Found(path, own)
        return gathered

    def _networks(self, path: PathLike) -> Networks:
        """Return what a file holds, by its tensors' names or, where these do not tell, by its own: *net_G_A.pth."""
        read = tensors.read(path)
        try:
            return self.code.networks(read)
        except UserError as error:
            named = re.search(r"net_(\w+)\.\w+$", str(path))
            network = named and self.called.get(named[1], named[1])
            if network in self.learners:
                return self.code.networks({f"{network}.{name}": value for name, value in read.items()})
            told = f"a file of one network says which by its name, as latest_net_{next(iter(self.learners))}.pth does"
            raise UserError(f"{path}: {error}; {told}") from error

    def settings(self, gathered: Mapping[str, Found]) -> dict:
        """Return what networks tell of their method's settings: nested. Raises UserError for what is none of them."""
        for network, found in gathered.items():
            with_path(found.path, self.code.settings, {network: found.tensors})
        networks = {network: found.tensors for network, found in gathered.items()}
        return {**self.code.settings(networks), **self.implied(gathered)}

    def import_state(self, gathered: Mapping[str, Found], method: Method, state: TrainState) -> TrainState:
        """Put networks into a state of a method, or into its shapes; the others, and the optimisers, stay as they are.

        Raises:
          UserError: one does not fit.
        """
        by_path: dict[PathLike, dict[str, np.ndarray]] = {}
        for network, found in gathered.items():
            whole = {f"{network}.{name}": value for name, value in found.tensors.items()}
            # An average goes in with the network itself, for which it would stand alone.
            beside = gathered.get(network.removesuffix("_EMA"), found)
            by_path.setdefault(beside.path, {}).update(whole)
        for path, whole in by_path.items():
            state = with_path(path, self.code.import_state, whole, state, **self.inwards(method))
        return state

    def export_state(self, method: Method, state: TrainState) -> dict[str, dict[str, np.ndarray]]:
        """Return the published networks of a state, each a state_dict, those of its averages that translate too."""
        return self.code.export_state(state, **self.inwards(method), **self.outwards(method))

    def missing(self, gathered: Mapping[str, Found], state: TrainState) -> list[str]:
        """Return the published names of a state's networks that are not among those gathered."""
        there = {network.removesuffix("_EMA").removesuffix("_test") for network in gathered}
        return [name for name, own in self.learners.items() if own in state.learners and name not in there]


def is_whole(learner: Learner) -> bool:
    """Say whether a learner that was imported into shapes has all of its weights."""
    leaves = jax.tree.leaves((learner.params, learner.stats, learner.ema))
    return not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)


def _one_each(networks: Networks, step: int) -> dict[str, Mapping]:
    return {f"latest_net_{network}.pth": own for network, own in networks.items()}


def _of_tunit(networks: Networks, step: int) -> dict[str, Mapping]:
    # The published code counts epochs of 1,000 iterations.
    return {f"model_{step}.ckpt": {"epoch": step // 1000, **networks}}


def _of_munit(networks: Networks, step: int) -> dict[str, Mapping]:
    kinds = {kind: {side: networks[f"{kind}_{side}"] for side in "ab"} for kind in ("gen", "dis")}
    return {f"{kind}_{step:08d}.pt": own for kind, own in kinds.items()}


def _of_drit(networks: Networks, step: int) -> dict[str, Mapping]:
    return {"last.pth": {**networks, "ep": 0, "total_it": step}}


def _of_funit(networks: Networks, step: int) -> dict[str, Mapping]:
    kinds = {"gen": ("gen", "gen_test"), "dis": ("dis",)}
    return {f"{kind}_{step:08d}.pt": {name: networks[name] for name in names} for kind, names in kinds.items()}


def _of_starganv2(networks: Networks, step: int) -> dict[str, Mapping]:
    averages = {name.removesuffix("_EMA"): own for name, own in networks.items() if name.endswith("_EMA")}
    live = {name: own for name, own in networks.items() if not name.endswith("_EMA")}
    return {f"{step:06d}_nets.ckpt": live, f"{step:06d}_nets_ema.ckpt": averages}


def _of_faces(gathered: Mapping[str, Found]) -> dict:
    """Return what holds of the published runs on faces, and the file that has the network which finds their parts."""
    generator = gathered.get("generator") or gathered.get("generator_EMA")
    if not generator or starganv2.FILTER not in generator.tensors:
        return {}
    found = gathered.get(starganv2.FACES) or gathered.get(f"{starganv2.FACES}_EMA")
    return {"diversity_weight": 1.0} | ({"landmarks": str(as_path(found.path).absolute())} if found else {})


def _of_swapping_autoencoder(networks: Networks, step: int) -> dict[str, Mapping]:
    # Every second iteration is the discriminators'.
    counted = {"num_discriminator_iters": np.array([(step + 1) // 2], np.int64)}
    return {"latest_checkpoint.pth": tensors.flatten(networks) | counted}


_CUT = Paper(
    cut,
    cut.LEARNERS,
    "cut.py",
    ("G",),
    _one_each,
    inwards=lambda method: {"antialias": method.generator.antialias},
    outwards=lambda method: {"averaged": method.average > 0},
)


def _pooled(published: pooled.Published, recipe: str, **more: Any) -> Paper:
    return Paper(published, published.learners, recipe, (next(iter(published.learners)),), _one_each, **more)


PAPERS: dict[str, Paper] = {
    "tunit": Paper(
        tunit,
        tunit.LEARNERS,
        "tunit.py",
        ("C", "G"),
        _of_tunit,
        inwards=lambda method: {"stages": method.guide.stages},
        # What comes before the translator learns has been.
        implied=lambda gathered: {"guide_steps": 0, "average_start": 0},
    ),
    "cut": _CUT,
    "fastcut": dataclasses.replace(_CUT, recipe="cut.py:fastcut"),
    "sincut": dataclasses.replace(_CUT, recipe="sincut.py", inwards=lambda method: {}),
    # The published code calls the generator G where it only translates.
    "cyclegan": _pooled(pooled.CYCLEGAN, "cyclegan.py", called={"G": "G_A"}),
    "gcgan": _pooled(pooled.GCGAN, "gcgan.py", implied=lambda gathered: {"shared": "G_gc_AB" not in gathered}),
    "distancegan": _pooled(pooled.DISTANCEGAN, "distancegan.py"),
    "selfdistance": _pooled(pooled.DISTANCEGAN, "distancegan.py:self"),
    "munit": Paper(munit, munit.LEARNERS, "munit.py", ("gen_a", "gen_b"), _of_munit),
    "drit": Paper(drit, drit.LEARNERS, "drit.py", ("enc_c", "enc_a", "gen"), _of_drit),
    "funit": Paper(funit.FUNIT, funit.LEARNERS, "funit.py", ("gen",), _of_funit),
    "semit": Paper(semit.SEMIT, funit.LEARNERS, "semit.py", ("gen",), _of_funit),
    "starganv2": Paper(
        starganv2,
        starganv2.LEARNERS,
        "starganv2.py",
        tuple(starganv2.AVERAGES),
        _of_starganv2,
        outwards=lambda method: {name: getattr(method, name) for name in ("high_pass", "landmarks", "upsampling")},
        implied=_of_faces,
        averaged="_nets_ema.ckpt",
    ),
    "swapping_autoencoder": Paper(
        swapping_autoencoder,
        swapping_autoencoder.LEARNERS,
        "swapping_autoencoder.py",
        ("E", "G"),
        _of_swapping_autoencoder,
    ),
}
"""By the names of the methods; of the others there are no published weights."""


def of(kind: type[Method]) -> Paper:
    """Return the paper of a method's class, or of the one that it varies. Raises UserError where there is none."""
    known = {methods.kind(name): paper for name, paper in PAPERS.items()}
    for each in kind.__mro__:
        if each in known:
            return known[each]
    raise UserError(f"there are no published weights of this method; there are of {', '.join(PAPERS)}")
