"""FIDDLE's input: one row per recording, with columns id, t, variable, number, text.

``t`` is in hours, null for a value that holds always. A value is a ``number`` or, if it does not
parse as one, a ``text``; with both null the variable was recorded without a value.
"""

import math
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from medhmp.refusal import Refusal

Ids = npt.NDArray[np.int64]

SCHEMA: Final = {
    "id": pl.Int64(),
    "t": pl.Float64(),
    "variable": pl.String(),
    "number": pl.Float64(),
    "text": pl.String(),
}

MOMENT: Final = ("id", "t", "variable")
"""What two readings must not share."""

COLUMNS: Final = ("ID", "t", "variable_name", "variable_value")
"""Columns of FIDDLE's CSV."""


def read_csv(source: str | IO[bytes], value_types: Mapping[str, str]) -> pl.DataFrame:
    """Events from FIDDLE's CSV (columns ``COLUMNS``). Only an empty field is null.

    A value that ``value_types`` calls hierarchical stays text, for "038.9" is not "38.9".
    Raises Refusal for a missing column, and for an ID or t that is not a number.
    """
    raw = pl.read_csv(source, infer_schema=False)
    missing = [name for name in COLUMNS if name not in raw.columns]
    if missing:
        raise Refusal(f"the event table has no column '{missing[0]}'; give it {', '.join(COLUMNS)}")
    codes = [name for name, kind in value_types.items() if "hierarchical" in kind.lower()]
    value = pl.col("variable_value")
    distinct = raw["variable_value"].drop_nulls().unique().to_list()
    parsed = value.replace_strict(
        distinct, [_number(v) for v in distinct], return_dtype=pl.Float64, default=None
    )
    number = pl.when(~pl.col("variable_name").is_in(codes)).then(parsed)
    return raw.select(
        id=_numeric(raw, "ID", pl.Int64()),
        t=_numeric(raw, "t", pl.Float64()),
        variable="variable_name",
        number=number,
        text=pl.when(number.is_null()).then(value),
    )


def _numeric(raw: pl.DataFrame, name: str, kind: Any) -> pl.Series:
    column = raw[name].cast(kind, strict=False)
    if column.null_count() != raw[name].null_count():
        raise Refusal(f"column '{name}' of the event table holds text; give numbers only")
    return column


def _number(value: str) -> float | None:
    """The value as a finite number, or None. An infinity cannot be binned: it counts as text."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def number_text(number: float) -> str:
    """The shortest text of a number: 5.0 is "5", 1.5 is "1.5"."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e16 else repr(number)


def in_window(events: pl.DataFrame, ids: Ids, hours: int) -> pl.DataFrame:
    """The rows of ``ids`` (ascending) without a time or with 0 <= t < ``hours``, in their order."""
    inside = pl.col("t").is_null() | ((pl.col("t") >= 0) & (pl.col("t") < hours))
    return events.filter(inside & pl.col("id").is_in(pl.Series(ids).implode()))


def repeated(rows: pl.DataFrame, names: Sequence[str] = MOMENT) -> pl.Series:
    """Whether another row has the same in all the columns ``names``; a null is like a null.

    Few rows have. A hash of the columns, which is cheap to compare, finds those that may; they
    alone are compared in full.
    """
    several = rows.select(pl.struct(names).hash().is_duplicated()).to_series()
    if not several.any():
        return several
    found = several.to_numpy(writable=True)
    found[found] = rows.filter(several).select(pl.struct(names).is_duplicated()).to_series()
    return pl.Series(found)


def first_of_each(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The first of the rows that have the same in all the columns ``names``.

    Of rows that have, the order stays, but they come after all others.
    """
    several = repeated(rows, names)
    some = rows.filter(several).unique(names, keep="first", maintain_order=True)
    return pl.concat([rows.filter(~several), some])


def ascending(ids: npt.ArrayLike) -> Ids:
    """The ids, each once, in the order of the output rows."""
    return np.unique(np.asarray(ids, dtype=np.int64))
