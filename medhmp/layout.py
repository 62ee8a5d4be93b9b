"""Every place below the root of a run, and the columns of every small table, each spelled once.

    raw/                                        synthetic tables and truth.parquet
    shards/                                     manifest.json, tables, labels/, attributes/, notes/,
                                                own_tasks/<task>/
    targets/                                    auxiliary targets of training stays
    pretrain_stay/                              stage one
    pretrain_admission/{from_stay,from_scratch}/  stage two
    control/                                    both stages on data shuffled between patients
    numbers/                                    both stages of MedHMP-S
    seed-<n>/                                   all of these again, pretraining n of pretrain_seeds
    finetune/<task>/<model>/<start>/seed-<n>/   the one fit of jobs.finetune
    tune/<task>/<model>/<start>/                a grid
    report/
    paper/                                      the paper, table by table
    epochs/<task>/<model>/<start>/              test scores of every epoch, for its Figure 6 alone
    variants/<name>/                            of these what the variant has of its own
    models/<task>/<model>/<start>/, models/pretrain_stay/, ...   trained models, to leave the run
    predictions/                                what jobs.predict made of one
    embeddings/                                 what jobs.embed made of one
    .lease/                                     the claim of the driver that works here
    <any output>.new/                           its replacement, until it is whole

Places are names relative to ``--out``, the same on disk and in a bucket. The columns of the shards
themselves are in ``shards/schema.py``, those of the one set of tables in ``tables/schema.py``.
"""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from medhmp.legend import Start, Task

RAW: Final = "raw"
TRUTH: Final = "truth.parquet"
"""The synthetic cohort's true probabilities, in ``raw/``; only the report may read them."""

SHARDS: Final = "shards"
MANIFEST: Final = "manifest.json"
NOTES: Final = "notes"
"""The text of discharge notes, in ``shards/``, until it is embedded."""
OWN_TASKS: Final = "own_tasks"
"""The tasks that ``cohort.tasks`` names, in ``shards/``."""
OWN_LABELS: Final = "labels.parquet"
OWN_ATTRIBUTES: Final = "attributes.parquet"
CUT: Final = "cut.parquet"
"""The hours that lie after a row's prediction time."""
COUNTS: Final = "counts.json"
NOTE_EMBEDDINGS: Final = "note_embeddings"
"""Their vectors, in ``shards/``."""
NOTE_WIDTH_FIELD: Final = "notes.width"
"""The field of their stamp that has their width, where it is not ``legend.NOTE_WIDTH``."""

AUXILIARY: Final = "targets"
"""Auxiliary targets of training stays, beside ``shards/``: no other stay has a row there."""
TARGET_TABLE: Final = "stays.parquet"

STAY_PRETRAINING: Final = "pretrain_stay"
ADMISSION_PRETRAINING: Final = "pretrain_admission"
CONTROL: Final = "control"
"""The folder of pretrainings on data shuffled between patients."""
SHUFFLED_STAY_PRETRAINING: Final = f"{CONTROL}/{STAY_PRETRAINING}"
"""Stage one of the control."""
STARTED_FROM: Final[dict[Start, str]] = {
    "stay": STAY_PRETRAINING,
    "admission": f"{ADMISSION_PRETRAINING}/from_scratch",
    "both": f"{ADMISSION_PRETRAINING}/from_stay",
    "shuffled": f"{CONTROL}/{ADMISSION_PRETRAINING}/from_stay",
}
"""The pretraining whose weights a start takes; *none* takes none."""
BEGUN_FROM: Final[dict[str, str | None]] = {
    STAY_PRETRAINING: None,
    SHUFFLED_STAY_PRETRAINING: None,
    STARTED_FROM["admission"]: None,
    STARTED_FROM["both"]: STAY_PRETRAINING,
    STARTED_FROM["shuffled"]: SHUFFLED_STAY_PRETRAINING,
}
"""Every pretraining, and the one whose stay encoder it begins from."""
NUMBERS: Final = "numbers"
"""The folder of MedHMP-S's pretrainings, which have the same places in it."""
WEIGHTS: Final = "model.safetensors"
METRICS: Final = "metrics.jsonl"
RUN: Final = "run.json"

