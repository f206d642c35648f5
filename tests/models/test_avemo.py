"""The whole network, tiny: what changes nothing, what reaches what, and which parts exist."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.errors import UserError
from jax_avemo.models.avemo import AVEmo
from jax_avemo.models.outputs import Decoupled, Fused, Outputs

B, F, PX, N = 4, 3, 12, 4000
TINY = {
    "num_emotions": 3,
    "num_subjects": 2,
    "depths": (1,),
    "groups": 2,
    "width_per_group": 2,
    "stem_width": 4,
    "stem_kernel": 3,
    "expansion": 2,
    "mel_bands": 8,
    "fft_size": 256,
    "window_seconds": 0.016,
    "audio_widths": (6,),
    "audio_dropout": 0.0,
    "width": 8,
    "heads": 2,
    "steps": 4,
    "alignment_width_seconds": 0.03,
    "alignment_gap_seconds": 0.05,
    "lstm_width": 6,
    "pooling_width": 4,
    "fused_width": 10,
    "embedding_width": 6,
    "encoder_hidden": 7,
    "adversary_hidden": 5,
    "dropout": 0.0,
}
MODEL = AVEmo(**TINY)
# Compiling, not running, is what these tests cost.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def make_batch(seed=0):
    """Row 1 has no picture, row 2 no sound, row 3 is shorter in both."""
    rng = np.random.default_rng(seed)
    video_mask = np.ones((B, F), bool)
    video_mask[1], video_mask[3, 2] = False, False
    return {
        "video": rng.integers(0, 256, (B, F, PX, PX, 3), dtype=np.uint8),
        "video_mask": video_mask,
        "video_time": np.tile(np.array([0.02, 0.1, 0.2], np.float32), (B, 1)),
        "audio": (rng.normal(size=(B, N)) / 10).astype(np.float32),
        "audio_length": np.array([N, N, 0, 3000], np.int32),
        "emotion": np.array([0, 1, 2, 0], np.int32),
        "subject": np.array([0, 1, 0, -1], np.int32),
        "valid": np.ones(B, bool),
    }


def pad(batch):
    """More rows, frames and samples, all of them rubbish that masks declare unreal."""
    rng = np.random.default_rng(9)

    def rubbish(x, axis):
        shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        if x.dtype == bool:
            return np.ones(shape, bool)
        return rng.integers(0, 3, shape).astype(x.dtype)

    padded = dict(batch)
    for key in ("video", "video_mask", "video_time"):
        new = np.zeros((B, 1), bool) if key == "video_mask" else rubbish(batch[key], 1)
        padded[key] = np.concatenate([batch[key], new], 1)
    samples = rng.normal(size=(B, 1000)).astype(np.float32)
    padded["audio"] = np.concatenate([batch["audio"], samples], 1)
    for key in batch:
        new = np.array([False]) if key == "valid" else rubbish(padded[key], 0)
        padded[key] = np.concatenate([padded[key], new], 0)
    padded["audio_length"][-1] = 2000
    return padded


def spoil(batch):
    """Other rubbish in every frame and sample that is masked already."""
    real = batch["video_mask"][:, :, None, None, None]
    sounding = np.arange(N) < batch["audio_length"][:, None]
    return batch | {
        "video": np.where(real, batch["video"], 255 - batch["video"]),
        "video_time": np.where(batch["video_mask"], batch["video_time"], 77).astype(np.float32),
        "audio": np.where(sounding, batch["audio"], 0.9).astype(np.float32),
    }


def random_variables(model, batch):
    """Random in every parameter (no compilation), so that no initial zero hides a gradient."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    rng = np.random.default_rng(1)
    filled = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) / 2, jnp.float32), shapes)
    filled["batch_stats"] = jax.tree.map(lambda a: jnp.abs(a) + 0.5, filled["batch_stats"])
    return filled


@pytest.fixture(scope="module")
def variables():
    return random_variables(MODEL, make_batch())


@pytest.fixture(scope="module")
def evaluate(variables):
    everyone = np.ones(B, bool)

    @quick_jit
    def apply(batch, video_present, audio_present):
        return MODEL.apply(
            variables, batch, video_present=video_present, audio_present=audio_present
        )

    return lambda batch, video=everyone, audio=everyone: jax.device_get(apply(batch, video, audio))


