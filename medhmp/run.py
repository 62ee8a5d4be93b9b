"""A run as one typed value: the dataclass tree, its check, its JSON.

A recipe (``medhmp/recipes.py``) is a function that returns a ``Run``; the command line overrides
any field of it (``--section.field value``). Nothing else configures anything. Comments on fields
are the ``--help`` texts: meaning, unit, source.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from medhmp import meds_patterns, searches
from medhmp.legend import (
    LEVELS,
    PAPER_PARTS,
    ROW_ID,
    Level,
    PaperPart,
    PatientTask,
    Start,
    Task,
)
from medhmp.meds_patterns import Meds
from medhmp.model.catalog import MODELS, USUAL
from medhmp.refusal import Refusal
from medhmp.uris import refuse_credential

VALUE_TYPES: Final = ("Numeric", "Categorical", "hierarchical_ICD9")
"""Types that the values of a variable can be declared to have."""
SCORED_AT_ONCE: Final = 256
"""Rows of a batch that is scored. The last bits of a network's score depend on what it is scored
with, so a part of a prediction is a multiple of it."""


_OWN_TASK: Final = re.compile(
    rf"(?P<name>[a-z][a-z0-9_]*)=(?P<level>{'|'.join(ROW_ID)}):(?P<uri>.+)"
)


@dataclass(frozen=True)
class Synthetic:
    """The synthetic cohort that stands in when no source is named."""

    patients: int = 2000  # patients to generate
    seed: int = 0  # same seed, same bytes
    density: float = 1.0  # factor on how often vital signs, unit items, labs, texts are read


@dataclass(frozen=True)
class Tables:
    """The raw tables: where they are, how they are made or read."""

    # NAME=URI ...; NAME is mimic3, mimic4, eicu, clif, meds, physionet2012 or fiddle; none:
    # synthetic
    sources: tuple[str, ...] = ()

    # names of tables that features alone need and that a source may lack: LABEVENTS, lab, ...
    optional: tuple[str, ...] = ()

    # ranges of plausible readings, and units to convert: default, none, or a YAML file of your own
    # in the form of medhmp/tables/variables.yaml
    variables: str = "default"

    # compare raw tables with the SHA256SUMS.txt that PhysioNet publishes, where it lies beside them
    checksums: bool = True

    synthetic: Synthetic = field(default_factory=Synthetic)
    meds: Meds = field(default_factory=Meds)

    def check(self) -> None:
        """Refuses entries that are not NAME=URI, two of one name, and bad patterns of ``meds``."""
        meds_patterns.check(self.meds)
        if len(self.named()) < len(self.sources):
            raise Refusal(
                "tables.sources has a name twice; give each source one entry, with all of its "
                "tables in one folder"
            )

    def waived(self) -> tuple[str, ...]:
        """``optional`` as readers name tables: in upper case."""
        return tuple(name.upper() for name in self.optional)

    def named(self) -> dict[str, str]:
        """Name -> URI of each entry. Refuses an entry without ``=``."""
        pairs = [source.partition("=") for source in self.sources]
        for name, equals, uri in pairs:
            if not (name and equals and uri):
                raise Refusal(
                    f"tables.sources has the entry '{name}{equals}{uri}'; write it as NAME=URI, "
                    "for example mimic3=/data/mimic-iii-1.4"
                )
        return {name: uri for name, _, uri in pairs}


@dataclass(frozen=True)
class OwnTask:
    """A task of the run's own."""

    level: Level
    uri: str  # of its labels: a file or a folder