TUNE: Final = "tune"
TRIALS: Final = "trials"
"""The records of a grid's fits and the models of its chosen cell, in its folder."""
TRIAL_TABLE: Final = "trials.parquet"
BEST: Final = "best.json"
"""The cell that the grid chose."""
PREDICTIONS: Final = "predictions.parquet"

REPORT: Final = "report"
PAPER: Final = "paper"
RESULTS: Final = "results.json"
PAGE: Final = "index.html"
MARKDOWN: Final = "report.md"


MODELS: Final = "models"
CONFIG: Final = "config.json"
CARD: Final = "README.md"
"""The model card, in the folder of a model."""
APPLIED: Final = "predictions"
"""The rows that a trained model has scored."""
EMBEDDINGS: Final = "embeddings"


def home_of(out: str, variant: str | None) -> str:
    """The root of what a variant has of its own, below the root ``out`` of all outputs.

    That is its fits and its report, and the pretrainings that differ from those in ``out``. Without
    a variant it is ``out``.
    """
    return f"{out.rstrip('/')}/variants/{variant}" if variant else out


def started_from(start: Start, numbers: bool, number: int = 0) -> str:
    """The pretraining of this number whose weights a start takes; ``numbers``: of MedHMP-S."""
    place = STARTED_FROM[start]
    return seeded(f"{NUMBERS}/{place}" if numbers else place, number)


def seeded(place: str, number: int) -> str:
    """A pretraining's place, that of pretraining ``number`` of ``pretrain_seeds``.

    The first has no level of its own, so that more of them leave it where it is.
    """
    return f"seed-{number}/{place}" if number else place


def unseeded(place: str) -> tuple[str, int]:
    """The arguments with which ``seeded`` gives this place."""
    first, _, rest = place.partition("/")
    number = first.removeprefix("seed-")
    return (rest, int(number)) if rest and number != first else (place, 0)


def labels_of(task: Task) -> str:
    """A task's labels, in ``shards/``."""
    return f"labels/{task}.parquet"


def attributes_of(task: Task) -> str:
    """Who the rows of a task's labels are, in ``shards/``; as private as they."""
    return f"attributes/{task}.parquet"


def own_task_of(task: Task) -> str:
    """The folder of a task of the run's own, in ``shards/``: an output beside the tables, so that
    another task makes neither them nor what was pretrained on them anew."""
    return f"{OWN_TASKS}/{task}"


def grid_of(task: Task, model: str, start: Start) -> str:
    """The folder of a grid."""
    return f"{TUNE}/{task}/{model}/{start}"


def model_of(task: Task, model: str, start: Start) -> str:
    """The folder of the trained model that a grid chose."""
    return f"{MODELS}/{task}/{model}/{start}"


def skipped_of(task: Task) -> str:
    """The record that a task was not trained, and why."""
    return f"{TUNE}/{task}/skipped.json"


def epochs_of(task: Task, model: str, start: Start) -> str:
    """The folder of the test scores of every epoch of a grid's chosen cell."""
    return f"epochs/{task}/{model}/{start}"


def fit_of(task: Task, model: str, start: Start, seed: int) -> str:
    """The folder of a fit of ``jobs.finetune``."""
    return f"finetune/{task}/{model}/{start}/seed-{seed}"


def figure_of(name: str) -> str:
    """A figure, in ``report/``."""
    return f"figures/{name}.svg"


def note_embedding_columns(width: int) -> pa.Schema:
    """Columns of the vectors of notes, of the width E of their encoder."""
    return pa.schema({"hadm_id": pa.int64(), "embedding": pa.list_(pa.float32(), width)})


TIME: Final = pa.timestamp("s")
"""Naive, as the source has it."""

NOTE_COLUMNS: Final = pa.schema(
    {"hadm_id": pa.int64(), "note_hash": pa.string(), "text": pa.string()}
)

