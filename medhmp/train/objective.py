"""Objectives: a model with its loss. The training loop knows nothing else.

``forward(batch)`` returns the scalar to differentiate and detached scalars to report. Under
DistributedDataParallel both are this process's share: the average over processes is the value of
the whole batch, in loss and in gradient.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.batch import LABEL, STATISTICS, SUBJECT_ID
from medhmp.batch import TARGETS as TARGETS_KEY
from medhmp.layout import TARGETS
from medhmp.legend import Level, Widths
from medhmp.model.admission import (
    DIAGNOSES,
    AdmissionEncoder,
    MaskedCodePrediction,
    Salts,
    draw_salts,
    masks_of,
)
from medhmp.model.catalog import MODELS
from medhmp.model.contrast import contrastive_loss
from medhmp.model.masked_readings import ReadingsDecoder, hide
from medhmp.model.medhmp_s import NumberAdmissionEncoder, ReadingsEncoder, carried
from medhmp.model.stay import StayDecoder, StayEncoder
from medhmp.run import Model, Run, fields_of

LossTerms = tuple[Tensor, dict[str, Tensor]]
"""The loss, and scalars to report: the loss and its terms."""

STAGE_TWO_ALONE: Final = (
    "mask_rate",
    "temperature",
    "code_weight",
    "contrast_weight",
    "mcp_reduction",
    "nce_denominator",
    "code_prior",
)
"""Fields of ``Model`` that only stage two reads."""


class StayReconstruction(nn.Module):
    """Stage one, Eqs. 1 to 3: encode a stay, decode it, compare."""

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.features = widths.features
        self.stay = StayEncoder(widths, model)
        self.decoder = StayDecoder(widths, model)

    def forward(self, batch: dict[str, Tensor]) -> LossTerms:
        """A batch of stays -> L_stay; reports ``loss`` and ``per_feature``, the loss over F."""
        hours = self.stay.hours_of(batch)
        loss = self.decoder.squared_error(self.stay(batch, hours), hours) / hours.rows
        return loss, {"loss": loss.detach(), "per_feature": loss.detach() / self.features}


class NumberReconstruction(nn.Module):
    """Stage one of MedHMP-S: hide readings of a stay, say them and what the stay is like.

    What is hidden comes from PyTorch's own generator, as dropout does: it differs between ranks and
    between chunks. The encoder drops nothing else.
    """

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.readings = ReadingsEncoder(widths, model, dropout=0)
        self.decoder = ReadingsDecoder(widths, model.width)

    def forward(self, batch: dict[str, Tensor]) -> LossTerms:
        """A batch of stays -> the sum of the errors; reports ``loss`` and each error."""
        values, observed = self.readings.grid_of(batch)
        hidden = hide(observed)
        shown = observed & ~hidden
        states, readout = self.readings(carried(values * shown, shown))
        errors = self.decoder(states, readout, (values, observed), hidden, batch[STATISTICS])
        loss = torch.stack([*errors.values()]).sum()
        return loss, {"loss": loss.detach()} | {name: e.detach() for name, e in errors.items()}


@dataclass(frozen=True)
class Pairs:
    """Inputs of the contrast, of B admissions and K modalities."""

    queries: Tensor  # (B, K, R) the modality embeddings
    keys: Tensor  # (B, K, R) the admission without that modality
    has_query: Tensor  # (B, K) bool
    has_key: Tensor  # (B, K) bool
    subject_id: Tensor  # (B)


@dataclass(frozen=True)
class Whole:
    """Facts about the whole batch that the loss of one of its chunks needs."""

    salts: Salts  # of the masks
    coded: tuple[Tensor, Tensor]  # admissions with a diagnosis and with a drug, of all processes
    by_queries: Tensor  # (B, K, R) gradient of L with respect to the queries of the chunk
    by_keys: Tensor  # (B, K, R) and with respect to its keys


class AdmissionPretraining(nn.Module):
    """Stage two, Eq. 11: masked code prediction and inter-modality contrast.

    With ``numbers`` the stays are read as MedHMP-S reads them.

    Masks come from the generator ``masks`` alone, which must be in the same state on all processes.
    PyTorch's own generator would not be: dropout draws from it once per stay.
    """

    def __init__(self, widths: Widths, model: Model, numbers: bool = False) -> None:
        super().__init__()
        self.settings = model
        self.masks = torch.Generator()
        encoder = NumberAdmissionEncoder if numbers else AdmissionEncoder
        self.admission = encoder(widths, model)
        self.masked_codes = MaskedCodePrediction(widths, model)

    def forward(self, batch: dict[str, Tensor], whole: Whole | None = None) -> LossTerms:
        """A batch of admissions -> L; reports ``loss``, ``masked_codes`` and ``contrast``.

        With ``whole`` the batch is a chunk of another: the gradient of the scalar is the chunk's
        part of L's gradient, and of the scalars reported only ``masked_codes`` is a part of L's.
        """
        tokens, present = self.admission.tokens(batch)
        salts = draw_salts(self.masks) if whole is None else whole.salts
        masks = masks_of(batch, self.settings.mask_rate, salts)
        masked = self.admission.fusion(self.admission.mask_codes(tokens, batch, masks), present)
        codes = self.masked_codes(masked, batch, masks, whole.coded if whole else None)
        pairs = self.pairs(tokens, present, batch[SUBJECT_ID])
        if whole is None:
            contrast = self.contrast(pairs)
        else:
            contrast = (pairs.queries * whole.by_queries + pairs.keys * whole.by_keys).sum()
        return self.total(codes, contrast)

    def pairs(self, tokens: Tensor, present: Tensor, subject_id: Tensor) -> Pairs:
        """Inputs of the contrast, from tokens (B, 4, R) of which some are ``present`` (B, 4)."""
        rest, has_rest = self.admission.leave_one_out(tokens, present)
        return Pairs(tokens[:, DIAGNOSES:], rest, present[:, DIAGNOSES:], has_rest, subject_id)

    def contrast(self, pairs: Pairs) -> Tensor:
        """L_CL of Eq. 10, this process's share."""
        settings = self.settings
        return contrastive_loss(
            **vars(pairs), temperature=settings.temperature, denominator=settings.nce_denominator
        )

    def total(self, codes: Tensor, contrast: Tensor) -> LossTerms:
        """Eq. 11, with a weight for either term, and its terms to report."""
        loss = self.settings.code_weight * codes + self.settings.contrast_weight * contrast
        report = {"loss": loss, "masked_codes": codes, "contrast": contrast}
        return loss, {name: term.detach() for name, term in report.items()}


