"""Shared settings of the benchmark rows: sizes, weights, devices."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import torch

from jax_avemo.models.avemo import AVEmo
from jax_avemo.training import build

Call = Callable[[], Any]
"""One step or one prediction, waited for."""
Compiler = Callable[[Any], Any]
"""`torch.compile`, or the identity."""
EMOTIONS, SUBJECTS = 8, 16


@dataclass(frozen=True)
class Row:
    """One comparison."""

    trains: bool
    count: int
    unit: str
    """What a call handles `count` of."""
    ours: Callable[[], Call]
    theirs: Callable[[Compiler], Call]
    check: Callable[[], float] | None
    """The largest relative difference (L2) of outputs and gradients; None: not the same formula."""
    forward: Callable[[], Any]
    """PyTorch's forward pass, for counting operations."""


@dataclass(frozen=True)
class Setting:
    """What the rows of a size share."""

    config: Any
    trains: bool
    clips: int
    images: int
    precision: str
    device: str

    def model(self, **changes: Any) -> AVEmo:
        """The network of the size."""
        return build.build_model(self.config, EMOTIONS, SUBJECTS).clone(**changes)

    @contextlib.contextmanager
    def mode(self) -> Iterator[None]:
        """How PyTorch runs: gradients or none, and mixed precision."""
        gradients = contextlib.nullcontext() if self.trains else torch.no_grad()
        mixed = torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bfloat16")
        with gradients, mixed:
            yield

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """On the device."""
        return torch.from_numpy(np.array(array)).to(self.device)


def stirred(variables: Any) -> Any:
    """No bias zero, no gain one: a difference of formulas shows."""
    rng = np.random.default_rng(5)

    def stir(path: Any, leaf: Any) -> np.ndarray:
        noise = 0.1 * rng.normal(size=leaf.shape) if leaf.ndim == 1 else 0.0
        if path[-1].key == "var":
            noise = np.abs(noise)
        return np.float32(np.asarray(leaf) + noise)

    return jax.tree_util.tree_map_with_path(stir, variables)


def wait(call: Callable[[], Any], device: str = "cpu") -> Call:
    """A call that ends when its results are there."""
    if device == "cuda":

        def waited() -> Any:
            found = call()
            torch.cuda.synchronize()
            return found

        return waited
    return call


def distance(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """|found - expected| / |expected|, all arrays as one vector."""
    off = sum(
        float(np.square(np.float64(a) - b).sum()) for a, b in zip(found, expected, strict=True)
    )
    return math.sqrt(off / sum(float(np.square(np.float64(b)).sum()) for b in expected))
