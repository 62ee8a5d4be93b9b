"""Bad input of many kinds: a clear refusal, or rows left out and counted. No traceback, no silence.

Every kind spoils the hand-made tables of MIMIC-III in one way; they are then read to their end.
"""

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medhmp.legend import LEVELS
from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.shards.build.index import Index
from medhmp.storage import Folder
from medhmp.tables.csv_file import BLOCK
from medhmp.tables.mimic import mimic3
from medhmp.tables.schema import Source
from medhmp.tasks import cohort

SECRET = "O123-secret"
"""Stands where a patient's value may stand: no refusal repeats it."""
RUN = Run(quiet=True)


def read_all(folder: str) -> Source:
    """Everything that featurization reads, and the labels."""
    source = mimic3.read("mimic3", folder, RUN)
    for stream in (source.events, source.notes):
        for batch in stream():
            batch.validate(full=True)
    index = Index.of([source], RUN.splits, 500)
    assert index.stays["stay_id"].is_unique().all()
    for task in LEVELS:
        cohort.label(task, source, source.onsets(), RUN.cohort, icd9_only=False)
    return source


def change(table: str, number: int, **values: Any) -> Callable[[Any], None]:
    """Other values in one row of a table."""

    def spoil(raw: Any) -> None:
        raw.tables[table][number] |= {name.upper(): value for name, value in values.items()}

    return spoil


def again(table: str, number: int, **values: Any) -> Callable[[Any], None]:
    """One row once more, with other values."""

    def spoil(raw: Any) -> None:
        other = {name.upper(): value for name, value in values.items()}
        raw.tables[table].append(raw.tables[table][number] | other)

    return spoil


