"""A film's windows hold what training clips hold; who is judged by what in each of them."""

import dataclasses

import cv2
import numpy as np
import pytest
from support.media_files import face_picture, face_takes, tone, wall, write_media

from jax_avemo.data.clip import ClipOptions, make_clip
from jax_avemo.data.pipeline import InputOptions, LabelIndex, make_example
from jax_avemo.data.windows import (
    FilmTask,
    WindowMaker,
    WindowOptions,
    film_windows,
    is_silent,
    window_from_bytes,
    window_to_bytes,
)
from jax_avemo.media.decoding.container import MediaError, TimedFrame
from jax_avemo.media.decoding.stream import AudioPiece
from jax_avemo.schema import Labels, Recording

CLIP = ClipOptions(frame_size=48, frames_per_second=5.0, max_seconds=3600)
OPTIONS = WindowOptions(
    clip=CLIP, window_seconds=2.0, hop_seconds=0.5, max_faces=4, video=True, audio=True
)


def film(path, options=OPTIONS):
    messages = list(film_windows(FilmTask(str(path), options, 3600.0)))
    return [window_from_bytes(message) for message in messages[1:]]


def before_a_wall(*faces: np.ndarray | None) -> np.ndarray:
    """Faces of 128 px, or none, in the thirds of 256 x 384."""
    picture = wall(256, 384)
    for third, face in enumerate(faces):
        if face is not None:
            picture[64:192, third * 128 : (third + 1) * 128] = face
    return picture


def moments(windows) -> list[tuple[float, float]]:
    return [(w.start, round(w.end, 3)) for w in windows]


def test_a_short_film_is_to_the_network_what_its_training_clip_would_be(tmp_path):
    path = write_media(tmp_path / "x.mp4", face_takes(17), sound=tone(1.7))
    (window,) = film(path)
    (excerpt,) = window.excerpts
    assert (excerpt.face, excerpt.found, window.heard) == (1, 1.0, True)
    clip = make_clip(Recording(Labels("x", "", ""), path), CLIP)
    assert excerpt.clip.frames == clip.frames
    np.testing.assert_array_equal(excerpt.clip.frame_times, clip.frame_times)
    np.testing.assert_array_equal(excerpt.clip.face_found, clip.face_found)
    np.testing.assert_array_equal(excerpt.clip.audio, clip.audio)
    inputs = InputOptions(frame_size=32, frames=4, audio_seconds=2.0)
    index = LabelIndex(("a",), ("b",))
    ours, theirs = (make_example(c, inputs, index) for c in (excerpt.clip, clip))
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_windows_overlap_and_the_last_ends_with_the_film(tmp_path):
    path = write_media(tmp_path / "x.mp4", face_takes(37), sound=tone(3.7))
    windows = film(path)
    starts = [w.start for w in windows]
    assert starts[:4] == [0.0, 0.5, 1.0, 1.5]
    assert windows[-1].end == pytest.approx(3.7, abs=0.05)
    assert all(w.end - w.start == pytest.approx(2.0) for w in windows)
    for window in windows:
        (excerpt,) = window.excerpts
        assert excerpt.face == 1
        assert excerpt.clip.audio.size == pytest.approx(32_000, abs=1)
        assert 9 <= len(excerpt.clip.frames) <= 11
        assert 0 <= excerpt.clip.frame_times[0] < excerpt.clip.frame_times[-1] < 2.0
    times = [row[0] for w in windows for row in w.boxes.get(1, [])]
    assert times == sorted(set(times))
    assert min(np.diff(times)) > 0.19


def test_with_two_faces_the_voice_is_nobodys(tmp_path):
    pair = np.concatenate([face_picture(), face_picture()[:, ::-1]], axis=1)
    (window,) = film(write_media(tmp_path / "x.mp4", [pair] * 15, sound=tone(1.5)))
    assert [(e.face, e.clip.audio.size > 0) for e in window.excerpts] == [
        (1, False),
        (2, False),
        (None, True),
    ]
    assert window.excerpts[2].clip.frames == ()


def mouth(opening: float, flip: bool) -> np.ndarray:
    """The face with a dark mouth that is open so far, 0 to 1."""
    picture = face_picture().copy()
    cv2.ellipse(picture, (62, 82), (9, 1 + round(8 * opening)), 0, 0, 360, (60, 20, 20), -1)
    return np.ascontiguousarray(picture[:, ::-1]) if flip else picture


