from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame

from jax_avemo.media.decoding import image as module
from jax_avemo.media.decoding.decode import read_media
from jax_avemo.media.decoding.image import progressive, upright_picture

CORNERS = np.array([[1, 2, 3], [4, 5, 6]])[..., None].repeat(3, -1)


@pytest.mark.parametrize(
    ("matrix", "seen"),
    [
        ((1, 0, 0, 1), [[1, 2, 3], [4, 5, 6]]),
        ((-1, 0, 0, -1), [[6, 5, 4], [3, 2, 1]]),
        ((0, 1, -1, 0), [[4, 1], [5, 2], [6, 3]]),  # a quarter clockwise
        ((0, -1, 1, 0), [[3, 6], [2, 5], [1, 4]]),
        ((-1, 0, 0, 1), [[3, 2, 1], [6, 5, 4]]),  # mirrored
        ((1, 0, 0, -1), [[4, 5, 6], [1, 2, 3]]),
        ((0, 1, 1, 0), [[1, 4], [2, 5], [3, 6]]),
        ((0, -1, -1, 0), [[6, 3], [5, 2], [4, 1]]),
    ],
)
def test_a_display_matrix_turns_and_mirrors(matrix, seen):
    """Each point (x, y) lands at (a x + c y, b x + d y), but for a shift back into the picture."""
    a, b, c, d = matrix
    laid = module._displayed(CORNERS, np.array([a, b, 0, c, d, 0, 0, 0, 1 << 14]) << 16)
    assert laid[..., 0].tolist() == seen
    ys, xs = np.mgrid[:2, :3]
    across, down = a * xs + c * ys, b * xs + d * ys
    assert np.array_equal(laid[down - down.min(), across - across.min()], CORNERS)


def film_of_fields(path: Path, count: int) -> Path:
    """A bright bar that moves down 4 px from field to field, lower field first, 25 frames/s."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.height, video.width, video.pix_fmt = 64, 64, "yuv420p"
        video.options = {"x264-params": "bff=1", "crf": "5", "threads": "1"}
        for index in range(count):
            lines = np.full((96, 64), 128, np.uint8)
            for field in (0, 1):
                lines[field:64:2] = bar(2 * index + 1 - field)[field::2]
            frame = VideoFrame.from_ndarray(lines, format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def bar(moment: int) -> np.ndarray:
    picture = np.full((64, 64), 40, np.uint8)
    picture[4 * moment : 16 + 4 * moment] = 200
    return picture


def comb(picture: np.ndarray) -> float:
    """How much a line differs from those above and below it."""
    grey = picture.astype(float).mean(-1)
    return float(np.abs(grey[1:-1] - (grey[:-2] + grey[2:]) / 2).max())


def test_interlaced_films_are_woven_to_whole_pictures(tmp_path):
    path = film_of_fields(tmp_path / "pal.mp4", 6)
    with av.open(str(path)) as container:
        stored = list(container.decode(video=0))
    assert all(frame.interlaced_frame for frame in stored)
    assert max(comb(upright_picture(frame, 1.0)) for frame in stored) > 100
    frames = list(read_media(path, frames_per_second=25, need_audio=False).frames)
    np.testing.assert_allclose([f.time for f in frames], np.arange(6) / 25, atol=2e-3)
    for index, frame in enumerate(frames[1:-1], start=1):
        assert comb(frame.image) < 85  # an edge of the bar itself: 80
        rows = frame.image.mean((1, 2)) > 120
        assert np.flatnonzero(rows)[0] == pytest.approx(8 * index, abs=1)
        assert rows.sum() == pytest.approx(16, abs=2)


def test_progressive_films_pass_untouched():
    frames = [VideoFrame(64, 64, "yuv420p") for _ in range(3)]
    assert list(progressive(frames)) == frames


def test_a_picture_without_a_matrix_is_as_decoded():
    frame = VideoFrame.from_ndarray(np.full((96, 64), 128, np.uint8), format="yuv420p")
    assert frame.side_data.get(SideDataType.DISPLAYMATRIX) is None
    image = upright_picture(frame, 1.0)
    assert image.shape == (64, 64, 3)
    assert upright_picture(frame, 1.5).shape == (64, 96, 3)
    assert upright_picture(frame, 9.0).shape == (64, 64, 3)  # no camera has such pixels
