import cv2
import numpy as np
import pytest

from jax_avemo.data.clip import ClipOptions, encode_jpeg
from jax_avemo.data.clip_store import write_clips
from jax_avemo.data.preview import contact_sheet, write_previews
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Clip, Labels

OPTIONS = ClipOptions(frame_size=32, frames_per_second=5, max_seconds=10)


def clip(key: str, subject: str, found: list[bool], colour=(20, 160, 40)) -> Clip:
    frame = encode_jpeg(np.full((32, 32, 3), colour, np.uint8), 95)
    return Clip(
        labels=Labels(key=key, emotion="happy", subject=subject),
        frames=(frame,) * len(found),
        frame_times=np.arange(len(found), dtype=np.float32) / 5,
        face_found=np.array(found, bool),
        frame_size=32,
        audio=np.zeros(1600, np.int16),
        duration=len(found) / 5,
    )


def share_of(sheet: np.ndarray, colour) -> float:
    return float((np.abs(sheet.astype(int) - colour).max(-1) < 30).mean())


def test_frames_without_the_face_have_a_red_border():
    good = contact_sheet("07", [clip("a.mp4", "07", [True] * 9)])
    bad = contact_sheet("07", [clip("a.mp4", "07", [True] * 5 + [False] * 4)])
    assert good.shape == bad.shape
    assert share_of(good, (20, 160, 40)) > 0.15
    assert share_of(good, (210, 30, 30)) == 0
    assert share_of(bad, (210, 30, 30)) > 0.01


def test_the_worst_clips_come_first():
    clips = [
        clip("a.mp4", "07", [True] * 6),
        clip("b.mp4", "07", [True, False] * 3, colour=(90, 90, 220)),
    ]
    sheet = contact_sheet("07", clips)
    first_cell, second_cell = sheet[:, : sheet.shape[1] // 3], sheet[:, sheet.shape[1] // 3 :]
    assert share_of(first_cell, (90, 90, 220)) > 0.3
    assert share_of(second_cell, (90, 90, 220)) == 0


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (4, 2), (400, 40)])
def test_a_sheet_has_three_clips_a_row_and_an_end(count, rows):
    sheet = contact_sheet("Ünal", [clip(f"{k}.mp4", "Ünal", [True]) for k in range(count)])
    assert sheet.shape[0] == 30 + rows * 102


def test_every_subject_has_a_sheet_inside_the_folder(tmp_path):
    subjects = ["07", "../../x", "a/b", "Jörg", ".."]
    clips = sorted(
        (clip(f"{k}.mp4", subject, [True, False]) for k, subject in enumerate(subjects)),
        key=lambda clip: clip.labels.key,
    )
    write_clips(
        tmp_path,
        iter(clips),
        [c.labels for c in clips],
        emotions=("happy",),
        options=OPTIONS.to_dict(),
        sources=[c.labels.key for c in clips],
    )
    (tmp_path / "preview").mkdir()
    (tmp_path / "preview/gone.jpg").write_bytes(b"old")
    written = write_previews(tmp_path)
    assert sorted(written) == sorted((tmp_path / "preview").iterdir())
    assert len(written) == len(subjects)
    assert {path.name for path in written} >= {"07.jpg", "Jörg.jpg", "a_b.jpg"}
    assert all(cv2.imread(str(path)) is not None for path in written)
    before = [path.read_bytes() for path in sorted(written)]
    assert [path.read_bytes() for path in sorted(write_previews(tmp_path))] == before


def test_without_clips_it_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="run `avemo prepare`"):
        write_previews(tmp_path)
