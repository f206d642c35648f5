"""Temperature scaling (Guo et al., ICML 2017), one temperature for each set of modalities."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar

from jax_avemo.evaluation.metrics import expected_calibration_error
from jax_avemo.evaluation.results import Calibration, TemperatureFit
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.records import read_record, write_record
from jax_avemo.schema import Batch

CALIBRATION_FILE = "calibration.json"
CALIBRATION_SCHEMA_VERSION = 1
MODALITIES = ("video+audio", "video", "audio")
"""What a clip can be predicted from; each has a temperature of its own."""
_FLOOR = 1e-12
_RANGE = (0.05, 20.0)


def apply_temperature(
    probabilities: Float[np.ndarray, "*N K"], temperature: float
) -> Float[np.ndarray, "*N K"]:
    """p_k^(1/T) / sum_j p_j^(1/T), which is softmax(logits / T); the order of classes stays.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 9.
    """
    scaled = np.log(np.clip(probabilities, _FLOOR, 1.0)) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def negative_log_likelihood(
    probabilities: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"]
) -> float:
    """Mean of -log p(label), nats; clips with a label below 0 left out."""
    known = np.flatnonzero(labels >= 0)
    true = probabilities[known, labels[known]]
    return float(-np.log(np.clip(true, _FLOOR, 1.0)).mean())


def fit_temperature(
    probabilities: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"]
) -> TemperatureFit:
    """The temperature with the least negative log-likelihood, and ECE before and after.

    The likelihood is unimodal in T; T stays in [0.05, 20], where it ends up when every clip is
    right or the network knows nothing. Fit it on validation clips, never on test clips.

    Raises:
      ValueError: no clip has a label.
    """
    known = labels >= 0
    if not known.any():
        raise ValueError("a temperature needs labelled clips")
    probabilities, labels = probabilities[known].astype(np.float64), labels[known]

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return negative_log_likelihood(scaled, labels)

    found: Any = minimize_scalar(loss, bounds=tuple(np.log(_RANGE)), method="bounded")
    temperature = float(np.exp(found.x))
    after = apply_temperature(probabilities, temperature)
    return TemperatureFit(
        temperature=temperature,
        clips=len(labels),
        ece_before=expected_calibration_error(probabilities, labels),
        ece_after=expected_calibration_error(after, labels),
        nll_before=negative_log_likelihood(probabilities, labels),
        nll_after=negative_log_likelihood(after, labels),
    )


def only(modalities: str) -> Callable[[Batch], Batch]:
    """A function that removes all but `modalities`, one of `MODALITIES`, from a batch."""

    def change(batch: Batch) -> Batch:
        changed = batch.copy()
        if "video" not in modalities:
            changed["video_mask"] = np.zeros_like(batch["video_mask"])
        if "audio" not in modalities:
            changed["audio"] = np.zeros_like(batch["audio"])
            changed["audio_length"] = np.zeros_like(batch["audio_length"])
        return changed

    return change


def write_calibration(run: Path, step: int, fits: Mapping[str, TemperatureFit]) -> Calibration:
    """Store the temperatures with the run (`calibration.json`); returns what was written."""
    record = Calibration(
        schema_version=CALIBRATION_SCHEMA_VERSION,
        step=step,
        fitted_on="validation",
        modalities=dict(fits),
    )
    write_record(run / CALIBRATION_FILE, record)
    return record


def read_temperatures(run: Path, step: int) -> dict[str, float] | None:
    """Temperature by `MODALITIES` of the network at `step`; None = it was never calibrated."""
    try:
        record = read_record(Calibration, run / CALIBRATION_FILE, CALIBRATION_SCHEMA_VERSION, "")
    except UserError:
        return None
    if record.step != step:
        return None
    return {name: fit.temperature for name, fit in record.modalities.items()}
