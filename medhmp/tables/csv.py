"""Raw CSV tables, streamed block by block: plain or gzip, names and headers in either case.

A refusal names the table, the column and the line, never a patient's value.
"""

import contextlib
import csv
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs

from medhmp.frames import frame_of
from medhmp.refusal import Refusal
from medhmp.storage import Folder

INTEGER: Final = pa.int64()
NUMBER: Final = pa.float64()
TIME: Final = pa.timestamp("s")
TEXT: Final = pa.string()

BLOCK: Final = 16 << 20
"""Bytes of decompressed CSV parsed at a time; a scan holds little more in memory."""

READ: Final = 4 << 20
"""Bytes of a file read at a time; Arrow's default asks a bucket for 64 KiB at a time."""

_PROSE: Final = ("NOTEEVENTS", "DISCHARGE")
"""Tables whose text has line breaks. Arrow parses these more slowly, so no other is listed."""

_WANTED: Final = {
    INTEGER: ("a whole number", r"^\s*[+-]?\d+\s*$"),
    NUMBER: ("a number", r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"),
    TIME: ("a time as YYYY-MM-DD HH:MM:SS", r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?$"),
}


@dataclass(frozen=True)
class RawTables:
    """The CSV files of one folder."""

    folder: Folder
    files: Mapping[str, str]  # TABLE -> file name, below ``folder``
    required: tuple[str, ...]  # tables that must be there and must have rows
    rows: dict[str, int] = field(default_factory=dict)  # TABLE -> its rows, once read to its end
    shares: dict[str, float] = field(default_factory=dict)  # TABLE -> share read so far, 0 to 1

    @staticmethod
    def find(
        folder: Folder, required: tuple[str, ...], optional: Iterable[str] = ()
    ) -> "RawTables":
        """Finds tables in ``folder`` or, for a name such as ``"icu/icustays"``, in a folder of it.

        A table is known by the base name of its file, in upper case. Refuses a folder without CSV
        tables, with a table twice, or without a required table.
        """
        places = sorted({posixpath.dirname(name) for name in (*required, *optional)})
        names = [name for place in places for name in _listed(folder, place, required[0])]
        found = [
            (re.fullmatch(r"(\w+)\.csv(\.gz)?", posixpath.basename(name), re.IGNORECASE), name)
            for name in names
        ]
        files: dict[str, str] = {}
        for match, name in found:
            if match and (other := files.setdefault(match[1].upper(), name)) != name:
                raise Refusal(
                    f"'{folder}' has table {match[1].upper()} twice, {other} and {name}; "
                    "keep the one that is to be read"
                )
        if not files:
            raise Refusal(
                f"there is no CSV table in '{folder}'; "
                f"give the folder that holds {required[0]}.csv.gz"
            )
        for name in required:
            if table_of(name) not in files:
                raise Refusal(
                    f"'{folder}' has no table {table_of(name)}; "
                    f"put {name}.csv or {name}.csv.gz there"
                )
        return RawTables(folder, files, tuple(map(table_of, required)))

    def sizes(self) -> dict[str, int | None]:
        """Bytes of each table's file."""
        return {table: self.folder.size(file) for table, file in self.files.items()}

    def has(self, table: str) -> bool:
        return table in self.files

    def whole(self, table: str, columns: Mapping[str, pa.DataType]) -> pl.DataFrame:
        """Reads a small table into memory."""
        return pl.concat(self.scan(table, columns))

    def scan(self, table: str, columns: Mapping[str, pa.DataType]) -> Iterator[pl.DataFrame]:
        """Yields the table's columns (lower-case names, in the order asked) block by block.

        Only an empty field is null. Yields at least one frame, which may be empty; refuses a
        required table without rows.
        """
        names = self._header(table, columns)
        rows = 0
        try:
            for batch in self._open(table, {names[c]: kind for c, kind in columns.items()}):
                rows += batch.num_rows
                block = frame_of(batch.rename_columns(list(columns)))
                yield block
        except (pa.ArrowInvalid, OSError) as error:
            raise self._refusal(table, columns, names, error) from None
        if not rows and table in self.required:
            raise Refusal(f"table {table} in '{self.folder}' has no rows; copy or export it again")
        if not rows:
            yield _empty(columns)
        self.rows[table] = rows

    def _header(self, table: str, columns: Mapping[str, pa.DataType]) -> dict[str, str]:
        """Lower-case column -> its name in the file. Refuses a missing column, an empty file."""
        try:
            _, text = self._stream(table)
            with text:
                line = _first_line(text)
        except OSError as error:
            raise self._refusal(table, columns, {}, error) from None
        try:
            header = next(csv.reader([line]), [])
        except csv.Error as error:
            raise self._refusal(table, columns, {}, error) from None
        names = {name.strip().lower(): name for name in header}
        if not names:
            raise Refusal(
                f"table {table} in '{self.folder}' is empty; it needs at least a header line"
            )
        lower = [name.strip().lower() for name in header]
        twice = [column.upper() for column in columns if lower.count(column) > 1]
        if twice:
            raise Refusal(
                f"table {table} in '{self.folder}' has the column {twice[0]} twice; "
                "export the table again"
            )
        missing = [column.upper() for column in columns if column not in names]
        if missing:
            raise Refusal(
                f"table {table} in '{self.folder}' has no column {missing[0]}; "
                "export the table again with all its columns"
            )
        return names

    def _stream(self, table: str) -> tuple[Any, Any]:
        """The file as stored, and its decompressed text."""
        fs, path = self.folder.resolve(self.files[table])
        file = fs.open_input_file(path)  # Arrow's other streams do not tell where they are
        text = pa.BufferedInputStream(file, READ)
        gz = path.lower().endswith(".gz")
        return file, pa.CompressedInputStream(text, "gzip") if gz else text

    def _open(self, table: str, columns: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        file, text = self._stream(table)
        size = self.folder.size(self.files[table]) or 1
        reader = pacsv.open_csv(
            text,
            read_options=pacsv.ReadOptions(block_size=BLOCK),
            parse_options=pacsv.ParseOptions(newlines_in_values=table in _PROSE),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict(columns),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        with reader:
            for batch in reader:
                self.shares[table] = _share_read(file, size)
                yield batch

    def _refusal(
        self,
        table: str,
        columns: Mapping[str, pa.DataType],
        names: Mapping[str, str],
        error: Exception,
    ) -> Refusal:
        """Translates an Arrow error for the user. Arrow's own text quotes data, so it is hidden."""
        text, file = str(error), f"'{self.folder / self.files[table]}'"
        if isinstance(error, FileNotFoundError):
            return Refusal(f"{file} has gone; check the folder")
        if "ompressed stream" in text or "zlib" in text:
            return Refusal(f"{file} is cut short or not gzip; copy or download it again")
        column = re.search(r"In CSV column #(\d+)", text)
        if column:
            name = list(names)[int(column[1])]  # Arrow counts the columns of the file
            return self._bad_value(table, name, names[name], columns[name])
        if "straddling" in text:
            return Refusal(
                f"{file} has a row of more than {BLOCK >> 20} MiB; mend that row, or export the "
                "table again"
            )
        if "CSV" in text or isinstance(error, csv.Error):
            return Refusal(f"{file} is not a well-formed CSV table; copy or export it again")
        return Refusal(f"{file} cannot be read ({type(error).__name__}); check access to it")

    def _bad_value(self, table: str, column: str, name: str, kind: pa.DataType) -> Refusal:
        """Reads the column once more, as text, to find the line that was refused."""
        wanted, pattern = _WANTED.get(kind, ("UTF-8 text", ""))
        line = self._first_mismatch(table, name, pattern) if pattern else None
        where = "" if line is None else f" at line {line}"
        return Refusal(
            f"table {table} in '{self.folder}' has something else than {wanted} in column "
            f"{column.upper()}{where}; mend that line or export the table again"
        )

    def _first_mismatch(self, table: str, name: str, pattern: str) -> int | None:
        done = 2  # the header is line 1
        with contextlib.suppress(pa.ArrowInvalid, OSError):  # the file may have a second defect
            for batch in self._open(table, {name: pa.string()}):
                good = pc.fill_null(pc.match_substring_regex(batch.column(0), pattern), True)
                at = int(pc.index(good, False).as_py())
                if at >= 0:
                    return done + at
                done += batch.num_rows
        return None


def table_of(name: str) -> str:
    """The table that a file holds: ICUSTAYS for ``"icu/icustays"``."""
    return posixpath.basename(name).upper()


def _listed(folder: Folder, place: str, first: str) -> list[str]:
    """Names, relative to ``folder``, of the files in ``place``. Refusals suggest ``first``."""
    fs, path = folder.resolve(place)
    try:
        infos = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    except OSError as error:
        raise Refusal(
            f"'{folder}' cannot be listed ({type(error).__name__}); "
            f"give the folder that holds {first}.csv.gz, and check access to it"
        ) from None
    names = sorted(posixpath.basename(i.path) for i in infos if i.type == pafs.FileType.File)
    return [posixpath.join(place, name) for name in names]


def _share_read(file: Any, size: int) -> float:
    """Share of a file of ``size`` bytes that has been read, 0 to 1."""
    try:
        return float(file.tell()) / size
    except (OSError, ValueError):  # Arrow closes a file that it has read to the end
        return 1.0


def _first_line(stream: Any) -> str:
    """The first line of a stream that Arrow has opened."""
    data = b""
    while b"\n" not in data and (more := stream.read(1 << 12)):
        data += more
    return data.split(b"\n")[0].decode("utf-8-sig", "replace").strip()


def _empty(columns: Mapping[str, pa.DataType]) -> pl.DataFrame:
    frame = frame_of(pa.schema(dict(columns)).empty_table())
    return frame