@dataclass(frozen=True)
class Cohort:
    """Members of each task, and what is known at the prediction time."""

    # NAME=LEVEL:URI ...; own tasks, beside the built-in ones: LEVEL is stay, admission or patient,
    # URI a file or folder of labels, Parquet or CSV, with stay_id or hadm_id (or subject_id and
    # prediction_time, as MEDS has them), and label or boolean_value
    tasks: tuple[str, ...] = ()
    label_sources: tuple[str, ...] = ()  # names of sources whose rows are labelled; none: all
    hours: int = 48  # T: hours observed from unit admission; stay tasks predict at this hour
    min_age: int = 18  # years, at unit admission (stays) or hospital admission (admissions)
    readmission_days: int = 30  # days after discharge within which a readmission counts
    unplanned_only: bool = True  # a planned next admission is not a readmission
    # observation stays (MIMIC-IV): left_out: neither rows of readmission nor readmissions, as they
    # are no inpatient admissions; readmissions: as labels alone; admissions: as any other
    observation_stays: Literal["left_out", "readmissions", "admissions"] = "left_out"
    drop_deaths_within_window: bool = False  # leave out deaths in that window; false: negatives
    gap_months: int = 6  # months before a patient task's first code that are hidden from the model
    max_visits: int = 50  # last visits kept per patient (paper, Appendix A)
    matched: tuple[PatientTask, ...] = ("copd", "amnesia")  # 3 controls a case; others: everybody
    match_seed: int = 0  # order in which cases choose their controls
    heart_failure_codes: Literal["core", "broad"] = "core"  # core: ICD-9 428*, ICD-10 I50*
    copd_codes: Literal["core", "broad"] = "core"  # broad: chronic obstructive asthma, too
    amnesia_codes: Literal["core", "broad"] = "core"  # broad: that by alcohol and drugs, too
    task_signals: Literal["paper", "strict"] = "paper"  # items removed before features are fitted
    recording_hospitals: bool = True  # arf, shock: only hospitals that record its signs (eICU)

    def own_tasks(self) -> dict[Task, OwnTask]:
        """Name -> level and place of the labels, of each entry of ``tasks``.

        Refuses an entry that is not NAME=LEVEL:URI, a built-in name, and two of one name.
        """
        found: dict[Task, OwnTask] = {}
        for entry in self.tasks:
            parts = _OWN_TASK.fullmatch(entry)
            if not parts:
                raise Refusal(
                    f"cohort.tasks has the entry '{entry}'; write it as NAME=LEVEL:URI, NAME in "
                    f"small letters, digits and _, LEVEL one of {', '.join(ROW_ID)}"
                )
            name = parts["name"]
            if name in LEVELS or name in found:
                taken = "is built in" if name in LEVELS else "is there twice"
                raise Refusal(f"cohort.tasks has the name {name}, which {taken}; give another")
            found[name] = OwnTask(cast(Level, parts["level"]), parts["uri"])
        return found

    def level(self, task: Task, named_by: str = "the run") -> Level:
        """The level of a task. Refuses one that is neither built in nor in ``tasks``."""
        own = self.own_tasks()
        if task in own:
            return own[task].level
        if task not in LEVELS:
            raise Refusal(
                f"{named_by} has the task '{task}'; the tasks are {', '.join([*LEVELS, *own])}"
                " (--cohort.tasks NAME=LEVEL:URI adds one of your own)"
            )
        return LEVELS[task]


@dataclass(frozen=True)
class Splits:
    """Shares of patients; a patient's split is a hash of subject_id and salt."""

    salt: str = "medhmp"  # of the hash: another salt, another split of the same patients
    train: float = 0.8  # share of patients
    validation: float = 0.1  # share of patients
    test: float = 0.1  # share of patients
    # cross-validation: patients in so many folds by the same hash; the test split is one of them,
    # and train and validation share the others as they share what is not test; 0: no folds
    folds: int = 0
    fold: int = 0  # the fold that is the test split, from 0


