"""Computes with our GcGAN what a golden file of the published code records, from equal weights and images."""

import functools

import jax
import jax.numpy as jnp

from tests import golden_cyclegan
from tests.golden_recipe import images
from uit_jax import optimizers
from uit_jax.convert.pooled import GCGAN
from uit_jax.methods import gcgan


class Runner(golden_cyclegan.Runner):
    """The networks and steps of one golden file; sizes, widths and the variant come from its manifest."""

    published = GCGAN
    columns = {
        "G_AB": "generator/adversarial_b",
        "G_gc_AB": "generator/adversarial_turned",
        "gc": "generator/consistency",
        "idt": "generator/identity_b",
        "idt_gc": "generator/identity_turned",
        "D_real": "discriminator_b/real",
        "D_fake": "discriminator_b/fake",
        "D_gc_real": "discriminator_turned/real",
        "D_gc_fake": "discriminator_turned/fake",
    }

    @functools.cached_property
    def method(self):
        m = self.manifest
        assert m["lambda_G"] == 1
        return self.build(
            "gcgan",
            turn={"rot": "rotation", "vf": "flip"}[m["geometry"]],
            shared=m["variant"] == "share",
            consistency_weight=m["lambda_AB"] * m["lambda_gc"],
            identity_weight=m["lambda_AB"] * m["identity"],
        )

    @property
    def weights(self):
        return {name: getattr(self.method, f"{name}_weight") for name in ("consistency", "identity")}

    def networks(self):
        """Return what the networks make of images and of turned ones, and a turned image."""
        turn, _ = gcgan.TURNS[self.method.turn]
        a, b = self.images("A"), self.images("B")
        strided = (slice(None), slice(None, None, self.stride), slice(None, None, self.stride))
        turned_generator = "G_AB" if self.method.shared else "G_gc_AB"
        return {
            "real_gc_A": turn(a)[strided],
            "G_AB.out": self.out("G_AB", a)[strided],
            "G_gc.out": self.out(turned_generator, turn(a))[strided],
            "D_B.out": self.out("D_B", b),
            "D_gc_B.out": self.out("D_gc_B", turn(b)),
        }

    def losses(self):
        """Return the weighted consistency and the lengths of its gradients by both translations."""
        plain, turned = (jnp.asarray(images(self.salt + name, self.batch, self.size)) for name in ("AB", "ABgc"))

        def loss(plain, turned):
            return self.method.consistency_weight * gcgan.consistency(plain, turned, self.method.turn)

        gradients = jax.grad(loss, (0, 1))(plain, turned)
        return {"loss.gc": loss(plain, turned), "loss.gc.gradnorm": [jnp.linalg.norm(g.ravel()) for g in gradients]}

    def schedule(self):
        about = self.manifest["lr_schedule"]
        rate = optimizers.linear_decay(
            1.0, constant_steps=about["niter"], decay_steps=about["niter_decay"], lead=about["epoch_count"]
        )
        return self.multipliers(rate, about["niter"] + about["niter_decay"])
