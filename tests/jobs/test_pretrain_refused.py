"""Refusals of pretraining, before it trains or while it does."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.all import run_all
from jobs.pretrain_stay import pretrain_stay
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.train.pretrain.launch import check_room

pytestmark = pytest.mark.ray


def test_every_stage_without_steps_is_refused(
    refused: Callable[..., str], arguments: list[str], tmp_path: Path
) -> None:
    sentence = refused(
        run_all, *arguments, "--out", str(tmp_path), "--loop.skip_step", needs_ray=False
    )
    assert "loop.skip_step trains nothing that later stages could read" in sentence


def test_text_that_a_model_reads_must_be_kept(refused: Callable[..., str], tmp_path: Path) -> None:
    arguments = ["smoke", "--out", str(tmp_path), "--tune.models", "medhmp", "star_bert"]
    sentence = refused(run_all, *arguments, needs_ray=False)
    assert "tune.models has star_bert, which read the text of notes" in sentence
    assert "give --notes.keep-text" in sentence


def test_a_loss_that_diverges_ends_the_job_in_one_sentence(
    featurized: Run, branch: Callable[..., Run], refused: Callable[..., str], arguments: list[str]
) -> None:
    run = branch(featurized, "shards")
    rate = ("--pretrain-stay.learning-rate", "1e30")
    sentence = refused(pretrain_stay, *arguments, "--out", run.out, *rate)
    assert re.search(r"the loss at step \d of epoch 0 is (nan|inf); lower the learning", sentence)
    assert "; no checkpoint is good" in sentence


def test_a_batch_larger_than_a_share_is_refused_before_a_worker_starts(
    featurized: Run, branch: Callable[..., Run]
) -> None:
    large = replace(featurized.pretrain_stay, batch_size=4096)
    run = branch(featurized, "shards", pretrain_stay=large)
    with pytest.raises(Refusal, match=r"stays for batches of 4096; lower its batch size"):
        pretrain_stay(run)


@pytest.mark.parametrize(
    ("workers", "resources", "sentence"),
    [
        (3, {"CPU": 2.0}, "3 workers would leave no CPU of the cluster's 2 for reading"),
        (8, {"CPU": 96.0, "GPU": 7.0}, "8 workers need a GPU each and the cluster has 7"),
    ],
)
def test_more_workers_than_a_cluster_has_room_for_are_refused(
    workers: int, resources: dict[str, float], sentence: str
) -> None:
    with pytest.raises(Refusal, match=sentence):
        check_room(workers, resources)
    check_room(workers, {"CPU": workers / 2 + 1})
    check_room(workers, {"CPU": workers / 2 + 1, "GPU": workers})
