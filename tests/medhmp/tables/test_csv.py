"""Raw tables in every physical shape: one frame, or one sentence that names the place."""

import csv
import gzip
import io
import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.refusal import Refusal
from medhmp.shards.build.buckets import progress
from medhmp.storage import Folder
from medhmp.tables import csv_file, parquet_file
from medhmp.tables.csv import INTEGER, NUMBER, TEXT, TIME, RawTables

SECRET = "Jane-Roe-555"
"""Stands where a patient's value may stand: no refusal repeats it."""
COLUMNS = {"id": INTEGER, "n": INTEGER, "x": NUMBER, "at": TIME, "text": TEXT}
BOM = "\ufeff"

Row = tuple[int, int | None, float | None, datetime | None, str | None]


def tables_in(folder: Path, *names: str) -> RawTables:
    return RawTables.find(Folder(str(folder)), names or ("T",))


def frame_in(folder: Path) -> pl.DataFrame:
    return tables_in(folder).whole("T", COLUMNS)


def refusal(folder: Path, columns: dict[str, Any] | None = None) -> str:
    """The sentence with which a table is refused, without the folder, which pytest names."""
    with pytest.raises(Refusal) as refused:
        tables_in(folder).whole("T", columns or COLUMNS)
    sentence = str(refused.value).replace(str(folder), "FOLDER")
    assert SECRET not in sentence
    assert "\n" not in sentence
    return sentence


def write(folder: Path, name: str, data: bytes | str) -> None:
    raw = data.encode() if isinstance(data, str) else data
    (folder / name).write_bytes(gzip.compress(raw, 1) if name.endswith(".gz") else raw)


# One table in many shapes

pieces = st.sampled_from(["a", '"', ",", "\n", "\r", "\r\n", " ", "é", "b" * 30])
texts = st.lists(pieces, min_size=1, max_size=9).map("".join)
rows_of_tables = st.lists(
    st.tuples(
        st.integers(-(2**62), 2**62),
        st.none() | st.integers(-9, 99),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none()
        | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(
            lambda time: time.replace(microsecond=0)
        ),
        st.none() | texts,
    ),
    min_size=1,
    max_size=30,
)


class Csv:
    """A way to write CSV, drawn."""

    def __init__(self, draw: Any) -> None:
        pick = lambda *of: draw(st.sampled_from(of))  # noqa: E731
        self.null = pick("", r"\N", "NULL")
        self.typed_null = pick(self.null, "NA", "nan", "  ")
        self.pad = pick("", " ", "   ")
        self.time = pick("%Y-%m-%d %H:%M:%S", "%FT%T", "%F %T.000", "%FT%TZ", "%F %T UTC")
        self.whole = pick("", ".0")
        self.end, self.last = pick("\n", "\r\n"), pick(True, False)
        self.header = [pick(str.upper, str.lower, str.title)(c) for c in COLUMNS]
        self.header = [pick("", " ") + name + pick("", "  ") for name in self.header]
        self.bom = pick("", BOM)
        self.more = pick((), ("other", "OTHER"), ("x y", ""))
        self.order = draw(st.permutations(range(len(COLUMNS) + len(self.more))))

    def cells(self, row: Row) -> list[str]:
        key, n, x, at, text = row
        typed = [
            self.typed_null if n is None else f"{self.pad}{n}{self.whole}{self.pad}",
            self.typed_null if x is None else f"{self.pad}{x!r}",
            self.typed_null if at is None else at.strftime(self.time) + self.pad,
        ]
        words = self.null if text is None else text
        return [str(key), *typed, words, *("7" for _ in self.more)]

    def data(self, rows: Sequence[Row]) -> bytes:
        out = io.StringIO(newline="")
        lines = [[*self.header, *self.more], *map(self.cells, rows)]
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=self.end)
        writer.writerows([line[place] for place in self.order] for line in lines)
        text = out.getvalue()
        return (self.bom + (text if self.last else text.removesuffix(self.end))).encode()


