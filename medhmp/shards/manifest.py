"""``manifest.json``, which describes the shards beside it, and the shards opened as a value.

The manifest is content only: nothing in it depends on workers, buckets, paths or time.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import pyarrow as pa

from medhmp.layout import (
    COUNTS,
    MANIFEST,
    NOTE_EMBEDDINGS,
    NOTE_WIDTH_FIELD,
    OWN_ATTRIBUTES,
    OWN_LABELS,
    OWN_TASKS,
    SHARDS,
    attributes_of,
    labels_of,
    own_task_of,
)
from medhmp.legend import LEVELS, NOTE_WIDTH, SPLITS, Level, Task, Widths
from medhmp.refusal import Refusal
from medhmp.run import Run, fields_of
from medhmp.storage import COMPLETE, Folder, Output, opened
from medhmp.tables.schema import SYNTHETIC

FORMAT: Final = 5
OWN: Final = "cohort.tasks"
"""The field of the labels of a task of the run's own."""
FROZEN: Final = "features.frozen"
"""The name, among the inputs of shards, of the shards whose featurizer made them."""

EVENT: Final = re.compile(r"^(?!.*_value).*(_mask$|_delta_time(_|$))")
"""FIDDLE's names of hourly features that tell of a measurement: masks, and bins since a reading."""

VARIABLES: Final = "tables.variables"
"""The same, of the file of plausible ranges."""


@dataclass(frozen=True)
class File:
    """One Parquet file of a table."""

    rows: int
    splits: Mapping[str, int]  # rows of each split
    sha256: str  # in hex
    sources: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # the same of each


@dataclass(frozen=True)
class TaskCounts:
    """The counts of one task."""

    steps: Sequence[tuple[str, int]]  # rule -> rows that it left, in the order of the rules
    rows: Mapping[str, int]  # of each split
    positives: Mapping[str, int]  # of each split
    unavailable: str = ""  # why no source of the run can have the task; empty where one can
    emptied: str = ""  # by which step a table without rows lost them all; else empty
    # of train, validation and test, nearest to the run's, where a split lacks a class and these
    # shares of the patients would give it one
    shares: Sequence[float] = field(default_factory=list)

    @property
    def without_rows(self) -> str:
        """Says why the table has no row; empty if it has one."""
        return self.unavailable or self.emptied

    @property
    def lacking(self) -> list[str]:
        """The classes that splits lack, such as "validation has no positive row"."""
        found = []
        for split, n in self.rows.items():
            positives = self.positives[split]
            if not (positives and n - positives):
                kind = " positive" if n > positives else " negative" if n else ""
                found.append(f"{split} has no{kind} row")
        return found

    @property
    def hindrance(self) -> str:
        """Says why the task cannot be trained and scored, and what would help; empty if it can."""
        if self.without_rows or not self.lacking:
            return self.without_rows
        total, positive = sum(self.rows.values()), sum(self.positives.values())
        if positive in (0, total):
            kind = "negative" if positive else "positive"
            return f"no row of {total:,} is {kind}, so there is nothing to tell apart"
        said = f"{', '.join(self.lacking)} ({positive:,} of {total:,} rows are positive)"
        if not self.shares:
            return f"{said}; give another --splits.salt, or more patients"
        named = zip(SPLITS, self.shares, strict=True)
        shares = " ".join(f"--splits.{split} {share:g}" for split, share in named)
        return f"{said}; give another --splits.salt, or {shares}"


