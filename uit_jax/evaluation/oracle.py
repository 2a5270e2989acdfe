"""Score translations of the procedural world against what they should be.

Species and place are read by a network trained on true labels. Its training scenes have random hues, so that it
must tell a species by shape and texture: a translation that has only the right colour does not pass.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from uit_jax.data import world as worlds
from uit_jax.evaluation.context import Context, Evaluator, Scores
from uit_jax.inference import batched
from uit_jax.listing import pick_evenly
from uit_jax.losses import clustering
from uit_jax.method import Method
from uit_jax.nn import oracle as network_of
from uit_jax.types import PyTree

PROTOCOL = "{count} pairs of test images of different species, compared with the true translation of each"
PAIR_PROTOCOL = "{count} test images of A, each in the style of one of B, compared with the true translation of each"
DOMAIN_PROTOCOL = (
    "test images of A translated by the weights kept for inference; species and place judged by a network that"
    " was trained on true images and labels of the procedural world; colours compared with the mean ones of that"
    " species, and with the ground that was there"
)
_UNKNOWN = "what translations should be is known of the procedural world's images in RGB alone"


@dataclasses.dataclass(frozen=True)
class Oracle(Evaluator):
    """Translations of the procedural world compared with the true ones.

    A method with styles translates `pairs` of test images of different species, or of two domains; one without styles
    as many test images of the first domain.
    """

    name = "oracle"
    scores = {
        "translation_oracle_accuracy": "accuracy of the oracle on true images",
        "translation_species": "translations of the wanted species",
        "translation_position": "position error / that of random pairs",
        "translation_color": "colour error (RGB distance)",
        "translation_object": "  of the object",
        "translation_object_floor": "    of the wanted species' own images",
        "translation_ground": "  of the ground",
        "translation_follows_reference": "colours nearer to reference than content",
        "translation_ground_follows_reference": "  of the ground alone",
        "translation_error": "pixel error against the true translation",
    }

    pairs: int = 600

    def needs(self, context: Context) -> str:
        if not self.pairs:
            return "no translations are asked for (--pairs=0)"
        sides = [side.channels for side in context.trained.method.sides]
        if len(sides) == 1 and not context.trained.styled:
            return "translations are neither to a reference nor from one domain to another"
        worlds_of = [getattr(source, "world", None) for source in context.sources.values()]
        return _UNKNOWN if len(worlds_of) < len(sides) or None in worlds_of or set(sides) != {3} else ""

    def run(self, context: Context) -> Scores:
        trained, source = context.trained, context.source
        model, facts = (trained.method, trained.variables, source.world), {}
        scenes = [each.scenes for each in context.sources.values()]
        if not trained.styled:
            few = len(context.chosen) <= self.pairs
            chosen = context.chosen if few else pick_evenly(len(source), self.pairs)
            found = score_domain(*model, scenes[0][chosen], scenes[1])
            protocol, facts = DOMAIN_PROTOCOL, {"images": len(chosen), "labelled_images": len(chosen)}
        elif len(scenes) == 2:
            content, reference = cross(*map(len, scenes), self.pairs)
            found, protocol = score(*model, scenes[0][content], scenes[1][reference]), PAIR_PROTOCOL
        else:
            test = source.world.scenes("test")
            content, reference = pairs(test, self.pairs)
            found = score(*model, test[content], test[reference], told=context.classes_told)
            protocol = PROTOCOL
        scores = {f"translation_{name}": float(value) for name, value in found.items()}
        return Scores(scores, {"translations": protocol.format(count=facts.get("images", self.pairs))}, facts)


class Reader(NamedTuple):
    """A trained oracle: `read(images) -> (species int [n], position [n, 2])`, and its accuracy on held-out scenes."""

    read: Callable
    accuracy: float


@functools.lru_cache(maxsize=1)
def train(world: worlds.World, *, steps: int = 500, batch_size: int = 64, seed: int = 0) -> Reader:
    """Train an oracle on scenes of `world` and measure it on the world's test set.

    Half of its scenes have the world's colours, half any hue, and all a little noise.
    """
    free = dataclasses.replace(world, hue_spread=0.5)
    scenes = [each.sample((seed, 7, index), 40 * batch_size) for index, each in enumerate((world, free))]
    images = np.concatenate([world.render(each) for each in scenes])
    species = np.concatenate([each.species for each in scenes])
    position = np.concatenate([each.position for each in scenes]).astype(np.float32)
    network, tx = network_of.Oracle(world.species), optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    key = jax.random.key(seed)
    params = network.init(key, _to_float(images[:1]))["params"]

    @jax.jit
    def step(params, opt_state, number, images, species, position):
        images = _to_float(images)
        images += 0.05 * jax.random.normal(jax.random.fold_in(key, number), images.shape)

        def loss_fn(params):
            logits, place = network.apply({"params": params}, images)
            return clustering.cross_entropy(logits, species) + 5 * jnp.abs(place - position).mean()

        updates, opt_state = tx.update(jax.grad(loss_fn)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    apply = jax.jit(lambda params, x: network.apply({"params": params}, x))

    def read(images):
        logits, place = apply(params, images)
        return np.asarray(logits).argmax(-1), np.asarray(place)

    opt_state = tx.init(params)
    rng = np.random.default_rng(seed)
    for number in range(steps):
        rows = rng.integers(len(images), size=batch_size)
        params, opt_state = step(params, opt_state, number, images[rows], species[rows], position[rows])
    test = world.scenes("test")
    found, _ = read(_to_float(world.render(test)))
    return Reader(read, float((found == test.species).mean()))


def pairs(scenes: worlds.Scenes, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` pairs (content, reference) of scenes of different species: two int arrays."""
    rng = np.random.default_rng(seed)
    content = rng.permutation(np.resize(np.arange(len(scenes)), count))
    reference = rng.integers(len(scenes), size=count)
    while (same := scenes.species[content] == scenes.species[reference]).any():
        reference[same] = rng.integers(len(scenes), size=same.sum())
    return content, reference


