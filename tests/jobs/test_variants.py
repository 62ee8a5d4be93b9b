"""Ablations beside one another below one root: what each has of its own, and what it shares."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from jobs.finetune import finetune
from jobs.pretrain_admission import pretrain_admission
from jobs.pretrain_stay import pretrain_stay
from jobs.report import report
from jobs.tune import tune
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import COMPLETE

pytestmark = pytest.mark.ray


def whole(out: str) -> dict[str, bytes]:
    """The record of every output below a root, by its place."""
    places = Path(out).rglob(COMPLETE)
    return {
        str(p.parent.relative_to(out)): p.read_bytes()
        for p in places
        if "checkpoints" not in p.parts
    }


def variant(run: Run, name: str, labels: int | None = None, **model: Any) -> Run:
    """One grid of one cell from *both*, with other labels or another loss."""
    narrow = replace(
        run.tune,
        tasks=("mortality",),
        models=("medhmp",),
        starts=("both",),
        search=("medhmp.batch_size=32", "medhmp.learning_rate=5e-3"),
    )
    return replace(
        run,
        variant=name,
        tune=narrow,
        model=replace(run.model, **model),
        finetune=replace(run.finetune, labels=labels),
        fit=replace(run.fit, task="mortality", start="both"),
    )


def test_ablations_lie_side_by_side_and_share_what_is_the_same(
    pretrained: Run, branch: Callable[..., Run]
) -> None:
    run = branch(pretrained, "shards", "pretrain_stay", "pretrain_admission")
    before = whole(run.out)

    few, fewer = variant(run, "few", labels=60), variant(run, "fewer", labels=30)
    for one in (few, fewer):
        pretrain_stay(one)
        pretrain_admission(one)
        tune(one)
        finetune(one)
    report(few)
    grids = {f"variants/{name}/tune/mortality/medhmp/both" for name in ("few", "fewer")}
    fits = {f"variants/{name}/finetune/mortality/medhmp/both/seed-0" for name in ("few", "fewer")}
    assert whole(run.out).keys() - before.keys() == grids | fits | {"variants/few/report"}
    ours, theirs = (json.loads(whole(run.out)[place]) for place in sorted(grids))
    assert (ours["fields"]["finetune.labels"], theirs["fields"]["finetune.labels"]) == (60, 30)
    assert ours["inputs"] == theirs["inputs"]
    scores = [pl.read_parquet(f"{run.out}/{grid}/predictions.parquet") for grid in sorted(grids)]
    assert scores[0].drop("score").equals(scores[1].drop("score"))
    assert not scores[0].equals(scores[1])
    told = json.loads((Path(run.out) / "variants/few/report/results.json").read_text())
    assert [row["fields"]["finetune"]["labels"] for row in told["rows"]] == [60]

    alone = variant(run, "no_contrast", contrast_weight=0.0)
    with pytest.raises(Refusal, match="no_contrast/pretrain_admission/from_stay is missing or not"):
        tune(alone)
    assert {place: whole(run.out)[place] for place in before} == before
