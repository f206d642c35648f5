"""The input pipeline: stored clips to batches, for any host, from any step.

The order depends on (seed, step) alone: `training_batches(start_step=n)` goes on exactly where a
run that was stopped after n steps would have gone, whatever the number of threads or hosts.
"""

import functools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import grain
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jax_avemo.data import augment
from jax_avemo.data.augment import AugmentOptions
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import AUDIO_SAMPLE_RATE, UNKNOWN, Batch, Clip, Labels

MOST_THREADS = 16
"""That make batches; more would wait for Python's lock (docs/notes/scaling.md)."""


@dataclass(frozen=True)
class InputOptions:
    """The shapes a network is fed."""

    frame_size: int
    frames: int
    audio_seconds: float

    @property
    def audio_samples(self) -> int:
        """Length of the padded sound."""
        return round(self.audio_seconds * AUDIO_SAMPLE_RATE)


@dataclass(frozen=True)
class LabelIndex:
    """Which number stands for which emotion and which *training* subject."""

    emotions: tuple[str, ...]
    subjects: tuple[str, ...]

    def emotion(self, name: str) -> int:
        """-1 when the emotion is unknown or not one of the network's."""
        return self.emotions.index(name) if name in self.emotions else UNKNOWN

    def subject(self, name: str) -> int:
        """-1 when the subject is not one the network was trained on."""
        return self.subjects.index(name) if name in self.subjects else UNKNOWN


def choose_frames(
    frame_times: Float[np.ndarray, " F"],
    count: int,
    start: float,
    length: float,
    rng: np.random.Generator | None,
) -> Int[np.ndarray, " K"]:
    """Indices (K <= count, ascending, no two equal) of the frames nearest to evenly spaced times.

    Args:
      frame_times: seconds, ascending.
      count: how many are wanted; fewer come where the clip has fewer.
      start, length: the window, seconds.
      rng: each time is drawn within its share of the window; None takes the middle of each share.
    """
    inside = np.flatnonzero((frame_times >= start) & (frame_times <= start + length))
    if len(inside) == 0:
        return inside
    if len(inside) <= count:
        return inside
    share = rng.random(count) if rng is not None else np.full(count, 0.5)
    last = min(start + length, frame_times[inside[-1]])
    first = max(start, frame_times[inside[0]])
    wanted = first + (np.arange(count) + share) / count * (last - first)
    times = frame_times[inside]
    right = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    nearest = right - (wanted - times[right - 1] < times[right] - wanted)
    return inside[np.unique(nearest)]


def make_example(
    clip: Clip,
    options: InputOptions,
    index: LabelIndex,
    *,
    variation: AugmentOptions | None = None,
    rng: np.random.Generator | None = None,
    sound_of: Clip | None = None,
) -> dict[str, Any]:
    """One row of a `Batch`.

    With `variation` and `rng` the clip is varied for training; without, the result is the same
    each time. `sound_of` is another take whose sound is heard instead of the clip's own.
    """
    sound = (sound_of or clip).audio.astype(np.float32) / 32768
    speed = 1.0
    if variation is not None and rng is not None:
        speed = 1 + rng.uniform(-variation.max_speed_change, variation.max_speed_change)
        if len(sound) > 1 and variation.max_speed_change:
            sound = augment.change_speed(sound, speed)
    frame_times = np.asarray(clip.frame_times, np.float64) / speed
    seconds = max(len(sound) / AUDIO_SAMPLE_RATE, frame_times[-1] if len(frame_times) else 0.0)
    spare = max(0.0, seconds - options.audio_seconds)
    start = spare * (rng.random() if variation is not None and rng is not None else 0.5)
    length = min(seconds, options.audio_seconds)

    first = round(start * AUDIO_SAMPLE_RATE)
    sound = sound[first : first + options.audio_samples]
    if variation is not None and rng is not None:
        sound = augment.vary_sound(sound, variation, rng)
    audio = np.zeros(options.audio_samples, np.float32)
    audio[: len(sound)] = sound

    chosen = choose_frames(frame_times, options.frames, start, length, rng if variation else None)
    video, mask, times = _frames(clip, chosen, frame_times - start, length, options, variation, rng)
    labels = clip.labels
    mixed = sound_of is not None and sound_of.labels.subject != labels.subject
    return {
        "video": video,
        "video_mask": mask,
        "video_time": times,
        "audio": audio,
        "audio_length": np.int32(len(sound)),
        "emotion": np.int32(index.emotion(labels.emotion)),
        "subject": np.int32(UNKNOWN if mixed else index.subject(labels.subject)),
        "valid": np.bool_(True),
    }


