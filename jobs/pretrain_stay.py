"""Stage one: learn to reconstruct the hours of unlabelled ICU stays (Eq. 1-3).

    python -m jobs.pretrain_stay smoke --out runs/demo --pretrain-stay.epochs 20

Reads ``shards/``. Writes ``pretrain_stay/``: model.safetensors, run.json, metrics.jsonl,
tensorboard/ and checkpoints/; for the control, where tune.starts has *shuffled*, the same in
``control/pretrain_stay/``; for MedHMP-S, where tune.models has a model that reads numbers, in
``numbers/pretrain_stay/``; and with pretrain_seeds above one all again in ``seed-<n>/``. The same
command goes on from the newest checkpoint after any interruption. With ``--loop.skip_step`` it
trains and writes nothing: it tells how fast batches come.
"""

from typing import Final, NoReturn

from medhmp import command
from medhmp.run import Run

READS: Final = (
    *("name", "out", "overwrite", "quiet", "private", "tracker"),
    *("model.width", "model.demographic_hidden", "model.encoder_layers", "model.forget_gates"),
    *("variant", "pretrain_on", "pretrain_sources", "pretrain_seeds", "share_budget_gib"),
    *("pretrain_stay", "pretrain_numbers", "cohort.max_visits", "model.max_stays"),
    *("loop", "tune.starts", "tune.models"),
)
"""Sections and fields of a run that this job reads."""


def pretrain_stay(run: Run) -> None:
    """Trains stage one, and where the run has them that of the control and that of MedHMP-S."""
    from medhmp.layout import SHUFFLED_STAY_PRETRAINING, STAY_PRETRAINING, started_from
    from medhmp.shards.manifest import open_shards
    from medhmp.train.pretrain.launch import pretrain
    from medhmp.train.stage import setup_of, stage_of, stamp_of

    shards, places = open_shards(run), [STAY_PRETRAINING]
    if "shuffled" in run.tune.starts:
        places.append(SHUFFLED_STAY_PRETRAINING)
    if run.reads_numbers:
        places.append(started_from("stay", numbers=True))
    for number in range(1 if run.loop.skip_step else run.pretrain_seeds):
        for place in places:
            stage = stage_of(run, shards, place, number)
            pretrain(setup_of(run, stage), shards, stamp_of(run, shards, stage), run.overwrite)


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, pretrain_stay, READS)


if __name__ == "__main__":
    main()
