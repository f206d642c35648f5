"""Modules built by themselves, with the values of a size's config."""

import dataclasses

from jax_avemo import config as settings
from jax_avemo.models.audio.audio_cnn import AudioNetwork
from jax_avemo.models.audio.spectral import SpectralFrontEnd
from jax_avemo.models.layers.batch_norm import MaskedBatchNorm
from jax_avemo.models.video.coordinate_attention import CoordinateAttention
from jax_avemo.models.video.resnext import ResNeXt

FULL = settings.make_config("tests", "full").model.to_dict()


def resnext(**changes) -> ResNeXt:
    """ResNeXt50 32x4d, with what a test changes."""
    names = {field.name for field in dataclasses.fields(ResNeXt)} - {"parent", "name"}
    return ResNeXt(**({name: FULL[name] for name in names} | changes))


def coordinate_attention(**changes) -> CoordinateAttention:
    """As in ResNeXt50 32x4d."""
    fields = {"gate_bias_init": 0.0, "batch_norm_momentum": 0.9, "dtype": "float32"}
    return CoordinateAttention(**(fields | changes))


def batch_norm(**changes) -> MaskedBatchNorm:
    """With the momentum of size `full`."""
    return MaskedBatchNorm(**({"momentum": FULL["batch_norm_momentum"]} | changes))


def audio_network(**changes) -> AudioNetwork:
    """Without dropout."""
    fields = {
        "widths": FULL["audio_widths"],
        "kernel_size": FULL["audio_kernel_size"],
        "self_attention": FULL["audio_self_attention"],
        "dropout": 0.0,
    }
    names = ("width", "heads", "hop_seconds", "batch_norm_momentum", "dtype")
    return AudioNetwork(**({name: FULL[name] for name in names} | fields | changes))


def spectral_front_end(**changes) -> SpectralFrontEnd:
    """Without prosody."""
    names = ("mel_bands", "fft_size", "window_seconds", "hop_seconds")
    fields = {"features": FULL["spectral_features"], "prosody": False}
    return SpectralFrontEnd(**({name: FULL[name] for name in names} | fields | changes))
