"""Rows of a shard table in memory, sparse, and the batches cut from them.

One class per level. Each is made from an Arrow table of ``medhmp/shards/schema.py`` without a
Python object per row; ``batch(rows)`` gives the tensors that schema names. Nested stays and visits
are ragged rows over a flat inner table.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from medhmp.legend import NOTE_WIDTH
from medhmp.shards.csr import Csr, Ints, from_lengths, joined

Batch = dict[str, Tensor]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Stays:
    """n stays. ``hours`` has a row per stay and hour (n*T), ``demographics`` a row per stay.

    Where features are real numbers, each id of either has its value.
    """

    subject_id: npt.NDArray[np.int64]
    row_id: npt.NDArray[np.int64]
    hours: Csr
    demographics: Csr
    feature_values: Floats | None = None
    demographic_values: Floats | None = None

    @staticmethod
    def from_arrow(table: pa.Table) -> "Stays":
        hours_of_stay = _fixed_lists(table["hour_offsets"]).astype(np.int64)  # (n, T + 1)
        lengths = hours_of_stay[:, 1:] - hours_of_stay[:, :-1]
        return Stays(
            subject_id=_ints(table, "subject_id"),
            row_id=_ints(table, "stay_id"),
            hours=Csr(from_lengths(lengths.ravel()), Csr.from_arrow(table["feature_ids"]).values),
            demographics=Csr.from_arrow(table["demographic_ids"]),
            feature_values=_values(table, "feature_values"),
            demographic_values=_values(table, "demographic_values"),
        )

    def __len__(self) -> int:
        return len(self.demographics)

    @property
    def hours_per_stay(self) -> int:
        return len(self.hours) // max(len(self), 1)

    def batch(self, rows: Ints, narrow: bool = False) -> Batch:
        """Stay keys of the schema for the given rows; ``narrow``: ids as they are stored, fewer
        bytes to move before ``widened``."""
        steps, demographics = self.hours_per_stay, self.demographics.take(rows)
        begins = self.hours.offsets[np.asarray(rows)[:, None] * steps + np.arange(steps + 1)]
        starts, ends = begins[:, 0], begins[:, -1]  # (B): the hours of a stay are neighbors
        batch = {
            "hour_offsets": torch.from_numpy(from_lengths(np.diff(begins).ravel())),
            "feature_ids": torch.from_numpy(
                joined(self.hours.values, starts, ends, None if narrow else np.int64)
            ),
            "demographic_offsets": torch.from_numpy(demographics.offsets),
            "demographic_ids": _ids(demographics, narrow),
            "subject_id": torch.from_numpy(self.subject_id[rows]),
        }
        if self.feature_values is not None:
            batch["feature_values"] = torch.from_numpy(joined(self.feature_values, starts, ends))
        if self.demographic_values is not None:
            values = self.demographic_values[self.demographics.positions(rows)]
            batch["demographic_values"] = torch.from_numpy(values)
        return batch

    def shuffled(self, generator: np.random.Generator) -> "Stays":
        """The control: each hour's content dealt to some stay's same hour, so that no stay keeps a
        patient's course. What an hour holds, and how often, is unchanged."""
        grid = np.arange(len(self.hours)).reshape(len(self), -1)
        dealt = generator.permuted(grid, axis=0).ravel()
        values = self.feature_values
        if values is not None:
            values = values[self.hours.positions(dealt)]
        return replace(self, hours=self.hours.take(dealt), feature_values=values)


@dataclass(frozen=True)
class Admissions:
    """n admissions: their codes, note, and first ``max_stays`` stays (ragged over ``stays``)."""

    subject_id: npt.NDArray[np.int64]
    row_id: npt.NDArray[np.int64]
    icd: Csr
    drug: Csr
    note: Floats  # (n, E), zeros where there is none
    has_note: npt.NDArray[np.bool_]
    stays: Stays
    stay_rows: Csr  # row i: the rows of ``stays`` that belong to admission i
    max_stays: int

    @staticmethod
    def from_arrow(table: pa.Table, max_stays: int, notes: "Notes") -> "Admissions":
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
            icd=Csr.from_arrow(table["icd_ids"]),
            drug=Csr.from_arrow(table["drug_ids"]),
            note=note,
            has_note=has_note,
            stays=stays,
            stay_rows=Csr(from_lengths(kept), rows[place < max_stays]),
            max_stays=max_stays,
        )

    def __len__(self) -> int:
        return len(self.subject_id)

    def batch(self, rows: Ints, narrow: bool = False) -> Batch:
        """Admission keys of the schema for the given rows; ``narrow`` as for stays."""
        own = self.stay_rows.take(rows)
        slot = np.repeat(np.arange(len(rows)) * self.max_stays, own.lengths)
        slot += np.arange(len(own.values)) - np.repeat(own.offsets[:-1], own.lengths)
        icd, drug = self.icd.take(rows), self.drug.take(rows)
        return {
            **self.stays.batch(own.values, narrow),
            "stay_slot": torch.from_numpy(slot),
            "icd_offsets": torch.from_numpy(icd.offsets),
            "icd_ids": _ids(icd, narrow),
            "drug_offsets": torch.from_numpy(drug.offsets),
            "drug_ids": _ids(drug, narrow),
            "note": torch.from_numpy(self.note[rows]),
            "has_note": torch.from_numpy(self.has_note[rows]),
            "subject_id": torch.from_numpy(self.subject_id[rows]),
        }

    def shuffled(self, generator: np.random.Generator) -> "Admissions":
        """The control: codes, drugs and hours dealt to other admissions. How many codes an
        admission has, and how often each occurs, stays; a code that it draws twice counts once."""
        return replace(
            self,
            icd=_deal(self.icd, generator),
            drug=_deal(self.drug, generator),
            stays=self.stays.shuffled(generator),
        )


