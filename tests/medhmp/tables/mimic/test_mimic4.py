"""The MIMIC-IV reader on hand-made tables: what differs from MIMIC-III, and broken tables."""

import csv
import gzip
import io
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from medhmp.refusal import Refusal
from medhmp.run import Features, Run
from medhmp.run import Tables as Asked
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.mimic import mimic4

HEADERS = {
    "hosp/patients": "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod",
    "hosp/admissions": "subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,"
    "admission_location,insurance,language,marital_status,race,hospital_expire_flag",
    "hosp/diagnoses_icd": "subject_id,hadm_id,seq_num,icd_code,icd_version",
    "hosp/labevents": "labevent_id,subject_id,hadm_id,itemid,charttime,value,valuenum,valueuom,"
    "comments",
    "hosp/microbiologyevents": "microevent_id,subject_id,hadm_id,chartdate,charttime,spec_itemid",
    "hosp/prescriptions": "subject_id,hadm_id,starttime,stoptime,drug,gsn,ndc",
    "icu/icustays": "subject_id,hadm_id,stay_id,first_careunit,last_careunit,intime,outtime,los",
    "icu/d_items": "itemid,label,abbreviation,linksto,category",
    "icu/chartevents": "subject_id,hadm_id,stay_id,charttime,itemid,value,valuenum,valueuom,"
    "warning",
    "icu/inputevents": "subject_id,hadm_id,stay_id,starttime,endtime,itemid,amount,amountuom,"
    "rate,rateuom,ordercategorydescription,statusdescription",
    "icu/outputevents": "subject_id,hadm_id,stay_id,charttime,itemid,value,valueuom",
    "icu/procedureevents": "subject_id,hadm_id,stay_id,starttime,endtime,itemid,value",
    "icu/datetimeevents": "subject_id,hadm_id,stay_id,charttime,itemid,value",
    "note/discharge": "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text",
}
DAY = "2150-05-01"


class Tables:
    """Rows of every table (column -> value)."""

    def __init__(self):
        self.rows = {name: [] for name in HEADERS}
        self.headers = {name: header.split(",") for name, header in HEADERS.items()}

    def add(self, table, **values):
        self.rows[table].append(values)

    def files(self, gz=True, upper=False):
        """(name, bytes) of every file."""
        for name, rows in self.rows.items():
            text, header = io.StringIO(), self.headers[name]
            writer = csv.writer(text)
            writer.writerow([column.upper() if upper else column for column in header])
            writer.writerows([[row.get(column, "") for column in header] for row in rows])
            data = text.getvalue().encode()
            yield (f"{name}.csv.gz", gzip.compress(data)) if gz else (f"{name}.csv", data)

    def write(self, path, **how):
        for name, data in self.files(**how):
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return str(path)


def filled():
    """Two patients, three admissions of five days, a stay from the sixth hour of each."""
    tables = Tables()
    tables.add("hosp/patients", subject_id=1, gender="F", anchor_age=60, anchor_year=2150)
    tables.add(
        "hosp/patients", subject_id=2, gender="M", anchor_age=91, anchor_year=2150, dod="2150-09-30"
    )
    stays = ((1, 11, 101, "2150-05"), (1, 12, 102, "2150-08"), (2, 21, 201, "2150-05"))
    for subject, hadm, stay, month in stays:
        own = {"subject_id": subject, "hadm_id": hadm}
        tables.add(
            "hosp/admissions",
            **own,
            admittime=f"{month}-01 00:00:00",
            dischtime=f"{month}-05 12:00:00",
            admission_type="EW EMER.",
            race="WHITE",
            hospital_expire_flag=0,
        )
        tables.add(
            "icu/icustays",
            **own,
            stay_id=stay,
            first_careunit="Medical Intensive Care Unit (MICU)",
            intime=f"{month}-01 06:00:00",
            outtime=f"{month}-04 06:00:00",
            los=3,
        )
        tables.add("hosp/diagnoses_icd", **own, seq_num=1, icd_code="I10", icd_version=10)
        chart(tables, stay, 220045, f"{month}-01 07:30:00", 80)
    tables.add("icu/d_items", itemid=220045, category="Routine Vital Signs")
    lab(tables, 1, 11, f"{DAY} 08:00:00", "1.1")
    give(tables, 225158)
    tables.add(
        "icu/procedureevents",
        stay_id=101,
        itemid=225402,
        starttime=f"{DAY} 06:00:00",
        endtime=f"{DAY} 06:10:00",
    )
    return tables


