"""Names and colors of tasks, models, starts and pretrainings in tables and figures."""

from typing import Final

from medhmp.layout import (
    ADMISSION_PRETRAINING,
    SHUFFLED_STAY_PRETRAINING,
    STARTED_FROM,
    STAY_PRETRAINING,
    started_from,
)
from medhmp.legend import Start, Task
from medhmp.model.catalog import MODELS

NOT_TRINETX: Final = " (not TriNetX)"
"""Beside tasks that the paper has from TriNetX, and we from other sources."""
TASK_NAMES: Final[dict[Task, str]] = {
    "arf": "Acute respiratory failure",
    "shock": "Shock",
    "mortality": "Mortality",
    "readmission": "Readmission",
    "heart_failure": "Heart failure",
    "copd": f"COPD{NOT_TRINETX}",
    "amnesia": f"Amnesia{NOT_TRINETX}",
}


def task_name(task: Task) -> str:
    """The name of a task; of one of the run's own as the run gives it."""
    return TASK_NAMES.get(task, task)


# Colors that people with color blindness tell apart, as are those of the catalog.
START_COLORS: Final[dict[Start, str]] = {
    "none": "#8a8f98",
    "stay": "#56b4e9",
    "admission": "#009e73",
    "both": "#0060a8",
    "shuffled": "#cc79a7",
}
"""Of a model that begins from pretraining; in the order of tables and figures."""

PRETRAININGS: Final[dict[str, tuple[str, str]]] = {
    STAY_PRETRAINING: ("stays", START_COLORS["both"]),
    SHUFFLED_STAY_PRETRAINING: ("control: hours shuffled", START_COLORS["shuffled"]),
    STARTED_FROM["both"]: ("begun from stage one", START_COLORS["both"]),
    STARTED_FROM["admission"]: ("begun from random", START_COLORS["admission"]),
    STARTED_FROM["shuffled"]: ("control: codes shuffled", START_COLORS["shuffled"]),
    started_from("stay", numbers=True): ("stays, MedHMP-S", START_COLORS["both"]),
    started_from("both", numbers=True): ("begun from stage one, MedHMP-S", "#7a3db8"),
    started_from("admission", numbers=True): ("begun from random, MedHMP-S", "#b58be0"),
}
"""Folder of a pretraining -> its name and color."""
STAGES: Final = {
    STAY_PRETRAINING: "Stage one",
    "pretrain_numbers": "Stage one of MedHMP-S",
    ADMISSION_PRETRAINING: "Stage two",
}


def title_of(model: str, start: str) -> str:
    """The model's name, with the start of a model that takes one."""
    entry = MODELS[model]
    return f"{entry.title}, {start}" if entry.takes_starts else entry.title


def color_of(model: str, start: Start) -> str:
    """The start's color for a model that takes one, else the model's own.

    Of the models that run on request several take starts: each start is a shade of their own color.
    """
    entry = MODELS[model]
    if not entry.takes_starts:
        return entry.color
    return _between(entry.color, START_COLORS[start]) if entry.on_request else START_COLORS[start]


def _between(one: str, other: str) -> str:
    """The color half way between two, as #rrggbb."""
    pairs = zip(bytes.fromhex(one[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + bytes((a + b) // 2 for a, b in pairs).hex()
