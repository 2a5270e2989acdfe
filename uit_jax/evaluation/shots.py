"""Translations to a species by a few references of it, which training may have seen nothing of (FUNIT, Section 4)."""

import dataclasses

import numpy as np

from uit_jax.evaluation import oracle
from uit_jax.evaluation.context import Context, Evaluator, Scores
from uit_jax.evaluation.translations import BATCH
from uit_jax.inference import batched

PROTOCOL = (
    "{count} test images of other species translated to {name}, {seen} training, by the mean style code of 1 or {shots}"
    " of its test images, drawn for each by the seed {seed}; held against the true translation, of {shots} in the mean"
    " of their colours"
)


@dataclasses.dataclass(frozen=True)
class Shots(Evaluator):
    """How translations to one species of the procedural world fare with one reference of it, and with several.

    Attributes:
      of: the species; "" for the one that the test images have and the training images have not.
      shots: how many the several are.
      count: translations of each kind.
    """

    name = "shots"
    scores = {
        "one_reference_species": "by one reference, translations of its species",
        "one_reference_position": "  position error by one / that of random pairs",
        "one_reference_color": "  colour error by one (RGB distance)",
        "several_references_species": "by several, translations of their species",
        "several_references_position": "  position error by several / that of random pairs",
        "several_references_color": "  colour error from their mean colours",
    }

    of: str = ""
    shots: int = 5
    count: int = 600

    def needs(self, context: Context) -> str:
        if len(context.trained.method.sides) > 1 or not context.trained.styled:
            return "this run's method takes no references of a class"
        if getattr(context.source, "world", None) is None or context.source.channels != 3:
            return "what translations should be is known of the procedural world's images in RGB alone"
        found = self._species(context)
        if len(found) != 1:
            which = f"called {self.of!r}" if self.of else "of which training saw nothing; name one by `of`"
            return f"one species is wanted, and there are {len(found)} {which}"
        count = int((context.source.scenes.species == context.source.world.classes.index(found[0])).sum())
        return "" if 0 < self.shots <= count else f"{self.shots} references are more than there are, {count}"

    def run(self, context: Context) -> Scores:
        trained, source = context.trained, context.source
        (name,) = self._species(context)
        wanted = source.scenes.species == source.world.classes.index(name)
        rng = np.random.default_rng(context.seed)
        contents = rng.permutation(np.resize(np.flatnonzero(~wanted), self.count))
        members = np.flatnonzero(wanted)
        chosen = np.stack([rng.choice(members, self.shots, replace=False) for _ in contents])
        codes = batched.styles(trained.method, trained.variables, source.images(members))
        place, reader, scores = np.searchsorted(members, chosen), oracle.train(source.world), {}
        model, images, content = (trained.method, trained.variables), source.images(contents), source.scenes[contents]
        for kind, shots in (("one_reference", 1), ("several_references", self.shots)):
            drawn = batched.translate(*model, images, codes[place[:, :shots]].mean(1), batch_size=BATCH)
            colors = source.scenes.colors[chosen[:, :shots]].mean(1)
            reference = dataclasses.replace(source.scenes[chosen[:, 0]], colors=colors)
            outputs = (drawn / 127.5 - 1).astype(np.float32)
            found = oracle.compare(outputs, content, reference, source.world, reader)
            scores |= {f"{kind}_{what}": found[what] for what in ("species", "position", "color") if what in found}
        seen = "a species of its" if name in context.training.classes else "of which nothing was seen in"
        about = dict(count=self.count, name=name, seen=seen, shots=self.shots, seed=context.seed)
        return Scores(scores, {"shots": PROTOCOL.format(**about)})

    def _species(self, context: Context) -> tuple[str, ...]:
        classes = context.source.classes
        if self.of:
            return tuple(name for name in classes if name == self.of)
        return tuple(name for name in classes if name not in context.training.classes)
