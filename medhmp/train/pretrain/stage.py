"""A stage of pretraining: what it reads, what decides its output, what it trains."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from medhmp.legend import SPLITS, Widths
from medhmp.model.starts import load_start
from medhmp.progress import Progress
from medhmp.provenance import run_json
from medhmp.run import Cohort, Loop, Model, Pretrain, Run, fields_of
from medhmp.shards.manifest import OpenShards
from medhmp.shards.split import assert_disjoint, splits_in
from medhmp.shards.stream import Plan, TableName
from medhmp.storage import Folder, Stamp
from medhmp.train.checkpoint import pretrained, read_weights
from medhmp.train.objective import (
    AdmissionPretraining,
    NumberReconstruction,
    StayReconstruction,
    build_admission_pretraining,
    build_number_pretraining,
    build_stay_pretraining,
    model_fields,
)

Objective = StayReconstruction | NumberReconstruction | AdmissionPretraining


@dataclass(frozen=True)
class Stage:
    """One pretraining: its kind, where it writes, what it starts from."""

    name: Literal["pretrain_stay", "pretrain_numbers", "pretrain_admission"]
    folder: str  # URI of its output
    start: str | None = None  # URI of a stage-one output whose stay encoder it begins from
    shuffled: bool = False  # the control: data shuffled between patients
    number: int = 0  # of pretrain_seeds; it is added to the seed
    numbers: bool = False  # of MedHMP-S

    @property
    def table(self) -> TableName:
        return "admissions" if self.name == "pretrain_admission" else "stays"

    def build(self, model: Model, widths: Widths) -> Objective:
        """Builds the objective with fresh weights, then copies those of the stage's start.

        Refuses a start that does not fit.
        """
        if self.name == "pretrain_stay":
            return build_stay_pretraining(model, widths)
        if self.name == "pretrain_numbers":
            return build_number_pretraining(model, widths)
        objective = build_admission_pretraining(model, widths, self.numbers)
        if self.start:
            load_start(objective.admission, read_weights(Folder(self.start), "pretrain_stay"))
        return objective


@dataclass(frozen=True)
class Setup:
    """A stage with the settings of its run, the same on every rank."""

    stage: Stage
    pretrain: Pretrain
    model: Model
    loop: Loop
    pretrain_on: Literal["train", "all"]
    share_budget_gib: float
    cohort: Cohort  # of the probe's labels
    run_json: str  # the text of run.json
    progress: Progress


def setup_of(run: Run, stage: Stage) -> Setup:
    """The settings that a stage of a run reads."""
    run = _with_seed(run, stage)
    return Setup(
        stage,
        getattr(run, stage.name),
        run.model,
        run.loop,
        run.pretrain_on,
        run.share_budget_gib,
        run.cohort,
        run_json(run),
        Progress(run.quiet),
    )


def stamp_of(run: Run, shards: OpenShards, stage: Stage) -> Stamp:
    """The stamp of an output or a checkpoint of this run. Refuses inputs that are not whole."""
    run = _with_seed(run, stage)
    fields = fields_of(run, stage.name, "pretrain_on", "share_budget_gib")
    fields |= model_fields(run, stage.name)
    for name in ("keep", "checkpoint_steps", "probe_epochs"):  # fields that shape no weights
        del fields[f"{stage.name}.{name}"]
    inputs = {"shards": shards.fingerprint}
    if stage.table == "admissions":
        inputs["note_embeddings"] = shards.note_embeddings.fingerprint
    if stage.start:
        begun = Folder(stage.start)
        inputs["start"] = pretrained(begun, "pretrain_stay", inputs["shards"], run.pretrain_on)
    kind = {"shuffled": stage.shuffled, "numbers": stage.numbers}
    return Stamp({**fields, **kind}, inputs)


def _with_seed(run: Run, stage: Stage) -> Run:
    """The run with the stage's own seed: that of the run, plus the number of the pretraining."""
    settings: Pretrain = getattr(run, stage.name)
    own: dict[str, Any] = {stage.name: replace(settings, seed=settings.seed + stage.number)}
    return replace(run, **own)


def rows_to_read(setup: Setup, shards: OpenShards) -> Plan:
    """The rows that a stage reads: those of training patients, unless ``pretrain_on`` is all.

    Refuses shards with a patient in two splits.
    """
    stage, settings = setup.stage, setup.pretrain
    assert_disjoint(*(splits_in(shards, name) for name in ("patients", stage.table)))
    splits = ("train",) if setup.pretrain_on == "train" else SPLITS
    return Plan(
        shards=shards.folder.uri,
        table=stage.table,
        rows_per_file=shards.manifest.rows_per_file(stage.table, splits),
        splits=splits,
        batch_size=settings.batch_size // settings.workers,
        seed=settings.seed,
        budget=setup.share_budget_gib * 2**30,
        max_stays=setup.model.max_stays,
        note_width=shards.widths.note,
        shuffle_between_patients=stage.shuffled,
        sha256={name: of.sha256 for name, of in shards.manifest.tables[stage.table].items()},
    )
