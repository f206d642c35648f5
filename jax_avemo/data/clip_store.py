"""The clip store: a TFDS data set in ArrayRecord files, read in any order."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload
from unittest import mock

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.core.dataset_info import DatasetIdentity

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_json
from jax_avemo.schema import Clip, Labels

DATASET_NAME = "clips"
_SPLIT = "clips"
_VERSION = "1.0.0"
_INDEX_NAME = "index.json"
CLIPS_OF_A_SHARD = 1024
"""At most; 0.5 GB at size full."""
_KEPT_BYTES = 256 * 2**20
"""Of clips that stay in memory once they were read: a small corpus is then parsed only once."""


def _dataset_info(folder: Path) -> tfds.core.DatasetInfo:
    """What TFDS knows of the clips in `folder`.

    The files can be read without this package:
    `tfds.builder_from_directory("DATA_DIR/clips/1.0.0").as_data_source(split="clips")`.
    """
    blob = tfds.features.Tensor(shape=(), dtype=np.object_)
    text = tfds.features.Text()
    features = tfds.features.FeaturesDict(
        {
            **{field.name: text for field in dataclasses.fields(Labels)},
            "frames": tfds.features.Tensor(shape=(None,), dtype=np.object_),
            "frame_times": tfds.features.Tensor(shape=(None,), dtype=np.float32),
            "face_found": tfds.features.Tensor(shape=(None,), dtype=np.bool_),
            "frame_size": tfds.features.Scalar(dtype=np.int32),
            # Bytes, because a record's integers take up to ten bytes each.
            "audio": blob,
            "duration": tfds.features.Scalar(dtype=np.float32),
        },
        doc={
            "frames": "JPEG, RGB: aligned face crops",
            "frame_times": "seconds from the start of the clip",
            "face_found": "whether the face was detected in the frame itself",
            "audio": "int16 little-endian, mono, 16 kHz",
            "duration": "seconds",
        },
    )
    identity = DatasetIdentity(
        name=DATASET_NAME,
        version=tfds.core.Version(_VERSION),
        data_dir=str(folder / DATASET_NAME / _VERSION),
        module_name=__name__,
    )
    return tfds.core.DatasetInfo(
        builder=identity,
        description="Aligned face crops and 16 kHz sound of acted emotions.",
        features=features,
        disable_shuffling=True,  # records stay in the order of their keys
    )


def _record(clip: Clip) -> dict[str, Any]:
    return {
        **dataclasses.asdict(clip.labels),
        "frames": np.array([*clip.frames, None], dtype=np.object_)[:-1],
        "frame_times": np.asarray(clip.frame_times, np.float32),
        "face_found": np.asarray(clip.face_found, np.bool_),
        "frame_size": clip.frame_size,
        "audio": np.asarray(clip.audio, "<i2").tobytes(),
        "duration": clip.duration,
    }


class _InOrder(example_serializer.ExampleSerializer):
    """Features in the order of their names, so that the same clips are the same bytes.

    TFDS leaves the order to protobuf, which changes it from process to process.
    """

    def serialize_example(self, example: Any) -> Any:
        return self.get_tf_example(example).SerializeToString(deterministic=True)


def write_clips(
    folder: Path,
    clips: Iterable[Clip],
    labels: Sequence[Labels],
    *,
    emotions: Sequence[str],
    options: dict[str, Any],
    sources: Sequence[str],
    corpus: str = "",
    synthetic: bool = False,
    same_takes: Sequence[Sequence[str]] = (),
) -> None:
    """Write a data set into the empty `folder`; `clips` come in the order of `labels`.

    `corpus` is the reader's name, `synthetic` says that the demo made the media, `sources` are the
    fingerprints of the files that the clips were made from, `same_takes` are groups of keys whose
    clips have the same content. Raises ValueError when two keys are equal.
    """
    keys = [label.key for label in labels]
    if len(set(keys)) != len(keys):
        raise ValueError("two clips have the same key")
    info = _dataset_info(folder)
    Path(info.data_dir).mkdir(parents=True)
    # A builder would keep all records in memory and, beyond a gigabyte, ask for TensorFlow.
    with mock.patch.object(example_serializer, "ExampleSerializer", _InOrder):
        writer = tfds.core.SequentialWriter(info, CLIPS_OF_A_SHARD, file_format="array_record")
        writer.initialize_splits([_SPLIT])
        writer.add_examples({_SPLIT: map(_record, clips)})
        writer.close_all()
    index = {
        "emotions": list(emotions),
        "options": options,
        "fingerprint": _fingerprint(labels, options),
        "corpus": corpus,
        "synthetic": synthetic,
        "same_takes": [list(keys) for keys in same_takes],
        "clips": [
            {**dataclasses.asdict(label), "source": source}
            for label, source in zip(labels, sources, strict=True)
        ],
    }
    write_json(folder / DATASET_NAME / _INDEX_NAME, index)


def _fingerprint(labels: Sequence[Labels], options: dict[str, Any]) -> str:
    known = [[dataclasses.astuple(label) for label in labels], options]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


class ClipSource(Sequence[Clip]):
    """The clips of a data set, sorted by key. Threads may share it; it can be pickled."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = Path(data_dir) / DATASET_NAME
        index_path = self.folder / _INDEX_NAME
        if not index_path.is_file():
            raise UserError(f"no clips in {data_dir}: run `avemo prepare` with that --data-dir")
        try:
            index = json.loads(index_path.read_text())
            self.labels: tuple[Labels, ...] = tuple(
                Labels(**{f.name: entry[f.name] for f in dataclasses.fields(Labels)})
                for entry in index["clips"]
            )
            self.sources: tuple[str, ...] = tuple(entry["source"] for entry in index["clips"])
            """Fingerprint of the file behind each clip."""
            self.emotions: tuple[str, ...] = tuple(index["emotions"])
            self.options: dict[str, Any] = index["options"]
            self.frame_size: int = self.options["frame_size"]
            self.frames_per_second: float = self.options["frames_per_second"]
            self.fingerprint: str = index["fingerprint"]
            if self.fingerprint != _fingerprint(self.labels, self.options):
                raise ValueError(f"{_INDEX_NAME} is not as it was written")
            if unknown := {label.emotion for label in self.labels} - {*self.emotions, ""}:
                raise ValueError(f"{_INDEX_NAME} has emotions it does not list: {sorted(unknown)}")
            self.corpus: str = index["corpus"]
            """The reader's name."""
            self.synthetic: bool = index["synthetic"]
            """Whether the demo made the media, whatever corpus they were read as."""
            self.same_takes: tuple[tuple[str, ...], ...] = tuple(
                tuple(keys) for keys in index["same_takes"]
            )
            """Keys whose clips have the same content, group by group: never in two splits."""
            builder = tfds.builder_from_directory(str(self.folder / _VERSION))
            self._records = builder.as_data_source(split=_SPLIT)
            count = len(self._records)
            self._kept: dict[int, Clip] = {}
            self._room = _KEPT_BYTES
        except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
            raise self._damaged(error) from error
        if count != len(self.labels):
            raise self._damaged(f"{count} records for {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Clip]: ...
    def __getitem__(self, index: int | slice) -> Clip | Sequence[Clip]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        clip = self._kept.get(position)
        if clip is None:
            clip = self._read(position)
            size = clip.audio.nbytes + sum(map(len, clip.frames))
            if size <= self._room:  # the first that fit: in random order any gain equally
                self._room -= size
                self._kept[position] = clip
        return clip

    def _read(self, position: int) -> Clip:
        labels = self.labels[position]
        try:
            record = self._records[position]
            clip = Clip(
                labels=labels,
                frames=tuple(record["frames"]),
                frame_times=record["frame_times"],
                face_found=record["face_found"],
                frame_size=int(record["frame_size"]),
                audio=np.frombuffer(record["audio"], "<i2").astype(np.int16),
                duration=float(record["duration"]),
            )
            key = record["key"].decode()
        except Exception as error:  # whatever the record's parsers raise on foreign bytes
            raise self._damaged(error) from error
        if key != labels.key:
            raise self._damaged(f"record {position} holds {key}, not {labels.key}")
        for array in (clip.audio, clip.frame_times, clip.face_found):
            array.setflags(write=False)  # whoever reads it next gets the same one
        return clip

    def _damaged(self, detail: object) -> UserError:
        line = " ".join(str(detail).split())[:120]
        return UserError(
            f"the clips in {self.folder} are damaged ({line}): delete that folder and prepare again"
        )


def read_clips(data_dir: Path) -> ClipSource:
    """The prepared clips in `data_dir`; UserError when there are none or they are damaged."""
    return ClipSource(data_dir)
