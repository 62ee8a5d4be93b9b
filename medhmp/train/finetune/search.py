"""Grids and their cells: what is searched for a task, and what each cell depends on.

A cell is one point of the searched fields, of a network a batch size and a learning rate, with all
its replicates.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from medhmp.layout import TRIALS, grid_of, home_of
from medhmp.legend import LEVELS, Start, Task
from medhmp.model.catalog import MODELS
from medhmp.run import Run, fields_of
from medhmp.storage import Folder, Stamp
from medhmp.train.finetune.estimators import suffix_of
from medhmp.train.finetune.inputs import FitInputs, fit_fields

NAMES: Final = {"batch_size": "batch", "learning_rate": "lr"}
"""Field -> its short name in the name of a cell; others have their own."""


@dataclass(frozen=True)
class Grid:
    """All cells of one task, model and start, and where their results go."""

    task: Task
    model: str
    start: Start
    folder: Folder
    fit: Stamp  # what every cell depends on beside its own point
    search: Mapping[str, tuple[float, ...]]  # field -> its values
    replicates: int  # fits of each cell
    pretrainings: int = 1  # of the start; a replicate takes one after the other

    @property
    def stamp(self) -> Stamp:
        """The stamp of the grid's output: of its fits, and of the values searched."""
        search = {f"tune.search.{name}": list(values) for name, values in self.search.items()}
        return Stamp({**self.fit.fields, **search}, self.fit.inputs)

    @property
    def trials(self) -> Folder:
        """The folder of the cells' records and models."""
        return self.folder / TRIALS

    @property
    def cells(self) -> list["Cell"]:
        """The product of the searched fields, the last of which runs fastest."""
        points = itertools.product(*self.search.values())
        return [Cell(self, dict(zip(self.search, point, strict=True))) for point in points]


@dataclass(frozen=True)
class Cell:
    """One point of a grid."""

    grid: Grid
    point: Mapping[str, float]  # searched field -> value; empty: the model has nothing to search

    @property
    def name(self) -> str:
        parts = (f"{NAMES.get(name, name)}-{value:g}" for name, value in self.point.items())
        return "-".join(parts) or "default"

    @property
    def record(self) -> str:
        """The name of its record in ``trials/``."""
        return f"{self.name}.json"

    @property
    def files(self) -> list[str]:
        """The name of each replicate's fitted model in ``trials/``."""
        suffix = suffix_of(self.grid.model)
        return [f"{self.name}-seed-{seed}.{suffix}" for seed in range(self.grid.replicates)]

    @property
    def stamp(self) -> Stamp:
        """The stamp of its record, which does not depend on the other cells of the grid."""
        return Stamp({**self.grid.fit.fields, **self.point}, self.grid.fit.inputs)


def grids_of(run: Run, task: Task, inputs: FitInputs) -> list[Grid]:
    """The grids of a task: of each model that has its level, every start that the model takes."""
    pairs = [
        (model, start)
        for model in run.tune.models
        if LEVELS[task] in MODELS[model].builders
        for start in _starts(model, task, run.tune.starts)
    ]
    return [_grid(run, task, model, start, inputs) for model, start in pairs]


def _starts(model: str, task: Task, asked: tuple[Start, ...]) -> tuple[Start, ...]:
    if not MODELS[model].takes_starts:
        return ("none",)
    # A patient task takes nothing from stage one: "stay" is "none", and not trained twice.
    return tuple(s for s in asked if not (s == "stay" and LEVELS[task] == "patient"))


def _grid(run: Run, task: Task, model: str, start: Start, inputs: FitInputs) -> Grid:
    pretrainings = min(run.pretrain_seeds, run.tune.replicates)
    return Grid(
        task,
        model,
        start,
        folder=Folder(home_of(run.out, run.variant)) / grid_of(task, model, start),
        fit=Stamp(
            fit_fields(run, task, model) | fields_of(run, "tune.replicates"),
            inputs.of(task, start, model, run.notes, range(pretrainings)),
        ),
        search=run.tune.searched(model, start),
        replicates=run.tune.replicates,
        pretrainings=pretrainings,
    )
