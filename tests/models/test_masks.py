"""Whatever a mask looks like: what it leaves out counts nowhere, what it keeps counts once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jax_avemo.models.fusion.alignment import align, step_times
from jax_avemo.models.layers.attention import SelfAttention, masked_mean, masked_softmax
from jax_avemo.models.layers.batch_norm import MaskedBatchNorm
from jax_avemo.models.lstm.dual_lstm import DualLSTM

B, T, D = 3, 5, 4
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
values = arrays(np.float32, (B, T, D), elements=st.floats(-8, 8, width=32))
masks = arrays(bool, (B, T))
moments = arrays(np.float32, (B, T), elements=st.floats(0, 4, width=32))
thorough = settings(max_examples=30, deadline=None)
rubbish = st.sampled_from([np.nan, np.inf, -1e30, 7.0])


@thorough
@given(values, masks, rubbish)
def test_masked_mean_and_softmax_are_numpys_over_what_is_kept(x, mask, fill):
    spoilt = jnp.asarray(np.where(mask[..., None], x, fill))
    mean = np.asarray(quick_jit(masked_mean)(spoilt, jnp.asarray(mask)))
    weights = np.asarray(quick_jit(masked_softmax)(jnp.asarray(x[..., 0]), jnp.asarray(mask)))
    for b in range(B):
        kept = x[b, mask[b]].astype(np.float64)
        np.testing.assert_allclose(mean[b], kept.mean(0) if len(kept) else 0, atol=1e-5)
        e = np.exp(kept[:, 0])
        np.testing.assert_allclose(weights[b, mask[b]], e / e.sum() if len(e) else e, atol=1e-5)
    assert not np.any(weights[~mask])


@quick_jit
def normalise(x, mask):
    module = MaskedBatchNorm(momentum=0.9)
    start = {
        "params": {"scale": jnp.ones(D), "bias": jnp.zeros(D)},
        "batch_stats": {"mean": jnp.zeros(D), "var": jnp.ones(D)},
    }
    y, updated = module.apply(start, x, mask, True, mutable=["batch_stats"])
    return y, updated["batch_stats"]


@thorough
@given(values, masks, st.sampled_from([1e30, -1e30, 7.0]))
def test_batch_norm_sees_the_kept_rows_alone(x, mask, fill):
    y, stats = normalise(jnp.asarray(x), jnp.asarray(mask))
    spoilt_y, spoilt_stats = normalise(
        jnp.asarray(np.where(mask[..., None], x, np.float32(fill))), jnp.asarray(mask)
    )
    np.testing.assert_array_equal(np.asarray(y)[mask], np.asarray(spoilt_y)[mask])
    jax.tree.map(np.testing.assert_array_equal, stats, spoilt_stats)
    kept = x[mask].astype(np.float64)
    mean = kept.mean(0) if len(kept) else np.zeros(D)
    unbiased = kept.var(0, ddof=1) if len(kept) > 1 else np.zeros(D)
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, atol=1e-5)
    expected = 0.9 + 0.1 * unbiased if len(kept) else np.ones(D)
    np.testing.assert_allclose(stats["var"], expected, rtol=1e-4, atol=1e-4)


@thorough
@given(values, moments, masks, rubbish, st.floats(0.5, 4), st.randoms(use_true_random=False))
def test_alignment_is_by_time_alone(x, times, mask, fill, duration, random):
    """In the hull of what is near, whatever the order of the elements and the rest contains."""
    aligned = quick_jit(align)
    steps = step_times(jnp.full(B, duration, jnp.float32), 4)
    out, step_mask = map(np.asarray, aligned(x, times, mask, steps, 0.3, 0.5))
    order = list(range(T))
    random.shuffle(order)
    spoilt = np.where(mask[..., None], x, np.float32(fill))
    wrong_times = np.where(mask, times, np.float32(fill))
    again, again_mask = aligned(
        spoilt[:, order], wrong_times[:, order], mask[:, order], steps, 0.3, 0.5
    )
    np.testing.assert_array_equal(again_mask, step_mask)
    np.testing.assert_allclose(again, out, atol=1e-4)
    away = np.abs(times[:, None] - np.asarray(steps)[:, :, None])
    near = (mask[:, None] & (away <= 0.5)).any(-1)
    sure = ~(mask[:, None] & (np.abs(away - 0.5) < 1e-5)).any(-1)  # rounding decides there
    np.testing.assert_array_equal(step_mask[sure], near[sure])
    assert not np.any(out[~step_mask])
    for b, s in zip(*np.nonzero(step_mask), strict=True):
        kept = x[b, mask[b]]
        assert (out[b, s] >= kept.min(0) - 1e-4).all()
        assert (out[b, s] <= kept.max(0) + 1e-4).all()


@thorough
@given(values, values, masks, masks)
def test_two_sequences_aligned_and_read_together_meet_by_time(video, audio, m_v, m_a):
    """Both clocks moved by the same amount: the same steps, so the same outputs of the LSTM."""
    steps = jnp.asarray(np.tile(np.float32([0.5, 1.5, 2.5]), (B, 1)))
    at_video = np.tile(np.float32([0.1, 0.9, 1.4, 2.2, 2.9]), (B, 1))
    at_audio = np.tile(np.float32([0.0, 0.5, 1.0, 2.0, 3.0]), (B, 1))
    here = fused(video, audio, m_v, m_a, at_video, at_audio, steps)
    moved = fused(video, audio, m_v, m_a, at_video + 4, at_audio + 4, steps + 4)
    np.testing.assert_allclose(moved, here, atol=1e-4)


_LSTM = DualLSTM(3, bidirectional=False)


@quick_jit
def fused(video, audio, video_mask, audio_mask, at_video, at_audio, steps):
    v, m_v = align(video, at_video, video_mask, steps, 0.3, 0.65)
    a, m_a = align(audio, at_audio, audio_mask, steps, 0.3, 0.65)
    shapes = jax.eval_shape(lambda: _LSTM.init(jax.random.key(0), v, a, m_v, m_a))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) / 2, jnp.float32), shapes)
    return _LSTM.apply(params, v, a, m_v, m_a)


@quick_jit
def attended(x, mask):
    module = SelfAttention(heads=2, dropout=0.0)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, mask, False))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) / 2, jnp.float32), shapes)
    return module.apply(params, x, mask, False)


@thorough
@given(values, masks, rubbish, st.randoms(use_true_random=False))
def test_attention_does_not_know_the_order_nor_what_is_left_out(x, mask, fill, random):
    order = list(range(T))
    random.shuffle(order)
    out = np.asarray(attended(jnp.asarray(x), jnp.asarray(mask)))
    spoilt = np.where(mask[..., None], x, np.float32(fill))[:, order]
    again = np.asarray(attended(jnp.asarray(spoilt), jnp.asarray(mask[:, order])))
    np.testing.assert_allclose(again[mask[:, order]], out[:, order][mask[:, order]], atol=1e-4)
