"""A trained model in memory: loaded from its folder, to score rows. Needs no Ray."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from safetensors.torch import load as load_tensors
from torch import nn

from medhmp.arrays import Floats32
from medhmp.frames import frame_of
from medhmp.layout import WEIGHTS
from medhmp.legend import Task
from medhmp.model.catalog import MODELS, ModelEntry
from medhmp.notes.encoder import check_encoder
from medhmp.pretrained.config import Config, open_model
from medhmp.pretrained.rows import known_sources, parts_of, read_part
from medhmp.pretrained.tables import featurize
from medhmp.pretrained.vectors import CODE_KINDS, ROW_KINDS, TABLE_OF, Encoders
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.shards.labelled import Labelled
from medhmp.shards.manifest import Manifest, OpenShards, manifest_in, with_own_tasks
from medhmp.shards.row_notes import NotesRead
from medhmp.storage import Folder, Output, opened
from medhmp.train.finetune.estimators import Estimator, FitSettings, estimator_of
from medhmp.train.finetune.notes import notes_read
from medhmp.train.objective import (
    build_admission_pretraining,
    build_number_pretraining,
    build_stay_pretraining,
)

FEATURIZER = ("features", "demographics", "diagnoses", "drugs", "indicators", "fiddle", "numbers")
"""Fields of a manifest that say what a column of the shards means."""


@dataclass(frozen=True)
class TrainedModel:
    """A model folder, opened. Its weights are read when they are first needed."""

    folder: Output
    config: Config
    run: Run  # with the fields that the model was made with
    device: torch.device | None = None  # where a network computes; none: the CPU

    @cached_property
    def manifest(self) -> Manifest:
        """That of the shards it was trained on, less their files: its featurizer and its cohort."""
        return manifest_in(self.folder)

    @cached_property
    def estimators(self) -> Sequence[Estimator]:
        """One per replicate of the fit. Refuses a pretraining, and a damaged file."""
        if self.reads_text:
            self.check_encoders()
        found = []
        for name in self.config.weights:
            one = self._fresh()
            one.load(self.folder.read_bytes(name))
            found.append(one)
        return found

    def _fresh(self) -> Estimator:
        config, run = self.config, self.run
        settings = FitSettings(run.model, run.finetune, config.widths, run.notes)
        _, level = config.predicts()
        return estimator_of(level, config.model, config.point, settings, self.device)

    @property
    def task(self) -> Task:
        """What a classifier predicts. Refuses a pretraining."""
        return self.config.predicts()[0]

    @cached_property
    def network(self) -> nn.Module:
        """The network: of a pretraining its objective, of a classifier its first replicate's.

        Refuses a model that is no network.
        """
        config, run = self.config, self.run
        if config.kind == "classifier":
            network = getattr(self.estimators[0], "network", None)
            if network is None:
                raise Refusal(f"{self.folder.folder} is {config.model}, which is no network")
        elif config.model == "pretrain_stay":
            network = build_stay_pretraining(run.model, config.widths)
        elif config.model == "pretrain_numbers":
            network = build_number_pretraining(run.model, config.widths)
        else:
            numbers = bool(config.fields.get("numbers"))
            network = build_admission_pretraining(run.model, config.widths, numbers)
        if config.kind == "pretraining":
            network.load_state_dict(load_tensors(self.folder.read_bytes(WEIGHTS)), strict=True)
            network.to(self.device)
        assert isinstance(network, nn.Module)
        return network.eval()

    @cached_property
    def encoders(self) -> Encoders:
        """The parts of the network that give vectors. Refuses a network that has none."""
        found = Encoders(self.network, self.device, self.run.model.max_stays)
        if not found.kinds:
            raise Refusal(
                f"{self.folder.folder} is {self.config.model}, which has no encoder of MedHMP; "
                "give the folder of a pretraining, or of a model that begins from one"
            )
        return found

    @cached_property
    def notes(self) -> NotesRead | None:
        """What the model reads of the notes of stays and admissions; none: nothing."""
        return notes_read(self.run, self.config.predicts()[1], (self.config.model,))

    @property
    def _entry(self) -> ModelEntry:
        return MODELS[self.config.model]

    @property
    def reads_vectors(self) -> bool:
        """True if rows come with the frozen vectors of their notes."""
        if self.config.kind == "pretraining":
            return self.config.model == "pretrain_admission"
        vectors = self._entry.vectors_read(self.run.notes.fine_tune)
        return vectors or self.config.level == "admission"

    @property
    def reads_text(self) -> bool:
        """True if rows come with the text of their notes."""
        if self.config.kind == "pretraining":
            return False
        return self._entry.text_read(self.run.notes.fine_tune) is not None

    def check_encoders(self) -> None:
        """Refuses a run that names other encoders of notes than the model was trained with."""
        for field, trained in self.config.encoders.items():
            name = field.removeprefix("notes.")
            if check_encoder(getattr(self.run.notes, name)) != trained:
                raise Refusal(
                    f"the model was trained with another encoder than {field} "
                    f"{getattr(self.run.notes, name)!r}; give the folder of that encoder with "
                    f"--{field}"
                )

    def scores(self, rows: Labelled) -> Floats32:
        """Probabilities (R, n) of n rows by R replicates."""
        return np.stack([one.score(rows).astype(np.float32) for one in self.estimators])

    def predict(
        self,
        shards: str | None = None,
        tables: Mapping[str, str] | None = None,
        work: str | None = None,
    ) -> pl.DataFrame:
        """Scores the rows of shards, or of raw tables, in this process.

        Args:
            shards: URI of a folder that ``jobs.featurize`` made by this model's featurizer.
            tables: instead, name of a reader -> URI of its tables, as ``{"mimic4": "/data/iv"}``.
            work: where the shards of ``tables`` go; none: a temporary folder.

        Returns:
            A row each: ``subject_id``, ``row_id``, ``group`` (the split of a patient of the tables
            that it was trained on, else "labelled"), ``prediction_time``, ``label``, and ``score``,
            the mean probability of the replicates.

        Raises:
            Refusal: the shards are not whole, of another featurizer, or without the task; the
                tables cannot be read; the model reads notes, which ``jobs.predict`` prepares.
        """
        if tables:
            return self._predict_tables(tables, work)
        if not shards:
            raise Refusal("there is nothing to read; give shards, or tables as {NAME: URI}")
        read = self.open_shards(shards)
        known = known_sources(read, self.config.sources)
        frames = []
        parts, _ = parts_of(read, self.task, known, self.run)
        for part in parts:
            scores = self.scores(read_part(read, self.task, self.run, self.notes, part))
            frame = frame_of(part.labels).drop("split")
            frames.append(frame.with_columns(group=pl.lit(part.group), score=mean_of(scores)))
        order = ("subject_id", "row_id", "group", "prediction_time", "label", "score")
        return pl.concat(frames).select(order) if frames else pl.DataFrame(schema=list(order))

    def _predict_tables(self, tables: Mapping[str, str], work: str | None) -> pl.DataFrame:
        if self.reads_vectors or self.reads_text:
            raise Refusal(
                f"{self.folder.folder} reads the notes of its rows; score raw tables with "
                "jobs.predict, which prepares them, or give shards with their note_embeddings"
            )
        with tempfile.TemporaryDirectory() as temporary:
            made = featurize(self.folder, self.run, tables, work or temporary)
            return self.predict(made)

    def embed(self, shards: str | None = None) -> dict[str, pl.DataFrame]:
        """The vectors of rows and codes, in this process: kind -> a frame with ``vector``.

        Kinds are those that ``jobs.embed`` writes; without ``shards``, those of codes alone.
        Refuses a model without an encoder of MedHMP, and shards as ``predict`` does.
        """
        encoders, found = self.encoders, dict[str, pl.DataFrame]()
        read = self.open_shards(shards) if shards else None
        for kind in (k for k in ROW_KINDS if read and k in encoders.kinds):
            assert read
            names = sorted(read.manifest.tables[TABLE_OF[kind]])
            files = [encoders.embed_file(read, kind, name) for name in names]
            found[kind] = frame_of(pa.concat_tables(files))
        for code in (k for k in CODE_KINDS if k in encoders.kinds):
            found[code] = frame_of(encoders.embed_codes(code, getattr(self.manifest, code)))
        return found

    def open_shards(self, uri: str) -> OpenShards:
        """Opens shards. Refuses those whose columns are not the ones that the model knows."""
        output = opened(Folder(uri), "featurize")
        shards = with_own_tasks(output)
        for name in FEATURIZER:
            if getattr(shards.manifest, name) != getattr(self.manifest, name):
                raise Refusal(
                    f"{uri} was made by another featurizer than {self.folder.folder}: its {name} "
                    "differ; make it with --features.frozen set to that folder"
                )
        return shards


def mean_of(scores: Floats32) -> pl.Series:
    """The mean (n) of R replicates' scores (R, n), computed as the report does."""
    return pl.Series(scores.astype(np.float64).mean(axis=0), dtype=pl.Float64)


def from_pretrained(uri: str, device: str | None = None, run: Run | None = None) -> TrainedModel:
    """Loads a model folder: a local path or ``s3://bucket/key``.

    Args:
        uri: the folder, below ``models/`` of a run, or a copy of it.
        device: where a network computes, such as "cuda"; none: the CPU.
        run: the run whose other fields count, such as ``notes.bert``; none: the model's own.

    Raises:
        Refusal: the folder is not whole, is no model, or is of another format or version.
    """
    folder, config = open_model(uri)
    own = config.run() if run is None else run
    return TrainedModel(folder, config, own, torch.device(device) if device else None)


def run_of(uri: str) -> Run:
    """The run with which jobs apply a model: the fields that it was made with.

    Refuses as ``from_pretrained``.
    """
    Folder(uri).check_access()
    run = open_model(uri)[1].run()
    features = replace(run.features, frozen=uri)
    return replace(run, features=features, apply=replace(run.apply, model=uri))
