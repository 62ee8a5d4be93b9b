"""What the shards say about themselves: ``manifest.json``, content only.

Nothing in it depends on workers, buckets, paths or time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from medhmp.legend import SPLITS, Task, Widths
from medhmp.refusal import Refusal
from medhmp.storage import COMPLETE, Folder

FORMAT: Final = 1
NAME: Final = "manifest.json"


@dataclass(frozen=True)
class File:
    """One Parquet file of a table: its rows, those of each split, and its SHA-256 in hex."""

    rows: int
    splits: Mapping[str, int]
    sha256: str


@dataclass(frozen=True)
class TaskCounts:
    """What each rule left, and the rows and positives of each split."""

    steps: Sequence[tuple[str, int]]
    rows: Mapping[str, int]
    positives: Mapping[str, int]


@dataclass(frozen=True)
class Manifest:
    """The content of a shards folder."""

    fields: Mapping[str, Any]  # of the run, those that shape content
    counts: Mapping[str, Mapping[str, int]]  # source -> patients, admissions, stays, ...
    rows_read: Mapping[str, Mapping[str, int]]  # source -> raw table -> rows
    left_out: Mapping[str, Mapping[str, int]]  # source -> reason -> rows
    hours: int  # T: bins of a stay
    real_valued: bool  # features have values, not only ids
    features: Sequence[str]  # names of the hourly features, by id
    demographics: Sequence[str]  # names of the demographic features, by id
    diagnoses: Sequence[str]  # "version:code", by id
    drugs: Sequence[str]  # by id
    vocabularies: Mapping[str, str]  # SHA-256 of each of those four
    fiddle: Mapping[str, Any]  # the fitted featurizer
    tables: Mapping[str, Mapping[str, File]]  # stays, admissions, patients -> file name -> File
    notes: int  # discharge notes written
    tasks: Mapping[Task, TaskCounts]

    @property
    def widths(self) -> Widths:
        """The sizes that the model takes from the data."""
        return Widths(
            hours=self.hours,
            features=len(self.features),
            demographics=len(self.demographics),
            diagnoses=len(self.diagnoses),
            drugs=len(self.drugs),
        )

    def rows_per_file(self, table: str, splits: Sequence[str] = SPLITS) -> dict[str, int]:
        """File name -> its rows of these splits."""
        return {
            name: sum(file.splits[split] for split in splits)
            for name, file in self.tables[table].items()
        }

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}


def read_manifest(shards: Folder) -> Manifest:
    """The manifest of a ``shards/`` folder. Refuses one not whole or of another format."""
    if not shards.exists(COMPLETE):
        raise Refusal(f"{shards} is missing or not whole; run jobs.featurize first")
    raw = shards.read_json(NAME)
    if raw.pop("format") != FORMAT:
        raise Refusal(f"{shards} has another format than this version; run jobs.featurize again")
    raw["tables"] = {
        table: {name: File(**file) for name, file in files.items()}
        for table, files in raw["tables"].items()
    }
    raw["tasks"] = {task: TaskCounts(**counts) for task, counts in raw["tasks"].items()}
    return Manifest(**raw)
