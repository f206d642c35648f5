"""References of the networks in NumPy float64, and finite differences."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def assert_gradients(
    loss: Callable[..., float], gradients: Any, *point: Any, tolerance: float = 1e-3
) -> None:
    """`gradients`, made by JAX, equal central differences of `loss`, written in NumPy.

    Along one random direction for each array, so no array hides behind a larger one. `loss` takes
    `point` in float64; `gradients` has the structure of `point` (a tuple).
    """
    leaves, tree = jax.tree.flatten(point)
    leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
    given = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradients)]
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(point)]
    assert len(given) == len(leaves)
    largest = max(np.linalg.norm(gradient) for gradient in given)
    assert largest > 0
    rng = np.random.default_rng(0)
    for index, leaf in enumerate(leaves):
        direction = rng.normal(size=leaf.shape)
        step = 1e-6 / max(1.0, np.abs(direction).max(initial=0.0))
        ahead, behind = (
            loss(*tree.unflatten([*leaves[:index], leaf + s * direction, *leaves[index + 1 :]]))
            for s in (step, -step)
        )
        expected = (ahead - behind) / (2 * step)
        found = (given[index] * direction).sum()
        allowed = tolerance * np.linalg.norm(given[index]) + 1e-5 * largest
        assert abs(found - expected) <= allowed, (paths[index], found, expected)


def layer_norm(x: np.ndarray, params: dict[str, np.ndarray]) -> np.ndarray:
    """Flax's: over the last axis, epsilon 1e-6."""
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return centred / deviation * params["scale"] + params["bias"]


def self_attention(params: dict, x: np.ndarray, mask: np.ndarray, heads: int) -> np.ndarray:
    """`SelfAttention` one step and one head at a time, among real steps only."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    out, width = x.astype(np.float64).copy(), x.shape[-1]
    d = width // heads
    for b in range(len(x)):
        real = np.flatnonzero(mask[b])
        y = layer_norm(x[b, real].astype(np.float64), p["norm"])
        qkv = y @ p["query_key_value"]["kernel"] + p["query_key_value"]["bias"]
        q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
        for i, step in enumerate(real):
            parts = []
            for h in range(heads):
                part = slice(h * d, (h + 1) * d)
                w = np.exp(k[:, part] @ q[i, part] / np.sqrt(d))
                parts.append((w / w.sum()) @ v[:, part])
            out[b, step] += np.concatenate(parts) @ p["output"]["kernel"] + p["output"]["bias"]
    return out


def batch_norm(x: np.ndarray, real: np.ndarray, params: dict[str, np.ndarray]) -> np.ndarray:
    """In training: statistics over the rows (first axes of x) where `real`."""
    rows = x[real].reshape(-1, x.shape[-1])
    x = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    return x * params["scale"] + params["bias"]


def grouped_conv(x: np.ndarray, kernel: np.ndarray, stride: int, groups: int) -> np.ndarray:
    """3x3 with padding 1, [N, H, W, C]: every window cut out."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    y = np.zeros((x.shape[0], height, width, kernel.shape[-1]))
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    for i in range(height):
        for j in range(width):
            patch = padded[:, i * stride : i * stride + 3, j * stride : j * stride + 3]
            for g in range(groups):
                part = slice(g * outputs, (g + 1) * outputs)
                y[:, i, j, part] = np.einsum(
                    "nhwi,hwio->no", patch[..., g * inputs : (g + 1) * inputs], kernel[..., part]
                )
    return y
