"""Benchmark of exported runs: size and time; the table of docs/guides/export.md.

    python scripts/benchmarks/export.py RUN

Latency is the least of some calls, with the file read and compiled before. Needs the extra `onnx`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnxruntime
from jax import export

from jax_avemo.evaluation.trained_network import load_run
from jax_avemo.inference.export import export_run, random_inputs

_CALLS = 7


def main() -> None:
    """Export, run, print a row of the table for each batch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    trained = load_run(args.run)
    with tempfile.TemporaryDirectory() as folder:
        for form, opened in {"stablehlo": _stablehlo, "onnx": _onnx}.items():
            target = Path(folder) / f"run.{form}"
            began = time.perf_counter()
            made = export_run(args.run, target, form)
            print(
                f"{form}, size {trained.config.size}: {made.bytes / 1e6:.1f} MB, written in "
                f"{time.perf_counter() - began:.0f} s, difference {made.difference:.1e}",
                flush=True,
            )
            call = opened(target)
            for rows in (1, 8):
                inputs = random_inputs(trained, rows)
                began = time.perf_counter()
                call(inputs)
                first = time.perf_counter() - began
                taken = []
                for _ in range(_CALLS):
                    began = time.perf_counter()
                    call(inputs)
                    taken.append(time.perf_counter() - began)
                print(
                    f"batch {rows}: first call {first:.1f} s, then {1000 * min(taken):.0f} ms, "
                    f"{1000 * min(taken) / rows:.0f} ms a window",
                    flush=True,
                )


def _stablehlo(path: Path) -> Callable[[dict[str, np.ndarray]], Any]:
    call = jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
    return lambda inputs: jax.block_until_ready(call(inputs))


def _onnx(path: Path) -> Callable[[dict[str, np.ndarray]], Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)


if __name__ == "__main__":
    main()
