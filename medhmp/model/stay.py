"""The stay level: encoder (Eqs. 1 and 2), decoder, and the reconstruction loss (Eq. 3)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from medhmp.batch import DEMOGRAPHICS, HOURS
from medhmp.legend import Widths
from medhmp.model.blocks import DemographicMLP, FusionBlock
from medhmp.model.recurrence import remember, run_dense, run_sparse, run_unfed
from medhmp.model.sparse import Sparse, full_precision
from medhmp.run import Model

AUTHORS_DROPOUT = 0.1
"""Dropout between the two LSTMs of the three-layer encoder, as the authors ran it."""


def hours_of(batch: dict[str, Tensor], hours: int, features: int) -> Sparse:
    """Features of a batch of stays (T*S, F), hour after hour, in the order of a recurrence."""
    return Sparse.of(batch, HOURS, features).regrouped(hours)


def demographics_of(batch: dict[str, Tensor], demographics: int) -> Sparse:
    """Demographic features of a batch of stays (S, P)."""
    return Sparse.of(batch, DEMOGRAPHICS, demographics)


class HoursEncoder(nn.Module):
    """The hours of an ICU stay -> h (Eq. 1).

    ``encoder_layers`` 1 is Eq. 1. 3 is the encoder of the authors' code: an LSTM, dropout,
    LayerNorm and a two-layer LSTM, whose top cell state is the representation.
    """

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        R = model.width
        self.hours = widths.hours
        self.lstm = nn.LSTM(widths.features, R, batch_first=True)
        opened = model.forget_gates == "open"
        if opened:
            remember(self.lstm, widths.hours)
        self.between: nn.Sequential | None = None
        if model.encoder_layers == 3:
            self.between = nn.Sequential(nn.Dropout(AUTHORS_DROPOUT), nn.LayerNorm(R))
            self.upper = nn.LSTM(R, R, num_layers=2, batch_first=True)
            if opened:
                remember(self.upper, widths.hours)

    def hours_of(self, batch: dict[str, Tensor]) -> Sparse:
        """Features of a batch of stays (T*S, F)."""
        return hours_of(batch, self.hours, self.lstm.input_size)

    def encode(self, hours: Sparse) -> tuple[Tensor, Tensor]:
        """Eq. 1 for S stays: hidden states (S, T, R) and the last cell state h (S, R)."""
        sequence, cell = run_sparse(self.lstm, hours, self.hours)
        if self.between is None:
            return sequence, cell
        return run_dense(self.upper, self.between(sequence))


class StayEncoder(HoursEncoder):
    """One ICU stay and its demographics -> b (Eqs. 1 and 2)."""

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__(widths, model)
        R = model.width
        self.demographics = DemographicMLP(widths.demographics, model.demographic_hidden, R)
        self.fusion = FusionBlock(R)

    def forward(self, batch: dict[str, Tensor], hours: Sparse | None = None) -> Tensor:
        """A batch of stays -> b (S, R), Eq. 2. ``hours``: their features; none: of the batch."""
        _, h = self.encode(self.hours_of(batch) if hours is None else hours)
        d = self.demographics(demographics_of(batch, self.demographics.first.in_features))
        b: Tensor = self.fusion(torch.stack((h, d), dim=1))
        return b


class StayDecoder(nn.Module):
    """LSTM_dec of Sec. 2.2.2: an LSTM without inputs, whose initial hidden state is b.

    Input weights would be multiplied by zeros, so there are none.
    """

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        R = model.width
        self.hours = widths.hours
        self.weight_hh = nn.Parameter(torch.empty(4 * R, R))
        self.bias = nn.Parameter(torch.empty(4 * R))
        for parameter in (self.weight_hh, self.bias):
            nn.init.uniform_(parameter, -(R**-0.5), R**-0.5)  # as nn.LSTM
        if model.forget_gates == "open":  # b enters only once and would decay within two hours
            nn.init.constant_(self.bias[R : 2 * R], math.log(max(widths.hours - 1, 1)))
        self.output = nn.Linear(R, widths.features)

    def forward(self, b: Tensor) -> Tensor:
        """b (B, R) -> hidden states (B, T, R); ``output`` of them is the reconstruction m~."""
        return run_unfed(self.weight_hh, self.bias, b, self.hours)

    def squared_error(self, b: Tensor, hours: Sparse) -> Tensor:
        """||m - m~||^2 of Eq. 3, summed over stays, hours and features: a scalar."""
        hidden = self(b).transpose(0, 1).flatten(0, 1)  # (T*B, R)
        return sparse_squared_error(hidden, self.output.weight, self.output.bias, hours)


class _SquaredError(torch.autograd.Function):
    """With D = (H W' + b - M) W, half the gradient by H, and s the sum of the rows of H,

    ||M - H W' - b||^2 = <H, D> + b'W s - <M W, H> + n b'b - 2 b'(column sums of M) + ||M||^2.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, m: Sparse) -> Tensor:
        at_entries = m.times(weight)  # (rows, R)
        constant = bias @ weight
        half = torch.addmm(constant, h, weight.t() @ weight).sub_(at_entries)
        sums, columns = h.sum(0), m.column_sums.to(bias.dtype)
        norm = m.ids.numel() if m.values is None else m.values.square().sum()
        ctx.m = m
        ctx.save_for_backward(h, weight, bias, half, sums, columns)
        quadratic = (h * half.add(at_entries, alpha=-1)).sum()
        return quadratic + constant @ sums + h.shape[0] * (bias @ bias) - 2 * bias @ columns + norm

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        h, weight, bias, half, sums, columns = ctx.saved_tensors
        by_weight = torch.addmm(torch.outer(bias, sums), weight, h.t() @ h)
        by_weight -= ctx.m.transposed_times(h)
        by_bias = weight @ sums + h.shape[0] * bias - columns
        grad = 2 * grad
        return grad * half, grad * by_weight, grad * by_bias, None


def sparse_squared_error(h: Tensor, weight: Tensor, bias: Tensor, m: Sparse) -> Tensor:
    """||m - (W h + b)||^2 summed over rows, for sparse m, without an array of the size of m.

    Per row it is h'W'Wh + 2b'Wh + b'b - 2 sum_f m_f (w_f h + b_f) + sum_f m_f^2, the sums over the
    entries of m alone. Exact, also under autocast.

    Args:
        h: (rows, R).
        weight: W (F, R).
        bias: b (F).
        m: (rows, F).

    Returns:
        A scalar.
    """
    with full_precision(h):
        error: Tensor = _SquaredError.apply(h, weight, bias, m)  # type: ignore[no-untyped-call]
    return error
