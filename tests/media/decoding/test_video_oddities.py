"""Films whose size changes, dark films and black-and-white ones: a face is found in each."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support.media_files import face_picture, face_takes, write_media

from jax_avemo.media.decoding.decode import read_media
from jax_avemo.media.faces.blazeface import FaceDetector
from jax_avemo.media.faces.main_face import track_and_crop


def film_of_sizes(path: Path, pictures: list[np.ndarray]) -> Path:
    """MJPEG, whose every frame has a size of its own."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mjpeg", rate=10)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuvj420p"
        for index, pixels in enumerate(pictures):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.height, encoder.width = pixels.shape[:2]
            encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 10)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            for packet in encoder.encode(frame) + encoder.encode():
                packet.stream, packet.pts, packet.dts = video, index, index
                packet.time_base = Fraction(1, 10)
                container.mux(packet)
    return path


def frames_of(path: Path) -> list:
    return list(read_media(path, frames_per_second=10, need_audio=False).frames)


def test_a_size_that_changes_leaves_the_face_where_it_was(tmp_path):
    """As when a call's picture gets sharper: the same content in more pixels, and back."""
    sides = [128] * 6 + [256] * 6 + [192] * 6
    path = film_of_sizes(tmp_path / "x.mkv", [face_picture(side) for side in sides])
    with av.open(str(path)) as container:
        assert [frame.width for frame in container.decode(video=0)] == sides
    frames = frames_of(path)
    assert {frame.image.shape for frame in frames} == {(128, 128, 3)}
    detector = FaceDetector()
    track = track_and_crop(frames, 48, detector=detector)
    assert track.found.all()
    for crop in track.crops:
        (face,) = detector.detect(crop)
        eyes, mouth = face.keypoints[:2].mean(0), face.keypoints[3]
        np.testing.assert_allclose((eyes + mouth) / 96, (0.5, 0.53), atol=0.05)


def test_a_picture_that_is_turned_in_mid_stream_has_bars(tmp_path):
    wide, tall = np.full((96, 160, 3), 200, np.uint8), np.full((160, 96, 3), 200, np.uint8)
    frames = frames_of(film_of_sizes(tmp_path / "x.mkv", [wide] * 3 + [tall] * 3))
    assert {frame.image.shape for frame in frames} == {(96, 160, 3)}
    assert frames[-1].image[:, 70:90].mean() > 190
    assert frames[-1].image[:, :40].max() == 0


def in_the_dark(pictures: list[np.ndarray], light: float) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [
        np.clip(picture * light + random.normal(0, 1, picture.shape), 0, 255).astype(np.uint8)
        for picture in pictures
    ]


@pytest.mark.parametrize("light", [0.03, 0.025])
def test_a_face_in_the_dark_is_found(light):
    """Five to seven grey levels are left of it."""
    detector = FaceDetector()
    for picture in in_the_dark(face_takes(4, 240), light):
        assert len(detector.search(picture)) == 1


def test_a_dark_film_is_searched_in_more_light_and_kept_dark(tmp_path):
    path = write_media(tmp_path / "x.mp4", in_the_dark(face_takes(8), 0.06))
    track = track_and_crop(frames_of(path), 48)
    assert track.found.all()
    assert np.stack(track.crops).mean() < 20


def test_noise_in_the_dark_is_no_face():
    random, detector = np.random.default_rng(0), FaceDetector()
    for level in (0, 4, 10):
        picture = random.normal(level, 2, (240, 320, 3)).clip(0, 255).astype(np.uint8)
        assert detector.search(picture) == []


def test_a_black_and_white_film_has_faces(tmp_path):
    grey = [
        picture.mean(2, keepdims=True).repeat(3, 2).astype(np.uint8) for picture in face_takes(8)
    ]
    path = write_media(tmp_path / "x.mkv", grey, video_codec="ffv1", pixel_format="gray")
    with av.open(str(path)) as container:
        assert container.streams.video[0].format.name == "gray"
    track = track_and_crop(frames_of(path), 48)
    assert track.found.all()
    assert np.ptp(np.stack(track.crops).astype(int), axis=-1).max() <= 2
