"""What is said of films: the same as in evaluation, by the faces and sound that are there."""

import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from support.audio_files import write_audio
from support.media_files import face_picture, face_takes, tone, write_media
from support.random_run import write_run

from jax_avemo.data.clip import ClipOptions, make_clip
from jax_avemo.data.pipeline import make_example
from jax_avemo.evaluation.calibration import apply_temperature, write_calibration
from jax_avemo.evaluation.network import jitted_network
from jax_avemo.evaluation.results import TemperatureFit
from jax_avemo.evaluation.trained_network import load_run
from jax_avemo.inference import annotate, predict
from jax_avemo.inference.predict import Model, load, newest_run
from jax_avemo.media.decoding.decode import read_media
from jax_avemo.media.decoding.stream import MAX_SECONDS
from jax_avemo.media.sandbox import Limits
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Labels, Recording

RATE = 12
TEMPERATURES = {"video+audio": 2.0, "video": 3.0, "audio": 0.5}


@pytest.fixture(scope="module")
def model(run) -> Model:
    return load(run)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Four seconds of one face and a tone: longer than a window of three."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_media(path, face_takes(48), frames_per_second=RATE, sound=tone(4.0))


@pytest.fixture(scope="module")
def predicted(model, film):
    return model.predict(film)


def test_a_short_film_gets_the_probabilities_of_evaluation_divided_by_temperature(run, tmp_path):
    path = write_media(tmp_path / "x.mp4", face_takes(30), frames_per_second=RATE, sound=tone(2.5))
    fit = TemperatureFit(1.0, 10, 0, 0, 0, 0)
    fits = {
        name: TemperatureFit(**{**fit.__dict__, "temperature": t})
        for name, t in TEMPERATURES.items()
    }
    write_calibration(run, 3, fits)
    try:
        model = load(run)
    finally:
        (run / "calibration.json").unlink()
    (window,) = model.predict(path).windows
    assert model.facts.calibrated

    trained = load_run(run)
    data = trained.config.data
    options = ClipOptions(data.stored_size, data.stored_fps, MAX_SECONDS)
    clip = make_clip(Recording(Labels("x", "", ""), path), options)
    row = make_example(clip, model.inputs, trained.index)
    batch = {name: np.stack([value]) for name, value in row.items()}
    expected = jitted_network(trained.model)(trained.variables, batch)
    scaled = apply_temperature(np.asarray(expected["probabilities"], np.float64), 2.0)[0]
    np.testing.assert_allclose(window.probabilities, scaled, atol=1e-5)
    np.testing.assert_allclose(window.embedding, expected["z_e"][0], atol=1e-4)
    assert window.emotion == model.emotions[scaled.argmax()]
    assert window.confidence == pytest.approx(scaled.max(), abs=1e-5)


def test_windows_follow_each_other_and_know_what_was_there(predicted, model):
    np.testing.assert_allclose(predicted.times[:, 0], [0, 1], atol=0.05)
    assert predicted.times[-1, 1] == pytest.approx(4.0, abs=0.1)
    assert {w.modalities for w in predicted.windows} == {("video", "audio")}
    assert predicted.probabilities.shape == (2, len(model.emotions))
    np.testing.assert_allclose(predicted.probabilities.sum(1), 1, atol=1e-5)
    assert predicted.complete
    (path,) = predicted.faces
    assert path.boxes.shape == (len(path.times), 4)
    for window in predicted.windows:
        left, top, right, bottom = window.box
        assert -0.2 < left < 0.5 < right < 1.2
        assert -0.2 < top < 0.5 < bottom < 1.2