def parquet(draw: Any, rows: Sequence[Row]) -> bytes:
    """The rows as Parquet, in types that tools write for them."""
    pick = lambda *of: draw(st.sampled_from(of))  # noqa: E731
    of = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    if pick(True, False):  # as pandas: whole numbers with gaps are floats
        of["n"] = [float("nan") if n is None else float(n) for n in of["n"]]
    text = pick(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), "words")
    unit, zone = pick("s", "ms", "us"), pick(None, "UTC")
    arrays = {
        "n": pa.array(of["n"]) if any(of["n"]) else pa.array(of["n"], pa.float64()),
        "x": pa.array(of["x"], pa.float64()),
        "at": pa.array(of["at"], pa.timestamp(unit)).cast(pa.timestamp(unit, zone)),
        "text": pa.array(of["text"]).cast(pa.string()),
    }
    arrays["id"] = pa.array(of["id"], pa.int64()).cast(pick(pa.int64(), pa.string()))
    words = arrays["text"]
    arrays["text"] = words.dictionary_encode() if text == "words" else words.cast(text)
    upper = pick(str.upper, str.lower)
    sink = io.BytesIO()
    pq.write_table(
        pa.table({upper(name): array for name, array in arrays.items()}),
        sink,
        row_group_size=draw(st.integers(1, 40)),
    )
    return sink.getvalue()


@given(rows_of_tables, st.data())
@settings(deadline=None, max_examples=150)
def test_a_table_is_the_same_in_every_shape(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], data: st.DataObject
) -> None:
    draw, folder = data.draw, tmp_path_factory.mktemp("t")
    parts = draw(st.integers(1, min(3, len(rows))))
    cuts = [len(rows) * k // parts for k in range(parts + 1)]
    kind = draw(st.sampled_from([".csv", ".csv.gz", ".parquet"]))
    shape = Csv(draw)
    for k, (start, stop) in enumerate(itertools.pairwise(cuts)):
        name = f"t{kind}" if parts == 1 else f"T-{k:06}{kind}"
        if kind == ".parquet":
            (folder / name).write_bytes(parquet(draw, rows[start:stop]))
            continue
        other = Csv(draw)
        other.more, other.order = shape.more, shape.order
        write(folder, name, other.data(rows[start:stop]))
    block = max(700, draw(st.integers(700, 3000)))  # a block holds the longest row
    longest = max(len((row[4] or "").encode()) for row in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "BLOCK", block + 2 * longest)
        patch.setattr(parquet_file, "ROWS", draw(st.integers(1, 50)))
        found = frame_in(folder)
    assert found.rows() == rows
    assert dict(zip(found.columns, found.dtypes, strict=True)) == dict(
        zip(COLUMNS, [pl.Int64, pl.Int64, pl.Float64, pl.Datetime("ms"), pl.String], strict=True)
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["T.csv", "T.csv.gz"])
def test_a_line_break_in_quotes_may_be_where_a_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, name: str
) -> None:
    """Each size of a block puts its edge at another character of the same table."""
    want = [(k, f'note {k}\r\nline,"two"\r\n\r\nend') for k in range(12)]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end).writerows([("id", "text"), *want])
    write(tmp_path, name, out.getvalue())
    for size in range(120, 220):
        monkeypatch.setattr(csv_file, "BLOCK", size)
        found = tables_in(tmp_path).whole("T", {"id": INTEGER, "text": TEXT})
        assert found.rows() == want, size


def test_values_that_need_a_second_look_are_not_given_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_file, "BLOCK", 200)
    lines = [f"{k},2100-01-01 00:00:00{' ' * (k == 700)}" for k in range(1000)]
    write(tmp_path, "T.csv", "\n".join(["ID,AT", *lines]))
    blocks = list(tables_in(tmp_path).scan("T", {"id": INTEGER, "at": TIME}))
    assert len(blocks) > 50
    assert pl.concat(blocks)["id"].to_list() == list(range(1000))


# Nulls


def test_a_null_of_a_database_is_null_and_counted_where_it_may_be_a_text(tmp_path: Path) -> None:
    write(tmp_path, "T.csv", 'ID,N,TEXT\n1,NULL,NULL\n2,\\N,\\N\n3,NA,NA\n4,7,"NULL"\n5,,null\n')
    raw = tables_in(tmp_path)
    found = raw.whole("T", {"id": INTEGER, "n": INTEGER, "text": TEXT})
    assert found["n"].to_list() == [None, None, None, 7, None]
    assert found["text"].to_list() == [None, None, "NA", None, "null"]
    assert raw.rows == {"T": 5, "T, NULL as text in TEXT, read as empty": 3}


def test_an_empty_text_of_parquet_is_null_as_in_csv(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1, 2, 3], "text": ["", "NULL", "a"]}), tmp_path / "T.parquet")
    raw = tables_in(tmp_path)
    found = raw.whole("T", {"id": INTEGER, "text": TEXT})
    assert found["text"].to_list() == [None, None, "a"]
    assert raw.rows["T, NULL as text in TEXT, read as empty"] == 1


# Refusals of one file

