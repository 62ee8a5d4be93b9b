"""Stage two: masked code prediction and contrast over the modalities of admissions (Eq. 4-11).

    python -m jobs.pretrain_admission smoke --out runs/demo --pretrain-admission.epochs 20

Reads ``shards/`` and ``pretrain_stay/``. Writes what tune.starts asks for, each as stage one's
output: ``pretrain_admission/from_stay/`` for *both*, begun from stage one's whole stay encoder;
``pretrain_admission/from_scratch/`` for *admission*; and, for the control, *shuffled*,
``control/pretrain_admission/from_stay/``, begun from ``control/pretrain_stay/``; and with
pretrain_seeds above one all of it again in ``seed-<n>/``. Where tune.models has a model that reads
numbers, the first two again for MedHMP-S in ``numbers/``. With ``--loop.skip_step`` it trains and
writes nothing: it tells how fast batches come.
"""

import itertools
from typing import Final, NoReturn

from medhmp import command
from medhmp.legend import Start
from medhmp.run import Run

READS: Final = (
    *("name", "out", "variant", "overwrite", "quiet", "private", "tracker", "model"),
    *("pretrain_on", "pretrain_sources", "pretrain_seeds", "share_budget_gib"),
    *("pretrain_admission", "loop", "tune.starts", "tune.models"),
)
"""Sections and fields of a run that this job reads."""


def pretrain_admission(run: Run) -> None:
    """Trains stage two for the starts of the run: from stage one, from scratch, and the control."""
    from medhmp.layout import started_from
    from medhmp.shards.manifest import open_shards
    from medhmp.train.pretrain.launch import pretrain
    from medhmp.train.stage import setup_of, stage_of, stamp_of

    shards = open_shards(run)
    kinds = (False, True) if run.reads_numbers else (False,)
    count = 1 if run.loop.skip_step else run.pretrain_seeds
    stages: tuple[Start, ...] = ("both", "admission", "shuffled")
    for number, numbers in itertools.product(range(count), kinds):
        for start in stages:
            if start not in run.tune.starts or (numbers and start == "shuffled"):
                continue
            stage = stage_of(run, shards, started_from(start, numbers), number)
            pretrain(setup_of(run, stage), shards, stamp_of(run, shards, stage), run.overwrite)


def main() -> NoReturn:
    """The command line of this job."""
    command.main(__doc__, pretrain_admission, READS)


if __name__ == "__main__":
    main()
