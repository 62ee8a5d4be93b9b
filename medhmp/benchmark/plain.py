"""Stage one in the plain form: the same network and loss, as an ordinary program has them."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.batch import HOURS, SUBJECT_ID
from medhmp.model.sparse import Sparse
from medhmp.model.stay import demographics_of
from medhmp.train.objective import StayReconstruction


class PlainStays(nn.Module):
    """Dense float inputs, ``nn.LSTM`` twice, an output of all features, their squared error.

    Begins with the weights of ours.
    """

    def __init__(self, ours: StayReconstruction) -> None:
        super().__init__()
        R = ours.decoder.output.in_features
        self.features = ours.features
        self.encoder = copy.deepcopy(ours.stay.lstm)
        first, second = ours.stay.demographics.first, ours.stay.demographics.second
        self.demographics = nn.Sequential(copy.deepcopy(first), nn.ReLU(), copy.deepcopy(second))
        self.fusion = copy.deepcopy(ours.stay.fusion)
        self.decoder = nn.LSTM(1, R, batch_first=True)
        decoder = dict(self.decoder.named_parameters())
        with torch.no_grad():
            decoder["weight_hh_l0"].copy_(ours.decoder.weight_hh)
            decoder["bias_ih_l0"].copy_(ours.decoder.bias)
            decoder["bias_hh_l0"].zero_()
        self.output = copy.deepcopy(ours.decoder.output)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Dense ``hours`` (B, T, F) and ``demographics`` (B, P) -> L_stay."""
        m = batch["hours"]
        _, (_, cell) = self.encoder(m)
        d = self.demographics(batch["demographics"])
        b = self.fusion(torch.stack((cell[-1], d), dim=1)).unsqueeze(0)
        nothing = m.new_zeros(*m.shape[:2], 1)
        hidden, _ = self.decoder(nothing, (b, torch.zeros_like(b)))
        loss = F.mse_loss(self.output(hidden), m) * self.features
        return loss, {"loss": loss.detach()}


def dense(batch: dict[str, Tensor], ours: StayReconstruction) -> dict[str, Tensor]:
    """The dense batch that the plain form reads, made beforehand."""
    hours = Sparse.of(batch, HOURS, ours.features).dense
    demographics = demographics_of(batch, ours.stay.demographics.first.in_features).dense
    return {
        "hours": hours.view(len(demographics), -1, ours.features),
        "demographics": demographics,
        SUBJECT_ID: batch[SUBJECT_ID],
    }
