"""Fit one task with one model, start and seed.

    python -m jobs.finetune smoke --out runs/demo --fit.task mortality --fit.start both

Reads ``shards/`` and the pretraining output of the start. Writes
``finetune/<task>/<model>/<start>/seed-<n>/``: model.safetensors, run.json, metrics.jsonl,
predictions.parquet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from medhmp import command
from medhmp.legend import LEVELS, Widths
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run, fields_of

if TYPE_CHECKING:
    from medhmp.shards.labelled import TaskData
    from medhmp.storage import Folder, Stamp
    from medhmp.train.finetune.fit import Fit, FitSpec

READS: Final = (
    *("out", "overwrite", "quiet", "fit", "finetune"),
    *("model.width", "model.demographic_hidden", "model.encoder_layers"),
    *("model.max_stays", "model.head_dropout", "cohort.max_visits", "pretrain_on"),
)
"""Sections and fields of a run that this job reads."""


def finetune(run: Run) -> None:
    """One fit as a Ray task, on a GPU where the cluster has one."""
    import ray

    from medhmp.storage import Folder, Stamp, is_done, made_elsewhere
    from medhmp.train.finetune.fit import ROWS_READ_BY, inputs_of
    from medhmp.train.objective import model_fields

    chosen = run.fit
    if chosen.model == "hist_gradient_boosting":
        raise Refusal(
            "fit.model hist_gradient_boosting has no gradient steps; run jobs.tune for it"
        )
    root = Folder(run.out)
    place = f"finetune/{chosen.task}/{chosen.model}/{chosen.start}/seed-{chosen.seed}"
    inputs = inputs_of(run, chosen.task, chosen.start)
    fields = fields_of(run, "fit", "finetune", *ROWS_READ_BY[LEVELS[chosen.task]])
    stamp = Stamp(fields | model_fields(run, "fit"), inputs)
    if is_done(root / place, stamp, run.overwrite):
        told = made_elsewhere(root / place)
        return Progress(run.quiet).say(f"finetune: whole already{told}, {root / place}")
    gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0
    summary = ray.get(ray.remote(_fit).options(num_cpus=1, num_gpus=gpus).remote(run, place, stamp))
    Progress(run.quiet).say(f"finetune {chosen.task}: {summary}, {root / place}")


def _fit(run: Run, place: str, stamp: Stamp) -> str:
    from medhmp.shards.labelled import counts, hindrance, read_task
    from medhmp.shards.manifest import open_shards
    from medhmp.storage import Folder
    from medhmp.train.device import reserved_device
    from medhmp.train.finetune.fit import FitSpec, fit, start_weights

    chosen, folder = run.fit, Folder(run.out) / place
    shards = open_shards(run)
    data = read_task(shards, chosen.task, run.cohort, run.model, run.finetune.labels)
    if reason := hindrance(shards, chosen.task, data):
        raise Refusal(f"{reason} ({counts(data)}); use more data, or another fit.task")
    widths = shards.widths
    spec = FitSpec(
        chosen.task,
        chosen.model,
        chosen.start,
        chosen.batch_size,
        chosen.learning_rate,
        chosen.seed,
    )
    fitted = fit(run, spec, data, widths, start_weights(run, chosen.start), reserved_device())
    _publish(run, spec, data, widths, fitted, folder, stamp)
    return f"{fitted.epochs} epochs, validation AUROC {fitted.val_auroc:.3f}"


def _publish(
    run: Run,
    spec: FitSpec,
    data: TaskData,
    widths: Widths,
    fitted: Fit,
    folder: Folder,
    stamp: Stamp,
) -> None:
    import pyarrow as pa

    from medhmp.storage import publish
    from medhmp.train.checkpoint import write_model
    from medhmp.train.device import reserved_device
    from medhmp.train.finetune.fit import HELD_OUT, predictions_table, scores

    tables = [
        predictions_table(
            data[split],
            split,
            spec.seed,
            scores(run, spec, fitted.weights, data[split], widths, reserved_device()),
        )
        for split in HELD_OUT
    ]
    entries = write_model(folder, fitted.weights, run, fitted.metrics)
    entries.append(folder.write_parquet("predictions.parquet", pa.concat_tables(tables)))
    publish(folder, stamp, entries)


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, finetune, READS)


if __name__ == "__main__":
    main()
