import pytest

from jax_avemo.files import atomic_path, write_atomic, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "sub" / "x.txt"
    write_atomic(path, b"old")

    def fail_half_way():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_temporary_keeps_the_suffix(tmp_path):
    with atomic_path(tmp_path / "clip.mp4") as temporary:
        assert temporary.suffix == ".mp4"


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"uar": float("nan")})
    assert not (tmp_path / "x.json").exists()
