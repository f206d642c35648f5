"""Duplicate takes: clips of equal content under two keys."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from jax_avemo.schema import Clip, Labels


def content_digest(clip: Clip) -> str:
    """SHA-256 of what is seen and heard, however it was stored in the file.

    Silence around the audio is left out: containers put more or less of it there.
    """
    digest = hashlib.sha256(np.trim_zeros(clip.audio).astype("<i2").tobytes())
    for frame in clip.frames:
        digest.update(hashlib.sha256(frame).digest())
    return digest.hexdigest()


def find_same_takes(digests: Mapping[int, str]) -> list[list[int]]:
    """Positions of equal content, two at least in each group, in order."""
    groups: dict[str, list[int]] = defaultdict(list)
    for position in sorted(digests):
        groups[digests[position]].append(position)
    return [positions for positions in groups.values() if len(positions) > 1]


def contradictions(takes: Sequence[Labels]) -> dict[str, str]:
    """Key -> why it is refused, of equal takes that are of several subjects; else nothing.

    One of the subjects is wrong, and nobody knows which.
    """
    if len({take.subject for take in takes}) == 1:
        return {}
    others = {take.key: next(o for o in takes if o.subject != take.subject) for take in takes}
    return {
        key: f"is the same take as {other.key}, of another subject ({other.subject}): keep one"
        for key, other in others.items()
    }


def same_take_notes(groups: Sequence[Sequence[Labels]]) -> list[str]:
    """What is said of equal takes of one subject: how many, and whether their emotions differ."""
    if not groups:
        return []
    first = " and ".join(take.key for take in groups[0])
    notes = [f"{len(groups)} takes are there more than once, as {first}: kept, in no two splits"]
    torn = [takes for takes in groups if len({take.emotion for take in takes}) > 1]
    if torn:
        named = " and ".join(f"{take.key} ({take.emotion})" for take in torn[0])
        notes.append(f"warning: {len(torn)} takes are there under two emotions, as {named}")
    return notes


def without_copies(
    labels: Sequence[Labels], same_takes: Sequence[Sequence[str]]
) -> tuple[list[Labels], dict[str, list[str]]]:
    """Clips sorted by key, of each group of equal ones the first; and what goes where it goes.

    Equal ones of another subject or sentence go nowhere: their labels contradict the first's.
    """
    known = {clip.key: clip for clip in sorted(labels, key=lambda clip: clip.key)}
    followers: dict[str, list[str]] = {}
    for keys in same_takes:
        there = [known[key] for key in sorted(keys) if key in known]
        for other in there[1:]:
            del known[other.key]
            alike = (other.subject, other.statement) == (there[0].subject, there[0].statement)
            followers.setdefault(there[0].key, []).extend([other.key] * alike)
    return list(known.values()), followers