@pytest.mark.parametrize("speaker", [1, 2])
def test_with_two_faces_the_voice_is_whose_mouth_moves_with_it(tmp_path, speaker):
    random = np.random.default_rng(5)
    loud = (random.uniform(0, 1, 12) ** 2).repeat(4)
    openings = np.where(np.arange(48) % 2, loud, 0.0)
    pictures = [before_a_wall(mouth(o, False), None, mouth(0.3, True)) for o in openings]
    if speaker == 2:
        pictures = [before_a_wall(mouth(0.3, False), None, mouth(o, True)) for o in openings]
    gain = np.interp(np.arange(64_000) / 16_000, (np.arange(48) + 0.5) / 12, loud)
    sound = (tone(4.0, 300.0, 16_000) * gain).astype(np.float32)
    path = tmp_path / "x.mp4"
    write_media(path, pictures, frames_per_second=12, sound=sound, rate=16_000)
    clip = dataclasses.replace(CLIP, frames_per_second=12.0, frame_size=80)
    options = dataclasses.replace(OPTIONS, clip=clip, window_seconds=4.0)
    (window,) = film(path, options)
    heard = {e.face: e.clip.audio.size > 0 for e in window.excerpts}
    left = window.excerpts[0].face if window.boxes[1][0][1] < 0.5 else window.excerpts[1].face
    assert heard == {left: speaker == 1, 3 - left: speaker == 2}


def test_silence_and_emptiness_are_left_out(tmp_path):
    empty = np.full((128, 128, 3), 90, np.uint8)
    silence = np.zeros(24_000, np.float32)
    face_only = film(write_media(tmp_path / "a.mp4", face_takes(15), sound=silence, rate=16_000))
    assert [(e.face, e.clip.audio.size) for e in face_only[0].excerpts] == [(1, 0)]
    sound_only = film(write_media(tmp_path / "b.mp4", [empty] * 15, sound=tone(1.5)))
    assert [(e.face, len(e.clip.frames)) for e in sound_only[0].excerpts] == [(None, 0)]
    nothing = film(write_media(tmp_path / "c.mp4", [empty] * 15, sound=silence, rate=16_000))
    assert [w.excerpts for w in nothing] == [()]
    assert not nothing[0].heard


def test_a_face_in_under_a_quarter_of_the_frames_does_not_count(tmp_path):
    empty = wall(256, 384)
    faces = [before_a_wall(face) for face in face_takes(5)]
    few = [empty] * 8 + faces[:2]
    (window,) = film(write_media(tmp_path / "x.mp4", few, frames_per_second=5))
    assert window.excerpts == ()
    some = [empty] * 5 + faces
    (window,) = film(write_media(tmp_path / "y.mp4", some, frames_per_second=5))
    assert [e.face for e in window.excerpts] == [1]
    assert window.excerpts[0].found == pytest.approx(0.5)


def test_the_network_that_only_listens_decodes_no_picture(tmp_path):
    options = dataclasses.replace(OPTIONS, video=False)
    (window,) = film(write_media(tmp_path / "x.mp4", face_takes(15), sound=tone(1.5)), options)
    assert [(e.face, e.clip.frames) for e in window.excerpts] == [(None, ())]


def test_windows_travel_as_bytes(tmp_path):
    (window,) = film(write_media(tmp_path / "x.mp4", face_takes(15), sound=tone(1.5)))
    again = window_from_bytes(window_to_bytes(window))
    assert again.boxes == window.boxes
    assert (again.start, again.end, again.heard) == (window.start, window.end, window.heard)
    assert again.excerpts[0].clip.frames == window.excerpts[0].clip.frames
    with pytest.raises(ValueError, match="checksum"):
        window_from_bytes(window_to_bytes(window)[:-1] + b"?")


def test_nothing_readable_is_said_at_once(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"no film")
    with pytest.raises(MediaError, match="x.mp4"):
        next(film_windows(FilmTask(str(tmp_path / "x.mp4"), OPTIONS, 60.0)))


