"""What the page is shown of predictions, and which messages of a webcam are refused."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from support.predictions import film as by_hand
from support.predictions import window

from jax_avemo.data.clip import ClipOptions, encode_jpeg
from jax_avemo.data.windows import WindowOptions, window_from_bytes
from jax_avemo.inference.timeline import FacePath, WindowPrediction
from jax_avemo.runtime.errors import UserError
from jax_avemo.web import analysis
from jax_avemo.web.webcam import MomentTask, live_window, pack_moment, unpack_moment

OPTIONS = WindowOptions(
    clip=ClipOptions(
        frame_size=40,
        frames_per_second=4.0,
        max_seconds=60.0,
        need_video=False,
        need_audio=False,
    ),
    window_seconds=3.0,
    hop_seconds=1.0,
    max_faces=4,
    video=True,
    audio=True,
)


def message(times=(0.0, 0.5), size=64, samples=16_000):
    jpeg = encode_jpeg(np.zeros((size, size, 3), np.uint8), 90)
    tone = np.sin(np.arange(samples) / 5) * 8000
    return pack_moment([(time, jpeg) for time in times], tone.astype(np.int16))


def predicted(start, face, emotion=0, box=None):
    known = emotion is not None
    probabilities = np.roll([0.7, 0.3], emotion) if known else None
    there = (("video",) if face is not None else ("audio",)) if known else ()
    return WindowPrediction(
        start,
        start + 3.0,
        face,
        there,
        probabilities,
        "calm" if known else None,
        0.7 if known else None,
        box,
        "" if known else "no face and no sound",
    )


def film(*windows):
    numbers = sorted({w.face for w in windows if w.face is not None})
    paths = [
        FacePath(n, np.array([0.0, 0.2]), np.tile([0.1, 0.2, 0.3, 0.4], (2, 1))) for n in numbers
    ]
    return windows, paths


def test_a_message_comes_out_as_it_went_in():
    moment = unpack_moment(message(times=(0.0, 0.25, 1.5)))
    assert [time for time, _ in moment.frames] == [0.0, 0.25, 1.5]
    assert all(jpeg.startswith(b"\xff\xd8") for _, jpeg in moment.frames)
    assert len(moment.samples) == 32_000


def tampered(**changes) -> bytes:
    whole = message()
    length = struct.unpack("<I", whole[:4])[0]
    text = json.dumps(json.loads(whole[4 : 4 + length]) | changes).encode()
    return struct.pack("<I", len(text)) + text + whole[4 + length :]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\xff\xff\xff\xff{}",
        message()[:-1],
        message() + b"x",
        message(times=(0.5, 0.5)),
        message(times=(0.5, 0.1)),
        message(times=(0.0, 61.0)),
        tampered(samples=-5),
        tampered(samples="many"),
        tampered(sound_begin=float("nan")),
        tampered(sound_begin=-1.0),
        tampered(frames=[{"time": float("nan"), "bytes": 1}]),
        tampered(frames=7),
        struct.pack("<I", 400_000) + b"[" * 400_000,
    ],
)
def test_a_malformed_message_is_refused(broken):
    with pytest.raises(UserError, match="malformed"):
        unpack_moment(broken)


def test_the_last_seconds_become_one_window():
    task = MomentTask(unpack_moment(message(times=(0.0, 1.0, 4.0), samples=64_000)), OPTIONS)
    window = window_from_bytes(live_window(task))
    assert (window.start, window.end) == (1.0, 4.0)
    (excerpt,) = window.excerpts  # a black picture has no face
    assert excerpt.face is None
    assert excerpt.clip.audio.size == 48_000


def test_a_picture_that_is_none_or_too_large_is_refused():
    damaged = pack_moment([(0.0, b"no jpeg")], np.zeros(0, np.int16))
    with pytest.raises(UserError):
        live_window(MomentTask(unpack_moment(damaged), OPTIONS))
    with pytest.raises(UserError, match="larger"):
        live_window(MomentTask(unpack_moment(message(size=1300)), OPTIONS))


def test_one_face_and_sound_make_one_timeline_of_the_film():
    found = analysis.tracks(*film(predicted(0, 1), predicted(1, None, 1), predicted(2, None, None)))
    (track,) = found
    assert track["name"] == "The film"
    assert [w["face"] for w in track["windows"]] == [True, False, False]
    assert [w["sound"] for w in track["windows"]] == [False, True, False]
    assert track["windows"][0]["probabilities"] == [0.7, 0.3]
    assert track["windows"][2]["probabilities"] is None
    assert track["windows"][2]["reason"] == "no face and no sound"
    assert track["boxes"][0] == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_several_faces_and_the_sound_are_kept_apart():
    found = analysis.tracks(
        *film(predicted(0, 1), predicted(0, None, 1), predicted(1, 1), predicted(1, 2))
    )
    assert [track["name"] for track in found] == ["Face 1", "Face 2", "The audio alone"]
    assert [w["probabilities"] is not None for w in found[0]["windows"]] == [True, True]
    assert [w["probabilities"] is not None for w in found[1]["windows"]] == [False, True]
    assert [w["probabilities"] is not None for w in found[2]["windows"]] == [True, False]
    assert found[1]["windows"][0]["reason"] == "not there"
    assert found[2]["boxes"] == []


def test_the_last_event_has_every_format_of_predict_under_the_senders_name():
    said = by_hand(window(0, 1, "happy"), duration=3.0)
    event = analysis.page_event(replace(said, source="<b>.mp4"))
    assert set(event["files"]) == {"csv", "vtt", "eaf", "TextGrid", "labelstudio"}
    for text in event["files"].values():
        assert "not for real people" in text
    assert json.loads(event["files"]["labelstudio"])[0]["data"]["media"] == "<b>.mp4"
    assert event["result"]["source"] == "<b>.mp4"
    json.dumps(event, allow_nan=False)


def test_a_webcam_shows_the_largest_face():
    small, large = (0.1, 0.1, 0.2, 0.2), (0.3, 0.3, 0.8, 0.8)
    sound = predicted(0, None)
    assert (
        analysis.nearest([predicted(0, 1, box=small), predicted(0, 2, box=large), sound]).face == 2
    )
    assert analysis.nearest([sound]) is sound
