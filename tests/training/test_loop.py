"""When training gives up: steps that are not finite are skipped and counted, and add up."""

import pytest

from jax_avemo.errors import UserError
from jax_avemo.training import loop


def test_steps_that_are_not_finite_stop_the_run_once_they_repeat():
    loop._stop_if_not_finite({"skipped": loop.MOST_SKIPPED - 1}, 400)
    with pytest.raises(
        UserError, match="20 of 400 steps had a loss or gradient that is not finite"
    ):
        loop._stop_if_not_finite({"skipped": loop.MOST_SKIPPED}, 400)
