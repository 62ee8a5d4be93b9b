"""The fits of all grids as one experiment of Ray Tune.

Tune's table, its callbacks and its result grid show each trial by what it is: task, model, start,
batch size, learning rate, replicate.
"""

import logging
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import ray
import ray.tune
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler
from ray.tune.search import Searcher

from medhmp.progress import Pace
from medhmp.refusal import Refusal
from medhmp.run import Finetune
from medhmp.train.finetune.search import CellFit, Grid, in_order
from medhmp.train.finetune.trials import REDUCTION, Shared, first_rung, run_trial

PENDING: Final = "TUNE_MAX_PENDING_TRIALS_PG"
"""Trials that Tune starts at once; by default one, where a searcher names them."""

GoOn = Callable[[Grid], list[CellFit]]
"""What else a grid needs once all its fits are done; empty if nothing."""


def run_experiment(
    fits: list[CellFit],
    shared: Shared,
    resources: dict[str, float],
    go_on: GoOn,
    pace: Pace,
    callbacks: list[Any] | None = None,
) -> ray.tune.ResultGrid:
    """Runs the fits, and what ``go_on`` then asks for, on reused actors.

    Args:
        fits: of all grids.
        shared: what trials read.
        resources: that a trial reserves.
        go_on: called for each grid whose fits are done.
        pace: of the lines about the work.
        callbacks: of trackers.

    Raises:
        Exception: what a trial raised, once the others are done.
        Refusal: of the first grid whose cells all diverged, then, too.
    """
    keep_credentials_here()
    os.environ.setdefault(PENDING, str(max(1, int(ray.cluster_resources().get("CPU", 1)))))
    trainable = ray.tune.with_resources(
        ray.tune.with_parameters(run_trial, shared=shared), resources
    )
    search = InTurn(fits, go_on)
    asha = any(grid.asha for grid in shared.grids)
    scheduler = WithinReplicate(shared.settings.finetune) if asha else FIFOScheduler()
    # An error of a trial is raised below, and told once.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as scratch:  # Tune's own logs; results are in trials/
        results: ray.tune.ResultGrid = ray.tune.Tuner(
            trainable,
            tune_config=ray.tune.TuneConfig(
                num_samples=-1,  # as many as the search names
                search_alg=search,
                scheduler=scheduler,
                reuse_actors=True,
                trial_name_creator=name_of,
                trial_dirname_creator=lambda trial: f"fit-{trial.trial_id}",
            ),
            run_config=ray.tune.RunConfig(
                storage_path=scratch,
                name="grid",
                verbose=0,
                callbacks=[TrialLines(search, resources, pace), *(callbacks or [])],
            ),
        ).fit()
    if results.errors:
        raise results.errors[0]
    if search.refused:
        raise search.refused
    return results


def keep_credentials_here() -> None:
    """Takes the AWS variables from those that Tune copies out of this process into the runtime
    environment of trials, which Ray logs. Trials have the credentials of the node they run on."""
    propagated = class_cache.ENV_VARS_TO_PROPAGATE
    propagated -= {name for name in propagated if name.startswith("AWS_")}


def name_of(trial: Trial) -> str:
    """The name of a trial: the values of its config."""
    values = trial.config.values()
    return " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)


class InTurn(Searcher):  # type: ignore[misc]
    """Gives Tune the fits in the order of ``in_order``, and for each grid that is done what it then
    needs."""

    def __init__(self, fits: list[CellFit], go_on: GoOn) -> None:
        super().__init__()
        self._go_on = go_on
        self._queue: deque[CellFit] = deque()
        self._running: dict[str, CellFit] = {}
        self._open: dict[Any, int] = {}  # fits that a grid waits for
        self.total = 0
        self.refused: Refusal | None = None  # the first grid that cannot go on
        self._add(in_order(fits))

    def _add(self, fits: list[CellFit]) -> None:
        for fit in fits:
            key = fit.cell.grid.key
            self._open[key] = self._open.get(key, 0) + 1
        self._queue.extend(fits)
        self.total += len(fits)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of the next trial; None while it depends on others."""
        if self._queue:
            fit = self._running[trial_id] = self._queue.popleft()
            return fit.config
        return None if self._running else Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Asks what else the grid needs, unless one of its trials has failed."""
        fit = self._running.pop(trial_id, None)
        if error or fit is None:
            return
        grid = fit.cell.grid
        self._open[grid.key] -= 1
        if self._open[grid.key]:
            return
        try:
            self._add(in_order(self._go_on(grid)))
        except Refusal as refused:  # here it would end the other grids, too
            self.refused = self.refused or refused

    def save(self, checkpoint_path: str) -> None:
        """Writes nothing of use: a search goes on by the records in ``trials/``."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Never asked for."""


class WithinReplicate(FIFOScheduler):  # type: ignore[misc]
    """ASHA (Li et al. 2020) among the cells of one task, model, start and replicate: replicates
    differ by chance, which must stop none.

    A fit is compared first after as many epochs as early stopping has patience.
    """

    def __init__(self, finetune: Finetune) -> None:
        super().__init__()
        self._finetune = finetune
        self._groups: dict[tuple[Any, ...], AsyncHyperBandScheduler] = {}
        self._stopped: set[str] = set()  # names of trials

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def _group(self, trial: Trial) -> AsyncHyperBandScheduler:
        names = ("task", "model", "start", "replicate")
        key = tuple(trial.config[name] for name in names)
        if key not in self._groups:
            self._groups[key] = AsyncHyperBandScheduler(
                time_attr="epoch",
                metric="best_val_loss",
                mode="min",
                max_t=self._finetune.epochs,
                grace_period=first_rung(self._finetune),
                reduction_factor=REDUCTION,
                stop_last_trials=False,
            )
        return self._groups[key]

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._group(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Compares the trial with those of its group. One that was stopped and is fitted once more,
        since its cell was chosen, goes to its end."""
        decision: str = self._group(trial).on_trial_result(tune_controller, trial, result)
        if decision == FIFOScheduler.STOP and str(trial) not in self._stopped:
            self._stopped.add(str(trial))
            return decision
        return str(FIFOScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._group(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self._group(trial).on_trial_remove(tune_controller, trial)


class TrialLines(ray.tune.Callback):  # type: ignore[misc]
    """Lines about the fits that are done: how many, the last one's loss, the time left; or what
    the first one waits for."""

    def __init__(self, search: InTurn, resources: dict[str, float], pace: Pace) -> None:
        self._search, self._pace = search, pace
        self._awaited = " and ".join(f"{n:g} {name}" for name, n in resources.items() if n)
        self._done, self._begun = 0, time.perf_counter()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Trial, **_: Any) -> None:
        self._done += 1
        if self._pace.is_due(milestone=True):
            loss = trial.last_result.get("val_loss")
            seconds = time.perf_counter() - self._begun
            left = seconds / self._done * (self._search.total - self._done)
            self._say(
                f"{trial}  {'diverged' if loss is None else f'loss {loss:.4g}'}  {left:.0f} s left"
            )

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Called several times a second, also while no fit ends."""
        if self._pace.is_due():
            waits = not any(trial.status == Trial.RUNNING for trial in trials)
            said = f", waiting for {self._awaited} of the cluster" if waits else ""
            self._say(f"{time.perf_counter() - self._begun:.0f} s so far{said}")

    def _say(self, text: str) -> None:
        self._pace.say(f"tune {self._done}/{self._search.total} fits  {text}")
