"""The batches of a training worker: each rank reads its own share of the shards, with Ray Data.

Of N rows in the order of their files, rank r of W has the rows from N r / W to N (r + 1) / W, and
takes N // W of them an epoch: batches of B, and a last one of what is left, the same for all ranks.
So an epoch leaves out fewer than W rows. Where every rank's share fits the budget, all shares stay
in memory, sparse, and each is reshuffled every epoch. Else all ranks read anew every epoch: the
deal begins one file later, a rank's files come in a seeded order, and rows are shuffled inside a
window. Either way the order depends on (seed, epoch, world size) alone, and an epoch can begin at
any step.

The rows left out differ between epochs: in memory by that epoch's shuffle, in streaming because the
deal rotates and reading starts at the first row or at the second.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np
import pyarrow as pa
import ray.data

from medhmp.layout import NOTE_EMBEDDINGS
from medhmp.legend import NOTE_WIDTH
from medhmp.refusal import Refusal
from medhmp.shards.datasource import Part, ShardFiles, rows_in
from medhmp.shards.note_vectors import read_notes
from medhmp.shards.prefetch import Ahead
from medhmp.shards.rows import Admissions, Batch, NoteVectors, Stays
from medhmp.storage import Folder, opened

WINDOW = 16
"""Batches among which rows are shuffled when a share is streamed."""

PARALLEL_FILES: Final = 2
"""Files a rank reads in parallel. A paused reader keeps its CPU reservation, so the readers of all
ranks, over two overlapping epochs, together reserve at most one CPU."""

TableName = Literal["stays", "admissions"]
"""The shard tables that pretraining reads."""


class Batches(Protocol):
    """Gives the batches of an epoch from step ``first`` on, the tail of the whole epoch's."""

    def __call__(self, epoch: int, first: int = 0) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Plan:
    """The rows of a shard table that training reads, and the way it reads them."""

    shards: str  # URI of the shards folder
    table: TableName
    # file name -> rows that ``splits`` and ``sources`` leave, from the manifest
    rows_per_file: dict[str, int]
    splits: tuple[str, ...]  # splits whose patients are read
    batch_size: int  # rows per rank and step
    seed: int
    budget: float  # bytes of a share that may stay in memory
    max_stays: int
    note_width: int = NOTE_WIDTH  # E
    shuffle_between_patients: bool = False  # the control of the evidence recipe
    # file name -> its published SHA-256; a file without one cannot be read
    sha256: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()  # sources whose patients are read; none: all

    @property
    def rows(self) -> int:
        """N, rows in all."""
        return sum(self.rows_per_file.values())

    def parts_of(self, rank: int, world_size: int, epoch: int = 0) -> list[Part]:
        """Deals the rank an equal share of the rows, but for one; the deal begins one file later
        every epoch."""
        names = sorted(self.rows_per_file)
        begin = epoch % len(names)
        first, end = (self.rows * at // world_size for at in (rank, rank + 1))
        parts, at = [], 0
        for name in names[begin:] + names[:begin]:
            rows = self.rows_per_file[name]
            start, stop = max(first - at, 0), min(end - at, rows)
            if start < stop:
                parts.append(Part(name, start, stop))
            at += rows
        return parts

    def rows_per_rank(self, world_size: int) -> int:
        """Rows that each rank takes in an epoch."""
        return self.rows // world_size

    def steps(self, world_size: int) -> int:
        """Batches of an epoch, the same for every rank and epoch; the last may be smaller.

        Refuses a batch larger than a rank's rows.
        """
        rows = self.rows_per_rank(world_size)
        if not self.rows:
            raise Refusal(
                f"the shards have no {self.table} of the splits {', '.join(self.splits)}, so there "
                "is nothing to pretrain on; run jobs.featurize on data that has some, or with "
                "another --splits.salt"
            )
        if rows < self.batch_size:
            raise Refusal(
                f"a worker has {rows} training {self.table} for batches of {self.batch_size}; "
                f"lower its batch size to {rows * world_size} or less, "
                "or use fewer workers"
            )
        return math.ceil(rows / self.batch_size)


@dataclass(frozen=True)
class Share:
    """One rank's rows.

    They follow from the rank, so no process deals them out and timing never matters.
    """

    plan: Plan
    rank: int
    world_size: int

    def batches(self, for_gpu: bool = False, epochs: int | None = None) -> Batches:
        """Prepares the batches of every epoch; a thread makes them ahead of the steps.

        Reads a share that stays in memory at once. Of a streamed share, begins to read the next
        epoch during the last steps of one.

        Args:
            for_gpu: puts batches into pinned memory, from which a GPU copies without waiting, and
                leaves ids as they are stored, a quarter of the bytes, to be widened there.
            epochs: the number of epochs; none: unknown.
        """
        steps = self.plan.steps(self.world_size)
        notes = NoteVectors.none()
        if self.plan.table == "admissions":
            vectors = Folder(self.plan.shards) / NOTE_EMBEDDINGS
            notes = read_notes(opened(vectors, "embed_notes"))
        is_kept = self.is_kept
        if is_kept:
            made = functools.partial(self._in_memory, self._kept(notes), steps, for_gpu)
        else:
            made = functools.partial(self._streamed, notes, steps, for_gpu)

        def begin(epoch: int, first: int = 0) -> Ahead[Batch]:
            one_by_one = made(epoch, first)
            return Ahead(map(pinned, one_by_one) if for_gpu else one_by_one)

        return begin if is_kept else _begun_early(begin, steps, epochs)

    @property
    def is_kept(self) -> bool:
        """True if every rank's share stays in memory.

        All ranks read in the same way: ranks that do not would read each other's rows.
        """
        shares = [self.plan.parts_of(rank, self.world_size) for rank in range(self.world_size)]
        if max(self._bytes(parts) for parts in shares) <= self.plan.budget:
            return True
        if self.plan.shuffle_between_patients:
            raise Refusal("the shuffled control needs its share in memory; raise share_budget_gib")
        return False

    def _kept(self, notes: NoteVectors) -> Stays | Admissions:
        """Reads all rows of the rank."""
        parts = self.plan.parts_of(self.rank, self.world_size)
        expected = rows_in(parts)
        (table,) = windows(self._tables(parts), expected, 0, expected)
        rows = self._rows(table, notes)
        if self.plan.shuffle_between_patients:
            return rows.shuffled(np.random.default_rng([self.plan.seed, self.rank]))
        return rows

    def _in_memory(
        self, rows: Stays | Admissions, steps: int, narrow: bool, epoch: int, first: int
    ) -> Iterator[Batch]:
        order, size = self._generator(epoch).permutation(len(rows)), self.plan.batch_size
        order = order[: self.plan.rows_per_rank(self.world_size)]
        for step in range(first, steps):
            yield rows.batch(order[step * size : (step + 1) * size], narrow)

    def _streamed(
        self, notes: NoteVectors, steps: int, narrow: bool, epoch: int, first: int
    ) -> Iterator[Batch]:
        """Shuffles inside one window of rows after the other.

        Skips the parts before the window of step ``first``, and reads past the rows before it.
        """
        if first >= steps:
            return
        size, step = self.plan.batch_size, first // WINDOW * WINDOW
        parts, skip = self._reading(epoch, step * size)
        left = self.plan.rows_per_rank(self.world_size) - step * size
        for table in windows(self._tables(parts), WINDOW * size, skip, left):
            rows = self._rows(table, notes)
            order = self._generator(epoch, 1 + step).permutation(table.num_rows)
            for at in range(0, table.num_rows, size):
                if step >= first:
                    yield rows.batch(order[at : at + size], narrow)
                step += 1

    def _reading(self, epoch: int, before: int) -> tuple[list[Part], int]:
        """Finds where an epoch's reading starts.

        Args:
            epoch: decides the parts, their order, and whether a spare row comes before the first.
            before: rows of the epoch to skip.

        Returns:
            The parts left to read, in their order, and the rows to skip in the first of them.
        """
        generator = self._generator(epoch)
        parts = self.plan.parts_of(self.rank, self.world_size, epoch)
        parts = [parts[i] for i in generator.permutation(len(parts))]
        spared = rows_in(parts) - self.plan.rows_per_rank(self.world_size)
        start = before + int(generator.integers(spared + 1))
        while parts and start >= parts[0].rows:
            start -= parts[0].rows
            parts = parts[1:]
        return parts, start

    def _tables(self, parts: list[Part]) -> Iterator[pa.Table]:
        """Reads the parts' rows of the plan's splits, in order, cut where Ray Data cuts them."""
        if not parts:
            return
        folder = Folder(self.plan.shards) / self.plan.table
        dataset = ray.data.read_datasource(
            ShardFiles(folder, parts, self.plan.sha256, self.plan.splits, self.plan.sources),
            num_cpus=_rounded_down(1 / (2 * PARALLEL_FILES * self.world_size)),
            concurrency=PARALLEL_FILES,
            override_num_blocks=len(parts),
        )
        options = dataset.context.execution_options
        options.preserve_order = True
        # Half of the object store, as Ray Data takes by itself, for all ranks together.
        store = ray.cluster_resources()["object_store_memory"] / 2 / self.world_size
        options.resource_limits = options.resource_limits.copy(object_store_memory=store)
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")

    def _rows(self, table: pa.Table, notes: NoteVectors) -> Stays | Admissions:
        if self.plan.table == "stays":
            return Stays.from_arrow(table)
        return Admissions.from_arrow(table, self.plan.max_stays, notes)

    def _bytes(self, parts: list[Part]) -> int:
        """Estimates the bytes of the parts' rows in memory.

        About twice what they take as Parquet, and a note vector for every admission, which lies in
        no shard.
        """
        rows = self.plan.rows_per_file
        sparse = 2 * sum(self._sizes[part.name] * part.rows // rows[part.name] for part in parts)
        if self.plan.table == "stays":
            return sparse
        return sparse + rows_in(parts) * self.plan.note_width * np.dtype(np.float32).itemsize

    @functools.cached_property
    def _sizes(self) -> dict[str, int]:
        """Bytes of each file, by one listing."""
        sizes = (Folder(self.plan.shards) / self.plan.table).sizes()
        return {name: sizes.get(name, 0) for name in self.plan.rows_per_file}

    def _generator(self, epoch: int, *more: int) -> np.random.Generator:
        return np.random.default_rng([self.plan.seed, epoch, self.rank, self.world_size, *more])


def _begun_early(begin: Batches, steps: int, epochs: int | None) -> Batches:
    """Begins each epoch (of ``steps`` steps) a window before the one before it ends.

    The one before is read by then, so no step waits while reading starts.
    """
    early: dict[int, Iterator[Batch]] = {}

    def batches(epoch: int, first: int = 0) -> Iterator[Batch]:
        coming = None if first else early.pop(epoch, None)
        early.clear()  # what was begun in vain ends
        for step, batch in enumerate(coming or begin(epoch, first), first):
            if step == max(first, steps - WINDOW) and epoch + 1 != epochs:
                early[epoch + 1] = begin(epoch + 1)
            yield batch

    return batches


def _rounded_down(cpus: float) -> float:
    """Rounds down to the ten-thousandths that Ray counts, as Ray rounds to the nearest."""
    return math.floor(cpus * 10_000) / 10_000


def windows(tables: Iterable[pa.Table], size: int, skip: int, rows: int) -> Iterator[pa.Table]:
    """Cuts a stream of tables anew, however it was cut before.

    Args:
        tables: the stream.
        size: rows of each table yielded; the last has the rest.
        skip: rows left out at the beginning.
        rows: rows yielded in all. Refuses a stream that ends before.
    """
    parts: list[pa.Table] = []
    held, wanted = 0, min(size, rows)
    for table in tables:
        at = min(skip, table.num_rows)
        skip -= at
        while wanted and held + table.num_rows - at >= wanted:
            taken = table.slice(at, wanted - held)
            yield pa.concat_tables([*parts, taken])
            at += taken.num_rows
            rows -= wanted
            parts, held, wanted = [], 0, min(size, rows)
        if not wanted:
            return
        parts.append(table.slice(at))
        held += table.num_rows - at
    if wanted:
        raise Refusal(
            f"the shards have {skip + rows - held} rows fewer than their manifest says; "
            "run jobs.featurize again with --overwrite"
        )


def pinned(batch: Batch) -> Batch:
    """Copies a batch to page-locked memory, from which a GPU copies without waiting."""
    return {name: value.pin_memory() for name, value in batch.items()}
