"""ResNeXt: torchvision's shapes, a bottleneck against NumPy, and what padding must not change."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.modules import resnext
from support.numpy_reference import assert_gradients, batch_norm, grouped_conv

from jax_avemo.models.video.resnext import Bottleneck, max_pool

RNG = np.random.default_rng(0)
SMALL = resnext(depths=(1, 1), groups=4, width_per_group=2, stem_width=8, stem_kernel=5)
QUICKLY = {"xla_backend_optimization_level": 0}
"""The compiler's optimisations take longer than these tests."""


def shapes(network, images=(1, 64, 64, 3)):
    return jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros(images), None, False))


def torchvision_shapes():
    """Parameters of torchvision's resnext50_32x4d without fc, mapped as the docstring says."""
    expected = {("conv1", "kernel"): (7, 7, 3, 64)} | norm_shapes(("bn1",), 64)
    channels = 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        width, features = 128 * 2**stage, 256 * 2**stage
        for block in range(depth):
            name = f"layer{stage + 1}_{block}"
            expected[name, "conv1", "kernel"] = (channels, width)
            expected[name, "conv2", "kernel"] = (3, 3, width // 32, width)
            expected[name, "conv3", "kernel"] = (width, features)
            expected |= norm_shapes((name, "bn1"), width) | norm_shapes((name, "bn2"), width)
            expected |= norm_shapes((name, "bn3"), features)
            if block == 0:
                expected[name, "downsample_conv", "kernel"] = (channels, features)
                expected |= norm_shapes((name, "downsample_bn"), features)
            channels = features
    return expected


def norm_shapes(path, channels):
    return {(*path, "scale"): (channels,), (*path, "bias"): (channels,)}


def test_size_full_is_resnext50_32x4d_name_by_name():
    network = resnext(coordinate_attention=False)
    variables = shapes(network)
    flat = jax.tree_util.tree_flatten_with_path(variables["params"])[0]
    found = {tuple(key.key for key in path): leaf.shape for path, leaf in flat}
    assert found == torchvision_shapes()
    # torchvision documents 25,028,904 parameters; fc has 2048 * 1000 + 1000 of them.
    assert sum(math.prod(shape) for shape in found.values()) == 25_028_904 - 2_049_000
    assert network.features == 2048


def test_output_is_one_vector_of_2048_for_every_image():
    network = resnext()
    output = jax.eval_shape(
        lambda: network.init_with_output(
            jax.random.key(0), jnp.zeros((3, 64, 64, 4)), jnp.ones(3, bool), False
        )[0]
    )
    assert output.shape == (3, 2048)
    assert output.dtype == jnp.float32


def test_attention_stands_in_every_block():
    params = shapes(resnext())["params"]
    blocks = [name for name in params if name.startswith("layer")]
    assert len(blocks) == 16
    for name in blocks:
        features = params[name]["conv3"]["kernel"].shape[-1]
        assert params[name]["coordinate_attention"]["conv_h"]["kernel"].shape[-1] == features


def bottleneck(stride):
    block = Bottleneck(
        width=8,
        features=12,
        groups=4,
        stride=stride,
        coordinate_attention=False,
        attention_gate_bias=0.0,
        residual_scale=1.0,
        batch_norm_momentum=0.9,
        dtype=jnp.float32,
    )
    x = jnp.asarray(RNG.normal(size=(3, 5, 6, 12)), jnp.float32)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(RNG.uniform(0.2, 1.0, leaf.shape), jnp.float32),
        jax.eval_shape(lambda: block.init(jax.random.key(0), x, None, False)),
    )
    return block, variables, x


def numpy_bottleneck(params, norm, x, stride):
    """`norm(name, x)` is evaluation's or training's batch norm."""
    y = np.maximum(norm("bn1", x @ params["conv1"]["kernel"]), 0)
    y = grouped_conv(y, params["conv2"]["kernel"], stride, groups=4)
    y = np.maximum(norm("bn2", y), 0)
    y = norm("bn3", y @ params["conv3"]["kernel"])
    if stride == 2:
        x = norm("downsample_bn", x[:, ::2, ::2] @ params["downsample_conv"]["kernel"])
    return np.maximum(y + x, 0)


