from jax_avemo import config as settings
from jax_avemo.training import build


def test_a_modality_that_stands_alone_is_never_dropped():
    config = settings.make_config("x", "cpu", {"train.modality_dropout": 0.4})
    assert build.build_objective(config, 10).modality_dropout == 0.4
    settings.apply_override(config, "model.modalities=audio")
    assert build.build_objective(config, 10).modality_dropout == 0.0


def test_steps_follow_from_clips_epochs_and_batch():
    config = settings.make_config(
        "x", "cpu", {"train.epochs": 100, "train.batch_size": 16, "train.num_evaluations": 10}
    )
    schedule = build.build_schedule(config, train_clips=163)
    assert schedule.total_steps == 1019  # 100 * 163 / 16
    assert schedule.steps_between_evaluations == 102
    assert build.build_schedule(config, train_clips=0).total_steps == 1