@quick_jit
def training_step(variables, batch, video_present, audio_present):
    """A loss of every head over valid rows: its gradients, that at z, and new statistics."""

    def loss(params, nudge):
        fused, updates = MODEL.apply(
            {**variables, "params": params},
            batch,
            train=True,
            video_present=video_present,
            audio_present=audio_present,
            mutable=["batch_stats"],
            method="fuse",
        )
        halves = MODEL.apply(
            {"params": params},
            fused.embedding + nudge,
            train=True,
            emotion=batch["emotion"],
            subject=batch["subject"],
            reversal_strength=0.5,
            method="decouple",
        )
        heads = [fused.video_logits, fused.audio_logits, *halves[2:]]
        rows = sum((jnp.sin(h) ** 2).sum(-1) for h in heads)
        value = jnp.where(batch["valid"], rows, 0).sum() / batch["valid"].sum()
        return value, (updates["batch_stats"], fused.inputs)

    nudge = jnp.zeros((batch["valid"].shape[0], TINY["fused_width"]))
    (value, (stats, inputs)), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        variables["params"], nudge
    )
    return {
        "value": value,
        "batch_stats": stats,
        "inputs": inputs,
        "gradient": gradients[0],
        "at_embedding": gradients[1],
    }


@pytest.fixture(scope="module")
def step(variables):
    def run(batch, video=None, audio=None):
        everyone = np.ones(len(batch["valid"]), bool)
        video = everyone if video is None else video
        return jax.device_get(
            training_step(variables, batch, video, everyone if audio is None else audio)
        )

    return run


@pytest.fixture(scope="module")
def stepped(step):
    return step(make_batch())


def assert_close(a, b, atol=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=1e-3), a, b)


def test_every_output_has_its_name_and_shape(evaluate):
    out = evaluate(make_batch())
    shapes = {name: np.shape(value) for name, value in out._asdict().items()}
    assert shapes == {
        "inputs": (B, 2 * 6 + 2 * 8),
        "embedding": (B, 10),
        "video_logits": (B, 3),
        "audio_logits": (B, 3),
        "video_available": (B,),
        "audio_available": (B,),
        "step_times": (B, 4),
        "video_steps": (B, 4),
        "audio_steps": (B, 4),
        "video_attention": (B, 2, 4, 4),
        "audio_attention": (B, 2, 4, 4),
        "step_outputs": (B, 4, 12),
        "step_weights": (B, 4),
        "emotion_embedding": (B, 6),
        "identity_embedding": (B, 6),
        "emotion_logits": (B, 3),
        "identity_logits": (B, 2),
        "adversary_identity_logits": (B, 2),
        "adversary_emotion_logits": (B, 3),
    }
    assert Outputs._fields == Fused._fields + Decoupled._fields
    np.testing.assert_array_equal(out.video_available, [True, False, True, True])
    np.testing.assert_array_equal(out.audio_available, [True, True, False, True])
    np.testing.assert_allclose(out.step_weights.sum(1), 1, atol=1e-6)
    # Steps divide what there is: 0.25 s of sound, or frames up to 0.2 s.
    np.testing.assert_allclose(out.step_times[:, -1], np.array([0.25, 0.25, 0.2, 0.1875]) * 7 / 8)


def test_evaluation_is_deterministic_and_labels_reach_adversaries_alone(evaluate):
    batch = make_batch()
    out = evaluate(batch)
    unknown = np.full(B, -1, np.int32)
    again = evaluate(batch | {"emotion": unknown, "subject": unknown})
    for name, value in out._asdict().items():
        same = np.array_equal(value, getattr(again, name))
        assert same == (name not in {"adversary_identity_logits", "adversary_emotion_logits"}), name


def test_rubbish_in_masked_frames_and_samples_changes_nothing(evaluate, step, stepped):
    batch = make_batch()
    spoilt = spoil(batch)
    assert not np.array_equal(batch["video"], spoilt["video"])
    out, again = evaluate(batch), evaluate(spoilt)
    assert_close(again, out, atol=1e-6)
    assert_close(step(spoilt), stepped)


