"""The admission level: encoder (Eqs. 4 to 7) and masked code prediction (Eqs. 8 and 9)."""

import math
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from medhmp.batch import CODES, DRUG, HAS_NOTE, ICD, NOTE_VECTOR, STAY_SLOT, SUBJECT_ID
from medhmp.legend import Widths
from medhmp.model.blocks import CodeMLP, FusionBlock
from medhmp.model.contrast import global_count, global_mean
from medhmp.model.sparse import Sparse, full_precision, row_of_entry
from medhmp.model.starts import STAY_ENCODER_OF_STAGE_ONE, Taken
from medhmp.model.stay import StayEncoder
from medhmp.run import Model

STAYS, DIAGNOSES, DRUGS, NOTE = range(4)
"""Index of s, c, g and l among the tokens of an admission."""
NOTE_PROJECTION: Final = "note.0.weight"
"""The weights (R, E) of an ``AdmissionEncoder`` whose width is the note encoder's."""


class AdmissionEncoder(nn.Module):
    """The stays, codes and note of an admission -> a (Eqs. 4 to 7).

    A missing modality is masked out of the fusion.
    """

    taken: Taken = STAY_ENCODER_OF_STAGE_ONE

    def __init__(self, widths: Widths, model: Model, stay: nn.Module | None = None) -> None:
        """``stay`` gives b (S, R) of a batch of stays; none: the paper's encoder."""
        super().__init__()
        R = model.width
        self.max_stays = model.max_stays
        self.stay = StayEncoder(widths, model) if stay is None else stay
        self.aggregate = nn.Linear(model.max_stays * R, R)  # W_s and b_s of Eq. 4
        self.diagnoses = CodeMLP(widths.diagnoses, R)
        self.drugs = CodeMLP(widths.drugs, R)
        self.note = nn.Sequential(nn.Linear(widths.note, R), nn.LayerNorm(R), nn.ReLU())
        self.fusion = FusionBlock(R)

    def aggregate_stays(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Eq. 4: s (B, R), and a mask of the admissions that have a stay, (B) bool.

        The encoder sees the S real stays only; b is zero in the slots of absent ones.
        """
        b = self.stay(batch)  # (S, R)
        slot = batch[STAY_SLOT]
        slots = batch[HAS_NOTE].shape[0] * self.max_stays
        grid = b.new_zeros(slots, b.shape[1]).index_copy(0, slot, b)  # (B*M, R)
        filled = torch.zeros(slots, dtype=torch.bool, device=b.device).index_fill(0, slot, True)
        s: Tensor = self.aggregate(grid.view(-1, self.aggregate.in_features))
        return s, filled.view(-1, self.max_stays).any(1)

    def tokens(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The tokens <s, c, g, l> (B, 4, R) and a mask of those present, (B, 4) bool."""
        s, has_stay = self.aggregate_stays(batch)
        c = self.diagnoses(batch[ICD.ids], batch[ICD.offsets])
        g = self.drugs(batch[DRUG.ids], batch[DRUG.offsets])
        note = self.note(batch[NOTE_VECTOR])
        has_diagnosis, has_drug = (batch[keys.offsets].diff() > 0 for keys in CODES)
        present = torch.stack((has_stay, has_diagnosis, has_drug, batch[HAS_NOTE]), dim=1)
        return torch.stack((s, c, g, note), dim=1), present

    def mask_codes(
        self, tokens: Tensor, batch: dict[str, Tensor], masks: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Eq. 6: the tokens (B, 4, R) with c' and g', computed without the masked codes."""
        icd_masked, drug_masked = masks
        c = self.diagnoses(batch[ICD.ids], batch[ICD.offsets], kept=~icd_masked)
        g = self.drugs(batch[DRUG.ids], batch[DRUG.offsets], kept=~drug_masked)
        return torch.stack((tokens[:, STAYS], c, g, tokens[:, NOTE]), dim=1)

    def leave_one_out(self, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """a without c, without g, without l (B, 3, R), and a mask of those with a token, (B, 3)."""
        left = present.repeat(3, 1, 1)  # (3, B, 4)
        for without, modality in enumerate((DIAGNOSES, DRUGS, NOTE)):
            left[without, :, modality] = False
        fused: Tensor = self.fusion(tokens, left)  # (3, B, R)
        return fused.transpose(0, 1), left.any(-1).t()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of admissions -> a (B, R), Eq. 7."""
        a: Tensor = self.fusion(*self.tokens(batch))
        return a


Salts = tuple[int, int]


def draw_salts(generator: torch.Generator) -> Salts:
    """Draws the salts that decide one step's masks of diagnoses and of drugs."""
    icd, drug = torch.randint(2**62, (2,), generator=generator).tolist()
    return icd, drug


def masks_of(batch: dict[str, Tensor], rate: float, salts: Salts) -> tuple[Tensor, Tensor]:
    """Masks of diagnoses and of drugs: two (nnz) bool, true where a code is masked.

    Each code is masked with probability ``rate``, by a hash of the patient, the code and the salt.
    The masks therefore depend neither on the device nor on how a batch is dealt to processes or cut
    into chunks. Admissions of one patient in one batch share the draws of the codes they share.
    """
    masks = []
    for keys, salt in zip(CODES, salts, strict=True):
        ids = batch[keys.ids]
        row = row_of_entry(batch[keys.offsets], ids.numel())
        patient = _scramble(batch[SUBJECT_ID] ^ salt)
        masks.append((_scramble(patient[row] + ids) & 0x7FFFFFFF) < int(rate * 2**31))
    return masks[0], masks[1]


def _scramble(x: Tensor) -> Tensor:
    """The finalizer of SplitMix64 (Steele et al. 2014), a hash of 64-bit integers."""
    # int64 wraps around, and its right shift copies the sign, which the masks clear.
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * (0x94D049BB133111EB - 2**64)
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


class MaskedCodePrediction(nn.Module):
    """MLP_mc and MLP_mg of Eq. 8 (one linear layer each) and L_MCP of Eq. 9.

    Predictions begin at ``code_prior`` (Lin et al. 2017, Sec. 4.1), as an admission has few of all
    codes. If they began at one half, the first steps would lower every code of every admission by
    moving all admissions in one direction. Of the directions that stage one taught the stay
    encoder, one in ten was left then.
    """

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        self.reduction: Literal["mean", "sum"] = model.mcp_reduction
        self.diagnoses = nn.Linear(model.width, widths.diagnoses)
        self.drugs = nn.Linear(model.width, widths.drugs)
        if (prior := model.code_prior) is not None:
            for layer in (self.diagnoses, self.drugs):
                nn.init.constant_(layer.bias, math.log(prior / (1 - prior)))

    def forward(
        self,
        a: Tensor,
        batch: dict[str, Tensor],
        masks: tuple[Tensor, Tensor],
        coded: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """L_MCP, the terms of diagnoses and drugs added: a scalar, this process's share.

        Each term is a mean over the admissions that have such codes. Over the vocabulary it is a
        sum, as printed, or with ``mcp_reduction`` mean a mean.

        Args:
            a: (B, R), fused without the masked codes.
            batch: the admissions.
            masks: of their diagnoses and drugs, (nnz) bool each.
            coded: ``count_coded`` of the whole batch, if these are a chunk of it; none: of these.
        """
        coded = count_coded(batch) if coded is None else coded
        terms = []
        for keys, layer, masked, count in zip(
            CODES, (self.diagnoses, self.drugs), masks, coded, strict=True
        ):
            target = Sparse.of(batch, keys, layer.out_features)
            error = squared_error_of_sets(layer(a), target, masked)  # (B)
            if self.reduction == "mean":
                error = error / layer.out_features
            terms.append(global_mean(error, target.offsets.diff() > 0, count))
        return terms[0] + terms[1]


def count_coded(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Numbers of admissions, of all processes together, that have a diagnosis and a drug."""
    icd, drug = (batch[keys.offsets].diff() > 0 for keys in CODES)
    return global_count(icd), global_count(drug)


class _SquaredErrorOfSets(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Sparse, values: Tensor) -> Tensor:
        p = logits.sigmoid()
        ctx.target, ctx.values = target, values
        ctx.save_for_backward(p)
        at_entries = ctx.values * (1 - 2 * p[target.row, target.ids])
        return p.square().sum(1).index_add_(0, target.row, at_entries)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (p,), row = ctx.saved_tensors, ctx.target.row
        by_p = p * (2 * grad).unsqueeze(1)
        entries = row * p.shape[1] + ctx.target.ids
        by_p.view(-1).index_add_(0, entries, -2 * grad[row] * ctx.values)
        torch.ops.aten.sigmoid_backward.grad_input(by_p, p, grad_input=by_p)
        return by_p, None, None


def squared_error_of_sets(logits: Tensor, target: Sparse, chosen: Tensor) -> Tensor:
    """Squared error of sigmoid(logits) (B, V) summed over V, without an array for the target.

    Args:
        logits: (B, V).
        target: (B, V), no entry twice.
        chosen: (nnz) bool, true for the entries that are ones; all else is zero.

    Returns:
        (B), float32 under autocast too.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    values = chosen.to(logits.dtype)
    with full_precision(logits):
        error: Tensor = _SquaredErrorOfSets.apply(logits, target, values)  # type: ignore[no-untyped-call]
    return error
