"""RETAIN (Choi et al. 2016): two GRUs over the visits from the last to the first."""

import torch
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.visits import PatientClassifier, VisitGrid, backwards, softmax_over
from medhmp.run import Model

DROPOUT = 0.5


class Retain(nn.Module):
    """Visits v_1..v_N -> c (R), the sum of alpha_j beta_j v_j.

    alpha is a softmax over the visits of w g_j + b, beta_j = tanh(W h_j + b); g and h are the
    states of the GRUs, which read in reverse and whose states are turned back.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(DROPOUT)
        self.alpha_gru = nn.GRU(width, width, batch_first=True)
        self.beta_gru = nn.GRU(width, width, batch_first=True)
        self.alpha_li, self.beta_li = nn.Linear(width, 1), nn.Linear(width, width)

    def forward(self, visits: Tensor, grid: VisitGrid, days: Tensor) -> Tensor:
        """(B, N, R) -> (B, R)."""
        visits = self.dropout(visits)
        reversed_visits = backwards(visits, grid.counts)
        g = backwards(self.alpha_gru(reversed_visits)[0], grid.counts)
        h = backwards(self.beta_gru(reversed_visits)[0], grid.counts)
        alpha = softmax_over(self.alpha_li(g).squeeze(2), grid.valid)
        return torch.einsum("bn,bnr->br", alpha, self.beta_li(h).tanh() * visits)


def retain(widths: Widths, model: Model) -> PatientClassifier:
    """The classifier of patients around RETAIN."""
    return PatientClassifier(widths, model, Retain(model.width), DROPOUT)
