"""Fine-tuning: first weights from a file or a run, frozen stages, rates by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file
from support.foreign_weights import foreign_state, numpy_resnext

from jax_avemo import config as settings
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.data.splits import Split
from jax_avemo.runtime import devices
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.records import from_json, to_json
from jax_avemo.training import build, checkpoints, initialisation
from jax_avemo.training.optimizer import build_optimizer, layer_rate
from jax_avemo.training.train_state import example_batch
from jax_avemo.training.train_step import describe_state, prepare_training

INDEX = LabelIndex(tuple("abcd"), ("s1", "s2", "s3"))
SPLIT = Split(
    protocol="subject_independent",
    folds=3,
    fold=0,
    seed=0,
    subject_independent=True,
    train=("1", "2", "3"),
    probe=(),
    validation=("4",),
    test=("5",),
    train_subjects=("s1", "s2", "s3"),
    validation_subjects=("s4",),
    test_subjects=("s5",),
)


def small_config(**changes):
    """configs/finetune.py with a face network in the shapes of `foreign_state`."""
    config = settings.load_config("configs/finetune.py:weights,tiny")
    shape = {
        "model.depths": (1, 1),
        "model.groups": 2,
        "model.width_per_group": 2,
        "model.stem_width": 4,
        "model.expansion": 2,
        "train.batch_size": 2,
    }
    for field, value in (shape | changes).items():
        settings.set_field(config, field, value)
    return config


def describe(config):
    model = build.build_model(config, len(INDEX.emotions), len(INDEX.subjects))
    return model, describe_state(config, model, 10, devices.data_mesh())


def state_of(config):
    """Random in every array; nothing is compiled."""
    model, shapes = describe(config)
    rng = np.random.default_rng(1)
    state = jax.tree.map(
        lambda s: jax.device_put(
            rng.uniform(0.1, 1.0, s.shape).astype(s.dtype)
            if s.dtype == np.float32
            else np.zeros(s.shape, s.dtype),
            s.sharding,
        ),
        shapes,
    )
    return model, state.replace(ema_params=state.params)  # as before the first step


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A network that starts from the foreign file, through the whole config path."""
    path = tmp_path_factory.mktemp("weights") / "resnext.safetensors"
    save_file(foreign_state(), path)
    config = small_config(**{"init.weights_file": str(path)})
    model, before = state_of(config)
    state = initialisation.given(config, before, INDEX, SPLIT, devices.data_mesh())
    return config, model, before, state


def batch_for(config):
    batch = example_batch(config)
    rng = np.random.default_rng(0)
    batch["video"] = rng.integers(0, 256, batch["video"].shape, dtype=np.uint8)
    batch["audio"] = rng.normal(0, 0.1, batch["audio"].shape).astype(np.float32)
    batch["emotion"] = np.array([0, 3], np.int32)
    batch["subject"] = np.array([0, 2], np.int32)
    return batch


