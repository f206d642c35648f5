"""Checks of frames and audio given as arrays."""

from typing import Any

import numpy as np

from jax_avemo.runtime.errors import UserError

_MOST_PEAK = 2.0
"""Lossy formats decode to peaks a little over 1; floats far above are not in [-1, 1] at all."""


def check_frames(frames: Any, times: Any) -> None:
    """Refuse pictures that are not uint8 [F, H, W, 3], and times that do not fit them.

    Raises:
      UserError: what is wrong and what to give instead.
    """
    if not isinstance(frames, np.ndarray):
        raise UserError(f"frames are a {type(frames).__name__}; give an array uint8 [F, H, W, 3]")
    if frames.ndim != 4 or frames.shape[-1] != 3:
        hint = ""
        if frames.ndim == 4 and frames.shape[1] == 3:
            hint = " (channels come last: frames.transpose(0, 2, 3, 1))"
        raise UserError(f"frames have the shape {frames.shape}; needed is [F, H, W, 3]{hint}")
    if frames.dtype != np.uint8:
        hint = ": (255 * frames).astype('uint8') if they are in [0, 1]"
        raise UserError(
            f"frames are {frames.dtype}; needed is uint8, RGB"
            + (hint if frames.dtype.kind == "f" else "")
        )
    if 0 in frames.shape[1:]:
        raise UserError(f"frames have the shape {frames.shape}: pictures without size")
    if times is None or len(times) != len(frames):
        raise UserError("frames need as many times, in seconds")
    clock = np.asarray(times)
    if clock.ndim != 1 or clock.dtype.kind not in "fiu":
        raise UserError(f"times are {clock.dtype} {clock.shape}; needed are seconds [F]")
    if not np.all(np.isfinite(clock)) or (clock.size and clock.min() < 0):
        raise UserError("the frames' times are not all finite and at least 0 s")
    if np.any(np.diff(clock) <= 0):
        raise UserError("the frames' times do not ascend")


def check_picture(image: Any) -> None:
    """Refuse a single picture that is not uint8 [H, W, 3] (UserError)."""
    if not isinstance(image, np.ndarray) or image.ndim != 3:
        shape = getattr(image, "shape", type(image).__name__)
        raise UserError(f"the picture is {shape}; give an array uint8 [H, W, 3]")
    check_frames(image[None], [0.0])


def check_sound(sound: Any) -> None:
    """Refuse sound that is not int16 [N], or floats [N] in [-1, 1] (peaks up to 2 are clipped).

    Raises:
      UserError: what is wrong and what to give instead.
    """
    if not isinstance(sound, np.ndarray):
        raise UserError(f"sound is a {type(sound).__name__}; give an array [N], 16 kHz mono")
    if sound.ndim != 1:
        raise UserError(
            f"sound has the shape {sound.shape}; needed is [N], mono: take the mean of the channels"
        )
    if sound.dtype == np.int16:
        return
    if sound.dtype.kind != "f":
        raise UserError(f"sound is {sound.dtype}; needed is int16, or floats in [-1, 1]")
    if not np.all(np.isfinite(sound)):
        raise UserError("sound holds NaN or infinity")
    peak = float(np.abs(sound).max(initial=0.0))
    if peak > _MOST_PEAK:
        raise UserError(
            f"sound reaches {peak:g}; floats are in [-1, 1] (int16 samples: astype('int16'))"
        )