@dataclass(frozen=True)
class Features:
    """FIDDLE's settings (Tang et al. 2020) and the code vocabularies."""

    dt: float = 1.0  # hours per bin
    theta_1: float = 0.05  # a variable is kept if more than this share of stays has it
    theta_2: float = 0.05  # an hourly feature's share of stays must be in (theta_2, 1 - theta_2)
    theta_2_static: float | None = 0.005  # the same for demographics; none: theta_2
    theta_freq: float = 1.0  # readings per bin from which a numeric variable is "frequent"
    statistics: tuple[Literal["min", "max", "mean"], ...] = ("min", "max", "mean")  # per bin
    frequent_over: Literal["all", "full_length"] = "all"  # stays that theta_freq averages over
    discretize: bool = True  # false: real values, missing cells imputed with the mean
    # of real values: (x - median) / (95th - 5th percentile), cut at +-5; none: left as FIDDLE does
    scale: Literal["none", "quantiles"] = "quantiles"
    clip: bool = True  # values in no fitted bin go to the nearest; false: to none, as FIDDLE
    ordinal: bool = False  # cumulative instead of one-hot bins
    drop_near_copies: bool = False  # drop features within 1e-5 of correlation 1, as FIDDLE; slower
    icd: Literal["joint", "icd9_only", "to_icd9"] = "joint"  # icd9_only: such admissions, as paper
    code_levels: tuple[Literal[0, 1, 2], ...] = ()  # add chapters 0, blocks 1, categories 2
    # NAME=TYPE where values mislead: Numeric, Categorical, hierarchical_ICD9; default: FIDDLE's
    value_types: tuple[str, ...] = (
        "FIRST_WARDID=Categorical",
        "MedA_AMOUNT=Numeric",
        "MedA_ROUTE=Categorical",
        "ICD9_CODE=hierarchical_ICD9",
    )
    min_code_count: int = 1  # diagnoses seen in fewer training admissions are dropped
    drug_key: Literal["name", "ndc", "gsn"] = "name"  # column that names a drug
    min_drug_count: int = 1  # drugs seen in fewer training admissions are dropped
    # shared: one vocabulary for the facts of a stay (admission, person, unit), so that they do not
    # tell the database; what one database alone has is left out. own: each source's own, as paper
    facts: Literal["shared", "own"] = "shared"
    # shared: one name and unit for the hourly readings that tables.variables knows in every source,
    # so that what is fitted to one has something to read in another. own: each source's own
    names: Literal["own", "shared"] = "own"
    # beside the bins, the last number of each hour and variable, statistics of them, and auxiliary
    # targets: for models of ours that read numbers
    numbers: bool = False
    frozen: str | None = None  # shards whose columns, bins and codes are taken; none: fitted here
    min_filled: float = 0.5  # frozen: share of a source's stays that must have an hourly feature

    def types(self) -> dict[str, str]:
        """Variable -> value type of ``value_types``. Refuses an entry that is not NAME=TYPE."""
        found = {}
        for entry in self.value_types:
            name, equals, kind = entry.rpartition("=")
            if not (name and equals) or kind not in VALUE_TYPES:
                raise Refusal(
                    f"features.value_types has the entry '{entry}'; write it as NAME=TYPE, "
                    f"with one of {', '.join(VALUE_TYPES)}"
                )
            found[name] = kind
        return found


@dataclass(frozen=True)
class Shards:
    """The Parquet files that training reads."""

    files: int = 24  # per table
    row_group: int = 4096  # rows
    bucket_stays: int = 500  # stays that a task of featurization holds; memory, not content


@dataclass(frozen=True)
class Notes:
    """The frozen note encoder."""

    model: str | None = None  # folder of a T5 or BERT, Hugging Face layout, or s3://; none: random
    max_tokens: int = 512  # per chunk, or all a BERT takes; longer notes: mean of chunks by length
    batch_size: int = 32  # chunks per forward pass
    keep_text: bool = False  # keep notes/ after embedding: models that fine-tune an encoder read it
    # folders, as of notes.model, of the encoders that models of notes fine-tune; none: tiny, random
    t5: str | None = None
    bert: str | None = None
    fine_tune: bool = True  # false: gated fusions read the frozen vectors and fine-tune no BERT


@dataclass(frozen=True)
class Model:
    """The paper's network. Defaults are the paper's, but for the weights that it begins with."""

    width: int = 256  # d_r, the width R of every representation
    demographic_hidden: int = 64  # hidden width of MLP_d
    encoder_layers: Literal[1, 3] = 1  # 1: Eq. 1; 3: the authors' LSTM, LayerNorm, two-layer LSTM
    max_stays: int = 3  # M: first stays of an admission that Eq. 4 keeps
    mask_rate: float = 0.15  # share of codes masked (Sec. 2.3.2)
    temperature: float = 0.1  # tau of Eq. 10
    code_weight: float = 1.0  # of masked code prediction in Eq. 11; 0: without (Table 7)
    contrast_weight: float = 0.1  # lambda of Eq. 11; 0: without the contrast (Table 7)
    mcp_reduction: Literal["mean", "sum"] = "mean"  # Eq. 9 over the vocabulary; sum: as printed
    nce_denominator: Literal["exclude_positive", "include_positive"] = "exclude_positive"  # Eq. 10
    head_dropout: float = 0.2  # before the classifier
    # open: the forget gates of the stay's encoder and decoder begin so that cell states last for
    # hours (ours; Tallec and Ollivier 2018); halving: as PyTorch does, and so the paper
    forget_gates: Literal["open", "halving"] = "open"
    # probability of each code that masked code prediction begins with (ours; Lin et al. 2017);
    # none: about one half, as PyTorch does, and so the paper
    code_prior: float | None = 0.01