LABEL_COLUMNS: Final = pa.schema(
    {
        "subject_id": pa.int64(),
        "row_id": pa.int64(),  # stay_id, hadm_id or subject_id, by the task's level
        "split": pa.string(),
        "label": pa.int8(),
        "prediction_time": TIME,
    }
)
OWN_LABEL_COLUMNS: Final = LABEL_COLUMNS.append(
    # the admission was over at the prediction time: its codes, drugs and note were known
    pa.field("over", pa.bool_())
)
"""Labels of a task of the run's own."""
CUT_COLUMNS: Final = pa.schema(
    {
        "stay_id": pa.int64(),
        "bins": pa.int32(),  # bins that ended by the prediction time; -1: the stay began later
    }
)
"""Stays of labelled rows of which the window has more than was known."""
ATTRIBUTE_COLUMNS: Final = pa.schema(
    {
        "row_id": pa.int64(),  # of the task's labels, in their order
        "source": pa.string(),
        "sex": pa.string(),  # texts are shared categories of tables/facts.yaml; null: not recorded
        "age": pa.int16(),  # whole years at the prediction time, at most 90; null: not recorded
        "ethnicity": pa.string(),
        "insurance": pa.string(),
        "care_unit": pa.string(),  # the first of the stay, or of the admission's first stay
    }
)
DAYS: Final = (30, 90, 365)
"""Days from unit admission within which a death is an auxiliary target."""
TARGETS: Final = (
    "log_length_of_stay",  # log(1 + days) from unit admission to discharge from hospital
    "saps_i",
    "sofa",
    *(f"death_{days}_days" for days in DAYS),  # 1: died by then; 0: known to have lived
)
"""Auxiliary targets of a stay, known after the prediction time or computed by others: what a model
may be trained to say beside its task, and never a value that it reads."""
TARGET_COLUMNS: Final = pa.schema(
    {
        "subject_id": pa.int64(),
        "stay_id": pa.int64(),
        **dict.fromkeys(TARGETS, pa.float32()),  # null: unknown
    }
)
PREDICTION_COLUMNS: Final = pa.schema(
    {
        "subject_id": pa.int64(),
        "row_id": pa.int64(),
        "split": pa.string(),
        "seed": pa.int32(),  # the number of the replicate
        "label": pa.int8(),
        "score": pa.float32(),
    }
)
EPOCH_COLUMNS: Final = pa.schema(
    [pa.field("epoch", pa.int32()), *PREDICTION_COLUMNS]  # from 0; rows of the test split alone
)
MEDS_PREDICTION_COLUMNS: Final = pa.schema(
    {
        "subject_id": pa.int64(),
        "prediction_time": pa.timestamp("us"),
        "boolean_value": pa.bool_(),  # not of rows without a label: MEDS allows no null
        "predicted_boolean_value": pa.bool_(),  # at the threshold of best F1 on validation
        "predicted_boolean_probability": pa.float32(),  # mean of the replicates
    }
)
"""The prediction schema of MEDS (``meds-evaluation``), which allows no other column."""
TRIAL_COLUMNS: Final = pa.schema(
    {
        "cell": pa.string(),  # its name in trials/: every field that is searched
        "batch_size": pa.int32(),  # null: the model has none
        "lr": pa.float64(),  # null: the model has none
        "seed": pa.int32(),  # the number of the replicate
        "val_loss": pa.float64(),  # cross-entropy of the validation rows
        "base_loss": pa.float64(),  # theirs under the labelled training rows' share of events
        "val_auroc": pa.float64(),
        "epochs": pa.int32(),
        "status": pa.string(),
    }
)

MEASURED: Final = (
    "rows_per_s",
    "wait_share",
    "step_s",
    "seconds",
    "ended",
    "resident_gib",
    "gpu_peak_gib",
)
"""Fields of a row of ``metrics.jsonl`` that a clock or the memory decides. All others are the same
whenever the run is, also where it was killed in between."""

NO_TERM: Final = ("stage", "epoch", "steps", "gradient_norm", "learning_rate", *MEASURED)
"""Fields of such a row that are no term of the loss."""


def terms(row: Mapping[str, Any]) -> list[str]:
    """The loss, then the terms that its objective reported, of a row of ``metrics.jsonl``."""
    return ["loss", *(name for name in row if name != "loss" and name not in NO_TERM)]
