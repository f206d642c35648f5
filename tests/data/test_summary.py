"""The statistics of a data set: closed forms, what counts as clipped or soft, the text."""

import dataclasses
import json
import math

import numpy as np
import pytest

from jax_avemo.data.corpora.scan import Facts
from jax_avemo.data.summary import (
    Reject,
    Summary,
    describe,
    measure,
    read_summary,
    to_text,
    unlike_published,
)
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Clip, Labels


def sine(amplitude: float) -> np.ndarray:
    return np.round(amplitude * np.sin(2 * np.pi * 100 * np.arange(16_000) / 16_000)).astype(
        np.int16
    )


def clip(key="a", audio=None, found=(True, True), seconds=1.0, **labels) -> Clip:
    known = {"emotion": "joy", "subject": "1", **labels}
    return Clip(
        labels=Labels(key=key, **known),
        frames=(b"",) * len(found),
        frame_times=np.arange(len(found), dtype=np.float32),
        face_found=np.array(found, bool),
        frame_size=32,
        audio=sine(3276.8) if audio is None else audio,
        duration=seconds,
    )


def summary_of(clips: list[Clip], **changes) -> Summary:
    labels = [one.labels for one in clips]
    seconds = [one.duration for one in clips]
    values = {
        "corpus": "folder",
        "source": "/films",
        "options": {},
        "clips": len(clips),
        "subjects": len({label.subject for label in labels}),
        "emotions": {name: sum(x.emotion == name for x in labels) for name in ("joy", "dread")},
        "rejected": 0,
        "rejects": [],
        "long_sessions": [],
        "notes": [],
        "face_found_rate": 0.5,
        "duration_seconds": {
            "min": min(seconds),
            "mean": sum(seconds) / len(seconds),
            "max": max(seconds),
            "total": sum(seconds),
        },
        "fingerprint": "",
        "disagreements": [],
        "synthetic": False,
        "statistics": describe(labels, [measure(one) for one in clips]),
    }
    return Summary(**values | changes)


@pytest.mark.parametrize("amplitude", [327.68, 3276.8, 32_767.0])
def test_level_is_the_root_mean_square_below_full_scale(amplitude):
    wanted = 20 * math.log10(amplitude / 32_768 / math.sqrt(2))
    assert measure(clip(audio=sine(amplitude))).level_db == pytest.approx(wanted, abs=0.02)


def test_clipped_and_soft_clips_are_named():
    clips = [
        clip("loud", np.clip(sine(32_767).astype(np.int32) * 2, -32_768, 32_767).astype(np.int16)),
        clip("full", sine(32_300)),
        clip("hiss", np.resize(np.array([8, -8], np.int16), 16_000)),
        clip("quiet", sine(100)),
        clip("none", np.zeros(0, np.int16)),  # audio was not asked for
    ]
    audio = describe([one.labels for one in clips], [measure(one) for one in clips])["audio"]
    assert audio["clipped"] == ["loud"]
    assert audio["soft"] == ["hiss"]
    assert audio["level_db"]["min"] == pytest.approx(20 * math.log10(8 / 32_768), abs=0.1)


def test_by_emotion_and_subject():
    clips = [
        clip("a", subject="1", sex="female", seconds=1.0, statement="kids"),
        clip("b", subject="1", sex="female", seconds=2.0, emotion="dread", statement="kids"),
        clip("c", subject="2", seconds=3.0, found=(True, False, False), statement="dogs"),
        clip("d", subject="2", seconds=5.0, found=()),
    ]
    told = describe([one.labels for one in clips], [measure(one) for one in clips])
    assert told["by_subject"]["1"]["emotions"] == {"dread": 1, "joy": 1}
    assert told["by_subject"]["1"]["sex"] == "female"
    assert told["by_subject"]["2"]["clips"] == 2
    assert told["by_subject"]["2"]["seconds"] == 4.0
    assert told["by_subject"]["2"]["face_found_rate"] == pytest.approx(1 / 3, abs=1e-4)
    assert told["by_emotion"]["joy"]["seconds"] == 3.0
    assert told["by_emotion"]["dread"]["face_found_rate"] == 1.0
    assert told["sexes"] == {"?": 1, "female": 1}
    assert told["contents"] == {"dogs": 1, "kids": 2}
    assert told["few_faces"] == ["c"]
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_the_text_has_a_line_for_each_subject_and_what_is_odd():
    clips = [clip("a", sex="male"), clip("b", subject="Zoë", found=(True, False, False))]
    text = to_text(
        summary_of(
            clips,
            synthetic=True,
            rejects=[Reject("x.mp4", "is empty (0 bytes)")],
            notes=["skipped 3 files"],
        )
    )
    lines = text.splitlines()
    assert lines[0].startswith(
        "folder (SYNTHETIC): 2 clips of 2 subjects (1 of unknown sex, 1 male)"
    )
    assert lines[2].split() == [
        "subject",
        "sex",
        "joy",
        "dread",
        "clips",
        "mean",
        "s",
        "face",
        "%",
        "dBFS",
    ]
    assert lines[3].split() == ["1", "male", "1", "0", "1", "1.00", "100.0", "-23.0"]
    assert lines[4].split() == ["Zoë", "1", "0", "1", "1.00", "33.3", "-23.0"]
    assert lines[5].split() == ["all", "2", "0", "2", "1.00", "50.0", "-23.0"]
    assert "face found in less than half of the frames: 1, as b" in lines
    assert "refused: 1, as x.mp4: is empty (0 bytes)" in lines
    assert lines[-1] == "note: skipped 3 files"


def test_many_subjects_are_cut_short_and_sound_or_faces_may_be_absent():
    clips = [clip(f"{n}", np.zeros(0, np.int16), found=(), subject=f"{n:03d}") for n in range(40)]
    text = to_text(summary_of(clips, face_found_rate=None))
    assert "... and 10 more, in summary.json" in text
    assert "029" in text
    assert "030" not in text


def test_durations_are_compared_where_all_subjects_are_there():
    facts = Facts(("1", "2"), {}, seconds=(1.0, 1.5, 2.0))
    whole = [clip("a", seconds=1.1), clip("b", subject="2", seconds=1.9)]
    assert unlike_published(facts, summary_of(whole)) == []
    long = [whole[0], clip("b", subject="2", seconds=2.4)]
    (warning,) = unlike_published(facts, summary_of(long))
    assert warning == (
        "warning: clips last 1.10 / 1.75 / 2.40 s (shortest, mean, longest), "
        "published: 1.00 / 1.50 / 2.00"
    )
    assert unlike_published(facts, summary_of(long[:1])) == []
    assert unlike_published(None, summary_of(long)) == []


def test_a_summary_is_read_as_it_was_written_and_a_damaged_one_is_named(tmp_path):
    (tmp_path / "clips").mkdir()
    summary = summary_of([clip()], rejects=[Reject("x.mp4", "is empty (0 bytes)")])
    value = dataclasses.asdict(summary)
    (tmp_path / "summary.json").write_text(json.dumps(value))
    assert read_summary(tmp_path) == summary
    for damage in ("{", "[]", json.dumps(value | {"clips": "many"})):
        (tmp_path / "summary.json").write_text(damage)
        with pytest.raises(UserError, match="is damaged"):
            read_summary(tmp_path)
