"""Folders on disk or in a bucket, and the rule by which an output is published whole or not at all.

S3 has no rename, so the rule is the same everywhere: a stage writes its files, then, last,
``complete.json``: their sizes and SHA-256, the fields of the run that the output depends on, the
fingerprints of its inputs, and the code and machine that made it. A folder without that file is not
an output.
"""

import hashlib
import io
import json
import os
import posixpath
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from medhmp import remote
from medhmp.provenance import provenance
from medhmp.refusal import FULL, Failure, Refusal, write_failure
from medhmp.remote import Unusable as Unusable
from medhmp.run import digest

COMPLETE = "complete.json"
HASHED = 1 << 26  # bytes of an output that are hashed when its stage is skipped, small files first
WHOLE: Final = 1 << 26
"""Largest file in bytes that a trace hashes whole."""
TRACED: Final = 1 << 29
"""Bytes of a folder that its traces hash whole, small files first."""
SAMPLES: Final = 8
SAMPLE: Final = 1 << 16
"""Blocks, and bytes of one, that a trace reads of a larger file: its first, its last, and others at
equal distances."""
TRACERS: Final = 32
"""Files traced at once."""
CHANGED: Final = ("LastModified", "mtime", "last_modified", "modified", "updated", "created")
"""What fsspec's filesystems call the time of a file's last change."""

LEASE: Final = "MEDHMP_LEASE"
"""The environment's name for the URI of the claim (``medhmp/lease.py``) under which a job, and each
process of its embedded Ray, works."""

LOST: Final = (
    "another driver has taken over this --out, as this one gave no sign for a minute; it ends here "
    "and publishes nothing more"
)

T = TypeVar("T")


class Torn(Refusal):
    """A file that is no JSON: cut short, empty or damaged."""


class LeaseLost(RuntimeError):  # noqa: N818
    """Another driver has taken over the root of this one, which must publish nothing any more."""