def seed_step(objective: nn.Module, seed: int, epoch: int, step: int, rank: int) -> None:
    """Seeds a step from (seed, epoch, step), so that a run resumes at any step without the state
    of a generator. Masks are the same on every rank; dropout differs.
    """
    if isinstance(objective, AdmissionPretraining):
        objective.masks.manual_seed(_drawn_from(seed, epoch, step))
    torch.manual_seed(_drawn_from(seed, epoch, step, rank))


def _drawn_from(*numbers: int) -> int:
    (seed,) = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return int(seed)


Reader = Literal["pretrain_stay", "pretrain_numbers", "pretrain_admission", "fit"]
"""What reads fields of ``Model``."""
UNREAD: Final[dict[Reader, tuple[str, ...]]] = {
    "pretrain_stay": ("max_stays", *STAGE_TWO_ALONE, "head_dropout"),
    "pretrain_numbers": (
        *("demographic_hidden", "encoder_layers", "max_stays", *STAGE_TWO_ALONE),
        *("head_dropout", "forget_gates"),
    ),
    "pretrain_admission": ("head_dropout",),
    "fit": STAGE_TWO_ALONE,
}
"""Fields of ``Model`` that an objective never reads: a change of them makes no output anew."""


def model_fields(run: Run, objective: Reader) -> dict[str, Any]:
    """Fields of ``Model`` for the stamp of what an objective trains."""
    fields = fields_of(run, "model")
    for name in UNREAD[objective]:
        del fields[f"model.{name}"]
    return fields


