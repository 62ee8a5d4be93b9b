"""The vectors that a trained network gives: of stays, admissions, visits and codes. Needs no Ray.

    stays        b of Eq. 2
    admissions   a of Eq. 7
    visits       c of Eq. 5, the diagnoses of an admission; a row for each that has one
    diagnoses    c of an admission that has this diagnosis alone, so that codes lie among visits
    drugs        g of one that has this drug alone

Which of them a network has depends on its parts: stage one has an encoder of stays alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from medhmp.arrays import Floats32
from medhmp.batch import ICD
from medhmp.model.admission import AdmissionEncoder
from medhmp.model.blocks import CodeMLP
from medhmp.model.stay import StayEncoder
from medhmp.run import SCORED_AT_ONCE
from medhmp.shards.csr import Csr, from_lengths
from medhmp.shards.manifest import OpenShards
from medhmp.shards.note_vectors import read_notes
from medhmp.shards.row_groups import filtered
from medhmp.shards.rows import Admissions, Stays
from medhmp.train.device import to_device

RowKind = Literal["stays", "admissions", "visits"]
CodeKind = Literal["diagnoses", "drugs"]
ROW_KINDS: Final[tuple[RowKind, ...]] = get_args(RowKind)
CODE_KINDS: Final[tuple[CodeKind, ...]] = get_args(CodeKind)
TABLE_OF: Final[dict[RowKind, str]] = {
    "stays": "stays",
    "admissions": "admissions",
    "visits": "admissions",
}
"""The shard table whose rows have the vectors."""
VECTOR: Final = "vector"


@dataclass(frozen=True)
class Encoders:
    """The parts of a network that give vectors."""

    network: nn.Module  # in its mode of evaluation
    device: torch.device | None  # where it is; none: the CPU
    max_stays: int  # of an admission that are read

    @property
    def kinds(self) -> list[str]:
        """The vectors that the network has."""
        has = {
            "stays": self._part(StayEncoder, "stay"),
            "admissions": self._part(AdmissionEncoder, ""),
            "visits": self._part(CodeMLP, "diagnoses"),
            "diagnoses": self._part(CodeMLP, "diagnoses"),
            "drugs": self._part(CodeMLP, "drugs"),
        }
        return [kind for kind, part in has.items() if part is not None]

    def _part(self, kind: type[nn.Module], name: str) -> Any:
        """The first part of this class whose name ends so; None without one."""
        for path, part in self.network.named_modules():
            if isinstance(part, kind) and path.endswith(name):
                return part
        return None

    def embed_file(self, shards: OpenShards, kind: RowKind, name: str) -> pa.Table:
        """The vectors of the rows of one file of the shards, with who they are, in their order."""
        table = TABLE_OF[kind]
        columns = ["source", "subject_id", "hadm_id", "split"]
        columns += ["stay_id"] if kind == "stays" else ["admitted", "discharged"]
        sha = shards.manifest.tables[table][name].sha256
        found = []
        for rows in filtered(shards.folder / table, name, sha, "split", None):
            if kind == "visits":
                rows = rows.filter(pc.greater(pc.list_value_length(rows[ICD.ids]), 0))
            vectors = self._vectors(shards, kind, rows)
            found.append(rows.select(columns).append_column(VECTOR, as_lists(vectors)))
        return pa.concat_tables(found)

    def _vectors(self, shards: OpenShards, kind: RowKind, rows: pa.Table) -> Floats32:
        """Vectors (n, R) of n rows of a shard table."""
        if kind == "visits":
            return self._of_codes("diagnoses", Csr.from_arrow(rows[ICD.ids]))
        if kind == "stays":
            return self._of_rows(self._part(StayEncoder, "stay"), Stays.from_arrow(rows), len(rows))
        notes = read_notes(shards.note_embeddings, rows["hadm_id"].to_numpy())
        admissions = Admissions.from_arrow(rows, self.max_stays, notes)
        return self._of_rows(self._part(AdmissionEncoder, ""), admissions, len(rows))

    @torch.inference_mode()
    def _of_rows(self, encode: nn.Module, rows: Stays | Admissions, n: int) -> Floats32:
        batches = (rows.batch(np.arange(n)[at]) for at in _cut(n))
        return _stacked(encode(to_device(batch, self.device)) for batch in batches)

    @torch.inference_mode()
    def _of_codes(self, kind: CodeKind, codes: Csr) -> Floats32:
        encode, parts = self._part(CodeMLP, kind), []
        for at in _cut(len(codes)):
            some = codes.take(np.arange(len(codes))[at])
            ids, offsets = some.values.astype(np.int64), some.offsets
            parts.append([torch.from_numpy(of).to(self.device) for of in (ids, offsets)])
        return _stacked(encode(*part) for part in parts)

    def embed_codes(self, kind: CodeKind, names: Sequence[str]) -> pa.Table:
        """The vector of every code of a vocabulary: ``id``, ``code``, ``vector``."""
        alone = Csr(from_lengths(np.ones(len(names), np.int64)), np.arange(len(names)))
        ids, codes = pa.array(range(len(names)), pa.int32()), pa.array(names, pa.string())
        return pa.table({"id": ids, "code": codes, VECTOR: as_lists(self._of_codes(kind, alone))})


def _cut(n: int) -> list[slice]:
    return [slice(at, at + SCORED_AT_ONCE) for at in range(0, n, SCORED_AT_ONCE)]


def _stacked(parts: Iterable[Tensor]) -> Floats32:
    found = [part.float().cpu().numpy() for part in parts]
    return np.concatenate(found) if found else np.zeros((0, 1), np.float32)


def as_lists(vectors: Floats32) -> pa.Array:
    """Vectors (n, R) as a column of lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
