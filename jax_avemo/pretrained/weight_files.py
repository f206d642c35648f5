"""How weights that others trained are read, safetensors and .pth, running nothing in them.

A .pth file holds a pickle, a program that may call any function of the machine. Here its opcodes
are listed by `pickletools`, which executes none, and a small interpreter follows the few that
describe dictionaries of tensors. A name that is not a tensor's is refused before anything is built.
"""

import json
import math
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jax_avemo.runtime.errors import UserError

Tensors = dict[str, np.ndarray]
"""Name -> read-only array, floats as float32 or wider."""

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # the upper half of a float32, widened in `_widen`
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
_LARGEST_HEADER = 100_000_000
"""Bytes of JSON, as the safetensors format has it."""
_STORAGES = {
    "torch DoubleStorage": "F64",
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
    "torch LongStorage": "I64",
    "torch IntStorage": "I32",
    "torch ShortStorage": "I16",
    "torch CharStorage": "I8",
    "torch ByteStorage": "U8",
    "torch BoolStorage": "BOOL",
}
_REBUILT = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_WRAPPERS = ("state_dict", "model")
"""Keys under which training programs put the weights beside other things."""


def read_weights(path: Path) -> Tensors:
    """The named tensors of a .safetensors file or of a .pth file, old (before PyTorch 1.6) or new.

    The format is told by the content. A state dict may be wrapped as {"state_dict": ...} or
    {"model": ...}; a prefix `module.` of all names is taken off.

    Raises:
      UserError: no such file, damaged, another format, or anything but tensors in it.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
            file.seek(0)
            if start == b"PK":
                tensors = _read_zip(file)
            elif start == b"\x80\x02":
                tensors = _read_legacy(file)
            else:
                tensors = _read_safetensors(file)
    except FileNotFoundError:
        raise UserError(f"no weights file {path}") from None
    except _Refused as error:
        raise UserError(f"{path} is refused: {error}") from None
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        NotImplementedError,
        RecursionError,
        RuntimeError,  # an encrypted zip
        TypeError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        raise UserError(
            f"{path} is damaged or no weights file (.safetensors or .pth): {error}"
        ) from error
    if not tensors:
        raise UserError(f"{path} holds no tensors")
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


class _Refused(Exception):
    """The file wants something that weights do not need."""


def _widen(raw: np.ndarray, kind: str) -> np.ndarray:
    if kind == "BF16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32) if kind == "F16" else raw


def _read_safetensors(file: BinaryIO) -> Tensors:
    size = file.seek(0, 2)
    file.seek(0)
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(size - 8, _LARGEST_HEADER):
        raise ValueError("its header is longer than the file")
    header = json.loads(file.read(length), object_pairs_hook=_no_twice)
    data = np.frombuffer(file.read(), np.uint8)
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _DTYPES:
            raise _Refused(f"{name!r} has the type {entry['dtype']!r}")
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        (begin, end), shape = entry["data_offsets"], tuple(entry["shape"])
        if min((begin, *shape)) < 0 or end > data.size:
            raise ValueError(f"{name!r} lies outside of it")
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name!r} has not the size of its shape {shape}")
        tensors[name] = _widen(data[begin:end].view(dtype).reshape(shape), entry["dtype"])
    return tensors


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


class _Global(NamedTuple):
    name: str


class _Storage(NamedTuple):
    kind: str
    key: str
    numbers: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


_MARK = object()
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "MARK": lambda: _MARK,
}
_LITERALS = {
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINSTRING",
    "SHORT_BINSTRING",
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _interpret(program: BinaryIO | bytes) -> Any:
    """What one pickle describes, of dictionaries, lists, tuples, numbers, texts and tensors."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def until_mark() -> list[Any]:
        items: list[Any] = []
        while (item := stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def put(target: Any, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int) or not isinstance(target, dict):
                raise _Refused("it is no dictionary of names")
            target[key] = value

    argument: Any
    for opcode, argument, _ in pickletools.genops(program):
        name = opcode.name
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in _TUPLES:
            taken = [stack.pop() for _ in range(_TUPLES[name])]
            stack.append(tuple(taken[::-1]))
        elif name == "TUPLE":
            stack.append(tuple(until_mark()))
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            put(stack[-1], [key, value])
        elif name == "SETITEMS":
            items = until_mark()
            put(stack[-1], items)
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else until_mark()
            if not isinstance(stack[-1], list):
                raise ValueError("it appends to what is no list")
            stack[-1].extend(items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            if name == "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                argument = f"{module} {attribute}"
            if argument not in _STORAGES and argument not in _REBUILT:
                raise _Refused(
                    f"it asks for {str(argument).replace(' ', '.')!r}, which no tensor needs"
                )
            stack.append(_Global(argument))
        elif name == "BINPERSID":
            stack.append(_storage(*stack.pop()))
        elif name == "REDUCE":
            arguments, callee = stack.pop(), stack.pop()
            stack.append(_rebuild(callee, arguments))
        elif name == "BUILD":
            stack.pop()  # a state dict's `_metadata`: versions of layers, no weights
            if not isinstance(stack[-1], dict):
                raise _Refused("it sets attributes of what is no dictionary")
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise _Refused(f"it uses the pickle opcode {name}, which no tensor needs")
    raise ValueError("it stops short")


def _storage(word: str, kind: _Global, key: str, place: str, count: int, *view: None) -> _Storage:
    del place  # the device it was on
    if word != "storage" or not isinstance(kind, _Global) or any(view):
        raise _Refused("it refers to something that is no tensor's storage")
    if not re.fullmatch("[0-9]{1,20}", key) or count < 0:
        raise ValueError("a storage's name or size is wrong")
    return _Storage(_STORAGES[kind.name], key, count)


def _rebuild(callee: Any, arguments: tuple[Any, ...]) -> Any:
    if not isinstance(callee, _Global):
        raise _Refused("it calls what is no tensor")
    if callee.name == "collections OrderedDict" and not any(arguments):
        return {}
    if callee.name == "torch._utils _rebuild_parameter" and isinstance(arguments[0], _Tensor):
        return arguments[0]
    if callee.name == "torch._utils _rebuild_tensor_v2" and isinstance(arguments[0], _Storage):
        storage, offset, shape, stride = arguments[:4]
        return _Tensor(storage, offset, tuple(shape), tuple(stride))
    raise _Refused(f"it calls {callee.name.replace(' ', '.')!r} with something else than a tensor")


def _described(tree: Any) -> dict[str, _Tensor]:
    """The tensors of a state dict; whatever stands beside them is left out."""
    if not isinstance(tree, dict):
        raise _Refused("it is no dictionary of tensors")
    for wrapper in _WRAPPERS:
        if isinstance(tree.get(wrapper), dict):
            tree = tree[wrapper]
    return {str(name): value for name, value in tree.items() if isinstance(value, _Tensor)}


def _views(described: dict[str, _Tensor], storages: dict[str, np.ndarray]) -> Tensors:
    """Each tensor as strides over its storage's values; shared storages are not copied."""
    tensors = {}
    for name, ((kind, key, count), offset, shape, stride) in described.items():
        data = storages[key]
        if data.size != count or data.dtype != np.dtype(_DTYPES[kind]):
            raise ValueError("two tensors disagree about their storage")
        if len(shape) != len(stride) or min((offset, *shape, *stride)) < 0:
            raise ValueError(f"{name!r} has an impossible shape")
        elements = math.prod(shape)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if elements > count or (elements and last >= count):
            raise ValueError(f"{name!r} is larger than its storage")
        steps = tuple(step * data.itemsize for step in stride)
        array = np.lib.stride_tricks.as_strided(data[offset:], shape, steps, writeable=False)
        tensors[name] = array
    if sum(a.size for a in tensors.values()) > 2 * sum(a.size for a in storages.values()):
        raise _Refused("many tensors share the same numbers")
    return {name: _widen(a, described[name].storage.kind) for name, a in tensors.items()}


def _read_zip(file: BinaryIO) -> Tensors:
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        programs = [name for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(programs) != 1:
            raise ValueError("a zip without a data.pkl")
        root = programs[0].removesuffix("data.pkl")
        if root + "byteorder" in names and _member(archive, root + "byteorder") != b"little":
            raise _Refused("its numbers are big-endian")
        described = _described(_interpret(_member(archive, programs[0])))
        kinds = {tensor.storage.key: tensor.storage.kind for tensor in described.values()}
        storages = {
            key: np.frombuffer(_member(archive, f"{root}data/{key}"), _DTYPES[kind])
            for key, kind in kinds.items()
        }
        return _views(described, storages)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise _Refused("its parts are compressed, which PyTorch never does")
    return archive.read(name)


def _read_legacy(file: BinaryIO) -> Tensors:
    """Pickles one behind another: magic number, version, machine, weights, keys; then the data."""
    if _interpret(file) != _LEGACY_MAGIC:
        raise ValueError("a pickle, but not of PyTorch")
    _interpret(file)  # the version of the format: there was only one
    if not _interpret(file).get("little_endian"):
        raise _Refused("its numbers are big-endian")
    described = _described(_interpret(file))
    kinds = {tensor.storage.key: tensor.storage.kind for tensor in described.values()}
    keys = _interpret(file)
    data = np.frombuffer(file.read(), np.uint8)
    storages: dict[str, np.ndarray] = {}
    position = 0
    for key in keys:
        count = int(data[position : position + 8].view("<i8")[0])
        if key not in kinds:
            raise _Refused("it has data that belongs to no weight")
        end = position + 8 + count * np.dtype(_DTYPES[kinds[key]]).itemsize
        if not 0 <= position < end <= data.size:
            raise ValueError("it stops short")
        storages[key] = data[position + 8 : end].view(_DTYPES[kinds[key]])
        position = end
    return _views(described, storages)
