"""Grids, their cells and their fits: what is searched for a task, and what each fit depends on.

A cell is one point of the searched fields, of a network a batch size and a learning rate. A fit is
one replicate of it.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from medhmp.layout import TRIALS, grid_of, home_of, seeded
from medhmp.legend import Level, Start, Task
from medhmp.model.catalog import MODELS
from medhmp.run import Run
from medhmp.storage import Folder, Stamp
from medhmp.train.finetune.estimators import suffix_of
from medhmp.train.finetune.inputs import FitInputs, fit_fields

NAMES: Final = {"batch_size": "batch", "learning_rate": "lr"}
"""Field -> its short name in the name of a cell; others have their own."""
RATE: Final = "learning_rate"

Edge = Literal["lowest", "highest"]
"""An end of the rates that are searched."""


Begin = tuple[Start, int, bool]
"""A start, the number of its pretraining, and whether that is of MedHMP-S."""


@dataclass(frozen=True)
class Grid:
    """All cells of one task, model and start, and where their results go."""

    task: Task
    model: str
    start: Start
    level: Level  # of the task
    folder: Folder
    fit: Stamp  # what every fit depends on beside its own point and number
    search: Mapping[str, tuple[float, ...]]  # field -> its values
    replicates: int  # fits of each cell
    pretrainings: int = 1  # of the start; a replicate takes one after the other
    extend: int = 0  # rates that may be added where the best is the lowest or the highest
    asha: bool = False  # stops fits that lag behind those of their replicate
    added: tuple[float, ...] = ()  # rates that were

    @property
    def key(self) -> tuple[Task, str, Start]:
        return self.task, self.model, self.start

    @property
    def title(self) -> str:
        """Its name in lines about the work."""
        return " ".join(self.key)

    @property
    def stamp(self) -> Stamp:
        """The stamp of the grid's output: of its fits, of the values searched and how. Rates are
        added by the fits' results, so they are no part of it."""
        search = {f"tune.search.{name}": list(values) for name, values in self.search.items()}
        how = {"replicates": self.replicates, "extend": self.extend, "asha": self.asha}
        fields = {f"tune.{name}": value for name, value in how.items()}
        return Stamp({**self.fit.fields, **fields, **search}, self.fit.inputs)

    @property
    def trials(self) -> Folder:
        """The folder of the fits' records and models."""
        return self.folder / TRIALS

    def begins(self, number: int) -> Begin:
        """The pretraining that a replicate of this number takes."""
        return self.start, number % self.pretrainings, MODELS[self.model].reads_numbers

    @property
    def searched(self) -> dict[str, tuple[float, ...]]:
        """Field -> its values, the added ones too."""
        found = dict(self.search)
        if self.added:
            found[RATE] += self.added
        return found

    @property
    def cells(self) -> list["Cell"]:
        """The product of the searched fields, the last of which runs fastest."""
        points = itertools.product(*self.searched.values())
        return [Cell(self, dict(zip(self.search, point, strict=True))) for point in points]

    def edge(self, best: "Cell") -> Edge | None:
        """Where the best rate lies, if that is the end of two or more rates of a network."""
        rates = self.searched.get(RATE, ())
        if len(rates) < 2 or not MODELS[self.model].has_network:
            return None
        at = best.point[RATE]
        return "lowest" if at == min(rates) else "highest" if at == max(rates) else None

    def beyond(self, edge: Edge) -> float:
        """The rate beyond an end, as far from it as that is from its neighbour, to two digits."""
        end, neighbour = sorted(self.searched[RATE], reverse=edge == "highest")[:2]
        return float(f"{end * end / neighbour:.2g}")

    def wider(self, rate: float) -> "Grid":
        """The grid with one more rate."""
        return replace(self, added=(*self.added, rate))


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
    def fits(self) -> list["CellFit"]:
        """A fit for each replicate."""
        return [CellFit(self, number) for number in range(self.grid.replicates)]


