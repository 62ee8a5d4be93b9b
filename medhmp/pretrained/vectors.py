"""The vectors that a trained network gives: of stays, admissions, visits and codes. Needs no Ray.

    stays        b of Eq. 2
    admissions   a of Eq. 7
    visits       c of Eq. 5, the diagnoses of an admission; a row for each that has one
    diagnoses    c of an admission that has this diagnosis alone, so that codes lie among visits
    drugs        g of one that has this drug alone

Which of them a network has depends on its parts: stage one has an encoder of stays alone.
"""

from collections.abc import Callable, Iterator
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
from medhmp.pretrained.model import TrainedModel
from medhmp.refusal import Refusal
from medhmp.run import SCORED_AT_ONCE
from medhmp.shards.csr import Csr, from_lengths
from medhmp.shards.manifest import OpenShards
from medhmp.shards.note_vectors import read_notes
from medhmp.shards.row_groups import rows_of
from medhmp.shards.rows import Admissions, Batch, Stays
from medhmp.train.device import to_device

RowKind = Literal["stays", "admissions", "visits"]
CodeKind = Literal["diagnoses", "drugs"]
ROW_KINDS: Final[tuple[RowKind, ...]] = get_args(RowKind)
CODE_KINDS: Final[tuple[CodeKind, ...]] = get_args(CodeKind)
VECTOR: Final = "vector"

Encode = Callable[[Batch], Tensor]
"""A batch -> vectors (B, R)."""


def kinds_of(model: TrainedModel) -> list[str]:
    """The vectors that a model has. Refuses one that has none."""
    has = {
        "stays": _part(model.network, StayEncoder, "stay"),
        "admissions": _part(model.network, AdmissionEncoder, ""),
        "visits": _part(model.network, CodeMLP, "diagnoses"),
        "diagnoses": _part(model.network, CodeMLP, "diagnoses"),
        "drugs": _part(model.network, CodeMLP, "drugs"),
    }
    if not any(part is not None for part in has.values()):
        raise Refusal(
            f"{model.folder.folder} is {model.config.model}, which has no encoder of MedHMP; give "
            "the folder of a pretraining, or of a model that begins from one"
        )
    return [kind for kind, part in has.items() if part is not None]


def _part(network: nn.Module, kind: type[nn.Module], name: str) -> Any:
    """The first part of a network of this class whose name ends so; None without one."""
    for path, part in network.named_modules():
        if isinstance(part, kind) and path.endswith(name):
            return part
    return None


def embed_file(model: TrainedModel, shards: OpenShards, kind: RowKind, name: str) -> pa.Table:
    """The vectors of the rows of one file of the shards, with who they are, in their order."""
    table = "stays" if kind == "stays" else "admissions"
    columns = ["source", "subject_id", "hadm_id", "split"]
    columns += ["stay_id"] if kind == "stays" else ["admitted", "discharged"]
    sha = shards.manifest.tables[table][name].sha256
    found = []
    for rows in rows_of(shards.folder / table, name, sha, "split", None):
        if kind == "visits":
            rows = rows.filter(pc.greater(pc.list_value_length(rows[ICD.ids]), 0))
        vectors = _vectors_of(model, shards, kind, rows)
        found.append(rows.select(columns).append_column(VECTOR, as_lists(vectors)))
    return pa.concat_tables(found)


def _vectors_of(model: TrainedModel, shards: OpenShards, kind: RowKind, rows: pa.Table) -> Floats32:
    """Vectors (n, R) of n rows of a shard table."""
    if kind == "stays":
        encoder = _part(model.network, StayEncoder, "stay")
        return _encoded(model, encoder, Stays.from_arrow(rows), len(rows))
    notes = read_notes(shards.note_embeddings, rows["hadm_id"].to_numpy())
    admissions = Admissions.from_arrow(rows, model.run.model.max_stays, notes)
    if kind == "admissions":
        return _encoded(model, _part(model.network, AdmissionEncoder, ""), admissions, len(rows))
    return _codes_encoded(model, _part(model.network, CodeMLP, "diagnoses"), admissions.icd)


@torch.inference_mode()
def _encoded(model: TrainedModel, encode: Encode, rows: Stays | Admissions, n: int) -> Floats32:
    batches = (
        rows.batch(np.arange(at, min(at + SCORED_AT_ONCE, n))) for at in range(0, n, SCORED_AT_ONCE)
    )
    return _stacked(encode(to_device(batch, model.device)) for batch in batches)


@torch.inference_mode()
def _codes_encoded(model: TrainedModel, encode: Any, codes: Csr) -> Floats32:
    def batch(at: int) -> tuple[Tensor, Tensor]:
        some = codes.take(np.arange(at, min(at + SCORED_AT_ONCE, len(codes))))
        ids, offsets = some.values.astype(np.int64), some.offsets
        return torch.from_numpy(ids).to(model.device), torch.from_numpy(offsets).to(model.device)

    return _stacked(encode(*batch(at)) for at in range(0, len(codes), SCORED_AT_ONCE))


def _stacked(parts: Iterator[Tensor]) -> Floats32:
    found = [part.float().cpu().numpy() for part in parts]
    return np.concatenate(found) if found else np.zeros((0, 1), np.float32)


def embed_codes(model: TrainedModel, kind: CodeKind) -> pa.Table:
    """The vector of every code of a vocabulary, by its id: ``id``, ``code``, ``vector``."""
    names = list(getattr(model.manifest, kind))
    alone = Csr(from_lengths(np.ones(len(names), np.int64)), np.arange(len(names)))
    vectors = _codes_encoded(model, _part(model.network, CodeMLP, kind), alone)
    ids = pa.array(range(len(names)), pa.int32())
    return pa.table({"id": ids, "code": pa.array(names, pa.string()), VECTOR: as_lists(vectors)})


def as_lists(vectors: Floats32) -> pa.Array:
    """Vectors (n, R) as a column of lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
