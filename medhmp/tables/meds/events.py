"""Events, onsets and notes of a MEDS dataset, streamed by whole subjects.

A row that names a stay is of that stay. A row that names only an admission, or neither, is copied
to every stay of that admission or patient, and the window then picks one, as for MIMIC's tables.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp.tables import schema
from medhmp.tables.facts import static_events
from medhmp.tables.hours import hours_between, until_discharge
from medhmp.tables.meds.codebook import SIGNALS, Codebook
from medhmp.tables.meds.files import MedsFiles
from medhmp.tables.meds.visits import EARLY, of_admissions
from medhmp.tables.ranges import Ranges
from medhmp.tables.readings import (
    STATIC,
    batches,
    count,
    earliest,
    first_onsets,
    parsed,
    timed,
    within,
)

VALUES: Final = {"numeric_value": "numeric_value", "text_value": "text_value"}

OF_NO_STAY: Final = "rows of patients without a stay"
ELSEWHERE: Final = "events outside the hours of every stay"
"""Exclusion reasons."""


def with_values(rows: pl.DataFrame) -> pl.DataFrame:
    """Adds ``number`` and ``text``: the finite number if there is one, else the number that the
    text spells, else the text."""
    number = pl.when(pl.col("numeric_value").is_finite()).then("numeric_value")
    spelled = parsed(rows, "text_value").with_columns(number=pl.coalesce(number, "number"))
    given = pl.col("number").is_null() & (pl.col("text_value") != "")
    return spelled.with_columns(text=pl.when(given).then("text"))


@dataclass
class MedsEvents:
    """Scans the data files.

    A variable without any value, such as a procedure, has the value 1.
    """

    files: MedsFiles
    settings: schema.ReaderSettings
    patients: pl.DataFrame
    admissions: pl.DataFrame
    stays: pl.DataFrame
    kinds: pl.DataFrame  # variable, whether it ever is numeric, textual; whether it is timeless
    counts: dict[str, int]
    signs: list[pl.DataFrame] = field(default_factory=list)  # stay_id, kind, hours

    def streams(self) -> dict[str, schema.Stream]:
        """File -> its EVENTS with 0 <= hours < ``settings.hours``, before discharge, without task
        signals. What holds for a whole stay comes first."""
        return {"static": self._static} | {
            name: partial(self._of, replace(self.files, names=(name,))) for name in self.files.names
        }

    def onsets(self) -> pl.DataFrame:
        """First sign of respiratory failure and of shock per stay in the files read so far."""
        return first_onsets(self.stays, self.signs)

    def _static(self) -> Iterator[pa.RecordBatch]:
        small = (self.stays, self.patients, self.admissions)
        given = {c for frame in small for c in frame.columns if frame[c].count()}
        texts = {name: c for name, c in STATIC.items() if c in given}
        facts = self.settings.facts
        static = static_events(*small, texts, facts, self.counts)
        yield from batches(static, schema.EVENTS)

    def _of(self, files: MedsFiles) -> Iterator[pa.RecordBatch]:
        clock, book = self._clock(), self._codebook()
        ranges = Ranges.of(self.settings.variables, "meds", self.settings.names)
        for block in files.blocks(VALUES):
            rows = block.join(clock, on="subject_id", how="semi", maintain_order="left")
            count(self.counts, OF_NO_STAY, block.height - rows.height)
            known = book.of(rows).select("code", "role", "variable", "begins", "ends")
            rows = rows.join(known, on="code", maintain_order="left").with_row_index("line")
            self._record_onsets(rows.filter(pl.col("role").is_in(SIGNALS)), clock)
            every = rows.filter(pl.col("role") == "event").join(
                self.kinds, on="variable", maintain_order="left"
            )
            events = timed(every, ("time",), "events", self.counts, pl.col("timeless"))
            inside = within(self.settings.hours) | pl.col("hours").is_null()
            placed = _placed(events, clock).filter(inside)
            count(self.counts, ELSEWHERE, events.height - placed["line"].n_unique())
            valued = ranges.plausible(self._valued(placed), self.counts)
            yield from batches(valued, schema.EVENTS)

    def notes(self) -> Iterator[pa.RecordBatch]:
        """NOTES batches: of each admission the last discharge summary written by its last day."""
        if not self.settings.meds.note:
            return
        book, of_none = self._codebook(), 0
        for block in self.files.blocks({"text": "text_value"}):
            known = book.of(block).filter(pl.col("role") == "note").select("code")
            rows = block.join(known, on="code", how="semi", maintain_order="left")
            rows = rows.filter(pl.col("text").str.len_chars() > 0)
            own = of_admissions(rows, self.admissions, whole_days=True, written_at_end=True)
            late = pl.col("time").dt.date() > pl.col("discharged").dt.date()
            own = own.filter(~late.fill_null(False))
            of_none += rows.height - own.height
            last = own.unique("hadm_id", keep="last", maintain_order=True)
            yield from batches(last, schema.NOTES)
        self.counts["notes of no admission, or written after its discharge"] = of_none

    def _codebook(self) -> Codebook:
        return Codebook(self.settings.meds, self.settings.task_signals == "strict")

    def _clock(self) -> pl.DataFrame:
        """Time zero, the end and the last usable hour of each stay."""
        ends = self.admissions.select("hadm_id", "admitted", "discharged")
        names = ("subject_id", "hadm_id", "stay_id", "intime", "outtime")
        return self.stays.join(ends, on="hadm_id").select(*names, "admitted", until_discharge())

    def _record_onsets(self, signals: pl.DataFrame, clock: pl.DataFrame) -> None:
        """Records signs of onsets. One that names no stay is of the stay going on at its time, and
        of one that began while what it began was running, in the same admission."""
        placed = _placed(_with_ends(signals), clock)
        time, begun = pl.col("time"), pl.col("intime")
        after = (time >= begun) & (time <= pl.col("outtime")).fill_null(True)
        running = (time < begun) & (pl.col("ended") > begun) & (time >= pl.col("admitted") - EARLY)
        mine = pl.col("stay").is_not_null() | after | running.fill_null(False)
        own = placed.filter(mine).drop_nulls("hours")
        for kind in ("arf", "shock"):
            self.signs.append(earliest(own.filter(pl.col("role") == kind), kind))

    def _valued(self, placed: pl.DataFrame) -> pl.DataFrame:
        """The columns of EVENTS. Several texts at one time are several findings if the variable is
        never numeric, as in MIMIC's charts; other repeats are successive readings."""
        rows = with_values(placed)
        neither = ~pl.col("numeric") & ~pl.col("textual")
        findings = ~pl.col("numeric") & pl.col("textual")
        return rows.with_columns(
            number=pl.when(neither).then(1.0).otherwise("number"),
            repeats=pl.when(findings).then(pl.lit("indicators")).otherwise(pl.lit("apart")),
        ).select(schema.EVENTS.names)


