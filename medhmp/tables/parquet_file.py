"""One Parquet file of a raw table, streamed batch by batch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from medhmp.refusal import Refusal
from medhmp.storage import Folder
from medhmp.tables.kinds import TEXT, WORDS, as_kind, first_misfit, fits, nulled

ROWS: Final = 1 << 18
"""Rows read at a time."""

BUFFER: Final = 1 << 20
"""Bytes of a column read at a time, so that no row group is whole in memory."""


@dataclass
class ParquetFile:
    """A file whose columns go by their names."""

    folder: Folder
    name: str  # of the file, below ``folder``
    table: str
    share: float = 0.0  # read so far, 0 to 1
    spelled: dict[str, int] = field(default_factory=dict)  # column of text -> nulls spelled out

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns, in lower case, in their order."""
        return [name.strip().lower() for name in self._schema.names]

    @cached_property
    def _schema(self) -> pa.Schema:
        with self._reading() as file:
            return file.schema_arrow

    def blocks(self, columns: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """Yields all rows, with the given columns alone. Refuses what is not of its type."""
        places = {name: self.columns.index(name) for name in columns}
        for name, kind in columns.items():
            given = self._schema.field(places[name]).type
            if not fits(pa.nulls(0, given), kind):
                raise Refusal(
                    f"table {self.table} in '{self.folder}' has the column {name.upper()} as "
                    f"{_type_in_words(given)}, which is not read as {WORDS[kind]}; write the "
                    "column in such a type"
                )
        named = [self._schema.names[place] for place in places.values()]
        done = 0
        with self._reading() as file:
            rows = file.metadata.num_rows
            for batch in file.iter_batches(ROWS, columns=named):
                yield self._interpreted(batch, dict(zip(named, columns.items(), strict=True)), done)
                done += batch.num_rows
                self.share = done / rows

    def _interpreted(
        self, batch: pa.RecordBatch, of: Mapping[str, tuple[str, pa.DataType]], first: int
    ) -> pa.RecordBatch:
        """The batch in the types asked; ``of``: column of the file -> name to give, type."""
        arrays = {}
        for column, (name, kind) in of.items():
            values = batch.column(column)
            try:
                array = as_kind(values, kind)
            except pa.ArrowInvalid:
                where, _ = self.place(first + first_misfit(values, kind))
                raise Refusal(
                    f"table {self.table} in '{self.folder}' has something else than {WORDS[kind]} "
                    f"in column {name.upper()}{where}; mend that row or "
                    "export the table again"
                ) from None
            if kind == TEXT:
                array, spelled = nulled(array)
                self.spelled[name] = self.spelled.get(name, 0) + spelled
            arrays[name] = array
        return pa.record_batch(arrays)

    def place(self, row: int) -> tuple[str, int]:
        """Where row ``row`` of the file is, in words, and 0; where it has too few, none and how
        many rows are still to go."""
        with self._reading() as file:
            rows = file.metadata.num_rows
        return (f" at row {row + 1} of {self.name}", 0) if row < rows else ("", row - rows)

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        where = f"'{self.folder / self.name}'"
        try:
            with self.folder.open(self.name) as stream:
                yield pq.ParquetFile(stream, buffer_size=BUFFER, pre_buffer=False)
        except FileNotFoundError:
            raise Refusal(f"{where} has gone; check the folder") from None
        except (pa.ArrowException, OSError) as error:
            raise Refusal(
                f"{where} cannot be read as Parquet ({type(error).__name__}): it is cut short or "
                "damaged; copy or export it again"
            ) from None


def _type_in_words(kind: pa.DataType) -> str:
    """A type without the names of a struct's fields, which anybody may have chosen."""
    return "a nested type" if pa.types.is_nested(kind) else str(kind)
