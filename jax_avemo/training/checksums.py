"""Checksums of a checkpoint: a CRC-32 of every leaf, computed before anything is written.

Orbax and its storage have no end-to-end check: a flipped bit in a stored array is restored without
an error (measured).
"""

import gc
import json
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


class DamagedError(Exception):
    """The folder of a step does not hold what was saved; the message names the item."""


def sums_of(state: Any, about: Any, metrics: Any) -> dict[str, Any]:
    """The item `checksums` of a checkpoint, of a state on the host."""
    leaves = {name: _sum(leaf) for name, leaf in named_leaves(state).items()}
    return {"state": leaves, "about": _json_sum(about), "metrics": _json_sum(metrics)}


def on_host(state: Any) -> Any:
    """The state in NumPy arrays, whole on every host."""

    def fetch(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return np.asarray(leaf.addressable_data(0))  # replicated: every host has the whole
        return np.asarray(leaf)

    return jax.tree.map(fetch, state)


def named_leaves(tree: Any) -> dict[str, Any]:
    """Path of each leaf ("params/audio/kernel") -> the leaf."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def read_about(step: Path) -> Any:
    """The JSON item `about` of a step's folder, after its small files were checked.

    Raises:
      DamagedError: one of the JSON items is not what was saved.
    """
    return _read_items(step)[0]


def read_state(step: Path) -> dict[str, np.ndarray]:
    """All leaves of a step's folder, by name, each with the checksum it was saved with.

    They are read into NumPy arrays: neither devices nor the network are needed.

    Raises:
      DamagedError: something in the folder is not what was saved.
    """
    expected = _read_items(step)[1]
    with _quiet():
        try:
            arrays = named_leaves(_read_arrays(step / "state"))
            found = {name: _sum(array) for name, array in arrays.items()}
        except Exception as error:  # whatever the storage's parsers raise on foreign bytes
            raise DamagedError("its arrays do not read") from error
    wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if wrong:
        more = f" and of {len(wrong) - 1} more leaves" if len(wrong) > 1 else ""
        raise DamagedError(f"the checksum of {wrong[0]}{more} differs")
    return arrays


def _read_items(step: Path) -> tuple[Any, dict[str, int]]:
    """`about` and the leaves' checksums."""
    try:
        sums = _read(step / "checksums/metadata")
        about, leaves = _read(step / "about/metadata"), dict(sums["state"])
        for name, value in (("about", about), ("metrics", _read(step / "metrics/metrics"))):
            if _json_sum(value) != sums[name]:
                raise DamagedError(f"the checksum of its item {name} differs")
    except OSError as error:
        raise DamagedError(f"a file is gone or does not read: {error.filename or step}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError("one of its JSON items does not read") from error
    return about, leaves


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _read_arrays(folder: Path) -> Any:
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(folder).item_metadata.tree
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return reader.restore(folder, restore_args=arguments)


def _json_sum(value: Any) -> int:
    plain = json.loads(json.dumps(value))  # tuples become lists, as a file has them
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())


def _sum(array: np.ndarray) -> int:
    described = f"{array.dtype} {array.shape}".encode()
    return zlib.crc32(
        np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, zlib.crc32(described)
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Reading a damaged file fails in the storage's threads too, which print tracebacks of it."""
    hooks = sys.excepthook, sys.unraisablehook
    sys.excepthook = lambda *_: None
    sys.unraisablehook = lambda _: None
    try:
        yield
    except Exception:
        gc.collect()
        time.sleep(0.5)  # they are late
        raise
    finally:
        sys.excepthook, sys.unraisablehook = hooks
