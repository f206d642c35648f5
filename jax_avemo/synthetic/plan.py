"""Plan of the takes: the balanced grid, and the confound of emotion with actor."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import RAVDESS_EMOTIONS

EMOTION_COUNT = len(RAVDESS_EMOTIONS)
_ACTORS_IN_A_BLOCK = EMOTION_COUNT // 2


@dataclass(frozen=True)
class PlannedTake:
    """One clip to be made; all numbers count from 1 but `emotion`, an index of RAVDESS_EMOTIONS."""

    actor: int
    emotion: int
    statement: int
    repetition: int


def favoured_emotions(actors: int, seed: int) -> Int[np.ndarray, "actors 2"]:
    """The two emotions that every actor favours under a confound.

    In every block of four actors each emotion is favoured once, so that twelve actors favour each
    three times; the pairs are drawn anew for every block, and men and women are drawn alike.
    """
    blocks = -(-actors // _ACTORS_IN_A_BLOCK)
    pairs = [
        np.random.default_rng([seed, 7, block]).permutation(EMOTION_COUNT).reshape(-1, 2)
        for block in range(blocks)
    ]
    return np.concatenate(pairs)[:actors]


def emotion_counts(
    actors: int, takes: int, seed: int, confound: float
) -> Int[np.ndarray, "actors 8"]:
    """How many clips of every emotion every actor makes; 16 * takes clips an actor.

    With probability X = `confound` a take's emotion is one of the actor's two favoured ones, else
    any of the eight. The counts are the expectation of that, not a draw from it: of its 2 n clips
    an emotion (n = 8 takes), an unfavoured emotion keeps m = 2 takes (1 - X) and a favoured one
    gets 8 takes - 3 m. m is rounded up in some blocks of four actors and down in others, and is at
    least 1 (with takes = 1 this limits the realised X to 0.5; use 2 or more takes beyond).
    Every block holds the same number of clips of every emotion at every X.

    Raises UserError for X outside [0, 1], or X > 0 with a number of actors not divisible by four.
    """
    if not 0 <= confound <= 1:
        raise UserError(f"confound must be between 0 and 1, not {confound}")
    counts = np.full((actors, EMOTION_COUNT), 2 * takes)
    if confound == 0:
        return counts
    if actors % _ACTORS_IN_A_BLOCK:
        raise UserError(
            f"a confounded corpus needs a multiple of {_ACTORS_IN_A_BLOCK} actors (to keep the "
            f"emotions equally frequent), not {actors}"
        )
    wanted = 2 * takes * (1 - confound)
    favoured = favoured_emotions(actors, seed)
    owed = 0.0  # rounding errors are handed on to the next block
    for start in range(0, actors, _ACTORS_IN_A_BLOCK):
        owed += wanted
        others = int(np.clip(round(owed), 1, 2 * takes))
        owed -= others
        for actor in range(start, start + _ACTORS_IN_A_BLOCK):
            counts[actor] = others
            counts[actor, favoured[actor]] = EMOTION_COUNT * takes - 3 * others
    return counts


def plan_corpus(actors: int, takes: int, seed: int, confound: float = 0.0) -> list[PlannedTake]:
    """Every clip of the corpus, actor by actor.

    Each actor speaks both statements equally often; in an emotion they differ by one at most.
    Raises UserError for sizes that cannot be named in RAVDESS's way or as `emotion_counts` says.
    """
    if not 1 <= actors <= 99:
        raise UserError(f"the demo corpus has 1 to 99 actors (two digits in a name), not {actors}")
    if takes < 1:
        raise UserError(f"the demo corpus needs at least 1 take, not {takes}")
    if seed < 0:
        raise UserError(f"the demo corpus needs a seed of 0 or more, not {seed}")
    plan = []
    for actor, counts in enumerate(emotion_counts(actors, takes, seed, confound), start=1):
        if counts.max() > 2 * 99:
            raise UserError(f"{takes} takes are too many to name with two digits; use fewer")
        extra = actor % 2  # which statement gets the odd clip, in turn
        for emotion, count in enumerate(counts):
            shares = [count // 2, count // 2]
            if count % 2:
                shares[extra] += 1
                extra = 1 - extra
            plan += [
                PlannedTake(actor, emotion, statement, repetition)
                for statement, share in enumerate(shares, start=1)
                for repetition in range(1, share + 1)
            ]
    return plan
