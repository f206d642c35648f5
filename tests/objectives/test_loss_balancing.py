"""Weights move as the papers say, stay positive, and are constants to differentiation."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_avemo.objectives.loss_balancing import (
    BALANCERS,
    Balancer,
    build_balancer,
    fixed,
    gradnorm,
    uncertainty,
)

TASKS = ("emotion", "identity")
INITIAL = {"emotion": float(np.log(8)), "identity": float(np.log(16))}


def scalars(emotion: float, identity: float) -> dict[str, np.ndarray]:
    return {"emotion": np.float32(emotion), "identity": np.float32(identity)}


def kernels(emotion: float, identity: float) -> dict[str, np.ndarray]:
    """Gradients at a 3 x 2 kernel with the given Frobenius norms."""
    ones = np.full((3, 2), 6**-0.5, np.float32)
    return {"emotion": np.float32(emotion) * ones, "identity": np.float32(identity) * ones}


def run(balancer: Balancer, losses, gradients, steps: int) -> dict[str, float]:
    """The weights after `steps` steps of the same losses and gradients."""

    @jax.jit
    def weights_after(losses, gradients):
        def step(state, _):
            weights, state = balancer.combine(state, losses, gradients)
            return state, weights

        return jax.lax.scan(step, balancer.init(), None, length=steps + 1)[1]

    history = weights_after(losses, gradients)
    assert all(np.isfinite(values).all() for values in history.values())
    return {task: float(values[-1]) for task, values in history.items()}


SETTINGS = SimpleNamespace(
    gradnorm_alpha=1.5, loss_balancing_learning_rate=0.025, identity_weight=0.3
)


def built(name: str) -> Balancer:
    """As a config asks for it."""
    objective = SimpleNamespace(loss_balancing=name, **vars(SETTINGS))
    return build_balancer(objective, {"emotion": 8, "identity": 16})


class TestGradNorm:
    def test_starts_with_ones(self):
        weights = run(gradnorm(INITIAL), scalars(1, 1), kernels(1, 9), 0)
        assert weights == {"emotion": 1.0, "identity": 1.0}

    def test_first_step_is_adam_on_the_closed_form_gradient(self):
        """d L_grad / da_i = sign(G_i - mean G r_i^alpha) G_i; Adam's first step is its sign."""
        losses = scalars(INITIAL["emotion"], INITIAL["identity"])
        weights = run(gradnorm(INITIAL, learning_rate=0.1), losses, kernels(1, 3), 1)
        up, down = np.exp(0.1), np.exp(-0.1)
        assert weights["emotion"] == pytest.approx(2 * up / (up + down), rel=1e-5)
        assert weights["identity"] == pytest.approx(2 * down / (up + down), rel=1e-5)

    def test_at_equal_rates_weighted_norms_become_equal(self):
        losses = scalars(0.5 * INITIAL["emotion"], 0.5 * INITIAL["identity"])
        weights = run(gradnorm(INITIAL, learning_rate=0.005), losses, kernels(1, 3), 1500)
        assert weights["emotion"] == pytest.approx(1.5, rel=0.02)
        assert weights["identity"] == pytest.approx(0.5, rel=0.02)

    @pytest.mark.parametrize("alpha", [0.5, 1.5])
    def test_weights_settle_between_the_two_targets(self, alpha):
        """Equal norms make mean G = 1 and r = 4/3, 2/3: L_grad is least where w_e lies between
        (4/3)^alpha and 2 - (2/3)^alpha."""
        losses = scalars(0.8 * INITIAL["emotion"], 0.4 * INITIAL["identity"])
        balancer = gradnorm(INITIAL, alpha=alpha, learning_rate=0.005)
        weights = run(balancer, losses, kernels(1, 1), 1000)
        targets = sorted([(4 / 3) ** alpha, 2 - (2 / 3) ** alpha])
        assert targets[0] - 0.02 <= weights["emotion"] <= targets[1] + 0.02

    def test_the_slow_task_gains(self):
        losses = scalars(0.9 * INITIAL["emotion"], 0.3 * INITIAL["identity"])
        weights = run(gradnorm(INITIAL), losses, kernels(1, 1), 30)
        assert weights["emotion"] > 1.1 > 0.9 > weights["identity"]

    def test_alpha_zero_ignores_the_rates(self):
        losses = scalars(0.9 * INITIAL["emotion"], 0.3 * INITIAL["identity"])
        weights = run(gradnorm(INITIAL, alpha=0.0), losses, kernels(1, 1), 30)
        assert weights["emotion"] == pytest.approx(1.0, abs=0.01)  # Adam steps on rounding noise

    @pytest.mark.parametrize(("loss", "norm"), [(0.0, 0.0), (0.0, 1e4), (50.0, 1e-6), (50.0, 1e4)])
    def test_sum_is_the_number_of_tasks_and_all_are_positive(self, loss, norm):
        weights = run(gradnorm(INITIAL), scalars(loss, 1.0), kernels(norm, 1.0), 200)
        assert sum(weights.values()) == pytest.approx(2.0, rel=1e-5)
        assert min(weights.values()) > 0.0

    def test_losses_of_nothing_at_all_are_survived(self):
        weights = run(gradnorm(INITIAL), scalars(0, 0), kernels(0, 0), 20)
        assert weights == pytest.approx({"emotion": 1.0, "identity": 1.0})

    def test_an_adversary_among_the_losses_is_ignored(self):
        losses = scalars(1, 1) | {"adversary": np.float32(100)}
        weights = run(gradnorm(INITIAL), losses, kernels(1, 1), 0)
        assert set(weights) == set(TASKS)

    def test_a_task_of_one_class_is_refused(self):
        with pytest.raises(ValueError, match="two classes"):
            gradnorm({"emotion": 1.0, "identity": 0.0})