@pytest.fixture
def raw():
    return filled()


def chart(raw, stay, item, time, value, unit="", warning=0):
    own = {"stay_id": stay, "itemid": item, "charttime": time}
    raw.add("icu/chartevents", **own, value=value, valueuom=unit, warning=warning)


def lab(raw, subject, hadm, time, value, number="", item=50912):
    own = {"subject_id": subject, "hadm_id": hadm, "itemid": item, "charttime": time}
    raw.add("hosp/labevents", **own, value=value, valuenum=number)


def give(raw, item, start="07:00:00", **values):
    values = {
        "starttime": f"{DAY} {start}",
        "endtime": f"{DAY} 09:00:00",
        "amount": 120,
        "amountuom": "ml",
        "rate": 60,
        "ordercategorydescription": "Continuous Med",
        "statusdescription": "FinishedRunning",
    } | values
    raw.add("icu/inputevents", stay_id=101, itemid=item, **values)


def read(folder, **sections):
    return mimic4.read("mimic4", str(folder), Run(quiet=True, **sections))


def events_of(source):
    batches = list(source.events())
    assert all(batch.schema.equals(schema.EVENTS) for batch in batches)
    return pl.concat([pl.from_arrow(batch) for batch in batches])


def values(events, stay, variable):
    """(hours, number or text) of a variable, in the order read."""
    own = events.filter((pl.col("stay_id") == stay) & (pl.col("variable") == variable))
    return [
        (h, t if n is None else n) for h, n, t in own.select("hours", "number", "text").iter_rows()
    ]


def test_plain_or_gzip_headers_in_either_case_give_the_same(raw, tmp_path):
    packed = events_of(read(raw.write(tmp_path / "packed")))
    plain = events_of(read(raw.write(tmp_path / "plain", gz=False, upper=True)))
    assert packed.height == 3 * 10 + 3 + 1 + 9 + 1  # static, charted, lab, input, procedure
    assert packed.equals(plain)


@pytest.mark.s3
def test_a_bucket_gives_the_same(raw, tmp_path, s3):
    for name, data in raw.files():
        Folder(s3).write_bytes(f"iv/{name}", data)
    assert events_of(read(f"{s3}/iv")).equals(events_of(read(raw.write(tmp_path))))


def test_every_table_is_of_the_schema(raw, tmp_path):
    source = read(raw.write(tmp_path))
    for table, target in (
        *((source.patients, schema.PATIENTS), (source.admissions, schema.ADMISSIONS)),
        *((source.stays, schema.STAYS), (source.codes, schema.CODES)),
    ):
        assert table.columns == target.names
        table.to_arrow().cast(target)
    assert source.admissions["ethnicity"].to_list() == ["WHITE"] * 3
    assert source.admissions["religion"].to_list() == [None] * 3
    assert source.stays["first_ward"].to_list() == [None] * 3
    assert source.counts["stays"] == 3
    assert "metavision_stays" not in source.counts


def test_birth_gives_the_anchor_age_in_the_anchor_year(raw, tmp_path):
    source = read(raw.write(tmp_path))
    # 60 and 91 years of 365.25 days before the first of January: 21,915 and 33,237.75 days.
    births = [datetime(2089, 12, 31), datetime(2058, 12, 31)]
    assert births == [datetime(2150, 1, 1) - timedelta(days=days) for days in (21_915, 33_238)]
    assert source.patients["birth"].to_list() == births
    assert source.patients["death"].to_list() == [None, datetime(2150, 9, 30)]
    events = events_of(source)
    days = (datetime(2150, 5, 1, 6) - births[0]) / timedelta(days=1)
    assert values(events, 101, "AGE") == [(None, pytest.approx(days / 365))]
    assert values(events, 201, "AGE") == [(None, 91.4)]  # as of everybody above 89 in MIMIC-III


def test_the_anchor_age_holds_from_the_first_day_of_the_anchor_year(raw, tmp_path):
    anchors = [(age, year) for age in range(92) for year in range(2090, 2210)]
    raw.rows["hosp/patients"] += [
        {"subject_id": 1000 + number, "gender": "F", "anchor_age": age, "anchor_year": year}
        for number, (age, year) in enumerate(anchors)
    ]
    births = read(raw.write(tmp_path)).patients.filter(pl.col("subject_id") >= 1000)["birth"]
    years = timedelta(hours=8766)  # as cohort.py counts them
    for (age, year), birth in zip(anchors, births, strict=True):
        for month, day in ((1, 1), (12, 30)):
            assert (datetime(year, month, day) - birth) // years == age


