"""Weights of other programs: safetensors files, and .pth files where PyTorch is installed."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors

from jax_avemo.runtime.errors import UserError

Tensors = dict[str, np.ndarray]
"""Name -> array, floats as float32 or wider."""

_PYTORCH_STARTS = (b"PK", b"\x80")
"""First bytes of what `torch.save` writes, a zip file, and of the pickle it wrote before 1.6."""
_WRAPPERS = ("state_dict", "model")
"""Keys under which training programs put the weights beside other things."""


def read_weights(path: Path) -> Tensors:
    """The named tensors of a .safetensors or a .pth file; nothing in it is run.

    The content tells the format. A state dict of PyTorch may be wrapped as {"state_dict": ...} or
    {"model": ...}; a prefix `module.` of all names is taken off.

    Raises:
      UserError: no such file, damaged, another format, not only tensors in it, or a .pth file and
        PyTorch is not installed.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise UserError(f"no weights file {path}: {error.strerror}") from None
    tensors = _read_pytorch(path) if start.startswith(_PYTORCH_STARTS) else _read_safetensors(path)
    if not tensors:
        raise UserError(f"{path} holds no tensors")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return {name: _widened(tensor) for name, tensor in tensors.items()}


def _widened(tensor: np.ndarray) -> np.ndarray:
    narrow = jnp.issubdtype(tensor.dtype, jnp.floating) and tensor.itemsize < 4
    return tensor.astype(np.float32) if narrow else tensor


def _read_safetensors(path: Path) -> Tensors:
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged or no weights file (.safetensors or .pth): {_first_line(error)}"
        ) from error


def _read_pytorch(path: Path) -> Tensors:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} is a file of PyTorch, which is not installed here: pip install torch, or "
            f"convert it where it is: {_conversion(path)}"
        ) from error
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and storages each have their own
        raise UserError(
            f"torch.load(weights_only=True) refuses {path}: it is damaged, or there is more than "
            "tensors in it, which could run a program; save its state dict alone"
        ) from error
    return {
        str(name): _array(tensor)
        for name, tensor in _state_dict(tree).items()
        if isinstance(tensor, torch.Tensor)
    }


def _conversion(path: Path) -> str:
    """A line of shell that writes the state dict in a .pth file as .safetensors."""
    source, target = (json.dumps(str(p)) for p in (path, path.with_suffix(".safetensors")))
    program = (
        "import torch, safetensors.torch as s; "
        f's.save_file(torch.load({source}, map_location="cpu", weights_only=True), {target})'
    )
    return shlex.join(["python", "-c", program])


def _state_dict(tree: Any) -> Mapping[Any, Any]:
    for wrapper in _WRAPPERS:
        if isinstance(tree, Mapping) and isinstance(tree.get(wrapper), Mapping):
            tree = tree[wrapper]
    return tree if isinstance(tree, Mapping) else {}


def _array(tensor: Any) -> np.ndarray:
    """A torch.Tensor in NumPy, which cannot take PyTorch's bfloat16."""
    tensor = tensor.detach()
    narrow = tensor.is_floating_point() and tensor.element_size() < 4
    return np.asarray((tensor.float() if narrow else tensor).numpy())


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
