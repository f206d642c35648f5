"""Names of parameters and outputs of a tiny network, as they were: old checkpoints must load.

Where a change is meant, `python tests/models/test_golden.py` writes `golden.json` anew.
"""

import json
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest
from support.tiny_network import MODEL, make_batch, quick_jit, random_variables

GOLDEN = Path(__file__).parent / "golden.json"
OUTPUTS = (
    "embedding",
    "video_logits",
    "audio_logits",
    "step_weights",
    "emotion_embedding",
    "identity_embedding",
    "emotion_logits",
    "identity_logits",
    "adversary_identity_logits",
    "adversary_emotion_logits",
)


def names_and_shapes(variables) -> list[str]:
    """A line for each array, such as `params/emotion_head/bias (3,)`."""
    return [
        f"{jax.tree_util.keystr(path, simple=True, separator='/')} {leaf.shape}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    ]


def outputs_of(batch) -> dict[str, np.ndarray]:
    variables = random_variables(MODEL, batch)
    fused, decoupled = quick_jit(lambda v, b: MODEL.apply(v, b))(variables, batch)
    found = fused._asdict() | decoupled._asdict()
    return {name: np.asarray(found[name]) for name in OUTPUTS}


def the_method_as_written():
    """Parameters of size `full` on 16 training subjects and RAVDESS's 8 emotions, by shape."""
    from jax_avemo import config as settings
    from jax_avemo.training import build
    from jax_avemo.training.train_state import example_batch

    config = settings.make_config("golden", "full")
    model = build.build_model(config, 8, 16)
    return jax.eval_shape(
        lambda key: model.init(key, example_batch(config), train=False), jax.random.key(0)
    )


def measured() -> dict:
    batch = make_batch()
    full = names_and_shapes(the_method_as_written())
    return {
        "tiny_parameters": names_and_shapes(random_variables(MODEL, batch)),
        "full_parameters": len(full),
        "full_parameters_crc32": zlib.crc32("\n".join(full).encode()),
        "outputs": {
            name: np.round(value.astype(np.float64), 5).tolist()
            for name, value in outputs_of(batch).items()
        },
    }


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


def test_parameters_have_the_names_and_shapes_they_always_had(golden):
    assert names_and_shapes(random_variables(MODEL, make_batch())) == golden["tiny_parameters"]


def test_so_has_the_method_as_written(golden):
    full = names_and_shapes(the_method_as_written())
    assert len(full) == golden["full_parameters"]
    assert zlib.crc32("\n".join(full).encode()) == golden["full_parameters_crc32"], full


def test_the_tiny_network_computes_what_it_always_did(golden):
    found = outputs_of(make_batch())
    assert found.keys() == golden["outputs"].keys()
    for name, value in found.items():
        expected = np.array(golden["outputs"][name])
        np.testing.assert_allclose(value, expected, atol=2e-4, rtol=2e-3, err_msg=name)


if __name__ == "__main__":
    GOLDEN.write_text(
        json.dumps(measured()).replace('", "', '",\n"').replace("]], ", "]],\n") + "\n"
    )
