import pytest

from jax_avemo.media.decoding.sniff import unreadable_reason

PLAYLIST = "is a playlist, and the files it names are not opened for it"
LFS_POINTER = b"version https://git-lfs.example/spec/v1\noid sha256:0f\nsize 9\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", PLAYLIST),
        (b"\xef\xbb\xbf#extm3u\n", PLAYLIST),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", PLAYLIST),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n", PLAYLIST),
        (b"[playlist]\nFile1=a.mp4\n", PLAYLIST),
        (b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">', PLAYLIST),
        (b"PK\x03\x04rest", "is a zip archive"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a picture (JPEG)"),
        (b"\x89PNG\r\n\x1a\n", "is a picture (PNG)"),
        (LFS_POINTER, "is a Git LFS pointer"),
        (b"/annex/objects/SHA256E-s9--0f.mp4\n", "is a git-annex pointer"),
        (b"file one.mp4\nfile two.mp4\n", "is text, not audio or video"),
        ("Straße\n".encode(), "is text, not audio or video"),
        (b"\0" * 5000, "begins with nothing but zeros: was it copied whole?"),
        (b"\x01\x02\x03\xfe", "is not readable as audio or video (no sense)"),
    ],
)
def test_what_a_file_begins_with_is_named(tmp_path, content, reason):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    assert unreadable_reason(path, "no sense").startswith(reason)


def test_a_character_cut_by_the_end_of_the_head_is_text_still(tmp_path):
    path = tmp_path / "x.mp4"
    path.write_bytes(b"a" * 4095 + "ß".encode() * 9)
    assert unreadable_reason(path, "") == "is text, not audio or video"
