"""Export of a trained network to one file with its weights: StableHLO or ONNX."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jax_avemo.evaluation.calibration import read_temperatures
from jax_avemo.evaluation.network import INPUTS, make_network, temperatures_of
from jax_avemo.evaluation.trained_network import Trained, load_run
from jax_avemo.inference.onnx_export import OPSET, run_onnx, to_onnx
from jax_avemo.inference.timeline import APPARENT, SYNTHETIC_WARNING
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import atomic_path, write_json
from jax_avemo.schema import AUDIO_SAMPLE_RATE
from jax_avemo.training.train_state import example_batch

EXPORT_SCHEMA_VERSION = 1
FORMATS = ("stablehlo", "onnx")
TOLERANCES = {"stablehlo": 1e-5, "onnx": 1e-4}
"""How far a file's probabilities may be from the network's before it is refused."""
PLATFORMS = ("cpu", "cuda", "tpu")
"""Which a StableHLO file runs on."""
_MEANING = {
    "video": "RGB face crops, aligned and resized as docs/guides/predict.md says; padding is zeros",
    "video_mask": "true = a real frame; all false = no picture",
    "video_time": "seconds from the start of the window",
    "audio": f"mono, {AUDIO_SAMPLE_RATE} Hz, in [-1, 1]; padding is zeros",
    "audio_length": "real samples; 0 = no sound",
}


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    description: Path
    """JSON beside it: inputs, outputs, emotions, versions, what the network is not for."""
    bytes: int
    difference: float
    """Largest difference of a probability from the network's, on random clips."""


def export_run(run: Path, target: Path, form: str) -> Exported:
    """Write the best network of `run` to `target`, and what it is to `target`.json.

    Frames and sound as a `schema.Batch` has them come in, any number of rows; calibrated
    probabilities and the embeddings z, z_e, z_i come out. The file is run once and compared with
    the network before it takes its place.

    Args:
      run: directory of a trained run.
      target: file to write.
      form: "stablehlo" (read by `jax.export.deserialize`, without this package and without Flax)
        or "onnx" (read by onnxruntime; needs the extra `onnx`).

    Raises:
      UserError: no such run or format, an extra that is missing, a file that differs too much.
    """
    if form not in FORMATS:
        raise UserError(f"no format '{form}'; there are {', '.join(FORMATS)}")
    write, execute = {"stablehlo": (to_stablehlo, run_stablehlo), "onnx": (to_onnx, run_onnx)}[form]
    trained = load_run(run)
    temperatures = read_temperatures(trained.run, trained.step)
    network = make_network(trained.model.clone(dtype="float32"))

    def closed(inputs: Mapping[str, Any]) -> dict[str, Any]:
        return network(trained.variables, inputs, temperatures_of(temperatures))

    example = random_inputs(trained, rows=3)
    expected = {name: np.asarray(value) for name, value in jax.jit(closed)(example).items()}
    with atomic_path(target) as temporary:
        temporary.write_bytes(write(closed, example))
        found = execute(temporary.read_bytes(), example)
        difference = float(np.abs(found["probabilities"] - expected["probabilities"]).max())
        if not difference <= TOLERANCES[form]:
            differs = f"the {form} file differs from the network by {difference:.1e}"
            raise UserError(f"{differs} and was not kept; please report it")
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    description = target.with_name(target.name + ".json")
    write_json(
        description,
        {
            "schema_version": EXPORT_SCHEMA_VERSION,
            "file": target.name,
            "sha256": digest,
            "format": form,
            "warning": SYNTHETIC_WARNING if trained.synthetic else None,
            "meaning": APPARENT,
            "calibrated": temperatures is not None,
            "emotions": list(trained.index.emotions),
            "inputs": describe(example, _MEANING),
            "outputs": describe(expected, {}),
            "run": {"name": trained.config.name, "step": trained.step},
            "window_seconds": float(trained.config.input.audio_seconds),
            "platforms": list(PLATFORMS) if form == "stablehlo" else None,
            "opset": OPSET if form == "onnx" else None,
            "jax": jax.__version__,
            "largest_difference": difference,
        },
    )
    return Exported(target, description, target.stat().st_size, difference)


def random_inputs(trained: Trained, rows: int) -> dict[str, np.ndarray]:
    """Inputs as a clip has them: the last row lacks the picture, the one before it the sound."""
    rng = np.random.default_rng(0)
    batch = example_batch(trained.config, rows, training=False)
    inputs = {name: np.array(batch[name]) for name in INPUTS}
    frames = inputs["video"].shape[1]
    inputs["video"] = rng.integers(0, 256, inputs["video"].shape, dtype=np.uint8)
    seconds = trained.config.input.audio_seconds
    times = (np.arange(frames, dtype=np.float32) + 0.5) / frames * seconds
    inputs["video_time"] = np.tile(times, (rows, 1)).astype(np.float32)
    inputs["audio"] = (0.1 * rng.normal(size=inputs["audio"].shape)).astype(np.float32)
    if rows > 2:
        inputs["video_mask"][-1] = False
        inputs["audio_length"][-2] = 0
    return inputs


def describe(arrays: Mapping[str, np.ndarray], meaning: Mapping[str, str]) -> dict[str, Any]:
    """Shape (the rows are "batch") and type of every array, and what it is."""
    return {
        name: {"shape": ["batch", *value.shape[1:]], "dtype": str(value.dtype)}
        | ({"meaning": meaning[name]} if name in meaning else {})
        for name, value in arrays.items()
    }


def to_stablehlo(
    function: Callable[[Mapping[str, Any]], dict[str, Any]], example: Mapping[str, np.ndarray]
) -> bytes:
    """The function for any number of rows on cpu, cuda and tpu, serialised by `jax.export`."""
    from jax import export

    (rows,) = export.symbolic_shape("batch")
    shapes = {
        name: jax.ShapeDtypeStruct((rows, *value.shape[1:]), value.dtype)
        for name, value in example.items()
    }
    return bytes(export.export(jax.jit(function), platforms=PLATFORMS)(shapes).serialize())


def run_stablehlo(data: bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a StableHLO file as any program can that has JAX alone."""
    from jax import export

    outputs = export.deserialize(bytearray(data)).call(dict(inputs))
    return {name: np.asarray(value) for name, value in outputs.items()}