def test_sound_is_laid_by_its_samples_and_later_pieces_count():
    maker = WindowMaker(OPTIONS)
    maker.add_sound(AudioPiece(0, np.full(100, 1, np.int16)))
    maker.add_sound(AudioPiece(150, np.full(100, 2, np.int16)))
    maker.add_sound(AudioPiece(240, np.full(10, 3, np.int16)))
    maker.add_sound(AudioPiece(-5, np.full(10, 4, np.int16)))
    sound = maker._sound(0, np.inf)
    expected = [4] * 5 + [1] * 95 + [0] * 50 + [2] * 90 + [3] * 10
    np.testing.assert_array_equal(sound, np.array(expected, np.int16))
    maker.forget(100 / 16_000)
    np.testing.assert_array_equal(maker._sound(0, np.inf), np.array(expected[100:], np.int16))
    assert maker.audio_end == pytest.approx(250 / 16_000)


def test_it_holds_a_window_and_a_hop_however_long_the_film_is():
    maker = WindowMaker(dataclasses.replace(OPTIONS, clip=dataclasses.replace(CLIP, frame_size=16)))
    picture = face_picture(64)
    held, count = 0, 0
    for second in range(40):
        for tick in range(5):
            maker.add_frame(TimedFrame(second + tick / 5, picture))
        maker.add_sound(AudioPiece(second * 16_000, np.full(16_000, 999, np.int16)))
        count += len(list(maker.due(maker.video_end)))
        sights = sum(len(face.sights) for face in maker._faces.between(0, 1e9))
        held = max(held, sights, len(maker._frame_times), len(maker._audio) // 3200)
    assert count >= 73
    assert held <= 5 * 5  # of 200


def test_windows_never_straddle_a_cut(tmp_path):
    """Three shots of 3.2, 1 and 2.4 s; the sound goes on through all of them."""
    near, far = face_takes(28), [np.ascontiguousarray(p[:, ::-1] // 2) for p in face_takes(5)]
    shots = near[:16] + far + near[16:]
    windows = film(write_media(tmp_path / "x.mp4", shots, frames_per_second=5, sound=tone(6.6)))
    assert sorted({round(w.shot_start, 2) for w in windows}) == [0.0, 3.2, 4.2]
    for window in windows:
        shot_end = next((cut for cut in (3.2, 4.2, 6.6) if cut > window.shot_start + 0.1), 9.9)
        assert window.shot_start <= window.start < window.end <= shot_end + 0.1
        (excerpt,) = window.excerpts
        assert excerpt.face == 1 + [0.0, 3.2, 4.2].index(round(window.shot_start, 2))
        seconds = window.end - window.start
        assert excerpt.clip.audio.size == pytest.approx(16_000 * seconds, abs=1600)
        assert len(excerpt.clip.frames) == pytest.approx(5 * seconds, abs=1)
    assert [w.start for w in windows[:3]] == [0.0, 0.5, 1.0]


def test_faces_are_numbered_without_gaps_in_the_order_they_appear(tmp_path):
    """The second one met is gone before it counts."""
    face, other = face_picture(), face_picture()[:, ::-1]
    pictures = [before_a_wall(face)] * 10 + [before_a_wall(face, other)] * 2
    pictures += [before_a_wall(face)] * 18 + [before_a_wall(face, None, other)] * 20
    windows = film(write_media(tmp_path / "x.mp4", pictures, frames_per_second=5))
    assert {e.face for w in windows for e in w.excerpts} == {1, 2}
    told = [number for w in windows for number in w.boxes]
    assert set(told) == {1, 2}
    times = {n: [row[0] for w in windows for row in w.boxes.get(n, [])] for n in (1, 2)}
    assert times[1][0] == 0.0
    assert times[2][0] == pytest.approx(6.0, abs=0.05)
    assert all(np.all(np.diff(rows) > 0.19) for rows in times.values())


def test_video_that_ends_before_the_audio_holds_nothing_up():
    maker = WindowMaker(OPTIONS)
    for tick in range(5):
        maker.add_frame(TimedFrame(tick / 5, face_picture(64)))
    maker.add_sound(AudioPiece(0, np.full(160_000, 999, np.int16)))
    assert moments(maker.due(10.0)) == []
    maker.end_video()
    assert len(moments(maker.due(10.0))) == 17


@pytest.mark.parametrize(("decibels", "silent"), [(-50.0, False), (-60.0, True)])
def test_what_silence_is(decibels, silent):
    wave = np.sqrt(2) * 10 ** (decibels / 20) * np.sin(np.arange(16_000) / 5)
    assert is_silent(np.round(wave * 32768).astype(np.int16)) == silent
    assert is_silent(np.zeros(0, np.int16))
