"""F-LSTM (Tang et al. 2020), the recurrent model of the FIDDLE experiments."""

import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.blocks import bag_linear
from medhmp.model.recurrence import input_weight, run_lstm


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
        weight = input_weight(self.lstm)  # (4H, F + P)
        hourly = bag_linear(
            weight[:, : self.features],
            batch["feature_ids"],
            batch["hour_offsets"],
            batch.get("feature_values"),
        )
        constant = bag_linear(
            weight[:, self.features :],
            batch["demographic_ids"],
            batch["demographic_offsets"],
            batch.get("demographic_values"),
        )
        projected = hourly.view(-1, self.hours, weight.shape[0]) + constant.unsqueeze(1)
        hidden, _ = run_lstm(self.lstm, projected)  # (B, T, H)
        logits: Tensor = self.second(F.relu(self.first(hidden[:, -1])))
        return logits.squeeze(1)
