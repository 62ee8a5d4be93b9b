"""The files of a MEDS dataset: what is read alike, and what is refused in one sentence."""

from datetime import date, datetime
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.tables.meds import files, reader
from medhmp.tables.meds.files import MedsFiles

SECRET = 4_815_162_342
"""A subject, and a split of another name; a refusal must not repeat what may be a patient's."""

SCHEMA = pa.schema(
    {
        "subject_id": pa.int64(),
        "time": pa.timestamp("us"),
        "code": pa.string(),
        "numeric_value": pa.float32(),
        "text_value": pa.large_string(),
        "hadm_id": pa.int64(),
        "icustay_id": pa.int64(),
    }
)


def rows(subject):
    """A subject with one admission, one stay and one reading in it."""
    hadm, stay = subject % 1000, subject % 1000 + 5000
    codes = (
        (None, "GENDER//F", None, None),
        (datetime(2150, 1, 1), "HOSPITAL_ADMISSION//URGENT//UNK", hadm, None),
        (datetime(2150, 1, 1), "ICU_ADMISSION//A", hadm, stay),
        (datetime(2150, 1, 2), "LAB//220045//bpm", hadm, stay),
        (datetime(2150, 1, 3), "ICU_DISCHARGE//A", hadm, stay),
        (datetime(2150, 1, 4), "HOSPITAL_DISCHARGE//HOME", hadm, None),
    )
    return [
        {"subject_id": subject, "time": time, "code": code, "hadm_id": h, "icustay_id": s}
        | {"numeric_value": 80.0 if code.startswith("LAB") else None}
        for time, code, h, s in codes
    ]


class Folders:
    """A dataset of two shards; what is done to its tables and files is what is tested."""

    def __init__(self, path):
        self.path = path
        self.tables = {
            "data/a.parquet": table(rows(SECRET) + rows(2)),
            "data/deep/er/b.parquet": table(rows(3)),
        }

    def write(self):
        for name, content in self.tables.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(content, file)
        return self

    def read(self):
        return reader.read("meds", str(self.path), Run(quiet=True))

    def change(self, column, to, name="data/a.parquet"):
        own = self.tables[name]
        if isinstance(to, list):
            to = pa.array(to)
        self.tables[name] = own.set_column(own.schema.get_field_index(column), column, to)
        self.write()

    def split(self, **columns):
        self.tables["metadata/subject_splits.parquet"] = pa.table(columns)
        self.write()


def table(of):
    return pa.Table.from_pylist(of, schema=SCHEMA)


@pytest.fixture
def folder(tmp_path):
    return Folders(tmp_path).write()


def events_of(source):
    events = pl.concat([pl.from_arrow(batch) for batch in source.events()])
    return events.filter(pl.col("hours").is_not_null())


def coded(index, of):
    """Casts to a dictionary, of which Parquet keeps both types."""
    return lambda column: column.cast(of).dictionary_encode().cast(pa.dictionary(index, of))


def to(kind):
    return lambda column: column.cast(kind)


def decimals(column):
    values = [v and Decimal(str(v)) for v in column.to_pylist()]
    return pa.array(values, pa.decimal128(38, 3))


def with_nan(column):
    return pa.array([float("nan") if i is None else float(i) for i in column.to_pylist()])


def as_json(column):
    return pa.ExtensionArray.from_storage(pa.json_(), column.combine_chunks().cast(pa.string()))


def at_offset(column):
    """The same clock times, at an offset from UTC: other instants."""
    return pa.array(
        [t and f"{t:%Y-%m-%dT%H:%M:%S}-05:00" for t in column.to_pylist()], pa.string()
    ).cast(pa.timestamp("us", "-05:00"))


