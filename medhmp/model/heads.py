"""MedHMP's classifiers on the three levels, and the transfer of pretrained weights to them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medhmp.batch import ICD, VISIT_OFFSETS
from medhmp.legend import Widths
from medhmp.model.admission import NOTE_PROJECTION, AdmissionEncoder
from medhmp.model.blocks import CodeMLP
from medhmp.model.recurrence import run_dense
from medhmp.model.sparse import row_of_entry
from medhmp.model.stay import StayEncoder
from medhmp.refusal import Refusal
from medhmp.run import Model


class StayClassifier(nn.Module):
    """Stays: b -> dropout -> one logit."""

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.stay = StayEncoder(widths, model)
        self.dropout = nn.Dropout(model.head_dropout)
        self.head = nn.Linear(model.width, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        logits: Tensor = self.head(self.dropout(self.stay(batch)))
        return logits.squeeze(1)


class AdmissionClassifier(nn.Module):
    """Admissions: a -> dropout -> one logit."""

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

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        R = model.width
        self.diagnoses = CodeMLP(widths.diagnoses, R)
        self.lstm = nn.LSTM(R, R, num_layers=2, batch_first=True)
        self.dropout = nn.Dropout(model.head_dropout)
        self.head = nn.Linear(R, 1)

    def represent(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of patients -> (B, R); zeros for a patient without visits."""
        visits = self.diagnoses(batch[ICD.ids], batch[ICD.offsets])  # (V, R)
        offsets = batch[VISIT_OFFSETS]
        counts = offsets.diff()  # (B)
        B, N = counts.numel(), max(1, int(counts.max()))
        row = row_of_entry(offsets, visits.shape[0])
        slot = torch.arange(visits.shape[0], device=offsets.device) - offsets[row] + row * N
        grid = visits.new_zeros(B * N, visits.shape[1]).index_copy(0, slot, visits)
        # Padding comes after the visits, so it changes none of their states; the max ignores it.
        hidden, _ = run_dense(self.lstm, grid.view(B, N, -1))
        valid = torch.arange(N, device=offsets.device) < counts.unsqueeze(1)  # (B, N)
        pooled = hidden.masked_fill(~valid.unsqueeze(2), -torch.inf).amax(1)
        return torch.where(valid.any(1, keepdim=True), pooled, 0)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of patients -> logits (B)."""
        logits: Tensor = self.head(self.dropout(self.represent(batch)))
        return logits.squeeze(1)


def load_start(model: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Copies pretrained weights into a model, whole sub-modules at a time.

    From stage one, stay and admission tasks take the stay encoder; a patient task takes nothing.
    From stage two, a stay task takes the stay encoder, an admission task the admission encoder, a
    patient task MLP_c. Heads and predictors keep their fresh weights.

    Args:
        model: a classifier of this file, or the ``AdmissionEncoder`` of stage two.
        tensors: the state of the ``StayReconstruction`` (stage one) or ``AdmissionPretraining``
            (stage two) objective.

    Returns:
        The names of the model's tensors that arrived.

    Raises:
        Refusal: the tensors do not fit the model. Nothing has been copied then.
    """
    from_stage_two = any(name.startswith("admission.") for name in tensors)
    match model:
        case PatientLSTM():
            return (
                _copy(tensors, "admission.diagnoses.", model, "diagnoses") if from_stage_two else []
            )
        case StayClassifier():
            return _copy(tensors, "admission.stay." if from_stage_two else "stay.", model, "stay")
        case AdmissionClassifier() if from_stage_two:
            return _copy(tensors, "admission.", model, "admission")
        case AdmissionClassifier():
            return _copy(tensors, "stay.", model, "admission.stay")
        case AdmissionEncoder() if not from_stage_two:
            return _copy(tensors, "stay.", model, "stay")
    raise Refusal(
        f"{type(model).__name__} cannot start from stage {'two' if from_stage_two else 'one'}; "
        "use start none, or weights of another stage"
    )


def _copy(tensors: Mapping[str, Tensor], prefix: str, model: nn.Module, target: str) -> list[str]:
    """Copies ``prefix*`` into the sub-module ``target``, strictly."""
    part = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
    module = model.get_submodule(target)
    _check_fit(part, module.state_dict(), prefix)
    module.load_state_dict(part, strict=True)
    return [f"{target}.{name}" for name in part]


def _check_fit(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], prefix: str) -> None:
    if theirs.keys() != ours.keys():
        name = min(theirs.keys() ^ ours.keys())
        where = "this run's model" if name in ours else "the checkpoint"
        raise Refusal(
            f"only {where} has the tensor {prefix}{name}; give a checkpoint of pretraining with "
            "this run's model.encoder_layers, or pretrain again"
        )
    # LayerNorm weights have shape (R): they tell another width from another vocabulary.
    for name in sorted(ours, key=lambda name: not name.endswith("norm.weight")):
        if theirs[name].shape == ours[name].shape:
            continue
        if name.endswith("norm.weight"):
            raise Refusal(
                f"the checkpoint has width {len(theirs[name])} and this run's model.width is "
                f"{len(ours[name])}; give --model.width {len(theirs[name])} or pretrain again"
            )
        if name == NOTE_PROJECTION:
            raise Refusal(
                f"the checkpoint reads vectors of notes {theirs[name].shape[1]} wide and this "
                f"run's are {ours[name].shape[1]}; embed with the --notes.model that it was "
                "trained on, or pretrain again"
            )
        raise Refusal(
            f"the checkpoint's {prefix}{name} is {tuple(theirs[name].shape)} and this run's is "
            f"{tuple(ours[name].shape)}; use the shards that it was trained on, or pretrain again"
        )
