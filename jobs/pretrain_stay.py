"""Stage one: learn to reconstruct the hours of unlabelled ICU stays (Eq. 1-3).

    python -m jobs.pretrain_stay smoke --out runs/demo --pretrain-stay.epochs 20

Reads ``shards/``. Writes ``pretrain_stay/``: model.safetensors, run.json, metrics.jsonl,
tensorboard/ and checkpoints/; for the control, where tune.starts has *shuffled*, the same in
``control/pretrain_stay/``. The same command goes on from the newest checkpoint after any
interruption. With ``--loop.skip_step`` it trains and writes nothing: it tells how fast batches
come.
"""

from typing import Final, NoReturn

from medhmp import command
from medhmp.run import Run

READS: Final = (
    *("out", "overwrite", "quiet", "private"),
    *("model.width", "model.demographic_hidden", "model.encoder_layers"),
    *("pretrain_on", "share_budget_gib", "pretrain_stay", "loop", "tune.starts"),
)
"""Sections and fields of a run that this job reads."""


def pretrain_stay(run: Run) -> None:
    """Trains stage one and, where the run has the control, stage one on shuffled hours."""
    from medhmp.layout import SHUFFLED_STAY_PRETRAINING, STAY_PRETRAINING
    from medhmp.shards.manifest import open_shards
    from medhmp.storage import Folder
    from medhmp.train.pretrain.launch import pretrain
    from medhmp.train.pretrain.stage import Stage, setup_of, stamp_of

    out, shards = Folder(run.out), open_shards(run)
    stages = [Stage("pretrain_stay", (out / STAY_PRETRAINING).uri)]
    if "shuffled" in run.tune.starts:
        control = (out / SHUFFLED_STAY_PRETRAINING).uri
        stages.append(Stage("pretrain_stay", control, shuffled=True))
    for stage in stages:
        pretrain(setup_of(run, stage), shards, stamp_of(run, shards, stage), run.overwrite)


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, pretrain_stay, READS)


if __name__ == "__main__":
    main()
