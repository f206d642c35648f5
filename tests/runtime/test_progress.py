from jax_avemo.runtime import progress
from jax_avemo.runtime.progress import Progress


def test_without_a_terminal_there_are_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_INTERVAL_SECONDS", 0.0)
    with Progress(3, "preparing", unit="clips") as bar:
        bar.advance(2, found=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("preparing: 2/3 clips")
    assert "s left" in lines[0]
    assert "found 0.5" in lines[0]
