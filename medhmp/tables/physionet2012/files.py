"""The files of the PhysioNet/CinC Challenge 2012: sets of records, and their outcome tables.

A set is an archive (set-a.tar.gz, set-a.zip, set-a.tar) or the folder set-a/ that it unpacks to,
with one text file per ICU stay. Archives are never extracted, so a member's path opens no file. A
refusal names a record by its place in the set, never by its RecordID.
"""

import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
import pyarrow as pa

from medhmp.refusal import Refusal
from medhmp.storage import Folder
from medhmp.tables.csv import INTEGER, NUMBER, RawTables
from medhmp.tables.csv_file import READ

HEADER: Final = "Time,Parameter,Value"
RECORDS: Final = 500
"""Records parsed at a time, some 4 MB of text."""
TOGETHER: Final = 1 << 23
"""Characters of records parsed at a time: a line takes many times its own bytes."""
LARGEST: Final = 1 << 18
"""Largest accepted size of a record in bytes; published ones have up to 24 kB."""
BETWEEN: Final = 1 << 20
"""Bytes of a tar archive read from one member's end to the next one's: its headers and padding,
which tarfile would read whole whatever their size, and what follows the last member."""
END_OF_ARCHIVE: Final = bytes(512)
"""End of every whole tar archive. tarfile does not notice where it is cut off."""

OUTCOMES: Final = ("saps-i", "sofa", "length_of_stay", "survival")
"""Outcomes that are no label; -1 is unknown."""

TOO_LARGE: Final = f"a file of more than {LARGEST:,} bytes"

_AGAIN: Final = "download the set again"


