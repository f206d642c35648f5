"""Resampling of training clips, so that emotion and subject depend less on each other."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

PRIOR = 1.0
"""Clips that every pair of emotion and subject is believed to have beside those that are seen."""
ROUNDS = 8
"""Epochs over which the shares of a draw are made whole."""


def independence_weights(
    emotions: Sequence[str], subjects: Sequence[str], prior: float = PRIOR
) -> Float[np.ndarray, " N"]:
    """How often each clip is to be drawn, 1 on average, for emotion and subject to be independent.

        w(e, s) = ( n_e n_s / n + a ) / ( n_es + a ),    divided by its mean over the clips

    With a = 0 this is P(e) P(s) / P(e, s), "reweighing" (Kamiran and Calders, Data preprocessing
    techniques for classification without discrimination, KAIS 2012, section 5.3): clips drawn with
    it have no dependence left. The prior count a keeps a pair with one clip from being that clip
    over and over. Where every subject shows every emotion equally often all weights are 1.

    Args:
      emotions, subjects: of each clip; "" = unknown, weight 1.
      prior: a.
    """
    known = [(e, s) for e, s in zip(emotions, subjects, strict=True) if e and s]
    of_emotion = Counter(e for e, _ in known)
    of_subject = Counter(s for _, s in known)
    of_pair = Counter(known)
    weights = np.ones(len(emotions))
    for row, pair in enumerate(zip(emotions, subjects, strict=True)):
        if pair in of_pair:
            emotion, subject = pair
            expected = of_emotion[emotion] * of_subject[subject] / len(known)
            weights[row] = (expected + prior) / (of_pair[pair] + prior)
    return weights / weights.mean() if len(weights) else weights


def draws(weights: Float[np.ndarray, " N"], rounds: int = ROUNDS) -> Int[np.ndarray, " M"]:
    """Positions, each as often as its weight wants over `rounds` epochs, in ascending order.

    Shares of a draw go to the clips whose running total passes a half (systematic resampling,
    Kitagawa 1996, without its random start), so that no position is off by one draw or more.
    Equal weights give every position once: one epoch is as good as eight.
    """
    if np.allclose(weights, weights[:1]):
        return np.arange(len(weights))
    totals = np.floor(np.cumsum(weights * rounds) + 0.5).astype(int)
    return np.repeat(np.arange(len(weights)), np.diff(totals, prepend=0))
