"""The event tables of MIMIC, scanned block by block into EVENTS batches.

Class variables hold what MIMIC-III and MIMIC-IV name or mark differently; each sets its own.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import polars as pl
import pyarrow as pa

from medhmp.tables import schema
from medhmp.tables.csv import INTEGER, NUMBER, TEXT, TIME, RawTables
from medhmp.tables.facts import static_events
from medhmp.tables.hours import hours_between, until_discharge
from medhmp.tables.integrity import CheckedTables
from medhmp.tables.mimic import metavision as mv
from medhmp.tables.ranges import Ranges
from medhmp.tables.readings import (
    STATIC,
    as_events,
    batches,
    count,
    first_onsets,
    kept,
    known,
    timed,
    within,
)

With = tuple[dict[str, pa.DataType], pl.Expr]
"""An expression, and the columns that it needs and only one version has."""


@dataclass
class MimicEvents:
    """Scans the event tables. Signs of onsets are recorded before rows outside the window go.

    A table read twice is counted twice.
    """

    stay: ClassVar[str] = "stay_id"  # the column that names a stay
    inputs: ClassVar[str] = "INPUTEVENTS"
    procedures: ClassVar[str] = "PROCEDUREEVENTS"
    static: ClassVar[Mapping[str, str]] = STATIC
    items: ClassVar[With] = ({}, pl.lit(True))  # D_ITEMS: the items that are charted
    result: ClassVar[With] = ({}, pl.col("value"))  # LABEVENTS: the result
    right: ClassVar[Mapping[str, With]] = {}  # table that marks errors -> its correct rows

    raw: RawTables
    settings: schema.ReaderSettings
    tables: CheckedTables
    counts: dict[str, int]
    signs: list[pl.DataFrame] = field(default_factory=list)  # stay_id, kind, hours

    def streams(self) -> dict[str, schema.Stream]:
        """Raw table -> its EVENTS with 0 <= hours < ``settings.hours``, before discharge, without
        task signals. What holds for a whole stay comes first."""
        scans = {
            "CHARTEVENTS": self._chart,
            "LABEVENTS": self._labs,
            self.inputs: self._inputs,
            self.procedures: self._procedures,
            "OUTPUTEVENTS": self._outputs,
            "DATETIMEEVENTS": self._dates,
            "MICROBIOLOGYEVENTS": self._cultures,
        }
        return {"static": self._static} | {
            table: partial(self._batches, scan)
            for table, scan in scans.items()
            if self.raw.has(table)
        }

    def _batches(self, scan: Callable[[], Iterator[pl.DataFrame]]) -> Iterator[pa.RecordBatch]:
        ranges = Ranges.of(self.settings.variables, "mimic", self.settings.names)
        for frame in scan():
            yield from batches(ranges.plausible(frame, self.counts), schema.EVENTS)
        self.counts |= self.raw.rows

    def onsets(self) -> pl.DataFrame:
        """First sign of respiratory failure and of shock per stay in the tables read so far."""
        return first_onsets(self.tables.stays, self.signs)

    def _static(self) -> Iterator[pa.RecordBatch]:
        small = self.tables
        known = (small.stays, small.patients, small.admissions, self.static)
        static = static_events(*known, self.settings.facts, self.counts)
        yield from batches(static, schema.EVENTS)

    def _chart(self) -> Iterator[pl.DataFrame]:
        columns, charted = self.items
        items = self.raw.whole("D_ITEMS", {"itemid": INTEGER, "category": TEXT} | columns)
        repeated = pl.col("category").eq_missing("Labs")  # LABEVENTS has them, too
        charted_items = items.filter(charted & ~repeated).select("itemid")
        columns = {"itemid": INTEGER, "charttime": TIME, "value": TEXT, "valueuom": TEXT}
        for block in self._of_stays("CHARTEVENTS", columns):
            charted_rows = block.join(charted_items, on="itemid", how="semi", maintain_order="left")
            count(self.counts, "CHARTEVENTS, of other items", block.height - charted_rows.height)
            right = self._timed(charted_rows)
            self.signs.append(mv.onsets(right, "arf", mv.ARF_CHART))
            usable = mv.measured(self._usable(right, "CHARTEVENTS"))
            of_known = pl.col("known_unit")
            yield mv.chart(self._kept(usable, of_known, "CHARTEVENTS, of unknown unit"))

    def _labs(self) -> Iterator[pl.DataFrame]:
        more, result = self.result
        columns = {"itemid": INTEGER, "charttime": TIME, "value": TEXT} | more
        for block in self._of_admissions("LABEVENTS", columns):
            rows = self._timed(block.with_columns(value=result))
            yield mv.points(self._usable(rows, "LABEVENTS"))

    def _cultures(self) -> Iterator[pl.DataFrame]:
        columns = {"spec_itemid": INTEGER, "charttime": TIME}
        for block in self._of_admissions("MICROBIOLOGYEVENTS", columns):
            rows = self._timed(block.rename({"spec_itemid": "itemid"}))
            yield mv.indicators(self._usable(rows, "MICROBIOLOGYEVENTS"))

    def _outputs(self) -> Iterator[pl.DataFrame]:
        columns = {"itemid": INTEGER, "charttime": TIME, "value": TEXT}
        for block in self._of_stays("OUTPUTEVENTS", columns):
            yield mv.points(self._usable(self._timed(block), "OUTPUTEVENTS"))

    def _dates(self) -> Iterator[pl.DataFrame]:
        """Charted dates as days since unit admission.

        Nurses fill in rows hours after their charted time, and such a row may tell what happened in
        between: a date later than its row is known from that date on, and left out past the window.
        """
        columns = {"itemid": INTEGER, "charttime": TIME, "value": TIME}
        days = (pl.col("value") - pl.col("intime")).dt.total_seconds() / 86400
        date = hours_between("value", "intime")
        for block in self._of_stays("DATETIMEEVENTS", columns):
            rows = self._usable(self._timed(block), "DATETIMEEVENTS")
            not_later = known(date, self.settings.hours).fill_null(True)
            past = self._kept(rows, not_later, "DATETIMEEVENTS, of a later date")
            named = past.with_columns(
                number=days,
                variable=pl.col("itemid").cast(pl.String),
                hours=pl.max_horizontal("hours", date),
            )
            yield as_events(named, "apart")

    def _inputs(self) -> Iterator[pl.DataFrame]:
        columns = {"itemid": INTEGER, "starttime": TIME, "endtime": TIME}
        columns |= {"amount": NUMBER, "amountuom": TEXT, "rate": NUMBER}
        columns |= {"ordercategorydescription": TEXT, "statusdescription": TEXT}
        for block in self._of_stays(self.inputs, columns):
            given = self._kept(
                self._ranged(block, self.inputs),
                mv.given(),
                f"{self.inputs}, rewritten or without an amount",
            )
            self.signs.append(mv.onsets(given.rename({"start": "hours"}), "shock", mv.SHOCK_INPUTS))
            measured = self._kept(given, ~mv.rate_of_doses(), f"{self.inputs}, rates of doses")
            rows = self._of_window(measured, self.inputs)
            yield mv.inputs(self._binned(mv.doses(rows, self.settings.hours)))

    def _procedures(self) -> Iterator[pl.DataFrame]:
        columns = {"itemid": INTEGER, "starttime": TIME, "endtime": TIME}
        for block in self._of_stays(self.procedures, columns):
            rows = self._ranged(block, self.procedures)
            self.signs.append(mv.onsets(rows.rename({"start": "hours"}), "arf", mv.ARF_PROCEDURES))
            yield mv.indicators(self._binned(self._of_window(rows, self.procedures)))

    def _of_stays(self, table: str, columns: dict[str, pa.DataType]) -> Iterator[pl.DataFrame]:
        """Rows of known stays that are not marked as errors, with ``intime`` and ``until``."""
        stays = self._clock().select("subject_id", "stay_id", "intime", "until")
        marks, right = self.right.get(table, ({}, None))
        for block in self.raw.scan(table, {self.stay: INTEGER} | columns | marks):
            rows = block.rename({self.stay: "stay_id"})
            own = rows.join(stays, on="stay_id", maintain_order="left")
            count(self.counts, f"{table}, of no stay that is read", block.height - own.height)
            yield own if right is None else self._kept(own, right, f"{table}, marked as errors")

    def _of_admissions(self, table: str, columns: dict[str, pa.DataType]) -> Iterator[pl.DataFrame]:
        """Rows of known admissions, copied to each of their stays; the window then picks one."""
        stays = self._clock()
        for block in self.raw.scan(table, {"subject_id": INTEGER, "hadm_id": INTEGER} | columns):
            copied = self._copied(block.with_row_index("line"), stays)
            without = block.height - copied["line"].n_unique()
            count(self.counts, f"{table}, of no stay that is read", without)
            count(
                self.counts,
                f"{table}, copies for other stays",
                without + copied.height - block.height,
            )
            yield copied

    def _copied(self, block: pl.DataFrame, stays: pl.DataFrame) -> pl.DataFrame:
        """Copies each row to its stays, in order; ``line`` is its number in the block."""
        return block.join(stays, on=["subject_id", "hadm_id"], maintain_order="left_right")

    def _clock(self) -> pl.DataFrame:
        """Time zero and the last usable hour of each stay."""
        return self.tables.stays.join(
            self.tables.admissions.select("hadm_id", "discharged"), on="hadm_id"
        ).select("subject_id", "hadm_id", "stay_id", "intime", until_discharge())

    def _timed(self, block: pl.DataFrame) -> pl.DataFrame:
        return block.with_columns(hours=hours_between("charttime", "intime"))

    def _ranged(self, block: pl.DataFrame, table: str) -> pl.DataFrame:
        """Adds ``start`` and ``end`` in hours; leaves out ranges that end before they start."""
        rows = block.with_columns(
            start=hours_between("starttime", "intime"), end=hours_between("endtime", "intime")
        )
        rows = timed(rows, ("start", "end"), table, self.counts)
        return self._kept(rows, pl.col("start") <= pl.col("end"), f"{table}, end before start")

    def _usable(self, block: pl.DataFrame, table: str) -> pl.DataFrame:
        """Rows inside the window that are no signals of a task."""
        rows = timed(block, ("hours",), table, self.counts)
        rows = self._kept(rows, pl.col("itemid").is_not_null(), f"{table}, without an item")
        inside = self._kept(rows, within(self.settings.hours), f"{table}, outside the window")
        return self._without_signals(inside)

    def _of_window(self, block: pl.DataFrame, table: str) -> pl.DataFrame:
        """Ranges that reach into the window and are no signals of a task."""
        inside = self._kept(block, mv.reaches(self.settings.hours), f"{table}, outside the window")
        return self._without_signals(inside)

    def _binned(self, rows: pl.DataFrame) -> pl.DataFrame:
        return mv.in_bins(rows, self.settings.hours, self.settings.dt)

    def _without_signals(self, block: pl.DataFrame) -> pl.DataFrame:
        other = ~pl.col("itemid").is_in(mv.task_signals(self.settings.task_signals == "strict"))
        return self._kept(block, other, "rows that are signals of a task")

    def _kept(self, block: pl.DataFrame, rule: pl.Expr, reason: str) -> pl.DataFrame:
        """Applies a rule; counts the rows that it leaves out."""
        return kept(block, {reason: rule}, self.counts)
