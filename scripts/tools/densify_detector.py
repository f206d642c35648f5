"""Conversion of MediaPipe's full-range face detector to a file that OpenCV reads.

    python scripts/tools/densify_detector.py face_detection_full_range_sparse.tflite

The source stores its pruned 1x1 kernels sparse and unpacks them by the operator DENSIFY; OpenCV 5
knows neither that nor DEPTH_TO_SPACE, which ends the network. Here the kernels are unpacked, and
the network ends before its last two operators (`media.blazeface` lays the cells out instead). Not
a weight is changed. `--check` compares with the vendored file instead of writing one.
"""

import argparse
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_atomic

ASSET = Path(__file__).parents[2] / "jax_avemo/assets/face_detection_full_range.tflite"
DENSIFY, DEPTH_TO_SPACE, RESHAPE = 124, 5, 22
"""Numbers of TFLite's operators."""
SPARSITY_FIELD = 6
INDEX_TYPES = {1: "<i4", 2: "<u2", 3: "u1"}


class Table:
    """A table of a FlatBuffer: fields by their number, places as offsets into `data`."""

    def __init__(self, data: bytearray, place: int) -> None:
        self.data, self.place = data, place

    def number(self, kind: str, place: int) -> int:
        return int(struct.unpack_from("<" + kind, self.data, place)[0])

    def field(self, index: int) -> int | None:
        """Where a field lies; None = it has its default."""
        start = self.place - self.number("i", self.place)
        if 4 + 2 * index >= self.number("H", start):
            return None
        offset = self.number("H", start + 4 + 2 * index)
        return self.place + offset if offset else None

    def scalar(self, index: int, kind: str) -> int:
        place = self.field(index)
        return 0 if place is None else self.number(kind, place)

    def table(self, index: int) -> "Table":
        place = self.field(index)
        assert place is not None
        return Table(self.data, place + self.number("I", place))

    def vector(self, index: int) -> tuple[int, int]:
        """Place and length of a vector's elements."""
        place = self.field(index)
        if place is None:
            return 0, 0
        place += self.number("I", place)
        return place + 4, self.number("I", place)

    def tables(self, index: int) -> list["Table"]:
        start, count = self.vector(index)
        places = range(start, start + 4 * count, 4)
        return [Table(self.data, place + self.number("I", place)) for place in places]

    def array(self, index: int, kind: str) -> np.ndarray:
        start, count = self.vector(index)
        size = np.dtype(kind).itemsize * count
        return np.frombuffer(bytes(self.data[start : start + size]), kind)


def dense_kernel(tensor: Table, buffer: Table) -> np.ndarray:
    """float16 [rows, columns] of a sparse kernel (rows, 1, 1, columns), compressed by rows."""
    shape, sparsity = tensor.array(0, "<i4"), tensor.table(SPARSITY_FIELD)
    axes = sparsity.tables(2)
    if [axis.scalar(0, "b") for axis in axes] != [0, 0, 0, 1] or list(shape[1:3]) != [1, 1]:
        raise UserError("a kernel is sparse in another way than MediaPipe's: take its own file")
    bounds, columns = (
        axes[3].table(value).array(0, INDEX_TYPES[axes[3].scalar(kind, "B")]).astype(int)
        for kind, value in ((2, 3), (4, 5))
    )
    dense = np.zeros((shape[0], shape[3]), "<f2")
    rows = np.repeat(np.arange(shape[0]), np.diff(bounds))
    dense[rows, columns] = buffer.array(0, "u1").view("<f2")[: len(rows)]
    return dense


def densified(source: bytes) -> bytes:
    """The model without DENSIFY, DEPTH_TO_SPACE and the RESHAPEs behind it; outputs [1,24,24,C]."""
    data = bytearray(source)
    if data[4:8] != b"TFL3":
        raise UserError("the source is no TFLite model: give MediaPipe's full-range sparse one")
    model = Table(data, struct.unpack_from("<I", data)[0])
    codes = [max(code.scalar(0, "b"), code.scalar(3, "i")) for code in model.tables(1)]
    graph, buffers = model.tables(2)[0], model.tables(4)
    tensors, kept = graph.tables(0), []
    instead: dict[int, int] = {}  # tensors that go -> those that stand for them
    for operator in graph.tables(3):
        code = codes[operator.scalar(0, "I")]
        taken, given = (int(operator.array(index, "<i4")[0]) for index in (1, 2))
        if code not in (DENSIFY, DEPTH_TO_SPACE, RESHAPE):
            kept.append(operator)
            continue
        instead[given] = taken
        if code == DENSIFY:
            buffer = buffers[tensors[taken].scalar(2, "I")]
            kernel = dense_kernel(tensors[taken], buffer)
            _replace(data, tensors[taken], buffer, kernel.tobytes())
    if not any(codes[operator.scalar(0, "I")] == DENSIFY for operator in graph.tables(3)):
        raise UserError("the source has no sparse kernel: give MediaPipe's full-range sparse model")
    start, _ = graph.vector(3)
    for index, operator in enumerate(kept):
        place = start + 4 * index
        struct.pack_into("<I", data, place, operator.place - place)
    struct.pack_into("<I", data, start - 4, len(kept))
    for operator in kept:
        _rename(data, *operator.vector(1), instead)
    _rename(data, *graph.vector(2), instead)
    return bytes(data)


def _replace(data: bytearray, tensor: Table, buffer: Table, values: bytes) -> None:
    """Hang `values`, appended to the file, into the buffer; the tensor loses its sparsity."""
    start, count = buffer.vector(0)
    data[start : start + count] = bytes(count)  # zeros pack well
    data.extend(bytes(-(len(data) + 4) % 16))
    place = buffer.field(0)
    assert place is not None
    struct.pack_into("<I", data, place, len(data) - place)
    data.extend(struct.pack("<I", len(values)) + values)
    data.extend(bytes(-len(data) % 4))
    # Layouts are shared between tables, so this one gets its own.
    layout = tensor.place - tensor.number("i", tensor.place)
    own = bytearray(data[layout : layout + tensor.number("H", layout)])
    struct.pack_into("<H", own, 4 + 2 * SPARSITY_FIELD, 0)
    struct.pack_into("<i", data, tensor.place, tensor.place - len(data))
    data.extend(own)


def _rename(data: bytearray, start: int, count: int, instead: dict[int, int]) -> None:
    for place in range(start, start + 4 * count, 4):
        tensor = struct.unpack_from("<i", data, place)[0]
        while tensor in instead:
            tensor = instead[tensor]
        struct.pack_into("<i", data, place, tensor)


def main(arguments: list[str] | None = None) -> int:
    """Make or check the asset; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="face_detection_full_range_sparse.tflite")
    parser.add_argument("--check", action="store_true", help="compare with the vendored file")
    parser.add_argument("--out", type=Path, default=ASSET, help="file to write")
    parsed: Any = parser.parse_args(arguments)
    try:
        made = densified(parsed.source.read_bytes())
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if parsed.check:
        same = made == ASSET.read_bytes()
        print("equal" if same else "different")
        return 0 if same else 1
    write_atomic(parsed.out, made)
    print(parsed.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
