"""A stage of pretraining: what it reads, what decides its output, what it trains."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from medhmp.layout import ADMISSION_PRETRAINING, BEGUN_FROM, CONTROL, NUMBERS, home_of, seeded
from medhmp.legend import SPLITS, Widths
from medhmp.model.starts import load_start
from medhmp.progress import Progress
from medhmp.provenance import run_json
from medhmp.refusal import Refusal
from medhmp.run import Cohort, Loop, Model, Pretrain, Run, fields_of
from medhmp.shards.manifest import OpenShards
from medhmp.shards.split import assert_disjoint, splits_in
from medhmp.shards.stream import Plan, TableName
from medhmp.storage import Folder, Output, Stamp
from medhmp.train.checkpoint import PATIENTS, pretrained, read_weights
from medhmp.train.objective import (
    AdmissionPretraining,
    NumberReconstruction,
    StayReconstruction,
    build_admission_pretraining,
    build_number_pretraining,
    build_stay_pretraining,
    model_fields,
)
from medhmp.train.tracking import check_tracker

Name = Literal["pretrain_stay", "pretrain_numbers", "pretrain_admission"]
Objective = StayReconstruction | NumberReconstruction | AdmissionPretraining


@dataclass(frozen=True)
class Stage:
    """One pretraining: its kind, where it writes, what it starts from."""

    name: Name
    folder: str  # URI of its output
    start: str | None = None  # URI of a stage-one output whose stay encoder it begins from
    shuffled: bool = False  # the control: data shuffled between patients
    number: int = 0  # of pretrain_seeds; it is added to the seed
    numbers: bool = False  # of MedHMP-S

    @property
    def table(self) -> TableName:
        return "admissions" if self.name == "pretrain_admission" else "stays"

    @property
    def job(self) -> str:
        """The job that makes it."""
        return "pretrain_admission" if self.table == "admissions" else "pretrain_stay"

    @property
    def title(self) -> str:
        """Its name in a tracker: all by which the pretrainings of a run differ."""
        parts = {"from_stay": self.start, "control": self.shuffled, f"seed-{self.number}": True}
        return " ".join((self.name, *(part for part, has in parts.items() if has)))

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


def stage_of(run: Run, shards: OpenShards, place: str, number: int) -> Stage:
    """The pretraining of a run in ``place``, of number ``number``: where it is or is to be made.

    That is the run's home. For a variant it is the root of all where the same was made there: it
    differs from that run in other stages alone. Refuses a start that is not whole.
    """
    of_paper = place.removeprefix(f"{NUMBERS}/")
    numbers, begun, start = of_paper != place, BEGUN_FROM[of_paper], None
    if begun and not run.loop.skip_step:  # ingest needs no weights
        start = stage_of(run, shards, f"{NUMBERS}/{begun}" if numbers else begun, number).folder
    stage_one: Name = "pretrain_numbers" if numbers else "pretrain_stay"
    stage = Stage(
        "pretrain_admission" if ADMISSION_PRETRAINING in place else stage_one,
        (Folder(run.out) / seeded(place, number)).uri,
        start,
        shuffled=place.startswith(CONTROL),
        number=number,
        numbers=numbers,
    )
    if not run.variant:
        return stage
    made = Output.of(Folder(stage.folder))
    if made and made.hash == stamp_of(run, shards, stage).hash:
        return stage
    home = Folder(home_of(run.out, run.variant))
    return replace(stage, folder=(home / seeded(place, number)).uri)


@dataclass(frozen=True)
class Setup:
    """A stage with the settings of its run, the same on every rank."""

    stage: Stage
    pretrain: Pretrain
    model: Model
    loop: Loop
    pretrain_on: Literal["train", "all"]
    pretrain_sources: tuple[str, ...]
    share_budget_gib: float
    cohort: Cohort  # of the probe's labels
    run_json: str  # the text of run.json
    name: str  # of the run
    tracker: str  # a run's field
    progress: Progress


def setup_of(run: Run, stage: Stage) -> Setup:
    """The settings that a stage of a run reads. Refuses a tracker that is not there."""
    check_tracker(run)
    run = _with_seed(run, stage)
    return Setup(
        stage,
        getattr(run, stage.name),
        run.model,
        run.loop,
        run.pretrain_on,
        run.pretrain_sources,
        run.share_budget_gib,
        run.cohort,
        run_json(run),
        run.name,
        run.tracker,
        Progress(run.quiet),
    )


def stamp_of(run: Run, shards: OpenShards, stage: Stage) -> Stamp:
    """The stamp of an output or a checkpoint of this run. Refuses inputs that are not whole."""
    run = _with_seed(run, stage)
    fields = fields_of(run, stage.name, *PATIENTS, "share_budget_gib")
    fields |= model_fields(run, stage.name)
    for name in ("keep", "checkpoint_steps", "probe_epochs"):  # fields that shape no weights
        del fields[f"{stage.name}.{name}"]
    inputs = {"shards": shards.fingerprint}
    if stage.table == "admissions":
        inputs["note_embeddings"] = shards.note_embeddings.fingerprint
    if stage.start:
        begun = Folder(stage.start)
        patients = fields_of(run, *PATIENTS)
        inputs["start"] = pretrained(begun, "pretrain_stay", inputs["shards"], patients)
    kind = {"shuffled": stage.shuffled, "numbers": stage.numbers}
    return Stamp({**fields, **kind}, inputs)


def _with_seed(run: Run, stage: Stage) -> Run:
    """The run with the stage's own seed: that of the run, plus the number of the pretraining."""
    settings: Pretrain = getattr(run, stage.name)
    own: dict[str, Any] = {stage.name: replace(settings, seed=settings.seed + stage.number)}
    return replace(run, **own)


def rows_to_read(setup: Setup, shards: OpenShards) -> Plan:
    """The rows that a stage reads: those of training patients, unless ``pretrain_on`` is all.

    Refuses shards with a patient in two splits, and ``pretrain_sources`` that they are not made of.
    """
    stage, settings, sources = setup.stage, setup.pretrain, setup.pretrain_sources
    if unknown := set(sources) - shards.manifest.counts.keys():
        raise Refusal(
            f"pretrain_sources names {', '.join(sorted(unknown))}, and the shards are made of "
            f"{', '.join(shards.manifest.counts)}; give names from there"
        )
    assert_disjoint(*(splits_in(shards, name) for name in ("patients", stage.table)))
    splits = ("train",) if setup.pretrain_on == "train" else SPLITS
    return Plan(
        shards=shards.folder.uri,
        table=stage.table,
        rows_per_file=shards.manifest.rows_per_file(stage.table, splits, sources),
        splits=splits,
        batch_size=settings.batch_size // settings.workers,
        seed=settings.seed,
        budget=setup.share_budget_gib * 2**30,
        max_stays=setup.model.max_stays,
        note_width=shards.widths.note,
        shuffle_between_patients=stage.shuffled,
        sources=sources,
        sha256={name: of.sha256 for name, of in shards.manifest.tables[stage.table].items()},
    )
