"""What a method with patches computes, plainly: every pass of its own, features mirrored as images are."""

import functools

import jax
import jax.numpy as jnp

from tests import method_table as table
from uit_jax.losses import contrastive
from uit_jax.nn.patch_mlp import PatchMLP


@functools.cache
def stepped(name: str, configuration: str):
    """Return the method of a configuration, its views, and the states around its first step with its metrics."""
    method = table.build(name, configuration)
    run = table.run(name, configuration, (method.phase(0),))
    return run.method, run.views, run.states, run.metrics[0]


def turned(views, images):
    """Mirror the images or features of those examples that the generator sees mirrored."""
    mirror = views.get("mirror", jnp.zeros(len(images), bool))
    return jnp.where(mirror[:, None, None, None], images[:, :, ::-1], images)


def codes(m, before, maps, places, owner: str):
    """Return the unit codes of features at places, by the MLP of an owner, "" or "output_"."""
    flat = {t: f.reshape(len(f), -1, f.shape[-1]) for t, f in maps.items()}
    flat = {t: jnp.stack([row[p] for row, p in zip(f, places[t], strict=True)]) for t, f in flat.items()}
    flat = PatchMLP(dim=m.patches.dim).apply({"params": before.learners[f"{owner}patches"].params}, flat)
    return {t: f / (jnp.linalg.norm(f, axis=-1, keepdims=True) + 1e-7) for t, f in flat.items()}


def features(m, before, images, owner: str):
    """Return the features of images by the generator of an owner."""
    params = {"params": before.learners[f"{owner}generator"].params}
    return m.generator_module.apply(params, images, m.patches.layers, method="features")


def keys(m, views, before, side: str):
    """Return the codes of the inputs' patches."""
    return codes(m, before, features(m, before, views[side], ""), views[f"places_{side}"], "")


def nce(m, views, before, side: str, output):
    """Return the contrastive term of a side: the mean over the layers."""
    places, own = views[f"places_{side}"], "output_" if "output_generator" in before.learners else ""
    query = {t: turned(views, f) for t, f in features(m, before, output, own).items()}
    query, key = codes(m, before, query, places, own), keys(m, views, before, side)
    losses, temperature = [], m.patches.temperature
    for tap in m.patches.layers:
        if m.negatives.kind in ("external", "both"):
            queue = before.memory["queues"][side][str(tap)].keys
        if m.negatives.kind == "both":
            inside = jnp.einsum("bpd,bqd->bpq", query[tap], key[tap])
            scores = jnp.concatenate([inside, query[tap] @ queue.T], -1) / temperature
            losses.append(-jnp.diagonal(jax.nn.log_softmax(scores), axis1=1, axis2=2).mean())
        elif m.negatives.kind == "external":
            scores = jnp.concatenate([(query[tap] * key[tap]).sum(-1)[..., None], query[tap] @ queue.T], -1)
            losses.append(-jax.nn.log_softmax(scores / temperature)[..., 0].mean())
        elif m.negatives.kind == "minibatch":
            one = (1, -1, m.patches.dim)
            losses.append(contrastive.patch_nce(query[tap].reshape(one), key[tap].reshape(one), temperature))
        else:
            losses.append(contrastive.patch_nce(query[tap], key[tap], temperature))
    return sum(losses) / len(losses)
