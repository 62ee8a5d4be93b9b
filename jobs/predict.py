"""Score rows with a trained model: of raw tables of any source, or of shards.

    python -m jobs.predict runs/demo/models/mortality/medhmp/both --apply.shards runs/demo/shards \\
        --out runs/scored

Reads the model's folder, which ``jobs.export`` made, and shards that its own featurizer made.
Writes ``predictions/<group>/part-*.parquet``, a row of the MEDS prediction schema each; the same
rows in ``predictions/rows/<group>/``, with our row_id and the score of every replicate; and
predictions.json: rows scored, and rows left out by reason. A group is the split of patients whose
tables the model was trained on, or "labelled" for rows from elsewhere. Killed and run again, it
goes on with the parts that are missing.
"""

from __future__ import annotations

from typing import Final, NoReturn

from medhmp import command
from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run

READS: Final = (
    *("out", "overwrite", "quiet", "private", "apply"),
    *("notes.model", "notes.t5", "notes.bert"),
)
"""Sections and fields of a run that this job reads."""


def predict(run: Run) -> None:
    """Writes ``predictions/`` under ``run.out``, or finds it whole. Ray must be initialized."""
    from medhmp.layout import APPLIED
    from medhmp.pretrained.model import from_pretrained
    from medhmp.pretrained.predict import stamp_of, write_predictions
    from medhmp.replacing import move_in, room_for
    from medhmp.storage import Folder, made_elsewhere

    if not (run.apply.model and run.apply.shards):
        raise Refusal("apply.shards is missing; give the shards whose rows are scored")
    progress, folder = Progress(run.quiet), Folder(run.out) / APPLIED
    model = from_pretrained(run.apply.model, run=run)
    shards = model.open_shards(run.apply.shards)
    stamp = stamp_of(model, shards)
    room = room_for(folder, stamp, run.overwrite, resumes=True)
    if room is None:
        return progress.say(f"predictions: whole already{made_elsewhere(folder)}, {folder}")
    summary = write_predictions(model, shards, room, stamp, progress)
    move_in(folder)
    scored = ", ".join(f"{rows:,} {group}" for group, rows in summary["rows"].items())
    progress.say(f"predict {model.task}: {scored or 'no rows'}, {folder}")
    for reason, rows in summary["left_out"].items():
        progress.say(f"  left out {rows:,}: {reason}")


def begin(uri: str) -> Run:
    """The run of a model folder: the fields that the model was made with."""
    from medhmp.pretrained.model import run_of

    return run_of(uri)


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, predict, READS, needs_shards=False, begin=begin)


if __name__ == "__main__":
    main()