@dataclass(frozen=True)
class Pretrain:
    """One stage of pretraining."""

    epochs: int = 200  # passes over the training patients
    batch_size: int = 128  # rows per step, all workers together
    chunk: int = 1024  # rows that pass the encoder at once, for memory; the contrast sees them all
    learning_rate: float = 5e-4  # AdamW
    weight_decay: float = 1e-8  # AdamW
    workers: int = 1  # training processes
    seed: int = 0  # initial weights, masks, order
    keep: int = 2  # newest checkpoints kept
    checkpoint_steps: int = 1000  # steps between checkpoints; a kill repeats at most this many
    # epochs between probes: the AUROC of the first stay task's validation rows by a logistic
    # regression on the frozen encoder, printed and plotted, used for nothing; 0: none
    probe_epochs: int = 0


@dataclass(frozen=True)
class Loop:
    """Settings of a stage of pretraining that shape no weights."""

    skip_step: bool = False  # fetch batches and make no step: measures ingest, writes nothing


@dataclass(frozen=True)
class Fit:
    """The one fit that ``jobs.finetune`` makes."""

    task: Task = "mortality"  # what is predicted: a built-in task, or one of cohort.tasks
    model: str = "medhmp"  # a name of model/catalog.py
    start: Start = "both"  # where its weights begin; none for a model that is not pretrained
    seed: int = 0  # labelled rows, initial weights, order, and which pretraining it begins from
    batch_size: int = 32  # rows per step, of a network
    learning_rate: float = 1e-3  # of a network's optimizer

    def check(self, cohort: Cohort) -> None:
        """Refuses an unknown model or task, and a task or a start that the model does not take."""
        _check_models("fit.model", (self.model,))
        level = cohort.level(self.task, "fit.task")
        if level not in MODELS[self.model].builders:
            able = [name for name, entry in MODELS.items() if level in entry.builders]
            raise Refusal(
                f"fit.model {self.model} is no model of {level}s, on which fit.task {self.task} "
                f"is; give one of {', '.join(able)}"
            )
        if self.start != "none" and not MODELS[self.model].takes_starts:
            raise Refusal(
                f"fit.start is {self.start} and {self.model} is not pretrained; "
                "give --fit.start none"
            )


@dataclass(frozen=True)
class Finetune:
    """Supervised training on a task: every fit of ``jobs.finetune`` and of the grid."""

    momentum: float = 0.9  # SGD; model/catalog.py has the optimizer of each model
    weight_decay: float = 1e-2  # SGD and AdamW (paper, Appendix B)
    epochs: int = 30  # at most
    patience: int = 5  # epochs without a lower validation cross-entropy before stopping
    # labelled training rows used (the low-resource case), of patients drawn by the fit's seed;
    # none: all
    labels: int | None = None


@dataclass(frozen=True)
class Tune:
    """The grid. A cell is chosen by mean validation cross-entropy over its replicates."""

    tasks: tuple[Task, ...] = tuple(LEVELS)  # to run: built-in ones, and those of cohort.tasks
    models: tuple[str, ...] = USUAL  # names of model/catalog.py to run; it has more
    starts: tuple[Start, ...] = ("none", "stay", "admission", "both")  # of models that take them
    # MODEL.FIELD=V,V,... or MODEL/START.FIELD=V,V,... for one start; others: as model/catalog.py
    search: tuple[str, ...] = ()
    # fits per cell; each draws its labelled rows, initial weights and order anew, and begins from
    # the next of the pretrain_seeds pretrainings
    replicates: int = 5
    gpus_per_trial: float | None = None  # share of a GPU that a trial reserves; none: 0.25, if any
    # rates that a grid of a network may add, one after another, beyond the lowest or highest
    # searched, while that is the best
    extend: int = 0
    # stop fits that lag behind the other cells of their replicate (ASHA), from finetune.patience
    # epochs on: faster, and which cell is chosen may depend on the order in which fits end
    asha: bool = False

    def check(self, cohort: Cohort) -> None:
        """Refuses an unknown model or task, a search that is none, and a control without its
        like."""
        _check_models("tune.models", self.models)
        for task in self.tasks:
            cohort.level(task, "tune.tasks")
        searches.parse(self.search)
        if "shuffled" in self.starts and "both" not in self.starts:
            raise Refusal(
                "tune.starts has the control 'shuffled' without 'both' to compare it with"
            )

    def searched(self, model: str, start: Start) -> dict[str, tuple[float, ...]]:
        """Field -> the values that the grid of a model and start searches, in the catalog's order.

        An entry for the start goes before one for the model, and that before the catalog.
        """
        given = searches.parse(self.search)
        return {
            name: given.get((model, start, name), given.get((model, None, name), values))
            for name, values in MODELS[model].search.items()
        }


