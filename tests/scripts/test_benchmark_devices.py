"""The benchmark of several devices: what travels is read rightly, and every layout runs."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/benchmarks/devices.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("devices_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_collectives_are_counted_with_their_bytes(benchmark):
    hlo = """
      %all-reduce.1 = (f32[64,8]{1,0}, bf16[3]{0}, f32[]) all-reduce(%a, %b, %c), to_apply=%sum
      %all-reduce.2 = f32[10]{0} all-reduce(%d), to_apply=%sum
      %gather = s32[4,2]{1,0:T(8,128)} all-gather-start(%e), dimensions={0}
      %sum = f32[10]{0} add(%all-reduce.2, %d)
    """
    assert benchmark.collectives(hlo) == {
        "all-reduce": {"count": 2, "bytes": 4 * 512 + 6 + 4 + 40},
        "all-gather": {"count": 1, "bytes": 32},
    }


def test_the_difference_is_the_largest_of_any_loss(benchmark):
    one = [{"loss/a": 2.0, "loss/b": 0.0}, {"loss/a": 1.0, "loss/b": 4.0}]
    other = [{"loss/a": 2.0, "loss/b": 0.0}, {"loss/a": 1.1, "loss/b": 4.0}]
    assert benchmark.difference(other, one) == pytest.approx(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decoupled.py:tiny", "ablations.py:person_centred,tiny"])
def test_every_layout_has_the_losses_of_one_device(name):
    config = f"{SCRIPT.parents[2]}/configs/{name}"
    command = [sys.executable, str(SCRIPT), "--config", config, "--rows", "16", "--steps", "2"]
    ran = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert [found[layout]["devices"] for layout in ("1x1", "1x8", "2x1")] == [1, 8, 2]
    assert found["1x1"]["collectives"] == {}
    for layout in found.keys() - {"1x1"}:
        for here, there in zip(found[layout]["losses"], found["1x1"]["losses"], strict=True):
            assert here == pytest.approx(there, rel=1e-3)
        assert found[layout]["collectives"]["all-reduce"]["bytes"] >= (
            4 * found[layout]["parameters"] * 0.99
        )
