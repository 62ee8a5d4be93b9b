"""The table over folds against a plain count of pairs, and the commands of a fold."""

import numpy as np
import polars as pl
import pytest

from medhmp import command
from medhmp.benchmark.folds import Folds, out_of_fold, told
from medhmp.refusal import Refusal
from medhmp.storage import Folder

RANDOM = np.random.default_rng(0)
LABEL = RANDOM.integers(0, 2, 120)


def scored(strength, seeds=2):
    """Test rows of three folds, in the order of no identifier."""
    frame = pl.DataFrame(
        [
            (row, 10 * row, seed, int(LABEL[row]), strength * LABEL[row] + RANDOM.normal())
            for row in RANDOM.permutation(120).tolist()
            for seed in range(seeds)
        ],
        schema=["row_id", "subject_id", "seed", "label", "score"],
        orient="row",
    )
    return frame, [frame.filter(pl.col("row_id") % 3 == fold) for fold in range(3)]


def pairs_in_order(frame, seed):
    of = frame.filter(seed=seed)
    cases, others = (of.filter(label=label)["score"].to_numpy() for label in (1, 0))
    return (cases[:, None] > others).mean()


def test_every_row_counts_once_and_models_are_paired(capsys):
    strong, weak = scored(2.0), scored(0.5)
    found = told(
        {("medhmp", "stay"): out_of_fold(strong[1]), ("f_lstm", "none"): out_of_fold(weak[1])}, 300
    )
    expected = [np.mean([pairs_in_order(f, seed) for seed in (0, 1)]) for f in (strong[0], weak[0])]
    assert found["auroc_medhmp_stay"] == pytest.approx(expected[0])
    assert found["auroc_f_lstm"] == pytest.approx(expected[1])
    assert found["auroc_gain_f_lstm"] == pytest.approx(expected[1] - expected[0])
    assert found["auroc_gain_f_lstm_low"] < found["auroc_gain_f_lstm"] < 0
    assert (found["rows"], found["events"]) == (120, LABEL.sum())
    assert "120 rows" in capsys.readouterr().out


def test_folds_that_share_rows_or_lack_a_replicate_are_refused():
    _, folds = scored(1.0)
    with pytest.raises(Refusal, match="not of one run"):
        out_of_fold([*folds, folds[0].with_columns(label=1 - pl.col("label"))])
    with pytest.raises(Refusal, match="not of one run"):
        out_of_fold([folds[0], folds[1].filter(seed=0)])


def test_a_fold_runs_the_jobs_that_its_starts_need():
    floors = Folds(sources=("physionet2012=/data",))
    jobs = [words[2] for words in floors.commands(3, Folder("out/fold-3"))]
    assert jobs == ["jobs.featurize", "jobs.tune"]
    every = Folds("smoke", models=("medhmp",), starts=("none", "both"), arguments="--model.width 8")
    commands = every.commands(3, Folder("out/fold-3"))
    assert [words[2].removeprefix("jobs.") for words in commands] == [
        *("synthesize", "featurize", "embed_notes", "pretrain_stay", "pretrain_admission", "tune")
    ]
    run = command.parse(commands[0][3:])
    assert (run.splits.folds, run.splits.fold, run.model.width) == (5, 3, 8)
    assert (run.tune.models, run.tune.starts) == (("medhmp",), ("none", "both"))
