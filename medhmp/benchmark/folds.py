"""Models compared by cross-validation: each patient is scored by fits that have not seen them.

Every fold is a run of its own (``splits.folds``): features, maps of numbers, pretraining, the grid
and its choice are made anew on the fold's training rows, by the jobs as a user runs them. The
scores of all folds' test rows together rank everybody once, by as many replicates as the grid has.
"""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl

from medhmp.evaluate.discrimination import THRESHOLD
from medhmp.evaluate.intervals import Contender, Drawn, difference, draw_figures
from medhmp.frames import frame_of
from medhmp.layout import PREDICTIONS, grid_of
from medhmp.legend import Start, Task
from medhmp.model.catalog import MODELS
from medhmp.refusal import Refusal
from medhmp.storage import Folder, opened

METRICS: Final = ("auroc", "aupr")
Pair = tuple[str, Start]
"""A model and the start that it begins from."""


@dataclass(frozen=True)
class Folds:
    """Out-of-fold AUROC and AUPR of models on one task, each with its interval, and the difference
    of each from the first, paired by patient and replicate."""

    recipe: str = "physionet2012"  # whose run each fold is
    sources: tuple[str, ...] = ()  # NAME=URI ..., as --tables.sources; none: synthetic
    # keeps fold-<k>/ here, so that the same command goes on, and with more models; empty: temporary
    out: str = ""
    task: Task = "mortality"
    # names of model/catalog.py; the others are compared with the first
    models: tuple[str, ...] = (
        "hist_gradient_boosting_statistics",
        "logistic_regression_statistics",
    )
    starts: tuple[Start, ...] = ("none",)  # of models that take them
    folds: int = 5
    replicates: int = 2  # fits of each cell of the grid
    draws: int = 2000  # of patients, for the intervals
    arguments: str = ""  # more of the jobs', in one pair of quotes: "--finetune.labels 400"

    def run(self) -> dict[str, float]:
        """Runs the folds, prints the table; the figures by name."""
        if not self.out:
            with tempfile.TemporaryDirectory() as place:
                return self._measured(Folder(place))
        return self._measured(Folder(self.out))

    def _measured(self, place: Folder) -> dict[str, float]:
        rows: dict[Pair, list[pl.DataFrame]] = {pair: [] for pair in self.pairs}
        for fold in range(self.folds):
            out = place / f"fold-{fold}"
            for command in self.commands(fold, out):
                print(shlex.join(command[1:]), flush=True)
                if subprocess.run(command, check=False).returncode:
                    raise Refusal(f"fold {fold} failed at {command[2]}, which said why above")
            for pair, frames in rows.items():
                grid = opened(out / grid_of(self.task, *pair), "tune")
                frames.append(frame_of(grid.read_parquet(PREDICTIONS)).filter(split="test"))
        return told({pair: out_of_fold(frames) for pair, frames in rows.items()}, self.draws)

    @property
    def pairs(self) -> list[Pair]:
        """The models, each from every start that it takes."""
        return [
            (name, start)
            for name in self.models
            for start in (self.starts if MODELS[name].takes_starts else ("none",))
        ]

    def commands(self, fold: int, out: Folder) -> list[list[str]]:
        """The jobs of a fold: those that its starts need, and no other."""
        starts = {start for _, start in self.pairs}
        needed: list[tuple[str, bool]] = [
            ("synthesize", not self.sources),
            ("featurize", True),
            ("embed_notes", bool(starts & {"admission", "both"})),
            ("pretrain_stay", bool(starts & {"stay", "both"})),
            ("pretrain_admission", bool(starts & {"admission", "both"})),
            ("tune", True),
        ]
        given = f"""
            {self.recipe} --out {shlex.quote(str(out))} --quiet
            --splits.folds {self.folds} --splits.fold {fold} --tune.tasks {self.task}
            --tune.models {" ".join(self.models)} --tune.starts {" ".join(self.starts)}
            --tune.replicates {self.replicates} {self.arguments}
        """
        words = shlex.split(given)
        if self.sources:
            words += ["--tables.sources", *self.sources]
        return [[sys.executable, "-m", f"jobs.{job}", *words] for job, is_in in needed if is_in]


def out_of_fold(folds: Sequence[pl.DataFrame]) -> Contender:
    """The test rows of all folds as those of one model, in the order of their identifiers.

    Refuses rows that are in two folds.
    """
    every = pl.concat(folds)
    mixed = every.select("row_id", "seed").is_duplicated().any()
    wide = every.unique(["row_id", "seed"]).sort("seed")
    wide = wide.pivot("seed", index=["row_id", "subject_id", "label"], values="score")
    wide = wide.sort("row_id")
    seeds = wide.drop("row_id", "subject_id", "label")
    if mixed or seeds.null_count().sum_horizontal()[0]:
        raise Refusal("the folds are not of one run; give another --out")
    return Contender(
        wide["subject_id"].to_numpy(),
        wide["label"].cast(pl.Int64).to_numpy(),
        seeds.to_numpy().T.astype(np.float64),
        np.full(seeds.width, THRESHOLD),
    )


def told(contenders: Mapping[Pair, Contender], draws: int) -> dict[str, float]:
    """Prints a line for each contender; its figures, and those of its distance from the first."""
    for one, other in pairwise(contenders.values()):
        if not np.array_equal(one.label, other.label):
            raise Refusal("the models were not scored on the same rows; give another --out")
    figures, _ = draw_figures(contenders, draws, 0)
    first = next(iter(contenders))
    rows, events = len(contenders[first].label), int(contenders[first].label.sum())
    print(f"{rows:,} rows, {events:,} events; each beside its distance from {_named(first)}")
    found: dict[str, float] = {"rows": rows, "events": events}
    for pair, measured in figures.items():
        line = f"{_named(pair):<40}"
        for metric in METRICS:
            said = _said(found, f"{metric}_{_named(pair)}", measured[metric])
            line += f"  {metric.upper()} {said}"
            if pair != first:
                away = difference(measured[metric], figures[first][metric])
                line += f"  {_said(found, f'{metric}_gain_{_named(pair)}', away, '+')}"
        print(line, flush=True)
    return found


def _named(pair: Pair) -> str:
    model, start = pair
    return f"{model}_{start}" if MODELS[model].takes_starts else model


def _said(found: dict[str, float], name: str, drawn: Drawn, sign: str = "") -> str:
    """A figure with its interval, and its values added to ``found``."""
    of = drawn.estimate()
    found[name] = of.value
    if of.low is None or of.high is None:
        return f"{of.value:{sign}.4f}"
    found |= {f"{name}_low": of.low, f"{name}_high": of.high}
    return f"{of.value:{sign}.4f} [{of.low:{sign}.4f}, {of.high:{sign}.4f}]"
