"""F-LSTM (Tang et al. 2020), the recurrent model of the FIDDLE experiments."""

import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.recurrence import run_gates
from medhmp.model.sparse import bag_linear
from medhmp.model.stay import demographics_of, hours_of
from medhmp.run import Model


class FLSTM(nn.Module):
    """Hourly features with the demographics repeated each hour -> LSTM -> two linear layers.

    The input of the LSTM is [features; demographics], whose products are computed sparsely.
    Widths are the defaults of the authors' class, whatever the run's ``model`` section says; its
    dropout is 0 by default and left out.
    """

    def __init__(
        self, widths: Widths, model: Model, hidden: int = 64, layers: int = 1, neurons: int = 64
    ) -> None:
        super().__init__()
        self.hours, self.features = widths.hours, widths.features
        inputs = widths.features + widths.demographics
        self.lstm = nn.LSTM(inputs, hidden, num_layers=layers, batch_first=True)
        self.first = nn.Linear(hidden, neurons)
        self.second = nn.Linear(neurons, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        T, H = self.hours, self.lstm.hidden_size
        weight_ih = self.lstm.all_weights[0][0].view(4, H, -1)  # (4, H, F + P)
        of_features, of_demographics = weight_ih.tensor_split((self.features,), -1)
        demographics = demographics_of(batch, of_demographics.shape[-1])
        gates = bag_linear(of_features, hours_of(batch, T, self.features)).view(4, T, -1, H)
        gates = gates + bag_linear(of_demographics, demographics).unsqueeze(1)  # (4, T, B, H)
        hidden, _ = run_gates(self.lstm, gates)  # (B, T, H)
        logits: Tensor = self.second(F.relu(self.first(hidden[:, -1])))
        return logits.squeeze(1)
