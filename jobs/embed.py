"""Turn rows and codes into the vectors of a trained network.

    python -m jobs.embed runs/demo/models/pretrain_admission/from_stay \\
        --apply.shards runs/demo/shards --out runs/vectors
    python -m jobs.embed runs/demo/models/pretrain_stay \\
        --tables.sources mimic4=/data/mimic-iv --out runs/vectors

Reads a model's folder, which ``jobs.export`` made, and shards, or raw tables as ``jobs.predict``
does. Writes ``embeddings/{stays,admissions,visits}/part-*.parquet``, a vector per row beside its
identifiers and its split, and ``embeddings/{diagnoses,drugs}.parquet``, a vector per code beside
its name: those of them that the network has. Killed and run again, it goes on with the files that
are missing.
"""

from typing import Final, NoReturn

from medhmp import command
from medhmp.progress import Progress
from medhmp.run import Run

from . import predict

READS: Final = predict.READS
"""Sections and fields of a run that this job reads."""


def embed(run: Run) -> None:
    """Writes ``embeddings/`` under ``run.out``, or finds it whole. Ray must be initialized."""
    from medhmp.layout import EMBEDDINGS
    from medhmp.pretrained.embed import stamp_of, write_vectors
    from medhmp.pretrained.model import from_pretrained
    from medhmp.replacing import move_in, room_for
    from medhmp.storage import Folder, made_elsewhere

    assert run.apply.model
    progress, folder = Progress(run.quiet), Folder(run.out) / EMBEDDINGS
    model = from_pretrained(run.apply.model, run=run)
    model.check_encoders()
    shards = predict.shards_for(model)
    stamp = stamp_of(model, shards)
    room = room_for(folder, stamp, run.overwrite, resumes=True)
    if room is None:
        return progress.say(f"embeddings: whole already{made_elsewhere(folder)}, {folder}")
    counts = write_vectors(model, shards, room, stamp, progress)
    move_in(folder)
    said = ", ".join(f"{rows:,} {kind}" for kind, rows in counts.items())
    progress.say(f"embed: {said}, {folder}")


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, embed, READS, needs_shards=False, begin=predict.begin)


if __name__ == "__main__":
    main()
