"""F-LSTM (Tang et al. 2020), the recurrent model of the FIDDLE experiments."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.recurrence import run_dense, run_gates, runs_natively
from medhmp.model.sparse import Sparse, bag_linear
from medhmp.model.stay import demographics_of, hours_of
from medhmp.run import Model


class FLSTM(nn.Module):
    """Hourly features with the demographics repeated each hour -> LSTM -> two linear layers.

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
        self.fc1 = nn.Linear(hidden, neurons)
        self.fc2 = nn.Linear(neurons, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        hours = hours_of(batch, self.hours, self.features)
        demographics = demographics_of(batch, self.lstm.input_size - self.features)
        runs = self.run_dense if runs_natively(self.fc1.weight.device) else self.run_sparse
        logits: Tensor = self.fc2(F.relu(self.fc1(runs(hours, demographics)[:, -1])))
        return logits.squeeze(1)

    def run_dense(self, hours: Sparse, demographics: Sparse) -> Tensor:
        """Hidden states (B, T, H) by ``nn.LSTM``, of [features; demographics] made dense."""
        hourly = hours.dense.view(self.hours, -1, self.features).transpose(0, 1)  # (B, T, F)
        repeated = demographics.dense.unsqueeze(1).expand(-1, self.hours, -1)
        x = torch.cat((hourly, repeated), dim=2).to(self.fc1.weight.dtype)
        return run_dense(self.lstm, x)[0]

    def run_sparse(self, hours: Sparse, demographics: Sparse) -> Tensor:
        """The same, with the products of the inputs computed sparsely."""
        T, H = self.hours, self.lstm.hidden_size
        weight_ih = self.lstm.all_weights[0][0].view(4, H, -1)  # (4, H, F + P)
        of_features, of_demographics = weight_ih.tensor_split((self.features,), -1)
        gates = bag_linear(of_features, hours).view(4, T, -1, H)
        gates = gates + bag_linear(of_demographics, demographics).unsqueeze(1)  # (4, T, B, H)
        return run_gates(self.lstm, gates)[0]
