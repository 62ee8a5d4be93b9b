"""What a file gives away, whatever it is packed in: for the tests that plant canaries."""

import gzip
import io
import re
import zipfile
from collections.abc import Iterable

import pyarrow.parquet as pq


def unpacked(name: str, data: bytes) -> bytes:
    """The bytes of a file and, of Parquet, gzip and zip, what is inside."""
    if data[:4] == b"PAR1":
        file = pq.ParquetFile(io.BytesIO(data))
        return b"\n".join([data, repr(file.metadata).encode(), *_columns(file)])
    if data[:2] == b"\x1f\x8b":
        return data + unpacked(name, gzip.decompress(data))
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return data + b"\n".join(unpacked(n, archive.read(n)) for n in archive.namelist())
    return data


def _columns(file: pq.ParquetFile) -> list[bytes]:
    table = file.read()
    return [f"{name} {table[name].to_pylist()}".encode() for name in table.column_names]


def found(canaries: Iterable[str], name: str, data: bytes) -> list[str]:
    """The canaries in a file."""
    inside = unpacked(name, data)
    return [canary for canary in canaries if canary.encode() in inside]


def numbers(data: bytes) -> set[int]:
    """The whole numbers in a text, but for parts of longer words, of fractions and of sizes."""
    text = re.sub(rb'"size": \d+', b"", data)
    return {int(number) for number in re.findall(rb"(?<![\w.,-])\d{6}(?![\w.])", text)}
