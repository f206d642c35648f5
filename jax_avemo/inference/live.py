"""Live prediction of a camera and a microphone."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int16

from jax_avemo.data.windows import Window, WindowMaker
from jax_avemo.inference.array_checks import check_picture, check_sound
from jax_avemo.inference.collect import Collected
from jax_avemo.inference.timeline import WindowPrediction
from jax_avemo.media.decoding.container import TimedFrame
from jax_avemo.media.decoding.stream import AudioPiece
from jax_avemo.schema import AUDIO_SAMPLE_RATE


class Live:
    """The last moments before a camera and microphone, predicted whenever asked.

    Add frames and sound as they come, on one clock that begins at 0; call `estimate` as often as
    wanted. What is older than a window is let go at every frame.
    """

    def __init__(
        self,
        predict_window: Callable[[Window], list[WindowPrediction]],
        maker: WindowMaker,
        window_seconds: float,
    ) -> None:
        self._predict_window, self._window_seconds = predict_window, window_seconds
        self.maker = maker

    def add_frame(self, time: float, image: Any) -> None:
        """The next picture, uint8 [H, W, 3], RGB; times ascend, seconds.

        Its faces are looked for, some ms.
        """
        check_picture(image)
        self.maker.add_frame(TimedFrame(time, np.ascontiguousarray(image)))
        self.maker.forget(self._start())

    def add_sound(
        self,
        samples: Any,
        *,
        start: float | None = None,
    ) -> None:
        """More sound, 16 kHz mono, int16 or floats in [-1, 1].

        Args:
          samples: [N], the next ones.
          start: time of the first of them, seconds; None = right after the last.
        """
        check_sound(samples)
        first = round((self.maker.audio_end if start is None else start) * AUDIO_SAMPLE_RATE)
        self.maker.add_sound(AudioPiece(first, as_int16(samples)))
        self.maker.forget(self._start())

    def estimate(self) -> list[WindowPrediction]:
        """What the network says of the last window: one prediction a face, or the sound, or one
        that is unknown."""
        end = max(self.maker.video_end, self.maker.audio_end)
        window = self.maker.cut(self._start(), end, last=True)
        collected = Collected()
        collected.add(window, self._predict_window(window))
        return collected.windows

    def _start(self) -> float:
        """Where the last window begins, seconds."""
        end = max(self.maker.video_end, self.maker.audio_end)
        return max(0.0, end - self._window_seconds)


def as_int16(
    samples: Int16[np.ndarray, " N"] | Float[np.ndarray, " N"],
) -> Int16[np.ndarray, " N"]:
    """Sound as it is stored; floats are in [-1, 1]."""
    if samples.dtype == np.int16:
        return samples
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
