"""The one set of tables that every source yields.

Times are naive, exactly as the source shifted them. Identifiers of several sources in one run are
kept apart by ``source``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from medhmp.legend import Task

TIME = pa.timestamp("s")

PATIENTS = pa.schema({"subject_id": pa.int64(), "sex": pa.string(), "birth": TIME, "death": TIME})
ADMISSIONS = pa.schema(
    {
        "subject_id": pa.int64(),
        "hadm_id": pa.int64(),
        "admitted": TIME,
        "discharged": TIME,
        "died": TIME,  # time of death in hospital, else null
        "expired": pa.bool_(),  # died during this admission
        "admission_type": pa.string(),
        "admission_location": pa.string(),
        "insurance": pa.string(),
        "language": pa.string(),
        "religion": pa.string(),
        "marital_status": pa.string(),
        "ethnicity": pa.string(),
    }
)
STAYS = pa.schema(
    {
        "subject_id": pa.int64(),
        "hadm_id": pa.int64(),
        "stay_id": pa.int64(),
        "intime": TIME,
        "outtime": TIME,
        "first_careunit": pa.string(),
        "first_ward": pa.string(),
    }
)
EVENTS = pa.schema(
    {
        "subject_id": pa.int64(),
        "stay_id": pa.int64(),
        "hours": pa.float64(),  # since unit admission; null: holds for the whole stay
        "variable": pa.string(),
        "number": pa.float64(),  # the value, if it is a number
        "text": pa.string(),  # the value, if it is not; both null: recorded without a value
        "repeats": pa.string(),  # several at one time: a way of features/repeats.py
    }
)
CODES = pa.schema(
    {
        "subject_id": pa.int64(),
        "hadm_id": pa.int64(),
        "kind": pa.string(),  # "diagnosis" or "drug"
        "code": pa.string(),  # diagnoses: "9:4280" (version, code without dot); drugs: the drug key
    }
)
NOTES = pa.schema({"subject_id": pa.int64(), "hadm_id": pa.int64(), "text": pa.string()})


@dataclass(frozen=True)
class Source:
    """One source's tables. The small ones are in memory; events and notes stream in record batches.

    ``events()`` yields EVENTS batches, ``notes()`` NOTES batches with the one discharge note chosen
    per admission; each call starts from the beginning. ``onsets`` has one row per stay: hours from
    unit admission to the first sign of acute respiratory failure and of shock (null: never).
    ``counts``, filled in as tables are read, are rows per raw table and rows left out, by reason.
    ``unlabelled`` has the tasks that the source cannot tell the labels of, each with the reason.
    """

    name: str
    patients: pl.DataFrame
    admissions: pl.DataFrame
    stays: pl.DataFrame
    codes: pl.DataFrame
    events: Callable[[], Iterator[pa.RecordBatch]]
    notes: Callable[[], Iterator[pa.RecordBatch]]
    onsets: Callable[[], pl.DataFrame]  # stay_id, arf, shock: hours, float64
    counts: dict[str, int]
    unlabelled: Mapping[Task, str] = field(default_factory=dict)
