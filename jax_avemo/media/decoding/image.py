"""RGB pictures of decoded frames: deinterlaced, upright, square pixels, SDR."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import av.filter
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from jaxtyping import UInt8

_MAX_SIDE = 1280
"""Pictures are handed out at most this large: a face in 4K has more pixels than anyone stores."""


def progressive(frames: Iterable[Any]) -> Iterator[Any]:
    """The frames, whole pictures made of those whose two fields were taken at different moments.

    FFmpeg's bwdif, which keeps the count and the times of frames. Those that the stream does not
    call interlaced stay as they are.
    """
    graph, layout = None, None
    for frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        found = (frame.format.name, frame.width, frame.height)
        if graph is None or found != layout:
            if graph is not None:
                yield from _pulled(graph, None)
            graph, layout = _deinterlacer(frame), found
        yield from _pulled(graph, frame)
    if graph is not None:
        yield from _pulled(graph, None)


def _deinterlacer(frame: Any) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base,
        ),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _pulled(graph: av.filter.Graph, frame: Any) -> Iterator[Any]:
    graph.push(frame)
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):  # it wants more, or has no more
            return


def upright_picture(
    frame: Any, pixel_aspect: float, transfer: int = 0
) -> UInt8[np.ndarray, "H W 3"]:
    """RGB with square pixels, turned and mirrored as the file says, at most 1280 px a side.

    `pixel_aspect` is a pixel's width by its height; `transfer` the stream's transfer function as
    FFmpeg numbers them: HLG and PQ are tone-mapped.
    """
    width, height = frame.width, frame.height
    if 0.25 < pixel_aspect < 4:
        width = round(width * pixel_aspect)
    shrink = min(1.0, _MAX_SIDE / max(width, height))
    image = frame.to_ndarray(
        format="rgb24",
        width=max(1, round(width * shrink)),
        height=max(1, round(height * shrink)),
        interpolation="AREA" if shrink < 1 else "BILINEAR",
        **_one_thread(),
    )
    if transfer in HDR_TRANSFERS:
        image = tone_mapped(image, transfer)
    matrix = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    if matrix is None:
        return image
    return np.ascontiguousarray(_displayed(image, np.frombuffer(bytes(matrix), np.int32)))


def on_canvas(
    image: UInt8[np.ndarray, "H W 3"], height: int, width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture of another size as a player shows it in a window that stays: fitted, with bars."""
    if image.shape[:2] == (height, width):
        return image
    scale = min(height / image.shape[0], width / image.shape[1])
    inside = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    fitted = cv2.resize(
        image, inside, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    top, left = (height - fitted.shape[0]) // 2, (width - fitted.shape[1]) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return canvas


_PQ, _HLG = 16, 18
HDR_TRANSFERS = (_PQ, _HLG)
"""SMPTE ST 2084 and ARIB STD-B67, by ITU-T H.273's number."""
_WHITE_NITS, _PEAK_NITS = 203.0, 1000.0
"""Reference white (ITU-R BT.2408) and the brightest light that keeps its own grey."""
# ITU-R BT.2087: linear BT.2020 to linear BT.709.
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
_LUMINANCE = np.array([[0.2627, 0.6780, 0.0593]], np.float32)  # of BT.2020


def tone_mapped(image: UInt8[np.ndarray, "H W 3"], transfer: int) -> UInt8[np.ndarray, "H W 3"]:
    """An HDR picture (BT.2020, HLG or PQ values) as BT.709 with a gamma of 2.4.

    With L the luminance over reference white and P its peak, a pixel is scaled to
    L (1 + L / P^2) / (1 + L) (Reinhard et al. 2002, "Photographic tone reproduction for digital
    images", equation 4), so that its colour stays.
    """
    light = cv2.LUT(image, _linear_light(transfer))
    luminance = cv2.transform(light, _LUMINANCE)[..., None]
    if transfer == _HLG:  # what a display of 1000 nits makes of it: BT.2100's OOTF
        light = light * np.maximum(luminance, 1e-6) ** 0.2
        luminance = luminance**1.2
    nits = _PEAK_NITS if transfer == _HLG else 10_000.0
    level, peak = luminance * (nits / _WHITE_NITS), _PEAK_NITS / _WHITE_NITS
    light = light * ((nits / _WHITE_NITS) * (1 + level / peak**2) / (1 + level))
    light = np.clip(cv2.transform(light, _TO_BT709), 0, 1)
    return np.round(255 * light ** (1 / 2.4)).astype(np.uint8)


@functools.cache
def _linear_light(transfer: int) -> np.ndarray:
    """Linear light of an 8-bit value: of the scene, 1 = peak (HLG); of 10,000 nits (PQ)."""
    value = np.arange(256) / 255
    if transfer == _HLG:  # BT.2100, table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    else:  # BT.2100, table 4
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        root = value ** (1 / m2)
        light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light.astype(np.float32)


@functools.cache
def _one_thread() -> dict[str, Any]:
    """Newer PyAV would start as many threads as there are cores, anew for every picture."""
    try:
        VideoFrame(16, 16, "yuv420p").to_ndarray(format="rgb24", threads=1)
    except TypeError:
        return {}
    return {"threads": 1}


def _displayed(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The nearest of the eight ways to lay a picture down.

    A file's display matrix [a b u, c d v, x y w] takes a point to (a x + c y, b x + d y).
    """
    a, b, _, c, d = matrix[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        across, down = a, d
    else:
        image = image.transpose(1, 0, 2)
        across, down = c, b
    return image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
