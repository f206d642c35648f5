"""Main face of a clip, and the fallback where no face is found."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from jax_avemo.media.decoding.container import MediaError, TimedFrame
from jax_avemo.media.faces.blazeface import FaceDetector
from jax_avemo.media.faces.crops import FaceTrack, cut_out, middle_square
from jax_avemo.media.faces.face_tracks import FaceFollowers, Followed
from jax_avemo.media.faces.placement import Cutout, Placement, prominence, whole_picture
from jax_avemo.media.shots import with_cuts

FACE_FALLBACKS = ("reject", "center")
MIN_FOUND = 0.25
"""Share of the frames in which the face must be found."""
_MAX_PEOPLE = 3
"""Followed at the same time; each costs a detection and a cutout a frame."""
_TAKEOVER_SECONDS = 1.0
"""After so long without the face, another one in the picture may stand in for it."""


def track_and_crop(
    frames: Iterable[TimedFrame],
    size: int,
    *,
    fallback: str = "reject",
    detector: FaceDetector | None = None,
) -> FaceTrack:
    """Follow the main face through `frames` and cut it out of each, `size` pixels square.

    Up to three faces are followed; the main one is that with the largest sum over the film of its
    share of the picture, those near the middle preferred. Others stand in only in another shot, and
    where it is not seen for over a second, so that a film cut from several takes of one person is
    followed through the cuts. A face that keeps still is looked for five times a second and
    interpolated between; where it moves, every frame is searched (a square around the last
    position, 1.5 ms).

    Raises MediaError when the face is found in fewer than a quarter of the frames and `fallback`
    is "reject"; with "center" the middle square of each picture is then taken.
    """
    if fallback not in FACE_FALLBACKS:
        raise ValueError(f"fallback is {fallback!r}, not one of {FACE_FALLBACKS}")
    followers = FaceFollowers(size, _MAX_PEOPLE, detector)
    times: list[float] = []
    cuts: list[int] = []
    pictures: list[Cutout] = []
    sizes: list[tuple[int, int]] = []
    for frame, cut in with_cuts(frames):
        followers.add(frame, cut=cut)
        cuts += [len(times)] if cut else []
        sharp = fallback == "center" or not followers.anyone
        times.append(frame.time)
        pictures.append(whole_picture(frame.image, size, sharp=sharp))
        sizes.append((frame.image.shape[1], frame.image.shape[0]))
    shots = np.searchsorted(cuts, np.arange(len(times)), side="right")
    people = followers.between(-np.inf, np.inf)
    cutouts, placements = _main_person(people, np.array(times), shots, pictures)
    found = sum(placement is not None for placement in placements)
    if found > 0 and found >= MIN_FOUND * len(times):
        return _cut_by_shot(cutouts, placements, np.array(times), shots, sizes, size)
    if fallback == "reject":
        count = f"any of {len(times)}" if not found else f"{len(times) - found} of {len(times)}"
        raise MediaError(f"no face found in {count} frames")
    crops = [
        middle_square(picture, whole, size) for picture, whole in zip(pictures, sizes, strict=True)
    ]
    return FaceTrack(crops, np.array(times), np.zeros(len(times), bool))


def _main_person(
    people: list[Followed],
    times: Float[np.ndarray, "F"],
    shots: Int[np.ndarray, "F"],
    pictures: list[Cutout],
) -> tuple[list[Cutout], list[Placement | None]]:
    """What is kept of every picture, and where the main face is in it."""
    cutouts, index_at = list(pictures), {time: index for index, time in enumerate(times.tolist())}
    placements: list[Placement | None] = [None] * len(times)
    taken = np.zeros(len(times), bool)
    for person in sorted(people, key=_weight, reverse=True):
        before = taken.copy()
        for sight in person.sights:
            index = index_at[sight.time]
            near = before & (shots == shots[index])
            if not near.any() or np.abs(times[near] - sight.time).min() > _TAKEOVER_SECONDS:
                cutouts[index], placements[index] = sight.cutout, sight.placement
                taken[index] = sight.placement is not None
    return cutouts, placements


def _cut_by_shot(
    cutouts: list[Cutout],
    placements: list[Placement | None],
    times: Float[np.ndarray, "F"],
    shots: Int[np.ndarray, "F"],
    sizes: list[tuple[int, int]],
    size: int,
) -> FaceTrack:
    """The crops of each shot by itself: nothing is smoothed over a cut."""
    crops = []
    for shot in np.unique(shots):
        inside = np.flatnonzero(shots == shot).tolist()
        kept, placed = [cutouts[i] for i in inside], [placements[i] for i in inside]
        if any(placement is not None for placement in placed):
            crops += cut_out(kept, placed, times[inside], size).crops
        else:
            crops += [middle_square(cutouts[i], sizes[i], size) for i in inside]
    return FaceTrack(crops, times, np.array([placement is not None for placement in placements]))


def _weight(person: Followed) -> float:
    return sum(
        prominence(s.placement, *s.picture) for s in person.sights if s.placement is not None
    )
