"""Benchmark rows of single parts: a Flax module and its PyTorch twin."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jax_avemo import config as settings
from jax_avemo.models.audio.audio_cnn import AudioNetwork
from jax_avemo.models.lstm.dual_lstm import DualLSTM
from jax_avemo.models.video.resnext import ResNeXt
from torch_twins import images, sequences
from torch_twins.model_rows import model_row
from torch_twins.setting import Call, Compiler, Row, Setting, distance, stirred, wait

SIZES = ("cpu", "64", "112", "224")
"""`cpu`, and `full` with frames of so many px."""
PARTS = ("resnext", "resnext_plain", "lstm", "lstm_nn", "audio", "model")
CLIPS = {"cpu": 16, "64": 4, "112": 2, "224": 2}
IMAGES = {"cpu": 64, "64": 16, "112": 8, "224": 8}
FULL_LSTM_CLIPS = 32


def names() -> list[str]:
    """Every row: PART-train@SIZE and PART-infer@SIZE."""
    return [f"{part}-{mode}@{size}" for size in SIZES for part in PARTS for mode in MODES]


MODES = ("train", "infer")


def make_row(name: str, precision: str, device: str, scale: int = 1) -> Row:
    """The row of that name, with `scale` times as many clips and images."""
    part_and_mode, size = name.split("@")
    part, mode = part_and_mode.rsplit("-", 1)
    config = settings.make_config(
        "benchmark",
        "cpu" if size == "cpu" else "full",
        {"model.dtype": precision, "model.erasure": False}  # the twin erases nothing
        | ({} if size == "cpu" else {"input.frame_size": int(size)}),
    )
    clips = CLIPS[size]
    if part in ("lstm", "lstm_nn", "audio") and size != "cpu":
        clips = FULL_LSTM_CLIPS
    setting = Setting(
        config, mode == "train", scale * clips, scale * IMAGES[size], precision, device
    )
    makers = {
        "resnext": functools.partial(resnext_row, attention=True),
        "resnext_plain": functools.partial(resnext_row, attention=False),
        "lstm": lstm_row,
        "lstm_nn": functools.partial(lstm_row, own_cell=False),
        "audio": audio_row,
        "model": model_row,
    }
    return makers[part](setting)


def differentiable(
    module: Any, variables: Any, inputs: tuple[Any, ...], arguments: tuple[Any, ...], trains: bool
) -> tuple[Call, np.ndarray]:
    """A Flax module's call: outputs alone, or with gradients of sum(weights * outputs)."""
    shape = jax.eval_shape(
        lambda v, *x: first(module.apply(v, *x, *arguments, mutable=["batch_stats"])[0]),
        variables,
        *inputs,
    )
    weights = np.random.default_rng(6).normal(size=shape.shape).astype(np.float32)
    stats = variables.get("batch_stats", {})

    @jax.jit
    def train(params: Any, stats: Any, *inputs: Any) -> Any:
        def loss(params: Any) -> tuple[Any, Any]:
            given = {"params": params, "batch_stats": stats}
            y, new = module.apply(given, *inputs, *arguments, mutable=["batch_stats"])
            return (weights * first(y)).sum(), (first(y), new)

        (_, (y, new)), slopes = jax.value_and_grad(loss, has_aux=True)(params)
        return y, slopes, new

    @jax.jit
    def infer(params: Any, stats: Any, *inputs: Any) -> Any:
        return (first(module.apply({"params": params, "batch_stats": stats}, *inputs, *arguments)),)

    function = train if trains else infer
    placed = jax.device_put((variables["params"], stats, *inputs))
    return lambda: jax.block_until_ready(function(*placed)), weights


def first(y: Any) -> Any:
    """The values, where a module also returns masks."""
    return y[0] if isinstance(y, tuple) else y


