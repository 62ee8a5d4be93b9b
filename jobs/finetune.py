"""Fit one task with one model, start and seed.

    python -m jobs.finetune smoke --out runs/demo --fit.task mortality --fit.start both

Reads ``shards/`` and the pretraining output of the start. Writes
``finetune/<task>/<model>/<start>/seed-<n>/``: the fitted model (model.safetensors of a network,
else model.skops), run.json, metrics.jsonl, predictions.parquet.
"""

import ray

from medhmp import command
from medhmp.layout import PREDICTIONS, fit_of
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Fit, Run, fields_of
from medhmp.shards.labelled import TaskData, counts, hindrance, read_task
from medhmp.shards.manifest import open_shards
from medhmp.storage import Folder, Stamp, is_done, publish
from medhmp.train.checkpoint import write_model
from medhmp.train.device import reserved_device
from medhmp.train.finetune.estimators import (
    FitSettings,
    estimator_of,
    point_of,
    predict_held_out,
    suffix_of,
)
from medhmp.train.finetune.inputs import FitInputs, fit_fields, start_weights


def finetune(run: Run) -> None:
    """One fit as a Ray task, on a GPU where the cluster has one."""
    chosen, out, shards = run.fit, Folder(run.out), open_shards(run)
    folder = out / fit_of(chosen.task, chosen.model, chosen.start, chosen.seed)
    stamp = Stamp(
        fields_of(run, "fit") | fit_fields(run, chosen.task, chosen.model),
        FitInputs(out, shards, run.pretrain_on).of(chosen.task, chosen.start),
    )
    progress = Progress(run.quiet)
    if is_done(folder, stamp, run.overwrite):
        return progress.say(f"finetune: whole already, {folder}")
    data = read_task(shards, chosen.task, run.cohort, run.model, run.finetune.labels)
    if reason := hindrance(shards, chosen.task, data):
        raise Refusal(f"{reason} ({counts(data)}); use more data, or another fit.task")
    gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0
    fit = ray.remote(_fit).options(num_cpus=1, num_gpus=gpus)
    settings = FitSettings(run.model, run.finetune, shards.widths)
    summary = ray.get(fit.remote(chosen, settings, data, out, folder, run.to_json(), stamp))
    progress.say(f"finetune {chosen.task}: {summary}, {folder}")


def _fit(
    chosen: Fit,
    settings: FitSettings,
    data: TaskData,
    out: Folder,
    folder: Folder,
    run_json: str,
    stamp: Stamp,
) -> str:
    """Fits, writes and publishes; a summary in a few words."""
    estimator = estimator_of(
        chosen.task, chosen.model, point_of(chosen), settings, reserved_device()
    )
    result = estimator.fit(data, chosen.seed, start_weights(out, chosen.start))
    name = f"model.{suffix_of(chosen.model)}"
    predictions = predict_held_out(estimator, data, chosen.seed)
    entries = write_model(folder, estimator.save(), run_json, result.metrics, name)
    publish(folder, stamp, [*entries, folder.write_parquet(PREDICTIONS, predictions)])
    return f"{len(result.metrics)} epochs, validation AUROC {result.val_auroc:.3f}"


if __name__ == "__main__":
    command.main(__doc__, finetune)
