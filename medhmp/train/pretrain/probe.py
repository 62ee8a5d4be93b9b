"""A probe of a pretraining: what its frozen encoder is worth to a task, while it is trained.

It says when longer training stops paying. Nothing is decided by it.
"""

from typing import Any, Final

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medhmp.evaluate.discrimination import auroc
from medhmp.legend import Task
from medhmp.model.frozen import NumberStayEmbedding, StayEmbedding
from medhmp.model.starts import load_start
from medhmp.run import Cohort, Model
from medhmp.shards.labelled import TaskData, read_task
from medhmp.shards.manifest import OpenShards
from medhmp.train.finetune.fit import outputs_of

STRENGTH: Final = 0.1
"""C of the logistic regression."""
PROBE: Final = "probe_auroc"
"""The field of ``metrics.jsonl``."""


class Probe:
    """The AUROC of the validation rows of a stay task by a logistic regression on the frozen
    embedding, fitted on the training rows.

    Args:
        shards: have the task's labels.
        numbers: the encoder is MedHMP-S's.
        cohort: of the run.
        model: of the run.
        every: epochs from one probe to the next.
    """

    def __init__(
        self, shards: OpenShards, numbers: bool, cohort: Cohort, model: Model, every: int
    ) -> None:
        self._shards, self._cohort, self._model, self._every = shards, cohort, model, every
        self._embedder = NumberStayEmbedding if numbers else StayEmbedding
        self._data: TaskData | None = None
        self.task = _task_of(shards)

    def is_due(self, epoch: int) -> bool:
        """True after the epochs whose encoder is probed."""
        return bool(self.task and self._every) and (epoch + 1) % self._every == 0

    def __call__(self, objective: torch.nn.Module, device: torch.device) -> float:
        """The AUROC with the objective's weights as they are. Draws no random number."""
        assert self.task is not None
        if self._data is None:
            self._data = read_task(self._shards, self.task, self._cohort, self._model)
        embedder = self._fresh()
        load_start(embedder, objective.state_dict())
        embedder.to(device)
        train, validation = self._data["train"], self._data["validation"]
        columns = [outputs_of(embedder, part, device).numpy() for part in (train, validation)]
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500))
        fitted.fit(columns[0], train.label)
        score = fitted.predict_proba(columns[1])[:, 1]
        return auroc(validation.label.astype(int), score)

    def _fresh(self) -> Any:
        """The embedder, without a trace in the generator that training draws from."""
        with torch.random.fork_rng(devices=[]):
            return self._embedder(self._shards.widths, self._model)


def _task_of(shards: OpenShards) -> Task | None:
    """The first stay task that can be trained."""
    for task, counts in shards.manifest.tasks.items():
        if shards.level(task) == "stay" and not counts.hindrance:
            return task
    return None
