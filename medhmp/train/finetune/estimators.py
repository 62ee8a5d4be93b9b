"""One face of all models of the catalog: fit, score, save, load.

A network is trained on batches, a scikit-learn model fitted on the counts of
``medhmp/shards/tabular.py``. No file of either is a pickle.
"""

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import skops.io
import torch
import torch.nn.functional as F
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from medhmp.evaluate.discrimination import auroc
from medhmp.layout import PREDICTION_COLUMNS
from medhmp.legend import Level, Split, Widths
from medhmp.model.catalog import MODELS, Optimizer
from medhmp.model.frozen import mean_logit
from medhmp.model.starts import load_start
from medhmp.model.table import Table
from medhmp.notes.encoder import load_trainable
from medhmp.run import Finetune, Fit, Model, Notes
from medhmp.shards.labelled import Labelled, TaskData
from medhmp.shards.tabular import blocks, counted, statistics_blocks, with_statistics
from medhmp.train.checkpoint import dump_weights
from medhmp.train.finetune.fit import (
    FitResult,
    Watch,
    fit_network,
    logits_of,
    outputs_of,
)
from medhmp.train.objective import Classification, MemberClassification, build_classifier

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
        self,
        data: TaskData,
        seed: int,
        start: Mapping[str, Tensor] | None = None,
        watch: Watch | None = None,
    ) -> FitResult:
        """Fits the training split, and begins from pretrained tensors if there are any.

        ``watch`` sees each epoch of a network, and may end its training. Raises Diverged.
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
    level: Level,
    model: str,
    point: Point,
    settings: FitSettings,
    device: torch.device | None = None,
) -> Estimator:
    """The estimator of a model of the catalog.

    Args:
        level: of the task, which the model has.
        model: its name in the catalog.
        point: fields that a grid searches, of a network ``batch_size`` and ``learning_rate`` among
            them; the others go to the model's builder.
        settings: what all fits share.
        device: where a network computes; none: the CPU.
    """
    if MODELS[model].is_network:
        return Network(level, model, point, settings, device)
    if MODELS[model].parts:
        return Hybrid(level, model, point, settings, device)
    if MODELS[model].embedders:
        return Frozen(level, model, point, settings, device)
    return CountsModel(level, model, point, settings)


def point_of(fit: Fit) -> Point:
    """The point of the one fit of ``jobs.finetune``: of its fields those that its model reads."""
    return {name: getattr(fit, name) for name in TRAINING if MODELS[fit.model].has_network}


def suffix_of(model: str) -> str:
    """The end of the name of a fitted model's file."""
    if MODELS[model].parts:
        return "zip"
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
        level: Level,
        model: str,
        point: Point,
        settings: FitSettings,
        device: torch.device | None,
    ) -> None:
        self._level, self._model, self._settings = level, model, settings
        self._device = device
        self._point = point
        self._objective: Classification

    def fit(
        self,
        data: TaskData,
        seed: int,
        start: Mapping[str, Tensor] | None = None,
        watch: Watch | None = None,
    ) -> FitResult:
        torch.manual_seed(seed)
        self._objective = self._fresh()
        arrived = load_start(self._objective.model, start) if start else []
        targets = data["train"].targets
        if isinstance(self._objective, MemberClassification) and targets is not None:
            self._objective.scale(torch.from_numpy(targets))
        self._objective.to(self._device)
        kind = MODELS[self._model].optimizers[self._level]
        finetune, rate = self._settings.finetune, self._point["learning_rate"]
        loss, area, metrics = fit_network(
            self._objective,
            _optimizer(kind, self._objective, rate, finetune),
            data,
            finetune,
            int(self._point["batch_size"]),
            seed,
            self._device,
            annealed=MODELS[self._model].reads_numbers,
            watch=watch,
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

    @property
    def network(self) -> torch.nn.Module:
        """The network, once it is fitted or loaded."""
        return self._objective.model

    def _fresh(self) -> Classification:
        settings = self._settings
        more: dict[str, Any] = {
            name: value for name, value in self._point.items() if name not in TRAINING
        }
        if family := MODELS[self._model].text_read(settings.notes.fine_tune):
            more["encoder"] = load_trainable(getattr(settings.notes, family), family)
        return build_classifier(self._level, self._model, settings.model, settings.widths, **more)


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
    """A scikit-learn classifier on counted features, or on statistics."""

    def __init__(self, level: Level, model: str, point: Point, settings: FitSettings) -> None:
        self._entry, self._point, self._widths = MODELS[model], point, settings.widths
        self._level = level
        self._fitted: Any

    def fit(
        self,
        data: TaskData,
        seed: int,
        start: Mapping[str, Tensor] | None = None,
        watch: Watch | None = None,
    ) -> FitResult:
        validation = data["validation"]
        tables = [self._table(data["train"]), self._table(validation)]
        self._fitted = self._entry.builder(self._level)(*tables, seed, **self._point)
        score = self.score(validation)
        area = auroc(validation.label.astype(int), score)
        row = {"val_loss": _cross_entropy(score, validation), "val_auroc": area}
        return FitResult(**row, metrics=[{"epoch": 0, **row}], arrived=[])

    def _table(self, part: Labelled) -> Table:
        """What the model reads, (n, D), with the labels."""
        read, of = (
            (with_statistics, statistics_blocks) if self._entry.statistics else (counted, blocks)
        )
        return Table(read(part.rows, self._widths), part.label, of(part.rows, self._widths))

    def score(self, part: Labelled) -> npt.NDArray[np.float64]:
        probabilities = self._fitted.predict_proba(self._table(part).features)
        return np.asarray(probabilities[:, 1], np.float64)

    def save(self) -> bytes:
        return _renumbered(skops.io.dumps(self._fitted))

    def load(self, data: bytes) -> None:
        self._fitted = skops.io.loads(data, trusted=list(self._entry.trusted))


class Hybrid:
    """The mean logit of other models, with equal weights. Its file is an archive of theirs.

    The first is fitted at the point and from the start; the others are not searched.
    """

    def __init__(
        self,
        level: Level,
        model: str,
        point: Point,
        settings: FitSettings,
        device: torch.device | None,
    ) -> None:
        first, *others = MODELS[model].parts
        self._parts = {first: estimator_of(level, first, point, settings, device)}
        self._parts |= {name: estimator_of(level, name, {}, settings, device) for name in others}

    def fit(
        self,
        data: TaskData,
        seed: int,
        start: Mapping[str, Tensor] | None = None,
        watch: Watch | None = None,
    ) -> FitResult:
        first, *others = self._parts.values()
        result = first.fit(data, seed, start, watch)
        for part in others:
            part.fit(data, seed)
        validation = data["validation"]
        score = self.score(validation)
        area = auroc(validation.label.astype(int), score)
        return replace(result, val_loss=_cross_entropy(score, validation), val_auroc=area)

    def score(self, part: Labelled) -> npt.NDArray[np.float64]:
        return mean_logit([model.score(part) for model in self._parts.values()])

    def save(self) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, model in self._parts.items():
                # A plain ZipInfo has the date 1980, whatever the clock says.
                archive.writestr(zipfile.ZipInfo(f"{name}.{suffix_of(name)}"), model.save())
        return packed.getvalue()

    def load(self, data: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name, model in self._parts.items():
                model.load(archive.read(f"{name}.{suffix_of(name)}"))


class Frozen(CountsModel):
    """A scikit-learn classifier on counted features and the outputs of a frozen network.

    Without a start, or where the start has nothing for the network, on counted features alone.
    """

    def __init__(
        self,
        level: Level,
        model: str,
        point: Point,
        settings: FitSettings,
        device: torch.device | None,
    ) -> None:
        super().__init__(level, model, point, settings)
        self._model, self._device = settings.model, device
        self._embedder: nn.Module | None = None

    def fit(
        self,
        data: TaskData,
        seed: int,
        start: Mapping[str, Tensor] | None = None,
        watch: Watch | None = None,
    ) -> FitResult:
        embedder = self._fresh()
        arrived = load_start(embedder, start) if start else []
        self._embedder = embedder.to(self._device) if arrived else None
        return replace(super().fit(data, seed), arrived=arrived)

    def _fresh(self) -> nn.Module:
        network: nn.Module = self._entry.beginner(self._level)(self._widths, self._model)
        return network

    def _table(self, part: Labelled) -> Table:
        table = super()._table(part)
        if self._embedder is None:
            return table
        embedding = outputs_of(self._embedder, part, self._device).numpy()
        features = np.hstack([table.features, embedding])
        return Table(features, table.label, (*table.blocks, embedding.shape[1]))

    def save(self) -> bytes:
        weights = self._embedder.state_dict() if self._embedder else {}
        tensors = {name: tensor.cpu().numpy() for name, tensor in weights.items()}
        return _renumbered(skops.io.dumps({"classifier": self._fitted, "embedder": tensors}))

    def load(self, data: bytes) -> None:
        found = skops.io.loads(data, trusted=list(self._entry.trusted))
        self._fitted, self._embedder = found["classifier"], None
        if found["embedder"]:
            tensors = {name: torch.from_numpy(array) for name, array in found["embedder"].items()}
            self._embedder = self._fresh()
            self._embedder.load_state_dict(tensors, strict=True)
            self._embedder.to(self._device)


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