@dataclass(frozen=True)
class Entry:
    """One written file: its name inside the folder, size in bytes, SHA-256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Trace:
    """What is known of a file of somebody else's: enough to tell whether it has changed.

    A file hashed whole is the same wherever and whenever it was copied. Of a larger one the time of
    its last change counts, too, since an edit may keep its size and miss the samples: a copy with
    another time is another file.
    """

    name: str
    size: int
    sha256: str  # of the bytes, or of the samples, in hex
    changed: int | None  # nanoseconds since 1970, of a file that is sampled; None: hashed whole


class _HashingSink(io.RawIOBase):
    """Passes bytes on to an output stream and hashes them on the way."""

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
class State:
    """A file as a listing knows it: its size, and what changes whenever its content does."""

    size: int
    version: str  # an ETag in a bucket, else the time of the last change
    changed: int  # nanoseconds since 1970; in a bucket whole seconds


@dataclass(frozen=True)
class Folder:
    """A folder named by a URI: a local path, ``s3://bucket/key``, or another that fsspec opens.

    Cheap, and picklable. Credentials, region and endpoint come from the usual AWS environment or
    profile of the process that uses it.
    """

    uri: str

    def __truediv__(self, name: str) -> "Folder":
        return Folder(posixpath.join(self.uri, self._escaped(name)))

    def __str__(self) -> str:
        return self.uri

    @property
    def is_local(self) -> bool:
        return "://" not in self.uri or self.uri.startswith("file://")

    def path(self, name: str = "") -> str:
        """The absolute path of a file in this folder, or of the folder itself, on disk."""
        remote.refuse_mistakes(self.uri)
        place = unquote(self.uri.removeprefix("file://")) if "://" in self.uri else self.uri
        base = os.path.abspath(os.path.expanduser(place))
        return posixpath.join(base, name) if name else base

    def resolve(self, name: str = "") -> tuple[Any, str]:
        """(filesystem of fsspec, path) of a file in this folder, or of the folder itself; of one
        that is not local."""
        fs, base = remote.resolve(self.uri)
        return fs, posixpath.join(base, name) if name else base

    def is_same(self, other: "Folder") -> bool:
        """True if both are one place, however it is written."""
        if self.is_local or other.is_local:
            return self.is_local and other.is_local and self.path() == other.path()
        return bool(self.resolve()[1] == other.resolve()[1])

    def _escaped(self, name: str) -> str:
        """A name as it is written in this folder's URI."""
        return name if "://" not in self.uri else name.replace("%", "%25").replace("?", "%3F")

    def _ask(self, does: str, work: Callable[[], T], name: str = "") -> T:
        """The result of ``work`` on a file or folder that is not local: read, list or write."""
        return remote.ask((self / name).uri if name else self.uri, does, work)

    def check_access(self, writes: bool = False) -> None:
        """Refuses a place in a bucket that cannot be used as a job will: one without its bucket,
        denied, or that holds nothing to read. ``writes``: writes a probe there and deletes it."""
        if self.is_local:
            return
        if writes:
            fs, path = self.resolve()
            probe = f"{path}/.probe-{os.urandom(8).hex()}"
            self._ask("write", lambda: fs.pipe_file(probe, b""))
            self.entries()
            self._ask("write", lambda: fs.rm_file(probe))
        elif not self.entries() and not self.exists():  # a listing says more than a look
            raise Unusable(f"there is nothing at '{self.uri}'; check the key, letter by letter")

    def exists(self, name: str = "") -> bool:
        return os.path.exists(self.path(name)) if self.is_local else self._info(name) is not None

    def _info(self, name: str = "") -> dict[str, Any] | None:
        """What fsspec tells of a file or folder that is not local; None where there is none."""
        fs, path = self.resolve(name)
        try:
            return dict(self._ask("read", lambda: fs.info(path), name))
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """Names of all files below this folder, relative to it, sorted.

        Half-written files that a killed process left are not among them.
        """
        return sorted(name for name in self.sizes() if not _is_partial(name))

    def sizes(self) -> dict[str, int]:
        """Bytes of every file below this folder, by its name relative to it."""
        if self.is_local:
            return self._sizes_on_disk()
        fs, path = self.resolve()
        try:
            found = self._ask("list", lambda: fs.find(path, detail=True))
        except FileNotFoundError:
            return {}
        below = f"{path.lstrip('/')}/"
        return {
            name.lstrip("/").removeprefix(below): int(info["size"])
            for name, info in found.items()
            if name.lstrip("/").startswith(below) and not name.endswith("/")
        }

    def _sizes_on_disk(self) -> dict[str, int]:
        path, found = self.path(), dict[str, int]()
        if not os.path.exists(path):
            return found
        try:
            with os.scandir(path):  # raises what is wrong, which ``os.walk`` would not
                pass
            for place, _, names in os.walk(path, onerror=_raise, followlinks=True):
                for name in names:
                    full = posixpath.join(place, name)
                    with suppress(FileNotFoundError):  # renamed meanwhile
                        found[posixpath.relpath(full, path)] = os.stat(full).st_size
        except FileNotFoundError:
            return found
        except OSError as error:
            raise self._unusable("list", error) from None
        return found

    def entries(self, name: str = "") -> dict[str, bool]:
        """Names right below this folder, or one in it, sorted; True: it is a folder.

        Empty where there is no such folder. Raises OSError where one on disk cannot be listed.
        """
        if self.is_local:
            if not os.path.exists(self.path(name)):
                return {}
            with os.scandir(self.path(name)) as listing:
                return dict(sorted((entry.name, entry.is_dir()) for entry in listing))
        fs, path = self.resolve(name)
        try:
            listed = self._ask("list", lambda: fs.ls(path, detail=True), name)
        except FileNotFoundError:
            return {}
        found = {
            posixpath.basename(info["name"].rstrip("/")): info["type"] == "directory"
            for info in listed
            if info["name"].strip("/") != path.strip("/") and info["type"] in ("file", "directory")
        }
        return dict(sorted(found.items()))

    def state(self, name: str) -> State | None:
        """The state of a file, None where there is none."""
        if self.is_local:
            with suppress(FileNotFoundError, NotADirectoryError):
                found = os.stat(self.path(name))
                if stat.S_ISREG(found.st_mode):
                    return State(found.st_size, str(found.st_mtime_ns), found.st_mtime_ns)
            return None
        info = self._info(name)
        if info is None or info["type"] != "file":
            return None
        changed = next((info[key] for key in CHANGED if info.get(key)), 0)
        seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
        return State(int(info["size"]), str(info.get("ETag") or seconds), int(seconds * 1e9))

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None where there is none."""
        state = self.state(name)
        return None if state is None else state.size

    def open(self, name: str) -> Any:
        """A seekable binary stream (``pyarrow.NativeFile``) of a file. Raises FileNotFoundError."""
        if self.is_local:
            return pafs.LocalFileSystem().open_input_file(self.path(name))
        return remote.opened((self / name).uri)

    def read_bytes(self, name: str, size: int = 0) -> bytes:
        """The content of a file; of ``size`` bytes, where it is known to be large."""
        if self.is_local:
            with self.open(name) as source:
                return bytes(source.read())
        fs, path = self.resolve(name)
        ranges = {"chunksize": remote.RANGE} if size > remote.RANGE else {"max_concurrency": 1}
        more = ranges if self.uri.partition("://")[0] in remote.S3 else {}
        return bytes(self._ask("read", lambda: fs.cat_file(path, **more), name))

    def read_json(self, name: str) -> Any:
        """The value in a file. Raises Torn where it is none."""
        return _parsed(self.read_bytes(name), self / name)

    def read_parquet(self, name: str, columns: list[str] | None = None) -> pa.Table:
        with self.open(name) as source:
            return pq.ParquetFile(source, pre_buffer=True).read(columns=columns)

    def open_published(self, name: str, sha256: str) -> Any:
        """As ``open``, of a file whose SHA-256 is known. Refuses one that is missing or altered.

        A file is hashed when this process first reads it, in one read that then serves the caller
        from memory, and again once its size or time has changed.
        """
        found = self.state(name)
        if found is None:
            raise damaged(self, name)
        state = (self.uri, name, sha256, found.size, found.version)
        if state in _SOUND:
            return self.open(name)
        if self.is_local:
            data = self.open(name).read_buffer()
        else:
            data = pa.py_buffer(self.read_bytes(name, found.size))
        if hashlib.sha256(data).hexdigest() != sha256:
            raise damaged(self, name)
        _SOUND.add(state)
        return pa.BufferReader(data)

    @contextmanager
    def create(self, name: str) -> Iterator[Sink]:
        """Writes one file whole or not at all; after the block ``sink.written`` is its Entry.

        On disk the bytes go to a hidden neighbor that is renamed at the end; in a bucket to an
        upload that is completed at the end, or aborted.
        """
        with self._renamed(name) if self.is_local else self._uploaded(name) as stream:
            sink = Sink(stream)
            yield sink
        sink.written = sink.entry(name)

    @contextmanager
    def _renamed(self, name: str) -> Iterator[Any]:
        path = self.path(name)
        hidden = posixpath.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            stream = open(hidden, "wb")  # noqa: SIM115
        except OSError as error:
            raise self._unusable("write", error) from None
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(hidden, path)
            _sync(os.path.dirname(path))
        except BaseException as error:
            with suppress(OSError):  # of a folder that has turned read-only
                os.unlink(hidden)
            if isinstance(error, OSError) and error.errno in FULL:
                raise write_failure(error, str(self / name)) from None
            raise

    @contextmanager
    def _uploaded(self, name: str) -> Iterator[Any]:
        upload = remote.Upload((self / name).uri)
        try:
            yield upload
            upload.commit()
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                upload.discard()
            raise

    def _unusable(self, what: str, error: OSError) -> Unusable | Failure:
        if error.errno in FULL:
            return write_failure(error, self.uri)
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        return Unusable(
            f"cannot {what} under '{self.uri}' ({why}); check that the folder or "
            f"bucket is one and that you may {what} there"
        )

    def write_bytes(self, name: str, data: bytes) -> Entry:
        with self.create(name) as sink:
            sink.write(data)
        return sink.written

    def write_json(self, name: str, value: Any) -> Entry:
        return self.write_bytes(name, (json.dumps(value, indent=1) + "\n").encode())

    def write_record(self, name: str, record: Mapping[str, Any]) -> Entry:
        """Writes a JSON object with a seal, by which ``read_record`` knows it again."""
        return self.write_json(name, {**record, "seal": digest(record)})

    def read_record(self, name: str) -> dict[str, Any] | None:
        """What ``write_record`` wrote; None where the file is missing, torn or altered."""
        if not self.exists(name):
            return None
        with suppress(Torn, RecursionError):
            record = self.read_json(name)
            if isinstance(record, dict) and record.pop("seal", None) == digest(record):
                return record
        return None

    def write_parquet(self, name: str, table: pa.Table, **settings: Any) -> Entry:
        """Writes a table with zstd and the given ``pyarrow.parquet`` writer settings."""
        with self.create(name) as sink:
            pq.write_table(table, pa.PythonFile(sink, mode="w"), compression="zstd", **settings)
        return sink.written

    def entry(self, name: str) -> Entry:
        """The Entry of a file that is already here, by reading it."""
        data = self.read_bytes(name)
        return Entry(name, len(data), hashlib.sha256(data).hexdigest())

    def traces(self, sizes: Mapping[str, int | None]) -> list[Trace]:
        """Traces of files, given with their sizes, by name. Reads ``TRACED`` bytes at most of those
        up to ``WHOLE``, and ``SAMPLES`` blocks of each other."""
        hashed, whole = 0, set[str]()
        for name, size in sorted(sizes.items(), key=lambda item: (item[1] or 0, item[0])):
            hashed += size or 0
            if (size or 0) <= WHOLE and hashed <= TRACED:
                whole.add(name)
        with ThreadPoolExecutor(TRACERS) as pool:
            return list(pool.map(lambda name: self._trace(name, name in whole), sorted(sizes)))

    def _trace(self, name: str, whole: bool) -> Trace:
        try:
            with self.open(name) as source:
                size, sha = source.size(), hashlib.sha256()
                for at, length in [(0, size)] if whole else _samples(size):
                    source.seek(at)
                    while length and (data := source.read(min(length, 1 << 22))):
                        sha.update(data)
                        length -= len(data)
            state = None if whole else self.state(name)
        except FileNotFoundError:
            raise Refusal(f"'{self / name}' has gone; check the folder") from None
        except OSError as error:
            raise Refusal(
                f"'{self / name}' cannot be read ({type(error).__name__}); check access to it"
            ) from None
        return Trace(name, size, sha.hexdigest(), state.changed if state else None)

    def delete(self, name: str) -> None:
        if self.is_local:
            os.unlink(self.path(name))
            return
        fs, path = self.resolve(name)
        self._ask("write", lambda: fs.rm_file(path), name)

    def delete_partial(self) -> None:
        """Deletes the half-written files of killed processes; nothing may be writing now."""
        if self.is_local:  # a bucket shows whole objects alone
            for name in filter(_is_partial, self.sizes()):
                self.delete(name)

    def copy(self, name: str, to: "Folder") -> None:
        """Copies a file into another folder of the same bucket, which does the work."""
        fs, source = self.resolve(name)
        target = to.resolve(name)[1]
        to._ask("write", lambda: fs.cp_file(source, target), name)

    def remove(self) -> None:
        """Deletes this folder and everything below it.

        ``complete.json`` goes first, so that a half-deleted folder is never taken for an output.
        """
        if self.is_local:
            if os.path.exists(self.path(COMPLETE)):
                os.unlink(self.path(COMPLETE))
            if os.path.exists(self.path()):
                shutil.rmtree(self.path())
            return
        fs, path = self.resolve()
        names = list(self.sizes())
        if COMPLETE in names:
            self.delete(COMPLETE)
            names.remove(COMPLETE)
        remote.delete(self.uri, fs, [posixpath.join(path, name) for name in names])


def _raise(error: OSError) -> None:
    raise error


_SOUND: Final[set[tuple[str, str, str, int, str]]] = set()
"""Folder, name, SHA-256, size and version of each file that this process has hashed."""


def damaged(folder: Folder, name: str) -> Refusal:
    """The refusal of a file that is missing or altered since it was published."""
    return Refusal(
        f"{folder} is damaged: {name} is missing or not what was written; "
        "make it again with --overwrite"
    )


def _parsed(data: bytes, place: Folder) -> Any:
    """The value of a JSON text, which ``place`` names in a refusal."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Torn(
            f"'{place}' is no JSON: it is cut short or damaged; remove it, and run the job that "
            "made it again"
        ) from None


