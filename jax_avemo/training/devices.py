"""Which devices work together, and how batches and states are laid over them."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax_avemo.errors import UserError


def keep_compiled_programs(folder: str) -> None:
    """Turn on JAX's persistent compilation cache; '' = the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", folder or str(home / "jax_avemo" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def data_mesh() -> Mesh:
    """All devices of all hosts along one axis, `data`."""
    return Mesh(np.array(jax.devices()), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_by_rows(mesh: Mesh) -> NamedSharding:
    """The first axis shared out over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """This host's rows, as a part of the global batch."""
    sharding = split_by_rows(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def check_batch_size(name: str, batch_size: int, mesh: Mesh) -> None:
    """Refuse a batch that the devices can't share equally."""
    if batch_size % mesh.size:
        raise UserError(
            f"{name}={batch_size} can't be shared by {mesh.size} devices; use a multiple of that"
        )


def describe() -> str:
    """The devices in words: '1 cpu', '8 TPU v4'."""
    return f"{jax.device_count()} {jax.devices()[0].device_kind}"