def test_static_variables_and_care_units(raw, tmp_path):
    raw.rows["icu/icustays"][1]["first_careunit"] = "Cardiac Vascular Intensive Care Unit (CVICU)"
    raw.rows["icu/icustays"][2]["first_careunit"] = "Neuro Stepdown"
    events = events_of(read(raw.write(tmp_path)))
    static = events.filter(pl.col("hours").is_null() & (pl.col("stay_id") == 101))
    assert set(static["variable"]) == {
        *("GENDER", "AGE", "ADMISSION_TYPE", "ADMISSION_LOCATION", "INSURANCE", "LANGUAGE"),
        *("MARITAL_STATUS", "ETHNICITY", "FIRST_CAREUNIT", "HADM_to_ICU_time"),
    }
    units = {stay: values(events, stay, "FIRST_CAREUNIT") for stay in (101, 102, 201)}
    assert units == {
        101: [(None, "MICU")],
        102: [(None, "CSRU")],  # as MIMIC-III calls it
        201: [(None, "NEURO ICU")],
    }


def test_charted_values_have_no_error_mark(raw, tmp_path):
    at = f"{DAY} 08:00:00"
    for item, category in ((223761, "Vital"), (226531, "General"), (227443, "Labs")):
        raw.add("icu/d_items", itemid=item, category=category)
        chart(raw, 101, item, at, 98.6, "°F" if item == 223761 else "", warning=1)
    chart(raw, 101, 220045, f"{DAY} 09:00:00", 90, warning=1)  # out of range, not wrong
    chart(raw, 101, 999, at, 1)  # no such item
    events = events_of(read(raw.write(tmp_path)))
    assert values(events, 101, "HR") == [(1.5, 80.0), (3.0, 90.0)]
    assert values(events, 101, "Temperature") == [(2.0, pytest.approx(37.0))]
    assert values(events, 101, "Weight") == [(2.0, pytest.approx(98.6 * 0.45359237))]
    assert not {"227443", "999"} & set(events["variable"])


def test_a_lab_without_an_admission_is_of_the_one_whose_time_holds_it(raw, tmp_path):
    raw.add(
        "icu/icustays",
        subject_id=1,
        hadm_id=11,
        stay_id=103,
        first_careunit="",
        intime=f"{DAY} 07:00:00",
        outtime="2150-05-04 06:00:00",
    )
    raw.rows["hosp/admissions"][1]["dischtime"] = "2150-08-02 00:00:00"
    for subject, time, value in (
        (1, f"{DAY} 07:59:00", "2"),
        (1, "2150-04-30 23:59:59", "3"),  # the day before admission
        (1, "2150-08-02 00:00:00", "4"),  # the second of discharge
        (1, "2150-08-02 00:00:01", "5"),
        (2, f"{DAY} 10:00:00", "6"),
        (3, f"{DAY} 10:00:00", "7"),  # never in a unit
    ):
        lab(raw, subject, "", time, value)
    lab(raw, 1, 11, f"{DAY} 09:00:00", "8")
    lab(raw, 1, 77, f"{DAY} 09:00:00", "9")  # of an admission that is not there
    lab(raw, 1, "", "", "10")
    events = events_of(read(raw.write(tmp_path)))
    minute = 1 / 60
    assert values(events, 101, "50912") == [(2.0, 1.1), (pytest.approx(2 - minute), 2), (3.0, 8)]
    assert values(events, 103, "50912") == [(1.0, 1.1), (pytest.approx(1 - minute), 2), (2.0, 8)]
    assert values(events, 102, "50912") == [(18.0, 4)]
    assert values(events, 201, "50912") == [(4.0, 6)]


def test_a_hidden_lab_value_is_its_number_or_missing(raw, tmp_path):
    at = f"{DAY} 08:00:00"
    for value, number in (("___", "7.25"), (" ___ ", "0.1"), ("___", ""), ("<5", "5"), ("", "3")):
        lab(raw, 1, 11, at, value, number, item=50001)
    events = events_of(read(raw.write(tmp_path)))
    found = values(events, 101, "50001")
    assert found == [(2.0, 7.25), (2.0, 0.1), (2.0, None), (2.0, "<5"), (2.0, None)]


