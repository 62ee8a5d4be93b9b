"""Folders on disk or in a bucket, and the rule by which an output is published whole or not at all.

S3 has no rename, so the rule is the same everywhere: a stage writes its files, then, last,
``complete.json`` with their sizes and SHA-256, the fields of the run it depends on and the
fingerprints of its inputs. A folder without that file is not an output.
"""

import hashlib
import io
import json
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from medhmp.refusal import Refusal
from medhmp.run import digest

COMPLETE = "complete.json"
SPOOL = 1 << 26  # bytes of an upload kept in memory before they go to a temporary file


@dataclass(frozen=True)
class Entry:
    """One written file: its name inside the folder, size in bytes, SHA-256 in hex."""

    name: str
    size: int
    sha256: str


class _HashingSink(io.RawIOBase):
    """Passes bytes on to an Arrow output stream and hashes them on the way."""

    def __init__(self, sink: Any) -> None:
        self._sink, self._sha, self._size = sink, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._sink.write(view)
        self._sha.update(view)
        self._size += len(view)
        return len(view)

    def tell(self) -> int:
        return self._size

    def entry(self, name: str) -> Entry:
        return Entry(name, self._size, self._sha.hexdigest())


class Sink(_HashingSink):
    """A file being written. ``entry`` describes it once it is closed."""

    written: Entry


