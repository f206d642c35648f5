"""Degraded input: missing modalities, noise, blur and delays, and the metrics under each."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from jaxtyping import Int, Shaped

from jax_avemo.evaluation import calibration, metrics
from jax_avemo.evaluation.results import Condition
from jax_avemo.schema import Batch

Change = Callable[[Batch], Batch]


def add_noise(level_db: float, seed: int = 0) -> Change:
    """White noise whose power is `level_db` below each clip's own (signal-to-noise ratio, dB).

    Only over the real samples; a silent clip stays silent. The same clips in the same order get
    the same noise.
    """
    generator = np.random.default_rng(seed)

    def change(batch: Batch) -> Batch:
        audio = np.asarray(batch["audio"], np.float64)
        length = np.asarray(batch["audio_length"])[:, None]
        real = np.arange(audio.shape[1]) < length
        power = np.sum(np.square(audio) * real, axis=1, keepdims=True) / np.maximum(length, 1)
        deviation = np.sqrt(power * 10.0 ** (-level_db / 10.0))
        noise = generator.standard_normal(audio.shape) * deviation * real
        changed = batch.copy()
        changed["audio"] = (audio + noise).astype(np.float32)
        return changed

    return change


def blur(share: float) -> Change:
    """Gaussian blur of every face, standard deviation a `share` of its side."""

    def change(batch: Batch) -> Batch:
        video = np.asarray(batch["video"])
        deviation = share * video.shape[2]
        changed = batch.copy()
        frames = [
            cv2.GaussianBlur(frame, (0, 0), deviation)
            for frame in video.reshape(-1, *video.shape[2:])
        ]
        changed["video"] = np.stack(frames).reshape(video.shape)
        return changed

    return change


def black_face(batch: Batch) -> Batch:
    """Black frames where there were faces; they still count as real."""
    changed = batch.copy()
    changed["video"] = np.zeros_like(batch["video"])
    return changed


def delay_video(seconds: float) -> Change:
    """The picture comes this much after the sound it belongs to.

    By the frames' times: it moves what a fusion by time brings together. A fusion that does not
    look at times (`models.baselines`) does not notice.
    """

    def change(batch: Batch) -> Batch:
        changed = batch.copy()
        changed["video_time"] = (np.asarray(batch["video_time"]) + seconds).astype(np.float32)
        return changed

    return change


GRID: dict[str, Change] = {
    "sound off": calibration.only("video"),
    "video off": calibration.only("audio"),
    "noise 20 dB": add_noise(20.0),
    "noise 10 dB": add_noise(10.0),
    "noise 0 dB": add_noise(0.0),
    "blur 1/32": blur(1 / 32),
    "blur 1/16": blur(1 / 16),
    "black face": black_face,
    "picture 0.2 s late": delay_video(0.2),
    "picture 0.5 s late": delay_video(0.5),
    "picture 1 s late": delay_video(1.0),
}
"""Name -> what is done to every batch."""


def conditions(modalities: tuple[str, ...]) -> dict[str, Change]:
    """The part of `GRID` that a network with these modalities can notice."""
    of_video = ("video off", "blur", "black", "picture")
    of_audio = ("sound off", "noise")
    unnoticed = (() if "video" in modalities else of_video) + (
        () if "audio" in modalities else of_audio
    )
    # Without its only modality a network has nothing to read.
    if len(modalities) == 1:
        unnoticed += ("sound off", "video off", "picture")
    return {name: change for name, change in GRID.items() if not name.startswith(unnoticed)}


def compare_conditions(
    labels: Int[np.ndarray, " N"],
    predicted: Mapping[str, Int[np.ndarray, " N"]],
    clean: Int[np.ndarray, " N"],
    subjects: Shaped[np.ndarray, " N"],
    *,
    classes: int,
) -> dict[str, Condition]:
    """UAR under every condition with its interval, and less the clean one's, paired by subject."""
    uar = metrics.unweighted_average_recall
    found = {}
    for name, predictions in {"clean": clean, **predicted}.items():
        estimate = metrics.estimate(labels, predictions, subjects, uar, classes=classes)
        difference = None
        if name != "clean":
            difference = metrics.paired_difference(
                labels, predictions, clean, subjects, uar, classes=classes
            )
        found[name] = Condition(estimate.value, estimate.bounds, difference)
    return found
