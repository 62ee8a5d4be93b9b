"""Ragged integer arrays: offsets and values, as Arrow keeps lists and as batches carry them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from medhmp.arrays import AnyInts, Ints


@dataclass(frozen=True)
class Csr:
    """Row i is ``values[offsets[i]:offsets[i + 1]]``; ``offsets`` (n + 1) begins with 0."""

    offsets: Ints
    values: AnyInts

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        return np.diff(self.offsets)

    def positions(self, rows: AnyInts) -> Ints:
        """Indices into ``values`` of what the given rows hold, row after row."""
        starts = self.offsets[rows]
        lengths = self.offsets[np.asarray(rows) + 1] - starts
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if len(ends) else 0)
        return np.asarray(np.repeat(starts - ends + lengths, lengths) + within)

    def take(self, rows: AnyInts) -> "Csr":
        """Copies the given rows, in the given order; a row may come twice."""
        lengths = self.offsets[np.asarray(rows) + 1] - self.offsets[rows]
        return Csr(from_lengths(lengths), self.values[self.positions(rows)])

    @staticmethod
    def from_arrow(column: pa.ChunkedArray | pa.Array) -> "Csr":
        """Reads a list column without making a Python object per row."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(array, pa.ChunkedArray):  # a column without chunks
            array = pa.array([], column.type)
        offsets = array.offsets.to_numpy().astype(np.int64)  # absolute where the array is a slice
        values = array.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]]
        return Csr(offsets - offsets[0], values)


def joined(
    values: npt.NDArray[Any], starts: Ints, ends: Ints, dtype: type[np.integer[Any]] | None = None
) -> npt.NDArray[Any]:
    """Concatenates ``values[start:end]`` of every span, as ``dtype``.

    Copies whole spans, which for hundreds of values each is several times faster than one index per
    value.
    """
    spans = [values[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    return np.concatenate(spans, dtype=dtype) if spans else values[:0].astype(dtype or values.dtype)


def from_lengths(lengths: AnyInts) -> Ints:
    """Offsets (n + 1) of n rows of these lengths."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
