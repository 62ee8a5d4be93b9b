"""Named runs. Each is a function that returns a ``Run``; a variant is ``dataclasses.replace``.

The fields of ``Run`` default to the paper's constants: what a recipe does not name is as in the
paper's appendices.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from medhmp.legend import LEVELS, Task
from medhmp.model.catalog import MODELS, Optimizer
from medhmp.run import (
    Cohort,
    Features,
    Finetune,
    Model,
    Notes,
    Paper,
    Pretrain,
    Report,
    Run,
    Shards,
    Splits,
    Synthetic,
    Tables,
    Tune,
)

PLANTED: Final[tuple[Task, ...]] = ("arf", "shock", "mortality", "readmission", "heart_failure")
"""The tasks whose outcomes the synthetic cohort draws from known probabilities."""

ON_NUMBERS: Final = (
    "medhmp_s",
    "hybrid",
    "frozen_s",
    "hist_gradient_boosting_statistics",
    "logistic_regression_statistics",
)
"""Models of ours that read numbers, and their floors."""

FEW_LABELS: Final = (
    "hist_gradient_boosting.max_leaf_nodes=2,4,8",
    "hist_gradient_boosting.components=30",
)
"""What is searched where some hundred rows are labelled: larger trees, and a thousand single
columns, would fit noise."""


def smoke() -> Run:
    """A synthetic cohort, a narrow network, a grid of two cells: the whole path in minutes.

    Stage one needs a few thousand steps before it finds what the items of a stay have in common,
    so its batches are small; stage two has a lower rate, as in the paper, or it would forget what
    stage one taught the stay encoder.
    """
    return Run(
        name="smoke",
        tables=Tables(synthetic=Synthetic(patients=1200)),
        splits=Splits(train=0.6, validation=0.1, test=0.3),
        features=Features(theta_1=0.02, theta_2=0.005, numbers=True),
        model=Model(width=64),
        pretrain_stay=Pretrain(epochs=40, batch_size=32, learning_rate=3e-3),
        pretrain_admission=Pretrain(epochs=25, batch_size=64, learning_rate=5e-4),
        finetune=Finetune(labels=300),
        tune=Tune(
            tasks=PLANTED,
            models=(*Tune().models, "frozen"),
            search=(
                "medhmp.batch_size=16",
                "medhmp.learning_rate=5e-3,1e-2",
                "f_lstm.batch_size=16",
                "f_lstm.learning_rate=1e-3,1e-2",
                *FEW_LABELS,
            ),
            replicates=2,
        ),
        report=Report(draws=1000),
    )


def tiny() -> Run:
    """Every stage of ``smoke`` in seconds: what becomes of a run that is killed, refused, or robbed
    of its disk can be seen on it. It learns nothing."""
    return replace(
        smoke(),
        name="tiny",
        tables=Tables(synthetic=Synthetic(patients=120, density=0.3)),
        splits=Splits(train=0.5, validation=0.2, test=0.3),
        shards=Shards(files=4),
        notes=Notes(max_tokens=32),
        model=Model(width=8),
        pretrain_stay=Pretrain(epochs=2, batch_size=16, checkpoint_steps=4),
        pretrain_admission=Pretrain(epochs=2, batch_size=16, checkpoint_steps=4),
        finetune=Finetune(epochs=2),
        tune=Tune(
            tasks=("mortality",),
            models=("medhmp",),
            starts=("both",),
            search=("medhmp.batch_size=16", "medhmp.learning_rate=1e-2"),
            replicates=1,
        ),
        report=Report(draws=20),
    )


RATE: Final[dict[Optimizer, float]] = {"sgd": 5e-3, "adam": 1e-3, "adamw": 1e-3}
"""The learning rate of a network whose grid is one cell."""


def tables() -> Run:
    """``smoke`` for ``jobs.paper_tables``: every model and task of the paper, one cell each, 200
    labelled rows, two replicates."""
    networks = {name: entry for name, entry in MODELS.items() if entry.is_network}
    return replace(
        smoke(),
        name="tables",
        notes=Notes(keep_text=True, max_tokens=64),
        finetune=Finetune(labels=200),
        tune=replace(
            smoke().tune,
            tasks=tuple(LEVELS),
            search=(
                *(f"{name}.batch_size=16" for name in networks),
                *(
                    f"{name}.learning_rate={RATE[next(iter(entry.optimizers.values()))]}"
                    for name, entry in networks.items()
                ),
                *FEW_LABELS,
            ),
        ),
        paper=Paper(shares=(0.1, 0.25, 0.5)),
    )


def mimic3_demo() -> Run:
    """The open demo of MIMIC-III (100 patients): real tables through every stage, in minutes."""
    return replace(
        smoke(),
        name="mimic3_demo",
        tables=Tables(),
        splits=Splits(train=0.6, validation=0.15, test=0.25),
        pretrain_stay=Pretrain(epochs=20, batch_size=16, learning_rate=3e-3),
        pretrain_admission=Pretrain(epochs=20, batch_size=16, learning_rate=5e-4),
    )


def physionet2012() -> Run:
    """The open Challenge of 2012: in-hospital death of 8,000 real stays (sets A and B), in minutes.

    Nobody is left out for their age: the organisers kept everybody from 15 on. Stage two needs
    codes and notes, which are not there, so stage one is the pretraining.
    """
    return Run(
        name="physionet2012",
        cohort=Cohort(min_age=15),
        splits=Splits(train=0.7, validation=0.1, test=0.2),
        features=Features(theta_1=0.02, theta_2=0.005, numbers=True),
        model=Model(width=64),
        pretrain_stay=Pretrain(epochs=15, batch_size=64, learning_rate=3e-3),
        pretrain_numbers=Pretrain(epochs=48, learning_rate=2e-3, weight_decay=1e-2, probe_epochs=8),
        tune=Tune(
            tasks=("mortality",),
            models=(*Tune().models, *ON_NUMBERS),
            starts=("none", "stay"),
            search=(
                "hist_gradient_boosting_statistics.iterations=300",
                "hist_gradient_boosting_statistics.max_leaf_nodes=8",
                "hist_gradient_boosting_statistics.max_features=0.1",
                "medhmp.batch_size=32",
                "medhmp.learning_rate=5e-4,1e-3,2e-3",
                "f_lstm.batch_size=32",
                "f_lstm.learning_rate=1e-4,1e-3,1e-2",
            ),
            replicates=2,
            extend=2,
        ),
    )


def evidence() -> Run:
    """For claims: a larger synthetic cohort, six rates, every start, the control, and five
    replicates, each with its own pretraining, labelled rows, order and initial weights.
    """
    return replace(
        smoke(),
        name="evidence",
        tables=Tables(synthetic=Synthetic(patients=4000)),
        pretrain_seeds=5,
        pretrain_stay=Pretrain(epochs=15, batch_size=32, learning_rate=3e-3),
        pretrain_admission=Pretrain(epochs=10, batch_size=64, learning_rate=5e-4),
        finetune=Finetune(labels=400),
        tune=Tune(
            tasks=PLANTED,
            models=(*Tune().models, "frozen"),
            starts=("none", "stay", "admission", "both", "shuffled"),
            search=(
                "medhmp.batch_size=16",
                "f_lstm.batch_size=16",
                # More rates for the random start, to be fair to it.
                "medhmp/none.learning_rate=2e-5,5e-5,1e-4,5e-4,1e-3,5e-3,1e-2,5e-2,2e-1,1.0",
                "f_lstm.learning_rate=1e-5,3e-5,1e-4,3e-4,1e-3,2e-3,3e-3,1e-2,3e-2,1e-1",
                *FEW_LABELS,
            ),
        ),
        report=Report(),
    )


def paper() -> Run:
    """The paper's constants throughout, admissions of ICD-9 alone, the full grid of 18 cells.

    Readings and facts are as the source has them, and every stay in hospital is an admission: the
    authors check no ranges, and MIMIC-III has no observation stays. Weights begin as PyTorch's do.
    """
    return Run(
        name="paper",
        tables=Tables(variables="none"),
        cohort=Cohort(observation_stays="admissions"),
        features=Features(icd="icd9_only", facts="own"),
        model=Model(forget_gates="halving", code_prior=None),
    )


RECIPES: Final[dict[str, Callable[[], Run]]] = {
    recipe.__name__: recipe
    for recipe in (smoke, tiny, tables, mimic3_demo, physionet2012, evidence, paper)
}
