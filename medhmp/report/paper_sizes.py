"""How the cohorts of MIMIC-III v1.4 compare with those the paper counted (Table 8).

Said, never asserted: the paper does not state every rule.
"""

from collections.abc import Mapping
from typing import Final

from medhmp.legend import Task
from medhmp.shards.manifest import Manifest, TaskCounts

RAW_ROWS: Final = {
    "CHARTEVENTS": 330_712_483,
    "DATETIMEEVENTS": 4_485_937,
    "INPUTEVENTS_MV": 3_618_991,
    "LABEVENTS": 27_854_055,
    "MICROBIOLOGYEVENTS": 631_726,
    "OUTPUTEVENTS": 4_349_218,
    "PROCEDUREEVENTS_MV": 258_066,
}
"""Rows of the tables of MIMIC-III v1.4, as published. By them it is known, whatever its name."""

TABLE_8: Final[dict[Task, tuple[int, int]]] = {
    "arf": (5_038, 402),
    "shock": (7_182, 693),
    "mortality": (11_695, 1_581),
    "readmission": (33_179, 1_444),
    "heart_failure": (7_522, 2_820),
}
"""Rows and positives of the tasks that the paper has on MIMIC-III."""


def beside_the_paper(manifest: Manifest) -> list[str]:
    """A line for each task of ``TABLE_8``; none unless the whole of MIMIC-III v1.4 was the source.

    Heart failure with matched controls is another cohort, and left out.
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
