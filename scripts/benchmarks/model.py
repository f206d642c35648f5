"""Benchmark of the network against PyTorch: same shapes, same machine, same call.

    python scripts/benchmarks/model.py                          # every part at the size `cpu`
    python scripts/benchmarks/model.py --rows 'model-*@112'     # whole step and inference, 112 px
    python scripts/benchmarks/model.py --rows 'lstm*' --no-compile
    python scripts/benchmarks/model.py --list

A row is PART-MODE@SIZE. PART: resnext (with coordinate attention), resnext_plain, lstm (against a
loop over the same cell), lstm_nn (against torch.nn.LSTM on [video; audio] of the same steps, batch
and hidden width), audio, model (everything, with optimiser and task weights). MODE: train (forward,
backward; for model the whole step) or infer. SIZE: cpu, or the full size at 64, 112 or 224 px.

On a GPU `--scale 16` gives every row 16 times as many clips, and `--precision bfloat16` compares
with PyTorch's automatic mixed precision; float32 is TF32 in both, as JAX has it by default, and
cuDNN's algorithms are chosen by trial in both.

Each row is computed with the same weights by both first (at scale 1, in full float32 unless
bfloat16 is asked for), and is timed only if outputs (training: gradients, losses) agree. Then ours,
PyTorch's as it is and through torch.compile take turns, each in a process of its own, waiting while
another works, with as many threads as cores; PyTorch has channels last and no padding masks. Shown:
medians, and PyTorch's time over ours within one turn: median (lower to upper quartile); above 1 we
are ahead. `of peak` is the share of the largest matrix product's speed, measured by both frameworks
in this call, with a training step counted as three forward passes. On a CPU ours keeps freed
memory, as training, `avemo evaluate` and `avemo predict` do (`jax_avemo.runtime.memory`). `peak
MB` is what a contender's process needed above its imports (on a GPU: of the GPU's memory), with
what it compiled; `grown` what was added after the fifth call. `others had` is the share of
the machine that other processes took meanwhile: a turn with more than 5 % is taken again, up to
four times as many turns, and the quietest count. Needs the extra `bench`.
"""

import argparse
import contextlib
import fnmatch
import functools
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from torch_twins import rows
from torch_twins.setting import Call, Row

from jax_avemo.runtime.compilation import keep_compiled_programs
from jax_avemo.runtime.memory import keep_freed_memory
from jax_avemo.runtime.progress import Progress

TOLERANCE = {"float32": 1e-2, "bfloat16": 0.2}
"""Relative difference of outputs and gradients at which nothing is timed."""
OURS, EAGER, COMPILED = "JAX", "PyTorch", "PyTorch compiled"
LEAST_SECONDS = 0.1
"""A sample repeats its call until it lasts so long."""
WARM_UP_CALLS = 5
QUIET, MOST_TURNS = 0.05, 4
PEAK_SIDE = {"cpu": 2048, "cuda": 8192}


def contender(row: Row, name: str) -> Call:
    """A row's call by name."""
    if name == OURS:
        return row.ours()
    return row.theirs(torch.compile if name == COMPILED else lambda function: function)


def serve(row: Row, contestant: str, device: str) -> None:
    """A contender in a process of its own: for every number on stdin so many calls, timed."""
    peak_mb = functools.partial(peak_megabytes, contestant, device)
    before = peak_mb()
    began = time.perf_counter()
    call = contender(row, contestant)
    for _ in range(WARM_UP_CALLS):
        call()
    # What PyTorch's compiler needs once is part of the peak, what calls add to it is not to grow.
    print(json.dumps({"first_seconds": time.perf_counter() - began}), flush=True)
    warm = peak_mb()
    for line in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            call()
        told = {
            "seconds": (time.perf_counter() - began) / int(line),
            "cpu": time.process_time() - cpu,
            "peak_mb": peak_mb() - before,
            "later_mb": peak_mb() - warm,
        }
        print(json.dumps(told), flush=True)


def peak_megabytes(contestant: str, device: str) -> float:
    """The most this process ever had, of a GPU's memory where it computes on one."""
    if device == "cuda":
        if contestant == OURS:
            return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"] / 1e6
        return torch.cuda.max_memory_allocated() / 1e6
    # getrusage's figure is inherited from the parent.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


