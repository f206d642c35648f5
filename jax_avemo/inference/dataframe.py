"""Predictions as a pandas DataFrame."""

from typing import Any

from jax_avemo.inference.timeline import Prediction
from jax_avemo.runtime.errors import UserError


def to_dataframe(prediction: Prediction) -> Any:
    """A pandas DataFrame, one row a window, columns as in the CSV.

    Raises:
      UserError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise UserError("to_dataframe needs pandas: pip install 'jax_avemo[notebook]'") from error
    # Empty cells of the CSV are missing values here.
    rows = [[None if cell == "" else cell for cell in row] for row in prediction.csv_rows()]
    return pandas.DataFrame(rows, columns=prediction.csv_header())