SAME = [
    *(("time", to(pa.timestamp(unit))) for unit in ("s", "ms", "ns")),
    *(("time", to(pa.timestamp("us", zone))) for zone in ("UTC", "Etc/UTC", "GMT", "+00:00", "Z")),
    ("time", to(pa.timestamp("ns", "UTC"))),
    ("time", at_offset),
    ("time", to(pa.date32())),
    ("code", to(pa.large_string())),
    ("code", to(pa.string_view())),
    ("code", coded(pa.int16(), pa.large_string())),
    ("code", coded(pa.uint64(), pa.string())),
    ("code", coded(pa.int8(), pa.string())),
    ("code", as_json),
    ("numeric_value", to(pa.float64())),
    ("numeric_value", to(pa.float16())),
    ("numeric_value", to(pa.int8())),
    ("numeric_value", to(pa.uint64())),
    ("numeric_value", decimals),
    ("text_value", to(pa.string())),
    ("text_value", to(pa.string_view())),
    ("text_value", lambda column: pa.nulls(len(column))),
    ("subject_id", to(pa.uint64())),
    ("subject_id", to(pa.float64())),
    ("subject_id", to(pa.string())),
    ("subject_id", to(pa.decimal128(38, 0))),
    *(("hadm_id", to(k)) for k in (pa.uint32(), pa.int16(), pa.uint64(), pa.float32())),
    ("hadm_id", lambda column: to(pa.string_view())(column.cast(pa.string()))),
    ("hadm_id", lambda column: coded(pa.int32(), pa.string())(column)),
    ("icustay_id", with_nan),
]


@pytest.mark.parametrize(("column", "change"), SAME)
def test_types_that_stand_for_the_same_are_read_alike(folder, column, change):
    before = folder.read()
    folder.change(column, change(folder.tables["data/a.parquet"][column]))
    after = folder.read()
    assert events_of(after).equals(events_of(before))
    assert events_of(before)["number"].to_list() == [80.0] * 3
    for table in ("patients", "admissions", "stays"):
        assert getattr(after, table).equals(getattr(before, table))


def test_a_column_of_the_standard_may_be_absent_and_any_other_have_any_type(folder):
    before = events_of(folder.read())
    own = folder.tables["data/a.parquet"]
    ignored = (
        pa.array([[1]] * own.num_rows, pa.list_view(pa.int64())),
        pa.array([[b"x"]] * own.num_rows, pa.large_list(pa.binary_view())),
        pa.array([{"time": 1}] * own.num_rows),
        pa.array([[("a", 1)]] * own.num_rows, pa.map_(pa.string(), pa.int8())),
        pa.array([Decimal(1)] * own.num_rows),
        pa.array([date(2000, 1, 1)] * own.num_rows),
        pa.nulls(own.num_rows),
    )
    own = own.drop_columns(["text_value"])
    for number, column in enumerate(ignored):
        own = own.append_column(f"other_{number}", column)
    folder.tables["data/a.parquet"] = own.append_column("race", pa.array([7] * own.num_rows))
    assert events_of(folder.write().read()).equals(before)


@pytest.mark.parametrize("kind", [pa.string(), pa.null(), pa.int8()])
def test_an_empty_file_may_have_any_types(folder, kind):
    empty = dict.fromkeys(SCHEMA.names[:-1], pa.array([], kind))
    folder.tables["data/c.parquet"] = pa.table(empty)
    assert folder.write().read().stays.height == 3


@pytest.mark.parametrize("large", [2**63, 2**64 - 1, 2**63 - 1, 2**53 + 1])
def test_unsigned_ids_of_64_bits_are_read_and_can_be_got_back(folder, large):
    for name, own in folder.tables.items():
        for column in ("subject_id", "hadm_id", "icustay_id"):
            raised = [i and large - i % 999 for i in own[column].to_pylist()]
            folder.change(column, pa.array(raised, pa.uint64()), name)
            own = folder.tables[name]
    theirs = {i for own in folder.tables.values() for i in own["subject_id"].to_pylist()}
    folder.split(subject_id=pa.array(sorted(theirs), pa.uint64()), split=["train"] * 3)
    source = folder.read()
    assert {i % 2**64 for i in source.patients["subject_id"]} == theirs
    assert set(source.splits["subject_id"]) == set(source.patients["subject_id"])
    assert len({i % 2**64 for i in source.stays["stay_id"]}) == 3
    assert events_of(source)["number"].to_list() == [80.0] * 3


def test_ids_that_have_become_negative_are_said(folder, capsys):
    own = folder.tables["data/a.parquet"]["subject_id"]
    raised = [2**63 + i for i in own.to_pylist()]
    folder.change("subject_id", pa.array(raised, pa.uint64()))
    reader.read("meds", str(folder.path), Run())
    assert "subject_id from 2^63 on are written as below 0; add 2^64" in capsys.readouterr().out


def test_0_4_may_have_no_numeric_value_at_all(folder):
    for name, of in folder.tables.items():
        folder.tables[name] = of.drop_columns(["numeric_value", "text_value"])
    source = folder.write().read()
    assert events_of(source)["number"].to_list() == [1.0] * 3  # it was recorded: no more is known