def gradnorm_in_numpy(initial, losses, norms, alpha, learning_rate):
    """Algorithm 1 of Chen et al. 2018 in float64, w = exp(a), with Adam written out.

    `losses` and `norms` (||dL_i/dW||) have a row for each step; the weights used in each.
    """
    a, moment, square = np.zeros(2), np.zeros(2), np.zeros(2)
    used = []
    for count, (loss, norm) in enumerate(zip(losses, norms, strict=True), start=1):
        w = np.exp(a)
        used.append(w)
        g = w * norm
        rate = loss / initial
        target = g.mean() * (rate / rate.mean()) ** alpha
        gradient = np.sign(g - target) * g  # d |G_i - target| / d a_i, the target held constant
        moment = 0.9 * moment + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        hat = moment / (1 - 0.9**count), square / (1 - 0.999**count)
        a = a - learning_rate * hat[0] / (np.sqrt(hat[1]) + 1e-8)
        a = a - np.log(np.exp(a).sum() / 2)
    return np.array(used)


class TestGradNormOnATrainedToy:
    """Two regressions of one matrix W that differ in scale alone, as in the paper's section 4.1:
    L_i = mean (W x - s_i t_i)^2, whose gradient norms are known in closed form."""

    SCALES = (1.0, 8.0)
    STEPS = 60

    def train(self, alpha):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(32, 4)).astype(np.float32)
        truth = rng.normal(size=(4, 6)).astype(np.float32)
        goals = {
            task: scale * x @ (truth + 0.3 * rng.normal(size=(4, 6))).astype(np.float32)
            for task, scale in zip(TASKS, self.SCALES, strict=True)
        }
        initial = {task: float(np.mean(goal**2)) for task, goal in goals.items()}
        balancer = gradnorm(initial, alpha=alpha, learning_rate=0.02)

        def loss_of(kernel, task):
            return jnp.mean(jnp.square(x @ kernel - goals[task]))

        @jax.jit
        def run():
            def step(carry, _):
                kernel, state = carry
                found = {task: jax.value_and_grad(loss_of)(kernel, task) for task in TASKS}
                losses = {task: value for task, (value, _) in found.items()}
                gradients = {task: gradient for task, (_, gradient) in found.items()}
                weights, state = balancer.combine(state, losses, gradients)
                kernel = kernel - 0.01 * sum(weights[task] * gradients[task] for task in TASKS)
                return (kernel, state), (weights, losses, kernel)

            start = jnp.zeros((4, 6)), balancer.init()
            return jax.lax.scan(step, start, None, length=self.STEPS)[1]

        weights, losses, kernels_after = run()
        kernels_before = np.concatenate([np.zeros((1, 4, 6)), kernels_after[:-1]])
        norms = np.stack(
            [
                # dL/dW = 2 / (B D) x^T (x W - goal)
                np.linalg.norm(2 / (32 * 6) * x.T @ (x @ kernels_before - goals[task]), axis=(1, 2))
                for task in TASKS
            ],
            axis=1,
        )
        table = [np.stack([d[task] for task in TASKS], axis=1) for d in (weights, losses)]
        return *table, norms, np.array([initial[task] for task in TASKS])

    @pytest.mark.parametrize("alpha", [0.0, 1.5])
    def test_every_weight_of_the_trajectory_is_the_algorithms(self, alpha):
        weights, losses, norms, initial = self.train(alpha)
        expected = gradnorm_in_numpy(initial, losses, norms, alpha, learning_rate=0.02)
        np.testing.assert_allclose(weights, expected, rtol=2e-3)

    def test_the_task_of_the_larger_gradient_loses_weight_and_norms_come_together(self):
        weights, _, norms, _ = self.train(alpha=0.0)
        weighted = weights * norms
        assert norms[0, 1] / norms[0, 0] > 5  # known: the scales differ by 8
        assert (np.diff(weights[:20, 1]) < 0).all()
        before, after = weighted[0, 1] / weighted[0, 0], weighted[-1, 1] / weighted[-1, 0]
        assert after < 0.6 * before