def test_arrays_in_memory_are_predicted_as_the_file_is(model, film, predicted):
    media = read_media(film, frames_per_second=4.0)
    shown = list(media.frames)
    images, times = np.stack([f.image for f in shown]), np.array([f.time for f in shown])
    ours = model.predict_arrays(images, times, media.audio)
    np.testing.assert_allclose(ours.probabilities[0], predicted.probabilities[0], atol=1e-5)
    heard = model.predict_arrays(sound=media.audio[:32_000])
    assert [w.modalities for w in heard.windows] == [("audio",)]
    assert any("no picture" in note for note in heard.notes)
    with pytest.raises(UserError, match="as many times"):
        model.predict_arrays(images)
    with pytest.raises(UserError, match="needed is uint8"):
        model.predict_arrays(images.astype(np.float32), times)
    with pytest.raises(UserError, match="mono"):
        model.predict_arrays(sound=np.zeros((10, 2), np.int16))
    with pytest.raises(UserError, match="give some"):
        model.predict_arrays()


def test_live_estimates_the_last_moments_again_and_again(model):
    live = model.live()
    assert [j.emotion for j in live.estimate()] == [None]
    for tick in range(20):
        live.add_frame(tick / 4, face_picture())
        live.add_sound(tone(0.25, rate=16_000))
        if tick in (8, 19):
            (prediction,) = live.estimate()
            assert prediction.modalities == ("video", "audio")
            assert prediction.end == pytest.approx((tick + 1) / 4)
            assert prediction.end - prediction.start <= model.facts.window_seconds + 1e-6
    assert live.maker.audio_end == pytest.approx(5.0)
    assert len(live.maker._sound(0, np.inf)) <= 16_000 * (model.facts.window_seconds + 0.3)


def test_limits_end_a_decoder_that_takes_too_much(model, film):
    with pytest.raises(UserError, match=r"film\.mp4: "):
        model.predict(film, limits=Limits(memory_bytes=200 << 20))
    with pytest.raises(UserError, match="the limit is 2 s"):
        model.predict(film, max_seconds=2.0)


def test_the_drawn_film_has_boxes_a_chart_and_its_sound(film, predicted, tmp_path):
    target = tmp_path / "drawn.mp4"
    annotate.write_annotated(film, predicted, target)
    drawn = read_media(target, frames_per_second=4.0)
    with av.open(str(target)) as container:
        (video,) = container.streams.video
        times = [float(frame.time) for frame in container.decode(video)]
        assert float(video.average_rate) == pytest.approx(RATE, rel=1e-3)
    np.testing.assert_allclose(times, np.arange(48) / RATE, atol=1e-3)
    pictures = [frame.image for frame in drawn.frames]
    assert drawn.duration == pytest.approx(4.0, abs=0.15)
    assert np.abs(drawn.audio.astype(int)).max() > 3000
    original = next(read_media(film, frames_per_second=4.0).frames).image
    width = pictures[0].shape[1]
    assert width == 480
    assert pictures[0].shape[0] > 480 * original.shape[0] / original.shape[1]
    left = round(480 * predicted.faces[0].boxes[0, 0])
    painter = annotate.Painter(predicted)
    picture = painter.paint(np.zeros((240, 480, 3), np.uint8), 1.0)
    colour = painter._colour(predicted.windows[0].emotion)
    row = picture[120, max(left - 20, 0) : left + 20].astype(int)
    assert np.abs(row - colour).sum(axis=1).min() < 60
    assert np.abs(picture[120, 240:250]).max() == 0


def test_the_drawn_film_has_the_audio_that_was_predicted(model, tmp_path):
    """The default track is silent, so the second one was heard."""
    seen = write_media(tmp_path / "seen.mkv", face_takes(36), frames_per_second=RATE)
    heard = write_audio(tmp_path / "heard.mkv", 0 * tone(3.0), tone(3.0, 1000), codec="pcm_s16le")
    film = joined(seen, heard, tmp_path / "film.mkv")
    predicted = model.predict(film)
    assert "audio" in predicted.modalities
    annotate.write_annotated(film, predicted, tmp_path / "drawn.mp4")
    with av.open(str(tmp_path / "drawn.mp4")) as container:
        assert len(container.streams.audio) == 1
    audio = read_media(tmp_path / "drawn.mp4", frames_per_second=4.0).audio
    spectrum = np.abs(np.fft.rfft(audio))
    assert np.argmax(spectrum) * 16_000 / audio.size == pytest.approx(1000, abs=2)