def _sync(path: str) -> None:
    """Makes the names in a folder on disk outlive a loss of power, as their content does."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _samples(size: int) -> list[tuple[int, int]]:
    """Place and length of the blocks that a trace reads of a file of ``size`` bytes."""
    last = max(0, size - SAMPLE)
    return [(last * k // (SAMPLES - 1), min(SAMPLE, size)) for k in range(SAMPLES)]


def _is_partial(name: str) -> bool:
    """True for the name that ``Folder.create`` gives a file until it is whole."""
    return re.fullmatch(r"\..+\.\d+", posixpath.basename(name)) is not None


@dataclass(frozen=True)
class Stamp:
    """The identity of an output: the fields of the run and the inputs that it depends on."""

    fields: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def hash(self) -> str:
        return digest({"fields": dict(self.fields), "inputs": dict(self.inputs)})


@dataclass(frozen=True)
class Output:
    """A whole output: its folder, and what its ``complete.json`` says of it."""

    folder: Folder
    hash: str
    fields: Mapping[str, Any]
    inputs: Mapping[str, str]
    files: Mapping[str, Entry]
    provenance: Mapping[str, Any]  # decides nothing
    is_sealed: bool  # the record is what was published, to the last value

    @staticmethod
    def of(folder: Folder) -> "Output | None":
        """The output in a folder; None where ``complete.json`` is missing or torn."""
        if not folder.exists(COMPLETE):
            return None
        try:
            record = folder.read_json(COMPLETE)
            is_sealed = record.pop("seal", None) == digest(record)
            files = {file["name"]: Entry(**file) for file in record["files"]}
            fields, inputs = dict(record["fields"]), dict(record["inputs"])
            made = dict(record["provenance"])
            return Output(folder, record["hash"], fields, inputs, files, made, is_sealed)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    @property
    def fingerprint(self) -> str:
        """Content hash, for the ``inputs`` of the stage that reads this output."""
        return digest([[entry.name, entry.sha256] for entry in self.files.values()])

    def read_bytes(self, name: str) -> bytes:
        """A file's bytes. Refuses a file that is missing or altered since it was published."""
        data = self.folder.read_bytes(name) if self.folder.exists(name) else b""
        if name not in self.files or hashlib.sha256(data).hexdigest() != self.files[name].sha256:
            raise damaged(self.folder, name)
        return data

    def read_json(self, name: str) -> Any:
        return _parsed(self.read_bytes(name), self.folder / name)

    def open(self, name: str) -> Any:
        """A seekable stream of a file, as ``Folder.open_published``."""
        if name not in self.files:
            raise damaged(self.folder, name)
        return self.folder.open_published(name, self.files[name].sha256)

    def read_parquet(self, name: str, columns: list[str] | None = None) -> pa.Table:
        with self.open(name) as source:
            return pq.ParquetFile(source, pre_buffer=True).read(columns=columns)

    def damaged(self, hashed: int | None = None) -> str | None:
        """The name of a file that is missing or altered, None if there is none.

        Every size is compared, but SHA-256 only for the first ``hashed`` bytes (none:
        ``HASHED``): otherwise every
        start of a job would read gigabytes. What a job reads is hashed as it reads it.
        """
        if name := self.lacking():
            return name
        left = HASHED if hashed is None else hashed
        for entry in sorted(self.files.values(), key=lambda entry: entry.size):
            left -= entry.size
            if left >= 0 and self.folder.entry(entry.name) != entry:
                return entry.name
        return None

    def lacking(self) -> str | None:
        """The name of a file that is missing or of another size, by one listing of the folder."""
        sizes = self.folder.sizes()
        return next((e.name for e in self.files.values() if sizes.get(e.name) != e.size), None)

    def check(self, fields: Mapping[str, Any], made_by: str) -> None:
        """Refuses an output made with other fields; ``made_by`` is the job that makes it."""
        if changed := _changed(self.fields, fields):
            name, then, now = changed
            raise Refusal(
                f"{self.folder} was made with {name} {then!r} and this run has {now!r}; "
                f"give the same --{name}, or run jobs.{made_by} again with --overwrite"
            )