def module_row(
    setting: Setting,
    count: int,
    unit: str,
    module: Any,
    inputs: tuple[np.ndarray, ...],
    arguments: tuple[Any, ...],
    make_twin: Callable[[], torch.nn.Module],
    their_inputs: tuple[torch.Tensor, ...],
    same: bool = True,
) -> Row:
    """A row of one Flax module and its twin."""

    @functools.cache
    def ours() -> tuple[Call, np.ndarray, Any]:
        init = jax.jit(lambda key, *x: module.init(key, *x, *arguments))
        variables = stirred(init(jax.random.key(0), *inputs))
        call, weights = differentiable(module, variables, inputs, arguments, setting.trains)
        return call, weights, variables

    @functools.cache
    def twin() -> torch.nn.Module:
        made = make_twin().to(setting.device).train(setting.trains)
        return made.to(memory_format=torch.channels_last)

    def theirs(compile_it: Compiler, weights: np.ndarray | None = None) -> Call:
        made = twin()
        network = compile_it(made)
        cotangent = None if weights is None else setting.tensor(weights)

        def call() -> Any:
            with setting.mode():
                y = network(*their_inputs)
                y = y[0] if isinstance(y, tuple) else y
            if setting.trains:
                made.zero_grad(set_to_none=True)
                (y.float() * cotangent if cotangent is not None else y.float()).sum().backward()
            return y

        return wait(call, setting.device)

    def check() -> float:
        call, weights, variables = ours()
        images.load(twin(), variables)
        found, expected = call(), theirs(lambda f: f, weights)()
        errors = [distance([np.asarray(found[0])], [expected.detach().float().cpu().numpy()])]
        if setting.trains:
            slopes = dict(images.in_torchs_layout(found[1]))
            pairs = [
                (slopes[name].reshape(p.shape), p.grad.float().cpu().numpy())
                for name, p in twin().named_parameters()
            ]
            errors.append(distance(*map(list, zip(*pairs, strict=True))))
        return max(errors)

    return Row(
        setting.trains,
        count,
        unit,
        lambda: ours()[0],
        theirs,
        check if same else None,
        lambda: twin()(*their_inputs),
    )


def resnext_row(setting: Setting, attention: bool) -> Row:
    """The face network on single images."""
    model = setting.model()
    shape = dict(
        depths=model.depths,
        groups=model.groups,
        width_per_group=model.width_per_group,
        stem_width=model.stem_width,
        stem_kernel=model.stem_kernel,
        expansion=model.expansion,
    )
    module = ResNeXt(
        **shape,
        coordinate_attention=attention,
        attention_gate_bias=model.attention_gate_bias,
        residual_scale=model.residual_scale,
        frozen_stages=0,
        batch_norm_momentum=model.batch_norm_momentum,
        dtype=model.dtype,
        remat=False,
    )
    side = setting.config.input.frame_size
    pictures = np.random.default_rng(0).normal(size=(setting.images, side, side, 1))
    pictures = pictures.astype(np.float32)
    theirs = setting.tensor(pictures.transpose(0, 3, 1, 2))
    return module_row(
        setting,
        setting.images,
        "images",
        module,
        (pictures,),
        (jnp.ones(setting.images, bool), setting.trains),
        lambda: images.ResNeXt(1, *shape.values(), attention, 1 - model.batch_norm_momentum),
        (theirs.contiguous(memory_format=torch.channels_last),),
    )


def lstm_row(setting: Setting, own_cell: bool = True) -> Row:
    """The dual-sequence LSTM against a loop over its cell, or torch.nn.LSTM over [video; audio]."""
    model = setting.model()
    rng = np.random.default_rng(1)
    shape = (setting.clips, model.lstm_steps, model.width)
    video, audio = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    video_mask, audio_mask = (rng.random(shape[:2]) < 0.9 for _ in range(2))
    given = (video, audio, video_mask, audio_mask)
    theirs = tuple(map(setting.tensor, given))
    twin: Callable[[], torch.nn.Module]
    if own_cell:
        twin = functools.partial(sequences.DualLSTM, model.width, model.lstm_width)
    else:
        theirs = (torch.cat(theirs[:2], dim=-1),)
        twin = functools.partial(
            torch.nn.LSTM,
            2 * model.width,
            model.lstm_width,
            batch_first=True,
            bidirectional=True,
        )
    module = DualLSTM(model.lstm_width, bidirectional=True)
    return module_row(
        setting, setting.clips, "clips", module, given, (), twin, theirs, same=own_cell
    )


def audio_row(setting: Setting) -> Row:
    """The audio network on features."""
    model = setting.model()
    frames = 1 + round(setting.config.input.audio_seconds / model.hop_seconds)
    channels = 2 * model.mel_bands + 5
    features = np.random.default_rng(2).normal(size=(setting.clips, frames, channels))
    features = features.astype(np.float32)
    module = AudioNetwork(
        widths=model.audio_widths,
        kernel_size=model.audio_kernel_size,
        width=model.width,
        heads=model.heads,
        dropout=0.0,
        self_attention=True,
        hop_seconds=model.hop_seconds,
        batch_norm_momentum=model.batch_norm_momentum,
        dtype=model.dtype,
    )
    return module_row(
        setting,
        setting.clips,
        "clips",
        module,
        (features,),
        (jnp.ones(features.shape[:2], bool), setting.trains),
        lambda: sequences.AudioNetwork(
            channels,
            model.audio_widths,
            model.audio_kernel_size,
            model.width,
            model.heads,
            0.0,
            model.hop_seconds,
            1 - model.batch_norm_momentum,
        ),
        (setting.tensor(features),),
    )
