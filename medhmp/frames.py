"""Arrow data as Polars frames."""

import polars as pl
import pyarrow as pa


def frame_of(data: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    """Arrow data as a frame that shares its memory where it can."""
    frame = pl.from_arrow(data)
    assert isinstance(frame, pl.DataFrame)  # a lone column would be a series
    return frame
