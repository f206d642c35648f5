"""The formulations of a grouped convolution agree, with NumPy and with each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.models.video import grouped_conv as gc

RNG = np.random.default_rng(0)


def example(groups, width_in, width_out, size=(5, 7)):
    x = RNG.normal(size=(2, *size, groups * width_in)).astype(np.float32)
    kernel = RNG.normal(size=(3, 3, width_in, groups * width_out)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(kernel)


def numpy_grouped_conv(x, kernel, groups, stride):
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    width_in, width_out = kernel.shape[2], kernel.shape[3] // groups
    height, width = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = np.zeros((len(x), height, width, kernel.shape[3]))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            patch = padded[:, top : top + 3, left : left + 3]
            for g in range(groups):
                inputs = slice(g * width_in, (g + 1) * width_in)
                outputs = slice(g * width_out, (g + 1) * width_out)
                y[:, row, column, outputs] = np.einsum(
                    "nhwi,hwio->no", patch[..., inputs], kernel[..., outputs]
                )
    return y


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("formulation", ["merged", "native", "auto"])
def test_every_formulation_equals_numpy(formulation, stride):
    x, kernel = example(groups=6, width_in=4, width_out=3)
    y = jax.jit(gc.grouped_conv, static_argnums=(2, 3, 4))(x, kernel, 6, stride, formulation)
    np.testing.assert_allclose(y, numpy_grouped_conv(x, kernel, 6, stride), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("groups", "width", "size"), [(8, 4, (5, 7)), (4, 8, (4, 6)), (2, 32, (1, 2))]
)
def test_both_gradients_agree(groups, width, size, stride):
    x, kernel = example(groups, width, width, size)

    def gradients(formulation):
        def loss(x, kernel):
            return jnp.square(gc.grouped_conv(x, kernel, groups, stride, formulation)).mean()

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(x, kernel)

    native = gradients("native")
    for formulation in ("merged", "auto"):
        for gradient, expected in zip(gradients(formulation), native, strict=True):
            scale = np.abs(expected).max()
            np.testing.assert_allclose(gradient / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 7), (4, 6), (1, 1), (2, 3)])
def test_half_precision_agrees_too(size, stride):
    """Forward and both gradients; bfloat16 has 8 bits."""
    x, kernel = example(4, 8, 8, size)

    def value_and_gradients(formulation, dtype):
        def loss(x, kernel):
            y = gc.grouped_conv(x.astype(dtype), kernel.astype(dtype), 4, stride, formulation)
            return jnp.square(y.astype(jnp.float32)).mean(), y

        slopes, y = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(x, kernel)
        return y, *slopes

    merged = value_and_gradients("merged", jnp.bfloat16)
    assert merged[0].dtype == jnp.bfloat16
    for found, expected in zip(merged, value_and_gradients("native", jnp.float32), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found.astype(jnp.float32) / scale, expected / scale, atol=0.03)


def test_on_cpu_no_strided_convolution_is_left():
    x, kernel = example(groups=4, width_in=8, width_out=8)
    text = jax.jit(lambda x, k: gc.grouped_conv(x, k, 4, 2, "merged")).lower(x, kernel).as_text()
    assert "stablehlo.convolution" in text
    assert "stride = [2, 2]" not in text


def test_each_platform_is_given_its_own_formulation():
    x, kernel = example(groups=8, width_in=4, width_out=4)

    def gradient(x, kernel):
        return jax.grad(lambda *args: gc.grouped_conv(*args, 8).sum(), argnums=(0, 1))(x, kernel)

    for platform, grouped in (("cpu", False), ("cuda", True), ("tpu", True)):
        text = jax.jit(gradient).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
        assert ("feature_group_count = 8" in text) == grouped, platform
    compiled = jax.jit(gradient).lower(x, kernel).compile().as_text()
    assert "conditional" not in compiled


def test_one_export_serves_every_platform():
    x, kernel = example(groups=8, width_in=4, width_out=4)
    function = jax.jit(lambda x, kernel: gc.grouped_conv(x, kernel, 8))
    exported = jax.export.export(function, platforms=("cpu", "cuda", "tpu"))(x, kernel)
    restored = jax.export.deserialize(exported.serialize())
    np.testing.assert_allclose(restored.call(x, kernel), function(x, kernel), rtol=1e-6, atol=1e-6)


def test_blocks_are_16_to_32_channels_wide():
    assert [gc.merged_groups(32, width) for width in (4, 8, 16, 32, 64)] == [4, 2, 2, 1, 1]
    assert gc.merged_groups(3, 8) == 1  # 2 does not divide 3
    assert gc.merged_groups(2, 1) == 2


def test_groups_that_do_not_fit_are_refused():
    x, kernel = example(groups=4, width_in=2, width_out=2)
    with pytest.raises(ValueError, match="3 groups"):
        gc.grouped_conv(x, kernel, 3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 5, 7, 6), (2, 9, 6)])
def test_pointwise_conv_is_a_matrix_product_at_every_place(shape, stride):
    x = RNG.normal(size=shape).astype(np.float32)
    kernel = RNG.normal(size=(6, 3)).astype(np.float32)
    y = gc.pointwise_conv(jnp.asarray(x), jnp.asarray(kernel), stride)
    strided = x[:, ::stride, ::stride] if len(shape) == 4 else x[:, ::stride]
    np.testing.assert_allclose(y, strided.astype(np.float64) @ kernel, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 5, 7, 6), (2, 4, 4, 6), (2, 9, 6), (2, 3, 4, 5, 6)])
def test_a_strided_pointwise_conv_is_the_same_elsewhere(shape):
    """Forward and both gradients of XLA's convolution and of the product on every second place."""
    x = jnp.asarray(RNG.normal(size=shape), jnp.float32)
    kernel = jnp.asarray(RNG.normal(size=(6, 3)), jnp.float32)

    def value_and_gradients(formulation):
        def loss(x, kernel):
            y = formulation(x, kernel)
            return jnp.square(y).mean(), y

        slopes, y = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(x, kernel)
        return y, *slopes

    expected = value_and_gradients(lambda x, kernel: gc._product(gc._every(2, x), kernel))
    for formulation in (gc._strided_pointwise, gc.pointwise_conv):
        found = value_and_gradients(lambda x, kernel, f=formulation: f(x, kernel, 2))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 8, 8, 6), (2, 8, 6)])