def test_visits_are_told_by_time_where_no_column_names_them(folder):
    before = folder.read()
    for name, of in folder.tables.items():
        folder.tables[name] = of.drop_columns(["hadm_id", "icustay_id"])
    after = folder.write().read()
    assert after.admissions["hadm_id"].to_list() == after.stays["stay_id"].to_list() == [1, 2, 3]
    assert after.stays["hadm_id"].to_list() == [1, 2, 3]
    assert after.stays["outtime"].equals(before.stays["outtime"])
    assert events_of(after).drop("stay_id").equals(events_of(before).drop("stay_id"))


@pytest.mark.parametrize("batch", [1, 2, 5, 6, 7, 100])
def test_a_block_has_all_rows_of_its_subjects(folder, monkeypatch, batch):
    monkeypatch.setattr(files, "BATCH", batch)
    shards = MedsFiles.find(Folder(str(folder.path)))
    blocks = list(shards.blocks({}))
    subjects = [subject for block in blocks for subject in block["subject_id"].unique()]
    assert sorted(subjects) == [2, 3, SECRET]
    whole = pl.concat(blocks)
    assert whole["subject_id"].to_list() == [SECRET] * 6 + [2] * 6 + [3] * 6
    assert max(block.height for block in blocks) <= max(batch, 6) + 6


def test_hidden_and_other_files_are_no_shards(folder):
    (folder.path / "data" / ".a.parquet").write_bytes(b"half")
    (folder.path / "data" / ".tmp").mkdir()
    (folder.path / "data" / ".tmp" / "b.parquet").write_bytes(b"half")
    (folder.path / "data" / "README.txt").write_text("no shard")
    assert folder.read().stays.height == 3


def test_an_empty_shard_is_one(folder):
    folder.tables["data/c.parquet"] = table([])
    assert folder.write().read().stays.height == 3


def without_data(folder):
    for name in folder.tables:
        (folder.path / name).unlink()


def a_file(folder):
    folder.path = folder.path / "data" / "a.parquet"


def a_file_for_data(folder):
    folder.path = folder.path / "other"
    folder.path.mkdir()
    (folder.path / "data").write_text("")


def without(column):
    def change(folder):
        for name, of in folder.tables.items():
            folder.tables[name] = of.drop_columns([column])
        folder.write()

    return change


def cast(column, kind):
    return lambda folder: folder.change(
        column, folder.tables["data/a.parquet"][column].cast(kind, safe=False)
    )


def made_of(column, value):
    """The column with ids made of its own: a format, or something to add to each."""

    def change(folder):
        own = folder.tables["data/a.parquet"]
        if column not in own.column_names:
            own = own.append_column(column, pa.array([0] * own.num_rows))
        text = isinstance(value, str)
        theirs = own[column].to_pylist()
        new = [i if i is None else value.format(i) if text else i + value for i in theirs]
        folder.tables["data/a.parquet"] = own
        folder.change(column, new)

    return change


def cast_to(column, values, kind):
    return lambda folder: folder.change(column, pa.array(values, kind))


def twice(column):
    def change(folder):
        own = folder.tables["data/a.parquet"]
        folder.tables["data/a.parquet"] = own.append_column(column, own[column])
        folder.write()

    return change


def unknown_type(folder):
    """A column of 128 bits, as Polars writes it."""
    own = pl.from_arrow(folder.tables["data/a.parquet"]).with_columns(x=pl.lit(1, pl.Int128))
    own.write_parquet(folder.path / "data" / "a.parquet")


def nulled(column):
    def change(folder):
        own = folder.tables["data/a.parquet"][column]
        folder.change(column, pa.array([None, *own.to_pylist()[1:]], own.type))

    return change


def shard(of, name="data/a.parquet"):
    def change(folder):
        folder.tables[name] = table(of)
        folder.write()

    return change


def alone(of):
    def change(folder):
        folder.tables = dict.fromkeys(folder.tables, table([])) | {"data/a.parquet": table(of)}
        folder.write()

    return change


def cut(by):
    def change(folder):
        file = folder.path / "data" / "a.parquet"
        file.write_bytes(file.read_bytes()[:-by])

    return change


def spoilt(folder):
    """Bytes of the data pages that are not what was written."""
    file = folder.path / "data" / "a.parquet"
    data = bytearray(file.read_bytes())
    data[4:200] = bytes(196)
    file.write_bytes(bytes(data))


def split(**columns):
    return lambda folder: folder.split(**columns)


