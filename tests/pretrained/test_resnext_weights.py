"""Import of a foreign ResNeXt: the names are torchvision's, the function is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.foreign_weights import SMALL, foreign_state, numpy_resnext
from support.modules import resnext

from jax_avemo.models.video.resnext import ResNeXt
from jax_avemo.pretrained.resnext_weights import import_resnext, parameter_path
from jax_avemo.runtime.errors import UserError


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("conv1.weight", ("params", "conv1", "kernel")),
        ("layer3.5.bn2.weight", ("params", "layer3_5", "bn2", "scale")),
        ("layer1.0.downsample.0.weight", ("params", "layer1_0", "downsample_conv", "kernel")),
        ("layer2.0.downsample.1.running_var", ("batch_stats", "layer2_0", "downsample_bn", "var")),
        ("fc.weight", None),
        ("bn1.num_batches_tracked", None),
        ("layer1.0.se.fc1.weight", None),
    ],
)
def test_names(name, path):
    assert parameter_path(name) == path


def network(**changes) -> tuple[ResNeXt, dict]:
    model = resnext(**(SMALL | changes))
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), None, False)
    )
    rng = np.random.default_rng(3)
    start = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    return model, start | {"batch_stats": jax.tree.map(np.abs, start["batch_stats"])}


def test_kernels_are_turned_and_everything_is_accounted_for():
    state = foreign_state()
    _, start = network(coordinate_attention=False)
    variables, report = import_resnext(state, start)
    block = variables["params"]["layer2_0"]
    np.testing.assert_array_equal(
        variables["params"]["conv1"]["kernel"], state["conv1.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        block["conv1"]["kernel"], state["layer2.0.conv1.weight"][:, :, 0, 0].T
    )
    np.testing.assert_array_equal(block["conv2"]["kernel"][2, 1, 0, 5],
                                  state["layer2.0.conv2.weight"][5, 0, 2, 1])  # fmt: skip
    assert report.fresh == ()
    assert set(report.unused) == {"fc.weight", "fc.bias", "bn1.num_batches_tracked"}
    assert set(report.matched) == set(state) - set(report.unused)
    assert jax.tree.structure(variables) == jax.tree.structure(start)
    assert report.describe() == (
        f"{len(report.matched)} tensors imported; 3 not used (fc.weight, fc.bias, "
        "bn1.num_batches_tracked)"
    )


def test_an_imported_network_computes_what_numpy_does_with_the_foreign_names():
    images = jnp.asarray(np.random.default_rng(2).normal(size=(2, 15, 16, 3)), jnp.float32)
    model, start = network()
    imported, _ = import_resnext(foreign_state(), start)
    found = jax.jit(lambda v: model.apply(v, images, None, False))(imported)
    expected = numpy_resnext(foreign_state(), np.asarray(images), groups=SMALL["groups"])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4 * np.abs(expected).max())


def test_with_coordinate_attention_the_function_is_exactly_the_imported_one():
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 16, 16, 3)), jnp.float32)
    plain, start = network(coordinate_attention=False)
    expected, _ = import_resnext(foreign_state(), start)
    attending, start = network()
    imported, report = import_resnext(foreign_state(), start)
    assert len(report.fresh) == 2 * (6 + 2 + 2)
    np.testing.assert_array_equal(
        jax.jit(lambda v: attending.apply(v, images, None, False))(imported),
        jax.jit(lambda v: plain.apply(v, images, None, False))(expected),
    )


def test_the_gates_of_an_imported_network_learn_from_the_first_step():
    attending, start = network()
    imported, _ = import_resnext(foreign_state(), start)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 16, 16, 3)), jnp.float32)

    @jax.jit
    def slopes(params):
        variables = {"params": params, "batch_stats": imported["batch_stats"]}
        return jax.grad(
            lambda p: jnp.sin(attending.apply(variables | {"params": p}, images, None, False)).sum()
        )(params)

    found = slopes(imported["params"])
    for block in ("layer1_0", "layer2_0"):
        for gate in ("conv_h", "conv_w"):
            assert np.abs(found[block]["coordinate_attention"][gate]["kernel"]).max() > 1e-6


def test_weights_of_another_network_are_one_line():
    _, start = network()
    state = foreign_state()
    del state["layer2.0.bn1.running_var"]
    with pytest.raises(UserError, match="lack 1 of .* such as batch_stats/layer2_0/bn1/var"):
        import_resnext(state, start)
    with pytest.raises(UserError, match=r"model\.pixels=colour"):
        import_resnext(foreign_state() | {"conv1.weight": np.zeros((4, 1, 7, 7))}, start)
