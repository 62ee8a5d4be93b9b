"""The rows of the shard tables and the files cut from them."""

from datetime import datetime
from itertools import chain, pairwise
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from medhmp.features.fitted import Transformed
from medhmp.notes import text
from medhmp.shards import schema
from medhmp.shards.build import write
from medhmp.storage import Folder
from medhmp.tables.schema import NOTES

AT = datetime(2100, 1, 1)


def frame(**columns):
    return pl.DataFrame(columns).with_columns(source=pl.lit("s"), split=pl.lit("train"))


def features(static, hourly):
    """From nested lists: one list per stay; one list per stay and hour."""
    flat = [[i for hour in stay for i in hour] for stay in hourly]
    return Transformed(
        ids=np.arange(len(static)),
        static_offsets=np.cumsum([0, *map(len, static)]),
        static_ids=np.array(list(chain.from_iterable(static)), np.int32),
        static_values=None,
        offsets=np.cumsum([0, *map(len, flat)]),
        hour_offsets=np.array([np.cumsum([0, *map(len, stay)]) for stay in hourly], np.uint32),
        feature_ids=np.array(list(chain.from_iterable(flat)), np.int32),
        values=None,
    )


def test_stays_nest_in_their_admissions_in_time_order():
    stays = frame(
        subject_id=[1, 1, 2],
        hadm_id=[10, 10, 21],
        stay_id=[100, 101, 210],  # in the order of the table; 101 came first
        intime=[AT.replace(day=5), AT.replace(day=2), AT],
    )
    admissions = frame(
        subject_id=[1, 2, 2],
        hadm_id=[10, 20, 21],
        admitted=[AT] * 3,
        discharged=[AT, None, AT],
        icd_ids=[[3, 4], [], [0]],
        drug_ids=[[], [1], []],
    )
    hourly = [[[0], [2, 5]], [[], []], [[7], []]]
    target = schema.stays(2, 70_000, 9, real_valued=False)
    rows = write.stays_table(stays, features([[8], [], [1, 2]], hourly), target)
    assert rows.schema == target
    assert rows["feature_ids"].to_pylist() == [[0, 2, 5], [], [7]]
    assert rows["hour_offsets"].to_pylist() == [[0, 1, 3], [0, 0, 0], [0, 1, 1]]
    assert rows["demographic_ids"].to_pylist() == [[8], [], [1, 2]]

    target = schema.admissions(2, 70_000, 9, False, 5, 2)
    table = write.admissions_table(admissions, stays, rows, target)
    assert table.schema == target
    nested = table["stays"].to_pylist()
    assert [[stay["stay_id"] for stay in own] for own in nested] == [[101, 100], [], [210]]
    assert nested[0][1]["feature_ids"] == [0, 2, 5]
    assert table["icd_ids"].to_pylist() == [[3, 4], [], [0]]

    people = frame(subject_id=[1, 3, 2])
    patients = write.patients_table(people, admissions, schema.patients(5))
    assert patients.schema == schema.patients(5)
    visits = patients["visits"].to_pylist()
    assert [[visit["hadm_id"] for visit in own] for own in visits] == [[10], [], [20, 21]]
    assert visits[0] == [{"hadm_id": 10, "admitted": AT, "discharged": AT, "icd_ids": [3, 4]}]


@given(st.integers(0, 500), st.integers(1, 40))
def test_files_are_of_equal_size_and_none_is_empty(rows, files):
    bounds = write.file_bounds(rows, files)
    sizes = [stop - start for start, stop in bounds]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == rows
    assert all(a[1] == b[0] for a, b in pairwise(bounds))
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(rows, 1)
    assert len(sizes) == max(1, min(files, rows))


def test_a_file_s_bytes_do_not_depend_on_how_rows_were_bucketed(tmp_path):
    splits = [("train", "validation", "test")[i % 3] for i in range(40)]
    ids = pa.array([list(range(i % 7)) for i in range(40)], pa.list_(pa.uint16()))
    table = pa.table({"subject_id": range(40), "split": splits, "icd_ids": ids})
    entries = []
    for number, edges in enumerate(([0, 40], [0, 0, 13, 14, 31, 40])):
        folder = Folder(str(tmp_path / str(number)))
        parts = []
        for i, (a, b) in enumerate(pairwise(edges)):
            folder.write_parquet(f"{i}.parquet", table.slice(a, b - a))
            parts.append((folder, f"{i}.parquet", b - a))
        entry, file = write.write_file(parts, 10, 35, folder, "out.parquet", row_group=8)
        entries.append(entry)
        assert folder.read_parquet("out.parquet").equals(table.slice(10, 25))
        assert (file.rows, file.sha256) == (25, entry.sha256)
        assert file.splits == {"train": 8, "validation": 9, "test": 8}
    assert entries[0] == entries[1]
    path = str(tmp_path / "0" / "out.parquet")
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [8, 8, 8, 1]


def test_a_table_without_rows_is_one_file_without_rows(tmp_path):
    folder = Folder(str(tmp_path))
    table = schema.patients(3).empty_table()
    folder.write_parquet("0.parquet", table)
    entry, file = write.write_file([(folder, "0.parquet", 0)], 0, 0, folder, "out.parquet", 8)
    assert file.rows == 0
    assert folder.read_parquet(entry.name).num_rows == 0


def test_notes_are_cut_by_count_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "PER_FILE", 4)

    class Source:
        name = "s"
        counts: ClassVar = {}

        def __init__(self, sizes):
            self.sizes = sizes

        def notes(self):
            first = 0
            for size in self.sizes:
                ids = range(first, first + size)
                rows = {"subject_id": ids, "hadm_id": ids, "text": [f"note {i}" for i in ids]}
                yield pa.RecordBatch.from_pydict({k: list(v) for k, v in rows.items()}, NOTES)
                first += size

    kept = frame(hadm_id=[i for i in range(12) if i != 5])
    written = []
    for number, sizes in enumerate(([12], [1, 0, 9, 2])):
        folder = Folder(str(tmp_path / str(number)))
        entries, counts, _ = text.write_notes([Source(sizes)], kept, folder)
        assert counts == {"s": 11}
        written.append(entries)
    assert written[0] == written[1]
    files = [folder.read_parquet(entry.name) for entry in entries]
    assert [file.num_rows for file in files] == [4, 4, 3]
    assert pa.concat_tables(files)["hadm_id"].to_pylist() == kept["hadm_id"].to_list()
    assert text.write_notes([Source([])], kept, Folder(str(tmp_path / "none")))[0] == []