def widened(value: Tensor) -> Tensor:
    """Narrow ids as int64, which PyTorch computes with; any other tensor as it is."""
    return value.long() if value.dtype in (torch.uint16, torch.uint32) else value


@dataclass(frozen=True)
class Patients:
    """n patients: the diagnosis codes of their admissions, in time order."""

    subject_id: npt.NDArray[np.int64]
    visits: Csr  # row i: the rows of ``icd`` that are patient i's admissions
    icd: Csr  # a row per admission

    @staticmethod
    def from_arrow(
        table: pa.Table, until: npt.NDArray[np.datetime64], max_visits: int, hidden: Ints
    ) -> "Patients":
        """Keeps, of each patient, the last ``max_visits`` admissions discharged by ``until`` (n),
        and of their codes all but ``hidden`` (ids that would give the label away)."""
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
        icd = Csr.from_arrow(inner.field("icd_ids")).take(np.flatnonzero(kept))
        visible = ~np.isin(icd.values, hidden)
        row = np.repeat(np.arange(len(icd)), icd.lengths)[visible]
        lengths = np.bincount(owner[kept], minlength=len(table))
        return Patients(
            subject_id=_ints(table, "subject_id"),
            visits=Csr(from_lengths(lengths), np.arange(len(icd))),
            icd=Csr(from_lengths(np.bincount(row, minlength=len(icd))), icd.values[visible]),
        )

    @property
    def row_id(self) -> npt.NDArray[np.int64]:
        return self.subject_id

    def __len__(self) -> int:
        return len(self.visits)

    def batch(self, rows: Ints) -> Batch:
        """Patient keys of the schema for the given rows."""
        visits = self.visits.take(rows)
        icd = self.icd.take(visits.values)
        return {
            "visit_offsets": torch.from_numpy(visits.offsets),
            "icd_offsets": torch.from_numpy(icd.offsets),
            "icd_ids": _ids(icd),
            "subject_id": torch.from_numpy(self.subject_id[rows]),
        }


@dataclass(frozen=True)
class Notes:
    """Note embeddings by admission, sorted by hadm_id. Empty where there are none."""

    hadm_id: npt.NDArray[np.int64]
    embedding: Floats  # (notes, E)

    @staticmethod
    def from_arrow(table: pa.Table) -> "Notes":
        hadm = _ints(table, "hadm_id")
        order = np.argsort(hadm, kind="stable")
        embedding = _fixed_lists(table["embedding"]).astype(np.float32)
        return Notes(hadm[order], embedding[order])

    @staticmethod
    def none() -> "Notes":
        return Notes(np.zeros(0, np.int64), np.zeros((0, NOTE_WIDTH), np.float32))

    def of(self, hadm: npt.NDArray[np.int64]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """(n, E) embeddings of these admissions, zeros where there is no note, and who has one."""
        note = np.zeros((len(hadm), NOTE_WIDTH), np.float32)
        if not len(self.hadm_id):
            return note, np.zeros(len(hadm), np.bool_)
        at = np.minimum(np.searchsorted(self.hadm_id, hadm), len(self.hadm_id) - 1)
        has = self.hadm_id[at] == hadm
        note[has] = self.embedding[at[has]]
        return note, has


def _deal(codes: Csr, generator: np.random.Generator) -> Csr:
    """The same multiset of codes, dealt anew to rows of the same lengths, less a row's repeats."""
    dealt = generator.permutation(codes.values)
    owner = np.repeat(np.arange(len(codes)), codes.lengths)
    pairs = np.unique(np.stack([owner, dealt.astype(np.int64)]), axis=1)
    lengths = np.bincount(pairs[0], minlength=len(codes))
    return Csr(from_lengths(lengths), pairs[1].astype(codes.values.dtype))


def _ints(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    return np.asarray(table[name].to_numpy(), np.int64)


def _values(table: pa.Table, name: str) -> Floats | None:
    """What a list column holds, row after row; None where the table does not have it."""
    if name not in table.column_names:
        return None
    return np.asarray(pc.list_flatten(table[name]).to_numpy(), np.float32)


def _ids(csr: Csr, narrow: bool = False) -> Tensor:
    return torch.from_numpy(csr.values if narrow else csr.values.astype(np.int64))


def _fixed_lists(column: pa.ChunkedArray) -> npt.NDArray[np.generic]:
    """A fixed_size_list column as a matrix. ``flatten`` honours slices, ``values`` does not."""
    width = column.type.list_size
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    flat = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return np.asarray(flat.reshape(-1, width))
