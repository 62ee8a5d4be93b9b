"""What the figures of the paper share: sparse linear maps, two MLPs, attention fusion."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def row_of_entry(offsets: Tensor, entries: int) -> Tensor:
    """The row that each of the ``entries`` entries of a CSR belongs to, (nnz) int64."""
    rows = torch.arange(offsets.numel() - 1, device=offsets.device)
    return torch.repeat_interleave(rows, offsets.diff(), output_size=entries)


class _BagLinear(torch.autograd.Function):
    """W x for CSR rows x, with a backward pass that sums the bags of the transposed CSR.

    PyTorch's own for ``embedding_bag`` scatters entry by entry, up to three times slower on a CPU.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, ids: Tensor, offsets: Tensor, values: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(ids, offsets, values)
        ctx.columns = weight.shape[1]
        return _sum_bags(weight.t().contiguous(), ids, offsets, values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        ids, offsets, values = ctx.saved_tensors
        # Sorting short integers is several times faster than sorting long ones.
        narrow = torch.int16 if ctx.columns <= 1 << 15 else torch.int32
        order = ids.to(narrow).sort(stable=True).indices
        rows = row_of_entry(offsets, ids.numel())[order]
        starts = F.pad(torch.bincount(ids, minlength=ctx.columns).cumsum(0), (1, 0))
        values = None if values is None else values[order]
        return _sum_bags(grad.contiguous(), rows, starts, values).t(), None, None, None


def _sum_bags(table: Tensor, ids: Tensor, offsets: Tensor, values: Tensor | None) -> Tensor:
    return F.embedding_bag(
        ids, table, offsets, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def bag_linear(
    weight: Tensor, ids: Tensor, offsets: Tensor, values: Tensor | None = None
) -> Tensor:
    """W x for rows x given as CSR: the sum of the columns of W that x switches on.

    Args:
        weight: (out, in), as ``nn.Linear`` stores it; alone gets a gradient.
        ids: (nnz) columns of W, row after row, int64.
        offsets: (rows + 1) where each row begins in ``ids``, int64.
        values: (nnz) what each entry is multiplied by; none: ones.

    Returns:
        (rows, out); zeros for a row without entries.
    """
    product: Tensor = _BagLinear.apply(weight, ids, offsets, values)  # type: ignore[no-untyped-call]
    return product


class DemographicMLP(nn.Module):
    """MLP_d of Sec. 2.2.2: P -> hidden -> R with a ReLU between, over CSR rows."""

    def __init__(self, demographics: int, hidden: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(demographics, hidden)
        self.second = nn.Linear(hidden, width)

    def forward(self, ids: Tensor, offsets: Tensor, values: Tensor | None = None) -> Tensor:
        """Rows (S) of demographic ids, with their values or ones -> d (S, R)."""
        summed = bag_linear(self.first.weight, ids, offsets, values)  # (S, hidden)
        d: Tensor = self.second(F.relu(summed + self.first.bias))
        return d


class CodeMLP(nn.Module):
    """MLP_c and MLP_g of Eq. 5: twice Linear, LayerNorm, ReLU; the first over CSR rows."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(vocabulary, width)
        self.first_norm = nn.LayerNorm(width)
        self.second = nn.Linear(width, width)
        self.second_norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor, offsets: Tensor, kept: Tensor | None = None) -> Tensor:
        """Embeds sets of codes.

        Args:
            ids: (nnz) codes, row after row; a row's codes are distinct.
            offsets: (B + 1) where each row begins.
            kept: (nnz) bool, false for codes to leave out; none: all are kept.

        Returns:
            (B, R), never negative.
        """
        values = None if kept is None else kept.to(self.first.weight.dtype)
        hidden = bag_linear(self.first.weight, ids, offsets, values) + self.first.bias
        hidden = F.relu(self.first_norm(hidden))  # (B, R)
        return F.relu(self.second_norm(self.second(hidden)))


class FusionBlock(nn.Module):
    """Eqs. 2 and 7: one head of self-attention over modality tokens, residual, LayerNorm, max.

    A token that is not present is neither attended to nor pooled.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Fuses L tokens into one vector.

        Args:
            tokens: (B, L, R).
            present: (..., B, L) bool, with leading axes for several passes over the same tokens;
                none: all are.

        Returns:
            (..., B, R); zeros for a row without any token.
        """
        if present is None:
            present = tokens.new_ones(tokens.shape[:2], dtype=torch.bool)
        scale = tokens.shape[-1] ** -0.5
        scores = self.query(tokens) @ self.key(tokens).transpose(-1, -2) * scale  # (B, L, L)
        # The lowest finite number, since a row of -inf alone has no softmax.
        absent = ~present.unsqueeze(-2)  # (..., B, 1, L)
        attention = scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(-1)
        fused = self.norm(tokens + attention @ self.value(tokens))  # (..., B, L, R)
        pooled = fused.masked_fill(~present.unsqueeze(-1), -torch.inf).amax(-2)
        return torch.where(present.any(-1, keepdim=True), pooled, 0)
