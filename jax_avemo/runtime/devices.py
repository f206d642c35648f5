"""The device mesh, and the sharding of batches and states."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax_avemo.runtime.errors import UserError

Function = TypeVar("Function", bound=Callable[..., Any])
ROWS = "data"
"""The axis of the mesh over which the rows of a batch are shared out."""


def data_mesh() -> Mesh:
    """All devices of all hosts along one axis, ROWS, those of a host side by side.

    `data.pipeline` relies on that order: a host's rows are one piece of the batch.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), (ROWS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_by_rows(mesh: Mesh) -> NamedSharding:
    """The first axis shared out over the devices."""
    return NamedSharding(mesh, PartitionSpec(ROWS))


def shared_by_rows(function: Function, mesh: Mesh) -> Function:
    """`function`, traced in the knowledge that rows are shared out over `mesh`.

    What XLA would not divide by itself is then divided (`models.audio.fourier`).
    """
    if mesh.size == 1:
        return function

    @functools.wraps(function)
    def traced(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    return traced  # type: ignore[return-value]


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """This host's rows, as a part of the global batch."""
    sharding = split_by_rows(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def check_batch_size(name: str, batch_size: int, mesh: Mesh, parts: int = 1) -> None:
    """Refuse a batch that the devices can't share equally, or not in so many parts."""
    if batch_size % (mesh.size * parts):
        several = f" in {parts} parts (train.accumulation_steps)" if parts > 1 else ""
        raise UserError(
            f"{name}={batch_size} can't be shared by {mesh.size} devices{several}; use a multiple "
            f"of {mesh.size * parts}"
        )
    if len({sum(d.process_index == p for d in mesh.devices.flat) for p in processes(mesh)}) > 1:
        raise UserError(
            "the hosts of a run must have equally many devices; see docs/guides/multiple_hosts.md"
        )


def processes(mesh: Mesh) -> set[int]:
    """The processes whose devices are in the mesh."""
    return {device.process_index for device in mesh.devices.flat}


def describe() -> str:
    """The devices in words: '1 cpu', '8 TPU v4'."""
    return f"{jax.device_count()} {jax.devices()[0].device_kind}"
