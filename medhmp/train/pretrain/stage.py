"""A stage of pretraining: what it reads, what decides its output, what it trains."""

from dataclasses import dataclass
from typing import Literal

from medhmp.legend import SPLITS, Widths
from medhmp.model.heads import load_start
from medhmp.run import Pretrain, Run, fields_of
from medhmp.shards.manifest import open_shards
from medhmp.shards.split import assert_disjoint, splits_in
from medhmp.shards.stream import Plan, TableName
from medhmp.storage import Folder, Stamp, fingerprint
from medhmp.train.checkpoint import pretrained, read_weights
from medhmp.train.objective import (
    AdmissionPretraining,
    StayReconstruction,
    build_admission_pretraining,
    build_stay_pretraining,
    model_fields,
)

Objective = StayReconstruction | AdmissionPretraining


@dataclass(frozen=True)
class Stage:
    """One pretraining: what it reads, where it writes, what it starts from."""

    name: Literal["pretrain_stay", "pretrain_admission"]
    folder: str  # URI of its output
    start: str | None = None  # URI of a stage-one output whose stay encoder it begins from
    shuffled: bool = False  # the control: data shuffled between patients

    @property
    def table(self) -> TableName:
        return "stays" if self.name == "pretrain_stay" else "admissions"

    def settings(self, run: Run) -> Pretrain:
        settings: Pretrain = getattr(run, self.name)
        return settings


def stamp_of(run: Run, stage: Stage) -> Stamp:
    """What decides whether an output or a checkpoint is this run's. Refuses inputs not whole."""
    shards = Folder(run.out) / "shards"
    fields = fields_of(run, stage.name, "pretrain_on", "share_budget_gib")
    fields |= model_fields(run, stage.name)
    for name in ("keep", "checkpoint_steps"):  # alone of their section they shape no weights
        del fields[f"{stage.name}.{name}"]
    inputs = {"shards": open_shards(run).fingerprint}
    if stage.table == "admissions":
        inputs["note_embeddings"] = fingerprint(shards / "note_embeddings", "embed_notes")
    if stage.start:
        begun = Folder(stage.start)
        inputs["start"] = pretrained(begun, "pretrain_stay", inputs["shards"], run.pretrain_on)
    return Stamp({**fields, "shuffled": stage.shuffled}, inputs)


def plan_of(run: Run, stage: Stage) -> Plan:
    """The rows that a stage reads: of training patients, unless ``pretrain_on`` says otherwise."""
    settings, shards = stage.settings(run), open_shards(run)
    assert_disjoint(*(splits_in(shards, name) for name in ("patients", stage.table)))
    splits = ("train",) if run.pretrain_on == "train" else SPLITS
    return Plan(
        shards=shards.folder.uri,
        table=stage.table,
        rows_per_file=shards.manifest.rows_per_file(stage.table, splits),
        splits=splits,
        batch_size=settings.batch_size // settings.workers,
        seed=settings.seed,
        budget=run.share_budget_gib * 2**30,
        max_stays=run.model.max_stays,
        shuffle_between_patients=stage.shuffled,
    )


def objective_of(run: Run, stage: Stage, widths: Widths) -> Objective:
    """Fresh weights, and those of the stage's start. Refuses a start that does not fit."""
    if stage.name == "pretrain_stay":
        return build_stay_pretraining(run.model, widths)
    objective = build_admission_pretraining(run.model, widths)
    if stage.start:
        load_start(objective.admission, read_weights(Folder(stage.start), "pretrain_stay"))
    return objective