def test_cultures_dates_and_outputs(raw, tmp_path):
    for hadm, time in ((11, f"{DAY} 09:00:00"), ("", f"{DAY} 10:00:00"), (11, "")):
        raw.add(
            "hosp/microbiologyevents",
            subject_id=1,
            hadm_id=hadm,
            chartdate=f"{DAY} 00:00:00",
            charttime=time,
            spec_itemid=70012,
        )
    own = {"stay_id": 101, "charttime": f"{DAY} 07:00:00"}
    raw.add("icu/datetimeevents", **own, itemid=224183, value="2150-04-29 06:00:00")
    raw.add("icu/outputevents", **own, itemid=226559, value=50)
    events = events_of(read(raw.write(tmp_path)))
    assert values(events, 101, "70012") == [(3.0, 1.0), (4.0, 1.0)]  # a date alone has no hour
    assert values(events, 101, "224183") == [(1.0, -2.0)]
    assert values(events, 101, "226559") == [(1.0, 50.0)]


def test_inputs(raw, tmp_path):
    give(raw, 2, amount=2, amountuom="grams")
    give(raw, 3, amount=500, amountuom="mcg", rate="", ordercategorydescription="Drug Push")
    give(raw, 4, statusdescription="Rewritten")
    source = read(raw.write(tmp_path))
    events = events_of(source)
    bins = [1.5, 2.5, 3.5]
    assert values(events, 101, "2_Rate") == [(h, 2000 / 120) for h in bins]  # mg per minute
    assert values(events, 101, "2_InputRoute") == [(h, "Continuous Med") for h in bins]
    assert values(events, 101, "3_Amount") == [(h, 0.5) for h in bins]
    assert "4" not in set(events["variable"])
    assert source.counts["INPUTEVENTS, rewritten or without an amount"] == 1


def test_onsets_and_signals(raw, tmp_path):
    raw.add("icu/d_items", itemid=220339, category="Respiratory")
    chart(raw, 101, 220339, f"{DAY} 16:00:00", 5)
    chart(raw, 201, 220339, f"{DAY} 05:00:00", 5)
    for stay, item, start in ((101, 225792, "12:00:00"), (201, 225794, "07:00:00")):
        at = {"starttime": f"{DAY} {start}", "endtime": "2150-05-02 00:00:00"}
        raw.add("icu/procedureevents", stay_id=stay, itemid=item, **at)
    give(raw, 221906, start="08:00:00")
    give(raw, 221289, statusdescription="Rewritten")
    for item in (229617, 229630, 229631, 229632, 229709):  # MIMIC-IV's own, no onset
        give(raw, item)
    source = read(raw.write(tmp_path))
    events_of(source)
    onsets = source.onsets().sort("stay_id")
    assert onsets["stay_id"].to_list() == [101, 102, 201]
    assert onsets["arf"].to_list() == [6.0, None, -1.0]
    assert onsets["shock"].to_list() == [2.0, None, None]
    named = {name.split("_")[0] for name in events_of(source)["variable"]}
    assert "225158" in named
    assert named.isdisjoint({"220339", "225792", "225794", "221906", "221289"})
    assert not [name for name in named if name.startswith("229")]


def test_codes_of_both_versions_and_drugs(raw, tmp_path):
    own = {"subject_id": 1, "hadm_id": 11}
    for code, version in (("4280 ", 9), ("i5022", 10), ("V5861", 9), ("", 9), ("4019", "")):
        raw.add("hosp/diagnoses_icd", **own, icd_code=code, icd_version=version)
    for drug, ndc, gsn, day in (
        *(("Aspirin ", "0", "001", 1), ("ASPIRIN", "12", " 001", 5), ("", "34", "002", 1)),
        *(("0", "00000000000", "000000", 2), ("Late", "56", "003", 6)),
    ):
        at = f"2150-05-0{day} 11:00:00"
        raw.add("hosp/prescriptions", **own, starttime=at, drug=drug, ndc=ndc, gsn=gsn)
    folder = raw.write(tmp_path)
    codes = read(folder).codes.filter(pl.col("hadm_id") == 11)
    assert sorted(codes.select("kind", "code").iter_rows()) == [
        *(("diagnosis", "10:I10"), ("diagnosis", "10:I5022")),
        *(("diagnosis", "9:4280"), ("diagnosis", "9:V5861"), ("drug", "aspirin")),
    ]
    for key, expected in (("name", ["aspirin"]), ("ndc", ["12", "34"]), ("gsn", ["001", "002"])):
        drugs = read(folder, features=Features(drug_key=key)).codes.filter(pl.col("kind") == "drug")
        assert drugs["code"].to_list() == expected


