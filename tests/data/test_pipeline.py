import os

import cv2
import grain
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_avemo.data.augment import AugmentOptions
from jax_avemo.data.pipeline import (
    BySubject,
    InputOptions,
    LabelIndex,
    check_stored,
    choose_frames,
    distinct_groups,
    evaluation_batches,
    make_example,
    training_batches,
)
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Clip, Labels

OPTIONS = InputOptions(frame_size=16, frames=3, audio_seconds=1.0)
INDEX = LabelIndex(("calm", "angry"), ("01", "02"))
VARIED = AugmentOptions(
    flip_probability=0.5,
    colour_strength=1,
    grey_probability=0.2,
    occlusion_probability=0.2,
    max_zoom=0.1,
    max_rotation_degrees=5,
    gain_db=3,
    noise_probability=0.5,
    max_speed_change=0.1,
    equaliser_db=4,
    mask_probability=0.5,
    audio_swap_probability=0.3,
)


def clip(number: int, frames: int = 8, samples: int = 12000) -> Clip:
    rng = np.random.default_rng(number)
    jpegs = tuple(
        cv2.imencode(".jpg", rng.integers(0, 255, (20, 20, 3), dtype=np.uint8))[1].tobytes()
        for _ in range(frames)
    )
    labels = Labels(
        key=f"clip{number:02d}", emotion=("calm", "angry")[number % 2], subject=f"{number % 3:02d}"
    )
    times = (np.arange(frames) / 10).astype(np.float32)
    audio = rng.integers(-3000, 3000, samples).astype(np.int16)
    return Clip(labels, jpegs, times, np.ones(frames, bool), 20, audio, samples / 16000)


CLIPS = [clip(number) for number in range(10)]


def batches(start_step: int, count: int, **kwargs) -> list[dict]:
    stream = training_batches(
        CLIPS,
        list(range(10)),
        [c.labels for c in CLIPS],
        OPTIONS,
        INDEX,
        VARIED,
        batch_size=4,
        seed=3,
        start_step=start_step,
        **kwargs,
    )
    return [next(stream) for _ in range(count)]


def assert_same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_the_order_and_the_variation_depend_on_seed_and_step_alone():
    whole = batches(0, 7)
    for resumed, expected in zip(batches(4, 3), whole[4:], strict=True):
        assert_same(resumed, expected)
    assert (whole[0]["video"] != whole[1]["video"]).any()


SUBJECTS = np.repeat(["ann", "bob", "cid", "dan"], [9, 4, 6, 1])


def by_subject(seed: int = 0, count: int = 3) -> BySubject:
    elements = list(range(20))
    return BySubject(grain.MapDataset.source(elements), elements, list(SUBJECTS), count, seed)


@pytest.mark.parametrize("cores", [1, 64])
def test_the_order_does_not_depend_on_the_number_of_threads(monkeypatch, cores):
    expected = batches(0, 6)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    for one, other in zip(expected, batches(0, 6), strict=True):
        assert_same(one, other)


def test_a_pass_by_subject_has_every_clip_and_groups_of_one_subject():
    order = [by_subject()[position] for position in range(len(by_subject()))]
    assert len(order) == 9 + 6 + 6 + 3
    assert set(order) == set(range(20))
    groups = SUBJECTS[order].reshape(-1, 3)
    assert (groups == groups[:, :1]).all()
    assert sorted(groups[:4, 0]) == ["ann", "bob", "cid", "dan"]  # a round has everybody
    assert sorted(order[position] for position in range(24) if order[position] < 9) == list(
        range(9)
    )


def test_a_clip_that_is_drawn_often_is_in_a_group_once():
    clips = [clip for clip in range(21) for _ in range(3 + clip % 3)]
    subjects = ["ann" if clip < 12 else "bob" for clip in clips]
    dataset = BySubject(grain.MapDataset.source(clips), clips, subjects, 4, 0)
    order = np.array([dataset[position] for position in range(len(dataset))])
    assert np.bincount(order).tolist() == [3 + clip % 3 for clip in range(21)]
    groups = np.sort(order.reshape(-1, 4))
    for of_subject in (groups[groups[:, 0] < 12], groups[groups[:, 0] >= 12]):
        assert (np.diff(of_subject[:-1]) > 0).all()  # what is left for the last one may repeat


def test_a_group_may_repeat_a_clip_where_there_are_no_others():
    order = np.arange(7)
    clips = [0, 0, 0, 0, 0, 1, 1]
    assert distinct_groups(order, clips, 3).tolist() == [0, 5, 1, 2, 6, 3, 4]


def test_without_repeats_the_order_stays():
    order = np.random.default_rng(0).permutation(50)
    assert distinct_groups(order, range(50), 8).tolist() == order.tolist()