ONE = rows(SECRET)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_data, r"has no data/\*\*/\*.parquet; give the folder of a MEDS dataset"),
        (a_file, r"a.parquet' has no data/\*\*/\*.parquet; give the folder of a MEDS dataset"),
        (a_file_for_data, "cannot list under"),
        (without("subject_id"), "a.parquet' has no column subject_id, which MEDS 0.3.3 and 0.4"),
        (without("time"), "has no column time, which"),
        (without("code"), "has no column code, which"),
        (cast("subject_id", pa.bool_()), "column subject_id of .* is bool and must be int64"),
        (cast("time", pa.int64()), "column time of .* is int64 and must be a timestamp; export"),
        (cast("time", pa.timestamp("us", "Europe/Paris")), "times of the zone Europe/Paris, whose"),
        (cast("numeric_value", pa.string()), "numeric_value of .* is string and must be a number"),
        (cast("text_value", pa.binary()), "column text_value of .* is binary and must be a string"),
        (cast("code", pa.binary_view()), "column code of .* is binary_view and must be a string"),
        (made_of("subject_id", "p-{}"), "subject_id .* has texts that are not whole numbers of 64"),
        (made_of("hadm_id", "0{}"), "has texts that are not whole numbers .* --tables.meds.adm"),
        (made_of("icustay_id", "{}.0"), "has texts that are not whole .* --tables.meds.stay-id ''"),
        (
            made_of("hadm_id", 0.5),
            "hadm_id of .* has values that int64 cannot hold; give each a w",
        ),
        (made_of("subject_id", 2.0**60), "subject_id of .* has floats above 2.53, which cannot"),
        (made_of("subject_id", Decimal(2**63)), "has values that int64 cannot hold; give each a"),
        (made_of("end", 5), "column end of .* is int64 and must be a timestamp; .* '' for none"),
        (
            cast_to("time", [2**62] * 12, pa.timestamp("ms")),
            "time of .* a timestamp cannot hold; co",
        ),
        (twice("code"), "a.parquet' has several columns code; leave one"),
        (unknown_type, "has a type or an encoding that PyArrow .* does not read"),
        (nulled("subject_id"), "column subject_id of .* has rows without a value"),
        (nulled("code"), "column code of .* has rows without a value"),
        (shard(rows(3)), "a subject is both in 'data/a.parquet' and in 'data/deep/er/b.parquet'"),
        (shard([*ONE[:3], *rows(2), *ONE[3:]]), "the rows of a subject do not follow each other"),
        (shard([*ONE[:3], ONE[4], ONE[3]]), "row 5 of .* is earlier than the row before it of"),
        (shard([*rows(2), *ONE[1:], ONE[0]]), "row 12 of .* is earlier than the row before it"),
        (cut(9), "a.parquet' cannot be read as Parquet .* cut short or damaged; copy or export"),
        (cut(500), "cannot be read as Parquet"),
        (spoilt, "cannot be read as Parquet"),
        (alone([]), "no code .* makes one of the admissions by tables.meds.hospital_admission"),
        (
            alone([r for r in ONE if "ICU" not in r["code"]]),
            "makes one of the stays by tables.meds",
        ),
        (shard(rows(1003)), "tables.meds.admission_id of .* has one id for admissions of several"),
        (split(subject_id=[2]), "subject_splits.parquet' has no column split"),
        (
            split(subject_id=[2.5], split=["train"]),
            "has values that int64 cannot hold; give",
        ),
        (split(subject_id=[2, 3], split=["train", str(SECRET)]), "has 1 subjects in another split"),
        (split(subject_id=[2], split=pa.array([None], pa.string())), "1 subjects in another split"),
        (split(subject_id=[2, 2], split=["train", "tuning"]), "has a subject twice; give each one"),
        (split(subject_id=[9], split=["train"]), "no patient of .* is in metadata/subject_splits"),
    ],
)
def test_what_is_not_of_the_standard_is_refused(folder, damage, said):
    damage(folder)
    with pytest.raises(Refusal, match=said) as refused:
        folder.read()
    assert "\n" not in str(refused.value)
    assert str(SECRET) not in str(refused.value)


def test_a_shard_that_goes_while_it_is_read_is_refused(folder):
    source = folder.read()
    (folder.path / "data" / "a.parquet").unlink()
    with pytest.raises(Refusal, match=r"a.parquet' has gone; check the folder"):
        events_of(source)