HEADER = "ID,N,X,AT,TEXT\n"
GOOD = "1,2,3.5,2100-01-01 00:00:00,a\n"
BROKEN = '1,2,3.5,2100-01-01 00:00:00,"a\nb\r\nc"\n\n'
"""One row that takes three lines, and an empty line."""

SPOILT = {
    f"1,{SECRET},3,,a": "something else than a whole number in column N at line 7;",
    "1,2.5,3,,a": "something else than a whole number in column N at line 7;",
    "1,2,3 4,,a": "something else than a number in column X at line 7;",
    f"1,2,3,{SECRET},a": "a time as YYYY-MM-DD HH:MM:SS in column AT at line 7;",
    "1,2,3,2100-02-30,a": "a time as YYYY-MM-DD HH:MM:SS in column AT at line 7;",
    f"{SECRET},2": "not a well-formed CSV table: line 7 has 2 fields where its header has 5;",
    f'1,2,3,,"{SECRET}': "not a well-formed CSV table: a quote in it is not closed;",
    "ID,N,X,AT,TEXT": "its header again at line 7; remove that line",
    f"{BOM}ID,N,X,AT,TEXT": "its header again at line 7; remove that line",
    f"{BOM}1,2,3,,a": "a byte-order mark at line 7; remove it",
    "9" * 30 + ",2,3,,a": "something else than a whole number in column ID at line 7;",
}


@pytest.mark.parametrize("line", SPOILT)
@pytest.mark.parametrize("name", ["T.csv", "t.CSV.GZ"])
def test_a_bad_line_is_named_by_its_number_in_the_file(
    tmp_path: Path, line: str, name: str
) -> None:
    data = (HEADER + GOOD + BROKEN + f"{line}\n" + GOOD).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("GZ") else data)
    assert SPOILT[line] in refusal(tmp_path)


def test_bytes_that_are_no_utf8_are_named_by_their_line(tmp_path: Path) -> None:
    write(tmp_path, "T.csv", (HEADER + BROKEN).encode() + b"1,2,3,,caf\xe9\n")
    assert "something else than UTF-8 text in column TEXT at line 6;" in refusal(tmp_path)


def test_a_column_twice_is_refused_only_where_it_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "T.csv", "ID,N,n ,X,x\n1,2,3,4,5\n")
    assert tables_in(tmp_path).whole("T", {"id": INTEGER}).rows() == [(1,)]
    said = refusal(tmp_path, {"id": INTEGER, "n": INTEGER, "x": NUMBER})
    assert "has the column N, X twice; export the table again" in said


