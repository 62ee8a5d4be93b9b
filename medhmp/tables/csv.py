"""The raw tables of a folder, CSV or Parquet, streamed block by block.

A refusal names the table, the column and the line, never a patient's value.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from medhmp.frames import frame_of
from medhmp.refusal import Refusal
from medhmp.storage import Folder
from medhmp.tables.csv_file import CsvFile
from medhmp.tables.kinds import INTEGER, NUMBER, TEXT, TIME
from medhmp.tables.parquet_file import ParquetFile
from medhmp.tables.parts import files_of, table_of

__all__ = ["INTEGER", "NUMBER", "TEXT", "TIME", "RawTables", "table_of"]

Part = CsvFile | ParquetFile
"""A file of a table."""


@dataclass(frozen=True)
class RawTables:
    """The tables of one folder."""

    folder: Folder
    files: Mapping[str, tuple[str, ...]]  # TABLE -> names of its files, below ``folder``
    required: tuple[str, ...]  # tables that must be there and must have rows
    # TABLE -> its rows, once read to its end; with texts that were read as null, and their column
    rows: dict[str, int] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)  # TABLE -> share read so far, 0 to 1

    @staticmethod
    def find(
        folder: Folder,
        required: tuple[str, ...],
        optional: Iterable[str] = (),
        waivable: Iterable[str] = (),
    ) -> "RawTables":
        """Finds tables in ``folder`` or, for a name such as ``"icu/icustays"``, in a folder of it.

        ``parts.py`` tells which files hold a table. Refuses a folder without any table, with a
        table twice, or without some of the required ones: it names all of these, and says which of
        them are ``waivable``, so that ``tables.optional`` may name them.
        """
        names = (*required, *optional)
        files = files_of(folder, names, names[0])
        lacking = [name for name in required if table_of(name) not in files]
        if lacking:
            tables = ", ".join(map(table_of, lacking))
            spared = " ".join(table_of(name) for name in waivable if name in lacking)
            remedy = f"; of these features alone need {spared}: --tables.optional {spared}"
            missing = ", ".join(f"{name}.csv or {name}.csv.gz" for name in lacking)
            raise Refusal(
                f"'{folder}' has no table {tables}; put {missing} (or .parquet) there"
                f"{remedy + ' goes without' if spared else ''}"
            )
        return RawTables(folder, files, tuple(map(table_of, required)))

    def sizes(self) -> dict[str, int | None]:
        """Bytes of each file."""
        return {name: self.folder.size(name) for names in self.files.values() for name in names}

    def has(self, table: str) -> bool:
        return table in self.files

    def columns(self, table: str) -> list[str]:
        """The names of a table's columns, in lower case: which of those it may lack are there."""
        return _opened(self.folder, self.files[table][0], table).columns

    def place(self, table: str, row: int) -> str:
        """Where row ``row`` of a table is, from 0, for a refusal: `` at line 7``."""
        for name in self.files[table]:
            where, row = _opened(self.folder, name, table).place(row)
            if where:
                return where
        return ""

    def whole(self, table: str, columns: Mapping[str, pa.DataType]) -> pl.DataFrame:
        """Reads a small table into memory."""
        return pl.concat(self.scan(table, columns))

    def scan(self, table: str, columns: Mapping[str, pa.DataType]) -> Iterator[pl.DataFrame]:
        """Yields the table's columns (lower-case names, in the order asked) block by block.

        ``kinds.py`` tells which values are null. Yields at least one frame, which may be empty;
        refuses a required table without rows, and files of one table with other columns.
        """
        parts = [_opened(self.folder, name, table) for name in self.files[table]]
        for part in parts:
            self._check(part, columns, parts)
        rows = 0
        for batch in self._batches(parts, columns):
            rows += batch.num_rows
            yield frame_of(batch)
        if not rows and table in self.required:
            raise Refusal(f"table {table} in '{self.folder}' has no rows; copy or export it again")
        if not rows:
            yield frame_of(pa.schema(dict(columns)).empty_table())
        self.rows[table] = rows
        for column in columns:
            if spelled := sum(part.spelled.get(column, 0) for part in parts):
                self.rows[f"{table}, NULL as text in {column.upper()}, read as empty"] = spelled

    def _batches(
        self, parts: list[Part], columns: Mapping[str, pa.DataType]
    ) -> Iterator[pa.RecordBatch]:
        """The rows of all parts; keeps the share of their bytes that has been read."""
        sizes = [self.folder.size(part.name) or 1 for part in parts]
        before = 0
        for part, size in zip(parts, sizes, strict=True):
            for batch in part.blocks(columns):
                self.shares[part.table] = (before + part.share * size) / sum(sizes)
                yield batch
            before += size

    def _check(self, part: Part, columns: Iterable[str], parts: list[Part]) -> None:
        """Refuses a part that lacks a column, has it twice, or has other columns than the first."""
        where = f"table {part.table} in '{self.folder}'"
        of = f" in {part.name}" if len(parts) > 1 else ""
        if twice := _named(column for column in columns if part.columns.count(column) > 1):
            raise Refusal(f"{where} has the column {twice} twice{of}; export the table again")
        if missing := _named(column for column in columns if column not in part.columns):
            raise Refusal(
                f"{where} has no column {missing}{of}; export the table again with all its columns"
            )
        if set(part.columns) != set(parts[0].columns):
            raise Refusal(
                f"{where} has other columns in {part.name} than in {parts[0].name}; "
                "put the parts of one export there"
            )


def _opened(folder: Folder, name: str, table: str) -> Part:
    kind = ParquetFile if name.lower().endswith(".parquet") else CsvFile
    return kind(folder, name, table)


def _named(columns: Iterable[str]) -> str:
    return ", ".join(column.upper() for column in columns)
