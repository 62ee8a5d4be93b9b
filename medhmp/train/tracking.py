"""Trackers of experiments, MLflow or Weights & Biases.

They are told of each trial of the grid and of each stage of pretraining: what it is, and what it
measured.

The driver alone talks to a tracker, by the tracker's own environment variables. Ray would copy the
key of W&B into the runtime environment of its actors, which it logs; here it does not: they have
the login of the node they run on, which is the driver's.
"""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medhmp.progress import Progress
from medhmp.refusal import Refusal
from medhmp.run import Run

MLFLOW_PLACE: Final = "MLFLOW_TRACKING_URI"
WANDB_PLACE: Final = "WANDB_PROJECT"
PROJECT: Final = __name__.partition(".")[0]
"""The project of W&B where its variable names none."""
RETRIES: Final = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
FOLDERS: Final = "MLFLOW_ALLOW_FILE_STORE"
"""Lets MLflow write to a folder, which it refuses by default since version 3."""
UNTRACKED: Final = ("stage", "epoch", "ended")
"""Fields of a row of ``metrics.jsonl`` that are no measure."""


def check_tracker(run: Run) -> None:
    """Refuses a tracker that is not installed, or that does not say where it is."""
    if run.tracker == "none":
        return
    if importlib.util.find_spec(run.tracker) is None:
        raise Refusal(
            f"tracker is {run.tracker}, which is not installed; pip install 'medhmp[tracking]', or "
            "give --tracker none"
        )
    if run.tracker == "mlflow":
        _check_mlflow()
    else:
        _check_wandb()


def _check_mlflow() -> None:
    if not os.environ.get(MLFLOW_PLACE):
        raise Refusal(
            f"tracker is mlflow and {MLFLOW_PLACE} is not set; set it to the address of a server "
            "or to a folder"
        )
    place = os.environ[MLFLOW_PLACE]
    if "://" not in place or place.startswith("file:"):
        os.environ.setdefault(FOLDERS, "true")
    os.environ.setdefault(RETRIES, "3")  # else minutes pass before it says that nobody answers
    from mlflow import MlflowClient

    try:
        MlflowClient(place).search_experiments(max_results=1)
    except Exception as error:  # of any of its stores; its text may have the address with a key
        raise Refusal(
            f"tracker is mlflow and what {MLFLOW_PLACE} names cannot be used "
            f"({type(error).__name__}); see that it is right and that the server runs, or give "
            "--tracker none"
        ) from None


def _check_wandb() -> None:
    import wandb

    if os.environ.get("WANDB_MODE") not in ("offline", "disabled") and not wandb.api.api_key:
        raise Refusal(
            "tracker is wandb and this machine is not logged in; run wandb login, set "
            "WANDB_API_KEY, or give --tracker none"
        )


def grid_callbacks(run: Run) -> list[Any]:
    """Ray's own callback of the run's tracker, for the trials of a grid; none without one. Refuses
    as ``check_tracker``."""
    check_tracker(run)
    if run.tracker == "none":
        return []
    if run.tracker == "mlflow":
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        return [MLflowLoggerCallback(os.environ[MLFLOW_PLACE], experiment_name=run.name)]
    return [_wandb_callback(run.name)]


def _wandb_callback(name: str) -> Any:
    import ray
    from ray.air.integrations.wandb import WandbLoggerCallback
    from ray.air.util.node import _force_on_current_node

    class KeylessCallback(WandbLoggerCallback):  # type: ignore[misc]
        """Ray's callback, whose actors get no key of the driver's."""

        def setup(self, *args: Any, **kwargs: Any) -> None:
            super().setup(*args, **kwargs)
            again = {"max_restarts": -1, "max_task_retries": -1}
            self._remote_logger_class = ray.remote(num_cpus=0, **again, **_force_on_current_node())(
                self._logger_actor_cls
            )

    return KeylessCallback(project=os.environ.get(WANDB_PLACE, PROJECT), group=name)


def track_stage(
    tracker: str,
    experiment: str,
    stage: str,
    settings: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    progress: Progress,
) -> None:
    """Tells the tracker of a whole stage of pretraining. Says so where it cannot: the stage is
    whole all the same.

    Args:
        tracker: a run's field.
        experiment: the name of the run.
        stage: the name of the stage's output.
        settings: field -> value.
        rows: those of ``metrics.jsonl``, one for each epoch.
        progress: hears of a tracker that fails.
    """
    tell = {"mlflow": _tell_mlflow, "wandb": _tell_wandb}.get(tracker)
    if tell is None:
        return
    try:
        tell(experiment, stage, settings, rows)
    except Exception as error:  # whatever its server, its store or the network makes of it
        progress.say(f"{stage}: {tracker} was not told ({type(error).__name__})")


def _measures(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if name not in UNTRACKED}


def _tell_mlflow(
    experiment: str, stage: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(os.environ[MLFLOW_PLACE])
    found = client.get_experiment_by_name(experiment)
    place = found.experiment_id if found else client.create_experiment(experiment)
    run = client.create_run(place, run_name=stage)
    params = [Param(name, str(value)) for name, value in settings.items()]
    client.log_batch(run.info.run_id, params=params)
    for row in rows:
        when, step = int(1000 * row["ended"]), row["epoch"]
        metrics = [Metric(name, value, when, step) for name, value in _measures(row).items()]
        client.log_batch(run.info.run_id, metrics=metrics)
    client.set_terminated(run.info.run_id)


def _tell_wandb(
    experiment: str, stage: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    import wandb

    project = os.environ.get(WANDB_PLACE, PROJECT)
    with wandb.init(project=project, group=experiment, name=stage, config=dict(settings)) as run:
        for row in rows:
            run.log(_measures(row), step=row["epoch"])
