"""The whole network, tiny: what changes nothing, what reaches what, and which parts exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny_network import MODEL, TINY, B, make_batch, pad, quick_jit, random_variables, spoil


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
            method="separate",
        )
        heads = [
            fused.video_logits,
            fused.audio_logits,
            halves.emotion_logits,
            halves.identity_logits,
            halves.adversary_identity_logits,
            halves.adversary_emotion_logits,
        ]
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
    out, decoupled = evaluate(make_batch())
    named = out._asdict() | decoupled._asdict()
    shapes = {name: np.shape(value) for name, value in named.items()}
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
    np.testing.assert_array_equal(out.video_available, [True, False, True, True])
    np.testing.assert_array_equal(out.audio_available, [True, True, False, True])
    np.testing.assert_allclose(out.step_weights.sum(1), 1, atol=1e-6)
    # Steps divide what there is: 0.25 s of sound, or frames up to 0.2 s.
    np.testing.assert_allclose(out.step_times[:, -1], np.array([0.25, 0.25, 0.2, 0.1875]) * 7 / 8)


def test_evaluation_is_deterministic_and_labels_reach_adversaries_alone(evaluate):
    batch = make_batch()
    fused, out = evaluate(batch)
    unknown = np.full(B, -1, np.int32)
    fused_again, again = evaluate(batch | {"emotion": unknown, "subject": unknown})
    jax.tree.map(np.testing.assert_array_equal, fused, fused_again)
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
    assert_close(dropped.decoupled, lacking.decoupled, atol=1e-5)
    dropped, lacking = dropped.fused, lacking.fused
    for name in ("embedding", "step_weights", "video_steps"):
        np.testing.assert_allclose(getattr(dropped, name), getattr(lacking, name), atol=1e-5)
    full = evaluate(batch).fused
    assert np.abs(dropped.embedding - full.embedding)[[0, 3]].max(axis=1).min() > 1e-3
    np.testing.assert_allclose(dropped.embedding[1:3], full.embedding[1:3], atol=1e-6)
    # The heads on the branches still see what the fusion does not.
    np.testing.assert_allclose(dropped.video_logits, full.video_logits, atol=1e-6)
    np.testing.assert_allclose(dropped.audio_logits, full.audio_logits, atol=1e-6)


def test_a_clip_without_anything_is_finite_and_weighs_nothing(evaluate):
    out = evaluate(make_batch(), video=np.zeros(B, bool), audio=np.zeros(B, bool))
    assert not np.any(out.fused.step_weights)
    assert all(np.isfinite(value).all() for value in jax.tree.leaves(out))


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
                method="separate",
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
