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


def hlg_film(path: Path, value: tuple[float, float, float]) -> Path:
    """A film of one colour, BT.2020 HLG values in [0, 1], 10 bit."""
    r, g, b = value
    luma = 0.2627 * r + 0.6780 * g + 0.0593 * b
    codes = [64 + 876 * luma, 512 + 896 * (b - luma) / 1.8814, 512 + 896 * (r - luma) / 1.4746]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt = 64, 64, "yuv420p10le"
        video.options = {"crf": "1", "preset": "ultrafast", "threads": "1"}
        context = video.codec_context
        context.color_trc, context.color_primaries = module._HLG, 9
        context.colorspace, context.color_range = 9, 1
        for index in range(4):
            frame = VideoFrame(64, 64, "yuv420p10le")
            for plane, code in zip(frame.planes, codes, strict=True):
                plane.update(np.full(plane.buffer_size // 2, round(code), np.uint16).tobytes())
            frame.pts, frame.time_base = index, Fraction(1, 10)
            frame.colorspace, frame.color_range = 9, 1
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def test_hlg_films_are_tone_mapped(tmp_path):
    """Reference white (75 % HLG, 203 nits) has level 1: (1 + 1 / P^2) / 2 of the light is left."""
    path = hlg_film(tmp_path / "hlg.mp4", (0.75, 0.75, 0.75))
    frames = list(read_media(path, frames_per_second=10, need_audio=False).frames)
    white = 255 * ((1 + (203 / 1000) ** 2) / 2) ** (1 / 2.4)
    assert [f.image.mean() for f in frames] == pytest.approx([white] * 4, abs=4)


def test_hdr_skin_keeps_its_hue(tmp_path):
    """A skin in BT.2020 HLG, against the same light converted by hand."""
    path = hlg_film(tmp_path / "skin.mp4", (0.52, 0.42, 0.35))
    (frame, *_) = read_media(path, frames_per_second=10, need_audio=False).frames
    red, green, blue = frame.image[30, 30].astype(int)
    light = module._linear_light(module._HLG)[[133, 107, 89]]
    luminance = light @ module._LUMINANCE[0]
    level = 1000 / 203 * luminance**1.2
    scale = 1000 / 203 * luminance**0.2 * (1 + level / (1000 / 203) ** 2) / (1 + level)
    expected = 255 * (module._TO_BT709 @ (light * scale)) ** (1 / 2.4)
    np.testing.assert_allclose((red, green, blue), expected, atol=5)
    assert red > green + 15 > blue + 20


@pytest.mark.parametrize(
    ("transfer", "value", "nits"),
    [(module._PQ, 0.5806888, 203.0), (module._PQ, 0.7518271, 1000.0), (module._HLG, 0.75, 203.0)],
)
def test_transfer_functions_are_those_of_the_standard(transfer, value, nits):
    """Values of ITU-R BT.2408's reference white and of 1000 nits."""
    light = np.interp(255 * value, np.arange(256), module._linear_light(transfer))
    shown = 1000 * light**1.2 if transfer == module._HLG else 10_000 * light
    assert shown == pytest.approx(nits, rel=0.02)


def test_tone_mapping_keeps_black_and_order():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, 2)
    for transfer in module.HDR_TRANSFERS:
        mapped = module.tone_mapped(ramp, transfer)[0].astype(int)
        assert mapped[0].max() == 0
        assert np.all(np.diff(mapped[:, 1]) >= 0)
        assert np.ptp(mapped, axis=1).max() <= 1  # grey stays grey


def test_another_size_is_fitted_into_the_canvas():
    white = np.full((40, 20, 3), 255, np.uint8)
    shown = module.on_canvas(white, 60, 90)
    assert shown.shape == (60, 90, 3)
    assert (shown[:, 30:60] == 255).all()
    assert shown[:, :30].max() == shown[:, 60:].max() == 0
    assert module.on_canvas(shown, 60, 90) is shown
