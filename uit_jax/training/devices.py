"""The one lift of a training step to many devices; the only file that knows how they are driven."""

import contextlib
import functools
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from uit_jax.errors import UserError
from uit_jax.method import Phase
from uit_jax.types import Batch, PyTree

AXIS = "data"


class Lifted(NamedTuple):
    """A training step on its devices.

    Attributes:
      step: `(state, batch, *, phase) -> (state, metrics)`; one compiled program per phase, the state is donated.
      put_batch: this process's rows of the global batch (numpy) -> arrays laid out over the devices.
      put_state: a state -> the same on every device; it never has a device axis.
      whole: how what each device of this process has a copy of lies there.
      take: (images laid out like that by name, a batch with their indices in the place of images) -> what `put_batch`
        makes of the batch that these are the images of.
      compiled: `(state, batch, *, phase) -> jax.stages.Compiled`, for its costs, or to be called.
      by_shapes: whether `compiled` takes the shapes of a state for one.
    """

    step: Callable
    put_batch: Callable[[Batch], PyTree]
    put_state: Callable[[PyTree], PyTree]
    compiled: Callable
    whole: Sharding
    take: Callable[[Mapping[str, jax.Array], Batch], PyTree]
    by_shapes: bool = True


def devices_for(count: int = 0) -> list[jax.Device]:
    """Return `count` devices of all processes, or all of them for 0.

    Raises:
      UserError: there are fewer, or several processes would get an unequal number.
    """
    devices = jax.devices()
    if count == 0:
        return devices
    if count < 0 or count > len(devices):
        there = f"{len(devices)} {devices[0].platform} device(s)"
        raise UserError(f"devices={count}, but there are {there}: use 1 to {len(devices)}, or 0 for all")
    if jax.process_count() > 1 and count != len(devices):
        raise UserError(f"devices={count}: with several processes all {len(devices)} devices take part; use 0")
    return devices[:count]


def told(devices: list[jax.Device]) -> str:
    """Say what devices there are: "2 x cpu", "1 x NVIDIA H100 (gpu)"."""
    kind, platform = devices[0].device_kind, devices[0].platform
    return f"{len(devices)} x {kind}" + (f" ({platform})" if kind.lower() != platform else "")


def check_memory(
    state: PyTree, batch: PyTree, devices: list[jax.Device], *, steps: int = 1, kept: int = 0
) -> None:
    """Raise where a state and a device's share of a global batch, of which the shapes are given, fit no device.

    More is needed than these: what passes may still be too large, what does not pass cannot be run.

    Args:
      steps: whose batches are put there at once.
      kept: bytes of images that each device has besides.
    """
    weights = bytes_of(state)
    # Images reach the networks as float32; before, they lie there as they were read.
    images = sum(4 * leaf.size for leaf in jax.tree.leaves(batch)) // len(devices)
    images += (steps - 1) * bytes_of(batch) // len(devices)
    there = memory_of(devices[0])
    if weights + images + kept > there:
        all_of_them = f", and all images {kept / 1e9:.1f} GB" * bool(kept)
        raise UserError(
            f"the networks with their optimisers and queues take {weights / 1e9:.1f} GB and the images of"
            f" {'a batch' if steps == 1 else f'{steps} batches'} {images / 1e9:.1f} GB{all_of_them}, but"
            f" {told(devices[:1])} has {there / 1e9:.1f} GB: lower widths in method.*, data.image_size or batch_size"
            f"{', or steps_per_dispatch' * (steps > 1)}{', or set data.on_device=no' * bool(kept)}"
        )


def bytes_of(tree: PyTree) -> int:
    """Return the bytes of arrays, of which shapes are enough."""
    return sum(leaf.size * getattr(leaf.dtype, "itemsize", 8) for leaf in jax.tree.leaves(tree))


def memory_of(device: jax.Device) -> float:
    """Return the memory of a device in bytes, of a processor the computer's; infinity where it is not told."""
    if device.platform == "cpu" and hasattr(os, "sysconf"):
        return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _allowed())
    return (device.memory_stats() or {}).get("bytes_limit", math.inf)


