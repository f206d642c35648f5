"""How a decoded frame becomes the picture a viewer would see: whole, upright, square pixels."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import av.filter
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


def upright_picture(frame: Any, pixel_aspect: float) -> UInt8[np.ndarray, "H W 3"]:
    """RGB with square pixels, turned and mirrored as the file says, at most 1280 px a side.

    `pixel_aspect` is a pixel's width by its height.
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
    matrix = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    if matrix is None:
        return image
    return np.ascontiguousarray(_displayed(image, np.frombuffer(bytes(matrix), np.int32)))


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
