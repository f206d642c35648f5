"""Alignment by time: closed forms and invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.models.fusion.alignment import align, step_times

WIDTH, GAP = 0.1, 0.5
jitted_align = jax.jit(align)


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    sequence = rng.normal(size=(3, 6, 4)).astype(np.float32)
    times = np.sort(rng.uniform(0, 2, size=(3, 6)), axis=1).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]], bool)
    steps = step_times(jnp.array([2.0, 1.6, 2.0]), 5)
    return jnp.asarray(sequence), jnp.asarray(times), jnp.asarray(mask), steps


def test_step_times_are_the_centres_of_equal_parts_of_each_duration():
    np.testing.assert_allclose(
        step_times(jnp.array([4.0, 0.0, 1.0]), 4),
        [[0.5, 1.5, 2.5, 3.5], [0, 0, 0, 0], [0.125, 0.375, 0.625, 0.875]],
    )


def test_align_is_gaussian_weights_over_real_elements(example):
    sequence, times, mask, steps = map(np.asarray, example)
    aligned, step_mask = jitted_align(*example, WIDTH, GAP)
    for b in range(3):
        real = np.flatnonzero(mask[b])
        for s, t in enumerate(steps[b].astype(np.float64)):
            away = times[b, real].astype(np.float64) - t
            assert bool(step_mask[b, s]) == bool((np.abs(away) <= GAP).any())
            if not step_mask[b, s]:
                assert not np.any(aligned[b, s])
                continue
            logits = -((away / WIDTH) ** 2) / 2
            w = np.exp(logits - logits.max())
            expected = (w / w.sum()) @ sequence[b, real].astype(np.float64)
            np.testing.assert_allclose(aligned[b, s], expected, atol=2e-5)
    assert 0 < np.asarray(step_mask[:2]).sum() < 10  # both cases were met
    assert not np.any(step_mask[2])


def test_shifting_both_clocks_changes_nothing(example):
    sequence, times, mask, steps = example
    aligned, step_mask = jitted_align(*example, WIDTH, GAP)
    moved, moved_mask = jitted_align(sequence, times + 8, mask, steps + 8, WIDTH, GAP)
    np.testing.assert_allclose(moved, aligned, atol=1e-4)
    np.testing.assert_array_equal(moved_mask, step_mask)


def test_padding_changes_nothing_whatever_it_contains(example):
    sequence, times, mask, steps = map(np.asarray, example)
    aligned, step_mask = jitted_align(*example, WIDTH, GAP)
    sequence = np.where(mask[..., None], sequence, np.nan)
    sequence = np.concatenate([sequence, np.full((3, 2, 4), np.inf, np.float32)], 1)
    times = np.concatenate([np.where(mask, times, np.nan), np.zeros((3, 2), np.float32)], 1)
    mask = np.concatenate([mask, np.zeros((3, 2), bool)], 1)
    padded, padded_mask = jitted_align(sequence, times, mask, steps, WIDTH, GAP)
    np.testing.assert_allclose(padded, aligned, atol=1e-6)
    np.testing.assert_array_equal(padded_mask, step_mask)


def test_the_nearest_element_dominates_and_equally_near_ones_share():
    sequence, times = jnp.asarray([[[1.0], [2.0], [4.0]]]), jnp.asarray([[0.0, 1.0, 2.0]])
    aligned, _ = jitted_align(
        sequence, times, jnp.ones((1, 3), bool), jnp.asarray([[0.1, 1.5]]), 0.1, 1.0
    )
    np.testing.assert_allclose(aligned[0, :, 0], [1.0, 3.0], atol=1e-5)


def test_far_from_everything_the_nearest_still_wins_while_the_gap_allows():
    """All Gaussian weights underflow there; their softmax does not."""
    sequence, times = jnp.asarray([[[1.0], [2.0]]]), jnp.asarray([[0.0, 1.0]])
    aligned, mask = jitted_align(
        sequence, times, jnp.ones((1, 2), bool), jnp.asarray([[60.0]]), 0.01, 100.0
    )
    assert mask.all()
    np.testing.assert_allclose(aligned, [[[2.0]]])


def test_width_and_gap_may_be_of_each_clip(example):
    widths, gaps = np.array([0.05, 0.2, 0.1], np.float32), np.array([0.1, 1.0, 1.0], np.float32)
    together, mask = jitted_align(*example, widths, gaps)
    for b in range(3):
        alone, alone_mask = jitted_align(*example, widths[b], gaps[b])
        np.testing.assert_allclose(together[b], alone[b], atol=1e-6)
        np.testing.assert_array_equal(mask[b], alone_mask[b])


def test_gradient_is_finite_and_zero_for_padding(example):
    sequence, times, mask, steps = example
    gradient = jax.jit(
        jax.grad(lambda x: (align(x, times, mask, steps, WIDTH, GAP)[0] ** 2).sum())
    )(sequence)
    assert np.isfinite(gradient).all()
    assert not np.any(np.asarray(gradient)[~np.asarray(mask)])
    assert np.any(gradient[0])


def test_gradient_is_the_weights(example):
    """Aligned is linear in the sequence: d aligned_s / d x_t = w_st, from the formula."""
    sequence, times, mask, steps = example
    total = jax.jit(jax.grad(lambda x: align(x, times, mask, steps, WIDTH, GAP)[0].sum()))
    expected = np.zeros((3, 6))
    for b in range(3):
        real = np.flatnonzero(mask[b])
        for t in np.asarray(steps[b], np.float64):
            away = np.asarray(times[b, real], np.float64) - t
            if (np.abs(away) <= GAP).any():
                w = np.exp(-((away / WIDTH) ** 2) / 2 + ((away / WIDTH) ** 2).min() / 2)
                expected[b, real] += w / w.sum()
    np.testing.assert_allclose(total(sequence), np.repeat(expected[..., None], 4, -1), atol=2e-5)
