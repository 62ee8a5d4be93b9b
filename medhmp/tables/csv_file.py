"""One CSV file of a raw table, plain or gzip, streamed block by block.

Arrow parses it, with line breaks inside quotes wherever they are. What Arrow reads wrongly is kept
from it: a block that ends between the two characters of a line break (it drops the second, even
inside quotes), and a quote that the file never closes (it takes the rest of the file for one text).
"""

import csv
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pacsv

from medhmp.refusal import Refusal
from medhmp.storage import Folder
from medhmp.tables.kinds import NULLS, TEXT, WORDS, as_kind, first_misfit, nulled

BLOCK: Final = 16 << 20
"""Bytes of decompressed CSV parsed at a time; a scan holds little more in memory."""

READ: Final = 4 << 20
"""Bytes of a file read at a time; Arrow's default asks a bucket for 64 KiB at a time."""

HEADER: Final = 1 << 16
"""Longest header in bytes."""

_BOM: Final = b"\xef\xbb\xbf"
_BOM_LATIN: Final = _BOM.decode("latin-1") + " "


@dataclass
class CsvFile:
    """A file whose first line names its columns."""

    folder: Folder
    name: str  # of the file, below ``folder``
    table: str
    share: float = 0.0  # read so far, 0 to 1
    spelled: dict[str, int] = field(default_factory=dict)  # column of text -> nulls spelled out

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns, in lower case, in their order. Refuses an empty file."""
        try:
            _, stream = self._opened()
            with stream:
                header = _header(stream)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._unreadable(error) from None
        if len(header) >= HEADER:
            raise self._malformed(f": its first line has more than {HEADER >> 10} KiB")
        if b"\0" in header:
            raise self._malformed(": its first line is not UTF-8 text")
        text = header.decode("utf-8-sig", "replace")
        try:
            names = next(csv.reader([text.strip("\ufeff")]), [])
        except csv.Error:
            raise self._malformed("") from None
        if not any(name.strip() for name in names):
            raise Refusal(
                f"table {self.table} in '{self.folder}' is empty; it needs at least a header line"
            )
        return [name.strip().lower() for name in names]

    def blocks(self, columns: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """Yields all rows, with the given columns alone. Refuses what is not CSV or of its type.

        Values that Arrow does not take for their type are read as text and interpreted here, which
        is slower, from the first row of the file on; no row is given twice.
        """
        done = 0
        for plain in (True, False):
            try:
                for batch in self._after(done, columns, plain):
                    done += batch.num_rows
                    yield batch
                return
            except (pa.ArrowInvalid, OSError) as error:
                if not plain or "conversion error" not in str(error):
                    raise self._unreadable(error) from None

    def _after(
        self, done: int, columns: Mapping[str, pa.DataType], plain: bool
    ) -> Iterator[pa.RecordBatch]:
        """The rows behind the first ``done``."""
        kinds = dict(columns) if plain else dict.fromkeys(columns, pa.binary())
        at = 0
        for batch in self._parsed(kinds):
            first, at = at, at + batch.num_rows
            if at <= done:
                continue
            rows = batch.slice(max(0, done - first))
            yield self._interpreted(rows, columns, max(done, first))

    def _interpreted(
        self, batch: pa.RecordBatch, columns: Mapping[str, pa.DataType], first: int
    ) -> pa.RecordBatch:
        """The batch, whose first row is row ``first`` of the file, in the types of ``columns``."""
        arrays = []
        for (name, kind), values in zip(columns.items(), batch.columns, strict=True):
            try:
                values = as_kind(values, kind) if values.type != kind else values
            except pa.ArrowInvalid:
                raise self._misfit(name, kind, values, first) from None
            if kind == TEXT:
                values, spelled = nulled(values)
                self.spelled[name] = self.spelled.get(name, 0) + spelled
            arrays.append(values)
        return pa.record_batch(arrays, names=list(columns))

    def _parsed(self, kinds: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """Rows as Arrow parses them. Columns go by their place, as names may be there twice."""
        file, stream = self._opened()
        size = self.folder.size(self.name) or 1
        _header(stream)
        width = len(self.columns)
        own = {str(self.columns.index(name)): kind for name, kind in kinds.items()}
        text: Any = _Text(stream, b"\n" + (b"," * (width - 1) or b'""') + b"\n")
        reader = pacsv.open_csv(
            pa.PythonFile(text, "r"),
            read_options=pacsv.ReadOptions(
                block_size=BLOCK, column_names=[str(place) for place in range(width)]
            ),
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(own),
                column_types=own,
                null_values=list(NULLS),
                strings_can_be_null=False,
            ),
        )
        held: pa.RecordBatch | None = None
        with reader:
            for batch in reader:
                self.share = _share_read(file, size)
                if held is not None:
                    yield held
                held = batch
        if held is None or not _is_end(held):
            raise self._malformed(": a quote in it is not closed")
        yield held.slice(0, held.num_rows - 1)

    def _opened(self) -> tuple[Any, Any]:
        """The file as stored, and its decompressed text."""
        file = self.folder.open(self.name)  # Arrow's other streams do not tell where they are
        text = pa.BufferedInputStream(file, READ)
        gz = self.name.lower().endswith(".gz")
        return file, pa.CompressedInputStream(text, "gzip") if gz else text

    @property
    def _where(self) -> str:
        return f"'{self.folder / self.name}'"

    def _malformed(self, why: str) -> Refusal:
        return Refusal(
            f"{self._where} is not a well-formed CSV table{why}; copy or export it again"
        )

    def _unreadable(self, error: Exception) -> Refusal:
        """Translates an Arrow error for the user. Arrow's own text quotes data, so it is hidden."""
        text = str(error)
        if isinstance(error, FileNotFoundError):
            return Refusal(f"{self._where} has gone; check the folder")
        if "ompressed stream" in text or "zlib" in text:
            return Refusal(f"{self._where} is cut short or not gzip; copy or download it again")
        if "straddling" in text:
            return Refusal(
                f"{self._where} has a row of more than {BLOCK >> 20} MiB; mend that row, or export "
                "the table again"
            )
        if fields := re.search(r"Expected (\d+) columns, got (\d+)", text):
            return self._malformed(self._uneven(int(fields[1])))
        if "CSV" in text:
            return self._malformed("")
        return Refusal(f"{self._where} cannot be read ({type(error).__name__}); check access to it")

    def _uneven(self, width: int) -> str:
        """The first row that has not as many fields as the header, in words."""
        for line, row in self._rows():
            if len(row) != width:
                return f": line {line} has {len(row)} fields where its header has {width}"
        return ""

    def _misfit(self, column: str, kind: pa.DataType, values: pa.Array, first: int) -> Refusal:
        """Tells the first value that is nothing of its type, by its line."""
        place = first_misfit(values, kind)
        where, _ = self.place(first + place)
        found, wanted = values[place].as_py(), WORDS[kind]
        text = found.decode("utf-8", "replace").strip().strip("\ufeff").strip()
        if text.lower() == column:
            fault = f"its header again{where}; remove that line"
        elif found.startswith(_BOM):
            fault = f"a byte-order mark{where}; remove it"
        else:
            fault = (
                f"something else than {wanted} in column {column.upper()}{where}; mend that line "
                "or export the table again"
            )
        return Refusal(f"table {self.table} in '{self.folder}' has {fault}")

    def place(self, row: int) -> tuple[str, int]:
        """Where row ``row`` of the file is, in words, and 0; where it has too few, none and how
        many rows are still to go."""
        for line, _ in self._rows():
            if not row:
                alone = posixpath.basename(self.name).upper().startswith(f"{self.table}.")
                return f" at line {line}" + ("" if alone else f" of {self.name}"), 0
            row -= 1
        return "", row

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Where each row below the header begins, as a line, and its fields; slow, for refusals."""
        _, stream = self._opened()
        old = csv.field_size_limit(2 * BLOCK)  # no longer row passes Arrow
        try:
            with stream:
                rows, line, is_header = csv.reader(_lines(stream)), 0, True
                for row in rows:
                    begins, line = line + 1, rows.line_num
                    if row and not is_header:  # Arrow, too, takes an empty line for none
                        yield begins, row
                    is_header = is_header and not any(field.strip(_BOM_LATIN) for field in row)
        except (csv.Error, pa.ArrowInvalid, OSError):  # the file may have a second defect
            return
        finally:
            csv.field_size_limit(old)


def _lines(stream: Any) -> Iterator[str]:
    """The lines of a stream with their ends, each byte a character, in time linear in its bytes.

    Of a line as long as no row may be, the rest is left unread. (``io.TextIOWrapper`` copies a long
    line anew for every block of it.)
    """
    held: list[bytes] = []
    size = 0
    while data := stream.read(READ):
        if data.endswith(b"\r"):  # whose line feed may be the next byte
            data += stream.read(1)
        for line in data.splitlines(keepends=True):
            held.append(line)
            size += len(line)
            if line.endswith((b"\r", b"\n")) or size > 2 * BLOCK:
                yield b"".join(held).decode("latin-1")
                held, size = [], 0
    if held:
        yield b"".join(held).decode("latin-1")


class _Text:
    """A stream of CSV as Arrow reads it rightly, with a row of empty fields behind its end."""

    closed = False

    def __init__(self, stream: Any, end: bytes) -> None:
        self._stream, self._end = stream, end

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, which do not end in a carriage return; none at the end.

        As many as there are: a short read is a block of its own to Arrow, and a row may lie in two
        blocks, not in three.
        """
        wanted = size - max(len(self._end), min(64, size // 4))
        data = self._stream.read(wanted)
        while len(data) < wanted and (more := self._stream.read(wanted - len(data))):
            data += more
        while data.endswith(b"\r") and len(data) < size and (more := self._stream.read(1)):
            data += more
        if len(data) < wanted:
            data, self._end = data + self._end, b""
        return bytes(data)

    def close(self) -> None:
        self._stream.close()
        self.closed = True


def _header(stream: Any) -> bytes:
    """Reads the first line that is not empty, without its end; quotes may hold line breaks."""
    line, quotes = bytearray(), 0
    while len(line) < HEADER and (byte := stream.read(1)):
        quotes += byte == b'"'
        if byte not in b"\r\n" or quotes % 2:
            line += byte
        elif line.strip(_BOM).strip():
            break
        else:
            line.clear()
    return bytes(line)


def _is_end(batch: pa.RecordBatch) -> bool:
    """True if the last row has empty fields alone: the row behind the end of the file."""
    last = batch.slice(batch.num_rows - 1)
    return all(values[0].as_py() in (None, "", b"") for values in last.columns)


def _share_read(file: Any, size: int) -> float:
    """Share of a file of ``size`` bytes that has been read, 0 to 1."""
    try:
        return float(file.tell()) / size
    except (OSError, ValueError):  # Arrow closes a file that it has read to the end
        return 1.0