def test_codes_that_have_lost_zeros_or_their_version_are_refused(raw, tmp_path):
    own = {"subject_id": 1, "hadm_id": 11}
    for number, (code, version, said) in enumerate(
        [("42", 9, "has 1 code in 1 row that are"), ("4280", 10, "1 code in 1 row of ICD-9 where")]
    ):
        raw.add("hosp/diagnoses_icd", **own, icd_code=code, icd_version=version)
        with pytest.raises(Refusal, match=f"column ICD_CODE of table DIAGNOSES_ICD in .*{said}"):
            read(raw.write(tmp_path / str(number)))
        raw.rows["hosp/diagnoses_icd"].pop()


def note(raw, hadm, time, text, kind="DS", seq=1):
    own = {"subject_id": 1, "hadm_id": hadm, "note_id": f"1-{kind}-{seq}"}
    raw.add("note/discharge", **own, note_type=kind, note_seq=seq, charttime=time, text=text)


def test_one_discharge_note_per_admission(raw, tmp_path):
    day = "2150-05-05 00:00:00"
    note(raw, 11, day, "the second of the day,\nof ___, over two lines", seq=3)
    note(raw, 11, day, "the first of the day", seq=2)
    note(raw, 11, "2150-05-04 00:00:00", "of the day before", seq=4)
    note(raw, 11, day, "an addendum", kind="AD", seq=5)
    note(raw, 11, "2150-05-06 00:00:00", "of the day after", seq=6)
    note(raw, 11, day, "a picture", kind="RR", seq=7)
    note(raw, 12, "2150-08-05 23:59:00", "only an addendum", kind="AD")
    note(raw, 21, "", "of no day")
    note(raw, "", day, "of no admission")
    source = read(raw.write(tmp_path))
    batches = list(source.notes())
    assert all(batch.schema.equals(schema.NOTES) for batch in batches)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert {row["hadm_id"]: row["text"] for row in rows} == {
        11: "the second of the day,\nof ___, over two lines",
        12: "only an addendum",
        21: "of no day",
    }
    assert len(rows) == 3
    assert source.counts["DISCHARGE, written after discharge"] == 1


def test_a_note_s_line_breaks_may_be_where_a_block_ends(raw, tmp_path, monkeypatch):
    raw.rows["hosp/admissions"] = [
        raw.rows["hosp/admissions"][0] | {"hadm_id": 11 + number} for number in range(40)
    ]
    for hadm in range(11, 51):
        note(raw, hadm, "2150-05-05 00:00:00", f"of {hadm}\n" * 40)
    source = read(raw.write(tmp_path))
    monkeypatch.setattr("medhmp.tables.csv_file.BLOCK", 1000)
    texts = [row["text"] for batch in source.notes() for row in batch.to_pylist()]
    assert texts == [f"of {hadm}\n" * 40 for hadm in range(11, 51)]


def test_optional_tables_may_be_missing_and_that_is_said(raw, tmp_path, capsys):
    for table in mimic4.OPTIONAL:
        del raw.rows[table]
    source = mimic4.read("mimic4", raw.write(tmp_path), Run())
    assert events_of(source).height > 30
    assert list(source.notes()) == []
    said = capsys.readouterr().out
    for name in ("OUTPUTEVENTS", "DATETIMEEVENTS", "MICROBIOLOGYEVENTS", "PRESCRIPTIONS"):
        assert f"no table {name}" in said
    assert "mimic4: no table DISCHARGE; no admission has a note" in said


def drain(folder):
    source = read(folder)
    for _ in source.events():
        pass
    for _ in source.notes():
        pass


@pytest.mark.parametrize("name", mimic4.REQUIRED)
def test_a_missing_or_empty_required_table_is_refused(raw, tmp_path, name):
    table = name.split("/")[1].upper()
    rows, raw.rows[name] = raw.rows[name], []
    with pytest.raises(Refusal, match=rf"table {table} in .* has no rows; copy or export"):
        drain(raw.write(tmp_path))
    (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(Refusal, match=f"table {table} in .* is empty"):
        drain(tmp_path)
    raw.rows[name] = rows
    raw.write(tmp_path)
    (tmp_path / f"{name}.csv.gz").unlink()
    with pytest.raises(Refusal, match=f"has no table {table}; put {name}.csv or {name}.csv.gz"):
        drain(tmp_path)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *(("hosp/patients", "anchor_year"), ("hosp/admissions", "race")),
        *(("hosp/diagnoses_icd", "icd_version"), ("hosp/labevents", "valuenum")),
        *(("icu/chartevents", "itemid"), ("icu/inputevents", "stay_id")),
        *(("hosp/prescriptions", "starttime"), ("note/discharge", "text")),
    ],
)
def test_a_missing_column_is_refused(raw, tmp_path, name, column):
    raw.headers[name].remove(column)
    table = name.split("/")[1].upper()
    with pytest.raises(Refusal, match=f"table {table} in .* has no column {column.upper()}; exp"):
        drain(raw.write(tmp_path))


