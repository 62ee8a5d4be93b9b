"""Helpers that readers share: counts, the window, events, onsets, record batches.

Rows of events have ``stay_id``, ``hours`` since unit admission, and ``until``, the hour after which
nothing of the stay may be used.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp.frames import frame_of
from medhmp.legend import Task
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.storage import Folder
from medhmp.tables.csv import RawTables, table_of
from medhmp.tables.schema import EVENTS

STATIC: Final = {
    "GENDER": "sex",
    "FIRST_CAREUNIT": "first_careunit",
    "FIRST_WARDID": "first_ward",
    "ADMISSION_TYPE": "admission_type",
    "ADMISSION_LOCATION": "admission_location",
    "INSURANCE": "insurance",
    "LANGUAGE": "language",
    "RELIGION": "religion",
    "MARITAL_STATUS": "marital_status",
    "ETHNICITY": "ethnicity",
}
"""Variable -> column of PATIENTS, ADMISSIONS or STAYS: the texts that hold for a whole stay."""

EPOCH: Final = datetime(2000, 1, 1)  # noqa: DTZ001  # naive, as the times of sources
"""Placeholder start for sources without dates. Each patient has one stay there, so times are never
compared."""

_NO_ONSET: Final = pl.DataFrame(
    schema={"stay_id": pl.Int64, "kind": pl.String, "hours": pl.Float64}
)


def find_tables(
    folder: Folder,
    for_labels: Mapping[str, str],
    for_features: Mapping[str, str],
    optional: Mapping[str, str],
    waived: Collection[str],
) -> RawTables:
    """Finds a source's tables in a folder.

    Args:
        folder: where they are.
        for_labels: required table -> the tasks that need it.
        for_features: required table -> what is missing from the features without it.
        optional: table -> what is missing without it.
        waived: ``tables.optional``, tables of ``for_features`` that the run goes without.

    Refuses a folder without the other required tables, and to waive one that labels need.
    """
    for name, tasks in for_labels.items():
        if table_of(name) in waived:
            raise Refusal(
                f"tables.optional names {table_of(name)}, without which there are no labels for "
                f"{tasks}; leave it out there, and put the table into '{folder}'"
            )
    needed = [name for name in for_features if table_of(name) not in waived]
    required = (*for_labels, *needed)
    return RawTables.find(folder, required, (*for_features, *optional), needed)


def say_what_is_missing(
    name: str, raw: RawTables, optional: Mapping[str, str], progress: Progress
) -> None:
    """Says which optional tables a source lacks. ``optional``: table -> what is then missing."""
    for table, what in optional.items():
        if not raw.has(table_of(table)):
            progress.say(f"{name}: no table {table_of(table)}; {what}")


# Rows left out, and counted


def count(counts: dict[str, int], reason: str, rows: int) -> None:
    """Adds rows that are left out for a reason."""
    counts[reason] = counts.get(reason, 0) + rows


def kept(block: pl.DataFrame, rules: Mapping[str, pl.Expr], counts: dict[str, int]) -> pl.DataFrame:
    """Applies the rules one after the other; counts the rows that each leaves out, by reason."""
    for reason, rule in rules.items():
        passed = block.filter(rule)
        count(counts, reason, block.height - passed.height)
        block = passed
    return block


# Time


TIMELESS: Final = "without a time"
"""Last words of the reason of what ``timed`` leaves out."""


def timed(
    rows: pl.DataFrame,
    at: Sequence[str],
    what: str,
    counts: dict[str, int],
    may_lack: pl.Expr | None = None,
) -> pl.DataFrame:
    """Rows with all their times, and the rows of variables that may lack one.

    An event without a time would hold for the whole stay, so that one of its last hour would be
    known in the first. Those of variables that do hold for a whole stay may lack it, and each
    source says which (``may_lack``): none in MIMIC and eICU, whose facts come from other tables;
    ``tables.meds.timeless``; the descriptors of PhysioNet 2012; all in FIDDLE's input, where a row
    without a time says by definition that it holds for the whole stay.
    """
    if not any(rows[column].null_count() for column in at):
        return rows
    rule = pl.all_horizontal(pl.col(column).is_not_null() for column in at)
    rule = rule if may_lack is None else rule | may_lack
    return kept(rows, {f"{what}, {TIMELESS}": rule}, counts)


# The observation window


def within(hours: float) -> pl.Expr:
    """True for point events of the observation window, at or before the last usable hour."""
    return (pl.col("hours") >= 0) & known(pl.col("hours"), hours)


def known(at: pl.Expr, hours: float) -> pl.Expr:
    """True where hour ``at`` is before the end of the window, at or before the last usable hour."""
    return (at < hours) & (at <= pl.col("until"))


# Events


def parsed(frame: pl.DataFrame, column: str = "value") -> pl.DataFrame:
    """Adds ``number`` and ``text``: the finite number that a text spells, else the text itself."""
    number = frame.with_columns(
        number=pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
    )
    finite = number.with_columns(number=pl.when(pl.col("number").is_finite()).then("number"))
    return finite.with_columns(text=pl.when(pl.col("number").is_null()).then(column))


def as_events(frame: pl.DataFrame, repeats: str) -> pl.DataFrame:
    """The columns of EVENTS; ``number`` and ``text`` may be absent from ``frame``.

    ``repeats`` is a policy of ``features/repeats.py``.
    """
    absent = {"number": pl.Float64, "text": pl.String}
    blank = [pl.lit(None, kind).alias(c) for c, kind in absent.items() if c not in frame.columns]
    return frame.with_columns(*blank, repeats=pl.lit(repeats)).select(EVENTS.names)


# Onsets


def earliest(signs: pl.DataFrame, kind: Task) -> pl.DataFrame:
    """(stay_id, kind, hours): the first of each stay's signs; hours before admission count."""
    first = signs.group_by("stay_id").agg(pl.col("hours").min())
    return first.select("stay_id", pl.lit(kind).alias("kind"), "hours")


