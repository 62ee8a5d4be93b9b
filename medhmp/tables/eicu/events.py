"""The event tables of eICU-CRD, scanned block by block into EVENTS batches.

Variables are FIDDLE's for eICU (Tang et al., JAMIA 2020, supplement): a column, a name or a path,
with the value beside it. At one minute of a stay a variable has one value: the median of vital
signs, else the value of the first row, tables in reverse alphabetical order. The tables are not
sorted by stay, so events only carry the policy (``repeats``); ``features/repeats.py`` applies it
once a stay is together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp.tables import schema
from medhmp.tables.csv import INTEGER, NUMBER, TEXT, RawTables
from medhmp.tables.eicu import patient
from medhmp.tables.eicu.onsets import SIGNS, gives_away
from medhmp.tables.hours import in_hours
from medhmp.tables.ranges import Ranges
from medhmp.tables.readings import (
    as_events,
    batches,
    count,
    earliest,
    first_onsets,
    kept,
    parsed,
    timed,
    within,
)

STAY: Final = "patientunitstayid"
HICL: Final = "drughiclseqno"


@dataclass(frozen=True)
class Shape:
    """Rule by which rows of a table become variables."""

    minute: str  # column of the minutes since unit admission
    names: tuple[str, ...] = ()  # columns whose texts, joined with "|", name the variable
    values: tuple[str, ...] = ()  # columns of its value: the first that is not empty counts
    marks: bool = False  # a value that is no number counts as 1: present
    stacked: tuple[str, ...] = ()  # instead of values: columns that each make a variable
    kind: pa.DataType = TEXT  # of the values
    repeats: str = "first"  # policy for several values at one minute

    @property
    def columns(self) -> dict[str, pa.DataType]:
        return dict.fromkeys(self.names, TEXT) | dict.fromkeys(
            (*self.values, *self.stacked), self.kind
        )


def _vitals(*columns: str) -> tuple[Shape, ...]:
    return (Shape("observationoffset", stacked=columns, kind=NUMBER, repeats="median"),)


def _path(minute: str, *names: str) -> tuple[Shape, ...]:
    return (Shape(minute, names, marks=True),)


SHAPES: Final = {
    "VITALPERIODIC": _vitals(
        *("temperature", "sao2", "heartrate", "respiration", "cvp", "etco2", "systemicsystolic"),
        *("systemicdiastolic", "systemicmean", "pasystolic", "padiastolic", "pamean"),
        *("st1", "st2", "st3", "icp"),
    ),
    "VITALAPERIODIC": _vitals(
        *("noninvasivesystolic", "noninvasivediastolic", "noninvasivemean", "paop"),
        *("cardiacoutput", "cardiacinput", "svr", "svri", "pvr", "pvri"),
    ),
    "TREATMENT": _path("treatmentoffset", "treatmentstring"),
    "RESPIRATORYCHARTING": (
        Shape("respchartoffset", ("respchartvaluelabel",), ("respchartvalue",)),
    ),
    # Limits of PEEP and starts and ends of ventilation are left out: they are signals of a task.
    "RESPIRATORYCARE": (
        Shape(
            "respcarestatusoffset",
            stacked=(
                *("currenthistoryseqnum", "airwaytype", "airwaysize", "airwayposition"),
                *("cuffpressure", "apneaparams", "lowexhmvlimit", "hiexhmvlimit", "lowexhtvlimit"),
                *("hipeakpreslimit", "lowpeakpreslimit", "hirespratelimit", "lowrespratelimit"),
                *("sighpreslimit", "lowironoxlimit", "highironoxlimit", "meanairwaypreslimit"),
                *("cpaplimit", "setapneainterval", "setapneatv", "setapnearr"),
                *("setapneapeakflow", "setapneainsptime", "setapneaie", "setapneafio2"),
            ),
        ),
    ),
    # The path is the finding; its text is a number or free.
    "PHYSICALEXAM": (
        Shape("physicalexamoffset", ("physicalexampath",), ("physicalexamtext",), marks=True),
    ),
    "PASTHISTORY": _path("pasthistoryoffset", "pasthistorypath"),
    "NURSECHARTING": (
        Shape(
            "nursingchartoffset",
            (
                "nursingchartcelltypecat",
                "nursingchartcelltypevallabel",
                "nursingchartcelltypevalname",
            ),
            ("nursingchartvalue",),
        ),
    ),
    "MEDICATION": (
        Shape("drugstartoffset", ("drugname", HICL), stacked=("dosage", "routeadmin", "frequency")),
    ),
    "LAB": (Shape("labresultoffset", ("labname",), ("labresulttext", "labresult")),),
    "INTAKEOUTPUT": (
        Shape("intakeoutputoffset", ("cellpath",), ("cellvaluetext",)),
        Shape(
            "intakeoutputoffset",
            stacked=("intaketotal", "outputtotal", "dialysistotal", "nettotal"),
        ),
    ),
    "INFUSIONDRUG": (Shape("infusionoffset", ("drugname",), ("drugrate",)),),
    "DIAGNOSIS": _path("diagnosisoffset", "diagnosisstring"),
    "CUSTOMLAB": (
        Shape("labotheroffset", ("labothername",), ("labothervaluetext", "labotherresult")),
    ),
    "ADMISSIONDX": _path("admitdxenteredoffset", "admitdxpath"),
    "ADMISSIONDRUG": _path("drugoffset", "drugname", HICL),
}
"""Table -> its shapes, in the order in which tables are read."""


@dataclass
class EicuEvents:
    """Scans the tables. Signs of onsets are recorded before rows outside the window go.

    A table read twice is counted twice.
    """

    raw: RawTables
    settings: schema.ReaderSettings
    stays: pl.DataFrame  # patient.unit_stays
    counts: dict[str, int]
    signs: list[pl.DataFrame] = field(default_factory=list)  # stay_id, kind, hours

    def streams(self) -> dict[str, schema.Stream]:
        """Raw table -> its EVENTS with 0 <= hours < ``settings.hours``, before discharge, without
        task signals. What holds for a whole stay comes first."""
        tables = {table: partial(self._of, table) for table in SHAPES if self.raw.has(table)}
        return {"static": self._static, **tables}

    def onsets(self) -> pl.DataFrame:
        """First sign of respiratory failure and of shock per stay in the tables read so far."""
        return first_onsets(self.stays, self.signs)

    def _static(self) -> Iterator[pa.RecordBatch]:
        static = patient.static(self.raw, self.stays, self.settings.facts, self.counts)
        yield from batches(self._ranges().plausible(static, self.counts), schema.EVENTS)
        self.counts |= self.raw.rows

    def _of(self, table: str) -> Iterator[pa.RecordBatch]:
        ranges = self._ranges()
        for frame in self._scan(table):
            yield from batches(ranges.plausible(frame, self.counts), schema.EVENTS)
        self.counts |= self.raw.rows

    def _ranges(self) -> Ranges:
        return Ranges.of(self.settings.variables, "eicu", self.settings.names)

    def _scan(self, table: str) -> Iterator[pl.DataFrame]:
        """The events of a table, block by block."""
        shapes, sign = SHAPES[table], SIGNS.get(table)
        columns = {STAY: INTEGER, shapes[0].minute: INTEGER}
        for shape in shapes:
            columns |= shape.columns
        clock = self.stays.select("subject_id", "stay_id", "until")
        for block in self.raw.scan(table, columns | dict(sign.columns if sign else {})):
            rows = block.rename({STAY: "stay_id"}).join(clock, on="stay_id", maintain_order="left")
            count(self.counts, f"{table}, of no stay in PATIENT", block.height - rows.height)
            self._record_onsets(table, rows)
            rows = rows.with_columns(hours=in_hours(pl.col(shapes[0].minute), 60))
            rows = timed(rows, ("hours",), table, self.counts)
            inside = within(self.settings.hours).fill_null(False)
            usable = kept(rows, {f"{table}, outside the window": inside}, self.counts)
            yield pl.concat([self._shaped(usable, table, shape) for shape in shapes])

    def _record_onsets(self, table: str, rows: pl.DataFrame) -> None:
        if sign := SIGNS.get(table):
            found = rows.select("stay_id", hours=in_hours(sign.minute, 60)).drop_nulls("hours")
            self.signs.append(earliest(found, sign.kind))

    def _shaped(self, rows: pl.DataFrame, table: str, shape: Shape) -> pl.DataFrame:
        name = pl.lit("")
        if shape.names:
            named = pl.any_horizontal(pl.col(n).is_not_null() for n in shape.names)
            rows = kept(rows, {f"{table}, without a name": named}, self.counts)
            name = pl.concat_str([pl.col(n).fill_null("") for n in shape.names], separator="|")
        signal = gives_away(table, self.settings.task_signals == "strict", HICL in shape.names)
        rows = rows.with_columns(variable=name)
        rows = kept(rows, {"rows that are signals of a task": ~signal}, self.counts)
        if not shape.stacked:
            return _reading(rows, pl.coalesce(*shape.values, pl.lit(None, pl.String)), shape)
        return pl.concat([_cells(rows, column, shape) for column in shape.stacked])


def _reading(rows: pl.DataFrame, value: pl.Expr, shape: Shape) -> pl.DataFrame:
    """One event per row."""
    one = pl.col("number").fill_null(1.0)
    frame = parsed(rows.with_columns(value=value))
    if shape.marks:
        frame = frame.with_columns(number=one, text=pl.lit(None, pl.String))
    return as_events(frame, shape.repeats)


def _cells(rows: pl.DataFrame, column: str, shape: Shape) -> pl.DataFrame:
    """One event per row with a value in the column."""
    variable = pl.concat_str("variable", pl.lit(column), separator="|")
    named = rows.with_columns(variable=variable if shape.names else pl.lit(column))
    if shape.kind != NUMBER:
        return _reading(named.filter(pl.col(column).is_not_null()), pl.col(column), shape)
    finite = named.filter(pl.col(column).is_finite().fill_null(False))
    return as_events(finite.with_columns(number=pl.col(column)), shape.repeats)
