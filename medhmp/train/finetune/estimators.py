"""One face of all models of the catalog: fit, score, save, load.

A network is trained on batches, a scikit-learn model fitted on the counts of
``medhmp/shards/tabular.py``. No file of either is a pickle.
"""

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import skops.io
import torch
import torch.nn.functional as F
from safetensors.torch import load as load_tensors
from torch import Tensor

from medhmp.evaluate.discrimination import auroc
from medhmp.layout import PREDICTION_COLUMNS
from medhmp.legend import LEVELS, Split, Task, Widths
from medhmp.model.catalog import MODELS, Optimizer
from medhmp.model.starts import load_start
from medhmp.model.table import Table
from medhmp.notes.encoder import load_trainable
from medhmp.run import Finetune, Fit, Model, Notes
from medhmp.shards.labelled import Labelled, TaskData
from medhmp.shards.tabular import blocks, counted
from medhmp.train.checkpoint import dump_weights
from medhmp.train.finetune.fit import FitResult, fit_network, logits_of
from medhmp.train.objective import Classification, build_classifier

Point = Mapping[str, float]
"""Field -> value of what a grid searches, for one fit."""
Scores = npt.NDArray[np.floating[Any]]
"""Probabilities (n) of the rows of a split."""

HELD_OUT: Final[tuple[Split, ...]] = ("validation", "test")
"""The splits that a fitted model scores."""
TRAINING: Final = ("batch_size", "learning_rate")
"""Searched fields of a network's training; all others are of the network itself."""
SCHEMA: Final = "schema.json"
"""The description of a model, in a file of skops."""


@dataclass(frozen=True)
class FitSettings:
    """Sections and sizes that all fits of a run share."""

    model: Model
    finetune: Finetune
    widths: Widths
    notes: Notes = field(default_factory=Notes)


class Estimator(Protocol):
    """A model of one task, to be fitted or loaded before it scores."""

    def fit(
        self, data: TaskData, seed: int, start: Mapping[str, Tensor] | None = None
    ) -> FitResult:
        """Fits the training split, and begins from pretrained tensors if there are any.

        Raises Diverged.
        """
        ...

    def score(self, part: Labelled) -> Scores:
        """Probabilities (n) of the rows of a split."""
        ...

    def save(self) -> bytes:
        """The fitted model as a file; equal models give equal bytes."""
        ...

    def load(self, data: bytes) -> None:
        """Takes the place of ``fit``."""
        ...


def estimator_of(
    task: Task,
    model: str,
    point: Point,
    settings: FitSettings,
    device: torch.device | None = None,
) -> Estimator:
    """The estimator of a model of the catalog that has the task's level.

    Args:
        task: decides the level.
        model: its name in the catalog.
        point: fields that a grid searches, of a network ``batch_size`` and ``learning_rate`` among
            them; the others go to the model's builder.
        settings: what all fits share.
        device: where a network computes; none: the CPU.
    """
    if MODELS[model].is_network:
        return Network(task, model, point, settings, device)
    return CountsModel(task, model, point, settings)


def point_of(fit: Fit) -> Point:
    """The point of the one fit of ``jobs.finetune``: of its fields those that its model reads."""
    return {name: getattr(fit, name) for name in TRAINING if MODELS[fit.model].is_network}


def suffix_of(model: str) -> str:
    """The end of the name of a fitted model's file."""
    return "safetensors" if MODELS[model].is_network else "skops"


def base_rate_loss(data: TaskData) -> float:
    """Cross-entropy of the validation rows if each has the labelled training rows' share of
    events: what a model without a feature would have."""
    share = np.full(len(data["validation"]), data["train"].label.mean(dtype=np.float64))
    return _cross_entropy(share, data["validation"])


def predict_held_out(estimator: Estimator, data: TaskData, seed: int) -> pa.Table:
    """Scores of the validation and test rows, in ``layout.PREDICTION_COLUMNS``."""
    tables = []
    for split in HELD_OUT:
        part = data[split]
        columns = {
            "subject_id": part.rows.subject_id,
            "row_id": part.rows.row_id,
            "split": np.full(len(part), split),
            "seed": np.full(len(part), seed),
            "label": part.label,
            "score": estimator.score(part),
        }
        tables.append(pa.table(columns).cast(PREDICTION_COLUMNS))
    return pa.concat_tables(tables)


