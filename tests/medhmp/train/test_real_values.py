"""A cohort whose features are real numbers, from raw tables through every objective."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jobs.featurize import featurize
from jobs.synthesize import synthesize
from medhmp.recipes import smoke
from medhmp.run import Model, Shards, Synthetic, Tables
from medhmp.shards.labelled import read_task
from medhmp.shards.manifest import open_shards
from medhmp.shards.stream import Plan, Share
from medhmp.shards.tabular import counted
from medhmp.storage import Folder, Stamp, publish
from medhmp.train.objective import (
    build_admission_pretraining,
    build_classifier,
    build_stay_pretraining,
)

pytestmark = pytest.mark.ray

MODEL = Model(width=8, demographic_hidden=4)


@pytest.fixture(scope="module")
def run(ray, tmp_path_factory):
    small = smoke()
    run = replace(
        small,
        quiet=True,
        out=str(tmp_path_factory.mktemp("real")),
        tables=Tables(synthetic=Synthetic(patients=60)),
        shards=Shards(files=3, bucket_stays=100),
        features=replace(small.features, discretize=False),
        model=MODEL,
    )
    synthesize(run)
    featurize(run)
    publish(Folder(run.out) / "shards/note_embeddings", Stamp({}, {}), [])  # nobody has a note
    return run


@pytest.fixture(scope="module")
def manifest(run):
    return open_shards(run).manifest


def batch_of(run, manifest, table, rows=16):
    files = manifest.rows_per_file(table, ("train",))
    shards = (Folder(run.out) / "shards").uri
    sha256 = {name: file.sha256 for name, file in manifest.tables[table].items()}
    plan = Plan(shards, table, files, ("train",), rows, 0, 1e9, max_stays=3, sha256=sha256)
    return next(Share(plan, 0, 1).batches()(0))


def dense(batch, offsets, ids, width):
    """(rows, width) array of what a CSR of the batch stands for."""
    ends = batch[offsets]
    array = torch.zeros(len(ends) - 1, width)
    row = torch.repeat_interleave(torch.arange(len(ends) - 1), ends.diff())
    array[row, batch[f"{ids}_ids"]] = batch[f"{ids}_values"]
    return array


def assert_every_gradient(objective, loss):
    loss.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_stage_one_reconstructs_the_values(run, manifest):
    torch.manual_seed(0)
    widths, batch = manifest.widths, batch_of(run, manifest, "stays")
    objective = build_stay_pretraining(MODEL, widths)
    m = dense(batch, "hour_offsets", "feature", widths.features).view(16, widths.hours, -1)
    assert not m[m != 0].eq(1).all()
    static = dense(batch, "demographic_offsets", "demographic", widths.demographics)
    assert not static[static != 0].eq(1).all()

    _, (_, h) = objective.stay.lstm(m)
    d = objective.stay.demographics.second(objective.stay.demographics.first(static).relu())
    b = objective.stay.fusion(torch.stack((h[0], d), dim=1))
    reconstruction = objective.decoder.output(objective.decoder(b))
    expected = (m - reconstruction).square().sum() / (16 * widths.hours)
    loss, _ = objective(batch)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)
    assert_every_gradient(objective, loss)


def test_stage_two_takes_the_stays_values(run, manifest):
    torch.manual_seed(0)
    batch = batch_of(run, manifest, "admissions")
    assert len(batch["feature_values"]) == len(batch["feature_ids"])
    assert len(batch["demographic_values"]) == len(batch["demographic_ids"])
    objective = build_admission_pretraining(MODEL, manifest.widths)
    state = objective.masks.get_state()
    loss, report = objective(batch)
    assert all(term.isfinite() for term in report.values())
    assert_every_gradient(objective, loss)
    for name in ("feature_values", "demographic_values"):
        objective.masks.set_state(state)
        assert objective({**batch, name: 2 * batch[name]})[0] != loss


@pytest.mark.parametrize("model", ["medhmp", "f_lstm"])
def test_classifiers_and_counts_take_them_too(run, manifest, model):
    torch.manual_seed(0)
    data = read_task(open_shards(run), "mortality", run.cohort, run.model)
    part, widths = data["train"], manifest.widths
    batch = part.batch(np.arange(len(part)))
    objective = build_classifier("stay", model, MODEL, widths)
    loss, _ = objective(batch)
    assert_every_gradient(objective, loss)
    m = dense(batch, "hour_offsets", "feature", widths.features).view(len(part), widths.hours, -1)
    static = dense(batch, "demographic_offsets", "demographic", widths.demographics)
    expected = torch.cat((m.sum(1), static), dim=1).numpy()
    np.testing.assert_allclose(counted(part.rows, widths), expected, rtol=1e-4, atol=1e-4)
