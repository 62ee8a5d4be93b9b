"""Integrity of the small tables: rows that cannot be true are left out or mended, and counted.

A hospital's export has some of each. A row without an identifier, of an unknown patient, or with an
identifier that an earlier row has, is left out. A time that contradicts another becomes null: the
time is left out (reasons that begin with "times, "), and its row is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from medhmp.tables.hours import hours_between

Count = Callable[[str, int], None]
"""Adds rows to the count of a reason."""


@dataclass(frozen=True)
class CheckedTables:
    """The small tables of a source once they fit each other."""

    patients: pl.DataFrame  # schema.PATIENTS
    admissions: pl.DataFrame  # schema.ADMISSIONS, each of a known patient
    stays: pl.DataFrame  # schema.STAYS, each of a known admission

    @staticmethod
    def of(
        patients: pl.DataFrame,
        admissions: pl.DataFrame,
        stays: pl.DataFrame,
        counts: dict[str, int],
    ) -> "CheckedTables":
        """Checks the tables; ``counts`` gets the rows of each reason that occurs."""

        def count(reason: str, rows: int) -> None:
            if rows:
                counts[reason] = counts.get(reason, 0) + rows

        patients = _identified(patients, "patients", ["subject_id"], count)
        admissions = _identified(admissions, "admissions", ["hadm_id", "subject_id"], count)
        admissions = _known(admissions, patients, "admissions", ["subject_id"], count)
        stays = _identified(stays, "stays", ["stay_id", "hadm_id", "subject_id"], count)
        stays = _known(stays, admissions, "stays", ["hadm_id", "subject_id"], count)
        admissions = _ordered(admissions, "admissions", "admitted", "discharged", count)
        admissions = _ordered(admissions, "admissions", "admitted", "died", count)
        stays = _without(stays, "stays, without intime", pl.col("intime").is_null(), count)
        stays = _ordered(stays, "stays", "intime", "outtime", count)
        return CheckedTables(
            _born_before(patients, admissions, count),
            admissions,
            _inside(stays, admissions, count),
        )


def _without(frame: pl.DataFrame, reason: str, rule: pl.Expr, count: Count) -> pl.DataFrame:
    kept = frame.filter(~rule)
    count(reason, frame.height - kept.height)
    return kept


def _identified(frame: pl.DataFrame, table: str, ids: list[str], count: Count) -> pl.DataFrame:
    """Rows with all ``ids``; of several with one ``ids[0]``, the first."""
    nameless = pl.any_horizontal(pl.col(name).is_null() for name in ids)
    named = _without(frame, f"{table}, without {' or '.join(ids)}", nameless, count)
    again = ~pl.col(ids[0]).is_first_distinct()
    return _without(named, f"{table}, whose {ids[0]} is there already", again, count)


def _known(
    frame: pl.DataFrame, of: pl.DataFrame, table: str, ids: list[str], count: Count
) -> pl.DataFrame:
    kept = frame.join(of.select(ids), on=ids, how="semi", maintain_order="left")
    owner = "patient" if len(ids) == 1 else "admission of that patient"
    count(f"{table}, of no {owner}", frame.height - kept.height)
    return kept


def _ordered(frame: pl.DataFrame, table: str, start: str, end: str, count: Count) -> pl.DataFrame:
    """Makes an ``end`` before the day of its ``start`` null. (Some ends are known by day alone.)"""
    wrong = (pl.col(end) < pl.col(start).dt.truncate("1d")).fill_null(False)
    count(f"times, {end} of {table} before {start}", frame.filter(wrong).height)
    return frame.with_columns(pl.when(~wrong).then(end).alias(end))


def _born_before(patients: pl.DataFrame, admissions: pl.DataFrame, count: Count) -> pl.DataFrame:
    """Makes a birth later than a day after the first admission null."""
    first = admissions.group_by("subject_id").agg(first=pl.col("admitted").min())
    both = patients.join(first, on="subject_id", how="left", maintain_order="left")
    wrong = (pl.col("birth") > pl.col("first").dt.offset_by("1d")).fill_null(False)
    count("times, birth of patients after an admission", both.filter(wrong).height)
    return both.with_columns(birth=pl.when(~wrong).then("birth")).drop("first")


def _inside(stays: pl.DataFrame, admissions: pl.DataFrame, count: Count) -> pl.DataFrame:
    """Stays that overlap their admission, or miss it by a day at most."""
    times = admissions.select("hadm_id", "admitted", "discharged")
    both = stays.join(times, on="hadm_id", maintain_order="left")
    late = hours_between("intime", "discharged") > 24
    early = hours_between("admitted", "outtime") > 24
    outside = late.fill_null(False) | early.fill_null(False)
    return _without(both, "stays, outside their admission", outside, count).select(stays.columns)
