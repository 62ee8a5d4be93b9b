"""The files of a MEDS dataset (0.3.3 and 0.4): data files, and the splits of its patients.

    data/**/*.parquet                 events; any names
    metadata/subject_splits.parquet   optional

The two versions have the same columns; 0.4 made ``numeric_value`` optional. The standard's promises
about rows are checked as they stream: the rows of a subject are in one file, contiguous, ascending
in time, those without a time first.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
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
from medhmp.tables.meds import columns
from medhmp.tables.meds.columns import Kind

BATCH: Final = 1 << 18
"""Rows read at a time. A block has these, and the rest of a subject."""

SUBJECT_SPLITS: Final = "metadata/subject_splits.parquet"
REQUIRED: Final = ("subject_id", "time", "code")

_KINDS: Final[Mapping[str, Kind]] = {
    "subject_id": columns.ID,
    "time": columns.TIME,
    "code": columns.TEXT,
    "numeric_value": columns.NUMBER,
    "text_value": columns.TEXT,
    "split": columns.TEXT,
}
"""Columns of the standard."""

_NUMBER_THEM: Final = "give each a whole number of at most 64 bits, and keep the table of both"
_AGAIN: Final = "copy or export the dataset again"


@dataclass(frozen=True)
class MedsFiles:
    """The data files of one dataset."""

    folder: Folder
    names: tuple[str, ...]  # of the files, below ``folder``
    ids: tuple[str, str]  # columns that name an admission and a stay, if they are there
    end: str = ""  # column with the end of what begins in a row, if it is there
    shares: dict[str, float] = field(default_factory=dict)  # file -> share read so far, 0 to 1

    @staticmethod
    def find(
        folder: Folder, admission_id: str = "", stay_id: str = "", end: str = ""
    ) -> "MedsFiles":
        """Finds the files of a dataset. Refuses a folder without any."""
        names = [name for name in (folder / "data").names() if name.endswith(".parquet")]
        shown = [name for name in names if not any(p.startswith(".") for p in name.split("/"))]
        if not shown:
            raise Refusal(
                f"'{folder}' has no data/**/*.parquet; give the folder of a MEDS dataset, which "
                "has data and metadata in it"
            )
        files = tuple(posixpath.join("data", name) for name in shown)
        return MedsFiles(folder, files, (admission_id, stay_id), end)

    def sizes(self) -> dict[str, int | None]:
        """Size in bytes of each file that is read."""
        splits = [SUBJECT_SPLITS] if self.folder.exists(SUBJECT_SPLITS) else []
        return {name: self.folder.size(name) for name in (*self.names, *splits)}

    def columns(self) -> dict[str, set[pa.DataType]]:
        """The columns that any file has, with their types.

        Refuses a file whose footer or columns are not MEDS.
        """
        found: dict[str, set[pa.DataType]] = {}
        for name in self.names:
            with _reading(self.folder, name) as file:
                if not file.metadata.num_rows:
                    continue  # its columns may have any type
                for column in _checked(self.folder / name, file.schema_arrow, self._kinds()):
                    found.setdefault(column.name, set()).add(column.type)
        return found

    def _kinds(self) -> dict[str, Kind]:
        """The kinds of the columns whose type matters."""
        own = {self.end: columns.TIME} | dict.fromkeys(self.ids, columns.ID)
        return {**{name: kind for name, kind in own.items() if name}, **_KINDS}

    def blocks(self, columns: Mapping[str, str]) -> Iterator[pl.DataFrame]:
        """Yields all rows of some subjects at a time, in their order.

        The columns are ``REQUIRED``, ``admission`` and ``stay`` (the ids, or null), and ``columns``
        (name to give -> name in the files). Times are in whole seconds; a column that a file
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
            if not file.metadata.num_rows:
                return
            usable = _checked(self.folder / name, file.schema_arrow, self._kinds())
            here = sorted(set(wanted.values()) & {column.name for column in usable})
            done = 0
            for batch in file.iter_batches(BATCH, columns=here):
                done += batch.num_rows
                self.shares[name] = done / file.metadata.num_rows
                if batch.num_rows:
                    yield self._frame(name, batch, wanted)

    def _frame(self, name: str, batch: pa.RecordBatch, wanted: Mapping[str, str]) -> pl.DataFrame:
        arrays, kinds = {}, self._kinds()
        for given, column in wanted.items():
            id_ = given in ("admission", "stay")
            kind = columns.ID if id_ else kinds.get(column, columns.TEXT)
            if column not in batch.schema.names:
                arrays[given] = columns.nothing(kind, batch.num_rows)
                continue
            values, where = batch.column(column), f"column {column} of '{self.folder / name}'"
            arrays[given] = columns.read(kind, values, where, self._remedy(column))
            if column in ("subject_id", "code") and arrays[given].null_count:
                raise Refusal(f"{where} has rows without a value; {_AGAIN}")
        frame = frame_of(pa.table(arrays))
        return frame.with_columns(pl.col(pl.Datetime).dt.truncate("1s").cast(pl.Datetime("ms")))

    def _remedy(self, column: str) -> str:
        options = dict(zip(self.ids, ("admission", "stay"), strict=True))
        if column in options:
            option = f"--tables.meds.{options[column]}-id ''"
            return f"{_NUMBER_THEM}, or give {option} to go by order in time"
        return _NUMBER_THEM if column == "subject_id" else _AGAIN


