"""What the paper printed (mean of five runs), to stand beside our figures.

Keys are task, model and start. Where a table's row is a model of another name here: the paper's
patient-level LSTM (Table 4) is ``medhmp`` on that level. Its subscript "a+s" is the start *both*,
"a" in Tables 4 and 5 *admission*, "s" *stay*. Of Table 3, whose subscript "a" means *both*, the
LSTM rows are those of Table 4. Cohorts differ from ours wherever the data do: the paper has COPD,
amnesia and its second heart failure from TriNetX, whose patients are not open.
"""

from typing import Final

from medhmp.legend import LEVELS, Task

_AUROC_AUPR: Final = ("auroc", "aupr")
_PATIENT: Final = ("aupr", "f1", "kappa")

Figures = dict[tuple[Task, str, str], tuple[int, tuple[float, ...]]]

PERCENT: Final[Figures] = {
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
    ("copd", "medhmp", "none"): (4, (49.52, 47.76, 33.44)),
    ("copd", "medhmp", "admission"): (4, (49.90, 47.65, 33.77)),
    ("copd", "medhmp", "both"): (4, (50.16, 49.34, 34.64)),
    ("amnesia", "medhmp", "none"): (4, (47.92, 48.80, 32.98)),
    ("amnesia", "medhmp", "admission"): (4, (48.48, 48.70, 33.52)),
    ("amnesia", "medhmp", "both"): (4, (48.68, 49.64, 34.46)),
}

MATCHED: Final[Figures] = {
    ("heart_failure", "medhmp", "none"): (4, (48.20, 44.44, 26.64)),
    ("heart_failure", "medhmp", "admission"): (4, (49.88, 44.86, 28.58)),
    ("heart_failure", "medhmp", "both"): (4, (50.16, 46.08, 29.26)),
}
"""What stands in place of those above where heart failure has matched controls: TriNetX."""


def published(task: Task, model: str, start: str, matched: bool = False) -> dict[str, float] | None:
    """The paper's figures as fractions of 1, and the number of its ``table``; None without one.

    ``matched`` says whether the task's controls were matched to its cases.
    """
    figures = PERCENT | MATCHED if matched else PERCENT
    if (task, model, start) not in figures:
        return None
    table, percents = figures[task, model, start]
    names = _PATIENT if LEVELS[task] == "patient" else _AUROC_AUPR
    values = {name: round(p / 100, 6) for name, p in zip(names, percents, strict=True)}
    return {"table": table, **values}