def _check_models(field_name: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in MODELS:
            raise Refusal(f"{field_name} has '{name}'; the models are {', '.join(MODELS)}")


@dataclass(frozen=True)
class Report:
    """Scoring."""

    draws: int = 2000  # patient-bootstrap draws of each interval
    seed: int = 0  # of the draws


@dataclass(frozen=True)
class Paper:
    """What ``jobs.paper_tables`` makes, of the run's tasks and starts."""

    parts: tuple[PaperPart, ...] = PAPER_PARTS  # tables and figures of the paper to make
    # shares of the labelled training rows that Figure 5 trains on; 1 is always among them
    shares: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5)

    def check(self) -> None:
        """Refuses a share that is none."""
        if self.shares and not (min(self.shares) > 0 and max(self.shares) <= 1):
            raise Refusal(f"paper.shares are {self.shares}; give shares above 0, at most 1")


@dataclass(frozen=True)
class Apply:
    """A trained model used: ``jobs.predict`` and ``jobs.embed``."""

    # folder below models/ that jobs.export made; the first argument of these jobs
    model: str | None = None
    # shards that are read; none: they are made of tables.sources, by the model's own featurizer
    shards: str | None = None
    rows: int = 4096  # that a worker holds at a time; memory, not content

    def check(self) -> None:
        """Refuses parts that are cut anywhere but between the batches of scoring."""
        if self.rows < SCORED_AT_ONCE or self.rows % SCORED_AT_ONCE:
            raise Refusal(
                f"apply.rows is {self.rows}; give a multiple of {SCORED_AT_ONCE}, the rows that "
                "are scored at once"
            )