def opened(folder: Folder, made_by: str) -> Output:
    """The output in a folder. Refuses one that is not whole; ``made_by`` names its job."""
    output = Output.of(folder)
    if output is None:
        raise Refusal(f"{folder} is missing or not whole; run jobs.{made_by} first")
    if not output.is_sealed:
        raise Refusal(f"{_altered(output)}; run jobs.{made_by} again with --overwrite")
    if name := output.lacking():
        raise Refusal(
            f"{folder} is damaged: {name} is missing or not what was written; "
            f"run jobs.{made_by} again with --overwrite"
        )
    return output


def made_elsewhere(folder: Folder) -> str:
    """`` (made by version X, commit Y)`` for an output of another version of this code, else empty.

    For the line with which a stage says that it is skipped. Commits are compared where both are
    known.
    """
    output = Output.of(folder)
    if output is None:
        return ""
    then, now = output.provenance, provenance()
    commits = {made["commit"] for made in (then, now) if made.get("commit")}
    if then["version"] == now["version"] and len(commits) < 2:
        return ""
    commit = f", commit {then['commit'][:12]}" if then.get("commit") else ""
    return f" (made by version {then['version']}{commit})"


def fault_of(output: Output, stamp: Stamp) -> str | None:
    """The reason why an output is not this stamp's, as a refusal tells it."""
    if output.hash != stamp.hash:
        return (
            f"{output.folder} holds an output of another run ({_first_difference(output, stamp)}); "
            "pass --overwrite to replace it, or another --out"
        )
    if name := output.damaged():
        return (
            f"{output.folder} is damaged: {name} is missing or not what was written; "
            "pass --overwrite to make it again"
        )
    if not output.is_sealed:
        return f"{_altered(output)}; pass --overwrite to make it again"
    return None


