"""AudioNetwork: shapes, what padding must not change, and one block against NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.modules import audio_network
from support.numpy_reference import assert_gradients, batch_norm, layer_norm, self_attention

from jax_avemo.models.audio.audio_cnn import TemporalBlock

NETWORK = audio_network(widths=(8, 12), width=8, heads=2)
QUICKLY = {"xla_backend_optimization_level": 0}
"""The compiler's optimisations take longer than these tests."""


def batch(steps, lengths, fill=0.0):
    rng = np.random.default_rng(1)
    features = np.full((len(lengths), steps, 6), fill, np.float32)
    for row, length in enumerate(lengths):
        features[row, :length] = rng.normal(size=(length, 6))
    mask = np.arange(steps) < np.array(lengths)[:, None]
    return jnp.asarray(features), jnp.asarray(mask)


def random_variables(network, features, mask):
    """In the shapes of `init`, which takes seconds to compile."""
    rng = np.random.default_rng(2)
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), features, mask, False))
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0.0, 0.5, leaf.shape), leaf.dtype), variables
    )
    variables["batch_stats"] = jax.tree.map(jnp.abs, variables["batch_stats"])
    return variables


@pytest.fixture(scope="module")
def variables():
    return random_variables(NETWORK, *batch(21, [21]))


@partial(jax.jit, static_argnums=0, compiler_options=QUICKLY)
def evaluate(network, variables, features, mask):
    return network.apply(variables, features, mask, False)


@partial(jax.jit, static_argnums=0, compiler_options=QUICKLY)
def run(network, variables, features, mask):
    """Output, new statistics and gradient by the parameters of a loss on the real steps."""

    def loss(params):
        (sequence, out_mask, _), updated = network.apply(
            {**variables, "params": params}, features, mask, True, mutable=["batch_stats"]
        )
        return jnp.sin(3.0 * sequence).sum(), (sequence, out_mask, updated["batch_stats"])

    gradient, (sequence, out_mask, stats) = jax.grad(loss, has_aux=True)(variables["params"])
    return sequence, out_mask, stats, gradient


def assert_trees_close(ours, theirs, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), ours, theirs)


def test_what_stands_in_padding_changes_nothing(variables):
    sequence, mask, stats, gradient = run(NETWORK, variables, *batch(21, [21, 10, 0]))
    other = run(NETWORK, variables, *batch(21, [21, 10, 0], fill=50.0))
    np.testing.assert_array_equal(sequence, other[0])
    np.testing.assert_array_equal(sequence[~mask], 0.0)
    jax.tree.map(np.testing.assert_array_equal, (stats, gradient), other[2:])


