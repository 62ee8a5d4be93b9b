"""The one set of tables that every source yields.

Times are naive, exactly as the source shifted them. Identifiers are the source's own; where a run
has several sources, ``apart`` makes them differ.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from medhmp.layout import TIME
from medhmp.legend import Task
from medhmp.refusal import Refusal

PATIENTS = pa.schema({"subject_id": pa.int64(), "sex": pa.string(), "birth": TIME, "death": TIME})
ADMISSIONS = pa.schema(
    {
        "subject_id": pa.int64(),
        "hadm_id": pa.int64(),
        "admitted": TIME,
        "discharged": TIME,
        "died": TIME,  # time of death in hospital, else null
        "expired": pa.bool_(),  # died during this admission; null: not known
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


Stream = Callable[[], Iterator[pa.RecordBatch]]
"""Reads something from its beginning, each time that it is called."""

ID_COLUMNS: Final = ("subject_id", "hadm_id", "stay_id")
IDS: Final = 10**10
"""Room for the identifiers of one source among those of several."""


@dataclass(frozen=True)
class Source:
    """One source's tables. The small ones are in memory; events and notes stream in record batches.

    ``streams`` yield EVENTS batches, each of a part of the raw tables, which tasks may read side by
    side; ``notes()`` NOTES batches with the one discharge note chosen per admission. ``onsets()``
    has a row per stay: hours from unit admission to the first sign of acute respiratory failure and
    of shock (null: none) that the streams read so far have shown. ``counts``, filled in as tables
    are read, are rows per raw table and rows left out, by reason. ``unlabelled`` has the tasks that
    the source cannot tell the labels of, each with the reason; ``unrecorded``, by kind of onset,
    the stays in hospitals that record no sign of it. ``splits`` has the split of every patient, of
    a source that brings them; else a hash decides. ``shares`` says how much of a stream, from 0 to
    1, has been read so far, of one that knows.
    """

    name: str
    patients: pl.DataFrame
    admissions: pl.DataFrame
    stays: pl.DataFrame
    codes: pl.DataFrame
    streams: Mapping[str, Stream]
    notes: Stream
    onsets: Callable[[], pl.DataFrame]  # stay_id, arf, shock: hours, float64
    counts: dict[str, int]
    unlabelled: Mapping[Task, str] = field(default_factory=dict)
    unrecorded: Mapping[Task, pl.DataFrame] = field(default_factory=dict)  # stay_id
    splits: pl.DataFrame | None = None  # subject_id, split (one of legend.SPLITS)
    shares: Mapping[str, float] = field(default_factory=dict)

    def events(self) -> Iterator[pa.RecordBatch]:
        """EVENTS batches of all streams, one after the other."""
        for stream in self.streams.values():
            yield from stream()


def apart(sources: Sequence[Source]) -> list[Source]:
    """The sources with identifiers that no two of them share.

    Those of the k-th are raised by k ``IDS``; a lone source, or the first, keeps its own. Refuses
    an identifier that there is no room for.
    """
    if len(sources) > 1:
        for source in sources:
            _refuse_large(source)
    return [_raised(source, place * IDS) for place, source in enumerate(sources)]


def _refuse_large(source: Source) -> None:
    for frame in (source.patients, source.admissions, source.stays):
        for name in set(ID_COLUMNS) & set(frame.columns):
            if not frame[name].is_between(0, IDS - 1).all():
                raise Refusal(
                    f"{source.name} has a {name} below 0 or of more than 10 digits, for which "
                    "a run of several sources has no room; run this source by itself"
                )


def _raised(source: Source, by: int) -> Source:
    if not by:
        return source
    return replace(
        source,
        patients=_frame_raised(source.patients, by),
        admissions=_frame_raised(source.admissions, by),
        stays=_frame_raised(source.stays, by),
        codes=_frame_raised(source.codes, by),
        streams={name: partial(_batches_raised, s, by) for name, s in source.streams.items()},
        notes=partial(_batches_raised, source.notes, by),
        onsets=partial(_onsets_raised, source.onsets, by),
        unrecorded={kind: _frame_raised(of, by) for kind, of in source.unrecorded.items()},
        splits=None if source.splits is None else _frame_raised(source.splits, by),
    )


def _frame_raised(frame: pl.DataFrame, by: int) -> pl.DataFrame:
    return frame.with_columns(pl.col(name) + by for name in ID_COLUMNS if name in frame.columns)


def _onsets_raised(onsets: Callable[[], pl.DataFrame], by: int) -> pl.DataFrame:
    return _frame_raised(onsets(), by)


def _batches_raised(stream: Stream, by: int) -> Iterator[pa.RecordBatch]:
    for batch in stream():
        columns = {name: batch.column(name) for name in batch.schema.names}
        raised = {name: pc.add(columns[name], by) for name in ID_COLUMNS if name in columns}
        yield pa.record_batch({**columns, **raised}, schema=batch.schema)
