"""Detection of a cluster (flags, SLURM, Kubernetes, Cloud TPU), without JAX."""

import argparse
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from jax_avemo.runtime.errors import UserError

_SLURM = (
    "SLURM_JOB_ID",
    "SLURM_STEP_NODELIST",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_LOCALID",
)
"""What `srun` sets for every task and JAX reads; a batch script itself lacks the step's list."""


@dataclass(frozen=True)
class Cluster:
    """What `jax.distributed.initialize` is told; None = it finds out by itself."""

    found_by: str
    """flags, SLURM, Kubernetes or Cloud TPU."""
    coordinator: str | None = None
    process_count: int | None = None
    process_index: int | None = None
    all_devices: bool = False
    """Every device this process sees is its own; else JAX decides."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a run of several processes."""
    several = parser.add_argument_group(
        "several processes", "the same command on each; SLURM, Kubernetes and Cloud TPU need none"
    )
    several.add_argument(
        "--coordinator", metavar="HOST:PORT", help="where process 0 can be reached by all"
    )
    several.add_argument(
        "--process-count", type=int, metavar="N", help="how many (1 = stay alone on a cluster)"
    )
    several.add_argument("--process-index", type=int, metavar="K", help="which one this is, from 0")


def find_cluster(
    coordinator: str | None,
    process_count: int | None,
    process_index: int | None,
    environment: Mapping[str, str],
    *,
    tpu: bool = False,
) -> Cluster | None:
    """The cluster the flags name, or the one this process was started on; None = alone.

    Args:
      coordinator, process_count, process_index: the flags; all three or none, but a count of 1
        alone says that the cluster is to be ignored.
      environment: of the process.
      tpu: a Cloud TPU is there; its hosts are always asked, there may be one or many.

    Raises:
      UserError: flags that do not fit each other; Kubernetes without the package JAX asks it with.
    """
    given = (coordinator, process_count, process_index)
    if process_count == 1 and coordinator is None and process_index in (None, 0):
        return None
    if any(value is not None for value in given):
        return _from_flags(coordinator, process_count, process_index)
    if tpu:
        return Cluster("Cloud TPU")
    tasks = environment.get("SLURM_NTASKS", "1")
    if all(name in environment for name in _SLURM) and tasks != "1":
        return Cluster("SLURM", all_devices=_owns_all_it_sees(environment))
    if "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment:
        if importlib.util.find_spec("kubernetes") is None:
            raise UserError(
                "this is a pod of an indexed Kubernetes job, and finding the others needs "
                "pip install 'jax[k8s]'; or give --coordinator, --process-count and "
                "--process-index, or --process-count=1 to run alone"
            )
        return Cluster("Kubernetes")
    return None


def _from_flags(
    coordinator: str | None, process_count: int | None, process_index: int | None
) -> Cluster:
    if coordinator is None or process_count is None or process_index is None:
        raise UserError(
            "--coordinator, --process-count and --process-index belong together: the same "
            "coordinator and count on every host, and its own index from 0"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"--coordinator={coordinator} must be HOST:PORT, such as 10.0.0.1:4321")
    if process_count < 1:
        raise UserError(f"--process-count={process_count} must be at least 1")
    if not 0 <= process_index < process_count:
        raise UserError(
            f"--process-index={process_index} must be from 0 to {process_count - 1} "
            f"(--process-count={process_count})"
        )
    return Cluster("flags", coordinator, process_count, process_index, all_devices=True)


def _owns_all_it_sees(environment: Mapping[str, str]) -> bool:
    """Whether SLURM shows a task its own devices alone.

    JAX gives task i of a node the i-th device it sees, which is right when every task sees all
    devices of the node. With one task a node it would leave all but the first idle; with
    --gpus-per-task every task sees its own as number 0, and the second task fails.
    """
    tasks_a_node = environment.get("SLURM_STEP_TASKS_PER_NODE", "")  # such as 4(x2) or 1,2
    alone = bool(tasks_a_node) and all(
        part.partition("(")[0] == "1" for part in tasks_a_node.split(",")
    )
    return alone or "SLURM_GPUS_PER_TASK" in environment
