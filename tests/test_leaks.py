"""The search for canaries finds them wherever they are packed."""

import gzip
import io
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.leaks import found, numbers

CANARY = "canary-5hX0"


def parquet(**settings: object) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"nested": [[{"a": "fine"}], [{"a": f"x {CANARY} y"}]] * 50})
    pq.write_table(table, sink, compression="zstd", **settings)
    return sink.getvalue()


def zipped(inside: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", inside)
    return sink.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"a log " + CANARY.encode(),
        parquet(),
        gzip.compress(CANARY.encode()),
        gzip.compress(parquet()),
        zipped(CANARY.encode() * 9),
    ],
)
def test_a_canary_is_found(data):
    assert found(["no such thing", CANARY], "file", data) == [CANARY]


def test_whole_numbers_alone_count_as_identifiers():
    assert numbers(b'{"id": 200013, "loss": 0.200014, "size": 200015}, x200016, 200017') == {
        200013,
        200017,
    }