class Network:
    """A network, at its epoch of lowest validation cross-entropy."""

    def __init__(
        self,
        task: Task,
        model: str,
        point: Point,
        settings: FitSettings,
        device: torch.device | None,
    ) -> None:
        self._task, self._model, self._settings = task, model, settings
        self._device = device
        self._point = point
        self._objective: Classification

    def fit(
        self,
        data: TaskData,
        seed: int,
        start: Mapping[str, Tensor] | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> FitResult:
        """As ``Estimator.fit``; ``watch`` is told of each epoch, and may score its weights."""
        torch.manual_seed(seed)
        self._objective = self._fresh()
        arrived = load_start(self._objective.model, start) if start else []
        self._objective.to(self._device)
        kind = MODELS[self._model].optimizers[LEVELS[self._task]]
        finetune, rate = self._settings.finetune, self._point["learning_rate"]
        loss, area, metrics = fit_network(
            self._objective,
            _optimizer(kind, self._objective, rate, finetune),
            data,
            finetune,
            int(self._point["batch_size"]),
            seed,
            self._device,
            watch,
        )
        return FitResult(loss, area, metrics, arrived)

    def score(self, part: Labelled) -> Scores:
        logits = logits_of(self._objective, part, self._device)
        return np.asarray(torch.sigmoid(logits).numpy())

    def save(self) -> bytes:
        return dump_weights(self._objective.model.state_dict())

    def load(self, data: bytes) -> None:
        self._objective = self._fresh()
        self._objective.model.load_state_dict(load_tensors(data), strict=True)
        self._objective.to(self._device)

    def _fresh(self) -> Classification:
        settings = self._settings
        more: dict[str, Any] = {
            name: value for name, value in self._point.items() if name not in TRAINING
        }
        if family := MODELS[self._model].text_read(settings.notes.fine_tune):
            more["encoder"] = load_trainable(getattr(settings.notes, family), family)
        return build_classifier(self._task, self._model, settings.model, settings.widths, **more)


def _optimizer(
    kind: Optimizer, objective: Classification, rate: float, finetune: Finetune
) -> torch.optim.Optimizer:
    parameters, decay = objective.parameters(), finetune.weight_decay
    if kind == "adam":
        return torch.optim.Adam(parameters, lr=rate)
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=rate, momentum=finetune.momentum, weight_decay=decay)


class CountsModel:
    """A scikit-learn classifier on counted features."""

    def __init__(self, task: Task, model: str, point: Point, settings: FitSettings) -> None:
        self._entry, self._point, self._widths = MODELS[model], point, settings.widths
        self._level = LEVELS[task]
        self._fitted: Any

    def fit(
        self, data: TaskData, seed: int, start: Mapping[str, Tensor] | None = None
    ) -> FitResult:
        validation = data["validation"]
        tables = [
            Table(counted(part.rows, self._widths), part.label, blocks(part.rows, self._widths))
            for part in (data["train"], validation)
        ]
        self._fitted = self._entry.builder(self._level)(*tables, seed, **self._point)
        score = self.score(validation)
        area = auroc(validation.label.astype(int), score)
        row = {"val_loss": _cross_entropy(score, validation), "val_auroc": area}
        return FitResult(**row, metrics=[{"epoch": 0, **row}], arrived=[])

    def score(self, part: Labelled) -> npt.NDArray[np.float64]:
        probabilities = self._fitted.predict_proba(counted(part.rows, self._widths))
        return np.asarray(probabilities[:, 1], np.float64)

    def save(self) -> bytes:
        return _renumbered(skops.io.dumps(self._fitted))

    def load(self, data: bytes) -> None:
        self._fitted = skops.io.loads(data, trusted=list(self._entry.trusted))


def _cross_entropy(score: npt.NDArray[np.float64], part: Labelled) -> float:
    clipped = torch.from_numpy(np.clip(score, 1e-7, 1 - 1e-7))
    label = torch.tensor(part.label, dtype=torch.float64)
    return float(F.binary_cross_entropy(clipped, label))


def _renumbered(data: bytes) -> bytes:
    """A file of skops without what the memory and a clock decide, and compressed.

    skops names objects, and the files of arrays, by their addresses. Here they are numbered in the
    order of its schema.
    """
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as archive,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as written,
    ):
        schema = archive.read(SCHEMA).decode()
        addresses = dict.fromkeys(re.findall(r'(?<="__id__": )\d+', schema))
        number = {address: str(at) for at, address in enumerate(addresses)}
        named = re.sub(
            r'(?<="__id__": )\d+|\d+(?=\.np[yz]")', lambda at: number[at[0]], schema
        ).encode()
        for name in archive.namelist():
            stem, dot, kind = name.partition(".")
            entry = zipfile.ZipInfo(f"{number.get(stem, stem)}{dot}{kind}")  # of 1980, as all are
            content = named if name == SCHEMA else archive.read(name)
            written.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
