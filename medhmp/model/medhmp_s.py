"""MedHMP-S: numbers instead of bins in the stay, ours and not the paper's.

A stay is read as numbers: an LSTM over (value, observed, hours since), pooled over its hours, and a
token of the stay's statistics in piecewise-linear encoding (Gorishniy et al. 2022). Both are added
to the paper's d. The head has members that share their matrices (BatchEnsemble, Wen et al. 2020;
Gorishniy et al. 2025). While it is trained, whole variables are dropped, and heads of the objective
read auxiliary targets off the members (``train/objective.py``); the model that is kept has none.
"""

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.batch import NUMBERS, STATISTICS
from medhmp.legend import Widths
from medhmp.model.admission import AdmissionEncoder
from medhmp.model.blocks import DemographicMLP
from medhmp.model.recurrence import remember, run_dense
from medhmp.model.sparse import Sparse
from medhmp.model.starts import (
    NUMBER_ADMISSION_ENCODER,
    NUMBER_STAY_ENCODER,
    READINGS_OF_STAGE_ONE,
)
from medhmp.model.stay import demographics_of
from medhmp.refusal import Refusal
from medhmp.run import Model

MEMBERS: Final = 8
"""Members of the head."""
KNOTS: Final = 8
"""Pieces of the encoding of a statistic."""
VARIABLE_DROPOUT: Final = 0.3
"""Share of a stay's variables that a training step hides, readings and statistics alike."""
DROPOUT: Final = 0.3
"""Of pooled states, of the stay's vector and within the head."""


def grid_of(batch: dict[str, Tensor], hours: int, numbers: int) -> tuple[Tensor, Tensor]:
    """The readings of a batch of stays: values (S, T, U), zeros elsewhere, and which are (S, T, U)
    bool."""
    readings = Sparse.of(batch, NUMBERS, numbers)
    values = readings.dense.view(-1, hours, numbers)
    at = readings.row * numbers + readings.ids
    observed = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    return values, observed.index_fill(0, at, True).view_as(values)


def carried(values: Tensor, observed: Tensor) -> Tensor:
    """Channels of every hour: (S, T, 3U).

    Of each variable the last reading so far, zero before the first; whether the hour has one; and
    log(1 + hours since) over log(1 + T), one before the first.
    """
    _, T, _ = values.shape
    hour = torch.arange(T, device=values.device).view(1, T, 1)
    last = torch.where(observed, hour, -1).cummax(1).values
    seen = last >= 0
    value = values.gather(1, last.clamp(min=0)) * seen
    since = torch.log1p(torch.where(seen, hour - last, T).to(values.dtype)) / math.log1p(T)
    return torch.cat((value, observed.to(values.dtype), since), dim=2)


def piecewise(ranks: Tensor) -> Tensor:
    """Ranks u (S, Q) in [0, 1] -> (S, Q * (KNOTS + 1)).

    Of each statistic clip(u KNOTS - k, 0, 1), k = 0..KNOTS - 1, less its mean over uniform ranks,
    then whether there is none. A statistic that is missing has zeros, the mean, in the others.
    """
    missing = ranks.isnan()
    k = torch.arange(KNOTS, device=ranks.device)
    pieces = (ranks.nan_to_num().unsqueeze(2) * KNOTS - k).clamp(0, 1)
    pieces = pieces - (1 - (k + 0.5) / KNOTS)
    pieces = pieces.masked_fill(missing.unsqueeze(2), 0)
    return torch.cat((pieces, missing.unsqueeze(2).to(pieces.dtype)), dim=2).flatten(1)


def pooled(states: Tensor) -> Tensor:
    """The last, the largest and the mean of the hours' states (S, T, R): (S, 3R)."""
    return torch.cat((states[:, -1], states.amax(1), states.mean(1)), dim=1)


