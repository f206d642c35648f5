"""PyTorch twin of the face network, and Flax weights for any twin."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
    "forward": "forwards",  # a module's `forward` is taken
    "backward": "backwards",
}


def in_torchs_layout(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """(dotted name, array) of every leaf of a Flax tree, named and turned as PyTorch has it."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from in_torchs_layout(value, f"{prefix}{_NAMES.get(key, key)}.")
            continue
        array = np.array(value, np.float32)
        if key == "kernel":
            array = np.moveaxis(array, (-1, -2), (0, 1))
        yield prefix + _NAMES.get(key, key), array


def load(module: nn.Module, variables: Mapping[str, Any]) -> None:
    """Copy a Flax module's variables into its twin; every tensor of either must find its place."""
    given = dict(in_torchs_layout(variables["params"]))
    given |= dict(in_torchs_layout(variables.get("batch_stats", {})))
    wanted = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    if given.keys() != wanted.keys():
        raise ValueError(f"twins differ in {sorted(given.keys() ^ wanted.keys())}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(torch.from_numpy(given[name]).reshape(tensor.shape))


class CoordinateAttention(nn.Module):
    """Hou, Zhou & Feng, CVPR 2021."""

    def __init__(self, channels: int, momentum: float, reduction: int = 32, least: int = 8) -> None:
        super().__init__()
        width = max(least, channels // reduction)
        self.conv1 = nn.Conv2d(channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width, momentum=momentum)
        self.conv_h = nn.Conv2d(width, channels, 1)
        self.conv_w = nn.Conv2d(width, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        rows = x.mean(3, keepdim=True)
        columns = x.mean(2, keepdim=True).transpose(2, 3)
        f = F.hardswish(self.bn1(self.conv1(torch.cat([rows, columns], dim=2))))
        f_h, f_w = f.split([height, width], dim=2)
        return x * self.conv_w(f_w.transpose(2, 3)).sigmoid() * self.conv_h(f_h).sigmoid()


class Bottleneck(nn.Module):
    """Xie et al., CVPR 2017, figure 3c."""

    def __init__(
        self,
        inputs: int,
        width: int,
        features: int,
        groups: int,
        stride: int,
        attention: bool,
        momentum: float,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, momentum=momentum)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width, momentum=momentum)
        self.conv3 = nn.Conv2d(width, features, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(features, momentum=momentum)
        if attention:
            self.coordinate_attention = CoordinateAttention(features, momentum)
        self.attends = attention
        self.shortcut = stride > 1 or inputs != features
        if self.shortcut:
            self.downsample_conv = nn.Conv2d(inputs, features, 1, stride, bias=False)
            self.downsample_bn = nn.BatchNorm2d(features, momentum=momentum)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        if self.attends:
            y = self.coordinate_attention(y)
        if self.shortcut:
            x = self.downsample_bn(self.downsample_conv(x))
        return F.relu(x + y)


class ResNeXt(nn.Module):
    """The twin of `jax_avemo.models.video.resnext.ResNeXt`: N C H W -> N D."""

    def __init__(
        self,
        channels: int,
        depths: tuple[int, ...],
        groups: int,
        width_per_group: int,
        stem_width: int,
        stem_kernel: int,
        expansion: int,
        attention: bool,
        momentum: float,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, stem_width, stem_kernel, 2, stem_kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_width, momentum=momentum)
        self.blocks = []
        inputs = stem_width
        for stage, depth in enumerate(depths):
            features = stem_width * expansion * 2**stage
            for index in range(depth):
                block = Bottleneck(
                    inputs,
                    groups * width_per_group * 2**stage,
                    features,
                    groups,
                    2 if stage > 0 and index == 0 else 1,
                    attention,
                    momentum,
                )
                self.add_module(f"layer{stage + 1}_{index}", block)
                self.blocks.append(f"layer{stage + 1}_{index}")
                inputs = features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3)).float()
