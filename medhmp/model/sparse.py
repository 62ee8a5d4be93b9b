"""Sparse inputs: matrices of mostly zeros as CSR, and linear maps of their rows.

On a CPU a product is an embedding bag: it sums the rows of the other matrix that the sparse one
selects. On a GPU the matrix is made dense, since dense products are faster there.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor

from medhmp.batch import CsrKeys

PANEL = 128
"""Columns of a table that are summed at a time: a thousand rows of so many floats fit the cache of
one core, which is faster than the cache that cores share."""
BLOCK = 2048
"""Rows of a transposed product that are summed at a time, for the same reason."""

RowBlock = tuple[slice, Tensor, Tensor, Tensor | None]
"""Some rows of a matrix, and their entries by column: row inside the block, (columns + 1) offsets,
values."""


def densifies(device: torch.device) -> bool:
    """True where products are dense. ``jobs.benchmark train`` times both ways on a CPU."""
    return device.type == "cuda"


def full_precision(x: Tensor) -> torch.autocast:
    """Turns autocast off on the device of ``x``, for operations that must be exact."""
    return torch.autocast(x.device.type, enabled=False)


def row_of_entry(offsets: Tensor, entries: int) -> Tensor:
    """The row that each of the ``entries`` entries of a CSR belongs to, (nnz) int64."""
    rows = torch.arange(offsets.numel() - 1, device=offsets.device)
    return torch.repeat_interleave(rows, offsets.diff(), output_size=entries)


class Sparse:
    """A sparse matrix of ones, or of ``values``, in CSR form.

    Results that several products of one matrix share are computed once.

    Args:
        ids: (nnz) columns, row after row, int64; an id that a row has twice counts twice.
        offsets: (rows + 1) begin of each row in ``ids``, int64.
        columns: the number of columns.
        values: (nnz) the entries, float32 or float64; none: ones. They get no gradient.
    """

    def __init__(
        self, ids: Tensor, offsets: Tensor, columns: int, values: Tensor | None = None
    ) -> None:
        self.ids, self.offsets, self.columns, self.values = ids, offsets, columns, values

    @staticmethod
    def of(batch: dict[str, Tensor], keys: CsrKeys, columns: int) -> "Sparse":
        """The matrix that a batch holds under ``keys``."""
        return Sparse(batch[keys.ids], batch[keys.offsets], columns, batch.get(keys.values))

    @property
    def rows(self) -> int:
        return self.offsets.numel() - 1

    @cached_property
    def row(self) -> Tensor:
        """The row of each entry, (nnz) int64."""
        return row_of_entry(self.offsets, self.ids.numel())

    @property
    def _values(self) -> Tensor:
        if self.values is None:
            return torch.ones_like(self.ids, dtype=torch.float32)
        return self.values

    @cached_property
    def dense(self) -> Tensor:
        """(rows, columns) float32, or of the type of ``values``."""
        values = self._values
        flat = values.new_zeros(self.rows * self.columns)
        return flat.index_add_(0, self.row * self.columns + self.ids, values).view(-1, self.columns)

    @cached_property
    def column_sums(self) -> Tensor:
        """(columns) float32, or of the type of ``values``."""
        values = self._values
        return values.new_zeros(self.columns).index_add_(0, self.ids, values)

    def regrouped(self, steps: int) -> "Sparse":
        """Reorders rows (n, steps) to (steps, n): from stay after stay to hour after hour."""
        lengths = self.offsets.diff().view(-1, steps).t().flatten()
        offsets = F.pad(lengths.cumsum(0), (1, 0))
        shift = self.offsets[:-1].view(-1, steps).t().flatten() - offsets[:-1]
        entries = self.ids.numel()
        at = torch.repeat_interleave(shift, lengths, output_size=entries)
        at += torch.arange(entries, device=at.device)
        values = None if self.values is None else self.values[at]
        return Sparse(self.ids[at], offsets, self.columns, values)

    def times(self, table: Tensor) -> Tensor:
        """This matrix times ``table`` (..., columns, n): (..., rows, n). Without a gradient."""
        if densifies(table.device):
            return self.dense.to(table.dtype) @ table
        product = table.new_empty(*table.shape[:-2], self.rows, table.shape[-1])
        for at, panel in _panels(table):
            product[at] = _sum_bags(panel, self.ids, self.offsets, self.values)
        return product

    def transposed_times(self, table: Tensor) -> Tensor:
        """This matrix transposed, times ``table`` (..., rows, n): (..., columns, n). Without a
        gradient."""
        if densifies(table.device):
            return self.dense.to(table.dtype).t() @ table
        total = table.new_zeros(*table.shape[:-2], self.columns, table.shape[-1])
        for rows, ids, offsets, values in self._by_column:
            for at, panel in _panels(table[..., rows, :]):
                total[at] += _sum_bags(panel, ids, offsets, values)
        return total

    @cached_property
    def _by_column(self) -> list[RowBlock]:
        entries = np.ones(self.ids.numel(), np.int8) if self.values is None else self.values.numpy()
        shape = (self.rows, self.columns)
        matrix = csr_array((entries, self.ids.int().numpy(), self.offsets.int().numpy()), shape)
        blocks: list[RowBlock] = []
        for start in range(0, self.rows, BLOCK):
            rows = slice(start, start + BLOCK)
            block = matrix[rows].tocsc()
            ids, offsets = torch.from_numpy(block.indices), torch.from_numpy(block.indptr)
            values = None if self.values is None else torch.from_numpy(block.data)
            blocks.append((rows, ids, offsets, values))
        return blocks


def _panels(table: Tensor) -> Iterator[tuple[tuple[int | slice, ...], Tensor]]:
    """Panels of a table (..., rows, n), each with its index in a table of other rows."""
    for start in range(0, table.shape[-1], PANEL):
        for above in np.ndindex(table.shape[:-2]):
            at = (*above, slice(None), slice(start, start + PANEL))
            yield at, table[at].contiguous()


def _sum_bags(table: Tensor, ids: Tensor, offsets: Tensor, values: Tensor | None) -> Tensor:
    if values is not None:
        values = values.to(table.dtype)
    return F.embedding_bag(
        ids, table, offsets, mode="sum", per_sample_weights=values, include_last_offset=True
    )


class _BagLinear(torch.autograd.Function):
    """x W' for sparse x.

    PyTorch's own backward pass of ``embedding_bag`` scatters entry by entry, which on a CPU is
    several times slower than summing bags of the transposed matrix.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Sparse) -> Tensor:
        ctx.x = x
        return x.times(weight.mT)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.x.transposed_times(grad).mT, None


def bag_linear(weight: Tensor, x: Sparse, bias: Tensor | None = None) -> Tensor:
    """W x + b for the rows x of a sparse matrix: the sum of the columns of W that x selects.

    Args:
        weight: (..., out, columns), as ``nn.Linear`` stores it; with leading axes for several maps
            of the same rows.
        x: the rows.
        bias: (out); none: zeros.

    Returns:
        (..., rows, out), float32 under autocast too.
    """
    with full_precision(weight):
        product: Tensor = _BagLinear.apply(weight, x)  # type: ignore[no-untyped-call]
        return product if bias is None else product + bias
