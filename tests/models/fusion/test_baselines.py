"""Baseline fusions: against NumPy, and what changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny_network import TINY, B, make_batch, quick_jit

from jax_avemo.models.avemo import AVEmo
from jax_avemo.models.front_ends import Sequence
from jax_avemo.models.fusion.baselines import AVERAGED_LOGITS, BASELINE_FUSIONS, averaged_logits
from jax_avemo.runtime.errors import UserError

ROWS, FRAMES, STEPS, D, HEADS = 3, 4, 5, 4, 2
EPSILON = {"batch": 1e-5, "layer": 1e-6}


def sequence(length: int, seed: int) -> Sequence:
    rng = np.random.default_rng(seed)
    seen = np.ones((ROWS, length), bool)
    seen[1, 2:] = False
    values = rng.normal(size=(ROWS, length, D)).astype(np.float32)
    return Sequence(values, np.zeros((ROWS, length), np.float32), seen, seen)


VIDEO, AUDIO = sequence(FRAMES, 1), sequence(STEPS, 2)


@functools.cache
def made(name):
    """A baseline with random variables, and its compiled evaluation and training functions."""
    baseline = BASELINE_FUSIONS[name](HEADS, 0.0, 0.9)
    shapes = jax.eval_shape(
        functools.partial(baseline.init, train=False), jax.random.key(0), VIDEO, AUDIO
    )
    rng = np.random.default_rng(3)
    variables = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), jnp.float32), shapes)
    if "batch_stats" in variables:
        variables["batch_stats"] = jax.tree.map(
            lambda a: jnp.abs(a) + 0.5, variables["batch_stats"]
        )

    @quick_jit
    def evaluate(video, audio):
        return baseline.apply(variables, video, audio, train=False)

    @quick_jit
    def gradients(video, audio):
        def loss(params, of_video, of_audio):
            out, updates = baseline.apply(
                {**variables, "params": params},
                video._replace(values=of_video),
                audio._replace(values=of_audio),
                train=True,
                mutable=["batch_stats"],
            )
            return (jnp.sin(out) ** 2).sum(), updates

        return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(
            variables["params"], video.values, audio.values
        )

    return variables, evaluate, gradients


def unseen(s: Sequence, row: int) -> Sequence:
    seen = s.seen.copy()
    seen[row] = False
    return s._replace(seen=seen)


def longer(s: Sequence) -> Sequence:
    """One more element, and rubbish wherever nothing is seen."""
    seen = np.concatenate([s.seen, np.zeros((ROWS, 1), bool)], axis=1)
    values = np.concatenate([s.values, np.full((ROWS, 1, D), 7, np.float32)], axis=1)
    values = np.where(seen[..., None], values, 7).astype(np.float32)
    return Sequence(values, np.zeros(seen.shape, np.float32), seen, seen)


# --- the same in NumPy, one clip at a time, in float64, without masks: a clip is what is seen of it


def dense(p, x):
    return x @ np.float64(p["kernel"]) + np.float64(p.get("bias", 0.0))


def layer_norm(p, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON["layer"])
    return x * p["scale"] + p["bias"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def convolutions(p, stats, x):
    for block in range(2):
        kernel = np.float64(p[f"conv_{block}"]["kernel"])
        padded = np.pad(x, ((1, 1), (0, 0)))
        y = sum(padded[k : k + len(x)] @ kernel[k] for k in range(3))
        norm, running = p[f"norm_{block}"], stats[f"norm_{block}"]
        y = (y - running["mean"]) / np.sqrt(np.float64(running["var"]) + EPSILON["batch"])
        x = np.maximum(y * norm["scale"] + norm["bias"], 0)
    return x


def heads_of(x):
    return x.reshape(len(x), HEADS, -1).swapaxes(0, 1)


def attention(q, k):
    return softmax(heads_of(q) @ heads_of(k).swapaxes(1, 2) / np.sqrt(D / HEADS))


def cross_transformer(p, x, other):
    q, k = layer_norm(p["query_norm"], x), layer_norm(p["key_norm"], other)
    weights = attention(dense(p["query"], q), dense(p["key"], k))
    read = (weights @ heads_of(dense(p["value"], k))).swapaxes(0, 1).reshape(len(x), D)
    x = x + dense(p["output"], read)
    return x + dense(p["result"], gelu(dense(p["hidden"], layer_norm(p["norm"], x))))


def cross_modal_residual(p, stats, x, y):
    a = p["audio_attention"]
    q, k, v = np.split(dense(a["query_key_value"], layer_norm(a["norm"], y)), 3, axis=-1)
    read = (attention(q, k) @ heads_of(v)).swapaxes(0, 1).reshape(len(y), D)
    attended = y + dense(a["output"], read)
    attended = attended + dense(
        p["result"], gelu(dense(p["hidden"], layer_norm(p["norm"], attended)))
    )
    scores = np.tanh(dense(p["of_picture"], x) + dense(p["of_sound"], attended.mean(0)))
    weights = softmax(dense(p["score"], scores)[:, 0])
    return np.concatenate([(x * (1 + weights[:, None])).mean(0), y.mean(0)])


def intermediate_attention(p, stats, x, y):
    x = convolutions(p["video_stage_1"], stats["video_stage_1"], x)
    of_video = attention(dense(p["audio_looks_query"], y), dense(p["audio_looks_key"], x)).mean(0)
    of_audio = attention(dense(p["video_looks_query"], x), dense(p["video_looks_key"], y)).mean(0)
    x = x * (len(x) * of_video.mean(0))[:, None]
    y = y * (len(y) * of_audio.mean(0))[:, None]
    x = convolutions(p["video_stage_2"], stats["video_stage_2"], x)
    y = convolutions(p["audio_stage_2"], stats["audio_stage_2"], y)
    return np.concatenate([x.mean(0), y.mean(0)])


def intermediate_transformer(p, stats, x, y):
    x = convolutions(p["video_stage_1"], stats["video_stage_1"], x)
    x, y = cross_transformer(p["video_block"], x, y), cross_transformer(p["audio_block"], y, x)
    x = convolutions(p["video_stage_2"], stats["video_stage_2"], x)
    y = convolutions(p["audio_stage_2"], stats["audio_stage_2"], y)
    return np.concatenate([x.mean(0), y.mean(0)])


def late_transformer(p, stats, x, y):
    x = convolutions(p["video_stage_1"], stats["video_stage_1"], x)
    x = convolutions(p["video_stage_2"], stats["video_stage_2"], x)
    y = convolutions(p["audio_stage_2"], stats["audio_stage_2"], y)
    x, y = cross_transformer(p["video_block"], x, y), cross_transformer(p["audio_block"], y, x)
    return np.concatenate([x.mean(0), y.mean(0)])


REFERENCES = {
    "cross_modal_residual": cross_modal_residual,
    "intermediate_attention": intermediate_attention,
    "intermediate_transformer": intermediate_transformer,
    "late_transformer": late_transformer,
}


@pytest.mark.parametrize("name", BASELINE_FUSIONS)
def test_a_baseline_is_its_formula(name):
    variables, evaluate, _ = made(name)
    found = evaluate(VIDEO, AUDIO)
    assert found.shape == (ROWS, 2 * D)
    p, stats = jax.device_get((variables["params"], variables.get("batch_stats", {})))
    for row in range(ROWS):
        x, y = (np.float64(s.values[row][s.seen[row]]) for s in (VIDEO, AUDIO))
        np.testing.assert_allclose(
            found[row], REFERENCES[name](p, stats, x, y), rtol=2e-4, atol=2e-5
        )


@pytest.mark.parametrize("name", BASELINE_FUSIONS)
def test_what_is_not_seen_changes_neither_values_nor_gradients_nor_statistics(name):
    _, evaluate, gradients = made(name)
    np.testing.assert_allclose(
        evaluate(longer(VIDEO), longer(AUDIO)), evaluate(VIDEO, AUDIO), rtol=1e-6, atol=1e-5
    )
    (of_params, of_video, of_audio), updates = gradients(VIDEO, AUDIO)
    (again, padded_video, padded_audio), padded = gradients(longer(VIDEO), longer(AUDIO))
    for one, other in ((of_params, again), (updates, padded)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3), one, other
        )
    np.testing.assert_allclose(padded_video[:, :FRAMES], of_video, atol=1e-4, rtol=1e-3)
    assert not np.any(padded_video[:, FRAMES:])
    assert not np.any(padded_audio[:, STEPS:])


@pytest.mark.parametrize("name", BASELINE_FUSIONS)
def test_an_absent_modality_is_not_read_and_the_other_still_counts(name):
    _, evaluate, gradients = made(name)
    full = evaluate(VIDEO, AUDIO)
    for kept, pair in (("audio", (unseen(VIDEO, 0), AUDIO)), ("video", (VIDEO, unseen(AUDIO, 0)))):
        out = evaluate(*pair)
        assert np.isfinite(out).all()
        np.testing.assert_allclose(out[1:], full[1:], rtol=1e-6, atol=1e-5)
        mine = out[0, D:] if kept == "audio" else out[0, :D]
        assert np.abs(mine).max() > 1e-3
        (_, of_video, of_audio), _ = gradients(*pair)
        assert all(np.isfinite(g).all() for g in (of_video, of_audio))
        assert not np.any(of_video[0] if kept == "audio" else of_audio[0])
    nothing = evaluate(unseen(VIDEO, 0), unseen(AUDIO, 0))
    np.testing.assert_array_equal(nothing[0], 0)


@pytest.mark.parametrize("name", BASELINE_FUSIONS)
def test_every_parameter_learns(name):
    _, _, gradients = made(name)
    (of_params, _, _), _ = gradients(VIDEO, AUDIO)
    for path, leaf in jax.tree_util.tree_leaves_with_path(of_params):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-7, path


def test_logits_are_averaged_over_the_modalities_a_clip_has():
    rng = np.random.default_rng(0)
    of_video, of_audio = jnp.asarray(rng.normal(size=(2, ROWS, 3)), jnp.float32)
    logits, means = averaged_logits(
        jax.tree.map(jnp.asarray, unseen(VIDEO, 2)),
        jax.tree.map(jnp.asarray, unseen(unseen(AUDIO, 0), 2)),
        of_video,
        of_audio,
    )
    np.testing.assert_allclose(logits[0], of_video[0], rtol=1e-6)
    np.testing.assert_allclose(logits[1], (of_video[1] + of_audio[1]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(logits[2], 0)
    np.testing.assert_allclose(means[0, :D], VIDEO.values[0].mean(0), rtol=1e-5)
    np.testing.assert_allclose(means[1, D:], AUDIO.values[1, :2].mean(0) / 2, rtol=1e-5)
    np.testing.assert_array_equal(means[0, D:], 0)


@pytest.mark.parametrize("name", [*BASELINE_FUSIONS, AVERAGED_LOGITS])
def test_the_whole_network_with_a_baselines_fusion_names_what_ours_does(name):
    decouple = name != AVERAGED_LOGITS
    model = AVEmo(**(TINY | {"fusion": name, "decouple": decouple}))
    out, variables = jax.eval_shape(
        lambda key, batch: model.init_with_output(key, batch), jax.random.key(0), make_batch()
    )
    fused, decoupled = out
    assert decoupled.emotion_logits.shape == (B, 3)
    assert fused.video_logits.shape == fused.audio_logits.shape == (B, 3)
    assert fused.embedding.shape == (B, 10 if decouple else 2 * 8 + 3)
    assert fused.step_weights is fused.video_attention is None
    parts = variables["params"].keys()
    assert not {"lstm", "pooling", "video_attention"} & parts
    assert ("baseline" in parts) == ("emotion_encoder" in parts) == decouple


def test_averaged_logits_are_the_end_of_z():
    model = AVEmo(**(TINY | {"fusion": AVERAGED_LOGITS, "decouple": False}))
    z = jnp.asarray(np.random.default_rng(1).normal(size=(B, 19)), jnp.float32)
    out = model.apply({"params": {}}, z, train=False, method="separate")
    np.testing.assert_array_equal(out.emotion_logits, z[:, -3:])
    np.testing.assert_array_equal(out.emotion_embedding, z)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"fusion": "late_transformer", "modalities": ("audio",)}, "needs both"),
        ({"fusion": AVERAGED_LOGITS}, "fuse only"),
    ],
)
def test_impossible_combinations_are_refused_in_one_line(fields, says):
    with pytest.raises(UserError, match=says):
        jax.eval_shape(AVEmo(**(TINY | fields)).init, jax.random.key(0), make_batch())