@dataclass(frozen=True)
class Manifest:
    """The content of a shards folder."""

    fields: Mapping[str, Any]  # of the run, those that shape content
    counts: Mapping[str, Mapping[str, int]]  # source -> patients, admissions, stays, ...
    rows_read: Mapping[str, Mapping[str, int]]  # source -> raw table -> rows
    left_out: Mapping[str, Mapping[str, int]]  # source -> reason -> rows
    splits: Mapping[str, str]  # source that brings its patients' splits -> their SHA-256
    hours: int  # T: bins of a stay
    real_valued: bool  # features have values, not only ids
    features: Sequence[str]  # names of the hourly features, by id
    demographics: Sequence[str]  # names of the demographic features, by id
    diagnoses: Sequence[str]  # "version:code", by id
    drugs: Sequence[str]  # by id
    vocabularies: Mapping[str, str]  # SHA-256 of each of those four
    indicators: Sequence[str]  # variables whose repeats at one time became indicators
    fiddle: Mapping[str, Any]  # the fitted featurizer
    tables: Mapping[str, Mapping[str, File]]  # stays, admissions, patients -> file name -> File
    notes: int  # discharge notes written
    tasks: Mapping[Task, TaskCounts]
    # source -> what its stays fill of the columns (features/filled.py)
    filled: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    # hourly variable -> training stays that have it, and the median of its numbers there
    typical: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # of frozen features: source -> hourly variable -> what its stays have of it (features/drift.py)
    drift: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    # the fitted numbers (features/numbers.py): names and quantiles; empty without features.numbers
    numbers: Mapping[str, Any] = field(default_factory=dict)
    # ICD-10 diagnosis -> the ICD-9 ones it became
    icd9_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # ICD-9 diagnosis with an id -> the training admissions that have it
    icd9_seen: Mapping[str, int] = field(default_factory=dict)

    @property
    def widths(self) -> Widths:
        """The sizes that the model takes from the shards, which know no encoder of notes."""
        return Widths(
            hours=self.hours,
            features=len(self.features),
            demographics=len(self.demographics),
            diagnoses=len(self.diagnoses),
            drugs=len(self.drugs),
            events=tuple(i for i, name in enumerate(self.features) if EVENT.search(name)),
            numbers=len(self.numbers.get("variables", ())),
            statistics=len(self.numbers.get("statistics", ())),
            statistic_of=tuple(self.numbers.get("statistic_of", ())),
        )

    def rows_per_file(
        self, table: str, splits: Sequence[str] = SPLITS, sources: Sequence[str] = ()
    ) -> dict[str, int]:
        """File name -> its rows of these splits, of these sources or, without any, of all."""
        return {
            name: sum(of[split] for of in _of_sources(file, sources) for split in splits)
            for name, file in self.tables[table].items()
        }

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}


def _of_sources(file: File, sources: Sequence[str]) -> list[Mapping[str, int]]:
    """The rows of each split that a file has of each of these sources; of all without any."""
    return [file.sources.get(name, dict.fromkeys(SPLITS, 0)) for name in sources] or [file.splits]


def note_width(vectors: Output) -> int:
    """E of published vectors of notes, of whose stamp it is a field where it is not the default."""
    return int(vectors.fields.get(NOTE_WIDTH_FIELD, NOTE_WIDTH))


def content_of(run: Run, sources: Collection[str]) -> dict[str, Any]:
    """Fields of a run that shape the shards made from these sources; no path is among them."""
    own = {SYNTHETIC: "tables.synthetic", "meds": "tables.meds"}
    sections = [section for source, section in own.items() if source in sources]
    fields = fields_of(
        run, "cohort", "splits", "features", "shards.files", "shards.row_group", *sections
    )
    del fields["cohort.tasks"]  # each is an output of its own
    del fields["cohort.max_visits"]  # shards hold all visits: a fit cuts them
    del fields["features.frozen"]  # a place; what lies there is an input
    del fields["features.min_filled"]  # a bound that refuses shards and shapes none
    variables = run.tables.variables  # a file of one's own is an input
    fields["tables.variables"] = variables if variables in ("default", "none") else "own"
    return fields


