"""Dipole (Ma et al. 2017): a bidirectional GRU over visits with location-based attention."""

import torch
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.visits import PatientClassifier, VisitGrid, backwards, last_of, softmax_over
from medhmp.run import Model

DROPOUT = 0.5


class Dipole(nn.Module):
    """Visits v_1..v_N -> h~ (R).

    h_i joins both directions, a = softmax of w h_i + b over i < N, and h~ = tanh(W [sum a_i h_i;
    h_N]). The sum is empty, and zero, for a patient with one visit.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.forwards = nn.GRU(width, width, batch_first=True)
        self.backwards = nn.GRU(width, width, batch_first=True)
        self.location = nn.Linear(2 * width, 1)
        self.combine = nn.Linear(4 * width, width)

    def forward(self, visits: Tensor, grid: VisitGrid, days: Tensor) -> Tensor:
        """(B, N, R) -> (B, R)."""
        turned = self.backwards(backwards(visits, grid.counts))[0]
        both = (self.forwards(visits)[0], backwards(turned, grid.counts))
        h = torch.cat(both, dim=2)  # (B, N, 2R)
        step = torch.arange(h.shape[1], device=h.device)
        is_earlier = step < grid.counts.unsqueeze(1) - 1
        a = softmax_over(self.location(h).squeeze(2), is_earlier)
        context = torch.einsum("bn,bnr->br", a, h)
        combined: Tensor = self.combine(torch.cat((context, last_of(h, grid.counts)), dim=1))
        return combined.tanh()


def dipole(widths: Widths, model: Model) -> PatientClassifier:
    """The classifier of patients around Dipole."""
    return PatientClassifier(widths, model, Dipole(model.width), DROPOUT)
