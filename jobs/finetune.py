"""Fit one task with one model, start and seed.

    python -m jobs.finetune smoke --out runs/demo --fit.task mortality --fit.start both

Reads ``shards/`` and the pretraining output of the start; with ``pretrain_seeds`` above one that of
number ``fit.seed`` modulo these. Writes
``finetune/<task>/<model>/<start>/seed-<n>/``: the fitted model (model.safetensors of a network,
else model.skops), run.json, metrics.jsonl, predictions.parquet.
"""

from typing import Final, NoReturn

from medhmp import command
from medhmp.model.catalog import MODELS
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run, fields_of

READS: Final = (
    *("out", "variant", "overwrite", "quiet", "private", "fit", "finetune"),
    *("model.width", "model.demographic_hidden", "model.encoder_layers"),
    *("model.max_stays", "model.head_dropout", "model.forget_gates"),
    *("cohort.tasks", "cohort.max_visits"),
    *("pretrain_on", "pretrain_sources", "pretrain_seeds"),
    *("notes.t5", "notes.bert", "notes.fine_tune", "notes.max_tokens"),
)
"""Sections and fields of a run that this job reads."""


def finetune(run: Run) -> None:
    """Makes the one fit of the run, or finds it whole."""
    from medhmp.layout import home_of
    from medhmp.provenance import run_json
    from medhmp.replacing import move_in, room_for
    from medhmp.shards.labelled import counts, draw, hindrance
    from medhmp.shards.manifest import open_shards
    from medhmp.storage import Folder, Stamp, made_elsewhere
    from medhmp.train.finetune.estimators import FitSettings
    from medhmp.train.finetune.inputs import FitInputs, fit_fields, read_data
    from medhmp.train.finetune.single import SingleFit, place_of, run_fit

    fit, shards, progress = run.fit, open_shards(run), Progress(run.quiet)
    fields = fields_of(run, "fit") | fit_fields(run, fit.task, fit.model)
    number = fit.seed % run.pretrain_seeds
    inputs = FitInputs(run, shards)
    stamp = Stamp(fields, inputs.of(fit.task, fit.start, fit.model, run.notes, [number]))
    folder = place_of(Folder(home_of(run.out, run.variant)), fit)
    room = room_for(folder, stamp, run.overwrite)
    if room is None:
        return progress.say(f"finetune: whole already{made_elsewhere(folder)}, {folder}")
    data = read_data(run, shards, fit.task, (fit.model,))
    data = draw(data, run.finetune.labels, fit.seed)
    if reason := hindrance(shards, fit.task, data):
        raise Refusal(f"{reason} ({counts(data)}); use more data, or another fit.task")
    settings = FitSettings(run.model, run.finetune, shards.widths, run.notes)
    weights = inputs.weights(fit.start, number, MODELS[fit.model].reads_numbers)
    given = SingleFit(
        shards.level(fit.task), fit, settings, data, weights, room, stamp, run_json(run)
    )
    summary = run_fit(given)
    move_in(folder)
    progress.say(f"finetune {fit.task}: {summary}, {folder}")


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, finetune, READS)


if __name__ == "__main__":
    main()
