"""Ragged integer arrays: offsets and values, as Arrow keeps lists and as batches carry them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Csr:
    """Row i is ``values[offsets[i]:offsets[i + 1]]``; ``offsets`` (n + 1) begins with 0."""

    offsets: npt.NDArray[np.int64]
    values: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets)

    def positions(self, rows: Ints) -> npt.NDArray[np.int64]:
        """Where the values of the given rows lie in ``values``, row after row."""
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        return np.asarray(np.repeat(self.offsets[rows], lengths) + within)

    def take(self, rows: Ints) -> "Csr":
        """The given rows, in the given order; rows may repeat."""
        return Csr(from_lengths(self.lengths[rows]), self.values[self.positions(rows)])

    @staticmethod
    def from_arrow(column: pa.ChunkedArray | pa.Array) -> "Csr":
        """From a list column, without a Python object per row."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(array, pa.ChunkedArray):  # a column without chunks
            array = pa.array([], column.type)
        offsets = array.offsets.to_numpy().astype(np.int64)  # absolute where the array is a slice
        values = array.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]]
        return Csr(offsets - offsets[0], values)


def from_lengths(lengths: Ints) -> npt.NDArray[np.int64]:
    """Offsets of rows of these lengths."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