def cross(contents: int, references: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` pairs of one of so many contents and one of so many references: two int arrays."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.resize(np.arange(contents), count)), rng.integers(references, size=count)


def score(
    method: Method,
    variables: PyTree,
    world: worlds.World,
    content: worlds.Scenes,
    reference: worlds.Scenes,
    *,
    reader: Reader | None = None,
    told: bool = False,
) -> dict[str, float]:
    """Translate scenes, each in the style of another one, and compare with the true translations.

    `told` says whether the method's styles are of species, of which it is told the references'.

    Returns:
      oracle_accuracy: the oracle's own, on test images.
      species: share of translations that the oracle calls the reference's species.
      position: mean distance of the translated object from the content's place, divided by that of a random
        pairing of places.
      color, ground, object: mean distance in RGB (0 to sqrt 3) of the translation from the true one, of the mean
        colours of ground and object within the true outlines: `color` is the mean of the other two.
      follows_reference: share of pairs whose colours are nearer to the reference's than to the content's.
      ground_follows_reference: the same for the ground alone, which no species owns.
      error: mean absolute difference of pixels from the true translation, in [-1, 1] units.
    """
    outputs = _translations(method, variables, world, told, content=content, reference=reference)
    return compare(outputs, content, reference, world, reader or train(world))


def score_domain(
    method: Method,
    variables: PyTree,
    world: worlds.World,
    scenes: worlds.Scenes,
    wanted: worlds.Scenes,
    *,
    reader: Reader | None = None,
) -> dict[str, float]:
    """Translate scenes by a method without styles, which was to learn to draw them as those of another species.

    Args:
      wanted: scenes of that species.

    Returns:
      oracle_accuracy: the oracle's own, on test images.
      species: share of translations that the oracle calls that species.
      position: mean distance of the translated object from where it was, divided by that of a random pairing.
      object: mean distance in RGB (0 to sqrt 3) of the object's mean colour, within the true outlines, from that of
        the species; its own images, which differ, lie at `object_floor`.
      ground: that of the ground's colour, which no species owns, from what it was.
      color: the mean of `object` and `ground`.
    """
    outputs = _translations(method, variables, world, content=scenes)
    return compare_domain(outputs, scenes, wanted, world, reader or train(world))


def compare_domain(
    outputs: np.ndarray, scenes: worlds.Scenes, wanted: worlds.Scenes, world: worlds.World, reader: Reader
) -> dict[str, float]:
    """Compare translations [n, S, S, 3] in [-1, 1] with what they should be; see `score_domain` for the numbers."""
    found, position = reader.read(outputs)
    species = int(wanted.species[0])
    truth = dataclasses.replace(scenes, species=np.full_like(scenes.species, species))
    drawn, parts = outputs / 2 + 0.5, worlds.masks(truth, world.size)
    # Where there is ground before and after.
    ground = (worlds.masks(scenes, world.size) * parts)[..., 2]
    seen = np.einsum("nhwc,nhw->nc", drawn, ground) / ground.sum((1, 2))[:, None]
    own = _mean_colors(world.render(wanted) / 255, worlds.masks(wanted, world.size))[:, 0]
    objects = _distances(_mean_colors(drawn, parts)[:, 0], own.mean(0)).mean()
    grounds = _distances(seen, scenes.colors[:, 2]).mean()
    return {
        "oracle_accuracy": reader.accuracy,
        "species": float((found == species).mean()),
        **_displacement(position, scenes.position),
        "color": float(objects + grounds) / 2,
        "object": float(objects),
        "object_floor": float(_distances(own, own.mean(0)).mean()),
        "ground": float(grounds),
    }


def compare(outputs: np.ndarray, content: worlds.Scenes, reference: worlds.Scenes, world, reader: Reader) -> dict:
    """Compare translations [n, S, S, 3] in [-1, 1] with the true ones; see `score` for the numbers."""
    truth = worlds.translation(content, reference)
    species, position = reader.read(outputs)
    parts = worlds.masks(truth, world.size)
    seen = _mean_colors(outputs / 2 + 0.5, parts)
    to_reference = _distances(seen, _mean_colors(world.render(truth) / 255, parts))
    kept = dataclasses.replace(truth, colors=content.colors)
    to_content = _distances(seen, _mean_colors(world.render(kept) / 255, parts))
    return {
        "oracle_accuracy": reader.accuracy,
        "species": float((species == reference.species).mean()),
        **_displacement(position, content.position),
        "color": float(to_reference.mean()),
        "object": float(to_reference[:, 0].mean()),
        "ground": float(to_reference[:, 1].mean()),
        "follows_reference": float((to_reference.mean(1) < to_content.mean(1)).mean()),
        "ground_follows_reference": float((to_reference[:, 1] < to_content[:, 1]).mean()),
        "error": float(np.abs(outputs - _to_float(world.render(truth))).mean()),
    }


def _translations(
    method: Method, variables: PyTree, world: worlds.World, told: bool = False, **scenes: worlds.Scenes
) -> np.ndarray:
    """Render scenes, give them to `translate` by their names, a hundred at once, and return its images.

    Of a method that is told species, a reference's is told.
    """
    translate = jax.jit(method.translate)
    count = len(scenes["content"])
    images = {name: _to_float(world.render(each)) for name, each in scenes.items()}
    if told:
        images["style"] = batched.styles(method, variables, images.pop("reference"), scenes["reference"].species)
    outputs = [
        np.asarray(translate(variables, {name: each[rows] for name, each in images.items()}))
        for rows in np.array_split(np.arange(count), max(1, count // 100))
    ]
    return np.concatenate(outputs)


def _displacement(found: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Return as "position" the mean distance of places [n, 2] from the true ones, in those of a random pairing.

    Nothing where the pairing leaves all where they are, as it does a single one.
    """
    random = _distances(true[np.random.default_rng(0).permutation(len(true))], true).mean()
    return {"position": float(_distances(found, true).mean() / random)} if random > 0 else {}


def _mean_colors(images: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Average RGB over object and ground: images [n, S, S, 3], parts as `worlds.masks` -> [n, 2, 3]."""
    ground = parts[..., 2]
    regions = np.stack([1 - ground, ground], -1)
    return np.einsum("nhwc,nhwr->nrc", images, regions) / regions.sum((1, 2))[..., None]


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.linalg.norm(first - second, axis=-1)


def _to_float(images: np.ndarray) -> np.ndarray:
    return (images / 127.5 - 1).astype(np.float32)