@dataclass(frozen=True)
class CellFit:
    """One replicate of a cell, which is one trial of Tune."""

    cell: Cell
    number: int

    @property
    def name(self) -> str:
        return f"{self.cell.name}-seed-{self.number}"

    @property
    def record(self) -> str:
        """The name of its record in ``trials/``."""
        return f"{self.name}.json"

    @property
    def model(self) -> str:
        """The name of its fitted model in ``trials/``."""
        return f"{self.name}.{suffix_of(self.cell.grid.model)}"

    @property
    def config(self) -> dict[str, Any]:
        """What it is, as Tune, its trackers and its result table show it."""
        task, model, start = self.cell.grid.key
        what = {"task": task, "model": model, "start": start}
        return {**what, **self.cell.point, "replicate": self.number}

    @property
    def stamp(self) -> Stamp:
        """The stamp of its record, which does not depend on the other fits of the grid."""
        grid = self.cell.grid
        fit, (_, own, _) = grid.fit, grid.begins(self.number)
        unread = {seeded("start", number) for number in range(grid.pretrainings) if number != own}
        inputs = {name: of for name, of in fit.inputs.items() if name not in unread}
        return Stamp({**fit.fields, **self.cell.point, "replicate": self.number}, inputs)


def in_order(fits: list[CellFit]) -> list[CellFit]:
    """The order in which a search that is cut off has told most.

    The first replicate of everything goes before the second of anything. Within a replicate each
    task, model and start has its first cell before any has its second, and cells are taken from all
    over the grid: the first, the middle one, those between.
    """
    place = {
        (grid.key, cell.name): rank
        for grid in {fit.cell.grid.key: fit.cell.grid for fit in fits}.values()
        for cell, rank in zip(grid.cells, spread(len(grid.cells)), strict=True)
    }
    return sorted(fits, key=lambda fit: (fit.number, place[fit.cell.grid.key, fit.cell.name]))


def spread(n: int) -> list[int]:
    """Rank of each of n places, such that the first few ranks lie far apart (van der Corput)."""
    bits = max(n - 1, 1).bit_length()
    mirrored = [int(f"{at:0{bits}b}"[::-1], 2) for at in range(n)]
    order = sorted(range(n), key=mirrored.__getitem__)
    return sorted(range(n), key=order.__getitem__)


def grids_of(run: Run, task: Task, inputs: FitInputs) -> list[Grid]:
    """The grids of a task: of each model that has its level, every start that the model takes."""
    level = run.cohort.level(task)
    pairs = [
        (model, start)
        for model in run.tune.models
        if level in MODELS[model].builders
        for start in _starts(model, level, run.tune.starts)
    ]
    return [_grid(run, task, model, start, inputs) for model, start in pairs]


def _starts(model: str, level: Level, asked: tuple[Start, ...]) -> tuple[Start, ...]:
    if not MODELS[model].takes_starts:
        return ("none",)
    # A patient task takes nothing from stage one: "stay" is "none", and not trained twice.
    left_out = {"stay"} if level == "patient" else set()
    if MODELS[model].reads_numbers:
        left_out.add("shuffled")  # the control is of the paper's form alone
    return tuple(s for s in asked if s not in left_out)


def _grid(run: Run, task: Task, model: str, start: Start, inputs: FitInputs) -> Grid:
    pretrainings = min(run.pretrain_seeds, run.tune.replicates)
    return Grid(
        task,
        model,
        start,
        level=run.cohort.level(task),
        folder=Folder(home_of(run.out, run.variant)) / grid_of(task, model, start),
        fit=Stamp(
            fit_fields(run, task, model),
            inputs.of(task, start, model, run.notes, range(pretrainings)),
        ),
        search=run.tune.searched(model, start),
        replicates=run.tune.replicates,
        pretrainings=pretrainings,
        extend=run.tune.extend,
        asha=run.tune.asha,
    )
