"""Reads a MEDS dataset (0.3.3 or 0.4) of any ETL: a folder with ``data`` and ``metadata``.

The patterns of ``tables.meds`` give codes their meaning; codes that none matches are left out.

The defaults are for MIMIC_IV_MEDS. They leave out, above all, codes stamped with the end of an
admission (procedures, DRG) or with a day alone (HCPCS, outpatient measurements): as events they
would tell of what comes later. This ETL stamps laboratory results with the time of storage, writes
the start and the end of an infusion as two points, and does not mark a rewritten infusion at its
start. So hours and onsets differ slightly from those of the MIMIC-IV reader.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp.legend import LEVELS, Task
from medhmp.meds_patterns import FACTS
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.integrity import CheckedTables
from medhmp.tables.meds.codebook import SIGNALS
from medhmp.tables.meds.events import VALUES, MedsEvents
from medhmp.tables.meds.files import SUBJECT_SPLITS, MedsFiles, subject_splits
from medhmp.tables.meds.tables import OWN, TableCollector
from medhmp.tables.meds.visits import STATED
from medhmp.tables.readings import TIMELESS

_ID_OF: Final = {"admissions": "admission_id", "stays": "stay_id"}
"""Table -> the field of ``tables.meds`` that has the column of its ids."""


def read(name: str, folder_uri: str, run: Run) -> schema.Source:
    """Opens the dataset in ``folder_uri`` (local or ``s3://``) as the one set of tables.

    Scans it once for the small tables. A dataset with splits keeps them; patients without one are
    left out. Refuses files that break the standard, patterns that match no admission or no stay,
    ids shared by patients, and splits with other names than the standard's.
    """
    folder, settings = Folder(folder_uri), schema.ReaderSettings.of(run)
    meds = settings.meds
    stay_id = meds.stay_id if meds.icu_admission else ""
    data = MedsFiles.find(folder, meds.admission_id, stay_id, meds.end)
    columns = data.columns()
    there = [column in columns for column in data.ids]
    for what, column, has in zip(("admissions", "stays"), data.ids, there, strict=True):
        if column and not has:
            settings.progress.say(
                f"{name}: no column {column}; {what} are told by their order in time"
            )
    tables = TableCollector(meds, settings.task_signals == "strict", *there)
    stated = {STATED: meds.end} if meds.end in columns else {}
    for block in data.blocks(VALUES | _facts(columns) | stated):
        tables.add(block)
    counts = tables.counts
    whole = _fitting(tables.whole(folder), counts, folder)
    splits = subject_splits(folder)
    if splits is not None:
        splits = whole["patients"].select("subject_id").join(splits, on="subject_id")
        whole = _of_splits(whole, splits, counts, folder)
        settings.progress.say(f"{name}: the splits are those of {SUBJECT_SPLITS}")
    counts |= {table: whole[table].height for table in ("patients", "admissions", "stays")}
    counts["rows whose code matches no pattern"] = tables.roles.get("", 0)
    counts["rows that are signals of a task"] = sum(tables.roles.get(s, 0) for s in SIGNALS)
    small = (whole["patients"], whole["admissions"], whole["stays"])
    variables = tables.variables()
    for line in (
        _of_ends(whole, counts),
        _of_timeless(variables),
        _of_ids(data.ids, columns, whole),
    ):
        if line:
            settings.progress.say(f"{name}: {line}")
    events = MedsEvents(data, settings, *small, variables, counts)
    return schema.Source(
        name,
        *small,
        codes=whole["codes"],
        streams=events.streams(),
        notes=events.notes,
        onsets=events.onsets,
        counts=counts,
        unlabelled=_unlabelled(tables.roles, whole, meds.end),
        splits=splits,
        shares=data.shares,
    )


def files(folder: Folder) -> dict[str, int | None]:
    """Size in bytes of each file that ``read`` reads, by name."""
    return MedsFiles.find(folder).sizes()


def _of_ends(whole: Mapping[str, pl.DataFrame], counts: dict[str, int]) -> str:
    """Counts the admissions and stays whose end is not known, which are kept, and says so."""
    without = []
    for table, end in (("admissions", "discharged"), ("stays", "outtime")):
        n = whole[table][end].null_count()
        counts[f"{table} without an end"] = n
        if n:
            without.append(f"{n:,} of {whole[table].height:,} {table}")
    if not without:
        return ""
    return (
        f"{' and '.join(without)} have no end that is known, by tables.meds.hospital_discharge, "
        "icu_discharge or the column tables.meds.end; tasks that need it go without them"
    )


def _of_timeless(variables: pl.DataFrame) -> str:
    """Says how many variables have events that are left out for want of a time."""
    n = variables.filter(pl.col("untimed") & ~pl.col("timeless")).height
    if not n:
        return ""
    return (
        f"{n:,} variables have events {TIMELESS}, which are left out; what holds for a whole stay "
        "can be named by --tables.meds.timeless"
    )


def _of_ids(
    ids: Sequence[str], columns: Mapping[str, set[pa.DataType]], whole: Mapping[str, pl.DataFrame]
) -> str:
    """Says that unsigned identifiers of 64 bits have become negative, and how to get them back."""
    keys = dict(zip(("subject_id", *ids), whole, strict=False))
    names = {"patients": "subject_id", "admissions": "hadm_id", "stays": "stay_id"}
    signed = [
        column
        for column, table in keys.items()
        if pa.uint64() in columns.get(column, ()) and (whole[table][names[table]] < 0).any()
    ]
    if not signed:
        return ""
    return f"{', '.join(signed)} from 2^63 on are written as below 0; add 2^64 to get them back"


def _facts(columns: Collection[str]) -> dict[str, str]:
    """Column to give -> column of the files: facts that other ETLs write as codes of their own."""
    names = {"ethnicity": "race"} | {fact: fact for fact in FACTS if fact in columns}
    return {OWN + fact: column for fact, column in names.items() if column in columns}


def _fitting(
    whole: Mapping[str, pl.DataFrame], counts: dict[str, int], folder: Folder
) -> dict[str, pl.DataFrame]:
    """The tables with the small ones checked against each other.

    Refuses ids of several patients, and tables without an admission or a stay.
    """
    for table, key in (("admissions", "hadm_id"), ("stays", "stay_id")):
        if whole[table][key].is_duplicated().any():
            raise Refusal(
                f"the column tables.meds.{_ID_OF[table]} of '{folder}' has one id for {table} of "
                f"several patients; give another, or '' to tell {table} by their order in time"
            )
    fit = CheckedTables.of(whole["patients"], whole["admissions"], whole["stays"], counts)
    small = {"patients": fit.patients, "admissions": fit.admissions, "stays": fit.stays}
    for table in _ID_OF:
        if small[table].is_empty():
            raise Refusal(_why_empty(table, counts, folder))
    return {**whole, **small}


def _why_empty(table: str, counts: Mapping[str, int], folder: Folder) -> str:
    lost = [
        f"{n:,} {reason.removeprefix(f'{table}, ')}"
        for reason, n in counts.items()
        if n and reason.startswith(f"{table}, ")
    ]
    if lost:
        return (
            f"none of the {table} of '{folder}' can be used ({'; '.join(lost)}); mend the column "
            f"tables.meds.{_ID_OF[table]}, or give '' to tell {table} by their order in time"
        )
    field = {"admissions": "hospital_admission", "stays": "icu_admission"}[table]
    return (
        f"no code in '{folder}' makes one of the {table} by tables.meds.{field}; "
        f"give the pattern of its ETL with --tables.meds.{field.replace('_', '-')}"
    )


def _of_splits(
    whole: Mapping[str, pl.DataFrame], splits: pl.DataFrame, counts: dict[str, int], folder: Folder
) -> dict[str, pl.DataFrame]:
    """The tables of the patients who have a split."""
    if splits.is_empty():
        raise Refusal(
            f"no patient of '{folder}' is in {SUBJECT_SPLITS}; "
            "take it from the same export as the data, or remove it to split by hash"
        )
    counts["patients without a split"] = whole["patients"].height - splits.height
    return {
        table: frame.join(splits, on="subject_id", how="semi", maintain_order="left")
        for table, frame in whole.items()
    }


def _unlabelled(
    roles: Mapping[str, int], whole: Mapping[str, pl.DataFrame], end: str
) -> dict[Task, str]:
    """Tasks for whose labels the dataset has no code -> the reason."""
    lacking = "no code matches tables.meds."
    found: dict[Task, str] = {}
    if not (roles.get("death") or whole["admissions"]["expired"].any()):
        found["mortality"] = f"{lacking}death"
    needed: list[tuple[Task, str]] = [
        ("arf", "arf"),
        ("shock", "shock"),
        ("readmission", "diagnosis"),
        *((task, "diagnosis") for task, level in LEVELS.items() if level == "patient"),
    ]
    found |= {task: lacking + role for task, role in needed if not roles.get(role)}
    ended = whole["admissions"]["discharged"].count() or "readmission" in found
    why = f"{lacking}hospital_discharge, and no row has the column tables.meds.end ('{end}')"
    return found if ended else found | {"readmission": why}
