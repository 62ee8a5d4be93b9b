"""Names that the whole project shares: axis letters, levels, tasks, splits, starts.

The letters stand in every shape comment and docstring.

B  rows of a batch (stays, admissions or patients)
M  stays kept per admission (``model.max_stays``)
N  admissions (visits) of a patient
V  admissions in a batch of patients, all patients together
S  stays in a batch of admissions, all admissions together
T  hours in the observation window (``cohort.hours``)
F  hourly features (the paper's d_f)
P  demographic features
U  numeric variables (``features.numbers``)
Q  statistics of their numbers
K  auxiliary targets (``layout.TARGETS``)
R  representation width (the paper's d_r)
C  diagnosis codes in the vocabulary
G  drugs in the vocabulary
E  width of a note embedding
W  worker processes
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

NOTE_WIDTH: Final = 768
"""E, unless ``notes.model`` has another: the hidden width of T5-Base, which Clinical-T5-Base has
(paper, Appendix B)."""


@dataclass(frozen=True)
class Widths:
    """The sizes that the data decide: the shards' manifest, and the encoder of the notes."""

    hours: int  # T
    features: int  # F
    demographics: int  # P
    diagnoses: int  # C
    drugs: int  # G
    note: int = NOTE_WIDTH  # E
    events: tuple[int, ...] = ()  # hourly features that tell of a measurement, not of its value
    numbers: int = 0  # U; 0: the shards have no numbers
    statistics: int = 0  # Q
    statistic_of: tuple[int, ...] = ()  # (Q) the variable of each, 0..U-1; U: one without a time


TextFamily = Literal["t5", "bert"]
"""Encoders of notes that are fine-tuned, by the way they pool a text."""

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")

Level = Literal["stay", "admission", "patient"]

PatientTask = Literal["heart_failure", "copd", "amnesia"]
Task = str
"""The name of a task: one of ``LEVELS``, or one of a run's own (``cohort.tasks``)."""
LEVELS: Final[dict[Task, Level]] = {
    "arf": "stay",
    "shock": "stay",
    "mortality": "stay",
    "readmission": "admission",
    "heart_failure": "patient",
    "copd": "patient",
    "amnesia": "patient",
}
"""The paper's tasks and the level of the hierarchy each predicts at.

Its eight are these and heart failure again, on TriNetX: ``cohort.matched`` with that task in it."""

ROW_ID: Final[dict[Level, str]] = {
    "stay": "stay_id",
    "admission": "hadm_id",
    "patient": "subject_id",
}
"""The column that names a row at each level."""

PaperPart = Literal[
    "table_1", "table_2", "table_3", "table_4", "table_5", "table_6", "table_7", "table_8",
    "table_10", "table_11", "figure_4", "figure_5", "figure_6",
]  # fmt: skip
PAPER_PARTS: Final[tuple[PaperPart, ...]] = get_args(PaperPart)
"""The paper's tables and figures that have results; its others have none."""

Start = Literal["none", "stay", "admission", "both", "shuffled"]
"""Where a model's weights begin: random; stage one; stage two from random weights; stage two from
stage one; or the control, *both* on data shuffled between patients."""
