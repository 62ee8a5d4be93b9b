"""Named runs. Each is a function that returns a ``Run``; a variant is ``dataclasses.replace``."""

from dataclasses import replace

from medhmp.run import Cohort, Features, Model, Pretrain, Report, Run, Splits, Synthetic, Tables, Tune


def paper() -> Run:
    """The paper's constants (Appendices A and B); the defaults of ``Run`` are these."""
    return Run(name="paper")


def mimic3_demo() -> Run:
    """The open MIMIC-III demo: 100 patients, to see real tables go through. Narrow and short."""
    small = smoke()
    return replace(
        small,
        name="mimic3_demo",
        tables=Tables(),
        splits=Splits(train=0.6, validation=0.15, test=0.25),
    )


def smoke() -> Run:
    """Synthetic cohort, narrow network, two-cell grid: the whole path in minutes on two cores."""
    return Run(
        name="smoke",
        tables=Tables(synthetic=Synthetic(patients=2000)),
        splits=Splits(train=0.6, validation=0.1, test=0.3),
        features=Features(theta_1=0.02, theta_2=0.005),
        model=Model(width=64),
        pretrain_stay=Pretrain(epochs=20, batch_size=128, learning_rate=3e-3),
        pretrain_admission=Pretrain(epochs=20, batch_size=128, learning_rate=1e-3),
        finetune=replace(Run().finetune, labels=400),
        tune=Tune(batch_sizes=(32,), learning_rates=(5e-3, 2e-2), seeds=2),
        report=Report(draws=1000),
    )


def evidence() -> Run:
    """For claims: a larger synthetic cohort, six learning rates, five seeds, all starts, the control."""
    small = smoke()
    return replace(
        small,
        name="evidence",
        tables=Tables(synthetic=Synthetic(patients=5000)),
        tune=Tune(
            batch_sizes=(32,),
            none_learning_rates=(1e-2, 5e-2),
            starts=("none", "stay", "admission", "both", "shuffled"),
        ),
        report=Report(),
    )


RECIPES = {f.__name__: f for f in (smoke, mimic3_demo, evidence, paper)}

__all__ = ["RECIPES", "Cohort", "evidence", "mimic3_demo", "paper", "smoke"]