@pytest.mark.parametrize(
    ("name", "column", "line", "wanted"),
    [
        ("hosp/patients", "anchor_age", 3, "a whole number"),
        ("hosp/patients", "dod", 3, "a time"),
        ("hosp/diagnoses_icd", "icd_version", 4, "a whole number"),
        ("hosp/labevents", "valuenum", 2, "a number"),
        ("icu/icustays", "intime", 4, "a time"),
        ("icu/chartevents", "stay_id", 4, "a whole number"),
        ("icu/chartevents", "itemid", 2, "a whole number"),
        ("icu/inputevents", "endtime", 2, "a time"),
    ],
)
def test_letters_in_an_id_time_or_number_are_refused_without_showing_them(
    raw, tmp_path, name, column, line, wanted
):
    raw.rows[name][line - 2][column] = "4x7"
    with pytest.raises(Refusal) as error:
        drain(raw.write(tmp_path))
    text = str(error.value)
    assert f"table {name.split('/')[1].upper()} in" in text
    assert f"{wanted}" in text
    assert f"column {column.upper()} at line {line};" in text
    assert "4x7" not in text


@pytest.mark.parametrize("name", ["icu/chartevents", "hosp/labevents", "note/discharge"])
def test_a_file_cut_short_is_refused(raw, tmp_path, name):
    note(raw, 11, "2150-05-05 00:00:00", "text")
    raw.write(tmp_path)
    path = tmp_path / f"{name}.csv.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(Refusal, match=rf"{name}.csv.gz' is cut short or not gzip; copy or down"):
        drain(tmp_path)


def test_a_wrong_folder_is_refused(raw, tmp_path):
    folder = raw.write(tmp_path)
    for place in ("nowhere", "hosp", "hosp/patients.csv.gz"):
        with pytest.raises(
            Refusal, match=r"no CSV table in .* the folder that holds hosp/patients"
        ):
            read(f"{folder}/{place}")
    for row in raw.rows["icu/icustays"]:
        row["hadm_id"] = 77
    with pytest.raises(Refusal, match=r"ICUSTAYS in .* has no stay of an admission that is in"):
        read(raw.write(tmp_path))


def test_parquet_reads_the_same(raw, tmp_path, as_parquet):
    folder = Path(raw.write(tmp_path))
    source = read(folder)
    events, notes = events_of(source), list(source.notes())
    as_parquet(folder)
    again = read(folder)
    assert events_of(again).equals(events)
    assert list(again.notes()) == notes
    assert again.codes.equals(source.codes)
    assert again.counts == source.counts


def test_a_run_may_go_without_laboratory_results(raw, tmp_path):
    folder = Path(raw.write(tmp_path))
    full = read(folder)
    assert "LABEVENTS" in full.streams
    assert events_of(full).height > 10
    onsets = full.onsets()
    (folder / "hosp/labevents.csv.gz").unlink()
    with pytest.raises(Refusal, match=r"no table LABEVENTS; .*; of these features alone need"):
        read(folder)
    source = read(folder, tables=Asked(optional=("labevents",)))
    assert "LABEVENTS" not in source.streams
    assert events_of(source).height > 10
    assert source.onsets().equals(onsets)
    for table in mimic4.FOR_LABELS:
        with pytest.raises(Refusal, match="without which there are no labels for"):
            read(folder, tables=Asked(optional=(table.split("/")[-1],)))


def test_one_refusal_lists_all_tables_that_are_missing(raw, tmp_path):
    folder = Path(raw.write(tmp_path))
    for name in list(mimic4.FOR_LABELS)[2:5]:
        (folder / f"{name}.csv.gz").unlink()
    with pytest.raises(Refusal, match=r"has no table ICUSTAYS, DIAGNOSES_ICD, D_ITEMS; put "):
        read(folder)