def test_the_face_network_starts_at_exactly_the_foreign_function(started):
    """From pixels of a batch to the face network's vectors: NumPy with the foreign names."""
    config, model, _, state = started
    assert config.model.coordinate_attention
    assert config.model.pixels == ("colour",)
    batch = batch_for(config)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    arrays = {name: jnp.asarray(value) for name, value in batch.items()}
    _, seen = jax.jit(
        lambda v, b: model.apply(
            v,
            b,
            None,
            False,
            method="video_sequence",
            capture_intermediates=lambda module, _: module.name == "video_network",
            mutable=["intermediates"],
        )
    )(variables, arrays)
    (found,) = seen["intermediates"]["video_network"]["__call__"]
    frames = batch["video"].reshape(-1, *batch["video"].shape[2:]).astype(np.float64) / 255
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = numpy_resnext(foreign_state(), (frames - mean) / deviation, groups=2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_a_step_leaves_frozen_stages_alone_and_moves_all_else(started):
    config, model, _, state = started
    assert config.model.frozen_stages == 2
    mesh = devices.data_mesh()
    fresh, step = prepare_training(config, model, 10, mesh)
    state = initialisation.given(config, fresh, INDEX, SPLIT, mesh)
    before = jax.device_get(state)
    batch = devices.place_batch(batch_for(config), mesh)
    after, _ = step(state, batch, jax.random.key(0))  # the state's buffers are given away here
    for part in ("params", "batch_stats"):
        old, new = (getattr(s, part)["video_network"] for s in (before, after))
        for name in old:
            same = all(jax.tree.leaves(jax.tree.map(np.array_equal, old[name], new[name])))
            assert same == (name in ("conv1", "bn1", "layer1_0")), (part, name)
    for name in ("audio_network", "lstm", "emotion_encoder", "video_projection"):
        assert not all(
            jax.tree.leaves(jax.tree.map(np.array_equal, before.params[name], after.params[name]))
        )


def test_what_matched_is_said_and_nothing_else_is_touched(started, capsys):
    config, _, before, _ = started
    state = initialisation.given(config, before, INDEX, SPLIT, devices.data_mesh())
    said = capsys.readouterr().err
    assert "resnext.safetensors: 45 tensors imported; 3 not used (bn1.num" in said
    for name in before.params:
        same = jax.tree.map(np.array_equal, before.params[name], state.params[name])
        assert all(jax.tree.leaves(same)) == (name != "video_network")
    same = jax.tree.map(np.array_equal, state.params, state.ema_params)
    assert all(jax.tree.leaves(same))


def test_weights_for_a_face_network_that_does_not_exist_are_refused(tmp_path):
    config = small_config(
        **{"init.weights_file": str(tmp_path / "x"), "model.modalities": ("audio",)}
    )
    with pytest.raises(UserError, match="face network, which this config has not"):
        initialisation.given(config, describe(config)[1], INDEX, SPLIT, devices.data_mesh())


@pytest.fixture(scope="module")
def run(started, tmp_path_factory):
    """A run directory with one checkpoint of that network."""
    config, _, _, state = started
    folder = tmp_path_factory.mktemp("run")
    about = {
        "config": settings.to_dict(config),
        "split": to_json(SPLIT),
        "emotions": list(INDEX.emotions),
        "subjects": list(INDEX.subjects),
        "total_steps": 10,
    }
    with checkpoints.writing(folder) as manager:
        checkpoints.save(manager, 3, state, about, 0.5)
    return folder


def from_run(run, started, index=INDEX, split=SPLIT, **changes):
    _, _, before, _ = started
    config = small_config(**({"init.run": str(run)} | changes))
    return initialisation.given(config, before, index, split, devices.data_mesh())


def test_a_run_s_weights_are_taken_over_but_for_what_hangs_on_its_subjects(run, started):
    _, _, before, state = started
    found = from_run(run, started)
    for name in before.params:
        fresh = name in ("identity_head", "identity_adversary", "emotion_adversary")
        expected = before if fresh else state
        jax.tree.map(np.testing.assert_array_equal, found.params[name], expected.params[name])
    jax.tree.map(np.testing.assert_array_equal, found.batch_stats, state.batch_stats)
    assert int(found.step) == 0


def test_heads_of_other_emotions_stay_fresh(run, started):
    _, _, before, _ = started
    renamed = LabelIndex(("a", "b", "d", "c"), INDEX.subjects)
    moved = jax.tree.map(lambda x: x + 1, before.params)
    config = small_config(**{"init.run": str(run)})
    found = initialisation.given(
        config, before.replace(ema_params=moved), renamed, SPLIT, devices.data_mesh()
    )
    for name in ("emotion_head", "video_head", "audio_head"):
        jax.tree.map(np.testing.assert_array_equal, found.params[name], moved[name])


def test_people_a_run_learned_from_are_not_to_be_measured_on(run, started):
    """Another fold of the same corpus; the same fold, and other people, are allowed."""
    swapped = from_json(
        Split,
        to_json(SPLIT) | {"train_subjects": ["s3", "s4", "s5"], "test_subjects": ["s1"],
                           "validation_subjects": ["s2"]}
    )  # fmt: skip
    with pytest.raises(UserError, match=r"2 subjects that are measured on now \(s1, s2\)"):
        from_run(run, started, split=swapped)
    from_run(run, started, split=swapped, **{"data.demo_seed": 5})


def test_a_run_of_another_network_is_one_line(run, started):
    _, _, before, _ = started
    params = dict(before.ema_params)
    params["fusion_layer"] = jax.tree.map(lambda x: x[..., :3], params["fusion_layer"])
    config = small_config(**{"init.run": str(run)})
    with pytest.raises(UserError, match="fusion_layer/.* there; give the same model fields"):
        initialisation.given(
            config, before.replace(ema_params=params), INDEX, SPLIT, devices.data_mesh()
        )


def test_rates_fall_from_stage_to_stage_and_frozen_ones_have_none():
    names = ("conv1", "bn1", "layer1_0", "layer1_1", "layer2_0", "layer3_0")
    params = {
        "video_network": {name: {"kernel": jnp.ones((2, 2))} for name in names},
        "fusion_layer": {"kernel": jnp.ones((2, 2))},
    }
    rates = {
        path[-2].key: layer_rate(path, params, 0.5, 1)
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    }
    assert rates == {
        "conv1": 0.0,
        "bn1": 0.0,
        "layer1_0": 0.125,
        "layer1_1": 0.125,
        "layer2_0": 0.25,
        "layer3_0": 0.5,
        "fusion_layer": 1.0,
    }
    given = {"learning_rate": lambda _: 0.1, "weight_decay": 0.5, "max_grad_norm": 0.0}
    optimizer = build_optimizer(**given, layer_decay=0.5, frozen_stages=1)
    plain = build_optimizer(**given)
    gradients = jax.tree.map(jnp.ones_like, params)
    expected, _ = plain.update(gradients, plain.init(params), params)
    found, _ = optimizer.update(gradients, optimizer.init(params), params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        whole = float(expected["fusion_layer"]["kernel"][0, 0])
        np.testing.assert_allclose(leaf, whole * rates[path[-2].key], rtol=1e-6)


@pytest.mark.parametrize(
    ("argument", "says"), [("imagenet", "starts from weights or run"), ("run,huge", "no such size")]
)
def test_a_mistake_in_the_config_s_argument_is_one_line(argument, says):
    with pytest.raises(UserError, match=says):
        settings.load_config(f"configs/finetune.py:{argument}")


def test_both_kinds_of_fine_tuning_are_what_they_say():
    weights = settings.load_config("configs/finetune.py")
    assert weights.size == "full"
    assert weights.model.pixels == ("colour",)
    run = settings.load_config("configs/finetune.py:run,cpu")
    assert run.model.pixels == ("contrast",)
    assert run.model.frozen_stages == 0