@dataclass(frozen=True)
class Set:
    """One set of records with its table of outcomes."""

    folder: Folder
    name: str  # SET-A
    records: str  # name of the archive, or of the folder that it unpacks to
    outcomes_file: str  # name of the file with the table OUTCOMES-A

    @property
    def table(self) -> str:
        """The name of the table of outcomes among the raw tables."""
        return self.name.replace("SET", "OUTCOMES")

    @property
    def is_archive(self) -> bool:
        return "." in self.records

    def sizes(self) -> dict[str, int | None]:
        """Size in bytes of each file of the set, by name."""
        files = [self.records] if self.is_archive else self._unpacked()
        return {name: self.folder.size(name) for name in (*files, self.outcomes_file)}

    def deaths(self, counts: dict[str, int]) -> pl.DataFrame:
        """``stay_id`` and ``expired`` of each record; reads no other outcome."""
        raw = RawTables(self.folder, {self.table: (self.outcomes_file,)}, (self.table,))
        frame = raw.whole(self.table, {"recordid": INTEGER, "in-hospital_death": INTEGER})
        counts |= raw.rows
        death = pl.col("in-hospital_death")
        bad = frame.select((~death.is_in([0, 1])).fill_null(True).arg_true()).to_series()
        if len(bad):
            raise Refusal(
                f"table {self.table} in '{self.folder}' has something else than 0 or 1 in column "
                f"IN-HOSPITAL_DEATH{raw.place(self.table, bad[0])}; download it again"
            )
        return frame.select(stay_id="recordid", expired=death == 1)

    def outcomes(self) -> pl.DataFrame:
        """``stay_id``, and the outcomes that are no label (``OUTCOMES``), null where unknown."""
        raw = RawTables(self.folder, {self.table: (self.outcomes_file,)}, (self.table,))
        frame = raw.whole(self.table, {"recordid": INTEGER, **dict.fromkeys(OUTCOMES, NUMBER)})
        known = (pl.when(pl.col(name) >= 0).then(name).alias(name) for name in OUTCOMES)
        return frame.select("recordid", *known).rename({"recordid": "stay_id"})

    def blocks(self) -> Iterator[pl.DataFrame]:
        """Yields ``record``, ``stay_id``, ``hours``, ``parameter`` and ``number`` of all lines.

        ``record`` is a record's place in the set, from 1; ``number`` is null where the value is
        empty. Refuses a set without records, a record without a RecordID, and lines that are not a
        time, a parameter and a number.
        """
        texts = self._of_archive() if self.is_archive else self._of_folder()
        first = 1
        for block in _together(texts):
            yield self._parsed(block, first)
            first += len(block)
        if first == 1:
            raise Refusal(f"{self._where} has no record (<RecordID>.txt); {_AGAIN}")

    @property
    def _where(self) -> str:
        return f"'{self.folder / self.records}'"

    def _unpacked(self) -> list[str]:
        names = (self.folder / self.records).names()
        return [f"{self.records}/{name}" for name in names if re.fullmatch(r"\d+\.txt", name)]

    def _of_folder(self) -> Iterator[str]:
        for name in self._unpacked():
            with self.folder.open(name) as stream:
                if stream.size() > LARGEST:
                    raise self._not_as_published(TOO_LARGE)
                yield _text(stream)

    def _of_archive(self) -> Iterator[str]:
        """Yields the text of every record. Reads to the last byte, so that any damage is found."""
        try:
            yield from self._of_zip() if self._is_zip else self._of_tar()
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, pa.ArrowInvalid, EOFError):
            raise self._damaged() from None
        except (NotImplementedError, RuntimeError):  # of zipfile: another compression, a password
            raise Refusal(
                f"{self._where} is compressed or encrypted in a way that no published set is; "
                f"{_AGAIN}"
            ) from None
        except OSError as error:
            if "ompressed stream" in str(error) or "zlib" in str(error):
                raise self._damaged() from None
            raise Refusal(
                f"{self._where} cannot be read ({type(error).__name__}); check access to it"
            ) from None

    def _of_tar(self) -> Iterator[str]:
        with self._stream() as stream:
            tape: Any = _Tape(stream)  # tarfile calls only read
            with tarfile.open(fileobj=tape, mode="r|") as archive:
                for member in archive:
                    tape.allow(member.size + BETWEEN)
                    links = not (member.isreg() or member.isdir())
                    if self._is_record(member.name, member.size, member.isdir(), links):
                        yield _text(archive.extractfile(member))
            if not tape.ended():
                raise EOFError

    def _of_zip(self) -> Iterator[str]:
        """A zip ends with the list of its members, and each has a checksum: both are checked."""
        with (
            self.folder.open(self.records) as stream,
            zipfile.ZipFile(io.BufferedReader(stream, READ)) as archive,
        ):
            for member in archive.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where made by another system
                links = kind not in (0, stat.S_IFREG, stat.S_IFDIR)
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise NotImplementedError
                if self._is_record(member.filename, member.file_size, member.is_dir(), links):
                    with archive.open(member) as record:
                        yield _text(record)

    @property
    def _is_zip(self) -> bool:
        return self.records.lower().endswith(".zip")

    def _stream(self) -> Any:
        stream = pa.BufferedInputStream(self.folder.open(self.records), READ)
        zipped = self.records.lower().endswith("gz")
        return pa.CompressedInputStream(stream, "gzip") if zipped else stream

    def _damaged(self) -> Refusal:
        kind = "zip" if self._is_zip else "tar"
        return Refusal(f"{self._where} is cut short or not a {kind} archive; {_AGAIN}")

    def _is_record(self, name: str, size: int, is_folder: bool, links: bool) -> bool:
        """True for the member of an archive that is a record.

        ``links`` is true for what is neither a file nor a folder. Refuses members that no published
        set has.
        """
        if name.startswith("/") or ".." in name.split("/"):
            fault = "a path that leads out of it"
        elif links:
            fault = "a link or a device"
        elif size > LARGEST:
            fault = TOO_LARGE
        else:
            return not is_folder and bool(re.fullmatch(r"(.*/)?\d+\.txt", name))
        raise self._not_as_published(fault)

    def _not_as_published(self, fault: str) -> Refusal:
        return Refusal(
            f"{self._where} has a member with {fault}, so it is not as published; {_AGAIN}"
        )

    def _parsed(self, texts: list[str], first: int) -> pl.DataFrame:
        record = pl.Series("record", range(first, first + len(texts)), pl.Int64)
        lines = (
            pl.DataFrame({"record": record, "text": texts})
            .with_columns(pl.col("text").str.split("\n"))
            .explode("text")
            .with_columns(
                pl.col("text").str.strip_chars_end("\r"),
                line=pl.int_range(1, pl.len() + 1).over("record"),
            )
        )
        self._refuse(lines.filter((pl.col("line") == 1) & (pl.col("text") != HEADER)), HEADER)
        rows = lines.filter((pl.col("line") > 1) & (pl.col("text") != ""))
        return self._with_ids(self._fields(rows))

    def _fields(self, lines: pl.DataFrame) -> pl.DataFrame:
        """``hours``, ``parameter``, ``value`` and ``number`` of each line."""
        field = pl.col("text").str.split(",").list
        rows = lines.with_columns(
            fields=field.len(),
            time=field.get(0, null_on_oob=True).str.extract_groups(r"^(\d{1,3}):([0-5]\d)$"),
            parameter=field.get(1, null_on_oob=True),
            value=field.get(2, null_on_oob=True),
        )
        self._refuse(rows.filter(pl.col("fields") != 3), "a time, a parameter and a value")
        hour, minute = (pl.col("time").struct.field(n).cast(pl.Float64) for n in ("1", "2"))
        number = pl.col("value").cast(pl.Float64, strict=False)
        rows = rows.with_columns(hours=hour + minute / 60, number=number)
        self._refuse(rows.filter(pl.col("hours").is_null()), "a time as HH:MM")
        known = (pl.col("value") == "") | pl.col("number").is_finite().fill_null(False)
        self._refuse(rows.filter(~known), "a number as its value")
        return rows

    def _with_ids(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Names each row by its record's RecordID."""
        ids = rows.filter(pl.col("parameter") == "RecordID")
        whole = (pl.col("number") > 0) & (pl.col("number") == pl.col("number").floor())
        self._refuse(ids.filter(~whole.fill_null(False)), "a whole number as its RecordID")
        stay = pl.col("number").cast(pl.Int64).alias("stay_id")
        ids = ids.unique("record", keep="first").select("record", stay)
        named = rows.join(ids, on="record", how="left", maintain_order="left")
        self._refuse(named.filter(pl.col("stay_id").is_null()), "a record with its RecordID")
        return named.select("record", "stay_id", "hours", "parameter", "number")

    def _refuse(self, bad: pl.DataFrame, wanted: str) -> None:
        """Refuses the first bad line, naming its place alone: its text may identify a patient."""
        if bad.height:
            record, line = bad.select("record", "line").row(0)
            raise Refusal(
                f"record {record} of {self._where} has something else than {wanted} at line "
                f"{line}; {_AGAIN}"
            )


class _Tape:
    """A stream that remembers its last bytes, and gives only as many as were allowed."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._last, self._left = stream, b"", BETWEEN

    def allow(self, size: int) -> None:
        """Lets ``size`` more bytes be read."""
        self._left = size

    def read(self, size: int) -> bytes:
        data = bytes(self._stream.read(size))
        self._left -= len(data)
        if self._left < 0:
            raise tarfile.ReadError("more than a member's headers and padding")
        self._last = (self._last + data)[-len(END_OF_ARCHIVE) :]
        return data

    def ended(self) -> bool:
        """Reads to the end; true if the stream ends as a whole archive does."""
        while self.read(1 << 16):
            pass
        return self._last == END_OF_ARCHIVE


def find(folder: Folder) -> tuple[Set, ...]:
    """The sets directly in ``folder``. An archive is preferred to the folder it unpacked to, and a
    tar archive to the zip archive that is published beside it.

    Refuses a folder without a set, and a set without its outcomes.
    """
    names = _listed(folder)
    outcomes = _by_letter(names, r"outcomes-([abc])\.txt(\.gz)?")
    found = []
    for letter, records in _by_letter(names, r"set-([abc])(\.zip|\.tar|\.tar\.gz|\.tgz)?").items():
        if letter not in outcomes:
            raise Refusal(
                f"'{folder}' has {records} without its outcomes; put Outcomes-{letter}.txt there"
            )
        found.append(Set(folder, f"SET-{letter.upper()}", records, outcomes[letter]))
    if not found:
        raise Refusal(
            f"there is no set of records in '{folder}'; "
            "give the folder that holds set-a.tar.gz and Outcomes-a.txt"
        )
    return tuple(found)


def _listed(folder: Folder) -> list[str]:
    try:
        return list(folder.entries())
    except OSError as error:
        raise Refusal(
            f"'{folder}' cannot be listed ({type(error).__name__}); "
            "give the folder that holds set-a.tar.gz and Outcomes-a.txt, and check access to it"
        ) from None


def _by_letter(names: list[str], pattern: str) -> Mapping[str, str]:
    """Letter of a set -> the name that matches, by letter; of several the longest, a zip last but
    for a folder."""
    found = [(re.fullmatch(pattern, name, re.IGNORECASE), name) for name in names]
    named = sorted((m[1].lower(), _rank(name), name) for m, name in found if m)
    return {letter: name for letter, _, name in named}


def _rank(name: str) -> tuple[bool, bool, int]:
    """Names of higher rank are preferred."""
    return "." in name, not name.lower().endswith(".zip"), len(name)


def _together(texts: Iterator[str]) -> Iterator[list[str]]:
    """Groups texts, ``RECORDS`` at most and little more than ``TOGETHER`` characters."""
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if len(held) == RECORDS or size >= TOGETHER:
            yield held
            held, size = [], 0
    if held:
        yield held


def _text(stream: Any) -> str:
    return bytes(stream.read()).decode("utf-8", "replace")