def _altered(output: Output) -> str:
    return f"{output.folder} is damaged: {COMPLETE} is not what was written"


def _first_difference(output: Output, stamp: Stamp) -> str:
    if changed := _changed(output.fields, stamp.fields):
        name, then, now = changed
        return f"{name} was {then!r}, is {now!r}"
    if changed := _changed(output.inputs, stamp.inputs):
        return f"its input {changed[0]} has changed"
    return "its record was altered"


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first name whose value differs, with both values. A missing name has the value None."""
    for name in [*then, *(n for n in now if n not in then)]:
        if then.get(name) != now.get(name):
            return name, then.get(name), now.get(name)
    return None


def publish(folder: Folder, stamp: Stamp, entries: list[Entry]) -> None:
    """Declares an output whole: writes ``complete.json``, the last write of a stage.

    Raises LeaseLost if another driver has taken over.
    """
    if (claim := os.environ.get(LEASE)) and not Folder(claim).exists():
        raise LeaseLost(LOST)
    folder.delete_partial()
    files = [asdict(e) for e in sorted(entries, key=lambda e: e.name)]
    record = {
        "hash": stamp.hash,
        "fields": dict(stamp.fields),
        "inputs": dict(stamp.inputs),
        "files": files,
        "provenance": provenance(),
    }
    folder.write_record(COMPLETE, record)
