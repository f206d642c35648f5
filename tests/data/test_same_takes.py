"""One take twice: noted for one person, refused for two, never in two splits."""

import shutil

import numpy as np
import pytest
from support.audio_files import chirp, write_audio
from support.media_files import face_takes, tone, write_media

from jax_avemo.data.clip import ClipOptions
from jax_avemo.data.clip_store import read_clips
from jax_avemo.data.prepare import prepare
from jax_avemo.data.splits import split_clips
from jax_avemo.schema import Labels

OPTIONS = ClipOptions(frame_size=32, frames_per_second=5, max_seconds=10)
AUDIO_ALONE = ClipOptions(32, 5, 10, need_video=False)


def film(path, hertz: float, **how):
    return write_media(path, face_takes(6), sound=tone(0.6, hertz), **how)


def test_a_film_twice_of_one_person_is_noted(tmp_path):
    source = tmp_path / "in"
    film(source / "joy/anna/1.mp4", 440)
    shutil.copy(source / "joy/anna/1.mp4", source / "joy/anna/2.mp4")
    film(source / "joy/anna/3.mp4", 500)
    summary = prepare("folder", source, tmp_path / "clips", OPTIONS, workers=1)
    assert (summary.clips, summary.rejected) == (3, 0)
    assert summary.notes == [
        "1 takes are there more than once, as joy/anna/1.mp4 and joy/anna/2.mp4: "
        "kept, in no two splits"
    ]
    assert read_clips(tmp_path / "clips").same_takes == (("joy/anna/1.mp4", "joy/anna/2.mp4"),)
    assert prepare("folder", source, tmp_path / "clips", OPTIONS, workers=1) == summary


def test_a_film_of_two_people_is_refused_and_the_rest_goes_on(tmp_path):
    source = tmp_path / "in"
    film(source / "joy/anna/1.mp4", 440)
    (source / "joy/bo").mkdir()
    shutil.copy(source / "joy/anna/1.mp4", source / "joy/bo/1.mp4")
    film(source / "joy/bo/2.mp4", 500)
    summary = prepare("folder", source, tmp_path / "clips", OPTIONS, workers=1)
    assert [(reject.path, reject.reason) for reject in summary.rejects] == [
        ("joy/anna/1.mp4", "is the same take as joy/bo/1.mp4, of another subject (bo): keep one"),
        (
            "joy/bo/1.mp4",
            "is the same take as joy/anna/1.mp4, of another subject (anna): keep one",
        ),
    ]
    assert (summary.clips, summary.subjects, summary.notes) == (1, 1, [])
    (source / "joy/bo/1.mp4").unlink()
    summary = prepare("folder", source, tmp_path / "clips", OPTIONS, workers=1)
    assert (summary.clips, summary.rejected) == (2, 0)


@pytest.mark.parametrize(
    ("name", "codec"), [("b.wav", "pcm_s16le"), ("b.flac", "flac"), ("b.mkv", "pcm_s16le")]
)
def test_what_is_the_same_once_decoded_is_the_same(tmp_path, name, codec):
    """Stored otherwise, with silence around it."""
    voice = chirp(1.0, 16_000)
    write_audio(tmp_path / "in/joy/anna/a.wav", voice, rate=16_000, codec="pcm_s16le")
    padded = np.pad(voice, (320, 160))
    write_audio(tmp_path / "in/joy/bo" / name, padded, rate=16_000, codec=codec)
    write_audio(tmp_path / "in/joy/bo/c.wav", voice / 2, rate=16_000, codec="pcm_s16le")
    summary = prepare("folder", tmp_path / "in", tmp_path / "clips", AUDIO_ALONE, workers=1)
    assert {reject.path for reject in summary.rejects} == {"joy/anna/a.wav", f"joy/bo/{name}"}
    assert summary.clips == 1


def test_one_voice_under_two_pictures_is_two_takes(tmp_path):
    for name, first in (("joy/anna/1.mp4", 0), ("joy/bo/1.mp4", 4)):
        write_media(tmp_path / "in" / name, face_takes(10)[first : first + 6], sound=tone(0.6))
    summary = prepare("folder", tmp_path / "in", tmp_path / "clips", OPTIONS, workers=1)
    assert (summary.clips, summary.rejected, summary.notes) == (2, 0, [])


def test_one_take_under_two_emotions_is_a_warning(tmp_path):
    film(tmp_path / "in/joy/anna/1.mp4", 440)
    (tmp_path / "in/dread/anna").mkdir(parents=True)
    shutil.copy(tmp_path / "in/joy/anna/1.mp4", tmp_path / "in/dread/anna/1.mp4")
    summary = prepare("folder", tmp_path / "in", tmp_path / "clips", OPTIONS, workers=1)
    assert summary.notes[1] == (
        "warning: 1 takes are there under two emotions, as dread/anna/1.mp4 (dread) and "
        "joy/anna/1.mp4 (joy)"
    )


def people(count: int) -> list[Labels]:
    """Takes of two emotions and two sentences, four of each."""
    return [
        Labels(f"{subject}/{emotion}{words}{take}", emotion, subject, "", words, "", str(take))
        for subject in (f"{number:02d}" for number in range(count))
        for emotion in ("joy", "dread")
        for words in ("kids", "dogs")
        for take in range(4)
    ]


@pytest.mark.parametrize("protocol", ["subject_independent", "content_independent", "leaky"])
@pytest.mark.parametrize("seed", range(5))
def test_equal_takes_are_in_one_part_of_every_split(protocol, seed):
    labels = people(8)
    same = [
        (f"{subject:02d}/joykids{take}", f"{subject:02d}/joykids{take + 2}")
        for subject in range(8)
        for take in (0, 1)
    ]
    for fold in range(4):
        split = split_clips(
            labels,
            protocol=protocol,
            folds=4,
            fold=fold,
            validation_subjects=2,
            seed=seed,
            probe_share=0.25,
            same_takes=same,
        )
        part = {
            key: name
            for name in ("train", "probe", "validation", "test")
            for key in getattr(split, name)
        }
        assert all(part.get(one) == part.get(other) for one, other in same)
        if protocol != "content_independent":
            assert part.keys() == {clip.key for clip in labels}


def test_without_that_they_would_be_in_two():
    labels = people(8)
    split = split_clips(
        labels, protocol="leaky", folds=4, fold=0, validation_subjects=2, seed=0, probe_share=0.25
    )
    test = set(split.test)
    pairs = [(f"{s:02d}/joykids{t}", f"{s:02d}/joykids{t + 2}") for s in range(8) for t in (0, 1)]
    assert any((one in test) != (other in test) for one, other in pairs)


def test_an_equal_take_with_another_sentence_is_in_no_part():
    labels = people(8)
    options = {"protocol": "leaky", "folds": 4, "fold": 0, "validation_subjects": 2, "seed": 0}
    split = split_clips(labels, **options, same_takes=[("00/joykids0", "00/joydogs0")])
    everything = {*split.train, *split.probe, *split.validation, *split.test}
    assert {clip.key for clip in labels} - everything == {"00/joykids0"}
