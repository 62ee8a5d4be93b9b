"""A frozen encoder beside counts or statistics: ours, not the paper's.

With some hundred labelled rows fine-tuning moves an encoder by noise. Here it stays as pretraining
left it. Its embedding of a row becomes further columns beside the counts or, of an encoder of
numbers, the statistics, on which both floors are fitted: ridge logistic regression and gradient
boosting. The probability is that of the mean of their two logits; no weight is fitted. Without a
start there is no embedding, and what remains is the same blend of both floors, so that the
difference is pretraining's own share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from medhmp.arrays import Floats, Floats32
from medhmp.batch import ICD, VISIT_OFFSETS
from medhmp.legend import Widths
from medhmp.model.admission import AdmissionEncoder
from medhmp.model.baselines.hist_gradient_boosting import fit_trees
from medhmp.model.baselines.hist_gradient_boosting_statistics import fit_trees_statistics
from medhmp.model.baselines.logistic_regression import fit_logistic_regression
from medhmp.model.baselines.logistic_regression_statistics import (
    fit_logistic_regression_statistics,
)
from medhmp.model.blocks import CodeMLP
from medhmp.model.medhmp_s import NumberAdmissionEncoder, ReadingsEncoder, carried, pooled
from medhmp.model.starts import (
    ADMISSION_ENCODER,
    DIAGNOSES,
    NUMBER_ADMISSION_ENCODER,
    READINGS_ENCODER,
    STAY_ENCODER,
)
from medhmp.model.stay import StayEncoder
from medhmp.model.table import Table
from medhmp.model.visits import VisitGrid
from medhmp.run import Model

SHALLOW: Final = 4
"""Leaves of a tree on statistics."""
RATE: Final = 0.1
"""Shrinks each tree on counts: half as many as at the floor's lower rate."""


class StayEmbedding(nn.Module):
    """Stays -> b (B, R), Eq. 2."""

    taken = STAY_ENCODER

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.stay = StayEncoder(widths, model)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> (B, R)."""
        b: Tensor = self.stay(batch)
        return b


class AdmissionEmbedding(nn.Module):
    """Admissions -> a of Eq. 7 and the tokens <s, c, g, l> that it fuses."""

    taken = ADMISSION_ENCODER

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.admission = AdmissionEncoder(widths, model)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of admissions -> (B, 5R); zeros for an absent token."""
        tokens, present = self.admission.tokens(batch)
        a = self.admission.fusion(tokens, present)
        shown = tokens.masked_fill(~present.unsqueeze(2), 0)
        return torch.cat((a, shown.flatten(1)), dim=1)


class NumberStayEmbedding(nn.Module):
    """Stays -> last, largest and mean state of the hours, as MedHMP-S pools them."""

    taken = READINGS_ENCODER

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.readings = ReadingsEncoder(widths, model)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> (B, 3R)."""
        states, _ = self.readings(carried(*self.readings.grid_of(batch)))
        return pooled(states)


class NumberAdmissionEmbedding(AdmissionEmbedding):
    """The same of admissions whose stays are read as numbers."""

    taken = NUMBER_ADMISSION_ENCODER

    def __init__(self, widths: Widths, model: Model) -> None:
        nn.Module.__init__(self)
        self.admission = NumberAdmissionEncoder(widths, model)


class PatientEmbedding(nn.Module):
    """Patients -> mean and maximum over visits of c = MLP_c of a visit's diagnoses."""

    taken = DIAGNOSES

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.diagnoses = CodeMLP(widths.diagnoses, model.width)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of patients -> (B, 2R); zeros for a patient without visits."""
        grid = VisitGrid(batch[VISIT_OFFSETS])
        visits = grid.place(self.diagnoses(batch[ICD.ids], batch[ICD.offsets]))  # (B, N, R)
        # c is never negative, and padding is zero: it changes neither the sum nor the maximum.
        mean = visits.sum(1) / grid.valid.sum(1, keepdim=True).clamp(min=1)
        return torch.cat((mean, visits.amax(1)), dim=1)


@dataclass(frozen=True)
class MeanLogit:
    """Fitted classifiers whose logits are averaged with equal weights."""

    parts: list[Any]  # each has ``predict_proba``

    def predict_proba(self, features: Floats32) -> Floats:
        """Probabilities (n, 2) of both classes."""
        score = mean_logit([part.predict_proba(features)[:, 1] for part in self.parts])
        return np.stack((1 - score, score), axis=1)


def mean_logit(scores: Sequence[npt.NDArray[np.floating[Any]]]) -> Floats:
    """The probabilities (n) whose logits are the means of those of ``scores``, each (n)."""
    clipped = np.clip(np.asarray(scores, np.float64), 1e-7, 1 - 1e-7)
    logits = np.mean(np.log(clipped) - np.log1p(-clipped), axis=0)
    return np.asarray(1 / (1 + np.exp(-logits)))


def fit_frozen_statistics(train: Table, validation: Table, seed: int) -> MeanLogit:
    """Fits both floors on statistics as ``fit_frozen`` does on counts; the trees are shallow.

    Args:
        train: statistics are the first of its ``blocks``, the embedding is the last.
        validation: not used.
        seed: of both fits.
    """
    linear = fit_logistic_regression_statistics(train, validation, seed)
    trees = fit_trees_statistics(train, validation, seed, max_leaf_nodes=SHALLOW)
    return MeanLogit([linear, trees])


def fit_frozen(train: Table, validation: Table, seed: int) -> MeanLogit:
    """Fits both floors on counts and, with a start, the columns of the embedding after them.

    Args:
        train: the embedding is the last of its ``blocks``.
        validation: stops the trees.
        seed: of both fits.
    """
    linear = fit_logistic_regression(train, validation, seed)
    trees = fit_trees(train, validation, seed, learning_rate=RATE)
    return MeanLogit([linear, trees])