class Classification(nn.Module):
    """Cross-entropy of a classifier's logits against the ``label`` of a task."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> LossTerms:
        """A batch with labels -> mean cross-entropy, reported as ``loss``."""
        logits = self.model(batch)
        loss = F.binary_cross_entropy_with_logits(logits, batch[LABEL].to(logits.dtype))
        return loss, {"loss": loss.detach()}


AUXILIARY_WEIGHT: Final = 0.6
"""Of the mean error of auxiliary targets, beside the cross-entropy of the task."""
IS_EVENT: Final = tuple(name.startswith("death_") for name in TARGETS)
"""Which auxiliary targets are 0 or 1; the others are numbers."""


class MemberClassification(Classification):
    """Mean cross-entropy of a classifier's members, and of what they say of auxiliary targets.

    Heads of auxiliary targets read the members' hidden states. They are of this objective, not of
    the model: what is kept of a fit has none, and no row but a training row's needs a target.

    Args:
        model: has ``members``.
        width: R.
    """

    mean: Tensor  # (K) of the targets
    deviation: Tensor  # (K)

    def __init__(self, model: nn.Module, width: int) -> None:
        super().__init__(model)
        self.auxiliary = nn.Linear(width, len(TARGETS))
        self.register_buffer("mean", torch.zeros(len(TARGETS)))
        self.register_buffer("deviation", torch.ones(len(TARGETS)))

    def scale(self, targets: Tensor) -> None:
        """Takes mean and standard deviation of numbers from the targets (n, K) of training rows,
        NaN where unknown."""
        known = ~targets.isnan()
        count = known.sum(0).clamp(min=1)
        mean = targets.nan_to_num().sum(0) / count
        variance = ((targets - mean).nan_to_num().square()).sum(0) / count
        plain = torch.tensor(IS_EVENT) | (variance == 0)
        self.mean = torch.where(plain, 0, mean)
        self.deviation = torch.where(plain, 1, variance.sqrt())

    def forward(self, batch: dict[str, Tensor]) -> LossTerms:
        """A batch with labels -> the loss; reports ``loss`` and its terms."""
        members: Any = self.model.members
        hidden, logits = members(batch)  # (B, members, R), (B, members)
        label = batch[LABEL].to(logits.dtype).unsqueeze(1).expand_as(logits)
        loss = task = F.binary_cross_entropy_with_logits(logits, label)
        report = {"task": task.detach()}
        if TARGETS_KEY in batch:
            auxiliary = self.auxiliary_error(hidden, batch[TARGETS_KEY])
            loss = task + AUXILIARY_WEIGHT * auxiliary
            report["auxiliary"] = auxiliary.detach()
        return loss, {"loss": loss.detach(), **report}

    def auxiliary_error(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean over rows, members and targets; an unknown target has no error.

        Squared error of standardised numbers, cross-entropy of events.
        """
        said = self.auxiliary(hidden)  # (B, members, K)
        wanted = ((targets - self.mean) / self.deviation).unsqueeze(1).expand_as(said)
        known, wanted = ~wanted.isnan(), wanted.nan_to_num()
        is_event = torch.tensor(IS_EVENT, device=said.device)
        of_event = F.binary_cross_entropy_with_logits(said, wanted.clamp(0, 1), reduction="none")
        error = torch.where(is_event, of_event, (said - wanted).square())
        return (error * known).mean()


def build_stay_pretraining(model: Model, widths: Widths) -> StayReconstruction:
    """Builds stage one with fresh weights."""
    return StayReconstruction(widths, model)


def build_number_pretraining(model: Model, widths: Widths) -> NumberReconstruction:
    """Builds stage one of MedHMP-S with fresh weights."""
    return NumberReconstruction(widths, model)


def build_admission_pretraining(
    model: Model, widths: Widths, numbers: bool = False
) -> AdmissionPretraining:
    """Builds stage two with fresh weights. ``load_start(objective.admission, tensors)`` then copies
    those of stage one. ``numbers``: of MedHMP-S."""
    return AdmissionPretraining(widths, model, numbers)


def build_classifier(
    level: Level, name: str, model: Model, widths: Widths, **more: Any
) -> Classification:
    """Builds a network of the catalog for a level that it has, with fresh weights.

    ``more`` goes to the network's builder.
    """
    network = MODELS[name].builder(level)(widths, model, **more)
    if MODELS[name].reads_numbers:
        return MemberClassification(network, model.width)
    return Classification(network)
