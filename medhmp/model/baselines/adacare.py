"""AdaCare (Ma et al. 2020): dilated convolutions over visits, recalibrated, and a GRU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.visits import PatientClassifier, VisitGrid
from medhmp.run import Model

FILTERS, KERNEL, REDUCTION, DROPOUT = 64, 2, 4, 0.5


class Recalibration(nn.Module):
    """Squeeze and excite: each channel of a step times a gate of all channels of that step."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nn_c = nn.Linear(channels, channels // REDUCTION)
        self.nn_rescale = nn.Linear(channels // REDUCTION, channels)

    def forward(self, z: Tensor) -> Tensor:
        """(B, N, channels) -> the same."""
        gate: Tensor = self.nn_rescale(F.relu(self.nn_c(z))).sigmoid()
        return z * gate


class AdaCare(nn.Module):
    """Visits -> the maximum over the visits of the GRU's states (R)."""

    def __init__(self, width: int, filters: int = FILTERS) -> None:
        super().__init__()
        self.nn_conv1, self.nn_conv3, self.nn_conv5 = (
            nn.Conv1d(width, filters, KERNEL, dilation=dilation) for dilation in (1, 3, 5)
        )
        for convolution in (self.nn_conv1, self.nn_conv3, self.nn_conv5):
            nn.init.xavier_uniform_(convolution.weight)
        self.nn_convse, self.nn_inputse = Recalibration(3 * filters), Recalibration(width)
        self.rnn = nn.GRU(3 * filters + width, width, batch_first=True)

    def states(self, visits: Tensor) -> Tensor:
        """The GRU's states (B, N, R); each sees its visit and those before."""
        x = visits.transpose(1, 2)
        convolved = torch.cat(
            [
                convolution(F.pad(x, ((KERNEL - 1) * convolution.dilation[0], 0)))
                for convolution in (self.nn_conv1, self.nn_conv3, self.nn_conv5)
            ],
            dim=1,
        )
        gated = (self.nn_convse(F.relu(convolved).transpose(1, 2)), self.nn_inputse(visits))
        hidden: Tensor = self.rnn(torch.cat(gated, dim=2))[0]
        return hidden

    def forward(self, visits: Tensor, grid: VisitGrid, days: Tensor) -> Tensor:
        """(B, N, R) -> (B, R). Padding comes after the visits, so it reaches none of them."""
        hidden = self.states(visits)
        lowest = torch.finfo(hidden.dtype).min
        return hidden.masked_fill(~grid.valid.unsqueeze(2), lowest).amax(1)


def adacare(widths: Widths, model: Model) -> PatientClassifier:
    """The classifier of patients around AdaCare."""
    return PatientClassifier(widths, model, AdaCare(model.width), DROPOUT)
