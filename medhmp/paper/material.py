"""Predictions of every grid that the parts read, scored together on the same draws of patients."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from medhmp.evaluate.discrimination import best_f1_threshold
from medhmp.evaluate.intervals import Contender, Drawn, draw_figures
from medhmp.evaluate.predictions import (
    GridKey,
    Predictions,
    find_grids,
    find_skipped,
    read_all,
)
from medhmp.frames import frame_of
from medhmp.layout import EPOCH_COLUMNS, PREDICTIONS, epochs_of, home_of
from medhmp.legend import PaperPart, Start, Task
from medhmp.paper.plan import Fits, Part, of_epochs, variant_of
from medhmp.report.material import Material, gather
from medhmp.run import Report, Run
from medhmp.shards.manifest import Manifest, OpenShards
from medhmp.storage import Folder, Output, opened

Key = tuple[str | None, Task, str, Start]
"""The variant, task, model and start of a grid."""
PAPERS_THRESHOLD: Final = 0.5


@dataclass(frozen=True)
class Grids:
    """The outputs that the parts are told from, opened."""

    run: Run
    shards: OpenShards
    materials: Mapping[str | None, Material]  # by variant
    epochs: Mapping[Start, Output]  # of Figure 6

    @property
    def inputs(self) -> dict[str, str]:
        """Digests for the page's stamp, by place."""
        found = {"shards": self.shards.fingerprint}
        found |= {f"epochs/{start}": output.fingerprint for start, output in self.epochs.items()}
        for variant, material in self.materials.items():
            home = home_of("", variant).lstrip("/")
            found |= {f"{home}/{place}": of for place, of in material.inputs.items()}
        return found


@dataclass(frozen=True)
class Scored:
    """The grids with their figures, all on the same draws of patients."""

    grids: Grids
    predictions: Mapping[Key, Predictions]
    figures: Mapping[Key, Mapping[str, Drawn]]
    epochs: Mapping[tuple[Start, int], Mapping[str, Drawn]]  # of Figure 6, epochs from 1

    @property
    def run(self) -> Run:
        return self.grids.run

    @property
    def manifest(self) -> Manifest:
        return self.grids.shards.manifest


def open_grids(run: Run, shards: OpenShards, parts: Mapping[PaperPart, Part]) -> Grids:
    """Opens the grids of the parts. Refuses one that is not whole, or was made from others."""
    wanted: dict[str | None, list[Fits]] = {}
    for fits in (fits for part in parts.values() for fits in part.fits):
        wanted.setdefault(variant_of(run, fits), []).append(fits)
    materials = {variant: _material(run, shards, variant, of) for variant, of in wanted.items()}
    home, epochs = Folder(home_of(run.out, run.variant)), {}
    for fits in of_epochs(parts["figure_6"]) if "figure_6" in parts else ():
        for key in materials[run.variant].grids:
            if fits.has(key):
                epochs[key[2]] = opened(home / epochs_of(*key), "paper_tables")
    return Grids(run, shards, materials, epochs)


def score(grids: Grids, settings: Report) -> Scored:
    """Scores every grid, and every epoch, with intervals from these draws."""
    predictions = {
        (variant, one.task, one.model, one.start): one
        for variant, material in grids.materials.items()
        for one in read_all(material.grids)
    }
    contenders = {key: _contender(one) for key, one in predictions.items()}
    figures, _ = draw_figures(contenders, settings.draws, settings.seed)
    by_epoch = {
        (start, number): scores
        for start, output in grids.epochs.items()
        for number, scores in _epochs(output)
    }
    epochs, _ = draw_figures(by_epoch, settings.draws, settings.seed)
    return Scored(grids, predictions, figures, epochs)


def _material(
    run: Run, shards: OpenShards, variant: str | None, of_variant: Sequence[Fits]
) -> Material:
    out, home = Folder(run.out), Folder(home_of(run.out, variant))
    names = home.names()
    grids: list[GridKey] = [
        key for key in find_grids(names) if any(fits.has(key) for fits in of_variant)
    ]
    asked = {task for fits in of_variant for task in fits.tasks}
    skipped = [task for task in find_skipped(names) if task in asked]
    return gather(out, home, grids, skipped, shards)


def _contender(one: Predictions) -> Contender:
    validation = one.validation
    tuned = [best_f1_threshold(validation.label, scores) for scores in validation.scores]
    return Contender(one.test.subject, one.test.label, one.test.scores, np.array(tuned))


def _epochs(output: Output) -> Iterator[tuple[int, Contender]]:
    """Yields the epochs, from 1, that all replicates have, with their scores."""
    table = frame_of(output.read_parquet(PREDICTIONS, EPOCH_COLUMNS.names))
    replicates = table["seed"].n_unique()
    by_epoch = table.sort("epoch", "seed", "row_id").partition_by("epoch", maintain_order=True)
    for rows in by_epoch:
        if rows["seed"].n_unique() < replicates:
            continue  # one of them has diverged by then
        n = len(rows) // replicates
        subject, label = (
            rows[name].to_numpy()[:n].astype(np.int64) for name in ("subject_id", "label")
        )
        scores = rows["score"].to_numpy().astype(np.float64).reshape(replicates, n)
        tuned = np.full(replicates, PAPERS_THRESHOLD)
        yield rows["epoch"][0] + 1, Contender(subject, label, scores, tuned)
