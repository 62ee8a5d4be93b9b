"""Reads the PhysioNet/Computing in Cardiology Challenge 2012: sets A, B and C as published.

A record is the first 48 hours of one ICU stay. It stands for one patient and one admission, too,
and its RecordID names all three. Records have hours since unit admission and no dates, so every
stay begins at ``EPOCH``. There are no codes, drugs or notes.

Of the outcomes In-hospital_death is the label, and no other becomes a feature: Length_of_stay and
Survival tell what happened after hour 48; SAPS-I and SOFA are scores computed by others. They are
auxiliary targets, of training stays alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp.layout import DAYS
from medhmp.legend import Task
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.facts import capped
from medhmp.tables.hours import YEAR
from medhmp.tables.physionet2012.files import Set, find
from medhmp.tables.ranges import Ranges
from medhmp.tables.readings import (
    EPOCH,
    batches,
    conformed,
    first_onsets,
    kept,
    named_by_stay,
    no_notes,
)

HOURS: Final = 48
"""Hours of a record. The organisers left out shorter stays, so every patient is alive and in the
unit until then."""

UNLABELLED: Final[dict[Task, str]] = {
    **dict.fromkeys(("arf", "shock"), f"records end at hour {HOURS}, before an onset to predict"),
    "readmission": "a patient has one admission",
    **dict.fromkeys(("heart_failure", "copd", "amnesia"), "there are no diagnosis codes"),
}

DESCRIPTORS: Final = ("Age", "Gender", "Height", "ICUType")
"""Parameters that hold for the whole stay. Weight, the fifth, is charted again: a reading."""

CATEGORIES: Final = {
    "Gender": {0.0: "F", 1.0: "M"},
    "ICUType": {1.0: "CCU", 2.0: "CSRU", 3.0: "MICU", 4.0: "SICU"},
}
"""Descriptors that are codes, not quantities: code -> category."""

FACTS: Final = {"Age": "AGE", "Gender": "GENDER", "ICUType": "FIRST_CAREUNIT"}
"""Descriptor -> the fact of other databases that it is; the categories above are shared."""

UNKNOWN: Final = -1
SUMMED: Final = ("Urine",)
"""Amounts. Two of one minute were collected in two places, and add up."""


def read(name: str, folder_uri: str, run: Run) -> schema.Source:
    """Opens the sets in ``folder_uri`` (local or ``s3://``) as the one set of tables.

    Refuses a folder without a set or its outcomes, a damaged archive, a record that is not as
    published, and outcomes of other records.
    """
    folder, settings = Folder(folder_uri), schema.ReaderSettings.of(run)
    if settings.hours > HOURS:
        raise Refusal(
            f"cohort.hours is {settings.hours} and a record of {name} ends at hour {HOURS}; "
            f"give --cohort.hours {HOURS} or less"
        )
    sets = find(folder)
    counts: dict[str, int] = {}
    facts = named_by_stay(pl.concat([_facts(part, counts) for part in sets]))
    if facts["stay_id"].is_duplicated().any():
        raise Refusal(f"'{folder}' has a RecordID twice; keep one copy of each record")
    counts |= dict.fromkeys(("patients", "admissions", "stays"), facts.height)
    readings = _Readings(settings, counts)
    return schema.Source(
        name=name,
        patients=_patients(facts),
        admissions=_admissions(facts),
        stays=_stays(facts),
        codes=conformed(facts.clear(), schema.CODES),
        streams={part.name: partial(readings.of, part) for part in sets},
        notes=no_notes,
        onsets=partial(first_onsets, facts, []),
        counts=counts,
        unlabelled=UNLABELLED,
        targets=partial(_targets, sets),
    )


def files(folder: Folder) -> dict[str, int | None]:
    """Size in bytes of each file that ``read`` reads, by name."""
    return {name: size for part in find(folder) for name, size in part.sizes().items()}


def _facts(part: Set, counts: dict[str, int]) -> pl.DataFrame:
    """``stay_id``, the descriptors and ``expired`` of every record of a set, in its order."""
    number, known = pl.col("number"), pl.col("number") != UNKNOWN
    one = [number.filter(known & (pl.col("parameter") == d)).first().alias(d) for d in DESCRIPTORS]
    by = ["record", "stay_id"]
    found = [block.group_by(by, maintain_order=True).agg(one) for block in part.blocks()]
    facts, deaths = pl.concat(found), part.deaths(counts)
    without = facts.join(deaths, on="stay_id", how="anti").height
    if without or deaths["stay_id"].is_duplicated().any():
        raise Refusal(
            f"table {part.table} in '{part.folder}' does not have each record of "
            f"'{part.records}' once ({without:,} of {facts.height:,} are missing); "
            "put the outcomes of this set there"
        )
    counts[f"{part.table}, of no record"] = deaths.height - facts.height
    return facts.join(deaths, on="stay_id", maintain_order="left")


def _targets(sets: Sequence[Set]) -> pl.DataFrame:
    """``stay_id`` and ``layout.TARGETS`` of every record.

    Survival is days from unit admission to death; where it is unknown no death is recorded, in
    hospital or, for over a year, after it.
    """
    known = pl.concat([part.outcomes() for part in sets])
    died = pl.col("survival")
    within = [(died <= days).fill_null(False).alias(f"death_{days}_days") for days in DAYS]
    return known.select(
        "stay_id",
        pl.col("length_of_stay").log1p().alias("log_length_of_stay"),
        pl.col("saps-i").alias("saps_i"),
        "sofa",
        *within,
    )


def _patients(facts: pl.DataFrame) -> pl.DataFrame:
    """PATIENTS. Ages are whole years, so birth is that many years of 365.25 days earlier."""
    birth = pl.lit(EPOCH) - pl.duration(hours=pl.col("Age").cast(pl.Int64) * YEAR)
    known = facts.with_columns(sex=_category("Gender", "Gender"), birth=birth)
    return conformed(known, schema.PATIENTS)


def _admissions(facts: pl.DataFrame) -> pl.DataFrame:
    """ADMISSIONS. Times of discharge and of death are unknown; both follow hour 48."""
    return conformed(facts.with_columns(admitted=pl.lit(EPOCH)), schema.ADMISSIONS)


def _stays(facts: pl.DataFrame) -> pl.DataFrame:
    """STAYS. ``outtime`` is the last hour that a stay is known to reach."""
    columns = {
        "intime": pl.lit(EPOCH),
        "outtime": pl.lit(EPOCH) + pl.duration(hours=HOURS),
        "first_careunit": _category("ICUType", "ICUType"),
    }
    return conformed(facts.with_columns(**columns), schema.STAYS)


def _category(name: str, column: str) -> pl.Expr:
    """The category of a code; null for an unknown code."""
    return pl.col(column).replace_strict(CATEGORIES[name], default=None, return_dtype=pl.String)


@dataclass(frozen=True)
class _Readings:
    """Streams the readings of a set."""

    settings: schema.ReaderSettings
    counts: dict[str, int]

    def of(self, part: Set) -> Iterator[pa.RecordBatch]:
        """EVENTS batches: descriptors without a time, readings with 0 <= hours < T."""
        ranges = Ranges.of(self.settings.variables, "physionet2012", self.settings.names)
        seen: dict[str, int] = {part.name: 0}
        odd: dict[str, int] = {}
        for block in part.blocks():
            seen[part.name] += block.height
            rows = block.filter(pl.col("parameter") != "RecordID")
            rows = kept(rows, self._rules(part.name), seen)
            events = ranges.plausible(_events(rows), odd)
            yield from batches(self._named(events), schema.EVENTS)
        self.counts.update(seen | {f"{part.name}, {reason}": n for reason, n in odd.items()})

    def _named(self, events: pl.DataFrame) -> pl.DataFrame:
        """Facts that other databases have, too, under their names."""
        if self.settings.facts == "own":
            return events
        age = pl.col("variable") == "Age"
        return events.with_columns(
            number=pl.when(age).then(capped(pl.col("number"))).otherwise("number"),
            variable=pl.col("variable").replace(FACTS),
        )

    def _rules(self, name: str) -> dict[str, pl.Expr]:
        """Exclusion reason -> the rule that keeps the other rows."""
        static, number = pl.col("parameter").is_in(DESCRIPTORS), pl.col("number")
        coded, hours = pl.col("parameter").is_in(list(CATEGORIES)), self.settings.hours
        first = pl.struct("stay_id", "parameter").is_first_distinct()
        return {
            f"{name}, without a parameter or a value": number.is_not_null()
            & (pl.col("parameter") != ""),
            f"{name}, of unknown value": (number != UNKNOWN) & (~coded | _text().is_not_null()),
            f"{name}, descriptors given again": ~static | first,
            f"{name}, at or after hour {hours}": static | (pl.col("hours") < hours),
        }


def _events(block: pl.DataFrame) -> pl.DataFrame:
    """The columns of EVENTS."""
    static, summed = (pl.col("parameter").is_in(names) for names in (DESCRIPTORS, SUMMED))
    return block.select(
        pl.col("stay_id").alias("subject_id"),
        "stay_id",
        hours=pl.when(~static).then("hours"),
        variable="parameter",
        number=pl.when(_text().is_null()).then("number"),
        text=_text(),
        repeats=pl.when(summed).then(pl.lit("sum")).otherwise(pl.lit("apart")),
    )


def _text() -> pl.Expr:
    """The category of a coded descriptor, null elsewhere."""
    own = (pl.when(pl.col("parameter") == n).then(_category(n, "number")) for n in CATEGORIES)
    return pl.coalesce(*own)
