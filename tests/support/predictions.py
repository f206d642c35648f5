"""Predictions made by hand: what is said of a film without a network or a film."""

import numpy as np

from jax_avemo.inference.timeline import FacePath, ModelFacts, Prediction, WindowPrediction

EMOTIONS = ("calm", "happy", "sad")


def facts(synthetic: bool = True) -> ModelFacts:
    return ModelFacts(
        name="x",
        size="tiny",
        run="runs/x",
        step=3,
        version="0",
        corpus="demo",
        synthetic=synthetic,
        calibrated=True,
        modalities=("video", "audio"),
        window_seconds=3.0,
    )


def window(start: float, face: int | None, leading: str | None) -> WindowPrediction:
    """Three seconds from `start`; the leading emotion has 0.7; None = unknown."""
    if leading is None:
        return WindowPrediction(
            start, start + 3, face, (), None, None, None, None, "no face and no sound"
        )
    values = np.full(len(EMOTIONS), 0.15)
    values[EMOTIONS.index(leading)] = 0.7
    there = ("audio",) if face is None else ("video", "audio")
    box = None if face is None else (0.1, 0.2, 0.3, 0.4)
    return WindowPrediction(start, start + 3, face, there, values, leading, 0.7, box, "")


def film(*windows: WindowPrediction, duration: float, synthetic: bool = True) -> Prediction:
    numbers = sorted({w.face for w in windows if w.face is not None})
    boxes = np.tile([0.1, 0.2, 0.3, 0.4], (2, 1))
    return Prediction(
        source='a "film" & <more>.mp4',
        duration=duration,
        emotions=EMOTIONS,
        modalities=("video", "audio"),
        windows=windows,
        faces=tuple(FacePath(number, np.array([0.0, 0.2]), boxes) for number in numbers),
        notes=("a note",),
        complete=True,
        model=facts(synthetic),
    )
