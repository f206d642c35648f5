import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from jax_avemo.media.decoding.archives import ArchiveError, file_state, list_archive, locate, unpack


def pack(path: Path, entries: dict[str, bytes], **attributes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it stands, not as zipfile would mend it
            info.compress_type = attributes.get("method", zipfile.ZIP_DEFLATED)
            info.external_attr = attributes.get("mode", stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)
    return path


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "name",
    ["../x.mp4", "a/../../x.mp4", "/etc/x.mp4", "C:\\x.mp4", "..\\x.mp4", "a\\..\\..\\x.mp4"],
)
def test_a_name_that_leads_out_is_refused_and_writes_nothing(tmp_path, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = pack(inside / "a.zip", {name: b"evil", "good.mp4": b"good"})
    listing = list_archive(archive)
    assert list(listing.entries) == ["good.mp4"]
    assert [reason for _, reason in listing.refused] == ["has a name that leads out of its archive"]
    before = below(tmp_path)
    for asked in (archive / name.lstrip("/"), archive / listing.refused[0][0].lstrip("/")):
        with pytest.raises(ArchiveError):
            unpack(asked, tmp_path / "target")
    assert below(tmp_path) == before


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (stat.S_IFLNK | 0o777, "is a link"),
        (stat.S_IFIFO | 0o644, "is neither a file nor a folder"),
        (stat.S_IFCHR | 0o644, "is neither a file nor a folder"),
    ],
)
def test_links_and_devices_are_refused(tmp_path, mode, reason):
    archive = pack(tmp_path / "a.zip", {"x.mp4": b"/etc/passwd"}, mode=mode)
    assert list_archive(archive).refused == (("x.mp4", reason),)
    with pytest.raises(ArchiveError, match=reason):
        unpack(archive / "x.mp4", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    archive = pack(tmp_path / "a.zip", {"x.mp4": bytes(64 << 20)})
    assert archive.stat().st_size < 1 << 20
    assert list_archive(archive).refused == (("x.mp4", "unpacks to over 100 times its size"),)
    with pytest.raises(ArchiveError, match="unpacks to over 100 times its size"):
        unpack(archive / "x.mp4", tmp_path / "target")


def test_an_entry_that_says_it_is_small_is_not_written_further(tmp_path):
    """A bomb that lies about its size: 20 MB of zeros that call themselves 100 bytes."""
    archive = pack(tmp_path / "a.zip", {"x.mp4": bytes(20 << 20)})
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(mark) + offset, 100)
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="is damaged inside its archive"):
        unpack(archive / "x.mp4", tmp_path / "target")
    assert below(tmp_path) == {"a.zip"}


def test_encrypted_and_exotic_entries_are_refused(tmp_path):
    archive = pack(tmp_path / "a.zip", {"x.mp4": b"data"})
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    archive.write_bytes(data)
    os.utime(archive, ns=(1, 1))
    assert list_archive(archive).refused == (("x.mp4", "is encrypted"),)
    other = pack(tmp_path / "b.zip", {"x.mp4": b"data"}, method=zipfile.ZIP_LZMA)
    assert list_archive(other).refused[0][1] == "is compressed by another method than deflate"


def test_a_name_that_stands_twice_is_used_once(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("x.mp4", b"first")
        with pytest.warns(UserWarning, match="Duplicate"):
            opened.writestr("x.mp4", b"second")
    listing = list_archive(archive)
    assert listing.refused == (("x.mp4", "stands twice in its archive"),)
    unpack(archive / "x.mp4", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"first"


def test_a_list_of_entries_without_end_is_refused(tmp_path):
    archive = pack(tmp_path / "a.zip", {"x.mp4": b"data"})
    data = bytearray(archive.read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\x05\x06") + 12, 1 << 30)
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="endless list of entries"):
        list_archive(archive)


@pytest.mark.parametrize("cut", [0, 10, 60, -1])
def test_a_damaged_archive_is_one_line(tmp_path, cut):
    archive = pack(tmp_path / "a.zip", {"x.mp4": b"data" * 99})
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(ArchiveError, match="is no zip archive that can be read") as caught:
        list_archive(archive)
    assert "\n" not in str(caught.value)


def test_flipped_bits_inside_are_found(tmp_path):
    archive = pack(tmp_path / "a.zip", {"x.mp4": os.urandom(5000)})
    data = bytearray(archive.read_bytes())
    data[2000] ^= 16
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="is damaged inside its archive"):
        unpack(archive / "x.mp4", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_path_into_an_archive_is_found_and_has_a_state(tmp_path):
    archive = pack(tmp_path / "Corpus.ZIP", {"Actor_01/x.mp4": b"abc"})
    path = archive / "Actor_01/x.mp4"
    assert locate(path) == (archive, "Actor_01/x.mp4")
    assert locate(tmp_path / "x.mp4") is None
    size, checksum = file_state(path)
    assert (size, checksum) == (3, zlib.crc32(b"abc"))
    with pytest.raises(FileNotFoundError):
        file_state(archive / "other.mp4")


def named(path: Path, *names: bytes) -> Path:
    """A zip whose entries' names are these bytes, not marked as UTF-8."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, letter in zip(names, "abcde", strict=False):
            archive.writestr(letter * len(name), b"data")
    data = path.read_bytes()
    for name, letter in zip(names, "abcde", strict=False):
        data = data.replace(letter.encode() * len(name), name)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("encoding", "told"), [("utf-8", ""), ("cp437", "cp437"), ("gbk", "gbk"), ("ascii", "")]
)
def test_names_are_read_in_the_encoding_they_were_written_in(tmp_path, encoding, told):
    names = {
        "utf-8": ["happy/Zo\u00eb/a.mp4", "happy/安娜/b.mp4", "happy/x/c.mp4"],
        "cp437": ["happy/Zo\u00eb/a.mp4", "happy/M\u00fcller/b.mp4", "happy/J\u00fcrgen/c.mp4"],
        "gbk": ["高兴/安娜/a.mp4", "高兴/王喆/b.mp4", "happy/x/c.mp4"],
        "ascii": ["happy/Zoe/a.mp4", "happy/Mueller/b.mp4"],
    }[encoding]
    archive = named(tmp_path / "a.zip", *(name.encode(encoding) for name in names))
    listing = list_archive(archive)
    assert (sorted(listing.entries), listing.refused) == (sorted(names), ())
    assert listing.guessed_encoding == told
    for name in names:
        unpack(archive / name, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == b"data"


def test_a_name_that_leads_out_is_refused_in_any_encoding(tmp_path):
    archive = named(tmp_path / "a.zip", "../安娜/a.mp4".encode("gbk"), "安娜/b.mp4".encode("gbk"))
    listing = list_archive(archive)
    assert list(listing.entries) == ["安娜/b.mp4"]
    assert listing.refused == (("../安娜/a.mp4", "has a name that leads out of its archive"),)
