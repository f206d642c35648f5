"""The smallest run that touches every part, in seconds: for tests.

    python -m jax_avemo.main --config=configs/tiny.py

Four synthetic actors, two passes over their clips; the figures mean nothing.
"""

from jax_avemo.configs.decoupled import DECOUPLED
from ml_collections import ConfigDict

from jax_avemo.config import make_config


def get_config(size: str = "tiny") -> ConfigDict:
    """The config at one size."""
    return make_config("tiny", size, DECOUPLED)
