"""The keys of a batch: what each tensor is called, and which of them belong together.

A batch is a ``dict[str, Tensor]``, sparse as the shards are (axis letters in ``legend.py``):

stays       ``HOURS``, a row per stay and hour (B*T), and ``DEMOGRAPHICS``, a row per stay (B);
            with ``features.numbers`` ``NUMBERS``, as ``HOURS``, and ``STATISTICS`` (B, Q), too
admissions  the same keys for the S stays of the batch, first ``model.max_stays`` of each admission;
            ``STAY_SLOT`` (S) in 0..B*M-1, the place of each in a (B, M) grid; ``ICD`` and ``DRUG``,
            a row per admission (B); ``NOTE_VECTOR`` (B, E) and ``HAS_NOTE`` (B) bool
patients    ``VISIT_OFFSETS`` (B + 1), which says where each patient's visits begin among the V of
            the batch; ``ICD``, a row per visit (V); ``VISIT_DAYS`` (V), from it to the last visit
notes       for a model that fine-tunes an encoder of notes ``TOKENS``, a row per text (B); for one
            that reads their vectors, stays have ``NOTE_VECTOR`` and ``HAS_NOTE``, too
all         ``SUBJECT_ID`` (B); for a task, ``LABEL`` (B) in {0, 1} as float32; for training rows of
            a model with auxiliary heads ``TARGETS`` (B, K), NaN where unknown

Offsets and ids are int64, masks bool, everything else float32. On the way to a GPU ids are as
narrow as they are stored; there they are widened. Lists of the Parquet shards have the names of
the keys that they become (``shards/schema.py``).
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class CsrKeys:
    """The keys of one sparse matrix in CSR form.

    Row i has its entries in the columns ``ids[offsets[i]:offsets[i + 1]]``. Each entry is its
    element of ``values``, or one where a batch has no such key.
    """

    offsets: str  # (rows + 1)
    ids: str  # (nnz)
    values: str  # (nnz)

    @property
    def entries(self) -> tuple[str, str]:
        """The keys with an element for each entry."""
        return self.ids, self.values


HOURS: Final = CsrKeys("hour_offsets", "feature_ids", "feature_values")
DEMOGRAPHICS: Final = CsrKeys("demographic_offsets", "demographic_ids", "demographic_values")
NUMBERS: Final = CsrKeys("number_offsets", "number_ids", "number_values")
"""The last number of each hour and numeric variable, in the variable's own column, as its
rank-Gaussian: the standard normal quantile of its rank among the training readings, within +-3.
Always with values."""
STATISTICS: Final = "statistics"
"""Statistics of a stay's numbers (``Manifest.numbers.statistics`` names them), each as its rank
among the training stays, from 0 to 1: linear between their quantiles; NaN where there is none."""
TARGETS: Final = "targets"
"""Auxiliary targets of training rows, in the order of ``layout.TARGETS``; never an input."""
ICD: Final = CsrKeys("icd_offsets", "icd_ids", "icd_values")
DRUG: Final = CsrKeys("drug_offsets", "drug_ids", "drug_values")
CODES: Final = (ICD, DRUG)
"""The codes of an admission; they never have values."""

TOKENS: Final[dict[str, CsrKeys]] = {
    family: CsrKeys(f"{family}_offsets", f"{family}_ids", f"{family}_values")
    for family in ("t5", "bert")
}
"""``legend.TextFamily`` -> the tokens of texts as its encoders cut them; they have no values."""

VISIT_OFFSETS: Final = "visit_offsets"
VISIT_DAYS: Final = "visit_days"
STAY_SLOT: Final = "stay_slot"
NOTE_VECTOR: Final = "note"
HAS_NOTE: Final = "has_note"
SUBJECT_ID: Final = "subject_id"
LABEL: Final = "label"
PER_ROW: Final[tuple[str, ...]] = (SUBJECT_ID, NOTE_VECTOR, HAS_NOTE, LABEL, TARGETS)
"""The keys with an element for each of the B rows."""