def subject_splits(folder: Folder) -> pl.DataFrame | None:
    """``subject_id`` and ``split`` (one of ``SPLITS``); None if the dataset brings no splits.

    Refuses splits with other names than the standard's, and a subject with several.
    """
    if not folder.exists(SUBJECT_SPLITS):
        return None
    kinds = {name: _KINDS[name] for name in ("subject_id", "split")}

    def own(batch: pa.RecordBatch) -> pl.DataFrame:
        where = {name: f"column {name} of '{folder / SUBJECT_SPLITS}'" for name in kinds}
        arrays = {
            name: columns.read(kind, batch.column(name), where[name], _NUMBER_THEM)
            for name, kind in kinds.items()
        }
        return frame_of(pa.table(arrays))

    with _reading(folder, SUBJECT_SPLITS) as file:
        _checked(folder / SUBJECT_SPLITS, file.schema_arrow, kinds, tuple(kinds))
        empty = pl.DataFrame(schema={"subject_id": pl.Int64, "split": pl.String})
        frame = pl.concat(
            [empty, *(own(batch) for batch in file.iter_batches(BATCH, columns=list(kinds)))]
        )
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
    except pa.ArrowNotImplementedError:
        raise Refusal(
            f"'{folder / name}' has a type or an encoding that PyArrow {pa.__version__} does not "
            "read; write it with the types of MEDS 0.3.3 or 0.4"
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise Refusal(
            f"'{folder / name}' cannot be read as Parquet ({type(error).__name__}): it is cut "
            f"short or damaged; {_AGAIN}"
        ) from None


def _checked(
    file: Folder,
    schema: pa.Schema,
    kinds: Mapping[str, Kind],
    required: Sequence[str] = REQUIRED,
) -> list[pa.Field]:
    """The columns of a file that can be read: those of ``kinds``, and others that are text.

    Refuses a file that lacks one of ``required``, has a column twice, or a wrong type in a column
    of ``kinds``. Any other column may have any type.
    """
    for column in required:
        if column not in schema.names:
            raise Refusal(
                f"'{file}' has no column {column}, which MEDS 0.3.3 and 0.4 have; "
                "export the dataset with one of these versions"
            )
    usable = []
    for column in schema:
        kind = kinds.get(column.name, columns.TEXT)
        if kind.fits(column.type):
            _refuse_twice(file, schema, column.name)
            _refuse_zone(file, column, kind)
            usable.append(column)
        elif column.name in kinds:
            raise Refusal(
                f"column {column.name} of '{file}' is {column.type} and must be {kind.words}; "
                + _remedy_of_type(column.name)
            )
    return usable


def _remedy_of_type(column: str) -> str:
    again = "export the dataset again as MEDS 0.3.3 or 0.4"
    other = column not in _KINDS
    return f"{again}, or give --tables.meds another column, '' for none" if other else again


def _refuse_twice(file: Folder, schema: pa.Schema, column: str) -> None:
    if schema.names.count(column) > 1:
        raise Refusal(f"'{file}' has several columns {column}; leave one")


def _refuse_zone(file: Folder, column: pa.Field, kind: Kind) -> None:
    zone = columns.zone_of(column.type) if kind is columns.TIME else ""
    if zone:
        raise Refusal(
            f"column {column.name} of '{file}' has times of the zone {zone}, whose clock changes: "
            "hours or days would be wrong; write them without a zone, or in UTC"
        )


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