def _frames(
    clip: Clip,
    chosen: Int[np.ndarray, " K"],
    frame_times: Float[np.ndarray, " F"],
    length: float,
    options: InputOptions,
    variation: AugmentOptions | None,
    rng: np.random.Generator | None,
) -> tuple[UInt8[np.ndarray, "C H W 3"], Bool[np.ndarray, " C"], Float[np.ndarray, " C"]]:
    size, count, real = options.frame_size, options.frames, len(chosen)
    video = np.zeros((count, size, size, 3), np.uint8)
    mask = np.arange(count) < real
    times = ((np.arange(count) + 0.5) / count * length).astype(np.float32)
    if real:
        stored = np.stack([_decode(clip.frames[i]) for i in chosen])
        if variation is not None and rng is not None:
            matrix = augment.random_crop_matrix(clip.frame_size, size, variation, rng)
            video[:real] = augment.recolour(augment.crop(stored, size, matrix), variation, rng)
        else:
            matrix = augment.crop_matrix(clip.frame_size, size)
            video[:real] = augment.crop(stored, size, matrix)
        times[:real] = frame_times[chosen]
        times[real:] = times[real - 1]
    return video, mask, times


def _decode(jpeg: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise UserError("a stored frame is not a JPEG any more; delete the clips and prepare again")
    return image


def padding_row(options: InputOptions) -> dict[str, Any]:
    """A row that counts nowhere."""
    size, count = options.frame_size, options.frames
    return {
        "video": np.zeros((count, size, size, 3), np.uint8),
        "video_mask": np.zeros(count, bool),
        "video_time": np.zeros(count, np.float32),
        "audio": np.zeros(options.audio_samples, np.float32),
        "audio_length": np.int32(0),
        "emotion": np.int32(UNKNOWN),
        "subject": np.int32(UNKNOWN),
        "valid": np.bool_(False),
    }


class _TrainingRow(grain.transforms.RandomMap):
    """Index of a clip -> a varied row; the generator comes from (seed, position) alone."""

    def __init__(
        self,
        clips: Sequence[Clip],
        partners: dict[int, list[int]],
        options: InputOptions,
        index: LabelIndex,
        variation: AugmentOptions,
    ) -> None:
        self._clips, self._partners = clips, partners
        self._options, self._index, self._variation = options, index, variation

    def random_map(self, element: int, rng: np.random.Generator) -> dict[str, Any]:
        clip = self._clips[element]
        other = None
        if rng.random() < self._variation.audio_swap_probability:
            other = self._clips[int(rng.choice(self._partners[element]))]
        return make_example(
            clip,
            self._options,
            self._index,
            variation=self._variation,
            rng=rng,
            sound_of=other,
        )


class BySubject(grain.MapDataset):
    """Elements in a random order, `count` of one subject after each other.

    A pass is cut into rounds. A round has `count` elements of every subject that has any left, the
    subjects in random order, so that a batch has as many different subjects as it can. A clip that
    is drawn several times (resampling) is in a group once, if its subject has others: it would be
    centred on itself. A subject's last group is filled up with elements that it had before. The
    order depends on (seed, pass).

    Args:
      parent: the elements.
      clips: of each element, which clip it is.
      subjects: of each element.
    """

    def __init__(
        self,
        parent: grain.MapDataset,
        clips: Sequence[int],
        subjects: Sequence[str],
        count: int,
        seed: int,
    ) -> None:
        super().__init__(parent)
        self._clips = clips
        _, numbers = np.unique(subjects, return_inverse=True)
        self._members = [np.flatnonzero(numbers == n) for n in range(numbers.max() + 1)]
        self._count, self._seed = count, seed
        self._order = functools.lru_cache(maxsize=2)(self._order_of_pass)

    def __len__(self) -> int:
        return sum(-(-len(m) // self._count) * self._count for m in self._members)

    def _order_of_pass(self, number: int) -> Int[np.ndarray, " N"]:
        rng = np.random.default_rng((self._seed, number))
        groups = []
        for members in self._members:
            whole = -(-len(members) // self._count) * self._count
            order = distinct_groups(rng.permutation(members), self._clips, self._count)
            groups.append(np.resize(order, whole).reshape(-1, self._count))
        rounds = max(len(of_subject) for of_subject in groups)
        ordered = []
        for turn in range(rounds):
            there = [of_subject[turn] for of_subject in groups if turn < len(of_subject)]
            ordered += [there[position] for position in rng.permutation(len(there))]
        return np.concatenate(ordered)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        number, position = divmod(index, len(self))
        return self.parents[0][int(self._order(number)[position])]


def distinct_groups(
    order: Int[np.ndarray, " N"], clips: Sequence[int], count: int
) -> Int[np.ndarray, " N"]:
    """The order with as little change as makes the clips of each `count` in turn distinct.

    An element whose clip is in the group already waits for the next one. Where nothing else is
    left it stays.
    """
    waiting, ordered = deque(order), []
    while waiting:
        group: dict[int, int] = {}
        again = []
        while waiting and len(group) < count:
            element = waiting.popleft()
            if clips[element] in group:
                again.append(element)
            else:
                group[clips[element]] = element
        filled = count - len(group)
        ordered += [*group.values(), *again[:filled]]
        waiting.extendleft(reversed(again[filled:]))
    return np.array(ordered)


class _HostShare(grain.MapDataset):
    """Of every `batch_size` elements the `count` from `begin` on: one host's piece of the batch."""

    def __init__(self, parent: grain.MapDataset, batch_size: int, begin: int, count: int) -> None:
        super().__init__(parent)
        self._batch_size, self._begin, self._count = batch_size, begin, count

    def __len__(self) -> int:
        return len(self.parents[0]) // self._batch_size * self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        batch, position = divmod(index, self._count)
        return self.parents[0][batch * self._batch_size + self._begin + position]


def training_batches(
    clips: Sequence[Clip],
    rows: Sequence[int],
    labels_of_rows: Sequence[Labels],
    options: InputOptions,
    index: LabelIndex,
    variation: AugmentOptions,
    *,
    batch_size: int,
    clips_per_subject: int = 0,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Endless shuffled batches of this host's share, from step `start_step` on.

    Args:
      clips: stored clips.
      rows: which of them are trained on.
      labels_of_rows: their labels.
      batch_size: clips a step over all hosts.
      clips_per_subject: clips of one subject that stand together (`BySubject`); 0 = each alone.
    """
    by_emotion: dict[str, list[int]] = {}
    for row, labels in zip(rows, labels_of_rows, strict=True):
        by_emotion.setdefault(labels.emotion, []).append(row)
    partners = {
        row: by_emotion[labels.emotion] for row, labels in zip(rows, labels_of_rows, strict=True)
    }
    shuffled = grain.MapDataset.source(list(rows)).seed(seed)
    if clips_per_subject:
        shuffled = BySubject(
            shuffled, rows, [labels.subject for labels in labels_of_rows], clips_per_subject, seed
        )
    else:
        shuffled = shuffled.shuffle()
    dataset = shuffled.repeat(None).random_map(
        _TrainingRow(clips, partners, options, index, variation), seed=seed + 1
    )
    # The order of rows within the global batch is that of one host, and with it their dropout.
    local = batch_size // process_count
    dataset = _HostShare(dataset, batch_size, process_index * local, local)
    dataset = dataset.batch(local, drop_remainder=True)
    return iter(dataset[start_step:].to_iter_dataset(_reading(batches_ahead=8)))


def evaluation_batches(
    clips: Sequence[Clip],
    rows: Sequence[int],
    options: InputOptions,
    index: LabelIndex,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Each of `rows` once, in order; the last batch is filled with padding rows (`valid` False)."""
    padded = list(rows) + [UNKNOWN] * (-len(rows) % batch_size)
    local = batch_size // process_count

    def row(element: int) -> dict[str, Any]:
        if element == UNKNOWN:
            return padding_row(options)
        return make_example(clips[element], options, index)

    # Each host takes its contiguous part of every global batch, so that rows stay in order.
    parts = [
        position
        for begin in range(0, len(padded), batch_size)
        for position in padded[begin + process_index * local : begin + (process_index + 1) * local]
    ]
    dataset = grain.MapDataset.source(parts).map(row).batch(local)
    return iter(dataset.to_iter_dataset(_reading(batches_ahead=2)))


def _reading(batches_ahead: int) -> grain.ReadOptions:
    """A thread for each core, and at least as many batches ahead; their order stays the same."""
    threads = min(MOST_THREADS, max(2, len(os.sched_getaffinity(0))))
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(batches_ahead, threads))


def check_stored(stored_size: int, options: InputOptions) -> None:
    """Refuse to feed larger frames than were stored."""
    if options.frame_size > stored_size:
        raise UserError(
            f"input.frame_size={options.frame_size} asks for more than the {stored_size} px that "
            "are stored; prepare again with a larger --size (data.stored_size) or ask for less"
        )
