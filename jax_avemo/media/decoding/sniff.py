"""File types that are not media, by their first bytes."""

from pathlib import Path

# A playlist's contents name other files, which are never opened for it.
_PLAYLISTS = (
    b"#EXTM3U",
    b"ffconcat",
    b"[playlist]",
    b"v=0",
    b"<asx",
    b"<smil",
    b"[Reference]",
    b"SMIL",
    b"RTSPtext",
)
_KINDS = (
    (
        "a zip archive: unpack it, or give it as the source of a corpus that is read from zips",
        b"PK",
    ),
    ("a picture (JPEG)", b"\xff\xd8\xff"),
    ("a picture (PNG)", b"\x89PNG"),
    ("a picture (GIF)", b"GIF8"),
    ("a picture (BMP)", b"BM"),
    ("a document (PDF)", b"%PDF"),
    ("a program (ELF)", b"\x7fELF"),
    ("compressed (gzip): unpack it", b"\x1f\x8b"),
    (
        "a Git LFS pointer, not the recording: fetch it with 'git lfs pull'",
        b"version https://git-lfs",
    ),
    ("a git-annex pointer, not the recording: fetch it with 'git annex get'", b"/annex/objects/"),
)
_HEAD_BYTES = 4096


def unreadable_reason(path: Path, detail: str) -> str:
    """Why a file cannot be read as media, by what it begins with; `detail` is FFmpeg's word."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.lower().startswith(tuple(mark.lower() for mark in _PLAYLISTS)) or b"<MPD" in head:
        return "is a playlist, and the files it names are not opened for it"
    for what, mark in _KINDS:
        if head.startswith(mark):
            return f"is {what}"
    if _is_text(head):
        return "is text, not audio or video"
    if not head.strip(b"\0"):
        return "begins with nothing but zeros: was it copied whole?"
    return f"is not readable as audio or video ({detail})"


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character is cut by the end
            return False
    return b"\0" not in head and not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
