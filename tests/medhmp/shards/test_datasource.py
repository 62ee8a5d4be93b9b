"""What a reader of a shard file yields, also from a bucket that fails for a while."""

import pyarrow as pa
import pytest

from medhmp import requests
from medhmp.shards.datasource import Part, rows_of
from medhmp.storage import Folder

MANY, GROUP = 33, 8  # rows of the file, of a row group
SPLITS = ["train", "test", "train", "validation"]
NAME = "part-00000.parquet"


@pytest.fixture
def table():
    return pa.table({"row": range(MANY), "split": [SPLITS[row % 4] for row in range(MANY)]})


def rows(folder, sha256, *splits, start=0, stop=MANY):
    tables = list(rows_of(folder, Part(NAME, start, stop), sha256, {"split": splits}))
    assert max(table.num_rows for table in tables) <= GROUP
    return pa.concat_tables(tables)["row"].to_pylist()


def test_the_rows_of_the_splits_in_order(table, tmp_path):
    folder = Folder(str(tmp_path))
    sha256 = folder.write_parquet(NAME, table, row_group_size=GROUP).sha256
    assert rows(folder, sha256, "train") == [row for row in range(MANY) if row % 2 == 0]
    assert rows(folder, sha256, "test", "validation") == [row for row in range(MANY) if row % 2]


def test_the_rows_of_a_part_alone(table, tmp_path):
    folder = Folder(str(tmp_path))
    sha256 = folder.write_parquet(NAME, table, row_group_size=GROUP).sha256
    whole = rows(folder, sha256, "train")
    for start in range(len(whole)):
        for stop in range(start + 1, len(whole) + 1):
            assert rows(folder, sha256, "train", start=start, stop=stop) == whole[start:stop]


@pytest.mark.s3
def test_a_bucket_that_fails_for_a_while_is_asked_again(table, s3, faulty):
    folder = Folder(f"{s3}/shards")
    sha256 = folder.write_parquet(NAME, table, row_group_size=GROUP).sha256
    again = requests.counts()[requests.AGAIN]
    with faulty(rate=0.5) as faults:
        for _ in range(3):
            assert rows(folder, sha256, "train") == list(range(0, MANY, 2))
        assert len(faults.made) >= 3
    assert requests.counts()[requests.AGAIN] > again