@dataclass(frozen=True)
class Run:
    """Everything that defines a run. Equal runs on equal inputs give equal outputs."""

    name: str = "run"  # printed in the report
    out: str = "runs/out"  # root of all outputs: a folder or s3://bucket/key
    # name of an ablation, whose fits, report and pretrainings that differ go to OUT/variants/NAME
    # beside the others; none: OUT itself
    variant: str | None = None
    overwrite: bool = False  # replace this job's outputs of another run
    quiet: bool = False  # no progress lines
    # where pretraining and the grid are shown, too; the place and the key are the tracker's own:
    # MLFLOW_TRACKING_URI, WANDB_PROJECT, WANDB_API_KEY, ... in the environment of the job
    tracker: Literal["none", "mlflow", "wandb"] = "none"
    private: bool = True  # outputs on disk for your eyes alone; false: for whom your umask says
    tables: Tables = field(default_factory=Tables)
    cohort: Cohort = field(default_factory=Cohort)
    splits: Splits = field(default_factory=Splits)
    features: Features = field(default_factory=Features)
    shards: Shards = field(default_factory=Shards)
    notes: Notes = field(default_factory=Notes)
    model: Model = field(default_factory=Model)
    pretrain_on: Literal["train", "all"] = "train"  # patients; all, test ones included: as paper
    # names of sources whose patients are pretrained on; none: all, also where label_sources are few
    pretrain_sources: tuple[str, ...] = ()
    pretrain_seeds: int = 1  # pretrainings of each stage, which differ in their seed alone
    share_budget_gib: float = 4.0  # a worker's rows below this stay in memory; note vectors always
    pretrain_stay: Pretrain = field(default_factory=Pretrain)
    # stage one of MedHMP-S, where tune.models has a model that reads numbers
    pretrain_numbers: Pretrain = field(
        default_factory=lambda: Pretrain(
            epochs=84, learning_rate=2e-3, weight_decay=1e-2, probe_epochs=12
        )
    )
    pretrain_admission: Pretrain = field(
        default_factory=lambda: Pretrain(epochs=300, batch_size=4096, learning_rate=2e-5)
    )
    loop: Loop = field(default_factory=Loop)
    finetune: Finetune = field(default_factory=Finetune)
    fit: Fit = field(default_factory=Fit)
    tune: Tune = field(default_factory=Tune)
    report: Report = field(default_factory=Report)
    paper: Paper = field(default_factory=Paper)
    apply: Apply = field(default_factory=Apply)

    @property
    def reads_numbers(self) -> bool:
        """True if a model of the grid does: MedHMP-S is pretrained, too."""
        return any(MODELS[model].reads_numbers for model in self.tune.models)

    def uris(self) -> list[tuple[str, str]]:
        """(field, URI) of every place that the run names."""
        fields = {
            "out": self.out,
            "notes.model": self.notes.model,
            "features.frozen": self.features.frozen,
            "apply.model": self.apply.model,
            "apply.shards": self.apply.shards,
            "tables.variables": self.tables.variables,
        }
        sources = [("tables.sources", source) for source in self.tables.sources]
        labels = [("cohort.tasks", own.uri) for own in self.cohort.own_tasks().values()]
        return [(name, uri) for name, uri in fields.items() if uri] + sources + labels

    def check(self) -> None:
        """Refuses a run that cannot work, before any time is spent on it."""
        for name, uri in self.uris():
            refuse_credential(name, uri)
        self.tables.check()
        if self.variant is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.variant):
            raise Refusal(
                f"variant is '{self.variant}', which names a folder; give letters, digits, '.', "
                "'_' and '-', a letter or a digit first"
            )
        named = {
            "cohort.label_sources": self.cohort.label_sources,
            "pretrain_sources": self.pretrain_sources,
        }
        for name, sources in named.items():
            unknown = set(sources) - self.tables.named().keys()
            if unknown and self.tables.sources:
                raise Refusal(
                    f"{name} names {', '.join(sorted(unknown))}, which tables.sources "
                    "does not; give names from there"
                )
        shares = (self.splits.train, self.splits.validation, self.splits.test)
        if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
            raise Refusal(
                f"splits.train, validation and test are {shares}; "
                "give three positive shares that sum to 1"
            )
        folds, fold = self.splits.folds, self.splits.fold
        if folds == 1 or folds < 0 or not 0 <= fold < max(folds, 1):
            raise Refusal(
                f"splits.folds is {folds} and splits.fold {fold}; give two folds or more, or 0, "
                "and a fold from 0 below their number"
            )
        for name in ("pretrain_stay", "pretrain_numbers", "pretrain_admission"):
            stage: Pretrain = getattr(self, name)
            if stage.workers < 1 or stage.batch_size % stage.workers:
                raise Refusal(
                    f"{name}.batch_size is {stage.batch_size} for {stage.workers} workers; "
                    "give a batch size that is a multiple of the number of workers"
                )
            if min(stage.epochs, stage.keep, stage.chunk, stage.checkpoint_steps) < 1:
                raise Refusal(
                    f"{name}.epochs, {name}.keep, {name}.chunk and {name}.checkpoint_steps must be "
                    "at least 1"
                )
        if self.pretrain_admission.batch_size // self.pretrain_admission.workers < 2:
            raise Refusal("pretrain_admission needs at least 2 rows per worker to have a negative")
        self._check_counts()
        self.features.types()
        if self.features.names == "shared" and self.tables.variables == "none":
            raise Refusal(
                "features.names is shared and tables.variables, which has the shared names, is "
                "none; give --tables.variables default, or a file of your own"
            )
        if not 0 <= self.features.min_filled <= 1:
            raise Refusal("features.min_filled is a share of stays; give a number from 0 to 1")
        if self.features.dt <= 0 or self.model.temperature <= 0:
            raise Refusal("features.dt and model.temperature must be above 0")
        weights = (self.model.code_weight, self.model.contrast_weight)
        if min(weights) < 0 or not max(weights):
            raise Refusal(
                f"model.code_weight and model.contrast_weight are {weights}; give no negative one, "
                "and one above 0, or stage two has nothing to learn"
            )
        if self.model.code_prior is not None and not 0 < self.model.code_prior < 1:
            raise Refusal("model.code_prior is a probability; give a number between 0 and 1")
        hours = self.cohort.hours / self.features.dt
        if hours < 1 or hours != int(hours):
            raise Refusal(
                f"cohort.hours {self.cohort.hours} is not a whole number of bins of features.dt "
                f"{self.features.dt} hours; choose a dt that divides it"
            )
        self.fit.check(self.cohort)
        self.tune.check(self.cohort)
        self.paper.check()
        self.apply.check()

    def _check_counts(self) -> None:
        """Refuses a count that is too small for anything to come of it."""
        labels = self.finetune.labels
        counts = {
            "tables.synthetic.patients": self.tables.synthetic.patients,
            "cohort.hours": self.cohort.hours,
            "cohort.max_visits": self.cohort.max_visits,
            "shards.files": self.shards.files,
            "shards.row_group": self.shards.row_group,
            "shards.bucket_stays": self.shards.bucket_stays,
            "notes.max_tokens": self.notes.max_tokens - 1,  # one of them ends a text
            "notes.batch_size": self.notes.batch_size,
            "model.width": self.model.width,
            "model.max_stays": self.model.max_stays,
            "finetune.epochs": self.finetune.epochs,
            "finetune.patience": self.finetune.patience,
            "fit.batch_size": self.fit.batch_size,
            "finetune.labels": 1 if labels is None else labels,
            "pretrain_seeds": self.pretrain_seeds,
            "tune.replicates": self.tune.replicates,
            "tune.extend": self.tune.extend + 1,  # none is fine
            "report.draws": self.report.draws - 1,  # one draw has no spread
        }
        for name, count in counts.items():
            if count < 1:
                least = 2 if name in ("notes.max_tokens", "report.draws") else 1
                raise Refusal(f"{name} must be at least {least}; give a larger --{name}")

    def to_json(self) -> str:
        """The whole tree as JSON text, keys in the order of the fields."""
        return json.dumps(dataclasses.asdict(self), indent=2)