@dataclass(frozen=True)
class OpenShards:
    """The shards of a run: their output and manifest, read once by a job, which passes them on."""

    output: Output
    manifest: Manifest  # its ``tasks`` have those of ``own``, too
    own: Mapping[Task, Output] = field(default_factory=dict)  # tasks of the run's own

    @property
    def folder(self) -> Folder:
        return self.output.folder

    @property
    def fingerprint(self) -> str:
        """Content hash, for the ``inputs`` of the stages that read them."""
        return self.output.fingerprint

    @property
    def widths(self) -> Widths:
        """The sizes that the model takes from the data.

        That of notes is the default as long as none is embedded: who reads vectors refuses it.
        """
        sizes = self.manifest.widths
        if not (self.folder / NOTE_EMBEDDINGS).exists(COMPLETE):
            return sizes
        return replace(sizes, note=note_width(self.note_embeddings))

    @cached_property
    def note_embeddings(self) -> Output:
        """The output of ``jobs.embed_notes`` beside the tables, opened at its first use.

        Refuses one not whole.
        """
        return opened(self.folder / NOTE_EMBEDDINGS, "embed_notes")

    def level(self, task: Task) -> Level:
        """The level of a task that the shards have labels of."""
        return level_in(self.own[task]) if task in self.own else LEVELS[task]

    def labels(self, task: Task) -> pa.Table:
        """The labels of a task: LABEL_COLUMNS, of one of the run's own OWN_LABEL_COLUMNS.

        Refuses a task that was not featurized.
        """
        if task in self.own:
            return self.own[task].read_parquet(OWN_LABELS)
        if labels_of(task) not in self.output.files:
            raise Refusal(
                f"{self.folder} has no labels of {task}; run jobs.featurize for this task first"
            )
        return self.read_parquet(labels_of(task))

    def attributes(self, task: Task) -> pa.Table | None:
        """ATTRIBUTE_COLUMNS of the labels' rows; None where the shards have none."""
        if task in self.own:
            return self.own[task].read_parquet(OWN_ATTRIBUTES)
        name = attributes_of(task)
        return self.read_parquet(name) if name in self.output.files else None

    def read_parquet(self, name: str) -> pa.Table:
        """One file, whole. Refuses bytes whose checksum is not the published one."""
        return self.output.read_parquet(name)

    def read_table(self, table: str) -> Iterator[pa.Table]:
        """The files of a shard table, in the order of the rows. Refuses as ``read_parquet``."""
        for name in sorted(self.manifest.tables[table]):
            yield self.read_parquet(f"{table}/{name}")


def open_shards(run: Run) -> OpenShards:
    """Opens the shards of a run.

    Refuses those not whole, of other fields, of another source or format. A source may have moved
    since, and a job after ``featurize`` need not name it.
    """
    output = opened(Folder(run.out) / SHARDS, "featurize")
    made_from, named = (
        sorted(output.inputs.keys() - {FROZEN, VARIABLES}),
        sorted(run.tables.named()),
    )
    if named and named != made_from:
        raise Refusal(
            f"{output.folder} was made from {', '.join(made_from)} and tables.sources names "
            f"{', '.join(named)}; leave out --tables.sources, or give another --out"
        )
    output.check(content_of(run, made_from), "featurize")
    shards = with_own_tasks(output)
    for task, asked in run.cohort.own_tasks().items():
        if task in shards.own:
            shards.own[task].check(own_fields(task, asked.level), "featurize")
    return shards


def with_own_tasks(output: Output) -> OpenShards:
    """Opens whole shards, with the tasks of the run's own that were matched to them."""
    manifest, own = manifest_in(output), {}
    names = {name.partition("/")[0] for name in (output.folder / OWN_TASKS).names()}
    for task in sorted(names):
        made = Output.of(output.folder / own_task_of(task))
        if made and made.inputs.get("shards") == output.fingerprint and task.isidentifier():
            own[task] = made
    counted = {task: TaskCounts(**made.read_json(COUNTS)) for task, made in own.items()}
    return OpenShards(output, replace(manifest, tasks={**manifest.tasks, **counted}), own)


def own_fields(task: Task, level: Level) -> dict[str, Any]:
    """The fields that the labels of a task of the run's own depend on, beside the shards."""
    return {OWN: f"{task}={level}"}


def level_in(own: Output) -> Level:
    """The level of a task of the run's own."""
    level: Level = own.fields[OWN].partition("=")[2]
    return level


def manifest_in(shards: Output) -> Manifest:
    """Reads the manifest of whole shards. Refuses another format."""
    raw = shards.read_json(MANIFEST)
    if raw.pop("format") != FORMAT:
        raise Refusal(
            f"{shards.folder} has another format than this version; "
            "run jobs.featurize again with --overwrite"
        )
    raw["tables"] = {
        table: {name: File(**file) for name, file in files.items()}
        for table, files in raw["tables"].items()
    }
    raw["tasks"] = {task: TaskCounts(**counts) for task, counts in raw["tasks"].items()}
    return Manifest(**raw)
