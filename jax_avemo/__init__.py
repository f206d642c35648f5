"""Audio-visual emotion recognition in JAX that separates emotion from identity.

>>> from jax_avemo import load
>>> model = load("runs/decoupled")
>>> result = model.predict("film.mp4")
>>> result.times, result.probabilities
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jax_avemo.inference.predict import Model

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(run: "str | Path | None" = None) -> "Model":
    """The best network of a run directory, ready to predict; None = the newest finished run.

    Also a folder that `avemo export --format folder` wrote, or "hub:OWNER/NAME".

    See `jax_avemo.inference.predict.Model`. Raises `errors.UserError` when there is none.
    """
    from jax_avemo.inference.predict import load as load_model  # seconds of imports, not before

    return load_model(run)
