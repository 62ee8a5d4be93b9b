"""Rows of a shard table in memory, sparse, and the batches cut from them.

One class per level. Each is made from an Arrow table of ``shards/schema.py`` without a Python
object per row; ``batch(rows)`` gives the tensors of ``medhmp/batch.py``. Nested stays and visits
are ragged rows over a flat inner table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from medhmp.arrays import AnyInts, Floats32, Ints
from medhmp.batch import (
    DEMOGRAPHICS,
    DRUG,
    HAS_NOTE,
    HOURS,
    ICD,
    NOTE_VECTOR,
    NUMBERS,
    STATISTICS,
    STAY_SLOT,
    SUBJECT_ID,
    TOKENS,
    VISIT_DAYS,
    VISIT_OFFSETS,
    CsrKeys,
)
from medhmp.legend import NOTE_WIDTH
from medhmp.shards.csr import Csr, from_lengths, joined

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Stays:
    """n stays, with the features that are on in each hour and those of the patient."""

    subject_id: Ints  # (n)
    row_id: Ints  # (n) stay_id
    hours: Csr  # a row per stay and hour (n*T)
    demographics: Csr  # a row per stay (n)
    feature_values: Floats32 | None = None  # one for each id of ``hours``; none: ones
    demographic_values: Floats32 | None = None  # the same of ``demographics``
    numbers: Csr | None = None  # a row per stay and hour (n*T); none: shards without numbers
    number_values: Floats32 | None = None  # one for each id of ``numbers``
    statistics: Floats32 | None = None  # (n, Q), NaN where there is none

    @staticmethod
    def from_arrow(table: pa.Table) -> "Stays":
        has_numbers = NUMBERS.ids in table.column_names
        return Stays(
            subject_id=_ints(table, "subject_id"),
            row_id=_ints(table, "stay_id"),
            hours=_by_hour(table, HOURS),
            demographics=Csr.from_arrow(table[DEMOGRAPHICS.ids]),
            feature_values=_values(table, HOURS.values),
            demographic_values=_values(table, DEMOGRAPHICS.values),
            numbers=_by_hour(table, NUMBERS) if has_numbers else None,
            number_values=_values(table, NUMBERS.values),
            statistics=_matrix(table, STATISTICS),
        )

    def __len__(self) -> int:
        return len(self.demographics)

    @property
    def hours_per_stay(self) -> int:
        return len(self.hours) // max(len(self), 1)

    def batch(self, rows: AnyInts, narrow: bool = False) -> Batch:
        """The keys of stays for the given rows.

        ``narrow`` leaves ids as they are stored: fewer bytes to move before ``widened``.
        """
        batch = {
            **self._hours_of(rows, HOURS, self.hours, self.feature_values, narrow),
            **_tensors(DEMOGRAPHICS, self.demographics.take(rows), narrow),
            SUBJECT_ID: torch.from_numpy(self.subject_id[rows]),
        }
        if self.demographic_values is not None:
            values = self.demographic_values[self.demographics.positions(rows)]
            batch[DEMOGRAPHICS.values] = torch.from_numpy(values)
        if self.numbers is not None:
            batch |= self._hours_of(rows, NUMBERS, self.numbers, self.number_values, narrow)
        if self.statistics is not None:
            batch[STATISTICS] = torch.from_numpy(self.statistics[rows])
        return batch

    def _hours_of(
        self, rows: AnyInts, keys: CsrKeys, of: Csr, values: Floats32 | None, narrow: bool
    ) -> Batch:
        """The keys of a matrix with a row per stay and hour, for the given stays."""
        steps = self.hours_per_stay
        begins = of.offsets[np.asarray(rows)[:, None] * steps + np.arange(steps + 1)]
        starts, ends = begins[:, 0], begins[:, -1]  # (B): the hours of a stay are neighbors
        ids = joined(of.values, starts, ends, None if narrow else np.int64)
        batch = _tensors(keys, Csr(from_lengths(np.diff(begins).ravel()), ids), narrow)
        if values is not None:
            batch[keys.values] = torch.from_numpy(joined(values, starts, ends))
        return batch

    def take(self, rows: Ints) -> "Stays":
        """Copies the given stays."""
        steps = self.hours_per_stay
        hours = (rows[:, None] * steps + np.arange(steps)).ravel()
        of_features, of_demographics = self.feature_values, self.demographic_values
        if of_features is not None:
            of_features = of_features[self.hours.positions(hours)]
        if of_demographics is not None:
            of_demographics = of_demographics[self.demographics.positions(rows)]
        numbers, of_numbers = self.numbers, self.number_values
        if numbers is not None and of_numbers is not None:
            of_numbers, numbers = of_numbers[numbers.positions(hours)], numbers.take(hours)
        return Stays(
            self.subject_id[rows],
            self.row_id[rows],
            self.hours.take(hours),
            self.demographics.take(rows),
            of_features,
            of_demographics,
            numbers,
            of_numbers,
            None if self.statistics is None else self.statistics[rows],
        )

    def until(self, bins: Ints) -> "Stays":
        """The stays without what is in bin ``bins[i]`` of stay i and in later ones: the hours that
        lie after a prediction time.

        Statistics are of all hours, so a stay that is cut has none.
        """
        kept = (np.arange(self.hours_per_stay) < bins[:, None]).ravel()
        hours, values = _kept_rows(self.hours, kept, self.feature_values)
        numbers, of_numbers, statistics = self.numbers, self.number_values, self.statistics
        if numbers is not None:
            numbers, of_numbers = _kept_rows(numbers, kept, of_numbers)
        if statistics is not None:
            is_whole = bins[:, None] >= self.hours_per_stay
            statistics = np.where(is_whole, statistics, np.float32(np.nan))
        return replace(
            self,
            hours=hours,
            feature_values=values,
            numbers=numbers,
            number_values=of_numbers,
            statistics=statistics,
        )

    def shuffled(self, generator: np.random.Generator) -> "Stays":
        """The control: deals the content of each hour to the same hour of some stay, and each
        statistic to some stay.

        No stay keeps a patient's course; what an hour holds, and how often, is unchanged.
        """
        grid = np.arange(len(self.hours)).reshape(len(self), -1)
        dealt = generator.permuted(grid, axis=0).ravel()
        values, statistics = self.feature_values, self.statistics
        if values is not None:
            values = values[self.hours.positions(dealt)]
        numbers, of_numbers = self.numbers, self.number_values
        if numbers is not None and of_numbers is not None:
            of_numbers, numbers = of_numbers[numbers.positions(dealt)], numbers.take(dealt)
        if statistics is not None:
            statistics = generator.permuted(statistics, axis=0)
        return replace(
            self,
            hours=self.hours.take(dealt),
            feature_values=values,
            numbers=numbers,
            number_values=of_numbers,
            statistics=statistics,
        )


@dataclass(frozen=True)
class Admissions:
    """n admissions: their codes, note and first ``max_stays`` stays."""

    subject_id: Ints  # (n)
    row_id: Ints  # (n) hadm_id
    icd: Csr  # a row per admission (n)
    drug: Csr  # a row per admission (n)
    note: Floats32  # (n, E), zeros where there is none
    has_note: npt.NDArray[np.bool_]  # (n)
    stays: Stays  # all stays of all n admissions
    stay_rows: Csr  # row i: the rows of ``stays`` that belong to admission i
    max_stays: int

    @staticmethod
    def from_arrow(table: pa.Table, max_stays: int, notes: "NoteVectors") -> "Admissions":
        nested = table["stays"].combine_chunks()
        if isinstance(nested, pa.ChunkedArray):
            nested = pa.array([], table["stays"].type)
        subject, hadm = _ints(table, "subject_id"), _ints(table, "hadm_id")
        offsets = nested.offsets.to_numpy().astype(np.int64)
        inner = pa.Table.from_struct_array(nested.values[offsets[0] : offsets[-1]])
        counts = np.diff(offsets)
        owner = np.repeat(subject, counts)
        stays = Stays.from_arrow(inner.append_column("subject_id", pa.array(owner)))
        kept = np.minimum(counts, max_stays)
        first = Csr(offsets - offsets[0], np.arange(len(owner)))
        rows = first.positions(np.arange(len(counts)))
        place = np.arange(len(rows)) - np.repeat(first.offsets[:-1], counts)
        note, has_note = notes.of(hadm)
        return Admissions(
            subject_id=subject,
            row_id=hadm,
            icd=Csr.from_arrow(table[ICD.ids]),
            drug=Csr.from_arrow(table[DRUG.ids]),
            note=note,
            has_note=has_note,
            stays=stays,
            stay_rows=Csr(from_lengths(kept), rows[place < max_stays]),
            max_stays=max_stays,
        )

    def __len__(self) -> int:
        return len(self.subject_id)

    def batch(self, rows: Ints, narrow: bool = False) -> Batch:
        """The keys of admissions for the given rows; ``narrow`` as for stays."""
        own = self.stay_rows.take(rows)
        slot = np.repeat(np.arange(len(rows)) * self.max_stays, own.lengths)
        slot += np.arange(len(own.values)) - np.repeat(own.offsets[:-1], own.lengths)
        return {
            **self.stays.batch(own.values, narrow),
            STAY_SLOT: torch.from_numpy(slot),
            **_tensors(ICD, self.icd.take(rows), narrow),
            **_tensors(DRUG, self.drug.take(rows), narrow),
            NOTE_VECTOR: torch.from_numpy(self.note[rows]),
            HAS_NOTE: torch.from_numpy(self.has_note[rows]),
            SUBJECT_ID: torch.from_numpy(self.subject_id[rows]),
        }

    def take(self, rows: Ints) -> "Admissions":
        """Copies the given admissions, with the stays of theirs that are kept."""
        own = self.stay_rows.take(rows)
        return replace(
            self,
            subject_id=self.subject_id[rows],
            row_id=self.row_id[rows],
            icd=self.icd.take(rows),
            drug=self.drug.take(rows),
            note=self.note[rows],
            has_note=self.has_note[rows],
            stays=self.stays.take(own.values.astype(np.int64)),
            stay_rows=Csr(own.offsets, np.arange(len(own.values))),
        )

    def until(self, bins: Ints, over: npt.NDArray[np.bool_]) -> "Admissions":
        """The admissions as they were known at the time of prediction.

        Args:
            bins: of each row of ``stays`` those that are known; -1: the stay began later, and is
                none of its admission's.
            over: (n) which admissions had ended: of the others no code, drug or note is known.
        """
        begun = bins[self.stay_rows.values] >= 0
        owner = np.repeat(np.arange(len(self)), self.stay_rows.lengths)[begun]
        counts = np.bincount(owner, minlength=len(self))
        return replace(
            self,
            icd=_only(self.icd, over),
            drug=_only(self.drug, over),
            note=np.where(over[:, None], self.note, np.float32(0)),
            has_note=self.has_note & over,
            stays=self.stays.until(bins),
            stay_rows=Csr(from_lengths(counts), self.stay_rows.values[begun]),
        )

    def shuffled(self, generator: np.random.Generator) -> "Admissions":
        """The control: deals codes, drugs and hours to other admissions.

        How many codes an admission has, and how often each occurs, is unchanged; a code that an
        admission draws twice counts once.
        """
        return replace(
            self,
            icd=_deal(self.icd, generator),
            drug=_deal(self.drug, generator),
            stays=self.stays.shuffled(generator),
        )


def widened(value: Tensor) -> Tensor:
    """Makes narrow ids int64, which PyTorch computes with; returns any other tensor as it is."""
    return value.long() if value.dtype in (torch.uint16, torch.uint32) else value


@dataclass(frozen=True)
class Patients:
    """n patients: the diagnosis codes of their admissions, in time order."""

    subject_id: Ints  # (n)
    visits: Csr  # row i: the rows of ``icd`` that are patient i's admissions
    icd: Csr  # a row per admission
    days: Floats32  # a value per admission: days from it to the patient's last one that is seen

    @staticmethod
    def from_arrow(
        table: pa.Table, until: npt.NDArray[np.datetime64], max_visits: int, hidden: Ints
    ) -> "Patients":
        """Reads what a patient task may see.

        Args:
            table: n rows of ``schema.patients``.
            until: (n) the admissions discharged by then are seen.
            max_visits: of these, the last so many.
            hidden: ids of the codes that would give the label away.
        """
        nested = table["visits"].combine_chunks()
        if isinstance(nested, pa.ChunkedArray):
            nested = pa.array([], table["visits"].type)
        offsets = nested.offsets.to_numpy().astype(np.int64)
        inner = nested.values[offsets[0] : offsets[-1]]
        owner = np.repeat(np.arange(len(table)), np.diff(offsets))
        kept = inner.field("discharged").to_numpy(zero_copy_only=False) <= until[owner]
        after = np.bincount(owner[kept], minlength=len(table))  # visits kept so far, per patient
        place = np.cumsum(kept) - np.repeat(np.cumsum(after) - after, np.diff(offsets))
        kept &= place > after[owner] - max_visits
        icd = Csr.from_arrow(inner.field(ICD.ids)).take(np.flatnonzero(kept))
        admitted = inner.field("admitted").to_numpy(zero_copy_only=False)[kept]
        visible = ~np.isin(icd.values, hidden)
        row = np.repeat(np.arange(len(icd)), icd.lengths)[visible]
        lengths = np.bincount(owner[kept], minlength=len(table))
        visits = Csr(from_lengths(lengths), np.arange(len(icd)))
        last = admitted[np.repeat(visits.offsets[1:] - 1, lengths)]
        return Patients(
            subject_id=_ints(table, "subject_id"),
            visits=visits,
            days=((last - admitted) / np.timedelta64(1, "D")).astype(np.float32),
            icd=Csr(from_lengths(np.bincount(row, minlength=len(icd))), icd.values[visible]),
        )

    @property
    def row_id(self) -> Ints:
        return self.subject_id

    def __len__(self) -> int:
        return len(self.visits)

    def take(self, rows: Ints) -> "Patients":
        """Copies the given patients with their admissions."""
        visits = self.visits.take(rows)
        icd, days = self.icd.take(visits.values), self.days[visits.values]
        return Patients(self.subject_id[rows], Csr(visits.offsets, np.arange(len(icd))), icd, days)

    def batch(self, rows: Ints) -> Batch:
        """The keys of patients for the given rows."""
        visits = self.visits.take(rows)
        return {
            VISIT_OFFSETS: torch.from_numpy(visits.offsets),
            VISIT_DAYS: torch.from_numpy(self.days[visits.values]),
            **_tensors(ICD, self.icd.take(visits.values)),
            SUBJECT_ID: torch.from_numpy(self.subject_id[rows]),
        }


@dataclass(frozen=True)
class NoteVectors:
    """Note embeddings by admission, sorted by hadm_id. Empty where there are none."""

    hadm_id: Ints  # (n)
    embedding: Floats32  # (n, E)

    @staticmethod
    def from_arrow(table: pa.Table) -> "NoteVectors":
        hadm = _ints(table, "hadm_id")
        order = np.argsort(hadm, kind="stable")
        embedding = _fixed_lists(table["embedding"]).astype(np.float32)
        return NoteVectors(hadm[order], embedding[order])

    @staticmethod
    def none() -> "NoteVectors":
        return NoteVectors(np.zeros(0, np.int64), np.zeros((0, NOTE_WIDTH), np.float32))

    def of(self, hadm: Ints) -> tuple[Floats32, npt.NDArray[np.bool_]]:
        """Embeddings (B, E) of B admissions, zeros without a note, and which have one (B)."""
        note = np.zeros((len(hadm), self.embedding.shape[1]), np.float32)
        if not len(self.hadm_id):
            return note, np.zeros(len(hadm), np.bool_)
        at = np.minimum(np.searchsorted(self.hadm_id, hadm), len(self.hadm_id) - 1)
        has = self.hadm_id[at] == hadm
        note[has] = self.embedding[at[has]]
        return note, has


@dataclass(frozen=True)
class RowNotes:
    """The notes of n rows in the forms that models read, beside the rows themselves."""

    vectors: tuple[Floats32, npt.NDArray[np.bool_]] | None = None  # (n, E), and which have one
    tokens: Mapping[str, Csr] = field(default_factory=dict)  # family -> a row per row (n)

    def take(self, rows: Ints) -> "RowNotes":
        """Copies the notes of the given rows."""
        vectors = self.vectors and (self.vectors[0][rows], self.vectors[1][rows])
        return RowNotes(vectors, {name: of.take(rows) for name, of in self.tokens.items()})

    def batch(self, rows: Ints) -> Batch:
        """The keys of notes for the given rows."""
        batch: Batch = {}
        if self.vectors is not None:
            note, has_note = self.vectors
            batch[NOTE_VECTOR] = torch.from_numpy(note[rows])
            batch[HAS_NOTE] = torch.from_numpy(has_note[rows])
        for family, tokens in self.tokens.items():
            batch |= _tensors(TOKENS[family], tokens.take(rows))
        return batch


def _only(codes: Csr, rows: npt.NDArray[np.bool_]) -> Csr:
    """The same matrix, empty but in these rows."""
    kept = np.repeat(rows, codes.lengths)
    return Csr(from_lengths(np.where(rows, codes.lengths, 0)), codes.values[kept])


def _deal(codes: Csr, generator: np.random.Generator) -> Csr:
    """Deals the same multiset of codes to rows of the same lengths; a row's repeats are dropped."""
    dealt = generator.permutation(codes.values)
    owner = np.repeat(np.arange(len(codes)), codes.lengths)
    pairs = np.unique(np.stack([owner, dealt.astype(np.int64)]), axis=1)
    lengths = np.bincount(pairs[0], minlength=len(codes))
    return Csr(from_lengths(lengths), pairs[1].astype(codes.values.dtype))