def test_longer_padding_and_padding_rows_change_nothing(variables):
    short = run(NETWORK, variables, *batch(21, [21, 10, 0]))
    long = run(NETWORK, variables, *batch(40, [21, 10, 0, 0]))
    steps = short[0].shape[1]
    np.testing.assert_allclose(long[0][:3, :steps], short[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(long[0][:, steps:], 0.0)
    assert_trees_close(long[2], short[2], rtol=1e-4, atol=1e-5)
    assert_trees_close(long[3], short[3], rtol=2e-3, atol=2e-4)


def test_a_step_is_real_if_the_frame_at_its_centre_is(variables):
    features, mask = batch(21, [21, 10, 9, 1])
    sequence, out_mask, stride = evaluate(NETWORK, variables, features, mask)
    assert stride == 4
    assert sequence.shape == (4, 6, 8)
    np.testing.assert_array_equal(out_mask, mask[:, ::4])
    np.testing.assert_array_equal(out_mask.sum(axis=1), [6, 3, 3, 1])


def test_a_step_is_centred_on_its_frame():
    """Shifted by the stride of 4 frames, the sequence shifts by one step (away from the ends)."""
    network = NETWORK.clone(self_attention=False)
    features, mask = batch(64, [64])
    variables = random_variables(network, features, mask)
    here, _, _ = evaluate(network, variables, features, mask)
    shifted, _, _ = evaluate(network, variables, jnp.roll(features, 4, axis=1), mask)
    np.testing.assert_allclose(shifted[:, 5:12], here[:, 4:11], rtol=1e-4, atol=1e-5)
    assert "attention" not in variables["params"]
    assert "position_gain" not in variables["params"]


def numpy_block(params, x, mask):
    """The block in float64: explicit windows, statistics over real steps."""
    x = np.where(mask[..., None], x, 0)
    strided_mask = mask[:, ::2]

    def conv(name, x, stride):
        kernel = params[name]["kernel"]
        padded = np.pad(x, ((0, 0), (len(kernel) // 2,) * 2, (0, 0)))
        windows = [padded[:, t : t + len(kernel)] for t in range(0, x.shape[1], stride)]
        return np.stack([np.einsum("bkc,kco->bo", w, kernel) for w in windows], 1)

    def norm(name, x):
        return batch_norm(x, strided_mask, params[name])

    y = np.maximum(norm("bn1", conv("conv1", x, 2)), 0)
    y = norm("bn2", conv("conv2", np.where(strided_mask[..., None], y, 0), 1))
    return np.maximum(y + norm("shortcut_bn", x[:, ::2] @ params["shortcut"]["kernel"]), 0)


def numpy_network(params, x, mask):
    """`NETWORK` in training: blocks, projection, positions, attention, normalisation."""
    for index in range(len(NETWORK.widths)):
        x, mask = numpy_block(params[f"block{index + 1}"], x, mask), mask[:, ::2]
    x = x @ params["projection"]["kernel"] + params["projection"]["bias"]
    times = np.arange(x.shape[1]) * 4 * NETWORK.hop_seconds
    angle = 2 * np.pi * times[:, None] / np.geomspace(0.1, 100.0, NETWORK.width // 2)
    code = np.concatenate([np.sin(angle), np.cos(angle)], -1)
    x = self_attention(params["attention"], x + code * params["position_gain"], mask, heads=2)
    return np.where(mask[..., None], layer_norm(x, params["norm"]), 0)


def in_float64(*trees):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), trees)


def test_the_whole_network_has_numpys_values_and_gradients(variables):
    features, mask = batch(21, [21, 10, 0], fill=5.0)
    real = np.asarray(mask)
    sequence, _, _, gradient = run(NETWORK, variables, features, mask)
    params, x = in_float64(variables["params"], features)
    np.testing.assert_allclose(sequence, numpy_network(params, x, real), rtol=1e-3, atol=1e-3)
    assert_gradients(
        lambda params: np.sin(3.0 * numpy_network(params, x, real)).sum(),
        (gradient,),
        variables["params"],
        tolerance=5e-3,  # batch norm over 4 to 8 real steps, in float32
    )


@pytest.mark.parametrize("steps", [9, 10])
def test_block_equals_numpy(steps):
    block = TemporalBlock(4, 3, dropout=0.0, batch_norm_momentum=0.9, dtype=jnp.float32)
    features, mask = batch(steps, [steps, 5, 2], fill=7.0)
    variables = random_variables(block, features, mask)
    train = jax.jit(lambda *args: block.apply(*args, True, mutable=["batch_stats"])[0])
    y, out_mask = train(variables, features, mask)
    expected = numpy_block(*in_float64(variables["params"], features), np.asarray(mask))
    np.testing.assert_array_equal(out_mask, mask[:, ::2])
    real = np.asarray(out_mask)
    np.testing.assert_allclose(y[real], expected[real], rtol=1e-4, atol=1e-4)


def test_dropout_acts_in_training_only():
    network = NETWORK.clone(dropout=0.5)
    features, mask = batch(21, [21, 10])
    variables = random_variables(network, features, mask)

    @partial(jax.jit, compiler_options=QUICKLY)
    def train(seed):
        rngs = {"dropout": jax.random.key(seed)}
        output, _ = network.apply(
            variables, features, mask, True, mutable=["batch_stats"], rngs=rngs
        )
        return output[0]

    assert not np.allclose(train(1), train(2))
    evaluated, plain = (evaluate(n, variables, features, mask)[0] for n in (network, NETWORK))
    np.testing.assert_array_equal(evaluated, plain)


def test_half_precision_keeps_float32_parameters():
    network = NETWORK.clone(dtype=jnp.bfloat16)
    features, mask = batch(21, [21, 10])
    (sequence, _, _), variables = jax.eval_shape(
        lambda: network.init_with_output(jax.random.key(0), features, mask, False)
    )
    assert sequence.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
