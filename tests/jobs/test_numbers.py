"""MedHMP-S from its pretraining to its predictions, by the jobs, on real Ray."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from jobs.pretrain_admission import pretrain_admission
from jobs.pretrain_stay import pretrain_stay
from jobs.tune import tune
from medhmp.evaluate.discrimination import auroc
from medhmp.model.frozen import NumberStayEmbedding
from medhmp.model.starts import load_start
from medhmp.run import Pretrain, Run
from medhmp.shards.labelled import read_task
from medhmp.shards.manifest import open_shards
from medhmp.train.finetune.fit import outputs_of

pytestmark = pytest.mark.ray


def test_numbers_are_pretrained_probed_and_begun_from(
    pretrained: Run, branch: Callable[..., Run]
) -> None:
    parts = ("shards", "targets", "pretrain_stay", "pretrain_admission")
    grid = replace(
        pretrained.tune,
        tasks=("mortality",),
        models=("medhmp_s", "frozen_s"),
        starts=("both",),
        search=("medhmp_s.learning_rate=1e-2",),
        replicates=1,
    )
    stage = Pretrain(epochs=2, batch_size=32, learning_rate=1e-2, probe_epochs=2)
    run = branch(pretrained, *parts, tune=grid, pretrain_numbers=stage)
    root, shards = Path(run.out), open_shards(run)
    pretrain_stay(run)
    rows = [json.loads(line) for line in (root / "numbers/pretrain_stay/metrics.jsonl").open()]
    assert rows[1]["loss"] < rows[0]["loss"]
    assert ["probe_auroc" in row for row in rows] == [False, True]
    one = load_file(root / "numbers/pretrain_stay/model.safetensors")
    embedder = NumberStayEmbedding(shards.widths, run.model)
    load_start(embedder, one)
    task = min(t for t, of in shards.manifest.tasks.items() if t in ("arf", "shock", "mortality"))
    data = read_task(shards, task, run.cohort, run.model)
    columns = {name: outputs_of(embedder, data[name], None).numpy() for name in data}
    assert columns["train"].shape == (len(data["train"]), 3 * run.model.width)
    assert 0 <= rows[1]["probe_auroc"] <= 1
    pretrain_admission(run)
    place = root / "numbers/pretrain_admission/from_stay"
    record = json.loads((place / "complete.json").read_text())
    assert record["fields"]["numbers"]
    two = load_file(place / "model.safetensors")
    names = {name for name in one if name.startswith("readings.")}
    assert {f"admission.stay.{name}" for name in names} <= set(two)
    tune(run)
    for model in grid.models:
        made = root / "tune/mortality" / model / "both"
        arrived = json.loads((made / "best.json").read_text())["arrived"]
        expected = "stay." if model == "medhmp_s" else "readings."
        assert arrived
        assert all(name.startswith(expected) for name in arrived)
        table = pq.read_table(made / "predictions.parquet")
        score = table["score"].to_numpy()
        assert np.isfinite(auroc(table["label"].to_numpy().astype(int), score.astype(float)))
