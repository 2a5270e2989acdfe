"""Computes with our SEMIT what a golden file of the published code records, from equal weights, images and labels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import golden_funit
from tests.golden_recipe import normal
from uit_jax.convert.semit import SEMIT
from uit_jax.losses import noisy_labels


class Runner(golden_funit.Runner):
    """The networks, losses and steps of one golden file, and how names are righted."""

    name, published = "semit", SEMIT
    terms = golden_funit.TERMS | {"x_cyc": "generator/cycle", "entropy": "generator/entropy"}

    @staticmethod
    def group(key: str) -> str:
        return "naming" if key.startswith("pencil.") else golden_funit.Runner.group(key)

    def more(self) -> dict:
        m = self.manifest
        pencil = m["pencil"]
        righted = dict(
            # The file's names are righted by the loss of all of its images.
            righting=pencil["lambda"] / pencil["rows"],
            anchor_weight=pencil["alpha"],
            entropy_weight=pencil["beta"],
        )
        return dict(cycle_weight=float(m["r_w"]), content_weight=m["entropy_w"], labels=righted)

    def views(self, step: int | None = None) -> dict:
        alpha = self.manifest["alpha"] if step is None else self.manifest["alphas"][step]
        return {**super().views(step), "alpha": np.full(self.manifest["batch"], alpha, np.float32)}

    def networks(self):
        method, views, sweep = self.method, self.views(), np.array(self.manifest["alpha_sweep"], np.float32)

        @jax.jit
        def run(params):
            def draw(alpha):
                own = functools.partial(method.generate, params["generator"], alpha=jnp.broadcast_to(alpha, (1,)))
                content = own(views["x"], part="read_content")
                codes = jnp.stack([own(views[name], part="read_style") for name in ("x", "reference")])
                return content, codes, own(content, codes[1], part="decode"), own(content, codes[0], part="decode")

            content, codes, translated, same = draw(views["alpha"][0])
            _, swept, sweeping, _ = jax.lax.map(draw, sweep)
            logits, features = method.discriminate(params["discriminator"], views["x"], views["label"])
            high, low = (jnp.abs(each).mean((1, 2)) for each in content)
            return {
                "G.content.high.absmean_c": high,
                "G.content.low.absmean_c": low,
                "G.code": codes,
                "G.trans": translated,
                "G.rec": same,
                "G.sweep.code": swept[:, 1],
                "G.sweep.trans": sweeping,
                "D.logit": logits,
                "D.feat.mean": features,
            }

        found, k = run(self.params), self.manifest["subsample"]
        found["G.sweep.trans"] = found["G.sweep.trans"][:, :, :: k["G.sweep.trans"], :: k["G.sweep.trans"]]
        return found | {key: found[key][:, :: k[key], :: k[key]] for key in ("G.trans", "G.rec")}

    def losses(self):
        found = super().losses()
        return found | {"loss.entropy": found["loss.g"][self.manifest["loss.g.columns"].index("entropy")]}

    def totals(self, metrics) -> dict[str, dict[str, float]]:
        totals, m = super().totals(metrics), self.manifest
        found = {name: metrics[self.terms[name]] for name in ("x_rec", "x_cyc", "entropy")}
        totals["g"]["total"] += m["r_w"] * found["x_cyc"] + m["entropy_w"] * found["entropy"]
        totals["g"]["x_rec_plus_cyc"] = found["x_rec"] + found["x_cyc"]
        return totals

    def naming(self):
        """Return PENCIL's terms, and beliefs that were righted once."""
        rows, classes = self.manifest["pencil"]["rows"], self.manifest["num_classes"]
        logits, beliefs = (normal(self.salt + f"pencil_{name}", (rows, classes)) for name in ("logits", "y"))
        labels, own = np.arange(rows) % classes, self.method.labels
        terms = noisy_labels.terms(logits, 3 * beliefs, labels)
        total = own.disagreement(logits, 3 * beliefs, labels)[0]
        return {
            "pencil.terms": [terms[name] for name in ("agreement", "anchor", "entropy")] + [total],
            "pencil.y_new": 3 * beliefs + own.righted(logits, 3 * beliefs, labels),
        }
