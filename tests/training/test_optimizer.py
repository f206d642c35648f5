"""Schedule, mask of the decay, clipping and moving average, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_avemo.training.optimizer import build_optimizer, ema, learning_rate_schedule


def build(**changes):
    settings = {
        "learning_rate": learning_rate_schedule(0.1, 4, 20),
        "weight_decay": 0.0,
        "max_grad_norm": 1e9,
    }
    return build_optimizer(**(settings | changes))


def first_update(optimizer, gradient, parameters):
    return jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p))(gradient, parameters)


class TestSchedule:
    def test_rises_to_the_peak_and_falls_to_zero(self):
        schedule = learning_rate_schedule(0.1, 4, 20)
        assert [float(schedule(step)) for step in range(5)] == pytest.approx(
            [0.025, 0.05, 0.075, 0.1, 0.1]
        )
        assert schedule(12) == pytest.approx(0.05)
        assert schedule(20) == pytest.approx(0.0, abs=1e-8)
        assert schedule(99) == pytest.approx(0.0, abs=1e-8)

    def test_without_warm_up_starts_at_the_peak(self):
        schedule = learning_rate_schedule(0.1, 0, 20)
        assert schedule(0) == pytest.approx(0.1)

    def test_takes_a_traced_step(self):
        schedule = learning_rate_schedule(0.1, 4, 20)
        assert jax.jit(schedule)(jnp.int32(12)) == pytest.approx(0.05)

    @pytest.mark.parametrize("warmup_steps", [20, -1])
    def test_impossible_warm_up_is_refused(self, warmup_steps):
        with pytest.raises(ValueError, match="warmup_steps"):
            learning_rate_schedule(0.1, warmup_steps, 20)


class TestOptimizer:
    def test_first_step_is_the_sign_of_the_gradient(self):
        """Adam's first step is lr * g / (|g| + eps)."""
        optimizer = build()
        parameters = {"bias": jnp.array([1.0, 1.0])}
        gradient = {"bias": jnp.array([0.3, -2.0])}
        updates, _ = first_update(optimizer, gradient, parameters)
        np.testing.assert_allclose(updates["bias"], [-0.025, 0.025], rtol=1e-5)

    def test_decays_kernels_only(self):
        optimizer = build(weight_decay=0.5)
        parameters = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0)}
        gradient = jax.tree.map(jnp.zeros_like, parameters)
        updates, _ = first_update(optimizer, gradient, parameters)
        np.testing.assert_allclose(updates["kernel"], -0.025 * 0.5 * 3.0, rtol=1e-6)
        np.testing.assert_array_equal(updates["bias"], 0.0)

    @pytest.mark.parametrize(("max_grad_norm", "scale"), [(1.0, 0.2), (9.0, 1.0), (0.0, 1.0)])
    def test_clips_by_the_global_norm(self, max_grad_norm, scale):
        """Seen in Adam's first moment: (1 - b1) times the clipped gradient. The norm here is 5."""
        optimizer = build(max_grad_norm=max_grad_norm)
        parameters = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
        gradient = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
        _, state = first_update(optimizer, gradient, parameters)
        moment = optax.tree_utils.tree_get(state, "mu")
        np.testing.assert_allclose(moment["a"], 0.1 * scale * 3.0, rtol=1e-5)
        np.testing.assert_allclose(moment["b"], 0.1 * scale * 4.0, rtol=1e-5)

    def test_equals_optax_adamw(self):
        optimizer = build(weight_decay=0.3)
        schedule = learning_rate_schedule(0.1, 4, 20)
        reference = optax.adamw(schedule, b2=0.99, weight_decay=0.3, mask={"a": True, "b": False})
        key = jax.random.key(0)
        parameters = {"a": jax.random.normal(key, (3, 4)), "b": jnp.ones(3)}
        ours = theirs = parameters, optimizer.init(parameters), reference.init(parameters)
        for step in range(6):
            gradient = jax.tree.map(
                lambda leaf, step=step: jax.random.normal(jax.random.key(step), leaf.shape),
                parameters,
            )
            updates, state = optimizer.update(gradient, ours[1], ours[0])
            ours = optax.apply_updates(ours[0], updates), state, None
            updates, state = reference.update(gradient, theirs[2], theirs[0])
            theirs = optax.apply_updates(theirs[0], updates), None, state
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6), ours[0], theirs[0])
        assert jax.tree.structure(ours[1][1]) == jax.tree.structure(theirs[2])

    def test_a_skipped_step_leaves_the_state(self):
        optimizer = build(weight_decay=0.3)
        parameters = {"a": jnp.ones((2, 3)), "b": jnp.ones(3)}
        _, state = first_update(optimizer, parameters, parameters)
        gradient = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), parameters)
        update = jax.jit(optimizer.update)
        _, after = update(gradient, state, parameters, finite=jnp.bool_(False))
        jax.tree.map(np.testing.assert_array_equal, after, state)
        _, after = update(parameters, state, parameters, finite=jnp.bool_(True))
        counts = [leaf for leaf in jax.tree.leaves(after) if leaf.dtype == jnp.int32]
        assert counts == [2, 2]

    def test_finds_a_minimum(self):
        optimizer = build(learning_rate=learning_rate_schedule(0.1, 4, 200))
        parameters = {"x": jnp.array([3.0, -2.0])}

        def step(carry, _):
            parameters, state = carry
            gradient = jax.grad(lambda p: jnp.sum(jnp.square(p["x"] - 1.0)))(parameters)
            updates, state = optimizer.update(gradient, state, parameters)
            return (optax.apply_updates(parameters, updates), state), None

        @jax.jit
        def train(parameters):
            start = (parameters, optimizer.init(parameters))
            return jax.lax.scan(step, start, None, length=200)[0][0]

        np.testing.assert_allclose(train(parameters)["x"], 1.0, atol=1e-2)

    def test_a_negative_norm_is_refused(self):
        with pytest.raises(ValueError, match="max_grad_norm"):
            build(max_grad_norm=-1.0)


class TestEma:
    @pytest.mark.parametrize(("step", "kept"), [(0, 0.1), (8, 0.5), (10**6, 0.99)])
    def test_equals_the_formula(self, step, kept):
        averaged = ema({"w": jnp.array([2.0])}, {"w": jnp.array([4.0])}, 0.99, step)
        assert averaged["w"][0] == pytest.approx(2.0 * kept + 4.0 * (1 - kept), rel=1e-6)

    def test_decay_zero_is_the_newest(self):
        averaged = ema({"w": jnp.array([2.0])}, {"w": jnp.array([4.0])}, 0.0, 50)
        assert averaged["w"][0] == 4.0

    def test_constant_weights_stay_and_keep_their_type(self):
        weights = {"w": jnp.full(3, 0.5, jnp.bfloat16)}
        averaged = ema(weights, weights, 0.9, jnp.int32(3))
        assert averaged["w"].dtype == jnp.bfloat16
        np.testing.assert_array_equal(averaged["w"], weights["w"])
