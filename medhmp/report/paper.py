"""The paper's figures (means of five runs) and cohort sizes, to stand beside ours on the same data.

Figures are by task, model and start. The paper's patient-level LSTM (Table 4) is ``medhmp`` here.
Its subscript "a+s" is the start *both*, "a" in Tables 4 and 5 *admission*, "s" *stay*. Table 3,
whose subscript "a" means *both*, repeats Table 4's LSTM rows. The paper has COPD, amnesia and its
second heart failure from TriNetX, which is not open: there its patients are not ours, and its
figures stand beside those of MIMIC-III alone, as in the paper's own table.
"""

from collections.abc import Mapping
from typing import Any, Final

from medhmp.legend import LEVELS, Start, Task
from medhmp.shards.manifest import Manifest, TaskCounts

_AUROC_AUPR: Final = ("auroc", "aupr")
_PATIENT: Final = ("aupr", "f1", "kappa")

Figures = dict[tuple[Task, str, Start], tuple[int, tuple[float, ...]]]
"""(task, model, start) -> the number of the paper's table, and percents of that level's metrics."""

MIMIC3: Final[Figures] = {
    ("arf", "medhmp", "none"): (6, (64.06, 10.80)),
    ("arf", "medhmp", "stay"): (6, (64.65, 10.59)),
    ("arf", "medhmp", "both"): (6, (71.66, 14.34)),
    ("arf", "f_lstm", "none"): (1, (69.67, 10.57)),
    ("shock", "medhmp", "none"): (6, (67.71, 23.19)),
    ("shock", "medhmp", "stay"): (6, (67.94, 22.50)),
    ("shock", "medhmp", "both"): (6, (71.04, 24.19)),
    ("shock", "f_lstm", "none"): (1, (70.28, 23.09)),
    ("mortality", "medhmp", "none"): (6, (79.04, 40.12)),
    ("mortality", "medhmp", "stay"): (6, (79.67, 42.66)),
    ("mortality", "medhmp", "both"): (6, (82.17, 47.52)),
    ("mortality", "f_lstm", "none"): (1, (81.55, 48.62)),
    ("readmission", "medhmp", "none"): (5, (64.74, 8.61)),
    ("readmission", "medhmp", "stay"): (5, (64.87, 8.60)),
    ("readmission", "medhmp", "admission"): (5, (65.75, 9.08)),
    ("readmission", "medhmp", "both"): (5, (67.77, 9.34)),
    ("heart_failure", "medhmp", "none"): (4, (57.83, 56.70, 33.03)),
    ("heart_failure", "medhmp", "admission"): (4, (57.57, 58.27, 35.67)),
    ("heart_failure", "medhmp", "both"): (4, (57.83, 59.40, 35.86)),
}

EICU: Final[Figures] = {
    ("mortality", "medhmp", "both"): (11, (84.43, 49.00)),
    ("mortality", "f_lstm", "none"): (11, (82.30, 45.01)),
}

TRINETX: Final[Figures] = {
    ("heart_failure", "medhmp", "none"): (4, (48.20, 44.44, 26.64)),
    ("heart_failure", "medhmp", "admission"): (4, (49.88, 44.86, 28.58)),
    ("heart_failure", "medhmp", "both"): (4, (50.16, 46.08, 29.26)),
    ("copd", "medhmp", "none"): (4, (49.52, 47.76, 33.44)),
    ("copd", "medhmp", "admission"): (4, (49.90, 47.65, 33.77)),
    ("copd", "medhmp", "both"): (4, (50.16, 49.34, 34.64)),
    ("amnesia", "medhmp", "none"): (4, (47.92, 48.80, 32.98)),
    ("amnesia", "medhmp", "admission"): (4, (48.48, 48.70, 33.52)),
    ("amnesia", "medhmp", "both"): (4, (48.68, 49.64, 34.46)),
}
"""Heart failure, COPD and amnesia with matched controls."""

FIGURES: Final[Mapping[str, tuple[str, Figures]]] = {
    "mimic3": ("MIMIC-III", MIMIC3),
    "eicu": ("eICU", EICU),
}
"""Source of a run -> the paper's name of that database, and its figures."""

RAW_ROWS: Final = {
    "CHARTEVENTS": 330_712_483,
    "DATETIMEEVENTS": 4_485_937,
    "INPUTEVENTS_MV": 3_618_991,
    "LABEVENTS": 27_854_055,
    "MICROBIOLOGYEVENTS": 631_726,
    "OUTPUTEVENTS": 4_349_218,
    "PROCEDUREEVENTS_MV": 258_066,
}
"""Published row counts of MIMIC-III v1.4, which identify it under any source name."""

TABLE_8: Final[dict[Task, tuple[int, int]]] = {
    "arf": (5_038, 402),
    "shock": (7_182, 693),
    "mortality": (11_695, 1_581),
    "readmission": (33_179, 1_444),
    "heart_failure": (7_522, 2_820),
}
"""Rows and positives of the paper's tasks on MIMIC-III."""


def database_of(manifest: Manifest) -> str | None:
    """The key of ``FIGURES`` that the run's labels are of; None without one, or with several."""
    labelled = manifest.fields.get("cohort.label_sources") or list(manifest.counts)
    return labelled[0] if len(labelled) == 1 and labelled[0] in FIGURES else None


def published(
    task: Task, model: str, start: Start, database: str | None, matched: bool = False
) -> dict[str, Any] | None:
    """The paper's figures as fractions of 1, the number of its ``table``, and its ``data``.

    None without one. ``database`` is that of the run (``database_of``); ``matched`` says whether
    the task's controls were matched to its cases.
    """
    if database is None:
        return None
    elsewhere = database == "mimic3" and (matched or task in ("copd", "amnesia"))
    data, figures = ("TriNetX", TRINETX) if elsewhere else FIGURES[database]
    if (task, model, start) not in figures:
        return None
    table, percents = figures[task, model, start]
    names = _PATIENT if LEVELS[task] == "patient" else _AUROC_AUPR
    values = {name: round(p / 100, 6) for name, p in zip(names, percents, strict=True)}
    return {"table": table, "data": data, **values}


def beside_the_paper(manifest: Manifest) -> list[str]:
    """A line for each task of ``TABLE_8``; none unless the whole of MIMIC-III v1.4 was the source.

    Differences are said, never asserted: the paper does not state every rule. Heart failure with
    matched controls is another cohort and is left out.
    """
    rows = list(manifest.rows_read.values())
    if len(rows) != 1 or not _is_mimic3(rows[0]):
        return []
    matched = manifest.fields.get("cohort.matched", ())
    return [_line(task, manifest.tasks[task]) for task in TABLE_8 if task not in matched]


def _is_mimic3(rows: Mapping[str, int]) -> bool:
    return all(rows.get(table) == count for table, count in RAW_ROWS.items())


def _line(task: Task, counts: TaskCounts) -> str:
    ours = (sum(counts.rows.values()), sum(counts.positives.values()))
    paper = TABLE_8[task]
    said = f"{task}: {ours[0]:,} rows ({ours[1]:,} positive)"
    if ours == paper:
        return f"{said}, as in the paper's Table 8"
    off = [f"{mine - its:+,}" for mine, its in zip(ours, paper, strict=True)]
    return f"{said}; the paper's Table 8 has {paper[0]:,} ({paper[1]:,}): {off[0]} ({off[1]})"
