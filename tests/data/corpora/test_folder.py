from pathlib import Path

from jax_avemo.data.corpora import READERS


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_label_and_subject_are_the_folders(tmp_path):
    touch(tmp_path, "joy/anna/b.mp4", "joy/anna/a.WEBM", "dread/Bo 2/take 1.avi")
    scan = READERS["folder"](tmp_path)
    assert [(r.labels.key, r.labels.emotion, r.labels.subject) for r in scan.recordings] == [
        ("dread/Bo 2/take 1.avi", "dread", "Bo 2"),
        ("joy/anna/a.WEBM", "joy", "anna"),
        ("joy/anna/b.mp4", "joy", "anna"),
    ]
    assert scan.emotions == ("dread", "joy")
    assert scan.notes == ()


def test_ravdess_labels_keep_its_order(tmp_path):
    touch(tmp_path, "Angry/a/1.mp4", "sad/a/1.mp4", "neutral/a/1.mp4")
    assert READERS["folder"](tmp_path).emotions == ("neutral", "sad", "angry")


def test_what_lies_elsewhere_is_counted(tmp_path):
    touch(tmp_path, "joy/anna/a.mp4", "joy/b.mp4", "joy/anna/deep/c.mp4", "joy/anna/notes.txt")
    scan = READERS["folder"](tmp_path)
    assert len(scan.recordings) == 1
    assert scan.notes == (
        "skipped 1 files that are no video",
        "skipped 2 videos not at LABEL/SUBJECT/, as joy/anna/deep/c.mp4",
    )