def test_the_search_for_a_header_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without a line break is read no further than a header may reach."""

    class Zeros:
        given = 0

        def read(self, size: int) -> bytes:
            self.given += size
            return bytes(size)

    monkeypatch.setattr(csv_file, "HEADER", 5000)
    zeros = Zeros()
    assert len(csv_file._header(zeros)) == zeros.given == 5000
    write(tmp_path, "T.csv", bytes(20_000))
    assert "well-formed CSV table: its first line has more than 4 KiB; copy" in refusal(tmp_path)


# Files of one table


def part(rows: Sequence[int], header: str = "ID,N") -> str:
    return "\n".join([header, *(f"{row},{row}" for row in rows), ""])


PARTED = {
    "numbers": ["T-000000.csv", "T-000001.csv.gz", "t-000002.CSV"],
    "from one, without zeros": [f"T_{k}.csv" for k in range(1, 12)],
    "of so many": ["T-00000-of-00002.csv.gz", "T-00001-of-00002.csv.gz"],
    "of BigQuery": ["T000000000000.csv", "T000000000001.csv"],
    "parts": ["T.part-0.csv", "T.part-1.csv"],
    "a folder": ["t/part-00000-1f.csv", "t/part-00002-1f.csv.gz"],
    "a folder with a suffix": ["T.csv/part-00000.csv", "T.csv/part-00001.csv"],
}


@pytest.mark.parametrize("kind", PARTED)
def test_all_parts_are_read_in_order(tmp_path: Path, kind: str) -> None:
    for place, name in enumerate(PARTED[kind]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        data = part(range(5 * place, 5 * place + 5)).encode()
        zipped = name.lower().endswith(".gz")
        (tmp_path / name).write_bytes(gzip.compress(data) if zipped else data)
    (tmp_path / "T2000.txt").write_text("no table")
    (tmp_path / "TT-0.csv").write_text(part([99]))
    raw = tables_in(tmp_path)
    shares = []
    frames = []
    for block in raw.scan("T", {"id": INTEGER}):
        frames.append(block)
        shares.append(raw.shares["T"])
    assert pl.concat(frames)["id"].to_list() == list(range(5 * len(PARTED[kind])))
    assert raw.rows == {"T": 5 * len(PARTED[kind])}
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert set(raw.sizes()) == set(PARTED[kind])


NOT_ONE = {
    "has table T twice, T.csv and T.csv.gz; keep": ["T.csv", "T.csv.gz"],
    "has table T twice, T.csv and t.csv; keep": ["T.csv", "t.csv"],
    "has table T twice, T.csv and T.parquet; keep": ["T.csv", "T.parquet"],
    "has table T twice, T-0.csv and T.csv; keep": ["T.csv", "T-0.csv", "T-1.csv"],
    "has table T twice, T-0.csv and T_0.csv; keep": ["T-0.csv", "T_0.csv"],
    "has table T twice, T-0.csv and T-1.parquet; keep": ["T-0.csv", "T-1.parquet"],
    "has table T twice, T.csv and T/a.csv; keep": ["T.csv", "T/a.csv"],
    "no part of table T between T-0.csv and T-2.csv; put": ["T-0.csv", "T-2.csv"],
    "has 1 of the 3 parts of table T; put": ["T-0-of-3.csv"],
}


@pytest.mark.parametrize("said", NOT_ONE)
def test_files_that_are_not_one_table_are_refused(tmp_path: Path, said: str) -> None:
    for name in NOT_ONE[said]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(part([1]))
    assert said in refusal(tmp_path)


OTHER_PARTS = {
    "ID,M": "has no column N in T-1.csv; export",
    "ID,N,M": "has other columns in T-1.csv than in T-0.csv; put the parts of one export there",
    f"7,{SECRET}": "has no column ID, N in T-1.csv; export",
}


@pytest.mark.parametrize("header", OTHER_PARTS)
def test_parts_of_other_columns_are_refused(tmp_path: Path, header: str) -> None:
    write(tmp_path, "T-0.csv", part([1, 2]))
    write(tmp_path, "T-1.csv", part([3], header))
    assert OTHER_PARTS[header] in refusal(tmp_path, {"id": INTEGER, "n": INTEGER})


def test_a_bad_line_is_named_with_its_part(tmp_path: Path) -> None:
    write(tmp_path, "T-0.csv", part([1, 2]))
    write(tmp_path, "T-1.csv", "N,ID\n1,2\n3,x\n")
    said = refusal(tmp_path, {"id": INTEGER, "n": INTEGER})
    assert "a whole number in column ID at line 3 of T-1.csv; mend" in said
    raw = tables_in(tmp_path)
    assert raw.place("T", 1) == " at line 3 of T-0.csv"
    assert raw.place("T", 3) == " at line 3 of T-1.csv"


def test_csv_and_parquet_lie_in_one_folder(tmp_path: Path) -> None:
    pq.write_table(pa.table({"ID": [1, 2]}), tmp_path / "A.parquet")
    write(tmp_path, "b.csv", "id\n1\n2\n")
    raw = tables_in(tmp_path, "A", "b")
    assert raw.whole("A", {"id": INTEGER}).equals(raw.whole("B", {"id": INTEGER}))


# Parquet

TIMES = [datetime(2100, 1, 1), None]
UNFIT: dict[str, tuple[str, pa.Array, str]] = {
    "fractions": ("n", pa.array([1.0, 2.5]), "a whole number in column N at row 2 of T.parquet; m"),
    "beyond 64 bits": ("n", pa.array([1, 2**63], pa.uint64()), "column N at row 2 of T.parquet"),
    "words": ("n", pa.array(["1", SECRET]), "a whole number in column N at row 2 of T.parquet"),
    "words for times": ("at", pa.array(["2100-01-01", SECRET]), "in column AT at row 2 of"),
    "bytes": ("text", pa.array([b"a", b"\xff"]), "UTF-8 text in column TEXT at row 2 of T.parq"),
    "numbers for times": ("at", pa.array([1, 2]), "has the column AT as int64, which is not read"),
    "times for numbers": ("x", pa.array(TIMES), r"the column X as timestamp[us], which is not"),
    "another zone": (
        "at",
        pa.array(TIMES, pa.timestamp("us", "America/New_York")),
        "has the column AT as timestamp[us, tz=America/New_York], which is not read as a time",
    ),
    "lists": ("text", pa.array([["a"], []]), "has the column TEXT as a nested type, which is not"),
    "structs": ("n", pa.array([{SECRET: 1}] * 2), "has the column N as a nested type, which is n"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_parquet_that_does_not_fit_is_refused_without_a_value(tmp_path: Path, kind: str) -> None:
    column, values, said = UNFIT[kind]
    pq.write_table(pa.table({"id": [1, 2], column: values}), tmp_path / "T.parquet")
    sentence = refusal(tmp_path, {"id": INTEGER, column: COLUMNS[column]})
    assert said in sentence
    assert "table T in 'FOLDER' has" in sentence


FITS: dict[str, tuple[str, pa.Array, list[Any]]] = {
    "narrow": ("n", pa.array([1, None], pa.int8()), [1, None]),
    "unsigned": ("n", pa.array([1, 2], pa.uint64()), [1, 2]),
    "decimals": ("n", pa.array([1, 2]).cast(pa.decimal128(20, 0)), [1, 2]),
    "truths": ("n", pa.array([True, None]), [1, None]),
    "whole numbers as numbers": ("x", pa.array([2**60 + 1, 2]), [float(2**60), 2.0]),
    "days": ("at", pa.array([datetime(2100, 1, 1).date(), None]), TIMES),
    "nanoseconds": ("at", pa.array([TIMES[0], None], pa.timestamp("ns")), TIMES),
    "UTC": ("at", pa.array([datetime(2100, 1, 1, tzinfo=UTC), None]), TIMES),
    "numbers as text": ("text", pa.array([250, 80.5]), ["250", "80.5"]),
    "whole floats as text": ("text", pa.array([250.0, float("nan")]), ["250", None]),
    "times as text": ("text", pa.array(TIMES), ["2100-01-01 00:00:00", None]),
    "nothing": ("at", pa.nulls(2), [None, None]),
}


@pytest.mark.parametrize("kind", FITS)
def test_parquet_is_read_as_what_is_asked(tmp_path: Path, kind: str) -> None:
    column, values, want = FITS[kind]
    pq.write_table(pa.table({"id": [1, 2], column: values}), tmp_path / "T.parquet")
    found = tables_in(tmp_path).whole("T", {column: COLUMNS[column], "id": INTEGER})
    assert found[column].to_list() == want


def test_parquet_comes_in_bounded_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "ROWS", 100)
    pq.write_table(pa.table({"id": range(1000)}), tmp_path / "T.parquet")  # one row group
    assert {b.height for b in tables_in(tmp_path).scan("T", {"id": INTEGER})} == {100}


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": range(1000)}), tmp_path / "T.parquet")
    whole = (tmp_path / "T.parquet").read_bytes()
    for data in (b"", whole[:-20], whole[:10], b"ID\n1\n"):
        (tmp_path / "T.parquet").write_bytes(data)
        assert "T.parquet' cannot be read as Parquet" in refusal(tmp_path, {"id": INTEGER})


# How far the reading is


@pytest.mark.parametrize("name", ["CHARTEVENTS.csv", "CHARTEVENTS.csv.gz"])
def test_the_share_of_a_file_that_has_been_read_ends_at_all_of_it(tmp_path, monkeypatch, name):
    monkeypatch.setattr(csv_file, "BLOCK", 1 << 16)
    monkeypatch.setattr(csv_file, "READ", 1 << 16)
    items = np.random.default_rng(0).integers(10**7, size=10**6)
    data = b"ITEMID\n" + b"\n".join(map(b"%d".__mod__, items.tolist())) + b"\n"
    (tmp_path / name).write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    raw = RawTables.find(Folder(str(tmp_path)), ("CHARTEVENTS",))
    shares = [raw.shares["CHARTEVENTS"] for _ in raw.scan("CHARTEVENTS", {"itemid": INTEGER})]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5 < shares[-1] == 1


def test_the_time_left_is_told_where_the_share_is_known():
    assert progress(3000, 30.0, 0.25) == "3,000 events read  100 rows/s  90 s left"
    assert progress(3000, 30.0, None) == "3,000 events read  100 rows/s"


def test_the_bad_line_is_found_in_time_linear_in_the_bytes_before_it():
    """A line without an end was copied anew for every block of it."""
    for end in (b"\r", b"\n", b"\r\n"):
        text = end.join([b"a,b", b'1,"x' + end + b'y"', b"0" * 1000, b"", b"end"])
        for block in (1, 2, 3, 7, 5000):
            stream = pa.BufferReader(text)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(csv_file, "READ", block)
                lines = list(csv_file._lines(stream))
            assert lines == io.TextIOWrapper(io.BytesIO(text), "latin-1", newline="").readlines()
    begun = time.process_time()
    (line,) = csv_file._lines(pa.BufferReader(bytes(csv_file.BLOCK)))
    assert len(line) == csv_file.BLOCK
    assert time.process_time() - begun < 2  # 10 s before
