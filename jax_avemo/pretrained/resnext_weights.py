"""Import of ResNeXt weights by the names of torchvision and timm."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_avemo.runtime.errors import UserError

Path = tuple[str, ...]

_CONV = re.compile(r"(?:layer(\d)\.(\d+)\.)?(conv\d|downsample\.0)\.weight")
_NORM = re.compile(
    r"(?:layer(\d)\.(\d+)\.)?(bn\d|downsample\.1)\.(weight|bias|running_mean|running_var)"
)
_LEAVES = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}
_LAYERS = {"downsample.0": "downsample_conv", "downsample.1": "downsample_bn"}
_ATTENTION = "coordinate_attention"


class ImportReport(NamedTuple):
    """What became of every tensor of a file and of every array of the network."""

    matched: tuple[str, ...]
    """Names of the file that have their place in the network."""
    unused: tuple[str, ...]
    """Names of the file that have none: the classifier, counters, further blocks."""
    fresh: tuple[str, ...]
    """Arrays of the network that the file does not have: coordinate attention's."""

    def describe(self) -> str:
        """One line for the user."""
        parts = [f"{len(self.matched)} tensors imported"]
        for title, names in (("not used", self.unused), ("not in the file", self.fresh)):
            if names:
                shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
                parts.append(f"{len(names)} {title} ({shown})")
        return "; ".join(parts)


def parameter_path(name: str) -> Path | None:
    """Where torchvision's or timm's tensor `name` lies in a `ResNeXt`'s variables, if it does.

    `layer2.0.downsample.1.running_var` -> ("batch_stats", "layer2_0", "downsample_bn", "var"); the
    whole table stands at `ResNeXt`.
    """
    if found := _CONV.fullmatch(name):
        stage, block, layer = found.groups()
        collection, leaf = "params", "kernel"
    elif found := _NORM.fullmatch(name):
        stage, block, layer, kind = found.groups()
        collection, leaf = _LEAVES[kind]
    else:
        return None
    place = () if stage is None else (f"layer{stage}_{block}",)
    return (collection, *place, _LAYERS.get(layer, layer), leaf)


def import_resnext(
    tensors: Mapping[str, np.ndarray], variables: Mapping[str, Any]
) -> tuple[dict[str, Any], ImportReport]:
    """The variables of a `ResNeXt` with every array replaced that the file has.

    Kernels are turned from [out, in, h, w] to [h, w, in, out]. A network with coordinate attention
    starts at exactly the imported function: its two last convolutions are set to 0, so that each
    sigmoid is 1/2 and the map is weighted by 1/4, and scale and bias of the batch norm before it
    are multiplied by 4 (both exact in floating point). The sigmoids are at their steepest
    there, so the attention learns from the first step on.

    Args:
      tensors: by torchvision's or timm's name, as `weight_files.read_weights` gives them.
      variables: "params" and "batch_stats" of a `ResNeXt`; not changed.

    Returns:
      Variables of NumPy arrays, and what matched.

    Raises:
      UserError: an array of the network is not in the file, or has another shape there.
    """
    flat: dict[Path, np.ndarray] = {
        path: np.asarray(leaf) for path, leaf in flatten_dict(dict(variables)).items()
    }
    matched, unused, done = [], [], set()
    for name, tensor in tensors.items():
        path = parameter_path(name)
        if path is None or path not in flat:
            unused.append(name)
            continue
        flat[path] = _turned(name, tensor, flat[path])
        matched.append(name)
        done.add(path)
    fresh = [path for path in flat if path not in done]
    missing = [path for path in fresh if _ATTENTION not in path]
    if missing:
        raise UserError(
            f"the weights lack {len(missing)} of the face network's {len(flat)} arrays, such as "
            f"{'/'.join(missing[0])}: they are of another network than a ResNeXt with these depths"
        )
    for path in fresh:
        if path[-2] in ("conv_h", "conv_w"):
            flat[path] = np.zeros_like(flat[path])
            if path[-2:] == ("conv_h", "kernel"):
                block = path[: path.index(_ATTENTION)]
                for leaf in ("scale", "bias"):
                    flat[*block, "bn3", leaf] *= 4
    report = ImportReport(tuple(matched), tuple(unused), tuple("/".join(p[1:]) for p in fresh))
    return unflatten_dict(flat), report


def _turned(name: str, tensor: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A copy in our order of axes and our type; UserError when the shape is another."""
    turned = tensor
    if tensor.ndim == 4:
        turned = tensor.transpose(2, 3, 1, 0)
        if like.ndim == 2 and turned.shape[:2] == (1, 1):
            turned = turned[0, 0]
    if turned.shape != like.shape:
        hint = ""
        if name == "conv1.weight" and turned.shape[:2] == like.shape[:2]:
            hint = "; these weights read colour: --config.model.pixels=colour"
        raise UserError(
            f"{name} has the shape {turned.shape} in the weights and {like.shape} in the face "
            f"network{hint}"
        )
    return np.array(turned, like.dtype)
