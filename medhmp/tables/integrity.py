"""Rows of the small tables that cannot be: left out, or one field of theirs, and counted.

A hospital's export has some of each. A row that has no place (no identifier, no patient, one that
is there already) is left out; a time that contradicts another is taken as unknown, and what depends
on it does without.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from medhmp.tables.hours import hours_between

Count = Callable[[str, int], None]


@dataclass(frozen=True)
class CheckedTables:
    """``schema.PATIENTS``, ``ADMISSIONS`` and ``STAYS`` that fit each other."""

    patients: pl.DataFrame
    admissions: pl.DataFrame
    stays: pl.DataFrame

    @staticmethod
    def of(
        patients: pl.DataFrame,
        admissions: pl.DataFrame,
        stays: pl.DataFrame,
        counts: dict[str, int],
    ) -> "CheckedTables":
        """``counts`` gets the rows of each reason, those that occur."""

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
    """Rows with all ``ids``, and the first of each of the first one."""
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
    """An ``end`` before its ``start`` is unknown. (A day of death is known as its midnight.)"""
    wrong = (pl.col(end) < pl.col(start).dt.truncate("1d")).fill_null(False)
    count(f"{table}, {end} before {start}", frame.filter(wrong).height)
    return frame.with_columns(pl.when(~wrong).then(end).alias(end))


def _born_before(patients: pl.DataFrame, admissions: pl.DataFrame, count: Count) -> pl.DataFrame:
    """A birth after the day of an admission is unknown."""
    first = admissions.group_by("subject_id").agg(first=pl.col("admitted").min())
    both = patients.join(first, on="subject_id", how="left", maintain_order="left")
    wrong = (pl.col("birth") > pl.col("first").dt.offset_by("1d")).fill_null(False)
    count("patients, born after an admission", both.filter(wrong).height)
    return both.with_columns(birth=pl.when(~wrong).then("birth")).drop("first")


def _inside(stays: pl.DataFrame, admissions: pl.DataFrame, count: Count) -> pl.DataFrame:
    """Stays that share time with their admission; a day either way is forgiven."""
    times = admissions.select("hadm_id", "admitted", "discharged")
    both = stays.join(times, on="hadm_id", maintain_order="left")
    late = hours_between("intime", "discharged") > 24
    early = hours_between("admitted", "outtime") > 24
    outside = late.fill_null(False) | early.fill_null(False)
    return _without(both, "stays, outside their admission", outside, count).select(stays.columns)