def _with_ends(signals: pl.DataFrame) -> pl.DataFrame:
    """Adds ``ended``: the time of the end of what a sign began, if the next that is known of it is
    an end, else null. At one time an end comes first: a new rate ends one infusion and begins one.
    """
    thing = pl.coalesce("begins", "ends").alias("thing")
    known = signals.with_columns(thing).drop_nulls(["thing", "time"])
    by, is_end = ["subject_id", "thing"], pl.col("ends").is_not_null()
    ordered = known.sort(*by, "time", ~is_end, maintain_order=True)
    following = pl.when(is_end.shift(-1).over(by)).then(pl.col("time").shift(-1).over(by))
    ends = ordered.select("line", ended=pl.when(~is_end).then(following))
    return signals.join(ends, on="line", how="left", maintain_order="left")


def _placed(rows: pl.DataFrame, clock: pl.DataFrame) -> pl.DataFrame:
    """Copies rows to the stays they can be of; adds ``hours`` since each began (null: no time)."""
    stay, admission = pl.col("stay"), pl.col("admission")
    of_stay = rows.filter(stay.is_not_null()).with_columns(stay_id="stay")
    of_admission = rows.filter(stay.is_null() & admission.is_not_null())
    of_patient = rows.filter(stay.is_null() & admission.is_null())
    columns = [*rows.columns, *(name for name in clock.columns if name != "subject_id")]
    parts = [
        of_stay.join(clock, on=["subject_id", "stay_id"]),
        of_admission.with_columns(hadm_id="admission").join(clock, on=["subject_id", "hadm_id"]),
        of_patient.join(clock, on="subject_id"),
    ]
    found = pl.concat([part.select(columns) for part in parts]).sort("line", "intime", "stay_id")
    return found.with_columns(hours=hours_between("time", "intime"))
