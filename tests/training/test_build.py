import pytest

from jax_avemo import config as settings
from jax_avemo.runtime.errors import UserError
from jax_avemo.training import build


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("model.fusion", "dual_lstn", "did you mean 'dual_lstm'"),
        ("model.modalities", ("smell",), "'audio'"),
        ("model.pixels", ("contrast", "heat"), "'luminance'"),
        ("model.pixels", (), "'luminance'"),
        ("data.corpus", "ravdes", "did you mean 'ravdess'"),
        ("objective.loss_balancing", "magic", "'gradnorm'"),
        ("model.heads", 3, "model.heads=3"),
    ],
)
def test_a_variant_that_there_is_not_is_one_line_that_lists_them(field, value, says):
    config = settings.make_config("x", "cpu", {field: value})
    with pytest.raises(UserError) as error:
        build.check_choices(config)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", settings.SIZES)
def test_the_network_has_the_values_of_the_config(size):
    config = settings.make_config("x", size)
    build.check_choices(config)
    model = build.build_model(config, 8, 16)
    assert {name: getattr(model, name) for name in config.model} == config.model.to_dict()
    hash(model)
