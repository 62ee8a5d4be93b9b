"""The MIMIC-III reader on hand-made tables, on broken ones, and on the open demo."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from medhmp.refusal import Refusal
from medhmp.run import Cohort, Features, Run, Tables
from medhmp.tables import schema
from medhmp.tables.mimic import mimic3


def read(folder, **sections):
    return mimic3.read("mimic3", str(folder), Run(quiet=True, **sections))


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


def test_names_and_headers_in_either_case_plain_or_gzip_give_the_same(raw, tmp_path):
    upper = events_of(read(raw.write()))
    raw.path = tmp_path / "other"
    lower = events_of(read(raw.write(lower=True, gz=False)))
    assert upper.height > 30
    assert upper.equals(lower)


def test_static_variables(raw):
    events = events_of(read(raw.write()))
    static = events.filter(pl.col("hours").is_null() & (pl.col("stay_id") == 101))
    assert set(static["variable"]) == {
        *("GENDER", "AGE", "ADMISSION_TYPE", "ADMISSION_LOCATION", "INSURANCE", "LANGUAGE"),
        *("MARITAL_STATUS", "ETHNICITY", "FIRST_CAREUNIT", "HADM_to_ICU_time"),
    }
    assert values(events, 101, "HADM_to_ICU_time") == [(None, 6.0)]
    assert values(events, 101, "AGE")[0][1] == pytest.approx((60 * 365 + 15 + 0.25) / 365)
    assert values(events, 201, "AGE") == [(None, 91.4)]


def test_facts_in_own_words(raw):
    own = mimic3.read("mimic3", raw.write(), Run(quiet=True, features=Features(facts="own")))
    events, shared = events_of(own), events_of(read(raw.write()))
    more = set(events["variable"]) - set(shared["variable"])
    assert more == {"RELIGION", "FIRST_WARDID"}
    assert values(events, 101, "FIRST_WARDID") == [(None, "WARDID=50")]
    assert values(events, 101, "ADMISSION_LOCATION") != values(shared, 101, "ADMISSION_LOCATION")


def test_charted_values_are_grouped_and_in_one_unit(raw):
    time = "2100-01-01 07:00:00"
    for item, value, unit in (
        *((223761, 98.6, "?F"), (223762, 36.5, "?C")),
        *((226707, 70, "Inch"), (226730, 178, "cm")),
        *((226531, 220, ""), (224639, 80, "kg"), (226512, 81, "")),
    ):
        raw.add("D_ITEMS", itemid=item, dbsource="metavision", category="Vital")
        raw.chart(101, item, time, value, unit)
    events = events_of(read(raw.write()))
    assert [v for _, v in values(events, 101, "Temperature")] == pytest.approx([37.0, 36.5])
    assert [v for _, v in values(events, 101, "Height")] == pytest.approx([177.8, 178], abs=1e-4)
    assert [v for _, v in values(events, 101, "Weight")] == pytest.approx([99.7903214, 80, 81])
    assert values(events, 101, "HR") == [(1.5, 80.0)]


def test_charted_errors_repeated_labs_carevue_items_and_other_hours_are_left_out(raw):
    for item, source, category in (
        (227443, "metavision", "Labs"),
        (211, "carevue", ""),
        (220277, "metavision", ""),
    ):
        raw.add("D_ITEMS", itemid=item, dbsource=source, category=category)
        raw.chart(101, item, "2100-01-01 07:00:00", 5)
    raw.chart(101, 220045, "2100-01-01 09:00:00", 999, error=1)
    raw.chart(101, 220045, "2100-01-01 05:59:00", 1)  # before unit admission
    raw.chart(101, 220045, "2100-01-03 06:00:00", 2)  # hour 48
    raw.chart(555, 220045, "2100-01-01 07:00:00", 3)  # no such stay
    source = read(raw.write())
    events = events_of(source)
    timed = events.filter(pl.col("hours").is_not_null() & (pl.col("stay_id") == 101))
    assert {"227443", "211"}.isdisjoint(timed["variable"])
    assert "SpO2" in set(timed["variable"])
    assert values(events, 101, "HR") == [(1.5, 80.0)]
    assert source.counts["CHARTEVENTS, marked as errors"] == 1
    assert source.counts["CHARTEVENTS"] == 10


def test_nothing_after_discharge_is_read(raw):
    raw.tables["ADMISSIONS"][0]["DISCHTIME"] = "2100-01-01 10:00:00"  # hour 4
    raw.chart(101, 220045, "2100-01-01 10:00:00", 81)
    raw.chart(101, 220045, "2100-01-01 10:01:00", 82)
    raw.add(
        "PROCEDUREEVENTS_MV",
        icustay_id=101,
        itemid=225441,
        starttime="2100-01-01 08:30:00",
        endtime="2100-01-02 00:00:00",
    )
    events = events_of(read(raw.write()))
    assert [v for _, v in values(events, 101, "HR")] == [80, 81]
    assert [h for h, _ in values(events, 101, "225441")] == [
        2.5,
        3.5,
        4.5,
    ]  # begins of bins 2, 3, 4


def test_text_values_stay_text_and_numbers_are_parsed(raw):
    at = "2100-01-01 08:00:00"
    for value in (" 1.5 ", "1e2", "<1", "inf", "nan", ""):
        raw.add("LABEVENTS", subject_id=1, hadm_id=11, itemid=50001, charttime=at, value=value)
    events = events_of(read(raw.write()))
    assert values(events, 101, "50001") == [(2, v) for v in (1.5, 100, "<1", "inf", "nan", None)]


def test_labs_reach_every_stay_of_the_admission_and_need_an_admission(raw):
    raw.add(
        "ICUSTAYS",
        subject_id=1,
        hadm_id=11,
        icustay_id=103,
        dbsource="metavision",
        intime="2100-01-01 07:00:00",
        outtime="2100-01-04 06:00:00",
    )
    raw.add("LABEVENTS", subject_id=1, itemid=50912, charttime="2100-01-01 08:00:00", value="9")
    events = events_of(read(raw.write()))
    assert values(events, 101, "50912") == [(2.0, 1.1)]
    assert values(events, 103, "50912") == [(1.0, 1.1)]
    assert values(events, 102, "50912") == []


def test_cultures_dates_and_outputs(raw):
    for organism in (1, 2):
        raw.add(
            "MICROBIOLOGYEVENTS",
            subject_id=1,
            hadm_id=11,
            charttime="2100-01-01 09:00:00",
            spec_itemid=70012,
            org_itemid=organism,
        )
    raw.add(
        "MICROBIOLOGYEVENTS",
        subject_id=1,
        hadm_id=11,
        chartdate="2100-01-01 00:00:00",
        spec_itemid=70012,
    )
    raw.add(
        "DATETIMEEVENTS",
        icustay_id=101,
        itemid=224183,
        charttime="2100-01-01 07:00:00",
        value="2099-12-30 06:00:00",
    )
    for error in ("", 1):
        raw.add(
            "OUTPUTEVENTS",
            icustay_id=101,
            itemid=226559,
            charttime="2100-01-01 07:00:00",
            value=50,
            iserror=error,
        )
    events = events_of(read(raw.write()))
    assert values(events, 101, "70012") == [(3.0, 1.0), (3.0, 1.0)]
    assert values(events, 101, "224183") == [(1.0, -2.0)]
    assert values(events, 101, "226559") == [(1.0, 50.0)]


def give(raw, item, start="07:00:00", end="09:00:00", **values):
    raw.add(
        "INPUTEVENTS_MV",
        icustay_id=101,
        itemid=item,
        starttime=f"2100-01-01 {start}",
        endtime=f"2100-01-01 {end}",
        **values,
    )


def test_inputs_become_rates_amounts_and_doses_in_every_bin_they_touch(raw):
    give(raw, 1, amount=2, amountuom="grams", rate=5, ordercategorydescription="Continuous Med")
    give(raw, 2, amount=120, amountuom="ml", ordercategorydescription="Continuous IV")
    give(raw, 3, end="07:01:00", amount=500, amountuom="mcg", ordercategorydescription="Drug Push")
    give(raw, 4, end="07:01:00", amount=1, amountuom="dose", ordercategorydescription="Drug Push")
    give(raw, 5, amount=1, amountuom="dose", rate=1, ordercategorydescription="Continuous Med")
    give(raw, 6, end="07:00:00", amount=1, amountuom="mg", rate=1)
    give(raw, 7, amount=1, amountuom="mg", rate=1, statusdescription="Rewritten")
    give(raw, 8, amount=0, amountuom="mg", rate=1)
    give(raw, 9, amount=1, amountuom="/hour", rate=1)
    give(raw, 10, end="06:59:00", amount=1, amountuom="mg", rate=1)
    events = events_of(read(raw.write()))
    bins = [1.5, 2.5, 3.5]  # hours 1 to 3: the end touches a third bin
    assert values(events, 101, "1") == [(h, 1.0) for h in bins]
    assert values(events, 101, "1_Rate") == [(h, 2000 / 120) for h in bins]  # mg per minute
    assert values(events, 101, "1_Amount") == []
    assert values(events, 101, "1_InputRoute") == [(h, "Continuous Med") for h in bins]
    assert values(events, 101, "2_Rate") == [(h, 1.0) for h in bins]
    assert values(events, 101, "3_Amount") == [(1.5, 0.5)]
    assert values(events, 101, "3_Rate") == []
    assert values(events, 101, "4_Dose") == [(1.5, 1.0)]
    assert values(events, 101, "4_Amount") == []
    assert values(events, 101, "6") == [(1.5, 1.0)]  # it ran, at a rate that nobody knows
    assert values(events, 101, "6_Rate") == []
    assert not {"5", "7", "8", "9", "10"} & set(events["variable"])


def test_ranges_are_cut_to_the_window_and_follow_the_bin_width(raw):
    raw.add(
        "PROCEDUREEVENTS_MV",
        icustay_id=101,
        itemid=9,
        starttime="2099-12-31 00:00:00",
        endtime="2100-01-01 09:00:00",
    )
    raw.add(
        "PROCEDUREEVENTS_MV",
        icustay_id=101,
        itemid=10,
        starttime="2100-01-03 03:00:00",
        endtime="2100-01-09 00:00:00",
    )
    folder = raw.write()
    events = events_of(read(folder))
    assert [h for h, _ in values(events, 101, "9")] == [0.5, 1.5, 2.5, 3.5]
    assert [h for h, _ in values(events, 101, "10")] == [45.5, 46.5, 47.5]
    wide = events_of(read(folder, features=Features(dt=2)))
    assert [h for h, _ in values(wide, 101, "9")] == [1, 3]
    assert [h for h, _ in values(wide, 101, "10")] == [45, 47]


@pytest.mark.parametrize("end", ["03 08:00:00", "03 12:00:00", "04 06:00:00"])
def test_of_a_range_that_runs_on_past_the_window_counts_the_part_inside(raw, end):
    """Three hours at 60 a hour are inside, whenever it ends."""
    start = "2100-01-03 03:00:00"  # hour 45
    hours = {"03 08:00:00": 5, "03 12:00:00": 9, "04 06:00:00": 27}[end]
    for item, unit, rate in ((1, "ml", 60), (2, "mg", ""), (3, "dose", "")):
        raw.add(
            "INPUTEVENTS_MV",
            icustay_id=101,
            itemid=item,
            starttime=start,
            endtime=f"2100-01-{end}",
            amount=60 * hours,
            amountuom=unit,
            rate=rate,
        )
    events = events_of(read(raw.write()))
    bins = [45.5, 46.5, 47.5]
    assert [h for h, _ in values(events, 101, "1")] == bins
    assert values(events, 101, "1_Rate") == [(h, 1.0) for h in bins]  # ml per minute
    assert values(events, 101, "2_Amount") == [(h, 180.0) for h in bins]
    assert values(events, 101, "3_Dose") == [(h, 180.0) for h in bins]


def test_of_a_range_that_runs_on_past_discharge_counts_the_part_before(raw):
    raw.tables["ADMISSIONS"][0]["DISCHTIME"] = "2100-01-01 08:00:00"  # hour 2
    give(raw, 1, start="07:00:00", end="11:00:00", amount=40, amountuom="mg")
    events = events_of(read(raw.write()))
    assert values(events, 101, "1_Amount") == [(1.5, 10.0), (2.5, 10.0)]


def test_a_charted_date_is_known_from_that_date_on_and_past_the_window_left_out(raw):
    """Such rows are filled in after the time they stand at."""
    for value in ("2100-01-03 05:59:00", "2100-01-03 06:00:00", "2100-02-01 00:00:00", ""):
        raw.add(
            "DATETIMEEVENTS",
            icustay_id=101,
            itemid=224183,
            charttime="2100-01-03 05:00:00",
            value=value,
        )
    source = read(raw.write())
    events = events_of(source)
    dated = (pytest.approx(48 - 1 / 60), pytest.approx(2 - 1 / 1440))
    assert sorted(values(events, 101, "224183")) == [(47.0, None), dated]
    assert source.counts["DATETIMEEVENTS, of a later date"] == 2


def test_onsets_are_read_before_signals_are_removed(raw):
    raw.add("D_ITEMS", itemid=220339, dbsource="metavision", category="Respiratory")
    raw.add("D_ITEMS", itemid=224700, dbsource="metavision", category="Respiratory")
    raw.chart(101, 220339, "2100-01-01 16:00:00", 5)
    raw.chart(101, 224700, "2100-01-01 16:00:00", 5)
    raw.add(
        "PROCEDUREEVENTS_MV",
        icustay_id=101,
        itemid=225792,
        starttime="2100-01-01 12:00:00",
        endtime="2100-01-02 00:00:00",
    )
    raw.add(
        "PROCEDUREEVENTS_MV",
        icustay_id=201,
        itemid=225794,
        starttime="2100-01-01 05:00:00",
        endtime="2100-01-02 00:00:00",
    )
    give(raw, 221906, start="18:00:00", end="19:00:00", amount=1, amountuom="mg", rate=1)
    give(raw, 221289, amount=1, amountuom="mg", rate=1, statusdescription="Rewritten")
    folder = raw.write()
    source = read(folder)
    events = events_of(source)
    onsets = source.onsets().sort("stay_id")
    assert onsets["stay_id"].to_list() == [101, 102, 201]
    assert onsets["arf"].to_list() == [6.0, None, -1.0]
    assert onsets["shock"].to_list() == [12.0, None, None]
    named = {name.split("_")[0] for name in events["variable"]}
    assert named.isdisjoint({"220339", "225792", "225794", "221906"})
    assert "224700" in named
    strict = events_of(read(folder, cohort=Cohort(task_signals="strict")))
    assert "224700" not in set(strict["variable"])


def test_codes(raw):
    raw.add("DIAGNOSES_ICD", subject_id=1, hadm_id=11, icd9_code=" v5861 ")
    raw.add("DIAGNOSES_ICD", subject_id=1, hadm_id=11)
    for drug, ndc, gsn, day in (
        *(("Aspirin ", "0", " 004380", "01"), ("ASPIRIN", "123", "004380", "02")),
        *(("", "00", "000000", "03"), ("Late", "9", "9", "09")),
    ):
        raw.add(
            "PRESCRIPTIONS",
            subject_id=1,
            hadm_id=11,
            startdate=f"2100-01-{day} 00:00:00",
            drug=drug,
            ndc=ndc,
            gsn=gsn,
        )
    folder = raw.write()
    codes = read(folder).codes.filter(pl.col("hadm_id") == 11)
    assert set(codes.select("kind", "code").iter_rows()) == {
        *(("diagnosis", "9:4019"), ("diagnosis", "9:V5861")),
        ("drug", "aspirin"),  # the other one began after discharge
    }
    for key, expected in (("name", "aspirin"), ("ndc", "123"), ("gsn", "004380")):
        drugs = read(folder, features=Features(drug_key=key)).codes.filter(pl.col("kind") == "drug")
        assert drugs["code"].to_list() == [expected]


def summary(raw, hadm, day, text, description="Report", category="Discharge summary", error=""):
    raw.add(
        "NOTEEVENTS",
        subject_id=1,
        hadm_id=hadm,
        chartdate=day,
        text=text,
        category=category,
        description=description,
        iserror=error,
    )


def notes_of(source):
    batches = list(source.notes())
    assert all(batch.schema.equals(schema.NOTES) for batch in batches)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert len(rows) == len({row["hadm_id"] for row in rows})
    return {row["hadm_id"]: row["text"] for row in rows}


def test_one_discharge_note_per_admission(raw):
    summary(raw, 11, "2100-01-03", "early, over\ntwo lines")
    summary(raw, 11, "2100-01-04", "the one")
    summary(raw, 11, "2100-01-05", "an addendum", description="Addendum")
    summary(raw, 11, "2100-01-05", "an error", error=1)
    summary(raw, 11, "2100-01-05", "of a nurse", category="Nursing")
    summary(raw, 12, "2100-03-05", "only an addendum", description="Addendum")
    summary(raw, "", "2100-01-05", "of no admission")
    assert notes_of(read(raw.write())) == {11: "the one", 12: "only an addendum"}


def test_a_note_written_after_the_day_of_discharge_is_left_out(raw):
    summary(raw, 11, "2100-01-05", "of the day")
    summary(raw, 11, "2100-01-06", "dictated the day after")
    summary(raw, 12, "2100-03-07", "came back yesterday", description="Addendum")
    summary(raw, 21, "", "of no day")
    source = read(raw.write())
    assert notes_of(source) == {11: "of the day", 21: "of no day"}
    assert source.counts["NOTEEVENTS, written after discharge"] == 2


def test_no_notes(raw):
    folder = raw.write()
    assert [b.num_rows for b in read(folder).notes()] in ([], [0])
    (raw.path / "NOTEEVENTS.csv.gz").unlink()
    assert list(read(folder).notes()) == []


def test_optional_tables_may_be_missing_and_that_is_said(raw, capsys):
    folder = raw.write()
    for table in mimic3.OPTIONAL:
        (raw.path / f"{table}.csv.gz").unlink()
    source = mimic3.read("mimic3", str(folder), Run())
    assert events_of(source).height > 30
    said = capsys.readouterr().out
    assert all(f"no table {table}" in said for table in mimic3.OPTIONAL)


def drain(folder):
    source = read(folder)
    for _ in source.events():
        pass
    for _ in source.notes():
        pass


@pytest.mark.parametrize("table", mimic3.REQUIRED)
def test_a_missing_or_empty_required_table_is_refused(raw, table):
    rows, raw.tables[table] = raw.tables[table], []
    with pytest.raises(Refusal, match=rf"{table} in .* has no rows; copy or export"):
        drain(raw.write())
    (raw.path / f"{table}.csv.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(Refusal, match=f"{table} in .* is empty"):
        drain(str(raw.path))
    raw.tables[table] = rows
    folder = raw.write()
    (raw.path / f"{table}.csv.gz").unlink()
    with pytest.raises(Refusal, match=f"has no table {table}; put {table}.csv"):
        drain(folder)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        *(("PATIENTS", "DOB"), ("ADMISSIONS", "HADM_ID"), ("CHARTEVENTS", "ITEMID")),
        *(("LABEVENTS", "CHARTTIME"), ("NOTEEVENTS", "TEXT"), ("INPUTEVENTS_MV", "RATE")),
    ],
)
def test_a_missing_column_is_refused(raw, table, column):
    raw.headers[table].remove(column)
    with pytest.raises(Refusal, match=f"table {table} in .* has no column {column}; export"):
        drain(raw.write())


@pytest.mark.parametrize(
    ("table", "column", "line", "wanted"),
    [
        ("PATIENTS", "SUBJECT_ID", 3, "a whole number"),
        ("ICUSTAYS", "INTIME", 4, "a time"),
        ("CHARTEVENTS", "ICUSTAY_ID", 4, "a whole number"),
        ("CHARTEVENTS", "ITEMID", 4, "a whole number"),
        ("CHARTEVENTS", "CHARTTIME", 4, "a time"),
        ("LABEVENTS", "HADM_ID", 2, "a whole number"),
        ("INPUTEVENTS_MV", "STARTTIME", 2, "a time"),
        ("INPUTEVENTS_MV", "AMOUNT", 2, "a number"),
    ],
)
def test_letters_in_an_id_time_or_number_are_refused_without_showing_them(
    raw, table, column, line, wanted
):
    raw.tables[table][line - 2][column] = "4x7"
    with pytest.raises(Refusal) as error:
        drain(raw.write())
    text = str(error.value)
    assert f"table {table} in" in text
    assert f"{wanted}" in text
    assert f"column {column} at line {line};" in text
    assert "4x7" not in text


def test_damaged_files_are_refused(raw):
    folder = raw.write()
    path = raw.path / "CHARTEVENTS.csv.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(Refusal, match=r"CHARTEVENTS.csv.gz' is cut short or not gzip"):
        drain(folder)
    path.write_bytes(b"not gzip, though named so")
    with pytest.raises(Refusal, match="is cut short or not gzip"):
        drain(folder)
    lines = gzip.decompress(whole)
    path.write_bytes(gzip.compress(lines + b"1,2\n"))
    with pytest.raises(Refusal, match="not a well-formed CSV"):
        drain(folder)
    path.write_bytes(gzip.compress(lines.replace(b"80", b"\xff\xfe")))
    with pytest.raises(Refusal, match="something else than UTF-8 text in column VALUE"):
        drain(folder)


def test_a_wrong_folder_is_refused(tmp_path, raw):
    with pytest.raises(Refusal, match="no CSV table"):
        read(str(tmp_path / "nowhere"))
    (tmp_path / "a_file.csv").touch()
    with pytest.raises(Refusal, match=r"cannot be listed .* give the folder that holds PATIENTS"):
        read(str(tmp_path / "a_file.csv"))
    for row in raw.tables["ICUSTAYS"]:
        row["DBSOURCE"] = "carevue"
    with pytest.raises(Refusal, match="no stay with DBSOURCE metavision"):
        read(raw.write())


def test_the_open_demo(shared):
    source = read(str(shared / "data" / "mimic-iii-demo-1.4"))
    assert source.counts["patients"] == 100
    assert source.counts["admissions"] == 129
    assert source.counts["stays"] == 136
    assert source.counts["metavision_stays"] == source.stays.height == 77
    events = events_of(source)
    timed = events.filter(pl.col("hours").is_not_null())
    assert timed["hours"].min() >= 0
    assert timed["hours"].max() < 48
    assert source.counts["CHARTEVENTS"] == 758_355
    assert source.counts["LABEVENTS"] == 76_074
    median = timed.group_by("variable").agg(pl.col("number").median())
    typical = dict(median.iter_rows())
    assert 36 < typical["Temperature"] < 38
    assert 150 < typical["Height"] < 190
    assert 50 < typical["Weight"] < 110
    assert sum(batch.num_rows for batch in source.notes()) == 0


def test_parquet_reads_the_same(raw, tmp_path, as_parquet):
    folder = Path(raw.write())
    source = read(folder)
    events, notes = events_of(source), list(source.notes())
    as_parquet(folder)
    again = read(folder)
    assert events_of(again).equals(events)
    assert list(again.notes()) == notes
    assert again.codes.equals(source.codes)
    assert again.counts == source.counts


def test_a_run_may_go_without_laboratory_results(raw, tmp_path):
    folder = Path(raw.write())
    full = read(folder)
    assert "LABEVENTS" in full.streams
    assert events_of(full).height > 10
    onsets = full.onsets()
    (folder / "LABEVENTS.csv.gz").unlink()
    with pytest.raises(Refusal, match=r"no table LABEVENTS; .*; of these features alone need"):
        read(folder)
    source = read(folder, tables=Tables(optional=("labevents",)))
    assert "LABEVENTS" not in source.streams
    assert events_of(source).height > 10
    assert source.onsets().equals(onsets)
    for table in mimic3.FOR_LABELS:
        with pytest.raises(Refusal, match="without which there are no labels for"):
            read(folder, tables=Tables(optional=(table.split("/")[-1],)))


def test_one_refusal_lists_all_tables_that_are_missing(raw, tmp_path):
    folder = Path(raw.write())
    for name in list(mimic3.FOR_LABELS)[2:5]:
        (folder / f"{name}.csv.gz").unlink()
    with pytest.raises(Refusal, match=r"has no table ICUSTAYS, DIAGNOSES_ICD, D_ITEMS; put "):
        read(folder)
