"""The stay level: encoder (Eqs. 1 and 2), decoder, and the reconstruction loss (Eq. 3)."""

import math

import torch
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.blocks import DemographicMLP, FusionBlock, bag_linear
from medhmp.model.recurrence import input_weight, recurrence, remember, run_lstm
from medhmp.run import Model

AUTHORS_DROPOUT = 0.1
"""Between the two LSTMs of the three-layer encoder, as the authors ran it."""


class StayEncoder(nn.Module):
    """One ICU stay and its demographics -> b (Eqs. 1 and 2).

    ``encoder_layers`` 1 is Eq. 1. 3 is what the authors ran: an LSTM, dropout, LayerNorm and a
    two-layer LSTM, whose top cell state is the representation.
    """

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        R = model.width
        self.hours = widths.hours
        self.lstm = nn.LSTM(widths.features, R, batch_first=True)
        remember(self.lstm, widths.hours)
        self.between: nn.Sequential | None = None
        if model.encoder_layers == 3:
            self.between = nn.Sequential(nn.Dropout(AUTHORS_DROPOUT), nn.LayerNorm(R))
            self.upper = nn.LSTM(R, R, num_layers=2, batch_first=True)
            remember(self.upper, widths.hours)
        self.demographics = DemographicMLP(widths.demographics, model.demographic_hidden, R)
        self.fusion = FusionBlock(R)

    def encode(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Eq. 1 for a batch of stays: hidden states (S, T, R) and the last cell state h (S, R)."""
        weight = input_weight(self.lstm)
        projected = bag_linear(
            weight, batch["feature_ids"], batch["hour_offsets"], batch.get("feature_values")
        )
        projected = projected.view(-1, self.hours, weight.shape[0])  # (S, T, 4R)
        sequence, cell = run_lstm(self.lstm, projected)
        if self.between is None:
            return sequence, cell
        return run_lstm(self.upper, self.between(sequence) @ input_weight(self.upper).t())

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> b (S, R), Eq. 2."""
        _, h = self.encode(batch)
        d = self.demographics(
            batch["demographic_ids"],
            batch["demographic_offsets"],
            batch.get("demographic_values"),
        )
        b: Tensor = self.fusion(torch.stack((h, d), dim=1))
        return b


class StayDecoder(nn.Module):
    """LSTM_dec of Sec. 2.2.2: b is its initial hidden state, and nothing is fed to it.

    With zero inputs the input weights do nothing, so there are none.
    """

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        R = model.width
        self.hours = widths.hours
        self.weight_hh = nn.Parameter(torch.empty(4 * R, R))
        self.bias = nn.Parameter(torch.empty(4 * R))
        for parameter in (self.weight_hh, self.bias):
            nn.init.uniform_(parameter, -(R**-0.5), R**-0.5)  # as nn.LSTM
        # Forget gates open, or b, which comes in once, is gone two hours later.
        nn.init.constant_(self.bias[R : 2 * R], math.log(max(widths.hours - 1, 1)))
        self.output = nn.Linear(R, widths.features)

    def forward(self, b: Tensor) -> Tensor:
        """b (B, R) -> hidden states (B, T, R); ``output`` of them is the reconstruction m~."""
        gates = self.bias.expand(b.shape[0], self.hours, -1)
        hidden, _ = recurrence(gates, self.weight_hh, h_0=b)
        return hidden

    def squared_error(self, b: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """||m - m~||^2 of Eq. 3, summed over stays, hours and features: a scalar."""
        return sparse_squared_error(
            self(b).flatten(0, 1),
            self.output.weight,
            self.output.bias,
            batch["feature_ids"],
            batch["hour_offsets"],
            batch.get("feature_values"),
        )


def sparse_squared_error(
    h: Tensor, weight: Tensor, bias: Tensor, ids: Tensor, offsets: Tensor, values: Tensor | None
) -> Tensor:
    """||m - (W h + b)||^2 summed over rows, for sparse m, without an array of the size of m.

    Per row it is h'W'Wh + 2b'Wh + b'b - 2 sum_f m_f (w_f h + b_f) + sum_f m_f^2, the sums over the
    entries of m alone. Exact; the first term of all rows together is the inner product of the Gram
    matrices W'W and H'H.

    Args:
        h: (rows, R).
        weight: W (F, R).
        bias: b (F).
        ids: (nnz) columns of m, row after row.
        offsets: (rows + 1).
        values: (nnz) values of m; none: ones.

    Returns:
        A scalar.
    """
    quadratic = ((weight.t() @ weight) * (h.t() @ h)).sum()
    linear = 2 * (bias @ weight) @ h.sum(0) + h.shape[0] * (bias @ bias)
    at_entries = bag_linear(weight.t(), ids, offsets, values)  # (rows, R)
    column_sums = torch.bincount(ids, values, minlength=weight.shape[0]).to(bias.dtype)  # (F)
    crossed = (at_entries * h).sum() + bias @ column_sums
    norm = ids.numel() if values is None else values.square().sum()
    return quadratic + linear - 2 * crossed + norm
