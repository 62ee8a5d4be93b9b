"""The rows of each shard table, bucket by bucket, and the files cut from the rows of all buckets.

The row count of the whole table alone decides the rows of each file, and row groups and writer
settings are fixed. So the bytes depend neither on buckets nor on workers.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from medhmp.arrays import Ints
from medhmp.batch import DEMOGRAPHICS, DRUG, HOURS, ICD, NUMBERS, STATISTICS
from medhmp.features.fitted import Transformed
from medhmp.features.numbers import Numbers
from medhmp.legend import SPLITS
from medhmp.shards.csr import from_lengths
from medhmp.shards.manifest import File
from medhmp.storage import Entry, Folder


def stays_table(
    stays: pl.DataFrame, features: Transformed, target: pa.Schema, numbers: Numbers | None = None
) -> pa.Table:
    """Builds rows of ``schema.stays`` from stays of the index, their features and their numbers, if
    they have any, in one order."""
    columns = _columns(stays, ("source", "subject_id", "hadm_id", "split", "intime", "stay_id"))
    columns[HOURS.offsets] = _fixed_lists(features.hour_offsets)
    columns[HOURS.ids] = _lists(features.offsets, features.feature_ids, target, HOURS.ids)
    columns[DEMOGRAPHICS.ids] = _lists(
        features.static_offsets, features.static_ids, target, DEMOGRAPHICS.ids
    )
    if features.values is not None and features.static_values is not None:
        columns[HOURS.values] = _lists(features.offsets, features.values, target, HOURS.values)
        columns[DEMOGRAPHICS.values] = _lists(
            features.static_offsets, features.static_values, target, DEMOGRAPHICS.values
        )
    if numbers is not None:
        columns[NUMBERS.offsets] = _fixed_lists(numbers.hour_offsets)
        columns[NUMBERS.ids] = _lists(numbers.offsets, numbers.ids, target, NUMBERS.ids)
        columns[NUMBERS.values] = _lists(numbers.offsets, numbers.values, target, NUMBERS.values)
        columns[STATISTICS] = _fixed_lists(numbers.statistics)
    return pa.table({name: columns[name] for name in target.names}).cast(target)


def admissions_table(
    admissions: pl.DataFrame, stays: pl.DataFrame, rows: pa.Table, target: pa.Schema
) -> pa.Table:
    """Builds rows of ``schema.admissions``, in which the rows of ``stays`` nest in time order."""
    place = admissions.select("source", "hadm_id").with_row_index("place")
    own = stays.join(place, on=["source", "hadm_id"], maintain_order="left").with_row_index("row")
    own = own.sort("place", "intime", "stay_id")
    kind = target.field("stays").type.value_type
    inner = rows.take(own["row"].to_numpy()).select([field.name for field in kind])
    nested = pa.StructArray.from_arrays(
        [column.combine_chunks() for column in inner.columns], fields=list(kind)
    )
    lengths = np.bincount(own["place"].to_numpy(), minlength=admissions.height)
    flat = ("source", "subject_id", "hadm_id", "split", "admitted", "discharged")
    columns = _columns(admissions, (*flat, ICD.ids, DRUG.ids))
    columns["stays"] = pa.ListArray.from_arrays(from_lengths(lengths).astype(np.int32), nested)
    return pa.table({name: columns[name] for name in target.names}).cast(target)


def patients_table(patients: pl.DataFrame, admissions: pl.DataFrame, target: pa.Schema) -> pa.Table:
    """Builds rows of ``schema.patients``; ``admissions`` are in the order of patients and time."""
    visit = pl.struct("hadm_id", "admitted", "discharged", ICD.ids).alias("visits")
    visits = admissions.group_by("source", "subject_id", maintain_order=True).agg(visit)
    frame = patients.join(visits, on=["source", "subject_id"], how="left", maintain_order="left")
    frame = frame.with_columns(pl.col("visits").fill_null([]))
    columns = _columns(frame, ("source", "subject_id", "split", "visits"))
    return pa.table({name: columns[name] for name in target.names}).cast(target)


def file_bounds(rows: int, files: int) -> list[tuple[int, int]]:
    """First and last row (exclusive) of each file of a table; every file has at least one row."""
    count = max(1, min(files, rows))
    return [(i * rows // count, (i + 1) * rows // count) for i in range(count)]


def write_file(
    parts: Sequence[tuple[Folder, str, int]],
    start: int,
    stop: int,
    folder: Folder,
    name: str,
    row_group: int,
) -> tuple[Entry, File]:
    """Writes rows ``start`` to ``stop`` of all parts (folder, file name, rows) in sequence."""
    table = pa.concat_tables(_slices(parts, start, stop)).combine_chunks()
    entry = folder.write_parquet(name, table, row_group_size=row_group)
    sources = sorted(table["source"].unique().to_pylist())
    of_each = {s: _splits(table.filter(pc.equal(table["source"], s))) for s in sources}
    return entry, File(table.num_rows, _splits(table), entry.sha256, of_each)


def _splits(table: pa.Table) -> dict[str, int]:
    """Rows of each split."""
    return {s: pc.sum(pc.equal(table["split"], s)).as_py() or 0 for s in SPLITS}


def _slices(parts: Sequence[tuple[Folder, str, int]], start: int, stop: int) -> Iterator[pa.Table]:
    begin = 0
    for folder, name, rows in parts:
        low, high = max(start, begin), min(stop, begin + rows)
        if low < high or start == stop:
            table = folder.read_parquet(name)
            yield table.slice(max(low - begin, 0), max(high - low, 0))
        begin += rows


def _columns(frame: pl.DataFrame, names: Sequence[str]) -> dict[str, pa.Array]:
    table = frame.select(names).to_arrow(compat_level=pl.CompatLevel.oldest())
    return {name: table[name] for name in names}


def _fixed_lists(matrix: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """A list of its columns for each row of a matrix."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def _lists(
    offsets: Ints,
    values: npt.NDArray[np.generic],
    target: pa.Schema,
    name: str,
) -> pa.ListArray:
    kind = target.field(name).type.value_type
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(values).cast(kind, safe=False)
    )
