"""F-LSTM (Tang et al. 2020), the recurrent model of the FIDDLE experiments."""

import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.recurrence import first_layer, run_gates
from medhmp.model.sparse import bag_linear
from medhmp.model.stay import demographics_of, hours_of


class FLSTM(nn.Module):
    """Hourly features with the demographics repeated each hour -> LSTM -> two linear layers.

    The input of the first layer is [features; demographics], of which the sum is taken sparsely.
    Widths are the defaults of the authors' class; its dropout is 0 by default and left out.
    """

    def __init__(
        self, widths: Widths, hidden: int = 64, layers: int = 1, neurons: int = 64
    ) -> None:
        super().__init__()
        self.hours, self.features = widths.hours, widths.features
        inputs = widths.features + widths.demographics
        self.lstm = nn.LSTM(inputs, hidden, num_layers=layers, batch_first=True)
        self.first = nn.Linear(hidden, neurons)
        self.second = nn.Linear(neurons, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        weight, bias = first_layer(self.lstm)  # (4H, F + P) and (4H)
        hours = hours_of(batch, self.hours, self.features)
        constant = demographics_of(batch, weight.shape[1] - self.features)
        hourly = bag_linear(weight[:, : self.features], hours).view(self.hours, -1, bias.numel())
        gates = hourly + bag_linear(weight[:, self.features :], constant, bias)  # (T, B, 4H)
        hidden, _ = run_gates(self.lstm, gates.transpose(0, 1))  # (B, T, H)
        logits: Tensor = self.second(F.relu(self.first(hidden[:, -1])))
        return logits.squeeze(1)
