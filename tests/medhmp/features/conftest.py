"""Recorded cases of FIDDLE as events."""

import polars as pl
import pytest

from medhmp.tables.fiddle import numbers_in


@pytest.fixture(scope="session")
def read_events():
    """``read_events(path, value_types)``: the rows of FIDDLE's CSV, none left out."""

    def read(path, value_types):
        raw = pl.read_csv(path, infer_schema=False)
        codes = [name for name, kind in value_types.items() if "hierarchical" in kind]
        number = pl.when(~pl.col("variable_name").is_in(codes)).then(
            numbers_in(raw["variable_value"])
        )
        return raw.select(
            id=pl.col("ID").cast(pl.Int64),
            t=pl.col("t").cast(pl.Float64),
            variable="variable_name",
            number=number,
            text=pl.when(number.is_null()).then("variable_value"),
        )

    return read
