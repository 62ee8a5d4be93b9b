"""Blocks of the paper's figures: two MLPs over sparse rows, attention fusion."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.model.sparse import Sparse, bag_linear


class DemographicMLP(nn.Module):
    """MLP_d of Sec. 2.2.2: P -> hidden -> R with a ReLU between, over CSR rows."""

    def __init__(self, demographics: int, hidden: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(demographics, hidden)
        self.second = nn.Linear(hidden, width)

    def forward(self, x: Sparse) -> Tensor:
        """Rows of demographic features (S, P) -> d (S, R)."""
        d: Tensor = self.second(F.relu(bag_linear(self.first.weight, x, self.first.bias)))
        return d


class HourlyLinear(nn.Linear):
    """A linear map of the features of each hour, over CSR rows."""

    def of_hours(self, hours: Sparse, steps: int) -> Tensor:
        """Features (T*S, F), hour after hour, of T ``steps``: (S, T, out)."""
        x = bag_linear(self.weight, hours, self.bias)
        return x.view(steps, -1, self.out_features).transpose(0, 1)


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
        x = Sparse(ids, offsets, self.first.in_features, values)
        hidden = bag_linear(self.first.weight, x, self.first.bias)
        hidden = F.relu(self.first_norm(hidden))  # (B, R)
        return F.relu(self.second_norm(self.second(hidden)))


class FusionBlock(nn.Module):
    """Eqs. 2 and 7: one head of self-attention over modality tokens, residual, LayerNorm, max.

    An absent token is neither attended to nor pooled.
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
                none: all are present.

        Returns:
            (..., B, R); zeros for a row without any token.
        """
        if present is None:
            present = tokens.new_ones(tokens.shape[:2], dtype=torch.bool)
        scale = tokens.shape[-1] ** -0.5
        scores = self.query(tokens) @ self.key(tokens).transpose(-1, -2) * scale  # (B, L, L)
        # The lowest finite number: the softmax of a row of -inf is NaN.
        absent = ~present.unsqueeze(-2)  # (..., B, 1, L)
        attention = scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(-1)
        fused = self.norm(tokens + attention @ self.value(tokens))  # (..., B, L, R)
        pooled = fused.masked_fill(~present.unsqueeze(-1), -torch.inf).amax(-2)
        return torch.where(present.any(-1, keepdim=True), pooled, 0)
