"""Nothing of the test patients reaches what is trained.

That no patient is in two splits, and that no event is later than its prediction time, is tested
with ``jobs.featurize``.
"""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

from jobs.featurize import featurize
from jobs.synthesize import synthesize
from medhmp.evaluate.discrimination import auroc
from medhmp.legend import SPLITS
from medhmp.recipes import smoke
from medhmp.run import Finetune, Model, Pretrain, Run, Shards, Splits, Synthetic, Tables
from medhmp.shards.labelled import Labelled, TaskData, read_task
from medhmp.shards.manifest import read_manifest
from medhmp.shards.stream import Share, Table
from medhmp.storage import Folder
from medhmp.train.finetune import FitSpec, fit, scores
from medhmp.train.launch import Stage, plan_of

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def run(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A cohort of which a third are test patients, featurized."""
    small = Pretrain(epochs=1, batch_size=8)
    made = replace(
        smoke(),
        quiet=True,
        out=str(tmp_path_factory.mktemp("leakage")),
        tables=Tables(synthetic=Synthetic(patients=250)),
        splits=Splits(train=0.5, validation=0.15, test=0.35),
        shards=Shards(files=4, buckets=2),
        model=Model(width=16),
        pretrain_stay=small,
        pretrain_admission=small,
        finetune=Finetune(epochs=4),
    )
    synthesize(made)
    featurize(made)
    return made


def patients(run: Run, split: str) -> set[int]:
    shards = Folder(run.out) / "shards"
    files = read_manifest(run).tables["patients"]
    table = pl.concat([pl.from_arrow(shards.read_parquet(f"patients/{name}")) for name in files])
    return set(table.filter(split=split)["subject_id"])


def read_by(run: Run, table: Table) -> set[int]:
    """Patients in the batches of one epoch of pretraining, as one worker gets them."""
    stage = Stage("pretrain_stay" if table == "stays" else "pretrain_admission", run.out)
    batches = Share(plan_of(run, stage), rank=0, world_size=1).batches()
    return {subject for batch in batches(0) for subject in batch["subject_id"].tolist()}


@pytest.mark.parametrize("table", get_args(Table))
@pytest.mark.parametrize("budget", [4.0, 0.0], ids=["in memory", "streamed"])
def test_pretraining_reads_training_patients_alone(run: Run, table: Table, budget: float) -> None:
    seen = read_by(replace(run, share_budget_gib=budget), table)
    train = patients(run, "train")
    assert seen <= train
    assert len(seen) > 0.8 * len(train)  # the last batch of an epoch is left out


def test_the_paper_s_option_reads_every_patient(run: Run) -> None:
    """What the test above would find if it were the default."""
    seen = read_by(replace(run, pretrain_on="all"), "stays")
    assert all(seen & patients(run, split) for split in SPLITS)


def shuffled(data: TaskData, generator: np.random.Generator) -> TaskData:
    """The same rows; labels of the training and validation rows dealt anew."""
    labels = {name: generator.permutation(data[name].label) for name in ("train", "validation")}
    return {**data, **{name: Labelled(data[name].rows, new) for name, new in labels.items()}}


def test_shuffled_labels_teach_nothing(run: Run) -> None:
    """The mean over five shuffles, against twice the standard error of one: with a random ranking
    of n1 positives and n0 negatives that is sqrt((n1 + n0 + 1) / (12 n1 n0)) (Mann-Whitney)."""
    data = read_task(run, "mortality")
    widths = read_manifest(run).widths
    label = data["test"].label
    areas = []
    for seed in range(5):
        spec = FitSpec("mortality", "medhmp", "none", 16, 1e-2, seed)
        noise = shuffled(data, np.random.default_rng(seed))
        fitted = fit(run, spec, noise, widths, None)
        areas.append(auroc(label, scores(run, spec, fitted.weights, data["test"], widths)))
    n1, n0 = label.sum(), (1 - label).sum()
    error = np.sqrt((n1 + n0 + 1) / (12 * n1 * n0))
    assert abs(np.mean(areas) - 0.5) < 2 * error
