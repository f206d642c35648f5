"""librosa's spectral features, without the half minute that its numba functions take to compile.

Those find peaks and zero crossings and work on complex numbers; no test calls them.
"""

from unittest import mock

import numba
import numpy as np


def _python(*_, **__):
    """In place of the decorators that compile at once."""
    return np.vectorize


with (
    mock.patch.object(numba, "guvectorize", _python),
    mock.patch.object(numba, "vectorize", _python),
):
    import librosa
    import librosa.feature.spectral

__all__ = ["librosa"]
