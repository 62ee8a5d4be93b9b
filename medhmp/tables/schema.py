"""The one set of tables that every source yields, and the settings of readers.

Times are naive, exactly as the source shifted them. Identifiers are the source's own; where a run
has several sources, ``sources.apart`` makes them differ.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl
import pyarrow as pa

from medhmp.layout import TIME
from medhmp.legend import Task
from medhmp.meds_patterns import Meds, of_etl
from medhmp.progress import Progress
from medhmp.run import Run
from medhmp.tables.ranges import Variable, read_variables

PATIENTS = pa.schema({"subject_id": pa.int64(), "sex": pa.string(), "birth": TIME, "death": TIME})
ADMISSIONS = pa.schema(
    {
        "subject_id": pa.int64(),
        "hadm_id": pa.int64(),
        "admitted": TIME,
        "discharged": TIME,
        "died": TIME,  # time of death in hospital, else null
        "expired": pa.bool_(),  # died during this admission; null: unknown
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
        "text": pa.string(),  # the value, if it is text; both null: recorded without a value
        "repeats": pa.string(),  # policy for several values at one time (features/repeats.py)
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


SYNTHETIC: Final = "synthetic"
"""The name of the source of a run that names none."""

ID_COLUMNS: Final = ("subject_id", "hadm_id", "stay_id")
IDS: Final = 10**10
"""Identifiers that each source of several has room for."""

Stream = Callable[[], Iterator[pa.RecordBatch]]
"""Reads something from its beginning, each time that it is called. Picklable."""


@dataclass(frozen=True)
class ReaderSettings:
    """The part of a run that readers read."""

    hours: int  # T: hours observed from unit admission; later events are not read
    dt: float  # hours per bin
    task_signals: Literal["paper", "strict"]  # items removed because they give an onset away
    drug_key: Literal["name", "ndc", "gsn"]  # column that names a drug
    value_types: Mapping[str, str]  # variable -> declared type of its values
    meds: Meds  # what the codes of a MEDS dataset mean
    facts: Literal["shared", "own"]  # the words of facts (tables/facts.py)
    variables: tuple[Variable, ...]  # ranges of plausible readings, and shared names
    names: Literal["own", "shared"]  # of hourly readings (tables/ranges.py)
    progress: Progress

    @staticmethod
    def of(run: Run) -> "ReaderSettings":
        """The settings of a run."""
        cohort, features = run.cohort, run.features
        return ReaderSettings(
            hours=cohort.hours,
            dt=features.dt,
            task_signals=cohort.task_signals,
            drug_key=features.drug_key,
            value_types=features.types(),
            meds=of_etl(run.tables.meds),
            facts=features.facts,
            variables=read_variables(run.tables.variables),
            names=features.names,
            progress=Progress(run.quiet),
        )


@dataclass(frozen=True)
class Source:
    """One source's tables: the small ones in memory, events and notes as streams of batches."""

    name: str  # as the run names it
    patients: pl.DataFrame  # PATIENTS
    admissions: pl.DataFrame  # ADMISSIONS
    stays: pl.DataFrame  # STAYS
    codes: pl.DataFrame  # CODES
    streams: Mapping[str, Stream]  # part of the raw tables -> its EVENTS; a Ray task reads each
    notes: Stream  # NOTES: at most one discharge note per admission
    # stay_id, arf, shock: hours from unit admission to the first sign of each in the streams that
    # this process has read so far; null: none
    onsets: Callable[[], pl.DataFrame]
    # TABLE -> its rows, reason -> rows left out; filled in as tables are read
    counts: dict[str, int]
    unlabelled: Mapping[Task, str] = field(default_factory=dict)  # task without labels -> why
    # kind of onset -> stay_id of the stays in hospitals that record no sign of it
    unrecorded: Mapping[Task, pl.DataFrame] = field(default_factory=dict)
    # subject_id, split (one of legend.SPLITS) of every patient; none: a hash decides
    splits: pl.DataFrame | None = None
    # true where deaths after discharge are recorded, too, so that who has none has lived on
    follows_up: bool = False
    # stay_id and layout.TARGETS, where the source has them of its own; none: they follow from the
    # times of its stays, admissions and deaths
    targets: Callable[[], pl.DataFrame] | None = None
    # stream -> the share of it, 0 to 1, that has been read so far, where that is known
    shares: Mapping[str, float] = field(default_factory=dict)

    def events(self) -> Iterator[pa.RecordBatch]:
        """EVENTS batches of all streams, one after the other."""
        for stream in self.streams.values():
            yield from stream()