def test_padding_rows_frames_and_samples_change_neither_values_nor_gradients_nor_statistics(
    step, stepped
):
    padded = step(pad(make_batch()))
    rows = {"inputs": padded.pop("inputs"), "at_embedding": padded.pop("at_embedding")}
    rest = {k: v for k, v in stepped.items() if k not in rows}
    assert_close(padded, rest)
    assert_close(rows["inputs"][:B], stepped["inputs"])
    assert_close(rows["at_embedding"][:B], stepped["at_embedding"])
    assert not np.any(rows["at_embedding"][B:])


def test_a_modality_declared_absent_is_a_modality_the_clip_does_not_have(evaluate):
    batch = make_batch()
    dropped = evaluate(
        batch, video=np.array([0, 1, 1, 1], bool), audio=np.array([1, 1, 1, 0], bool)
    )
    video_mask, audio_length = batch["video_mask"].copy(), batch["audio_length"].copy()
    video_mask[0], audio_length[3] = False, 0
    lacking = evaluate(batch | {"video_mask": video_mask, "audio_length": audio_length})
    for name in ("embedding", "emotion_logits", "identity_logits", "step_weights", "video_steps"):
        np.testing.assert_allclose(getattr(dropped, name), getattr(lacking, name), atol=1e-5)
    full = evaluate(batch)
    assert np.abs(dropped.embedding - full.embedding)[[0, 3]].max(axis=1).min() > 1e-3
    np.testing.assert_allclose(dropped.embedding[1:3], full.embedding[1:3], atol=1e-6)
    # The heads on the branches still see what the fusion does not.
    np.testing.assert_allclose(dropped.video_logits, full.video_logits, atol=1e-6)
    np.testing.assert_allclose(dropped.audio_logits, full.audio_logits, atol=1e-6)


def test_a_clip_without_anything_is_finite_and_weighs_nothing(evaluate):
    out = evaluate(make_batch(), video=np.zeros(B, bool), audio=np.zeros(B, bool))
    assert not np.any(out.step_weights)
    assert all(np.isfinite(value).all() for value in out)


def test_modality_dropout_does_not_touch_batch_statistics(step, stepped):
    dropped = step(make_batch(), video=np.array([0, 1, 1, 1], bool))
    jax.tree.map(np.testing.assert_array_equal, dropped["batch_stats"], stepped["batch_stats"])
    assert abs(dropped["value"] - stepped["value"]) > 1e-4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(dropped))


def test_every_parameter_learns(stepped):
    still = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(stepped["gradient"])
        if np.abs(leaf).max() < 1e-6
    }
    # Batch norm follows this bias and takes it away again.
    assert still == {"video_network/layer1_0/coordinate_attention/conv1/bias"}


def test_the_gradient_of_the_fusion_layer_follows_from_that_at_the_embedding(stepped):
    """What GradNorm relies on: dL/dW = inputs^T dL/dz."""
    np.testing.assert_allclose(
        stepped["gradient"]["fusion_layer"]["kernel"],
        stepped["inputs"].T @ stepped["at_embedding"],
        atol=1e-6,
    )