def _ints(table: pa.Table, name: str) -> Ints:
    return np.asarray(table[name].to_numpy(), np.int64)


def _kept_rows(
    csr: Csr, kept: npt.NDArray[np.bool_], values: Floats32 | None
) -> tuple[Csr, Floats32 | None]:
    """The matrix and its values with the other rows emptied."""
    lengths = csr.lengths
    on = np.repeat(kept, lengths)
    emptied = Csr(from_lengths(np.where(kept, lengths, 0)), csr.values[on])
    return emptied, None if values is None else values[on]


def _by_hour(table: pa.Table, keys: CsrKeys) -> Csr:
    """A matrix with a row per stay and hour (n*T)."""
    of_stay = _fixed_lists(table[keys.offsets]).astype(np.int64)  # (n, T + 1)
    lengths = of_stay[:, 1:] - of_stay[:, :-1]
    return Csr(from_lengths(lengths.ravel()), Csr.from_arrow(table[keys.ids]).values)


def _matrix(table: pa.Table, name: str) -> Floats32 | None:
    """A fixed_size_list column as a matrix (n, width); None where the table does not have it."""
    if name not in table.column_names:
        return None
    return _fixed_lists(table[name]).astype(np.float32)


def _values(table: pa.Table, name: str) -> Floats32 | None:
    """The flat values of a list column, row after row; None where the table does not have it."""
    if name not in table.column_names:
        return None
    return np.asarray(pc.list_flatten(table[name]).to_numpy(), np.float32)


def _tensors(keys: CsrKeys, csr: Csr, narrow: bool = False) -> Batch:
    """The offsets and ids of a matrix under its keys."""
    ids: AnyInts = csr.values if narrow else csr.values.astype(np.int64, copy=False)
    return {keys.offsets: torch.from_numpy(csr.offsets), keys.ids: torch.from_numpy(ids)}


def _fixed_lists(column: pa.ChunkedArray) -> npt.NDArray[np.generic]:
    """Reads a fixed_size_list column as a matrix (n, width)."""
    width = column.type.list_size
    # flatten() honours slices, values does not.
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    flat = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return np.asarray(flat.reshape(-1, width))