def joined(one: Path, other: Path, target: Path) -> Path:
    """A file with the streams of both, packets copied."""
    with av.open(str(one)) as a, av.open(str(other)) as b, av.open(str(target), "w") as out:
        pairs = [(s, out.add_stream_from_template(s)) for x in (a, b) for s in x.streams]
        for source, stream in pairs:
            source.container.seek(0)
            for packet in source.container.demux(source):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    return target


def test_the_newest_finished_run_is_taken(tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        newest_run(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    (tmp_path / "a/results.json").write_text("{}")
    assert newest_run(tmp_path) == tmp_path / "a"


def test_bad_arguments_are_one_line(model, film):
    with pytest.raises(UserError, match="the hop is 9 s"):
        model.predict(film, hop_seconds=9.0)
    with pytest.raises(UserError, match="faces can't be followed"):
        model.predict(film, max_faces=0)
    with pytest.raises(UserError, match=r"none\.mp4: no such file"):
        model.predict(film.parent / "none.mp4")


def test_a_network_that_only_sees_says_so(tmp_path_factory, film):
    run = write_run(tmp_path_factory.mktemp("runs") / "video", {"model.modalities": ("video",)})
    result = load(run).predict(film)
    assert {w.modalities for w in result.windows} == {("video",)}
    assert "this network reads video alone" in result.notes
    sound = write_media(film.parent / "s.wav", sound=tone(1.0), audio_codec="pcm_s16le")
    with pytest.raises(UserError, match="has no video"):
        load(run).predict(sound)


def test_progress_begins_with_the_length_and_the_end_is_the_files(model, film):
    told = []
    result = model.predict(film, progress=lambda *now: told.append(now))
    assert told[0] == (0.0, result.duration)
    assert told[-1][0] == pytest.approx(result.duration, abs=0.1)
    with av.open(str(film)) as container:
        assert result.duration == pytest.approx(container.duration / av.time_base, abs=1e-3)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp"])
def test_a_still_picture_is_predicted_as_a_film_of_it(model, tmp_path, ending):
    path = tmp_path / f"face.{ending}"
    cv2.imwrite(str(path), face_picture()[..., ::-1])
    result = model.predict(path)
    (window,) = result.windows
    assert window.modalities == ("video",)
    assert result.duration == model.facts.window_seconds
    assert "a still picture: predicted as if held for 3 s" in result.notes
    rate = model._clip.frames_per_second
    times = np.arange(round(3 * rate)) / rate
    images = np.stack([read_picture(path)] * len(times))
    expected = model.predict_arrays(images, times).windows[0].probabilities
    np.testing.assert_allclose(window.probabilities, expected, atol=1e-5)


def test_a_silent_track_is_a_note_and_no_damage(model, tmp_path):
    silent = np.zeros(96_000, np.float32)
    path = write_media(tmp_path / "x.mp4", face_takes(24), frames_per_second=RATE, sound=silent)
    result = model.predict(path)
    assert result.complete
    assert "its audio is silent" in result.notes


def read_picture(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def test_a_picture_that_is_damaged_or_not_for_this_network_is_one_line(model, tmp_path):
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(UserError, match=r"x\.png: is a picture that cannot be decoded"):
        model.predict(tmp_path / "x.png")


@pytest.mark.slow
def test_a_script_without_a_guard_predicts(run, film, tmp_path):
    script = (
        "import sys\nfrom jax_avemo import load\n"
        "print(len(load(sys.argv[1]).predict(sys.argv[2]).windows))\n"
    )
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", run, film],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": str(Path(predict.__file__).parents[2])},
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


@pytest.mark.parametrize("most", [1, 16])
def test_reading_ahead_keeps_order_and_errors(most):
    def items():
        yield from range(50)
        raise ValueError("the end")

    ahead = predict.read_ahead(items(), most)
    assert [next(ahead) for _ in range(50)] == list(range(50))
    with pytest.raises(ValueError, match="the end"):
        next(ahead)
