"""Alone or one of several: flags, SLURM, Kubernetes, Cloud TPU."""

import importlib.util

import pytest

from jax_avemo.runtime.cluster import Cluster, find_cluster
from jax_avemo.runtime.errors import UserError

SRUN = {
    "SLURM_JOB_ID": "4242",
    "SLURM_STEP_NODELIST": "node[001-002]",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "3"}


def test_nothing_is_found_where_nothing_is():
    assert find_cluster(None, None, None, {}) is None


def test_flags_win():
    found = find_cluster("10.0.0.1:4321", 4, 3, SRUN)
    assert found == Cluster("flags", "10.0.0.1:4321", 4, 3, all_devices=True)


def test_srun_is_found_and_each_task_has_the_device_of_its_rank():
    assert find_cluster(None, None, None, SRUN) == Cluster("SLURM")


@pytest.mark.parametrize(
    "more",
    [
        {"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_NTASKS": "2"},
        {"SLURM_STEP_TASKS_PER_NODE": "1,1", "SLURM_NTASKS": "2"},
        {"SLURM_GPUS_PER_TASK": "1"},
    ],
)
def test_a_task_that_sees_its_own_devices_alone_takes_all_it_sees(more):
    assert find_cluster(None, None, None, SRUN | more) == Cluster("SLURM", all_devices=True)


@pytest.mark.parametrize("missing", ["SLURM_STEP_NODELIST", "SLURM_PROCID"])
def test_a_batch_script_by_itself_is_alone(missing):
    environment = {name: value for name, value in SRUN.items() if name != missing}
    assert find_cluster(None, None, None, environment) is None


def test_a_single_task_is_alone():
    assert find_cluster(None, None, None, SRUN | {"SLURM_NTASKS": "1"}) is None


@pytest.mark.parametrize("tpu", [False, True])
def test_a_count_of_one_ignores_the_cluster(tpu):
    assert find_cluster(None, 1, None, SRUN | POD, tpu=tpu) is None


def test_a_tpu_is_always_asked():
    assert find_cluster(None, None, None, POD, tpu=True) == Cluster("Cloud TPU")


def test_a_pod_of_an_indexed_job_needs_the_package_to_find_the_others(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'jax\[k8s\]'"):
        find_cluster(None, None, None, POD)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert find_cluster(None, None, None, POD) == Cluster("Kubernetes")
    assert find_cluster(None, None, None, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) is None


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("10.0.0.1:4321", 2, None), "belong together"),
        ((None, 2, 0), "belong together"),
        ((None, None, 0), "belong together"),
        (("10.0.0.1", 2, 0), "must be HOST:PORT"),
        (("10.0.0.1:port", 2, 0), "must be HOST:PORT"),
        (("10.0.0.1:70000", 2, 0), "must be HOST:PORT"),
        (("10.0.0.1:4321", 2, 2), "from 0 to 1"),
        (("10.0.0.1:4321", 2, -1), "from 0 to 1"),
        (("10.0.0.1:4321", 0, 0), "at least 1"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, says):
    with pytest.raises(UserError, match=says):
        find_cluster(*flags, {})
