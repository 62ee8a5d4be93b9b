"""The one fit of ``jobs.finetune``, as a Ray task: fitted, scored and published."""

from collections.abc import Mapping
from dataclasses import dataclass

import ray
from torch import Tensor

from medhmp.layout import PREDICTIONS, fit_of
from medhmp.legend import Level
from medhmp.run import Fit
from medhmp.shards.labelled import TaskData
from medhmp.storage import Folder, Stamp, publish
from medhmp.train.checkpoint import write_model
from medhmp.train.device import reserved_device
from medhmp.train.finetune.estimators import (
    FitSettings,
    estimator_of,
    point_of,
    predict_held_out,
    suffix_of,
)


@dataclass(frozen=True)
class SingleFit:
    """All that the task needs."""

    level: Level  # of the task
    fit: Fit  # task, model, start, seed, batch size and rate
    settings: FitSettings  # the sections that any fit reads
    data: TaskData  # the labelled rows of the task
    start: Mapping[str, Tensor] | None  # the weights that it begins from
    folder: Folder  # where the output is made
    stamp: Stamp  # of the output
    run_json: str  # the text of ``run.json``


def run_fit(given: SingleFit) -> str:
    """Makes the fit, on a GPU where the cluster has one; a summary in a few words."""
    gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0
    summary: str = ray.get(ray.remote(_fit).options(num_cpus=1, num_gpus=gpus).remote(given))
    return summary


def _fit(given: SingleFit) -> str:
    fit, settings, data, folder = given.fit, given.settings, given.data, given.folder
    estimator = estimator_of(given.level, fit.model, point_of(fit), settings, reserved_device())
    result = estimator.fit(data, fit.seed, given.start)
    predictions = predict_held_out(estimator, data, fit.seed)
    name = f"model.{suffix_of(fit.model)}"
    entries = write_model(folder, estimator.save(), given.run_json, result.metrics, name)
    publish(folder, given.stamp, [*entries, folder.write_parquet(PREDICTIONS, predictions)])
    return f"{len(result.metrics)} epochs, validation AUROC {result.val_auroc:.3f}"


def place_of(home: Folder, fit: Fit) -> Folder:
    """The folder of the fit, in the home of its run."""
    return home / fit_of(fit.task, fit.model, fit.start, fit.seed)
