"""What a reader of a shard file yields, also from a bucket that fails for a while."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medhmp.shards import datasource
from medhmp.shards.datasource import rows_of
from medhmp.storage import ATTEMPTS

MANY, GROUP = 33, 8  # rows of the file, of a row group
SPLITS = ["train", "test", "train", "validation"]


class Bucket:
    """Holds one file. Every read of it but the first ``good`` fails, ``bad`` times."""

    is_local = False

    def __init__(self, data, good, bad):
        self.data, self.good, self.bad = data, good, bad

    def open_published(self, name, sha256):
        return Object(self)


class Object(io.BytesIO):
    def __init__(self, bucket):
        super().__init__(bucket.data)
        self.bucket = bucket

    def read(self, size=-1):
        self.bucket.good -= 1
        if self.bucket.good < 0 < self.bucket.bad:
            self.bucket.bad -= 1
            raise OSError("AWS Error SLOW_DOWN during GetObject operation")
        return super().read(size)


@pytest.fixture(scope="module")
def data():
    table = pa.table({"row": range(MANY), "split": [SPLITS[row % 4] for row in range(MANY)]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=GROUP)
    return buffer.getvalue()


@pytest.fixture
def waits(monkeypatch):
    waits = []
    monkeypatch.setattr(datasource.time, "sleep", waits.append)
    return waits


def rows(bucket, *splits):
    tables = list(rows_of(bucket, "part-00000.parquet", "", {"split": splits}))
    assert max(table.num_rows for table in tables) <= GROUP
    return pa.concat_tables(tables)["row"].to_pylist()


def test_the_rows_of_the_splits_in_order(data, waits):
    whole = Bucket(data, good=0, bad=0)
    assert rows(whole, "train") == [row for row in range(MANY) if row % 2 == 0]
    assert rows(whole, "test", "validation") == [row for row in range(MANY) if row % 2]
    assert waits == []


@pytest.mark.parametrize("good", range(8))
def test_a_bucket_that_fails_for_a_while_is_asked_again(data, waits, good):
    failing = Bucket(data, good, bad=ATTEMPTS - 1)
    assert rows(failing, "train") == [row for row in range(MANY) if row % 2 == 0]
    assert waits == ([] if failing.bad else [2.0**n for n in range(1, ATTEMPTS)])


def test_also_between_row_groups(data, waits):
    failing = Bucket(data, good=2, bad=1)
    tables = rows_of(failing, "part-00000.parquet", "", {"split": ("train",)})
    first = next(tables)
    assert failing.bad == 1
    rest = list(tables)
    assert failing.bad == 0
    assert len(rest) == 4
    assert pa.concat_tables([first, *rest])["row"].to_pylist() == list(range(0, MANY, 2))


def test_one_that_fails_for_longer_is_an_error(data, waits):
    with pytest.raises(OSError, match="SLOW_DOWN"):
        rows(Bucket(data, good=0, bad=ATTEMPTS), "train")
    assert len(waits) == ATTEMPTS - 1