def _allowed() -> float:
    """Return how many bytes a container lets its processes have; infinity where this is none."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        # No such file, or "max".
        with contextlib.suppress(OSError, ValueError):
            return int(Path(path).read_text())
    return math.inf


def check_batch(
    batch_size: int, devices: list[jax.Device], multiple: int = 1, *, key: str = "batch_size"
) -> None:
    """Raise where the global batch, of that setting, cannot be divided among the devices in multiples of a number."""
    if batch_size % len(devices):
        raise UserError(f"{key}={batch_size} is global and must be a multiple of the {len(devices)} devices")
    share = batch_size // len(devices)
    if share % multiple:
        raise UserError(
            f"{key}={batch_size} gives each of the {len(devices)} devices {share} images, which this method, or its"
            f" microbatches, cannot divide by {multiple}: use a multiple of {multiple * len(devices)}"
        )


def lift(step: Callable, how: str, devices: list[jax.Device]) -> Lifted:
    """Compile `step(state, batch, *, phase, axis_name)` for `devices`.

    Args:
      step: a pure training step on one device's share of the batch.
      how: "pmap"; "shard_map", which JAX recommends across hosts; or "jit", one device without an axis.
      devices: of all processes; `batch_size` is divided evenly among them.
    """
    if how == "jit":
        if len(devices) > 1:
            raise UserError(f"parallel='jit' runs on one device, not on {len(devices)}: set devices=1, or 'pmap'")
        return _jit(step, devices[0])
    if how == "pmap":
        return _pmap(step, devices)
    if how == "shard_map":
        return _shard_map(step, devices)
    raise UserError(f"parallel={how!r} must be 'pmap', 'shard_map' or 'jit'")


def _by_phase(make: Callable[[Phase], Callable]):
    """Make one program per phase, and `step` and `compiled` that pick it."""
    programs = functools.cache(make)

    def step(state, batch, *, phase):
        return programs(phase)(state, batch)

    def compiled(state, batch, *, phase):
        return programs(phase).lower(state, batch).compile()

    return step, compiled


def _jit(step, device) -> Lifted:
    def make(phase):
        return jax.jit(functools.partial(step, phase=phase, axis_name=None), donate_argnums=0)

    run, compiled = _by_phase(make)
    put, whole = functools.partial(jax.device_put, device=device), SingleDeviceSharding(device)
    return Lifted(run, put, put, compiled, whole, functools.partial(_take, jax.jit(_at), put))


def _at(images: jax.Array, indices: jax.Array) -> jax.Array:
    """Return images [n, H, W, C] at indices of any shape [...]: [..., H, W, C]."""
    return images.at[indices].get(mode="promise_in_bounds")


def _take(at: Callable, put: Callable[[Batch], PyTree], images: Mapping[str, jax.Array], rows: Batch) -> PyTree:
    """Put a batch of indices on the devices, and look the images up there."""
    return {name: at(images[name], each) if name in images else each for name, each in put(rows).items()}


def _here(devices) -> tuple[NamedSharding, NamedSharding, Callable]:
    """Return how shares of an array, and whole ones, lie on this process's devices, and how each takes its rows."""
    local = [device for device in devices if device.process_index == jax.process_index()]
    mesh = Mesh(np.array(local), (AXIS,))
    at = jax.jit(jax.shard_map(_at, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS)))
    return NamedSharding(mesh, P(AXIS)), NamedSharding(mesh, P()), at


def _pmap(step, devices) -> Lifted:
    shares, whole, at = _here(devices)
    count = shares.mesh.size

    def make(phase):
        return jax.pmap(
            functools.partial(step, phase=phase, axis_name=AXIS),
            axis_name=AXIS,
            in_axes=(None, 0),
            out_axes=None,
            donate_argnums=0,
            devices=devices,
        )

    def put_batch(batch):
        shared = {name: np.reshape(rows, (count, -1, *rows.shape[1:])) for name, rows in batch.items()}
        return jax.device_put(shared, shares)

    run, compiled = _by_phase(make)
    # Laid out as pmap returns it, or the second step would compile again.
    put_state = functools.partial(jax.device_put, device=whole)
    take = functools.partial(_take, at, put_batch)
    # Among several processes pmap wants arrays, of which it makes those of all processes.
    return Lifted(run, put_batch, put_state, compiled, whole, take, by_shapes=jax.process_count() == 1)


def lower(step: Callable, devices, state: PyTree, batch: Batch, *, phase: Phase) -> jax.stages.Lowered:
    """Lower a training step of `shard_map` for devices, which need not be here, from the shapes of its arguments."""
    mesh = Mesh(np.array(devices), (AXIS,))

    def laid(tree, spec):
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)

    return _sharded(step, mesh, phase).lower(laid(state, P()), laid(batch, P(AXIS)))


def _sharded(step, mesh, phase):
    """Return the program of a phase, each device of a mesh with its share of the batch."""
    sharded = jax.shard_map(
        functools.partial(step, phase=phase, axis_name=AXIS),
        mesh=mesh,
        in_specs=(P(), P(AXIS)),
        out_specs=P(),
        # Its checks would change what the gradient of a mean over devices is.
        check_vma=False,
    )
    return jax.jit(sharded, donate_argnums=0)


def _shard_map(step, devices) -> Lifted:
    mesh = Mesh(np.array(devices), (AXIS,))
    shares, whole = NamedSharding(mesh, P(AXIS)), NamedSharding(mesh, P())
    shares_here, whole_here, at = _here(devices)

    def put_batch(batch):
        return {name: jax.make_array_from_process_local_data(shares, rows) for name, rows in batch.items()}

    def of_all(rows):
        """Return this process's rows as its part of those of all processes."""
        shape = (rows.shape[0] * jax.process_count(), *rows.shape[1:])
        return jax.make_array_from_single_device_arrays(shape, shares, [each.data for each in rows.addressable_shards])

    def take(images, rows):
        taken = _take(at, functools.partial(jax.device_put, device=shares_here), images, rows)
        return jax.tree.map(of_all, taken)

    run, compiled = _by_phase(functools.partial(_sharded, step, mesh))
    put_state = functools.partial(jax.device_put, device=whole)
    return Lifted(run, put_batch, put_state, compiled, whole_here, take)