@pytest.mark.parametrize("stride", [1, 2])
def test_bottleneck_equals_numpy_in_evaluation(stride):
    block, variables, x = bottleneck(stride)
    y = jax.jit(block.apply, static_argnums=3, compiler_options=QUICKLY)(variables, x, None, False)
    params, stats = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), (variables["params"], variables["batch_stats"])
    )

    def norm(name, x):
        x = (x - stats[name]["mean"]) / np.sqrt(stats[name]["var"] + 1e-5)
        return x * params[name]["scale"] + params[name]["bias"]

    assert ("downsample_conv" in params) == (stride == 2)
    expected = numpy_bottleneck(params, norm, np.asarray(x, np.float64), stride)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_bottleneck_has_numpys_values_and_gradients_in_training_with_a_masked_image(stride):
    block, variables, x = bottleneck(stride)
    mask = np.array([True, False, True])
    # Signs of both kinds, or no ReLU would ever close.
    params = jax.tree.map(
        lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape), jnp.float32), variables["params"]
    )
    size = (3, -(-5 // stride), -(-6 // stride), 12)
    weights = RNG.normal(size=size) * mask[:, None, None, None]

    @partial(jax.jit, compiler_options=QUICKLY)
    def ours(params, x):
        def loss(params, x):
            y, _ = block.apply(
                variables | {"params": params}, x, jnp.asarray(mask), True, mutable=["batch_stats"]
            )
            return (jnp.asarray(weights, jnp.float32) * y).sum(), y

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)

    def reference(params, x):
        return numpy_bottleneck(
            params, lambda name, x: batch_norm(x, mask, params[name]), x, stride
        )

    gradients, y = ours(params, x)
    expected = reference(*jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, x)))
    np.testing.assert_allclose(y[mask], expected[mask], rtol=1e-3, atol=1e-3)
    assert_gradients(lambda p, x: (weights * reference(p, x)).sum(), gradients, params, x)


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (1, 2)])
def test_max_pool_takes_the_largest_of_the_window(size):
    x = jnp.asarray(RNG.normal(-5.0, 1.0, (2, *size, 3)))  # negative: zero padding would win
    y = max_pool(x)
    assert y.shape == (2, -(-size[0] // 2), -(-size[1] // 2), 3)
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            rows = slice(max(0, 2 * i - 1), 2 * i + 2)
            columns = slice(max(0, 2 * j - 1), 2 * j + 2)
            np.testing.assert_array_equal(y[:, i, j], x[:, rows, columns].max((1, 2)))


def test_max_pool_gradient_goes_to_the_largest():
    x = RNG.permutation(36).astype(np.float32).reshape(1, 6, 6, 1)
    gradient = jax.grad(lambda x: max_pool(x).sum())(jnp.asarray(x))
    expected = np.zeros((6, 6))
    for i in range(3):
        for j in range(3):
            window = np.full((8, 8), -np.inf)
            window[1:7, 1:7] = x[0, :, :, 0]
            patch = window[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            row, column = np.unravel_index(patch.argmax(), (3, 3))
            expected[2 * i + row - 1, 2 * j + column - 1] += 1
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


@partial(jax.jit, static_argnums=0, compiler_options=QUICKLY)
def step(network, variables, images, mask):
    """Gradients, outputs and new statistics of a training step."""

    def loss(params):
        y, updated = network.apply(
            {**variables, "params": params}, images, mask, True, mutable=["batch_stats"]
        )
        return jnp.where(mask[:, None], jnp.sin(y), 0.0).sum(), (y, updated["batch_stats"])

    return jax.grad(loss, has_aux=True)(variables["params"])


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(1)
    images = jnp.asarray(rng.normal(size=(3, 17, 16, 4)), jnp.float32)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(-0.3, 0.5, leaf.shape), jnp.float32),
        shapes(SMALL, images.shape),
    )
    variables["batch_stats"] = jax.tree.map(jnp.abs, variables["batch_stats"])
    return variables, images


def test_padding_images_change_nothing(small):
    variables, images = small
    mask = jnp.array([True, False, True])
    gradient, (y, stats) = step(SMALL, variables, images, mask)
    other = images.at[1].set(100.0)
    other_gradient, (other_y, other_stats) = step(SMALL, variables, other, mask)
    np.testing.assert_array_equal(y[mask], other_y[mask])
    jax.tree.map(np.testing.assert_array_equal, (gradient, stats), (other_gradient, other_stats))


def test_remat_computes_the_same(small):
    variables, images = small
    mask = jnp.ones(3, bool)
    gradient, (y, stats) = step(SMALL, variables, images, mask)
    other_gradient, (other_y, other_stats) = step(SMALL.clone(remat=True), variables, images, mask)
    np.testing.assert_allclose(y, other_y, rtol=1e-5, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        (gradient, stats),
        (other_gradient, other_stats),
    )


def test_starts_that_an_experiment_may_choose():
    network = SMALL.clone(depths=(1,), residual_scale=0.5, attention_gate_bias=2.0)
    images = jnp.zeros((1, 8, 8, 3))
    init = jax.jit(
        lambda key: network.init(key, images, None, False)["params"], compiler_options=QUICKLY
    )
    params = init(jax.random.key(0))
    np.testing.assert_array_equal(params["layer1_0"]["bn3"]["scale"], 0.5)
    np.testing.assert_array_equal(params["layer1_0"]["bn1"]["scale"], 1.0)
    gate = params["layer1_0"]["coordinate_attention"]["conv_h"]["bias"]
    np.testing.assert_array_equal(gate, 2.0)


def test_half_precision_returns_float32(small):
    variables, images = small
    apply = jax.jit(
        lambda network: network.apply(variables, images, None, False),
        static_argnums=0,
        compiler_options=QUICKLY,
    )
    expected, y = apply(SMALL), apply(SMALL.clone(dtype=jnp.bfloat16))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, expected, atol=0.05 * np.abs(expected).max())
