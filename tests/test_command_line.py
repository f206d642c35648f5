"""What becomes of errors that are no mistake in the code: one line, and what to do."""

import jax
import jax.numpy as jnp
import pytest

from jax_avemo.command_line import guarded


def told(work, capsys) -> str:
    assert guarded(work) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def raising(error: BaseException):
    def work() -> None:
        raise error

    return work


def test_a_device_without_memory_is_one_line(capsys):
    """JAX's own error, as a GPU gives it too: more than any machine has is asked for."""
    line = told(lambda: jnp.zeros(1 << 50, jnp.uint8).block_until_ready(), capsys)
    assert "RESOURCE_EXHAUSTED: Out of memory" in line
    for remedy in ("nvidia-smi", "XLA_PYTHON_CLIENT_MEM_FRACTION", "JAX_PLATFORMS=cpu"):
        assert remedy in line


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError(
            "FAILED_PRECONDITION: DNN library initialization failed. Look at the errors above for "
            "more details.\nand a listing"
        ),
        RuntimeError("Unable to initialize backend 'cuda': INTERNAL: no supported devices found"),
    ],
)
def test_a_device_that_does_not_start_is_one_line(error, capsys):
    line = told(raising(error), capsys)
    assert str(error).splitlines()[0] in line
    assert "nvidia-smi" in line
    assert "JAX_PLATFORMS=cpu" in line


def test_a_bug_keeps_its_traceback():
    for error in (RuntimeError("INTERNAL: a bug"), ValueError("RESOURCE_EXHAUSTED")):
        with pytest.raises(type(error)):
            guarded(raising(error))
