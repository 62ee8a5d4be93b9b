"""The files of a MEDS dataset (0.3.3 and 0.4): data files, and the splits of its patients.

    data/**/*.parquet                 events; any names
    metadata/subject_splits.parquet   optional

The two versions have the same columns; 0.4 made ``numeric_value`` optional. The standard's promises
about rows are checked as they stream: the rows of a subject are in one file, contiguous, ascending
in time, those without a time first.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from medhmp.frames import frame_of
from medhmp.legend import SPLITS
from medhmp.refusal import Refusal
from medhmp.storage import Folder

BATCH: Final = 1 << 18
"""Rows read at a time. A block has these, and the rest of a subject."""

SUBJECT_SPLITS: Final = "metadata/subject_splits.parquet"
REQUIRED: Final = ("subject_id", "time", "code")

Is = Callable[[pa.DataType], bool]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_INTEGER: Final = ("int64", pa.types.is_integer, pa.int64())
_TEXT: Final = ("a string", _is_text, pa.large_string())
_KINDS: Final[Mapping[str, tuple[str, Is, pa.DataType]]] = {
    "subject_id": _INTEGER,
    "time": ("a timestamp without a zone", pa.types.is_timestamp, pa.timestamp("us")),
    "code": _TEXT,
    "numeric_value": ("float32", pa.types.is_floating, pa.float64()),
    "text_value": _TEXT,
    "split": _TEXT,
}
"""Column -> its type in words, a test of its type, the type it is read as. Narrower integers, other
floats, time units and encodings of strings are accepted."""

_AGAIN: Final = "copy or export the dataset again"


@dataclass(frozen=True)
class MedsFiles:
    """The data files of one dataset."""

    folder: Folder
    names: tuple[str, ...]  # of the files, below ``folder``
    ids: tuple[str, str]  # columns that name an admission and a stay, if they are there
    shares: dict[str, float] = field(default_factory=dict)  # file -> share read so far, 0 to 1

    @staticmethod
    def find(folder: Folder, admission_id: str = "", stay_id: str = "") -> "MedsFiles":
        """Finds the files of a dataset. Refuses a folder without any."""
        names = [name for name in (folder / "data").names() if name.endswith(".parquet")]
        shown = [name for name in names if not any(p.startswith(".") for p in name.split("/"))]
        if not shown:
            raise Refusal(
                f"'{folder}' has no data/**/*.parquet; give the folder of a MEDS dataset, which "
                "has data and metadata in it"
            )
        files = tuple(posixpath.join("data", name) for name in shown)
        return MedsFiles(folder, files, (admission_id, stay_id))

    def sizes(self) -> dict[str, int | None]:
        """Size in bytes of each file that is read."""
        splits = [SUBJECT_SPLITS] if self.folder.exists(SUBJECT_SPLITS) else []
        return {name: self.folder.size(name) for name in (*self.names, *splits)}

    def columns(self) -> set[str]:
        """The columns that any file has. Refuses a file whose footer or columns are not MEDS."""
        found: set[str] = set()
        for name in self.names:
            with _reading(self.folder, name) as file:
                found |= set(_checked(self.folder, name, file.schema_arrow, REQUIRED, self.ids))
        return found

    def blocks(self, columns: Mapping[str, str]) -> Iterator[pl.DataFrame]:
        """Yields all rows of some subjects at a time, in their order.

        The columns are ``REQUIRED``, ``admission`` and ``stay`` (the ids, or null), and ``columns``
        (name to give -> name in the files). ``time`` is in whole seconds; a column that a file
        lacks is null. Refuses rows that break the standard's promises.
        """
        ids = dict(zip(("admission", "stay"), self.ids, strict=True))
        order, wanted = _Order(self.folder), {**{c: c for c in REQUIRED}, **ids, **columns}
        for name in self.names:
            held: list[pl.DataFrame] = []
            for batch in self._batches(name, wanted):
                order.check(name, batch)
                last = batch["subject_id"][-1]
                tail = batch.filter(pl.col("subject_id") == last)
                if held and tail.height == batch.height and held[-1]["subject_id"][0] == last:
                    held.append(batch)
                    continue
                whole = pl.concat([*held, batch.head(batch.height - tail.height)])
                held = [tail]
                if whole.height:
                    yield whole
            if held:
                yield pl.concat(held)

    def _batches(self, name: str, wanted: Mapping[str, str]) -> Iterator[pl.DataFrame]:
        with _reading(self.folder, name) as file:
            usable = _checked(self.folder, name, file.schema_arrow, REQUIRED, self.ids)
            here = sorted(set(wanted.values()) & set(usable))
            done = 0
            for batch in file.iter_batches(BATCH, columns=here):
                done += batch.num_rows
                self.shares[name] = done / file.metadata.num_rows
                if batch.num_rows:
                    yield self._frame(name, batch, wanted)

    def _frame(self, name: str, batch: pa.RecordBatch, wanted: Mapping[str, str]) -> pl.DataFrame:
        arrays = {}
        for given, column in wanted.items():
            target = _INTEGER[2] if given in ("admission", "stay") else _kind(column, self.ids)[2]
            here = column in batch.schema.names
            values = batch.column(column) if here else pa.nulls(batch.num_rows, target)
            if column in ("subject_id", "code") and values.null_count:
                raise Refusal(
                    f"column {column} of '{self.folder / name}' has rows without a value; {_AGAIN}"
                )
            arrays[given] = values.cast(target, safe=column != "time")
        frame = frame_of(pa.table(arrays))
        return frame.with_columns(pl.col("time").dt.truncate("1s").cast(pl.Datetime("ms")))


def subject_splits(folder: Folder) -> pl.DataFrame | None:
    """``subject_id`` and ``split`` (one of ``SPLITS``); None if the dataset brings no splits.

    Refuses splits with other names than the standard's, and a subject with several.
    """
    if not folder.exists(SUBJECT_SPLITS):
        return None
    wanted = ("subject_id", "split")
    with _reading(folder, SUBJECT_SPLITS) as file:
        _checked(folder, SUBJECT_SPLITS, file.schema_arrow, wanted, ())
        table = file.read(columns=list(wanted))
        columns = {name: table[name].cast(_kind(name, ())[2]) for name in wanted}
    frame = frame_of(pa.table(columns))
    theirs = dict(zip(("train", "tuning", "held_out"), SPLITS, strict=True))
    other = frame.filter(~pl.col("split").is_in(list(theirs)).fill_null(False)).height
    if other:
        raise Refusal(
            f"'{folder / SUBJECT_SPLITS}' has {other:,} subjects in another split than "
            "train, tuning and held_out; rename it, or remove the file to split by hash"
        )
    if frame["subject_id"].is_duplicated().any():
        raise Refusal(f"'{folder / SUBJECT_SPLITS}' has a subject twice; give each one split")
    return frame.with_columns(pl.col("split").replace_strict(theirs, return_dtype=pl.String))


@contextmanager
def _reading(folder: Folder, name: str) -> Iterator[Any]:
    """Opens a Parquet file. Refuses one that Arrow cannot read, without Arrow's words, which may
    quote data."""
    try:
        with folder.open(name) as stream:
            yield pq.ParquetFile(stream)
    except FileNotFoundError:
        raise Refusal(f"'{folder / name}' has gone; check the folder") from None
    except (pa.ArrowException, OSError) as error:
        raise Refusal(
            f"'{folder / name}' cannot be read as Parquet ({type(error).__name__}): it is cut "
            f"short or damaged; {_AGAIN}"
        ) from None


def _kind(column: str, ids: Sequence[str]) -> tuple[str, Is, pa.DataType]:
    return _INTEGER if column in ids else _KINDS.get(column, _TEXT)


def _checked(
    folder: Folder, name: str, columns: pa.Schema, required: Sequence[str], ids: Sequence[str]
) -> list[str]:
    """The columns of a file that can be read.

    Refuses a file that lacks one of ``required``, or has a wrong type in a column of the standard
    or of ``ids``. Any other column may have any type.
    """
    for column in required:
        if column not in columns.names:
            raise Refusal(
                f"'{folder / name}' has no column {column}, which MEDS 0.3.3 and 0.4 have; "
                "export the dataset with one of these versions"
            )
    usable = []
    for column in columns:
        wanted, fits, _ = _kind(column.name, ids)
        fits_here = fits(column.type) or (
            pa.types.is_null(column.type) and column.name not in ("subject_id", "code")
        )
        zoned = column.name == "time" and fits_here and getattr(column.type, "tz", None)
        if (column.name in (*_KINDS, *ids) and not fits_here) or zoned:
            raise Refusal(
                f"column {column.name} of '{folder / name}' is {column.type} and must be "
                f"{wanted}; export the dataset again as MEDS 0.3.3 or 0.4"
            )
        usable += [column.name] if fits_here else []
    return usable


class _Order:
    """Checks, batch after batch, that the rows of each subject are contiguous and sorted."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._file, self._rows = "", 0
        self._last: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
        self._seen: dict[int, str] = {}  # subject -> its file
        self._subjects = 0

    def check(self, name: str, batch: pl.DataFrame) -> None:
        """Takes in the next batch of file ``name``. Refuses rows out of order."""
        if name != self._file:
            self._file, self._rows, self._last = name, 0, None
        subject = batch["subject_id"].to_numpy()
        time = batch["time"].cast(pl.Int64).fill_null(np.iinfo(np.int64).min).to_numpy()
        if self._last is None:
            begins = np.r_[True, subject[1:] != subject[:-1]]
            earlier = np.r_[False, time[1:] < time[:-1]]
        else:
            begins = subject != np.r_[self._last[0], subject[:-1]]
            earlier = time < np.r_[self._last[1], time[:-1]]
        back = np.flatnonzero(earlier & ~begins)
        if len(back):
            raise Refusal(
                f"row {self._rows + int(back[0]) + 1:,} of '{self._folder / name}' is earlier than "
                "the row before it of the same subject; sort the dataset by subject and time"
            )
        begun = subject[begins].tolist()
        for one in begun:
            self._add(one, name)
        if len(self._seen) != self._subjects + len(begun):
            raise Refusal(
                f"the rows of a subject do not follow each other in '{self._folder / name}'; "
                "sort the dataset by subject and time"
            )
        self._subjects = len(self._seen)
        self._last, self._rows = (subject[-1:], time[-1:]), self._rows + len(subject)

    def _add(self, subject: int, name: str) -> None:
        before = self._seen.setdefault(subject, name)
        if before != name:
            raise Refusal(
                f"a subject is both in '{before}' and in '{name}' of '{self._folder}'; keep one "
                "export in the folder, with all rows of a subject in one file"
            )
