"""Random stays and admissions, in memory and as shards, for measuring training."""

from typing import Final

import numpy as np
import pyarrow as pa

from medhmp.arrays import Ints
from medhmp.batch import DEMOGRAPHICS, DRUG, HOURS, ICD
from medhmp.layout import NOTE_EMBEDDINGS, note_embedding_columns
from medhmp.legend import Widths
from medhmp.shards import schema
from medhmp.shards.build.write import file_bounds
from medhmp.shards.csr import Csr
from medhmp.shards.rows import Admissions, NoteVectors, Stays
from medhmp.shards.stream import Plan, TableName
from medhmp.storage import Folder, Stamp, publish

PAPER: Final = Widths(hours=48, features=1318, demographics=73, diagnoses=7686, drugs=1701)

NUMBERED: Final = Widths(
    hours=48,
    features=500,
    demographics=20,
    diagnoses=0,
    drugs=0,
    numbers=37,
    statistics=350,
    statistic_of=tuple(min(at // 8, 37) for at in range(350)),
)
"""About the sizes of the Challenge 2012, whose stays have some ``READ_EACH`` numbers an hour."""
READ_EACH: Final = 8

DEMOGRAPHICS_EACH, DIAGNOSES_EACH, DRUGS_EACH = 10, 12, 20
"""Ids of a row of each kind."""
BUDGET = 4 * 2**30
"""Bytes of a share that stays in memory."""


def random_stays(n: int, active: int, seed: int = 0) -> Stays:
    """n stays of the paper's sizes with ``active`` features on in every hour."""
    return Stays.from_arrow(_stays(np.arange(n), PAPER, active, np.random.default_rng(seed)))


def random_numbers(n: int, seed: int = 0) -> Stays:
    """n stays of the sizes of ``NUMBERED``, with ``READ_EACH`` numbers in every hour."""
    generator, hours = np.random.default_rng(seed), NUMBERED.hours
    ids = _distinct(n * hours, READ_EACH, NUMBERED.numbers, generator).ravel()
    features = _distinct(n * hours, 1, NUMBERED.features, generator).ravel()
    demographics = _distinct(n, 1, NUMBERED.demographics, generator).ravel()
    ranks = generator.random((n, NUMBERED.statistics), np.float32)
    return Stays(
        subject_id=np.arange(n),
        row_id=np.arange(n),
        hours=Csr(np.arange(n * hours + 1), features),
        demographics=Csr(np.arange(n + 1), demographics),
        numbers=Csr(np.arange(n * hours + 1) * READ_EACH, ids),
        number_values=generator.standard_normal(len(ids), np.float32),
        statistics=ranks,
    )


def random_admissions(n: int, active: int) -> Admissions:
    """n admissions of one such stay each, with codes and a note."""
    subjects, generator = np.arange(n), np.random.default_rng(0)
    stays = _stays(subjects, PAPER, active, generator)
    table = _admissions(subjects, stays, PAPER, generator)
    notes = NoteVectors.from_arrow(_notes(subjects, PAPER, generator))
    return Admissions.from_arrow(table, 3, notes)


def write_rows(
    shards: Folder,
    table: TableName,
    rows: int,
    widths: Widths,
    batch_size: int,
    files: int,
    active: int,
) -> Plan:
    """Writes ``rows`` training rows of one table, each of a patient of its own, into ``files``.

    A stay has ``active`` features on in every hour; an admission has one stay and a note vector.

    Returns:
        A plan to read them by; its ``budget`` lets a share stay in memory, 0 streams it.
    """
    generator, rows_per_file, sha256, vectors = np.random.default_rng(0), {}, {}, []
    for part, (start, stop) in enumerate(file_bounds(rows, files)):
        name, subjects = f"part-{part:05}.parquet", np.arange(start, stop)
        content = _stays(subjects, widths, active, generator)
        if table == "admissions":
            content = _admissions(subjects, content, widths, generator)
            notes = _notes(subjects, widths, generator)
            vectors.append((shards / NOTE_EMBEDDINGS).write_parquet(name, notes))
        written = shards.write_parquet(f"{table}/{name}", content, row_group_size=4096)
        rows_per_file[name], sha256[name] = stop - start, written.sha256
    publish(shards / NOTE_EMBEDDINGS, Stamp({}, {}), vectors)
    splits = ("train",)
    return Plan(shards.uri, table, rows_per_file, splits, batch_size, 0, BUDGET, 3, sha256=sha256)


def _known(subjects: Ints) -> dict[str, object]:
    """Columns of every row beside its content."""
    n = len(subjects)
    return {
        "source": ["noise"] * n,
        "subject_id": subjects,
        "hadm_id": subjects,
        "split": ["train"] * n,
    }


def _stays(subjects: Ints, widths: Widths, active: int, generator: np.random.Generator) -> pa.Table:
    n, hours = len(subjects), widths.hours
    target = schema.stays(hours, widths.features, widths.demographics, False)
    offsets = np.tile(np.arange(hours + 1) * active, n)
    features = _distinct(n * hours, active, widths.features, generator).reshape(n, -1)
    demographics = _distinct(n, DEMOGRAPHICS_EACH, widths.demographics, generator)
    columns = {
        **_known(subjects),
        "stay_id": subjects,
        HOURS.offsets: pa.FixedSizeListArray.from_arrays(pa.array(offsets, pa.uint32()), hours + 1),
        HOURS.ids: _lists(features),
        DEMOGRAPHICS.ids: _lists(demographics),
    }
    return pa.table({name: columns[name] for name in target.names}).cast(target)


def _admissions(
    subjects: Ints, stays: pa.Table, widths: Widths, generator: np.random.Generator
) -> pa.Table:
    sizes = (widths.hours, widths.features, widths.demographics, False)
    target = schema.admissions(*sizes, widths.diagnoses, widths.drugs)
    kind = target.field("stays").type.value_type
    inner = [stays[field.name].combine_chunks() for field in kind]
    nested = pa.StructArray.from_arrays(inner, fields=list(kind))
    n = len(subjects)
    columns = {
        **_known(subjects),
        "admitted": pa.nulls(n),
        "discharged": pa.nulls(n),
        ICD.ids: _lists(_distinct(n, DIAGNOSES_EACH, widths.diagnoses, generator)),
        DRUG.ids: _lists(_distinct(n, DRUGS_EACH, widths.drugs, generator)),
        "stays": pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32), nested),
    }
    return pa.table({name: columns[name] for name in target.names}).cast(target)


def _notes(subjects: Ints, widths: Widths, generator: np.random.Generator) -> pa.Table:
    vectors = generator.standard_normal((len(subjects), widths.note), np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), widths.note)
    return pa.table([pa.array(subjects), lists], schema=note_embedding_columns(widths.note))


def _distinct(rows: int, each: int, width: int, generator: np.random.Generator) -> Ints:
    """(rows, each) ids below ``width``, ascending: one from each of ``each`` equal parts."""
    edges = np.arange(each + 1) * width // each
    drawn = generator.random((rows, each), np.float32) * np.diff(edges)
    return np.asarray(edges[:-1] + drawn.astype(np.int64))


def _lists(ids: Ints) -> pa.ListArray:
    offsets = np.arange(len(ids) + 1, dtype=np.int32) * ids.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(ids.ravel(), pa.uint32()))