def test_adversaries_learn_forwards_and_encoders_backwards(variables):
    z = jnp.asarray(np.random.default_rng(3).normal(size=(B, 10)), jnp.float32)

    @quick_jit
    def gradient(strength):
        def loss(params):
            out = MODEL.apply(
                {"params": params},
                z,
                train=True,
                emotion=jnp.array([0, 1, 2, -1]),
                subject=jnp.array([0, 1, -1, 0]),
                reversal_strength=strength,
                method="decouple",
            )
            return (jnp.sin(out.adversary_identity_logits) ** 2).sum()

        return jax.grad(loss)(variables["params"])

    off, half, forwards = gradient(0.0), gradient(0.5), gradient(-1.0)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(off["emotion_encoder"]))
    assert_close(
        half["emotion_encoder"], jax.tree.map(lambda g: -0.5 * g, forwards["emotion_encoder"])
    )
    assert np.any(half["emotion_encoder"]["output"]["kernel"])
    assert_close(off["identity_adversary"], half["identity_adversary"])
    assert np.any(off["identity_adversary"]["output"]["kernel"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(half["identity_encoder"]))


def shapes_of(batch=None, **fields):
    """Parameter and output shapes of a variant, without compiling it."""
    model = AVEmo(**(TINY | fields))
    out, variables = jax.eval_shape(
        lambda key, batch: model.init_with_output(key, batch),
        jax.random.key(0),
        batch or make_batch(),
    )
    return out, variables["params"]


@pytest.mark.parametrize(("kept", "other"), [("audio", "video"), ("video", "audio")])
def test_a_modality_that_is_off_has_no_parameters_and_is_not_read(kept, other):
    batch = {k: v for k, v in make_batch().items() if not k.startswith(other)}
    out, params = shapes_of(batch, modalities=(kept,))
    assert not [name for name in params if name.startswith(other)]
    assert [name for name in params if name.startswith(kept)]
    assert getattr(out, f"{other}_logits") is None
    assert getattr(out, f"{other}_steps") is None
    assert out.inputs.shape == (B, 2 * 6 + 8)


def test_sound_alone_trains_with_dropout_and_every_parameter_learns():
    model = AVEmo(**(TINY | {"modalities": ("audio",), "dropout": 0.3, "audio_dropout": 0.3}))
    batch = {k: v for k, v in make_batch().items() if not k.startswith("video")}
    filled = random_variables(model, batch)

    @quick_jit
    def gradient(key):
        def loss(params):
            out, _ = model.apply(
                {**filled, "params": params},
                batch,
                train=True,
                reversal_strength=1.0,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            return sum((jnp.sin(h) ** 2).sum() for h in (out.audio_logits, *out[-4:]))

        return jax.grad(loss)(filled["params"])

    one, two = gradient(jax.random.key(0)), gradient(jax.random.key(1))
    for path, leaf in jax.tree_util.tree_leaves_with_path(one):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-7, path
    jax.tree.map(np.testing.assert_array_equal, one, gradient(jax.random.key(0)))
    assert np.abs(one["fusion_layer"]["kernel"] - two["fusion_layer"]["kernel"]).max() > 1e-4


def test_variants_have_the_parts_they_name_and_no_others():
    out, params = shapes_of()
    assert params["identity_adversary"]["hidden"]["kernel"].shape == (6 + 3 + 6 * 3, 5)
    assert params["emotion_adversary"]["hidden"]["kernel"].shape == (6 + 2 + 6 * 2, 5)

    _, marginal = shapes_of(adversary="marginal")
    assert marginal["identity_adversary"]["hidden"]["kernel"].shape == (6, 5)
    assert marginal.keys() == params.keys()

    out, without = shapes_of(adversary="none")
    assert params.keys() - without.keys() == {"identity_adversary", "emotion_adversary"}
    assert out.identity_logits.shape == (B, 2)
    assert out.adversary_identity_logits is None

    out, fusion_only = shapes_of(decouple_identity=False, num_subjects=0)
    assert without.keys() - fusion_only.keys() == {"identity_encoder", "identity_head"}
    assert fusion_only["emotion_encoder"].keys() == params["emotion_encoder"].keys()
    assert out.identity_embedding is None

    _, concatenated = shapes_of(fusion="lstm_concat", skip=False, embedded_self_attention=False)
    assert concatenated["lstm"]["lstm"]["forward_input"]["kernel"].shape == (16, 24)
    assert concatenated["fusion_layer"]["kernel"].shape == (12, 10)
    assert params.keys() - concatenated.keys() == {"video_attention", "audio_attention"}


def test_what_follows_half_precision_networks_is_float32():
    out, params = shapes_of(dtype=jnp.bfloat16, remat=True)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    assert out.embedding.dtype == out.video_logits.dtype == out.emotion_logits.dtype == jnp.float32


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"modalities": ("audio", "video")}, "modalities"),
        ({"fusion": "sum"}, "dual_lstm, lstm_concat"),
        ({"adversary": "both"}, "conditional, marginal, none"),
        ({"num_subjects": 0}, "num_subjects"),
    ],
)
def test_impossible_fields_are_refused_in_one_line(fields, says):
    with pytest.raises(UserError, match=says):
        shapes_of(**fields)