def first_onsets(stays: pl.DataFrame, signs: list[pl.DataFrame]) -> pl.DataFrame:
    """(stay_id, arf, shock): the first hour of each kind among (stay_id, kind, hours), or null."""
    first = pl.concat([_NO_ONSET, *signs]).group_by("stay_id", "kind").agg(pl.col("hours").min())
    frame = stays.select("stay_id")
    for kind in ("arf", "shock"):
        own = first.filter(pl.col("kind") == kind).select("stay_id", pl.col("hours").alias(kind))
        frame = frame.join(own, on="stay_id", how="left", maintain_order="left")
    return frame


# The tables of a source


def batches(frame: pl.DataFrame, target: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The columns of a schema (EVENTS, NOTES) as record batches."""
    yield from as_table(frame, target).to_batches()


def as_table(frame: pl.DataFrame, target: pa.Schema) -> pa.Table:
    """The columns of a schema, in its types."""
    table = frame.select(target.names).to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.cast(target)


def conformed(frame: pl.DataFrame, target: pa.Schema) -> pl.DataFrame:
    """The columns of a schema, in its types; those that ``frame`` lacks are null."""
    blank = [pl.lit(None).alias(name) for name in target.names if name not in frame.columns]
    made = frame_of(as_table(frame.with_columns(blank), target))
    return made


def empty(target: pa.Schema) -> pl.DataFrame:
    """A frame of a schema, without rows."""
    frame = frame_of(target.empty_table())
    return frame


def named_by_stay(frame: pl.DataFrame) -> pl.DataFrame:
    """Makes each stay an admission and a patient of its id, where a source knows only stays."""
    return frame.with_columns(subject_id="stay_id", hadm_id="stay_id")


def distinct_codes(rows: pl.DataFrame, kind: str, code: pl.Expr) -> pl.DataFrame:
    """The columns of CODES, each row once, in the order of ``rows``."""
    own = rows.select("subject_id", "hadm_id", kind=pl.lit(kind), code=code)
    return own.unique(maintain_order=True)


def no_notes() -> Iterator[pa.RecordBatch]:
    """The notes of a source that has none."""
    return iter(())
