"""Score rows with a trained model: of raw tables of any source, or of shards.

    python -m jobs.predict runs/demo/models/mortality/medhmp/both \\
        --tables.sources physionet2012=/data/2012 --out runs/2012
    python -m jobs.predict runs/demo/models/mortality/medhmp/both \\
        --apply.shards runs/demo/shards --out runs/scored

Reads the model's folder, which ``jobs.export`` made, and raw tables, whose features its own
featurizer makes in OUT/shards, or shards that it has made before. Writes
``predictions/<group>/part-*.parquet``, a row of the MEDS prediction schema each; the same rows in
``predictions/rows/<group>/``, with our row_id and the score of every replicate; predictions.json:
rows scored, and rows left out by reason; and, where labels are at hand, ``report/``, as a run has
it. A group is the split of patients whose tables the model was trained on; rows from elsewhere are
"labelled", and "unlabelled" where their source has no label of the task: all of these are scored.
Killed and run again, it goes on with the parts that are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from medhmp import command
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run

from . import embed_notes, featurize

if TYPE_CHECKING:
    from medhmp.pretrained.model import TrainedModel
    from medhmp.shards.manifest import OpenShards
    from medhmp.storage import Output

READS: Final = (
    *("name", "out", "overwrite", "quiet", "private", "apply", "report"),
    *("tables", "cohort", "features.min_filled", "shards.bucket_stays", "notes"),
)
"""Sections and fields of a run that this job reads."""


def predict(run: Run) -> None:
    """Writes ``predictions/`` and ``report/`` under ``run.out``. Ray must be initialized."""
    from medhmp.layout import APPLIED
    from medhmp.pretrained.model import from_pretrained
    from medhmp.pretrained.predict import stamp_of, tell, write_predictions
    from medhmp.replacing import move_in, room_for
    from medhmp.storage import Folder, made_elsewhere, opened

    assert run.apply.model
    progress, folder = Progress(run.quiet), Folder(run.out) / APPLIED
    model = from_pretrained(run.apply.model, run=run)
    model.check_encoders()
    shards = shards_for(model)
    stamp = stamp_of(model, shards)
    room = room_for(folder, stamp, run.overwrite, resumes=True)
    if room is None:
        progress.say(f"predictions: whole already{made_elsewhere(folder)}, {folder}")
    else:
        write_predictions(model, shards, room, stamp, progress)
        move_in(folder)
    predictions = opened(folder, "predict")
    tell(predictions, progress)
    _report(model, shards, predictions, progress)


def shards_for(model: TrainedModel) -> OpenShards:
    """The shards whose rows are read: those given, or made here of raw tables by the model's own
    featurizer. The text of notes stays no longer than it is needed."""
    from medhmp.layout import NOTES, RAW, SHARDS
    from medhmp.storage import COMPLETE, Folder

    run = model.run
    if run.apply.shards:
        return model.open_shards(run.apply.shards)
    root = Folder(run.out)
    if not run.tables.sources and not (root / RAW).exists(COMPLETE):
        raise Refusal(
            "there is nothing to read; give raw tables with --tables.sources NAME=URI, or shards "
            "with --apply.shards"
        )
    featurize.featurize(run)
    if model.reads_vectors:
        embed_notes.embed_notes(run)
    elif not (model.reads_text or run.notes.keep_text):
        (root / SHARDS / NOTES).remove()
    return model.open_shards(f"{root / SHARDS}")


def _report(
    model: TrainedModel, shards: OpenShards, predictions: Output, progress: Progress
) -> None:
    """Writes the report of a run about these predictions, where there are labels to judge by."""
    from rich.console import Console

    from medhmp.layout import PAGE, REPORT
    from medhmp.pretrained.external import hindrance, judged_rows, stamp_of, write_report
    from medhmp.replacing import move_in, room_for
    from medhmp.report.write import console_table
    from medhmp.storage import Folder, publish

    run, rows = model.run, judged_rows(predictions)
    if reason := hindrance(rows):
        return progress.say(f"no report: {reason}")
    folder = Folder(run.out) / REPORT
    stamp = stamp_of(run, predictions, shards)
    if room := room_for(folder, stamp, run.overwrite):
        entries, results = write_report(room, model, shards, predictions, rows)
        publish(room, stamp, entries)
        move_in(folder)
        if not run.quiet:
            Console().print(console_table(results))
    progress.say(f"report: {folder}/{PAGE}")


def begin(uri: str) -> Run:
    """The run of a model folder: the fields that the model was made with."""
    from medhmp.pretrained.model import run_of

    return run_of(uri)


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, predict, READS, needs_shards=False, begin=begin)


if __name__ == "__main__":
    main()