@dataclass(frozen=True)
class Folder:
    """A folder named by a URI: a local path or ``s3://bucket/key``. Cheap, and picklable.

    Credentials, region and endpoint come from the usual AWS environment or profile.
    """

    uri: str

    def __truediv__(self, name: str) -> "Folder":
        return Folder(posixpath.join(self.uri, name))

    def __str__(self) -> str:
        return self.uri

    @property
    def is_local(self) -> bool:
        return "://" not in self.uri

    def resolve(self, name: str = "") -> tuple[pafs.FileSystem, str]:
        """(filesystem, path) of a file in this folder, or of the folder itself."""
        try:
            if self.is_local:
                fs, base = pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(self.uri))
            else:
                fs, base = pafs.FileSystem.from_uri(self.uri)
        except (pa.ArrowInvalid, OSError) as error:
            raise Refusal(
                f"'{self.uri}' is not a place this can read or write ({type(error).__name__}); "
                "give a local folder or s3://bucket/key, and check AWS_ENDPOINT_URL and the bucket"
            ) from None
        return fs, posixpath.join(base, name) if name else base

    def exists(self, name: str = "") -> bool:
        fs, path = self.resolve(name)
        return bool(fs.get_file_info(path).type != pafs.FileType.NotFound)

    def names(self) -> list[str]:
        """Names of all files below this folder, relative to it, sorted."""
        fs, path = self.resolve()
        selector = pafs.FileSelector(path, recursive=True, allow_not_found=True)
        infos = fs.get_file_info(selector)
        return sorted(
            posixpath.relpath(i.path, path) for i in infos if i.type == pafs.FileType.File
        )

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None where there is none."""
        fs, path = self.resolve(name)
        info = fs.get_file_info(path)
        return info.size if info.type == pafs.FileType.File else None

    def open(self, name: str) -> Any:
        """A seekable binary stream (``pyarrow.NativeFile``) of a file. Raises FileNotFoundError."""
        fs, path = self.resolve(name)
        return fs.open_input_file(path)

    def read_bytes(self, name: str) -> bytes:
        with self.open(name) as source:
            return bytes(source.read())

    def read_json(self, name: str) -> Any:
        return json.loads(self.read_bytes(name))

    def read_parquet(self, name: str, columns: list[str] | None = None) -> pa.Table:
        with self.open(name) as source:
            return pq.ParquetFile(source).read(columns=columns)

    @contextmanager
    def create(self, name: str) -> Iterator[Sink]:
        """Writes one file whole or not at all; after the block ``sink.written`` is its Entry.

        On disk the bytes go to a hidden neighbor that is renamed at the end. For a bucket they are
        spooled here and uploaded after the block, because Arrow cannot abort an upload: dropping
        its stream closes it, which makes the half-written object visible.
        """
        with self._renamed(name) if self.is_local else self._uploaded(name) as stream:
            sink = Sink(stream)
            yield sink
        sink.written = sink.entry(name)

    @contextmanager
    def _renamed(self, name: str) -> Iterator[Any]:
        _, path = self.resolve(name)
        hidden = posixpath.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            stream = open(hidden, "wb")  # noqa: SIM115
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            with stream:
                yield stream
            os.replace(hidden, path)
        except BaseException:
            os.unlink(hidden)
            raise

    @contextmanager
    def _uploaded(self, name: str) -> Iterator[Any]:
        fs, path = self.resolve(name)
        with tempfile.SpooledTemporaryFile(max_size=SPOOL) as spool:
            yield spool
            spool.seek(0)
            try:
                stream = fs.open_output_stream(path, compression=None)
            except OSError as error:
                raise self._unwritable(error) from None
            with stream:
                shutil.copyfileobj(spool, stream, 1 << 24)

    def _unwritable(self, error: OSError) -> Refusal:
        return Refusal(
            f"cannot write under '{self.uri}' ({type(error).__name__}); check that the folder or "
            "bucket exists and that you may write to it"
        )

    def write_bytes(self, name: str, data: bytes) -> Entry:
        with self.create(name) as sink:
            sink.write(data)
        return sink.written

    def write_json(self, name: str, value: Any) -> Entry:
        return self.write_bytes(name, (json.dumps(value, indent=1) + "\n").encode())

    def write_parquet(self, name: str, table: pa.Table, **settings: Any) -> Entry:
        """Writes a table with zstd and the given ``pyarrow.parquet`` writer settings."""
        with self.create(name) as sink:
            pq.write_table(table, pa.PythonFile(sink, mode="w"), compression="zstd", **settings)
        return sink.written

    def entry(self, name: str) -> Entry:
        """The Entry of a file that is already here, by reading it."""
        data = self.read_bytes(name)
        return Entry(name, len(data), hashlib.sha256(data).hexdigest())

    def delete(self, name: str) -> None:
        fs, path = self.resolve(name)
        fs.delete_file(path)

    def remove(self) -> None:
        """Deletes this folder and all below it. ``complete.json`` goes first, so that a folder
        half deleted is never taken for an output."""
        fs, path = self.resolve()
        if self.exists(COMPLETE):
            fs.delete_file(posixpath.join(path, COMPLETE))
        if self.exists():
            fs.delete_dir(path)


@dataclass(frozen=True)
class Stamp:
    """What decides whether an output is of this run: fields of it, fingerprints of the inputs."""

    fields: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def hash(self) -> str:
        return digest({"fields": dict(self.fields), "inputs": dict(self.inputs)})


def is_done(folder: Folder, stamp: Stamp, overwrite: bool = False) -> bool:
    """True if ``folder`` holds a whole output of this stamp: the stage is to be skipped.

    False if there is none. An output of another run is removed under ``overwrite`` and otherwise
    refused, naming the first thing that differs.
    """
    if not folder.exists(COMPLETE):
        return False
    record = folder.read_json(COMPLETE)
    if record["hash"] != stamp.hash:
        if overwrite:
            folder.remove()
            return False
        raise Refusal(
            f"{folder} holds an output of another run ({_first_difference(record, stamp)}); "
            "pass --overwrite to replace it, or another --out"
        )
    damaged = [f for f in record["files"] if folder.size(f["name"]) != f["size"]]
    if damaged and overwrite:
        folder.remove()
        return False
    if damaged:
        raise Refusal(
            f"{folder} is damaged: {damaged[0]['name']} is missing or not {damaged[0]['size']} "
            "bytes long; pass --overwrite to make it again"
        )
    return True


def _first_difference(record: Mapping[str, Any], stamp: Stamp) -> str:
    for kind, now in (("fields", stamp.fields), ("inputs", stamp.inputs)):
        then = record[kind]
        for name in [*then, *(n for n in now if n not in then)]:
            if then.get(name) != now.get(name):
                if kind == "inputs":
                    return f"its input {name} has changed"
                return f"{name} was {then.get(name)!r}, is {now.get(name)!r}"
    return "its record was altered"


def publish(folder: Folder, stamp: Stamp, entries: list[Entry]) -> None:
    """Declares an output whole: writes ``complete.json``, the last write of a stage."""
    files = [asdict(e) for e in sorted(entries, key=lambda e: e.name)]
    folder.write_json(
        COMPLETE,
        {
            "hash": stamp.hash,
            "fields": dict(stamp.fields),
            "inputs": dict(stamp.inputs),
            "files": files,
        },
    )


def fingerprint(folder: Folder, made_by: str) -> str:
    """Content hash of a whole output, for the ``inputs`` of the stage that reads it.

    Refuses a folder that is not whole; ``made_by`` is the job that makes it.
    """
    if not folder.exists(COMPLETE):
        raise Refusal(f"{folder} is missing or not whole; run jobs.{made_by} first")
    return digest([[f["name"], f["sha256"]] for f in folder.read_json(COMPLETE)["files"]])
