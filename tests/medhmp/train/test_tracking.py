"""Trackers: what they are told of pretraining, and refusals of those that are not there."""

from dataclasses import replace

import pytest
from mlflow import MlflowClient

from medhmp.progress import Progress
from medhmp.recipes import tiny
from medhmp.refusal import Refusal
from medhmp.train.tracking import check_tracker, grid_callbacks, track_stage

ROWS = [
    {"stage": "pretrain_stay", "epoch": n, "loss": 2.0 - n, "ended": 1.7e9 + n} for n in range(2)
]
TOLD = ("medhmp", "pretrain_stay seed-0", {"pretrain_stay.epochs": 2}, ROWS, Progress())


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder that MLflow writes to."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlflow"))
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    check_tracker(replace(tiny(), tracker="mlflow"))
    return str(tmp_path / "mlflow")


def test_mlflow_has_a_run_of_a_stage_with_its_fields_and_a_point_for_each_epoch(place):
    track_stage("mlflow", *TOLD)
    client = MlflowClient(place)
    experiment = client.get_experiment_by_name("medhmp")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("pretrain_stay seed-0", "FINISHED")
    assert run.data.params == {"pretrain_stay.epochs": "2"}
    assert run.data.metrics == {"loss": 1.0}
    points = client.get_metric_history(run.info.run_id, "loss")
    assert [(of.step, of.value, of.timestamp) for of in points] == [
        (0, 2.0, 1_700_000_000_000),
        (1, 1.0, 1_700_000_001_000),
    ]


def test_a_tracker_that_fails_is_said_and_ends_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "file" / "mlflow"))
    track_stage("mlflow", *TOLD)
    assert "pretrain_stay seed-0: mlflow was not told (" in capsys.readouterr().out


def test_no_tracker_is_told_nothing_and_has_no_callback():
    track_stage("none", *TOLD)
    assert grid_callbacks(tiny()) == []


def test_a_tracker_that_is_not_there_is_refused_without_its_address(tmp_path, monkeypatch):
    run = replace(tiny(), tracker="mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(Refusal, match="MLFLOW_TRACKING_URI is not set"):
        grid_callbacks(run)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "file" / "canary"))
    with pytest.raises(Refusal, match="what MLFLOW_TRACKING_URI names cannot be used") as refused:
        check_tracker(run)
    assert "canary" not in str(refused.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Refusal, match=r"wandb, which is not installed; pip install 'medhmp\[tr"):
        check_tracker(replace(tiny(), tracker="wandb"))