def test_only_on_cpu_a_product_reads_a_strided_slice(shape):
    """XLA's GPU compiler aborts on it."""
    x, kernel = jnp.zeros(shape), jnp.zeros((6, 3))

    def gradient(x, kernel):
        return jax.grad(lambda *args: gc.pointwise_conv(*args, 2).sum(), argnums=(0, 1))(x, kernel)

    for platform, convolved in (("cpu", False), ("cuda", True), ("tpu", True)):
        text = jax.jit(gradient).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.convolution" in text) == convolved, platform
        assert ("stablehlo.dot" in text) != convolved, platform


def test_modules_hold_the_parameters_in_the_documented_shapes():
    x = jnp.ones((1, 4, 4, 8))
    grouped = gc.GroupedConv(features=12, groups=4, stride=1, dtype=jnp.bfloat16)
    y, variables = jax.eval_shape(lambda: grouped.init_with_output(jax.random.key(0), x))
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), variables["params"])
    assert shapes == {"kernel": ((3, 3, 2, 12), "float32")}
    assert y.dtype == jnp.bfloat16

    pointwise = gc.PointwiseConv(5, jnp.float32, stride=2, use_bias=True)
    variables = pointwise.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables["params"]) == {"kernel": (8, 5), "bias": (5,)}
    variables["params"]["bias"] = jnp.arange(5.0)
    expected = 8 * variables["params"]["kernel"].mean(0) + jnp.arange(5.0)
    np.testing.assert_allclose(pointwise.apply(variables, x)[0, 1, 1], expected, rtol=1e-4)


def test_the_kernel_starts_with_he_variance_of_its_own_group():
    layer = gc.GroupedConv(features=64, groups=2, stride=1, dtype=jnp.float32)
    kernel = layer.init(jax.random.key(0), jnp.ones((1, 3, 3, 64)))["params"]["kernel"]
    assert float(kernel.std()) == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)


def test_the_gradient_writes_no_array_for_every_block():
    """An index's gradient is a padded array of the whole: blocks times as much to write and add."""
    x, kernel = jnp.ones((1, 4, 4, 256)), jnp.ones((3, 3, 32, 256))

    def total(kernel):
        return gc.grouped_conv(x, kernel, groups=8, formulation="merged").sum()

    assert " pad[" not in str(jax.make_jaxpr(jax.grad(total))(kernel))