class Contender:
    """`serve` in another process."""

    def __init__(self, name: str, contestant: str, precision: str, scale: int) -> None:
        command = [sys.executable, __file__, "--alone", name, contestant]
        command += ["--precision", precision, "--scale", str(scale)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.first_seconds: float = self._heard()["first_seconds"]
        self.told: dict[str, float] = {}
        once = max(self.sample(1), 1e-5)
        self.calls = max(1, round(LEAST_SECONDS / once))

    def sample(self, calls: int) -> float:
        """Seconds a call."""
        assert self._process.stdin is not None
        print(calls, file=self._process.stdin, flush=True)
        self.told = self._heard()
        return self.told["seconds"]

    def _heard(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self._process.args)} failed; run it to see why")
        return json.loads(line)

    def end(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def busy_seconds() -> float:
    """Of all cores together, since the machine started."""
    user, nice, system, _, _, irq, soft, *_ = Path("/proc/stat").read_text().split()[1:9]
    ticks = sum(map(int, (user, nice, system, irq, soft)))
    return ticks / os.sysconf("SC_CLK_TCK")


def take_turns(
    contenders: dict[str, Contender], repeats: int, step: Callable[[], None]
) -> tuple[dict[str, list[float]], float]:
    """Seconds of every contender in every turn, and the most that others had of the machine then.

    The order is reversed from turn to turn. A turn in which other processes had more than QUIET of
    the machine is taken again, up to MOST_TURNS times as many; the quietest count.
    """
    turns: list[tuple[float, dict[str, float]]] = []
    while sum(share <= QUIET for share, _ in turns) < repeats > len(turns) / MOST_TURNS:
        busy, began, own = busy_seconds(), time.perf_counter(), 0.0
        turn = {}
        for name in list(contenders) if len(turns) % 2 else reversed(contenders):
            turn[name] = contenders[name].sample(contenders[name].calls)
            own += contenders[name].told["cpu"]
        available = (time.perf_counter() - began) * (os.cpu_count() or 1)
        turns.append((max(0.0, busy_seconds() - busy - own) / available, turn))
        if turns[-1][0] <= QUIET:
            step()
    turns.sort(key=lambda turn: turn[0])
    kept = turns[:repeats]
    return {name: [turn[name] for _, turn in kept] for name in contenders}, kept[-1][0]


def peak_gflops(device: str, precision: str) -> dict[str, float]:
    """Speed of a large matrix product, the best of some, by framework."""
    side = PEAK_SIDE[device]
    x = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    product = jax.jit(jnp.matmul)
    ours = jnp.asarray(x, precision)
    theirs = torch.from_numpy(x).to(device, getattr(torch, precision))

    def multiply() -> None:
        y = theirs @ theirs
        if device == "cuda":
            torch.cuda.synchronize()
        del y

    def least(multiply: Callable[[], Any]) -> float:
        taken = []
        for _ in range(7):
            began = time.perf_counter()
            multiply()
            taken.append(time.perf_counter() - began)
        return min(taken)

    calls = {OURS: lambda: product(ours, ours).block_until_ready(), EAGER: multiply}
    return {name: 2e-9 * side**3 / least(call) for name, call in calls.items()}


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """A GPU multiplies float32 with all its bits, not those of TF32."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with jax.default_matmul_precision("float32"):
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def checked(name: str, precision: str, device: str) -> float | None:
    """How far the frameworks' results differ, None where formulas do; SystemExit: too far."""
    row = rows.make_row(name, precision, device)
    if row.check is None:
        return None
    with full_float32():
        difference = row.check()
    if not difference <= TOLERANCE[precision]:
        raise SystemExit(f"{name}: results differ by {difference:.2g}; not timed")
    return difference


def measure(
    name: str, wanted: list[str], repeats: int, precision: str, device: str, scale: int, peak: float
) -> dict[str, Any]:
    """Check a row, time it, and say what came out."""
    found: dict[str, Any] = {"row": name, "difference": checked(name, precision, device)}
    row = rows.make_row(name, precision, device, scale)
    found |= {"unit": row.unit, "count": row.count}
    contenders: dict[str, Contender] = {}
    with Progress(repeats + len(wanted), name, unit="turns") as progress:
        try:
            for contestant in wanted:
                progress.advance(0, compiling=contestant)
                contenders[contestant] = Contender(name, contestant, precision, scale)
                progress.advance()
            progress.forget("compiling")
            taken, found["others"] = take_turns(contenders, repeats, progress.advance)
        finally:
            for one in contenders.values():
                one.end()
    for told in ("peak_mb", "later_mb"):
        found[told] = {name: one.told[told] for name, one in contenders.items()}
    found["first_seconds"] = {name: one.first_seconds for name, one in contenders.items()}
    found["seconds"] = taken
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    found["milliseconds"] = {name: 1000 * median for name, median in medians.items()}
    found["ratio"] = {
        name: quartiles([t / o for t, o in zip(taken[name], taken[OURS], strict=True)])
        for name in taken
        if name != OURS
    }
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        row.forward()
    operations = counter.get_total_flops() * (3 if row.trains else 1)
    found["gigaflop"] = operations / 1e9
    # torch.nn.LSTM is not counted by it.
    shares = {name: operations / 1e9 / t / peak for name, t in medians.items()}
    found["of_peak"] = shares if operations else {}
    return found


def quartiles(values: list[float]) -> list[float]:
    """Median, lower and upper quartile."""
    return [float(np.quantile(values, share)) for share in (0.5, 0.25, 0.75)]


def table(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    peak = found["peak_gflops"]
    lines = [
        f"{found['cores']} cores, {found['device']}, {found['precision']}, scale {found['scale']}, "
        f"JAX {found['jax']}, "
        f"PyTorch {found['torch']}; largest matrix product: JAX {peak[OURS]:.0f}, "
        f"PyTorch {peak[EAGER]:.0f} GFLOP/s; load before {found['load']:.1f}",
        "",
        "| row | JAX ms | a second | PyTorch ms | compiled ms | PyTorch / JAX | compiled / JAX "
        "| of peak: JAX, PyTorch, compiled | peak MB, likewise | grown | others had |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        ms, ratio = row["milliseconds"], row["ratio"]
        rate = f"{1000 * row['count'] / ms[OURS]:.3g} {row['unit']}"
        cells = [row["row"], f"{ms[OURS]:.4g}", rate]
        cells += [f"{ms[name]:.4g}" if name in ms else "-" for name in (EAGER, COMPILED)]
        cells += [spread(ratio[name]) if name in ratio else "-" for name in (EAGER, COMPILED)]
        cells.append(", ".join(f"{share:.0%}" for share in row["of_peak"].values()) or "-")
        cells += [", ".join(f"{mb:.0f}" for mb in row[t].values()) for t in ("peak_mb", "later_mb")]
        lines.append(f"| {' | '.join(cells)} | {row['others']:.0%} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """median (lower to upper quartile)."""
    return "{:.2f} ({:.2f} to {:.2f})".format(*values)


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", default=["*@cpu"], metavar="PATTERN", help="with * ?")
    parser.add_argument("--list", action="store_true", help="name all rows and end")
    parser.add_argument("--repeats", type=int, default=7, help="turns")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--precision", choices=list(TOLERANCE), default="float32")
    parser.add_argument("--scale", type=int, default=1, help="times as many clips and images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    chosen = [n for n in rows.names() if any(fnmatch.fnmatch(n, p) for p in args.rows)]
    if args.list or not chosen:
        print("\n".join(rows.names()))
        return 0 if args.list else 1

    # Several processes share a GPU: none takes most of it from the start.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    keep_compiled_programs("")
    if args.alone and args.alone[1] == OURS:
        keep_freed_memory()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("JAX has a GPU and PyTorch has none: install its CUDA build")
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    if args.alone:
        name, contestant = args.alone
        serve(rows.make_row(name, args.precision, device, args.scale), contestant, device)
        return 0
    wanted = [OURS, EAGER, *([] if args.no_compile else [COMPILED])]
    found: dict[str, Any] = {
        "cores": cores,
        "device": jax.devices()[0].device_kind,
        "load": os.getloadavg()[0],
        "precision": args.precision,
        "scale": args.scale,
        "jax": jax.__version__,
        "torch": torch.__version__,
        "contenders": wanted,
        "peak_gflops": peak_gflops(device, args.precision),
        "rows": [],
    }
    peak = max(found["peak_gflops"].values())
    for name in chosen:
        measured = measure(name, wanted, args.repeats, args.precision, device, args.scale, peak)
        torch.compiler.reset()
        gc.collect()
        found["rows"].append(measured)
        print(table(found | {"rows": [measured]}).splitlines()[-1], file=sys.stderr, flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
