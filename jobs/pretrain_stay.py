"""Stage one: learn to reconstruct the hours of unlabelled ICU stays (Eq. 1-3).

    python -m jobs.pretrain_stay smoke --out runs/demo --pretrain-stay.epochs 20

Reads ``shards/``. Writes ``pretrain_stay/``: model.safetensors, run.json, metrics.jsonl,
tensorboard/ and checkpoints/; for the control, where tune.starts has *shuffled*, the same in
``control/pretrain_stay/``; and with pretrain_seeds above one both again in ``seed-<n>/``. The same
command goes on from the newest checkpoint after any interruption. With ``--loop.skip_step`` it
trains and writes nothing: it tells how fast batches come.
"""

from typing import Final, NoReturn

from medhmp import command
from medhmp.run import Run

READS: Final = (
    *("out", "overwrite", "quiet", "private"),
    *("model.width", "model.demographic_hidden", "model.encoder_layers", "model.forget_gates"),
    *("variant", "pretrain_on", "pretrain_sources", "pretrain_seeds", "share_budget_gib"),
    *("pretrain_stay", "loop", "tune.starts"),
)
"""Sections and fields of a run that this job reads."""


def pretrain_stay(run: Run) -> None:
    """Trains stage one and, where the run has the control, stage one on shuffled hours."""
    from medhmp.layout import SHUFFLED_STAY_PRETRAINING, STAY_PRETRAINING
    from medhmp.shards.manifest import open_shards
    from medhmp.train.pretrain.launch import pretrain
    from medhmp.train.pretrain.stage import setup_of, stage_of, stamp_of

    shards, places = open_shards(run), [STAY_PRETRAINING]
    if "shuffled" in run.tune.starts:
        places.append(SHUFFLED_STAY_PRETRAINING)
    for number in range(1 if run.loop.skip_step else run.pretrain_seeds):
        for place in places:
            stage = stage_of(run, shards, place, number)
            pretrain(setup_of(run, stage), shards, stamp_of(run, shards, stage), run.overwrite)


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, pretrain_stay, READS)


if __name__ == "__main__":
    main()
