import json

from jax_avemo.training.metrics_log import MetricsLog


def test_reopening_drops_what_lies_behind_the_checkpoint_and_half_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, keep_through=0) as log:
        for step in (10, 20, 30):
            log.write(step, "train", {"loss": step / 7})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"step": 40, "ki')
    with MetricsLog(path, keep_through=20) as log:
        log.write(30, "train", {"loss": 30 / 7})
    assert path.read_bytes() == whole


def test_nan_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, keep_through=0) as log:
        log.write(1, "validation", {"uar": float("nan")})
    assert json.loads(path.read_text()) == {"step": 1, "kind": "validation", "uar": None}
