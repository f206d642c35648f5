"""Weights of a small ResNeXt as other programs store them."""

import numpy as np

SMALL = {"depths": (1, 1), "groups": 2, "width_per_group": 2, "stem_width": 4, "expansion": 2}


def foreign_state(seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors under torchvision's names and in its shapes, for the network SMALL."""
    rng = np.random.default_rng(seed)
    shapes = {"conv1.weight": (4, 3, 7, 7)} | norm("bn1", 4)
    for layer, (inputs, width, outputs) in enumerate([(4, 4, 8), (8, 8, 16)], start=1):
        name = f"layer{layer}.0"
        shapes[f"{name}.conv1.weight"] = (width, inputs, 1, 1)
        shapes[f"{name}.conv2.weight"] = (width, width // 2, 3, 3)
        shapes[f"{name}.conv3.weight"] = (outputs, width, 1, 1)
        shapes[f"{name}.downsample.0.weight"] = (outputs, inputs, 1, 1)
        for part, channels in (("bn1", width), ("bn2", width), ("bn3", outputs)):
            shapes |= norm(f"{name}.{part}", channels)
        shapes |= norm(f"{name}.downsample.1", outputs)
    shapes |= {"fc.weight": (10, 16), "fc.bias": (10,)}
    state = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name in state:
        if name.endswith("running_var"):
            state[name] = np.abs(state[name]) + 0.5
    return state | {"bn1.num_batches_tracked": np.array(7, np.int64)}


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts}


def conv(x, kernel, stride: int = 1, groups: int = 1):
    """PyTorch's convolution [N, C, H, W] with half the kernel as padding, in float64."""
    half = kernel.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (half, half), (half, half)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    parts = zip(np.split(windows, groups, axis=1), np.split(kernel, groups), strict=True)
    return np.concatenate([np.einsum("nihwyx,oiyx->nohw", w, k) for w, k in parts], axis=1)


def numpy_resnext(state, images, groups: int):
    """torchvision's network under its own names, evaluated, without the classifier."""
    state = {name: np.asarray(array, np.float64) for name, array in state.items()}

    def batch_norm(name, x):
        scale, bias, mean, var = (
            state[f"{name}.{part}"].reshape(-1, 1, 1)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    x = conv(images.transpose(0, 3, 1, 2).astype(np.float64), state["conv1.weight"], 2)
    x = np.maximum(batch_norm("bn1", x), 0)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    x = windows[:, :, ::2, ::2].max((-2, -1))
    for stride, layer in ((1, "layer1.0"), (2, "layer2.0")):
        y = conv(x, state[f"{layer}.conv1.weight"])
        y = np.maximum(batch_norm(f"{layer}.bn1", y), 0)
        y = conv(y, state[f"{layer}.conv2.weight"], stride, groups)
        y = np.maximum(batch_norm(f"{layer}.bn2", y), 0)
        y = batch_norm(f"{layer}.bn3", conv(y, state[f"{layer}.conv3.weight"]))
        shortcut = conv(x, state[f"{layer}.downsample.0.weight"], stride)
        x = np.maximum(y + batch_norm(f"{layer}.downsample.1", shortcut), 0)
    return x.mean((2, 3))
