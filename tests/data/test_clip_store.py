import dataclasses
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jax_avemo.data import clip_store
from jax_avemo.data.clip import ClipOptions, clip_to_bytes, encode_jpeg
from jax_avemo.data.clip_store import ClipSource, read_clips, write_clips
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Clip, Labels

OPTIONS = ClipOptions(frame_size=16, frames_per_second=12, max_seconds=60)


def make(index: int) -> Clip:
    random = np.random.default_rng(index)
    count = index % 4  # the first has no picture
    return Clip(
        labels=Labels(
            key=f"Äctor/{index:02d}.mp4",
            emotion=("happy", "sad")[index % 2],
            subject=f"{index % 3:02d}",
            sex="female",
            statement="02",
            intensity="strong",
            take="01",
        ),
        frames=tuple(
            encode_jpeg(random.integers(0, 256, (16, 16, 3), np.uint8), 90) for _ in range(count)
        ),
        frame_times=np.arange(count, dtype=np.float32) / 12,
        face_found=random.random(count) < 0.5,
        frame_size=16,
        audio=random.integers(-32768, 32768, index * 100, np.int16),
        duration=float(np.float32(index / 7)),
    )


CLIPS = [make(index) for index in range(12)]


def write(folder: Path, clips: list[Clip] = CLIPS, options: ClipOptions = OPTIONS) -> ClipSource:
    folder.mkdir(parents=True, exist_ok=True)
    write_clips(
        folder,
        iter(clips),
        [clip.labels for clip in clips],
        emotions=("happy", "sad"),
        options=options.to_dict(),
        sources=[f"s{index}" for index in range(len(clips))],
    )
    return read_clips(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data")
    write(path)
    return path


def test_clips_come_back_as_they_were_in_their_order(folder):
    source = read_clips(folder)
    assert len(source) == 12
    for clip, given in zip(source, CLIPS, strict=True):
        assert clip_to_bytes(clip) == clip_to_bytes(given)
        assert (clip.frame_times.dtype, clip.face_found.dtype) == (np.float32, bool)
        assert clip.audio.dtype == np.int16
        assert all(type(frame) is bytes for frame in clip.frames)


def test_labels_and_options_need_no_record(folder):
    source = read_clips(folder)
    assert source.labels == tuple(clip.labels for clip in CLIPS)
    assert source.emotions == ("happy", "sad")
    assert (source.frame_size, source.frames_per_second) == (16, 12)
    assert source.sources[3] == "s3"


def test_it_is_a_sequence(folder):
    source = read_clips(folder)
    assert source[-1].labels == CLIPS[-1].labels
    assert [clip.labels for clip in source[2:5]] == [clip.labels for clip in CLIPS[2:5]]
    with pytest.raises(IndexError):
        source[12]


def test_threads_may_share_it(folder):
    source = read_clips(folder)
    order = np.random.default_rng(0).integers(0, 12, 400).tolist()
    with ThreadPoolExecutor(8) as pool:
        clips = list(pool.map(source.__getitem__, order))
    for index, clip in zip(order, clips, strict=True):
        assert clip_to_bytes(clip) == clip_to_bytes(CLIPS[index])


def test_clips_stay_in_memory_while_there_is_room(folder, monkeypatch):
    one = CLIPS[3].audio.nbytes + sum(map(len, CLIPS[3].frames))
    for room, stays in ((0, False), (one, True)):
        monkeypatch.setattr(clip_store, "_KEPT_BYTES", room)
        source = ClipSource(folder)  # not by read_clips: as below
        assert (source[3] is source[3]) is stays
        assert source[2] is not source[2]  # there is no room for it
        assert clip_to_bytes(source[3]) == clip_to_bytes(CLIPS[3])
        with pytest.raises(ValueError, match="read-only"):
            source[3].audio[:] = 0


def test_other_processes_may_have_it(folder):
    copy = pickle.loads(pickle.dumps(read_clips(folder)))
    assert clip_to_bytes(copy[7]) == clip_to_bytes(CLIPS[7])


def test_the_fingerprint_names_clips_and_options(folder, tmp_path):
    whole = read_clips(folder).fingerprint
    assert write(tmp_path / "same").fingerprint == whole
    assert write(tmp_path / "fewer", CLIPS[1:]).fingerprint != whole
    other = dataclasses.replace(OPTIONS, frames_per_second=8)
    assert write(tmp_path / "slower", options=other).fingerprint != whole


def test_the_same_clips_give_the_same_files(folder, tmp_path):
    write(tmp_path)
    (record,) = (folder / "clips/1.0.0").glob("*.array_record*")
    (again,) = (tmp_path / "clips/1.0.0").glob("*.array_record*")
    assert record.read_bytes() == again.read_bytes()


def test_tfds_reads_it_without_this_package(folder):
    builder = tfds.builder_from_directory(str(folder / "clips/1.0.0"))
    record = builder.as_data_source(split="clips")[5]
    assert record["key"].decode() == CLIPS[5].labels.key
    assert np.frombuffer(record["audio"], "<i2").size == 500


def test_many_clips_are_several_files_and_need_no_tensorflow(tmp_path, monkeypatch):
    """TFDS's own builder would, beyond the memory that it takes for records."""
    monkeypatch.setattr("tensorflow_datasets.core.shuffle.MAX_MEM_BUFFER_SIZE", 1)
    monkeypatch.setattr(clip_store, "CLIPS_OF_A_SHARD", 5)
    stored = write(tmp_path / "data", CLIPS)
    assert len(list((tmp_path / "data").rglob("*.array_record*"))) == 3
    for index in np.random.default_rng(0).permutation(len(CLIPS)):
        assert clip_to_bytes(stored[int(index)]) == clip_to_bytes(CLIPS[index])


def test_nothing_is_said_on_stdout(tmp_path, capfd):
    write(tmp_path)
    assert capfd.readouterr().out == ""


def test_equal_keys_are_refused(tmp_path):
    with pytest.raises(ValueError, match="same key"):
        write(tmp_path, [CLIPS[1], CLIPS[1]])


def test_no_clips_yet(tmp_path):
    with pytest.raises(UserError, match="run `avemo prepare`"):
        read_clips(tmp_path)


@pytest.mark.parametrize(
    "damage",
    ["cut", "emptied", "flipped", "no index", "other index", "other label", "other list", "gone"],
)
def test_damage_is_a_clear_error_never_another_clip(folder, tmp_path, damage):
    copy = tmp_path / "data"
    shutil.copytree(folder, copy)
    (record,) = (copy / "clips/1.0.0").glob("*.array_record*")
    data = bytearray(record.read_bytes())
    index = copy / "clips/index.json"
    if damage == "cut":
        record.write_bytes(data[: len(data) // 2])
    elif damage == "emptied":
        record.write_bytes(b"")
    elif damage == "flipped":
        used = np.flatnonzero(np.frombuffer(data[: len(data) // 2], np.uint8))
        data[used[len(used) // 2]] ^= 1
        record.write_bytes(data)
    elif damage == "no index":
        index.write_text("{")
    elif damage == "other label":
        index.write_text(index.read_text().replace('"emotion": "sad"', '"emotion": "happy"', 1))
    elif damage == "other list":
        index.write_text(index.read_text().replace('"sad"', '"sae"', 1))
    elif damage == "other index":
        index.write_text(index.read_text().replace("Äctor/03.mp4", "Äctor/33.mp4"))
    else:
        shutil.rmtree(copy / "clips/1.0.0")

    def read() -> None:
        # Not by read_clips: the tests' type check of its value would read a record at random.
        for clip, given in zip(ClipSource(copy), CLIPS, strict=True):
            assert clip_to_bytes(clip) == clip_to_bytes(given)

    with pytest.raises(UserError, match=f"{copy / 'clips'} are damaged") as caught:
        read()
    assert "\n" not in str(caught.value)
