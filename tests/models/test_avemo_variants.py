"""Which parts exist in which variant of the network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny_network import (
    TINY,
    B,
    make_batch,
    quick_jit,
    random_variables,
)

from jax_avemo.models.avemo import AVEmo
from jax_avemo.runtime.errors import UserError


def shapes_of(batch=None, **fields):
    """Parameter and output shapes of a variant, without compiling it."""
    model = AVEmo(**(TINY | fields))
    out, variables = jax.eval_shape(
        lambda key, batch: model.init_with_output(key, batch),
        jax.random.key(0),
        batch or make_batch(),
    )
    return out, variables["params"]


@pytest.mark.parametrize(("kept", "other"), [("audio", "video"), ("video", "audio")])
def test_a_modality_that_is_off_has_no_parameters_and_is_not_read(kept, other):
    batch = {k: v for k, v in make_batch().items() if not k.startswith(other)}
    out, params = shapes_of(batch, modalities=(kept,))
    assert not [name for name in params if name.startswith(other)]
    assert [name for name in params if name.startswith(kept)]
    assert getattr(out.fused, f"{other}_logits") is None
    assert getattr(out.fused, f"{other}_steps") is None
    assert out.fused.inputs.shape == (B, 2 * 6 + 8)


def test_sound_alone_trains_with_dropout_and_every_parameter_learns():
    model = AVEmo(**(TINY | {"modalities": ("audio",), "dropout": 0.3}))
    batch = {k: v for k, v in make_batch().items() if not k.startswith("video")}
    filled = random_variables(model, batch)

    @quick_jit
    def gradient(key):
        def loss(params):
            out, _ = model.apply(
                {**filled, "params": params},
                batch,
                train=True,
                reversal_strength=1.0,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            halves = out.decoupled
            heads = (
                out.fused.audio_logits,
                halves.emotion_logits,
                halves.identity_logits,
                halves.adversary_identity_logits,
                halves.adversary_emotion_logits,
            )
            return sum((jnp.sin(h) ** 2).sum() for h in heads)

        return jax.grad(loss)(filled["params"])

    one, two = gradient(jax.random.key(0)), gradient(jax.random.key(1))
    for path, leaf in jax.tree_util.tree_leaves_with_path(one):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-7, path
    jax.tree.map(np.testing.assert_array_equal, one, gradient(jax.random.key(0)))
    assert np.abs(one["fusion_layer"]["kernel"] - two["fusion_layer"]["kernel"]).max() > 1e-4


def test_variants_have_the_parts_they_name_and_no_others():
    out, params = shapes_of()
    assert params["identity_adversary"]["hidden"]["kernel"].shape == (6 + 3 + 6 * 3, 5)
    assert params["emotion_adversary"]["hidden"]["kernel"].shape == (6 + 2 + 6 * 2, 5)

    _, marginal = shapes_of(adversary="marginal")
    assert marginal["identity_adversary"]["hidden"]["kernel"].shape == (6, 5)
    assert marginal.keys() == params.keys()

    out, without = shapes_of(adversary="none")
    assert params.keys() - without.keys() == {"identity_adversary", "emotion_adversary"}
    assert out.decoupled.identity_logits.shape == (B, 2)
    assert out.decoupled.adversary_identity_logits is None

    out, fusion_only = shapes_of(decouple=False, num_subjects=0)
    assert without.keys() - fusion_only.keys() == {"identity_encoder", "identity_head"}
    assert fusion_only["emotion_encoder"].keys() == params["emotion_encoder"].keys()
    assert out.decoupled.identity_embedding is None

    _, concatenated = shapes_of(
        fusion="lstm_concat", skip_connection=False, embedded_self_attention=False
    )
    assert concatenated["lstm"]["lstm"]["forward_input"]["kernel"].shape == (16, 24)
    assert concatenated["fusion_layer"]["kernel"].shape == (12, 10)
    assert params.keys() - concatenated.keys() == {"video_attention", "audio_attention"}


def test_what_follows_half_precision_networks_is_float32():
    out, params = shapes_of(dtype="bfloat16", remat=True)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    assert out.fused.embedding.dtype == out.fused.video_logits.dtype == jnp.float32
    assert out.decoupled.emotion_logits.dtype == jnp.float32


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"modalities": ("audio", "video")}, "modalities"),
        ({"fusion": "sum"}, "dual_lstm, lstm_concat"),
        ({"adversary": "both"}, "conditional, marginal, none"),
        ({"num_subjects": 0}, "num_subjects"),
    ],
)
def test_impossible_fields_are_refused_in_one_line(fields, says):
    with pytest.raises(UserError, match=says):
        shapes_of(**fields)