def rewrite(table: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Other text in the file of a table."""

    def spoil(folder: Path) -> None:
        path = folder / f"{table}.csv.gz"
        path.write_bytes(gzip.compress(edit(gzip.decompress(path.read_bytes())), 1))

    return spoil


def store(table: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{table}.csv.gz").write_bytes(data) and None


def beside(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def replaced(table: str, how: Callable[[Path], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / f"{table}.csv.gz"
        path.unlink()
        how(path)

    return spoil


def halved(table: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / f"{table}.csv.gz"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return spoil


def after(text: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data + text


def header(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        line, newline, rest = data.partition(b"\n")
        assert old in line
        return line.replace(old, new) + newline + rest

    return edit


def value(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return edit


CHART = "CHARTEVENTS"
ROW = b"9,1,11,101,220045,2100-01-01 07:00:00,"

REFUSED = {
    "a table is missing": (
        replaced("ICUSTAYS", lambda path: None),
        r"has no table ICUSTAYS; put ICUSTAYS.csv or",
    ),
    "no table at all": (
        lambda folder: [path.unlink() for path in folder.iterdir()],
        r"there is no CSV table in",
    ),
    "an empty file": (store("PATIENTS", b""), r"PATIENTS in .* is empty|cut short or not gzip"),
    "an empty archive": (store("PATIENTS", gzip.compress(b"")), r"table PATIENTS in .* is empty"),
    "a header alone": (
        rewrite("PATIENTS", lambda data: data.split(b"\n")[0] + b"\n"),
        r"table PATIENTS in .* has no rows",
    ),
    "blank lines alone": (rewrite("PATIENTS", lambda data: b"\n\n\n"), r"PATIENTS in .* is empty"),
    "cut short": (halved(CHART), r"CHARTEVENTS.csv.gz' is cut short or not gzip"),
    "not gzip": (store(CHART, b"plain text"), r"CHARTEVENTS.csv.gz' is cut short or not gzip"),
    "gzip with a wrong checksum": (
        lambda folder: (folder / "CHARTEVENTS.csv.gz").write_bytes(
            (folder / "CHARTEVENTS.csv.gz").read_bytes()[:-8] + b"\0" * 8
        ),
        r"CHARTEVENTS.csv.gz' is cut short or not gzip",
    ),
    "a column is missing": (
        rewrite(CHART, header(b"ITEMID", b"OTHER")),
        r"CHARTEVENTS in .* has no column ITEMID",
    ),
    "a column twice": (
        rewrite(CHART, header(b"VALUENUM", b"ITEMID")),
        r"CHARTEVENTS in .* has the column ITEMID twice",
    ),
    "letters for an identifier": (
        rewrite("PATIENTS", value(b",2,", f",{SECRET},".encode())),
        r"PATIENTS.* whole number in column SUBJECT_ID at line 3",
    ),
    "a fraction for an identifier": (
        rewrite("PATIENTS", value(b",2,", b",2.5,")),
        r"PATIENTS.* whole number in column SUBJECT_ID at line 3",
    ),
    "an identifier of thirty digits": (
        rewrite("PATIENTS", value(b",2,", b"," + b"9" * 30 + b",")),
        r"PATIENTS.* whole number in column SUBJECT_ID",
    ),
    "letters for a time": (
        rewrite("ICUSTAYS", value(b"2100-01-01 06:00:00", SECRET.encode())),
        r"ICUSTAYS.* time as .* in column INTIME at line 2",
    ),
    "a time that is none": (
        rewrite("ICUSTAYS", value(b"2100-01-01 06:00:00", b"2100-13-45 06:00:00")),
        r"ICUSTAYS.* time as .* in column INTIME",
    ),
    "a time in another order": (
        rewrite("ICUSTAYS", value(b"2100-01-01 06:00:00", b"01/01/2100 06:00")),
        r"ICUSTAYS.* time as .* in column INTIME at line 2",
    ),
    "letters for a number": (
        rewrite("INPUTEVENTS_MV", value(b",120,", f",{SECRET},".encode())),
        r"INPUTEVENTS_MV.* number in column AMOUNT at line 2",
    ),
    "a row with a field too many": (
        rewrite(CHART, after(ROW + b"80,,,0,1\n")),
        r"CHARTEVENTS.csv.gz' is not a well-formed CSV table",
    ),
    "a row with a field too few": (
        rewrite(CHART, after(b"9,1,11\n")),
        r"CHARTEVENTS.csv.gz' is not a well-formed CSV table",
    ),
    "a quote that never ends": (
        rewrite(CHART, after(ROW + b'"80,,,0\n')),
        r"CHARTEVENTS.csv.gz' is not a well-formed CSV table",
    ),
    "a field larger than a block": (
        rewrite(CHART, after(ROW + b"8" * (3 * BLOCK) + b",,,0\n")),
        r"CHARTEVENTS.csv.gz' has a row of more than 16 MiB",
    ),
    "another encoding": (
        rewrite(CHART, after(ROW + "37 °C".encode("latin-1") + b",,,0\n")),
        r"CHARTEVENTS.* else than UTF-8 text in column VALUE",
    ),
    "sixteen-bit text": (
        rewrite("PATIENTS", lambda data: data.decode().encode("utf-16")),
        r"PATIENTS.csv.gz' is not a well-formed CSV table",
    ),
    "codes that have lost their zeros": (
        rewrite("DIAGNOSES_ICD", lambda data: data.replace(b",4019", b",42")),
        r"column ICD9_CODE of table DIAGNOSES_ICD in .* has 1 code in 3 rows .* zeros are lost",
    ),
    "codes of ICD-10": (
        rewrite("DIAGNOSES_ICD", lambda data: data.replace(b",4019", b",J449")),
        r"column ICD9_CODE of table DIAGNOSES_ICD in .* 1 code in 3 rows of ICD-10 where the",
    ),
    "a folder for a file": (
        replaced("PATIENTS", lambda path: path.mkdir()),
        r"has no table PATIENTS; put",
    ),
    "a link to nothing": (
        replaced("PATIENTS", lambda path: path.symlink_to("nowhere")),
        r"has no table PATIENTS; put|PATIENTS.csv.gz' has gone",
    ),
    "a table plain and compressed": (
        beside("CHARTEVENTS.csv", b"ROW_ID\n1\n"),
        r"has table CHARTEVENTS twice, CHARTEVENTS.csv and CHARTEVENTS.csv.gz",
    ),
    "stays of another system": (
        rewrite("ICUSTAYS", lambda data: data.replace(b"metavision", b"carevue")),
        r"ICUSTAYS in .* has no stay with DBSOURCE metavision",
    ),
    "stays of another export": (
        rewrite("ADMISSIONS", lambda data: re.sub(rb",(11|12|21),", rb",9\1,", data)),
        r"ICUSTAYS in .* has no stay of an admission that is in ADMISSIONS",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(raw: Any, kind: str) -> None:
    spoil, said = REFUSED[kind]
    folder = raw.write()
    spoil(Path(folder))
    with pytest.raises(Refusal) as refused:
        read_all(folder)
    sentence = str(refused.value)
    assert re.search(said, sentence), sentence
    assert "\n" not in sentence
    assert SECRET not in sentence


LEFT_OUT = {
    "a patient without identifier": (
        again("PATIENTS", 0, subject_id=""),
        "patients, without subject_id",
    ),
    "a patient twice": (
        again("PATIENTS", 0, gender="M"),
        "patients, whose subject_id is there already",
    ),
    "an admission without patient": (
        again("ADMISSIONS", 0, hadm_id=99, subject_id=""),
        "admissions, without hadm_id or subject_id",
    ),
    "an admission twice": (
        again("ADMISSIONS", 0, admittime="2100-01-09 00:00:00"),
        "admissions, whose hadm_id is there already",
    ),
    "an admission of nobody": (
        again("ADMISSIONS", 0, hadm_id=99, subject_id=99),
        "admissions, of no patient",
    ),
    "a negative age": (
        change("PATIENTS", 0, dob="2140-01-01 00:00:00"),
        "times, birth of patients after an admission",
    ),
    "discharged before admitted": (
        change("ADMISSIONS", 0, dischtime="2099-12-01 00:00:00"),
        "times, discharged of admissions before admitted",
    ),
    "dead before admitted": (
        change("ADMISSIONS", 0, deathtime="2099-12-01 00:00:00"),
        "times, died of admissions before admitted",
    ),
    "a stay without identifier": (
        again("ICUSTAYS", 0, icustay_id=""),
        "stays, without stay_id or hadm_id or subject_id",
    ),
    "a stay twice": (again("ICUSTAYS", 0), "stays, whose stay_id is there already"),
    "a stay of nobody": (
        again("ICUSTAYS", 0, icustay_id=109, subject_id=2),
        "stays, of no admission of that patient",
    ),
    "a stay without a beginning": (
        again("ICUSTAYS", 0, icustay_id=109, intime=""),
        "stays, without intime",
    ),
    "a stay that ends before it begins": (
        change("ICUSTAYS", 0, outtime="2099-12-31 05:00:00"),
        "times, outtime of stays before intime",
    ),
    "a stay outside its admission": (
        again("ICUSTAYS", 0, icustay_id=109, intime="2100-02-01 00:00:00", outtime=""),
        "stays, outside their admission",
    ),
    "a code of nobody": (
        again("DIAGNOSES_ICD", 0, hadm_id=99),
        "codes, of no admission of that patient",
    ),
    "a code that is a text": (
        again("DIAGNOSES_ICD", 0, icd9_code=SECRET),
        "codes, in no form of their ICD version",
    ),
    "a code that is blank": (again("DIAGNOSES_ICD", 0, icd9_code=" "), "codes, blank"),
    "an event of no stay": (
        again(CHART, 0, icustay_id=999),
        "CHARTEVENTS, of no stay that is read",
    ),
    "an event without a stay": (
        again(CHART, 0, icustay_id=""),
        "CHARTEVENTS, of no stay that is read",
    ),
    "an event without a time": (
        again(CHART, 0, charttime=""),
        "CHARTEVENTS, without a time",
    ),
    "an event of another year": (
        again(CHART, 0, charttime="1900-01-01 00:00:00"),
        "CHARTEVENTS, outside the window",
    ),
    "an event of an unknown item": (again(CHART, 0, itemid=7), "CHARTEVENTS, of other items"),
    "an event that is an error": (again(CHART, 0, error=1), "CHARTEVENTS, marked as errors"),
    "a laboratory result of nobody": (
        again("LABEVENTS", 0, hadm_id=99),
        "LABEVENTS, of no stay that is read",
    ),
    "a laboratory result without a time": (
        again("LABEVENTS", 0, charttime=""),
        "LABEVENTS, without a time",
    ),
    "an input that ends before it starts": (
        again("INPUTEVENTS_MV", 0, endtime="2100-01-01 01:00:00"),
        "INPUTEVENTS_MV, end before start",
    ),
    "an input without an end": (
        again("INPUTEVENTS_MV", 0, endtime=""),
        "INPUTEVENTS_MV, without a time",
    ),
    "a negative amount": (
        again("INPUTEVENTS_MV", 0, amount=-5),
        "INPUTEVENTS_MV, rewritten or without an amount",
    ),
    "a procedure that ends before it starts": (
        again("PROCEDUREEVENTS_MV", 0, endtime="2099-01-01 00:00:00"),
        "PROCEDUREEVENTS_MV, end before start",
    ),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_left_out_and_counted(raw: Any, kind: str) -> None:
    spoil, reason = LEFT_OUT[kind]
    known = read_all(raw.write()).counts.get(reason, 0)
    spoil(raw)
    assert read_all(raw.write()).counts[reason] == known + 1


@pytest.mark.parametrize(
    ("item", "unit"), [(223761, "K"), (226730, "furlong"), (224639, "stone"), (226512, "g")]
)
def test_a_unit_that_is_not_known_is_left_out_and_counted(raw: Any, item: int, unit: str) -> None:
    raw.add("D_ITEMS", itemid=item, dbsource="metavision", category="Vital")
    raw.chart(101, item, "2100-01-01 07:00:00", 80, unit)
    assert read_all(raw.write()).counts["CHARTEVENTS, of unknown unit"] == 1


@pytest.mark.parametrize("text", ["inf", "nan", "-inf", "1e999", "\0", "=1+1", "x" * 100_000])
def test_an_odd_value_is_a_text_like_any_other(raw: Any, text: str) -> None:
    raw.chart(101, 220048, "2100-01-01 07:00:00", text)
    source = mimic3.read("mimic3", raw.write(), RUN)
    found = [row for batch in source.events() for row in batch.to_pylist()]
    assert [row["text"] for row in found if row["variable"] == "220048"] == [text]


def test_every_row_of_an_event_table_is_an_event_or_counted(raw: Any) -> None:
    """The charted table of all kinds above at once."""
    for spoil, reason in LEFT_OUT.values():
        if reason.startswith(CHART):
            spoil(raw)
    source = read_all(raw.write())
    left_out = sum(n for reason, n in source.counts.items() if reason.startswith(f"{CHART}, "))
    stream = mimic3.read("mimic3", str(raw.path), RUN).streams[CHART]
    events = sum(batch.num_rows for batch in stream())
    assert source.counts[CHART] == len(raw.tables[CHART]) == events + left_out > events > 0


def test_a_name_that_leads_elsewhere_is_no_table(raw: Any, tmp_path: Path) -> None:
    (tmp_path / "PATIENTS.csv").write_text("SUBJECT_ID\n1\n")
    folder = Path(raw.write())
    (folder / "PATIENTS.csv.gz").unlink()
    (folder / "..%2fPATIENTS.csv").write_text("SUBJECT_ID\n1\n")
    (folder / "a\\PATIENTS.csv").write_text("SUBJECT_ID\n1\n")
    with pytest.raises(Refusal, match="has no table PATIENTS"):
        read_all(str(folder))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read(raw: Any) -> None:
    folder = Path(raw.write())
    (folder / "CHARTEVENTS.csv.gz").chmod(0)
    with pytest.raises(Refusal, match="cannot be read"):
        read_all(str(folder))


def test_a_place_in_no_bucket(s3: str) -> None:
    with pytest.raises(Refusal, match=r"there is no CSV table in|cannot be listed"):
        mimic3.find(Folder(f"{s3}/nothing"))
