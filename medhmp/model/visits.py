"""Patients as a sequence of visits: the grid that models read, and a classifier around a reader."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from medhmp.batch import ICD, VISIT_DAYS, VISIT_OFFSETS
from medhmp.legend import Widths
from medhmp.model.blocks import CodeMLP
from medhmp.model.sparse import row_of_entry
from medhmp.model.starts import DIAGNOSES
from medhmp.run import Model


class VisitGrid:
    """The places of V visits of B patients in a grid (B, N), padding behind the visits.

    Args:
        offsets: (B + 1) where each patient's visits begin.
    """

    def __init__(self, offsets: Tensor) -> None:
        self.counts = offsets.diff()  # (B)
        self.rows, self.columns = self.counts.numel(), max(1, int(self.counts.max()))
        visits = torch.arange(int(offsets[-1]), device=offsets.device)
        row = row_of_entry(offsets, visits.numel())
        self._slot = visits - offsets[row] + row * self.columns
        steps = torch.arange(self.columns, device=offsets.device)
        self.valid = steps < self.counts.unsqueeze(1)  # (B, N)

    def place(self, visits: Tensor) -> Tensor:
        """Values of visits (V, ...) in the grid (B, N, ...), zeros elsewhere."""
        grid = visits.new_zeros(self.rows * self.columns, *visits.shape[1:])
        filled = grid.index_copy(0, self._slot, visits)
        return filled.view(self.rows, self.columns, *visits.shape[1:])


def last_of(x: Tensor, counts: Tensor) -> Tensor:
    """The value of each row's last visit, (B, N, R) -> (B, R); of an empty row, of padding."""
    return x[torch.arange(len(x), device=x.device), (counts - 1).clamp(min=0)]


def backwards(x: Tensor, counts: Tensor) -> Tensor:
    """Turns each row's visits around and leaves its padding: (B, N, R). Its own inverse."""
    steps = torch.arange(x.shape[1], device=x.device)
    turned = counts.unsqueeze(1) - 1 - steps  # (B, N)
    at = torch.where(turned >= 0, turned, steps)
    return x.gather(1, at.unsqueeze(2).expand_as(x))


def softmax_over(scores: Tensor, chosen: Tensor) -> Tensor:
    """Softmax over the chosen of N scores (B, N); zeros for a row without any."""
    lowest = torch.finfo(scores.dtype).min  # of -inf alone the softmax is NaN
    return torch.where(chosen, scores.masked_fill(~chosen, lowest).softmax(1), 0)


class PatientClassifier(nn.Module):
    """Patients: diagnoses of each visit -> MLP_c -> a reader of visits -> dropout -> one logit.

    The authors' head has two logits and a softmax. The logit here is their difference, which gives
    the same probability.

    ``reader(visits (B, N, R), grid, days (B, N))`` gives (B, R). ``days`` are those before the
    last visit, zero in padding.
    """

    taken = DIAGNOSES

    def __init__(
        self,
        widths: Widths,
        model: Model,
        reader: Callable[[Tensor, VisitGrid, Tensor], Tensor],
        dropout: float,
    ) -> None:
        super().__init__()
        self.diagnoses = CodeMLP(widths.diagnoses, model.width)
        self.reader = reader
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(model.width, 1)

    def represent(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of patients -> (B, R); zeros for a patient without visits."""
        grid = VisitGrid(batch[VISIT_OFFSETS])
        visits = grid.place(self.diagnoses(batch[ICD.ids], batch[ICD.offsets]))
        read = self.reader(visits, grid, grid.place(batch[VISIT_DAYS]))
        return torch.where(grid.counts.unsqueeze(1) > 0, read, 0)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of patients -> logits (B)."""
        logits: Tensor = self.head(self.dropout(self.represent(batch)))
        return logits.squeeze(1)