def fields_of(run: Run, *names: str) -> dict[str, Any]:
    """The named sections or fields (``"model"``, ``"finetune.epochs"``), flat and fit for JSON.

    An output depends on them: they go into ``complete.json`` and decide whether a rerun skips it.
    """
    flat: dict[str, Any] = {}
    for name in names:
        value: Any = run
        for part in name.split("."):
            value = getattr(value, part)
        _flatten(name, value, flat)
    return flat


def with_fields(run: Run, flat: Mapping[str, Any]) -> Run:
    """The run with these fields, which ``fields_of`` gave; names of no section are left out.

    Raises KeyError for a field that a section of this version lacks.
    """
    sections = {part.name for part in dataclasses.fields(run)}
    tree = {name: of for name, of in tree_of(flat).items() if name in sections}
    changed: Run = _replaced(run, tree, "")
    return changed


def _replaced(section: Any, tree: Mapping[str, Any], path: str) -> Any:
    known = {part.name for part in dataclasses.fields(section)}
    if unknown := tree.keys() - known:
        raise KeyError(f"{path}{min(unknown)}")
    changes = {}
    for name, value in tree.items():
        now = getattr(section, name)
        if dataclasses.is_dataclass(now):
            value = _replaced(now, value, f"{path}{name}.")
        changes[name] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(section, **changes)


def tree_of(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Flat fields, as ``fields_of`` gives them, back in their sections."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, leaf = name.split(".")
        functools.reduce(lambda at, part: at.setdefault(part, {}), sections, tree)[leaf] = value
    return tree


def _flatten(name: str, value: Any, into: dict[str, Any]) -> None:
    if dataclasses.is_dataclass(value):
        for part in dataclasses.fields(value):
            _flatten(f"{name}.{part.name}", getattr(value, part.name), into)
    else:
        into[name] = list(value) if isinstance(value, tuple) else value


def digest(value: Any) -> str:
    """SHA-256 of a JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
