"""MedHMP's classifiers on the three levels."""

import torch
from torch import Tensor, nn

from medhmp.batch import HAS_NOTE, ICD, NOTE_VECTOR, VISIT_OFFSETS
from medhmp.legend import Widths
from medhmp.model.admission import AdmissionEncoder
from medhmp.model.blocks import CodeMLP, FusionBlock
from medhmp.model.recurrence import run_dense
from medhmp.model.starts import ADMISSION_ENCODER, DIAGNOSES, STAY_ENCODER
from medhmp.model.stay import StayEncoder
from medhmp.model.visits import VisitGrid
from medhmp.run import Model


class StayClassifier(nn.Module):
    """Stays: b -> dropout -> one logit."""

    taken = STAY_ENCODER

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.stay = StayEncoder(widths, model)
        self.dropout = nn.Dropout(model.head_dropout)
        self.head = nn.Linear(model.width, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        logits: Tensor = self.head(self.dropout(self.stay(batch)))
        return logits.squeeze(1)


class NotedStayClassifier(nn.Module):
    """Stays with the note of their admission: <b, l> -> Eq. 7's block -> dropout -> one logit.

    l is a linear map of the frozen vector of the note; a stay without a note is b alone.
    """

    taken = STAY_ENCODER

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        R = model.width
        self.stay = StayEncoder(widths, model)
        self.note = nn.Linear(widths.note, R)
        self.fusion = FusionBlock(R)
        self.dropout = nn.Dropout(model.head_dropout)
        self.head = nn.Linear(R, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays with notes -> logits (B)."""
        tokens = torch.stack((self.stay(batch), self.note(batch[NOTE_VECTOR])), dim=1)
        has_note = batch[HAS_NOTE]
        present = torch.stack((torch.ones_like(has_note), has_note), dim=1)
        logits: Tensor = self.head(self.dropout(self.fusion(tokens, present)))
        return logits.squeeze(1)


class AdmissionClassifier(nn.Module):
    """Admissions: a -> dropout -> one logit."""

    taken = ADMISSION_ENCODER

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.admission = AdmissionEncoder(widths, model)
        self.dropout = nn.Dropout(model.head_dropout)
        self.head = nn.Linear(model.width, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of admissions -> logits (B)."""
        logits: Tensor = self.head(self.dropout(self.admission(batch)))
        return logits.squeeze(1)


class PatientLSTM(nn.Module):
    """Patients: diagnoses of each visit -> MLP_c -> two-layer LSTM -> max over visits -> one logit.

    The authors' head has two logits and a softmax. The logit here is their difference, which gives
    the same probability.
    """

    taken = DIAGNOSES

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        R = model.width
        self.diagnoses = CodeMLP(widths.diagnoses, R)
        self.lstm = nn.LSTM(R, R, num_layers=2, batch_first=True)
        self.dropout = nn.Dropout(model.head_dropout)
        self.head = nn.Linear(R, 1)

    def represent(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of patients -> (B, R); zeros for a patient without visits."""
        grid = VisitGrid(batch[VISIT_OFFSETS])
        visits = grid.place(self.diagnoses(batch[ICD.ids], batch[ICD.offsets]))  # (B, N, R)
        # Padding comes after the visits, so it changes none of their states; the max ignores it.
        hidden, _ = run_dense(self.lstm, visits)
        pooled = hidden.masked_fill(~grid.valid.unsqueeze(2), -torch.inf).amax(1)
        return torch.where(grid.valid.any(1, keepdim=True), pooled, 0)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of patients -> logits (B)."""
        logits: Tensor = self.head(self.dropout(self.represent(batch)))
        return logits.squeeze(1)
