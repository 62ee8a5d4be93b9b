"""How far the reading of a table is."""

import gzip

import numpy as np
import pytest

from medhmp.shards.build.buckets import progress
from medhmp.storage import Folder
from medhmp.tables import csv_file
from medhmp.tables.csv import INTEGER, RawTables


@pytest.mark.parametrize("name", ["CHARTEVENTS.csv", "CHARTEVENTS.csv.gz"])
def test_the_share_of_a_file_that_has_been_read_ends_at_all_of_it(tmp_path, monkeypatch, name):
    monkeypatch.setattr(csv_file, "BLOCK", 1 << 16)
    monkeypatch.setattr(csv_file, "READ", 1 << 16)
    items = np.random.default_rng(0).integers(10**7, size=10**6)
    data = b"ITEMID\n" + b"\n".join(map(b"%d".__mod__, items.tolist())) + b"\n"
    (tmp_path / name).write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    raw = RawTables.find(Folder(str(tmp_path)), ("CHARTEVENTS",))
    shares = [raw.shares["CHARTEVENTS"] for _ in raw.scan("CHARTEVENTS", {"itemid": INTEGER})]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5 < shares[-1] == 1


def test_the_time_left_is_told_where_the_share_is_known():
    assert progress(3000, 30.0, 0.25) == "3,000 events read  100 rows/s  90 s left"
    assert progress(3000, 30.0, None) == "3,000 events read  100 rows/s"
