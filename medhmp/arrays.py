"""Types of the arrays that most modules pass on, and Arrow data as Polars frames."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
AnyInts = npt.NDArray[np.integer[Any]]
"""Integers of any width, as ids are stored."""


def frame_of(data: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    """Arrow data as a frame that shares its memory where it can."""
    frame = pl.from_arrow(data)
    assert isinstance(frame, pl.DataFrame)  # a lone column would be a series
    return frame
