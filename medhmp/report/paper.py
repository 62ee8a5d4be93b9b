"""The paper's figures (means of five runs) and cohort sizes, to stand beside ours on the same data.

Figures are by task, model and start. The paper's patient-level LSTM (Tables 3 and 4) is ``medhmp``
here, its MedHMP with notes (Table 10) ``medhmp_notes``. Its subscript "a+s" is the start *both*,
"a" in Tables 4 and 5 *admission*, "s" *stay*; in Table 3 "a" means *both*. Rows that several tables
repeat are here once. Figures 4 to 6 are pictures without numbers. The paper has COPD, amnesia and
its second heart failure from TriNetX, which is not open: there its patients are not ours, and its
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
    ("arf", "f_cnn", "none"): (1, (69.61, 10.68)),
    ("shock", "f_cnn", "none"): (1, (69.27, 23.51)),
    ("mortality", "f_cnn", "none"): (1, (80.71, 42.29)),
    ("arf", "raim", "none"): (1, (59.38, 8.42)),
    ("shock", "raim", "none"): (1, (66.20, 20.02)),
    ("mortality", "raim", "none"): (1, (77.17, 39.96)),
    ("arf", "dcmn", "none"): (1, (68.98, 10.07)),
    ("shock", "dcmn", "none"): (1, (68.68, 21.72)),
    ("mortality", "dcmn", "none"): (1, (80.05, 42.93)),
    ("readmission", "bert_lstm", "none"): (2, (63.35, 7.24)),
    ("readmission", "lstm_bert", "none"): (2, (60.67, 6.84)),
    ("readmission", "bert_cnn", "none"): (2, (63.07, 7.19)),
    ("readmission", "cnn_bert", "none"): (2, (61.59, 7.04)),
    ("readmission", "bert_star", "none"): (2, (61.28, 6.84)),
    ("readmission", "star_bert", "none"): (2, (60.67, 6.84)),
    ("readmission", "bert_encoder", "none"): (2, (61.94, 6.82)),
    ("readmission", "encoder_bert", "none"): (2, (60.57, 7.00)),
    ("heart_failure", "dipole", "both"): (3, (59.71, 60.50, 37.68)),
    ("heart_failure", "dipole", "none"): (3, (59.43, 58.63, 36.03)),
    ("heart_failure", "retain", "both"): (3, (68.71, 66.20, 47.12)),
    ("heart_failure", "retain", "none"): (3, (67.76, 65.56, 45.63)),
    ("heart_failure", "adacare", "both"): (3, (58.40, 59.47, 35.77)),
    ("heart_failure", "adacare", "none"): (3, (59.40, 57.58, 35.84)),
    ("heart_failure", "hitanet", "both"): (3, (69.42, 68.44, 50.01)),
    ("heart_failure", "hitanet", "none"): (3, (70.36, 66.60, 46.60)),
    ("arf", "clinical_t5", "none"): (10, (50.06, 5.92)),
    ("shock", "clinical_t5", "none"): (10, (56.76, 13.01)),
    ("mortality", "clinical_t5", "none"): (10, (72.18, 26.55)),
    ("arf", "clinical_bert", "none"): (10, (51.75, 7.60)),
    ("shock", "clinical_bert", "none"): (10, (44.28, 9.89)),
    ("mortality", "clinical_bert", "none"): (10, (58.17, 16.42)),
    ("arf", "bert_lstm", "none"): (10, (64.90, 9.03)),
    ("shock", "bert_lstm", "none"): (10, (70.22, 23.32)),
    ("mortality", "bert_lstm", "none"): (10, (80.80, 45.59)),
    ("arf", "lstm_bert", "none"): (10, (61.74, 9.79)),
    ("shock", "lstm_bert", "none"): (10, (66.31, 22.56)),
    ("mortality", "lstm_bert", "none"): (10, (78.31, 42.31)),
    ("arf", "bert_cnn", "none"): (10, (67.04, 9.49)),
    ("shock", "bert_cnn", "none"): (10, (64.34, 21.13)),
    ("mortality", "bert_cnn", "none"): (10, (81.12, 44.01)),
    ("arf", "cnn_bert", "none"): (10, (63.38, 10.31)),
    ("shock", "cnn_bert", "none"): (10, (66.40, 22.46)),
    ("mortality", "cnn_bert", "none"): (10, (77.25, 36.43)),
    ("arf", "bert_star", "none"): (10, (58.11, 6.86)),
    ("shock", "bert_star", "none"): (10, (59.24, 19.58)),
    ("mortality", "bert_star", "none"): (10, (76.24, 36.12)),
    ("arf", "star_bert", "none"): (10, (51.96, 5.73)),
    ("shock", "star_bert", "none"): (10, (58.89, 16.92)),
    ("mortality", "star_bert", "none"): (10, (76.19, 34.87)),
    ("arf", "bert_encoder", "none"): (10, (61.30, 9.06)),
    ("shock", "bert_encoder", "none"): (10, (52.88, 14.66)),
    ("mortality", "bert_encoder", "none"): (10, (74.95, 35.02)),
    ("arf", "encoder_bert", "none"): (10, (62.65, 7.44)),
    ("shock", "encoder_bert", "none"): (10, (61.39, 18.66)),
    ("mortality", "encoder_bert", "none"): (10, (74.35, 33.68)),
    ("arf", "medhmp_notes", "both"): (10, (71.67, 11.05)),
    ("shock", "medhmp_notes", "both"): (10, (70.57, 24.30)),
    ("mortality", "medhmp_notes", "both"): (10, (82.06, 42.18)),
}

EICU: Final[Figures] = {
    ("mortality", "medhmp", "both"): (11, (84.43, 49.00)),
    ("mortality", "f_lstm", "none"): (11, (82.30, 45.01)),
    ("mortality", "f_cnn", "none"): (11, (76.37, 35.11)),
    ("mortality", "raim", "none"): (11, (83.64, 46.40)),
    ("mortality", "dcmn", "none"): (11, (83.57, 46.96)),
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
    ("heart_failure", "dipole", "both"): (3, (47.70, 41.86, 25.52)),
    ("copd", "dipole", "both"): (3, (48.92, 41.06, 28.30)),
    ("amnesia", "dipole", "both"): (3, (48.74, 45.78, 30.78)),
    ("heart_failure", "dipole", "none"): (3, (47.16, 40.16, 24.28)),
    ("copd", "dipole", "none"): (3, (49.44, 39.48, 27.86)),
    ("amnesia", "dipole", "none"): (3, (48.36, 45.63, 30.40)),
    ("heart_failure", "retain", "both"): (3, (58.16, 52.18, 35.64)),
    ("copd", "retain", "both"): (3, (57.62, 50.66, 38.36)),
    ("amnesia", "retain", "both"): (3, (62.70, 56.50, 43.90)),
    ("heart_failure", "retain", "none"): (3, (57.50, 50.88, 34.52)),
    ("copd", "retain", "none"): (3, (57.40, 49.85, 37.36)),
    ("amnesia", "retain", "none"): (3, (62.52, 56.32, 43.66)),
    ("heart_failure", "adacare", "both"): (3, (57.63, 47.98, 32.03)),
    ("copd", "adacare", "both"): (3, (54.06, 47.10, 34.70)),
    ("amnesia", "adacare", "both"): (3, (62.62, 52.56, 41.54)),
    ("heart_failure", "adacare", "none"): (3, (55.43, 45.13, 31.43)),
    ("copd", "adacare", "none"): (3, (56.63, 46.60, 34.53)),
    ("amnesia", "adacare", "none"): (3, (61.62, 50.54, 39.22)),
    ("heart_failure", "hitanet", "both"): (3, (60.12, 50.48, 36.08)),
    ("copd", "hitanet", "both"): (3, (64.04, 54.46, 43.38)),
    ("amnesia", "hitanet", "both"): (3, (67.54, 58.18, 47.78)),
    ("heart_failure", "hitanet", "none"): (3, (54.76, 47.92, 32.04)),
    ("copd", "hitanet", "none"): (3, (60.10, 52.40, 39.93)),
    ("amnesia", "hitanet", "none"): (3, (63.08, 54.60, 43.44)),
}
"""Heart failure, COPD and amnesia with matched controls."""

WITHOUT: Final[Mapping[tuple[Task, str], tuple[float, ...]]] = {
    ("arf", "no_contrast"): (64.91, 12.35),
    ("shock", "no_contrast"): (68.61, 25.29),
    ("mortality", "no_contrast"): (81.32, 47.50),
    ("arf", "no_codes"): (62.99, 13.88),
    ("shock", "no_codes"): (70.05, 22.81),
    ("mortality", "no_codes"): (80.58, 44.40),
}
"""Table 7 on MIMIC-III: MedHMP from *both*, pretrained without a term of stage two's loss; by task
and variant."""

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
TABLE_8_TRINETX: Final[dict[Task, tuple[int, int]]] = {
    "copd": (29_256, 7_314),
    "amnesia": (11_928, 2_982),
    "heart_failure": (12_320, 3_080),
}
"""The same on TriNetX, three matched controls a case."""
PRETRAINED_ON: Final = {"stays": 100_563, "admissions": 99_000}
"""Rows that the paper pretrains on, of MIMIC-III and IV together (Table 8)."""


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