class ReadingsEncoder(nn.Module):
    """The readings of a stay -> states of its hours (S, T, R) and their pooled readout (S, R)."""

    def __init__(self, widths: Widths, model: Model, dropout: float = DROPOUT) -> None:
        super().__init__()
        if not widths.numbers:
            raise Refusal(
                "these shards have no numbers, which medhmp_s reads; featurize with "
                "--features.numbers"
            )
        R = model.width
        self.hours, self.numbers = widths.hours, widths.numbers
        self.lstm = nn.LSTM(3 * widths.numbers, R, batch_first=True)
        remember(self.lstm, widths.hours)
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(3 * R, R)

    def grid_of(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Values (S, T, U) of a batch of stays, and which are observed."""
        return grid_of(batch, self.hours, self.numbers)

    def forward(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """``carried`` channels (S, T, 3U) -> hidden states (S, T, R) and r (S, R)."""
        hidden, _ = run_dense(self.lstm, channels)
        return hidden, F.relu(self.readout(self.dropout(pooled(hidden))))


class NumberStayEncoder(nn.Module):
    """One ICU stay, its numbers, statistics and demographics -> b (S, R)."""

    owner: Tensor  # (Q) the variable of each statistic, U where of none

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        R = model.width
        self.readings = ReadingsEncoder(widths, model)
        self.statistics = nn.Linear(widths.statistics * (KNOTS + 1), R)
        self.demographics = DemographicMLP(widths.demographics, model.demographic_hidden, R)
        self.register_buffer("owner", torch.tensor(widths.statistic_of), persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> b (S, R), never negative."""
        channels = carried(*self.readings.grid_of(batch))
        encoded = piecewise(batch[STATISTICS])
        if self.training:
            channels, encoded = self._hide(channels, encoded)
        _, r = self.readings(channels)
        d = self.demographics(demographics_of(batch, self.demographics.first.in_features))
        return F.relu(r + F.relu(self.statistics(encoded)) + d)

    def _hide(self, channels: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Zeros what drawn variables tell, their readings and their statistics."""
        U = self.readings.numbers
        kept = torch.rand(len(channels), U + 1, device=channels.device) >= VARIABLE_DROPOUT
        kept[:, U] = True  # statistics of no single variable
        of_statistics = kept[:, self.owner].repeat_interleave(KNOTS + 1, dim=1)
        return channels * kept[:, :U].repeat(1, 3).unsqueeze(1), encoded * of_statistics


class Members(nn.Module):
    """A linear map shared by K members: W (r_k * x) * s_k + b_k.

    ``differ``: the members' input scales begin as random signs, not as ones; one layer that does so
    suffices to make members different.
    """

    def __init__(self, inputs: int, outputs: int, differ: bool = False) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        signs = torch.randint(0, 2, (MEMBERS, inputs)) * 2.0 - 1
        self.of_input = nn.Parameter(signs if differ else torch.ones(MEMBERS, inputs))
        self.of_output = nn.Parameter(torch.ones(MEMBERS, outputs))
        self.bias = nn.Parameter(torch.empty(MEMBERS, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 or K, inputs) -> (B, K, outputs)."""
        return F.linear(x * self.of_input, self.weight) * self.of_output + self.bias


class MemberHead(nn.Module):
    """(B, R) -> hidden states of the members (B, K, R), and their logits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(DROPOUT)
        self.first = Members(width, width, differ=True)
        self.last = Members(width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, R) -> hidden (B, K, R) and logits (B, K)."""
        hidden = self.dropout(F.relu(self.first(self.dropout(x).unsqueeze(1))))
        return hidden, self.last(hidden).squeeze(2)


class NumberAdmissionEncoder(AdmissionEncoder):
    """Eqs. 4 to 7 over stays that are read as numbers."""

    taken = READINGS_OF_STAGE_ONE

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__(widths, model, NumberStayEncoder(widths, model))


class NumberStayClassifier(nn.Module):
    """Stays: b -> members, the mean of whose logits is the logit."""

    taken = NUMBER_STAY_ENCODER

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.stay = NumberStayEncoder(widths, model)
        self.head = MemberHead(model.width)

    def members(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """A batch of stays -> hidden states (B, K, R) and logits (B, K) of the members."""
        hidden, logits = self.head(self.stay(batch))
        return hidden, logits

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        return self.members(batch)[1].mean(1)


class NumberAdmissionClassifier(nn.Module):
    """Admissions: a -> members, the mean of whose logits is the logit."""

    taken = NUMBER_ADMISSION_ENCODER

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.admission = NumberAdmissionEncoder(widths, model)
        self.head = MemberHead(model.width)

    def members(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """A batch of admissions -> hidden states (B, K, R) and logits (B, K) of the members."""
        hidden, logits = self.head(self.admission(batch))
        return hidden, logits

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of admissions -> logits (B)."""
        return self.members(batch)[1].mean(1)