def test_the_order_by_subject_depends_on_seed_and_pass():
    length = len(by_subject())
    first, second = ([by_subject()[n * length + i] for i in range(length)] for n in (0, 1))
    assert first == [by_subject()[i] for i in range(length)]
    assert first != second
    assert first != [by_subject(seed=1)[i] for i in range(length)]


def test_batches_by_subject_go_on_after_a_stop():
    whole = batches(0, 7, clips_per_subject=2)
    for resumed, expected in zip(batches(4, 3, clips_per_subject=2), whole[4:], strict=True):
        assert_same(resumed, expected)


def test_hosts_share_the_batch_of_one_host():
    (whole,) = batches(2, 1)
    halves = [batches(2, 1, process_index=i, process_count=2)[0] for i in range(2)]
    for name in whole:
        together = np.concatenate([halves[0][name], halves[1][name]])
        np.testing.assert_array_equal(together, whole[name])


def test_evaluation_visits_each_row_once_and_pads_the_last_batch():
    rows = [7, 1, 4, 9, 2]
    found = list(evaluation_batches(CLIPS, rows, OPTIONS, INDEX, batch_size=4))
    assert [b["valid"].tolist() for b in found] == [[True] * 4, [True, False, False, False]]
    for position, row in enumerate(rows):
        expected = make_example(CLIPS[row], OPTIONS, INDEX)
        for name, value in expected.items():
            got = found[position // 4][name][position % 4]
            np.testing.assert_array_equal(got, value, err_msg=name)


def test_evaluation_hosts_hold_contiguous_parts():
    rows = list(range(10))
    whole = list(evaluation_batches(CLIPS, rows, OPTIONS, INDEX, batch_size=4))
    parts = [
        list(
            evaluation_batches(
                CLIPS, rows, OPTIONS, INDEX, batch_size=4, process_index=i, process_count=2
            )
        )
        for i in range(2)
    ]
    for index, batch in enumerate(whole):
        for name in batch:
            together = np.concatenate([parts[0][index][name], parts[1][index][name]])
            np.testing.assert_array_equal(together, batch[name])


def test_labels_outside_the_training_set_are_unknown():
    example = make_example(clip(2), OPTIONS, INDEX)  # subject "02"
    assert (example["emotion"], example["subject"]) == (0, 1)
    example = make_example(clip(3), OPTIONS, LabelIndex(("calm",), ("01",)))
    assert (example["emotion"], example["subject"]) == (-1, -1)


def test_recombined_sound_of_another_subject_hides_the_subject():
    rng = np.random.default_rng(0)
    example = make_example(CLIPS[2], OPTIONS, INDEX, variation=VARIED, rng=rng, sound_of=CLIPS[4])
    assert example["subject"] == -1
    assert example["emotion"] == 0


def test_a_clip_without_picture_or_sound_is_masked_not_invented():
    silent = make_example(clip(0, samples=0), OPTIONS, INDEX)
    assert silent["audio_length"] == 0
    assert silent["video_mask"].all()
    blind = make_example(clip(0, frames=0), OPTIONS, INDEX)
    assert not blind["video_mask"].any()
    assert blind["audio_length"] == 12000


def test_long_clips_are_cut_to_one_window_in_both_modalities():
    long = clip(0, frames=40, samples=64000)  # 4 s
    example = make_example(long, OPTIONS, INDEX)
    assert example["audio_length"] == 16000
    assert example["video_mask"].all()
    assert (example["video_time"] >= 0).all()
    assert (example["video_time"] <= 1.0).all()
    np.testing.assert_allclose(example["audio"], long.audio[24000:40000].astype(np.float32) / 32768)


@given(st.integers(0, 40), st.integers(1, 12), st.floats(0, 2), st.floats(0.1, 5), st.booleans())
def test_chosen_frames_are_ascending_distinct_and_inside(frames, count, start, length, jitter):
    times = np.arange(frames) / 10
    rng = np.random.default_rng(0) if jitter else None
    chosen = choose_frames(times, count, start, length, rng)
    assert len(chosen) <= count
    assert (np.diff(chosen) > 0).all()
    assert ((times[chosen] >= start) & (times[chosen] <= start + length)).all()
    inside = int(((times >= start) & (times <= start + length)).sum())
    if inside <= count:
        assert len(chosen) == inside
    else:
        assert len(chosen) >= 1


def test_even_frames_are_even():
    chosen = choose_frames(np.arange(100) / 25, 4, 0.0, 4.0, None)
    np.testing.assert_allclose(np.diff(chosen), 25, atol=1)


def test_larger_frames_than_stored_are_refused():
    with pytest.raises(UserError, match="asks for more than the 20 px"):
        check_stored(20, InputOptions(frame_size=32, frames=1, audio_seconds=1))
