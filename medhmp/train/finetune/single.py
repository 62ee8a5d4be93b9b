"""The one fit of ``jobs.finetune``, as a Ray task: fitted, scored and published."""

import ray

from medhmp.layout import PREDICTIONS, fit_of
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
from medhmp.train.finetune.inputs import start_weights


def run_fit(
    fit: Fit,
    settings: FitSettings,
    data: TaskData,
    out: Folder,
    number: int,
    folder: Folder,
    stamp: Stamp,
    run_json: str,
) -> str:
    """Makes the fit, on a GPU where the cluster has one.

    Args:
        fit: task, model, start, seed, batch size and rate.
        settings: the sections that any fit reads.
        data: the labelled rows of the task.
        out: root of outputs, with the weights of the start.
        number: of the pretraining that the fit begins from.
        folder: where the output is made.
        stamp: of the output.
        run_json: the text of ``run.json``.

    Returns:
        A summary in a few words.
    """
    gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0
    task = ray.remote(_fit).options(num_cpus=1, num_gpus=gpus)
    given = (fit, settings, data, out, number, folder, stamp, run_json)
    summary: str = ray.get(task.remote(*given))
    return summary


def _fit(
    fit: Fit,
    settings: FitSettings,
    data: TaskData,
    out: Folder,
    number: int,
    folder: Folder,
    stamp: Stamp,
    run_json: str,
) -> str:
    estimator = estimator_of(fit.task, fit.model, point_of(fit), settings, reserved_device())
    result = estimator.fit(data, fit.seed, start_weights(out, fit.start, number))
    predictions = predict_held_out(estimator, data, fit.seed)
    name = f"model.{suffix_of(fit.model)}"
    entries = write_model(folder, estimator.save(), run_json, result.metrics, name)
    publish(folder, stamp, [*entries, folder.write_parquet(PREDICTIONS, predictions)])
    return f"{len(result.metrics)} epochs, validation AUROC {result.val_auroc:.3f}"


def place_of(out: Folder, fit: Fit) -> Folder:
    """The folder of the fit."""
    return out / fit_of(fit.task, fit.model, fit.start, fit.seed)
