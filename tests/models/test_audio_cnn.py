"""AudioNetwork: shapes, what padding must not change, and one block against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.models.audio_cnn import AudioNetwork, TemporalBlock

RNG = np.random.default_rng(0)
NETWORK = AudioNetwork(widths=(8, 12), kernel_size=5, width=8, heads=2, dropout=0.0)


def batch(steps, lengths, fill=0.0):
    rng = np.random.default_rng(1)
    features = np.full((len(lengths), steps, 6), fill, np.float32)
    for row, length in enumerate(lengths):
        features[row, :length] = rng.normal(size=(length, 6))
    return features, np.arange(steps) < np.array(lengths)[:, None]


@pytest.fixture(scope="module")
def variables():
    return jax.jit(NETWORK.init, static_argnums=3)(jax.random.key(0), *batch(21, [21]), False)


def run(network, variables, features, mask):
    """Output, new statistics and gradient by the parameters of a loss on the real steps."""

    @jax.jit
    def step(params, features, mask):
        def loss(params):
            (sequence, out_mask, _), updated = network.apply(
                {**variables, "params": params}, features, mask, True, mutable=["batch_stats"]
            )
            return jnp.sin(3.0 * sequence).sum(), (sequence, out_mask, updated["batch_stats"])

        return jax.grad(loss, has_aux=True)(params)

    gradient, (sequence, out_mask, stats) = step(variables["params"], features, mask)
    return sequence, out_mask, stats, gradient


def assert_trees_close(ours, theirs, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), ours, theirs)


def test_what_stands_in_padding_changes_nothing(variables):
    sequence, mask, stats, gradient = run(NETWORK, variables, *batch(21, [21, 10, 0]))
    other = run(NETWORK, variables, *batch(21, [21, 10, 0], fill=50.0))
    np.testing.assert_array_equal(sequence, other[0])
    np.testing.assert_array_equal(np.asarray(sequence)[~np.asarray(mask)], 0.0)
    jax.tree.map(np.testing.assert_array_equal, (stats, gradient), other[2:])


def test_longer_padding_and_padding_rows_change_nothing(variables):
    short = run(NETWORK, variables, *batch(21, [21, 10]))
    long = run(NETWORK, variables, *batch(40, [21, 10, 0]))
    steps = short[0].shape[1]
    np.testing.assert_allclose(long[0][:2, :steps], short[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(long[0][:, steps:], 0.0)
    assert_trees_close(long[2], short[2], rtol=1e-4, atol=1e-5)
    assert_trees_close(long[3], short[3], rtol=2e-3, atol=2e-4)


def test_a_step_is_real_if_the_frame_at_its_centre_is(variables):
    features, mask = batch(21, [21, 10, 9, 1])
    sequence, out_mask, stride = NETWORK.apply(variables, features, mask, False)
    assert stride == 4
    assert sequence.shape == (4, 6, 8)
    np.testing.assert_array_equal(out_mask, mask[:, ::4])
    np.testing.assert_array_equal(out_mask.sum(axis=1), [6, 3, 3, 1])


def test_a_step_is_centred_on_its_frame():
    """Shifted by `stride` frames, the sequence shifts by one step (away from the ends)."""
    network = NETWORK.clone(self_attention=False)
    features = RNG.normal(size=(1, 64, 6)).astype(np.float32)
    mask = np.ones((1, 64), bool)
    variables = network.init(jax.random.key(0), features, mask, False)
    here, _, stride = network.apply(variables, features, mask, False)
    shifted, _, _ = network.apply(variables, np.roll(features, stride, axis=1), mask, False)
    np.testing.assert_allclose(shifted[:, 5:12], here[:, 4:11], rtol=1e-4, atol=1e-5)
    assert "attention" not in variables["params"]
    assert "position_gain" not in variables["params"]


def numpy_block(params, x, mask):
    """The block of kernel 3 in float64: explicit windows, statistics over real steps."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x = np.where(mask[..., None], x.astype(np.float64), 0)
    strided_mask = mask[:, ::2]

    def conv(name, x, stride):
        padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        windows = [padded[:, t : t + 3] for t in range(0, x.shape[1], stride)]
        return np.stack([np.einsum("bkc,kco->bo", w, params[name]["kernel"]) for w in windows], 1)

    def norm(name, x):
        real = x[strided_mask]
        x = (x - real.mean(0)) / np.sqrt(real.var(0) + 1e-5)
        return x * params[name]["scale"] + params[name]["bias"]

    y = np.maximum(norm("bn1", conv("conv1", x, 2)), 0)
    y = norm("bn2", conv("conv2", np.where(strided_mask[..., None], y, 0), 1))
    return np.maximum(y + norm("shortcut_bn", x[:, ::2] @ params["shortcut"]["kernel"]), 0)


@pytest.mark.parametrize("steps", [9, 10])
def test_block_equals_numpy(steps):
    block = TemporalBlock(4, 3, dropout=0.0, batch_norm_momentum=0.9, dtype=jnp.float32)
    features, mask = batch(steps, [steps, 5, 2], fill=7.0)
    variables = block.init(jax.random.key(0), features, mask, True)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(RNG.normal(0.3, 0.5, leaf.shape), jnp.float32), variables["params"]
    )
    (y, out_mask), _ = block.apply(
        {**variables, "params": params}, features, mask, True, mutable=["batch_stats"]
    )
    expected = numpy_block(params, features, mask)
    np.testing.assert_array_equal(out_mask, mask[:, ::2])
    np.testing.assert_allclose(
        np.asarray(y)[mask[:, ::2]], expected[mask[:, ::2]], rtol=1e-4, atol=1e-4
    )


def test_dropout_acts_in_training_only():
    network = NETWORK.clone(dropout=0.5)
    features, mask = batch(21, [21, 10])
    variables = network.init(jax.random.key(0), features, mask, False)

    def apply(seed, train):
        output, _ = network.apply(
            variables,
            features,
            mask,
            train,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(seed)},
        )
        return np.asarray(output[0])

    assert not np.allclose(apply(1, True), apply(2, True))
    np.testing.assert_array_equal(apply(1, False), apply(2, False))


def test_half_precision_keeps_float32_parameters():
    network = NETWORK.clone(dtype=jnp.bfloat16)
    features, mask = batch(21, [21, 10])
    (sequence, _, _), variables = network.init_with_output(jax.random.key(0), features, mask, False)
    assert sequence.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