class TestFixed:
    def test_weights_never_move(self):
        weights = run(fixed({"emotion": 1.0, "identity": 0.3}), scalars(9, 1), kernels(1, 9), 5)
        assert weights == pytest.approx({"emotion": 1.0, "identity": 0.3})


class TestUncertainty:
    def test_settles_at_one_over_the_loss(self):
        weights = run(
            uncertainty(TASKS, learning_rate=0.02), scalars(0.25, 4.0), kernels(1, 1), 1500
        )
        assert weights["emotion"] == pytest.approx(4.0, rel=0.02)
        assert weights["identity"] == pytest.approx(0.25, rel=0.02)

    def test_a_loss_of_zero_has_a_bounded_weight(self):
        weights = run(uncertainty(TASKS, learning_rate=0.5), scalars(0.0, 1.0), kernels(0, 1), 100)
        assert weights["emotion"] == pytest.approx(100.0, rel=1e-4)

    def test_equals_adam_on_the_objective(self):
        optimizer = optax.adam(0.05)

        def step(carry, _):
            s, state = carry
            updates, state = optimizer.update(jax.grad(lambda s: jnp.exp(-s) * 2.5 + s)(s), state)
            return (s + updates, state), None

        start = (jnp.float32(0.0), optimizer.init(jnp.float32(0.0)))
        (s, _), _ = jax.jit(lambda: jax.lax.scan(step, start, None, length=10))()
        weights = run(uncertainty(TASKS, learning_rate=0.05), scalars(2.5, 1.0), kernels(1, 1), 10)
        assert weights["emotion"] == pytest.approx(float(np.exp(-s)), rel=1e-5)
        assert weights["emotion"] < 0.8


class TestEveryBalancer:
    @pytest.mark.parametrize(
        ("name", "same"),
        [
            ("gradnorm", gradnorm(INITIAL)),
            ("fixed", fixed({"emotion": 1.0, "identity": 0.3})),
            ("uncertainty", uncertainty(TASKS, learning_rate=0.025)),
        ],
    )
    def test_a_config_reaches_every_setting(self, name, same):
        given = scalars(1.2, 0.4), kernels(1, 3), 3
        assert run(built(name), *given) == run(same, *given)

    def test_a_single_task_has_weight_one(self):
        balancer = build_balancer(SimpleNamespace(loss_balancing="gradnorm"), {"emotion": 8})
        assert balancer.combine(balancer.init(), {}, {})[0] == {"emotion": 1.0}

    @pytest.mark.parametrize("name", sorted(BALANCERS))
    def test_weights_are_constants_to_differentiation(self, name):
        balancer = built(name)

        state = balancer.init()

        def total(state, losses, gradients):
            weights, _ = balancer.combine(state, losses, gradients)
            return weights["emotion"] - 2.0 * weights["identity"]

        differentiate = jax.jit(jax.grad(total, argnums=(0, 1, 2), allow_int=True))
        for gradient in jax.tree.leaves(differentiate(state, scalars(1, 2), kernels(1, 2))):
            if gradient.dtype == np.float32:  # Adam's step count is an integer and has none
                np.testing.assert_array_equal(gradient, 0.0)

    @pytest.mark.parametrize("name", sorted(BALANCERS))
    def test_state_keeps_its_structure_and_is_arrays(self, name):
        balancer = built(name)
        state = balancer.init()
        _, new_state = jax.jit(balancer.combine)(state, scalars(1, 2), kernels(1, 2))
        assert jax.tree.structure(state) == jax.tree.structure(new_state)
        for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(new_state), strict=True):
            assert isinstance(before, jax.Array)
            assert before.dtype == after.dtype
            assert before.shape == after.shape
