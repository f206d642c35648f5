"""EMO-DB: speaker, sentence, emotion and version are the name; audio alone."""

from collections import Counter

import pytest
from support.audio_files import chirp, write_audio
from support.corpus_files import lay, pack

from jax_avemo.data.clip import ClipOptions
from jax_avemo.data.clip_store import read_clips
from jax_avemo.data.corpora import READERS, scan_corpus
from jax_avemo.data.prepare import prepare
from jax_avemo.runtime.errors import UserError

COUNTS = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "T": 62, "N": 79}
SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
TEXTS = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")


def whole_corpus() -> list[str]:
    """As many takes of each emotion as were published."""
    names = []
    for letter, count in COUNTS.items():
        for index in range(count):
            version, cell = divmod(index, 100)
            speaker, text = SPEAKERS[cell % 10], TEXTS[cell // 10]
            names.append(f"wav/{speaker}{text}{letter}{'ab'[version]}.wav")
    return names


def test_labels_are_the_name(tmp_path):
    lay(tmp_path, {"wav/03a01Fa.wav": b"", "wav/16b10Tb.flac": b"", "08a07N.WAV": b""})
    scan = READERS["emodb"](tmp_path)
    found = [
        (r.labels.subject, r.labels.sex, r.labels.statement, r.labels.emotion, r.labels.take)
        for r in scan.recordings
    ]
    assert found == [
        ("08", "female", "a07", "neutral", ""),
        ("03", "male", "a01", "happiness", "a"),
        ("16", "female", "b10", "sadness", "b"),
    ]
    assert all(not recording.has_video for recording in scan.recordings)


def test_the_whole_corpus_is_recognised(tmp_path):
    """The published archive, with the labels that lie beside the audio."""
    files = dict.fromkeys(whole_corpus(), b"")
    files |= {"lablaut/03a01Fa.lablaut": b"", "silb/03a01Fa.silb": b"", "erkennung.txt": b""}
    pack(tmp_path / "download.zip", files)
    scan = scan_corpus("emodb", tmp_path)
    assert (len(scan.recordings), scan.notes) == (535, ())
    counts = Counter(recording.labels.emotion for recording in scan.recordings)
    assert tuple(counts[emotion] for emotion in scan.emotions) == tuple(COUNTS.values())


def test_what_is_missing_or_foreign_is_noted(tmp_path):
    files = dict.fromkeys(whole_corpus()[1:], b"")
    files |= {"wav/music.wav": b"", "wav/04a01Fa.wav": b"", "copy/03A02WA.flac": b""}
    files["wav/03a02Wa.wav"] = b""
    lay(tmp_path, files)
    scan = scan_corpus("emodb", tmp_path)
    assert len(scan.recordings) == 534
    assert scan.notes == (
        "skipped 2 audio files whose names are not EMO-DB's",
        "skipped 1 files that repeat a take, as wav/03a02Wa.wav (is copy/03A02WA.flac)",
        "warning: takes are not as published: anger has 126 (published: 127)",
    )


def test_takes_become_clips(tmp_path):
    voice = chirp(1.0, 16_000)
    write_audio(tmp_path / "in/03a01Fa.wav", voice, rate=16_000, codec="pcm_s16le")
    write_audio(tmp_path / "in/08a01Wb.flac", voice / 2, rate=16_000, codec="flac")
    with pytest.raises(UserError, match="2 takes have audio alone"):
        prepare("emodb", tmp_path / "in", tmp_path / "clips", ClipOptions(32, 5, 10))
    options = ClipOptions(32, 5, 10, need_video=False)
    summary = prepare("emodb", tmp_path / "in", tmp_path / "clips", options, workers=1)
    assert (summary.clips, summary.subjects, summary.rejected) == (2, 2, 0)
    clips = read_clips(tmp_path / "clips")
    assert [clip.labels.emotion for clip in clips] == ["happiness", "anger"]
    assert [clip.audio.size for clip in clips] == [16_000, 16_000]
