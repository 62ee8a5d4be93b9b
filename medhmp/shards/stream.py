"""How rows reach a training worker: Ray Data reads, ``FileDeal`` deals, ``Share`` orders.

Rank r of W reads the files r, r + W, ...; every rank takes the same number of equal batches,
counted from the manifest before training. A share that fits the budget stays in memory, sparse, and
is reshuffled every epoch; a larger one is read anew every epoch in a seeded order of files and
shuffled inside a window. Either way the order depends on (seed, epoch, world size) alone.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
import ray.train

from medhmp.legend import NOTE_WIDTH
from medhmp.refusal import Refusal
from medhmp.shards.rows import Admissions, Batch, Notes, Stays
from medhmp.storage import Folder

WINDOW = 16
"""Batches among which rows are shuffled when a share is streamed."""

Table = Literal["stays", "admissions"]


class Batches(Protocol):
    """The batches of an epoch, from step ``first`` on: the tail of the whole epoch's."""

    def __call__(self, epoch: int, first: int = 0) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Plan:
    """Which rows of a shard table training reads, and how."""

    shards: str  # URI of the shards folder
    table: Table
    rows_per_file: dict[str, int]  # file name -> rows that ``splits`` leave, from the manifest
    splits: tuple[str, ...]  # splits whose patients are read
    batch_size: int  # rows per rank and step
    seed: int
    budget: float  # bytes of a share that may stay in memory
    max_stays: int
    shuffle_between_patients: bool = False  # the control of the evidence recipe

    def files_of(self, rank: int, world_size: int) -> list[str]:
        return sorted(self.rows_per_file)[rank::world_size]

    def steps(self, world_size: int) -> int:
        """Equal batches every rank can take in an epoch. Refuses a batch larger than a share."""
        rows = [
            sum(self.rows_per_file[f] for f in self.files_of(rank, world_size))
            for rank in range(world_size)
        ]
        if min(rows) < self.batch_size:
            raise Refusal(
                f"a worker has {min(rows)} training {self.table} for batches of {self.batch_size}; "
                f"lower pretrain batch_size to {max(1, min(rows)) * world_size} or less, "
                "or use fewer workers"
            )
        return min(rows) // self.batch_size


class FileDeal(ray.train.DataConfig):  # type: ignore[misc]
    """Deals whole files to ranks, so that who reads what never depends on timing."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def configure(
        self, datasets: dict[str, Any], world_size: int, *_: Any, **__: Any
    ) -> list[dict[str, "Share"]]:
        return [
            {name: Share(self._plan, rank, world_size) for name in datasets}
            for rank in range(world_size)
        ]


@dataclass(frozen=True)
class Share:
    """One rank's files: what ``ray.train.get_dataset_shard`` returns under ``FileDeal``."""

    plan: Plan
    rank: int
    world_size: int

    def batches(self) -> Batches:
        """The batches of every epoch; fills the memory share, if it fits, once."""
        files = self.plan.files_of(self.rank, self.world_size)
        steps = self.plan.steps(self.world_size)
        notes = (
            read_notes(Folder(self.plan.shards))
            if self.plan.table == "admissions"
            else Notes.none()
        )
        if self._bytes(files) > self.plan.budget:
            if self.plan.shuffle_between_patients:
                raise Refusal(
                    "the shuffled control needs its share in memory; raise share_budget_gib"
                )
            return lambda epoch, first=0: itertools.islice(
                self._streamed(files, steps, notes, epoch), first, None
            )
        rows = self._rows(pa.concat_tables(self._tables(files)), notes)
        if self.plan.shuffle_between_patients:
            rows = rows.shuffled(np.random.default_rng([self.plan.seed, self.rank]))
        return lambda epoch, first=0: self._in_memory(rows, range(first, steps), epoch)

    def _in_memory(self, rows: Stays | Admissions, steps: range, epoch: int) -> Iterator[Batch]:
        order = self._generator(epoch).permutation(len(rows))
        for step in steps:
            yield rows.batch(order[step * self.plan.batch_size : (step + 1) * self.plan.batch_size])

    def _streamed(self, files: list[str], steps: int, notes: Notes, epoch: int) -> Iterator[Batch]:
        """Reads the files in a new order and shuffles inside one window of rows after the other."""
        generator = self._generator(epoch)
        order = [files[i] for i in generator.permutation(len(files))]
        windows = self._tables(order, WINDOW * self.plan.batch_size)
        return itertools.islice(self._shuffled(windows, notes, generator), steps)

    def _shuffled(
        self, windows: Iterable[pa.Table], notes: Notes, generator: np.random.Generator
    ) -> Iterator[Batch]:
        """Batches of each window's rows; those too few for another go into the next window."""
        size, rest = self.plan.batch_size, None
        for table in windows:
            window = table if rest is None else pa.concat_tables([rest, table])
            rows, order = self._rows(window, notes), generator.permutation(window.num_rows)
            whole = len(order) // size * size
            for at in range(0, whole, size):
                yield rows.batch(order[at : at + size])
            rest = window.take(order[whole:])

    def _tables(self, files: list[str], rows: int | None = None) -> Iterator[pa.Table]:
        """The files' rows of the plan's splits, in order, through Ray Data.

        A table has what the splits leave of ``rows`` rows; none: of a block, whose size is Ray's.
        """
        folder = Folder(self.plan.shards) / self.plan.table
        fs, base = folder.resolve()
        dataset = ray.data.read_parquet([f"{base}/{name}" for name in files], filesystem=fs)
        dataset.context.execution_options.preserve_order = True
        for table in dataset.iter_batches(batch_size=rows, batch_format="pyarrow"):
            yield table.filter(pc.is_in(table["split"], pa.array(self.plan.splits)))

    def _rows(self, table: pa.Table, notes: Notes) -> Stays | Admissions:
        if self.plan.table == "stays":
            return Stays.from_arrow(table)
        return Admissions.from_arrow(table, self.plan.max_stays, notes)

    def _bytes(self, files: list[str]) -> int:
        """Bytes of the files' rows in memory: about twice what they take as Parquet, and the note
        vector that every admission gets, which lies in no shard."""
        folder = Folder(self.plan.shards) / self.plan.table
        sparse = 2 * sum(folder.size(name) or 0 for name in files)
        if self.plan.table == "stays":
            return sparse
        rows = sum(self.plan.rows_per_file[name] for name in files)
        return sparse + rows * NOTE_WIDTH * np.dtype(np.float32).itemsize

    def _generator(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.plan.seed, epoch, self.rank, self.world_size])


def read_notes(shards: Folder) -> Notes:
    """All note embeddings of a run; none where ``note_embeddings/`` is not there or empty."""
    folder = shards / "note_embeddings"
    names = [name for name in folder.names() if name.endswith(".parquet")]
    tables = [folder.read_parquet(name) for name in names]
    return Notes.from_arrow(pa.concat_tables(tables)) if tables else Notes.none()
