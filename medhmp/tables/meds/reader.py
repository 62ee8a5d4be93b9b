"""Reads a MEDS dataset (0.3.3 or 0.4) of any ETL: a folder with ``data`` and ``metadata``.

The patterns of ``tables.meds`` give codes their meaning; codes that none matches are left out.

The defaults are for MIMIC_IV_MEDS. They leave out, above all, codes stamped with the end of an
admission (procedures, DRG) or with a day alone (HCPCS, outpatient measurements): as events they
would tell of what comes later. This ETL stamps laboratory results with the time of storage, writes
the start and the end of an infusion as two points, and does not mark a rewritten infusion at its
start. So hours and onsets differ slightly from those of the MIMIC-IV reader.
"""

from collections.abc import Mapping

import polars as pl

from medhmp.legend import LEVELS, Task
from medhmp.meds_patterns import FACTS
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.meds.codebook import SIGNALS
from medhmp.tables.meds.events import VALUES, MedsEvents
from medhmp.tables.meds.files import SUBJECT_SPLITS, MedsFiles, subject_splits
from medhmp.tables.meds.tables import OWN, TableCollector


def read(name: str, folder_uri: str, run: Run) -> schema.Source:
    """Opens the dataset in ``folder_uri`` (local or ``s3://``) as the one set of tables.

    Scans it once for the small tables. A dataset with splits keeps them; patients without one are
    left out. Refuses files that break the standard, patterns that match no admission or no stay,
    ids shared by patients, and splits with other names than the standard's.
    """
    folder, settings = Folder(folder_uri), schema.ReaderSettings.of(run)
    meds = settings.meds
    data = MedsFiles.find(folder, meds.admission_id, meds.stay_id if meds.icu_admission else "")
    columns = data.columns()
    there = [column in columns for column in data.ids]
    for what, column, has in zip(("admissions", "stays"), data.ids, there, strict=True):
        if column and not has:
            settings.progress.say(
                f"{name}: no column {column}; {what} are told by their order in time"
            )
    tables = TableCollector(meds, settings.task_signals == "strict", *there)
    for block in data.blocks(VALUES | _facts(columns)):
        tables.add(block)
    whole, counts = tables.whole(folder), tables.counts
    _refuse_useless(whole, folder)
    splits = subject_splits(folder)
    if splits is not None:
        splits = whole["patients"].select("subject_id").join(splits, on="subject_id")
        whole = _of_splits(whole, splits, counts, folder)
        settings.progress.say(f"{name}: the splits are those of {SUBJECT_SPLITS}")
    counts |= {table: whole[table].height for table in ("patients", "admissions", "stays")}
    counts["rows whose code matches no pattern"] = tables.roles.get("", 0)
    counts["rows that are signals of a task"] = sum(tables.roles.get(s, 0) for s in SIGNALS)
    small = (whole["patients"], whole["admissions"], whole["stays"])
    events = MedsEvents(data, settings, *small, tables.kinds, counts)
    return schema.Source(
        name,
        *small,
        codes=whole["codes"],
        streams=events.streams(),
        notes=events.notes,
        onsets=events.onsets,
        counts=counts,
        unlabelled=_unlabelled(tables.roles, whole),
        splits=splits,
        shares=data.shares,
    )


def files(folder: Folder) -> dict[str, int | None]:
    """Size in bytes of each file that ``read`` reads, by name."""
    return MedsFiles.find(folder).sizes()


def _facts(columns: set[str]) -> dict[str, str]:
    """Column to give -> column of the files: facts that other ETLs write as codes of their own."""
    names = {"ethnicity": "race"} | {fact: fact for fact in FACTS if fact in columns}
    return {OWN + fact: column for fact, column in names.items() if column in columns}


def _refuse_useless(whole: Mapping[str, pl.DataFrame], folder: Folder) -> None:
    for table, key, field in (
        ("admissions", "hadm_id", "hospital_admission"),
        ("stays", "stay_id", "icu_admission"),
    ):
        option = f"--tables.meds.{field.replace('_', '-')}"
        if whole[table].is_empty():
            raise Refusal(
                f"no code in '{folder}' makes one of the {table} by tables.meds.{field}; "
                f"give the pattern of its ETL with {option}"
            )
        if whole[table][key].is_duplicated().any():
            column = {"hadm_id": "admission_id", "stay_id": "stay_id"}[key]
            raise Refusal(
                f"the column tables.meds.{column} of '{folder}' has one id for {table} of several "
                f"patients; give another, or '' to tell {table} by their order in time"
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


def _unlabelled(roles: Mapping[str, int], whole: Mapping[str, pl.DataFrame]) -> dict[Task, str]:
    """Tasks for whose labels the dataset has no code -> the reason."""
    lacking = "no code matches tables.meds."
    found: dict[Task, str] = {}
    if not (roles.get("death") or whole["admissions"]["expired"].any()):
        found["mortality"] = f"{lacking}death"
    needed: list[tuple[Task, str]] = [
        ("arf", "arf"),
        ("shock", "shock"),
        ("readmission", "hospital_discharge"),
        ("readmission", "diagnosis"),
        *((task, "diagnosis") for task, level in LEVELS.items() if level == "patient"),
    ]
    return found | {task: lacking + role for task, role in needed if not roles.get(role)}
