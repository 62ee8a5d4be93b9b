"""The eICU reader on a stay made by hand: ids, times, codes, what is left out, what is refused."""

import gzip
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.icd import icd9_path
from medhmp.legend import LEVELS
from medhmp.refusal import Refusal
from medhmp.run import Cohort, Features, Run, Shards, Splits, Tables
from medhmp.shards.build.index import Index
from medhmp.shards.build.labels import write_labels
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.eicu import reader
from medhmp.tables.eicu.codes import ICD9, ICD10
from medhmp.tables.eicu.patient import BIRTH
from medhmp.tables.schema import IDS
from medhmp.tables.sources import apart
from medhmp.tasks import cohort

STAY, HADM, PERSON = 141_001, 128_001, "002-33870"
YEAR = timedelta(hours=8766)
SECRET = "4x7"


def person(tables, stay=STAY, hadm=HADM, who=PERSON, **values):
    values = {
        "gender": "Female",
        "age": 60,
        "hospitalid": 73,
        "wardid": 90,
        "hospitaladmitoffset": -30,
        "hospitaldischargeyear": 2014,
        "hospitaldischargeoffset": 5000,
        "hospitaldischargestatus": "Alive",
        "unitvisitnumber": 1,
        "unitdischargeoffset": 4000,
    } | values
    ids = {"patientunitstayid": stay, "patienthealthsystemstayid": hadm, "uniquepid": who}
    tables.add("patient", **ids | values)


def charted(tables, table, minute, stay=STAY, **values):
    column = {
        "lab": "labresultoffset",
        "vitalPeriodic": "observationoffset",
        "nurseCharting": "nursingchartoffset",
        "respiratoryCare": "respcarestatusoffset",
        "respiratoryCharting": "respchartoffset",
        "infusionDrug": "infusionoffset",
        "medication": "drugstartoffset",
        "diagnosis": "diagnosisoffset",
    }[table]
    tables.add(table, patientunitstayid=stay, **{column: minute}, **values)


@pytest.fixture
def raw(eicu_tables):
    """One patient, one stay of 4,000 minutes, a row in each required table."""
    tables = eicu_tables(patients=0)
    for table in tables.rows:
        tables.rows[table] = []
    person(tables)
    charted(tables, "lab", 90, labname="glucose", labresult=5)
    charted(tables, "vitalPeriodic", 60, heartrate=80)
    charted(tables, "nurseCharting", 60, nursingchartcelltypecat="Pain", nursingchartvalue=2)
    charted(tables, "respiratoryCare", 60, airwaytype="Oral ETT", ventstartoffset=0)
    charted(tables, "respiratoryCharting", 60, respchartvaluelabel="FiO2", respchartvalue="40%")
    charted(tables, "infusionDrug", 60, drugname="Propofol", drugrate=10)
    charted(tables, "medication", 60, drugname="Aspirin", dosage="81", drugordercancelled="No")
    charted(tables, "diagnosis", 60, diagnosisstring="renal|AKI", icd9code="584.9, N17.9")
    return tables


def read(folder, **sections):
    return reader.read("eicu", str(folder), Run(quiet=True, **sections))


def events_of(source):
    return pl.concat([pl.from_arrow(batch) for batch in source.events()])


def timed(source):
    """(hours, variable, number or text) of what has a time."""
    own = events_of(source).drop_nulls("hours").select("hours", "variable", "number", "text")
    return [(h, name, t if n is None else n) for h, name, n, t in own.iter_rows()]


def test_every_table_is_of_the_schema(raw, tmp_path):
    source = read(raw.write(tmp_path))
    for table, target in (
        *((source.patients, schema.PATIENTS), (source.admissions, schema.ADMISSIONS)),
        *((source.stays, schema.STAYS), (source.codes, schema.CODES)),
    ):
        assert table.columns == target.names
        table.to_arrow().cast(target)
    assert source.patients.rows() == [(2_033_870, "F", BIRTH, None)]
    (admission,) = source.admissions.to_dicts()
    (stay,) = source.stays.to_dicts()
    assert (stay["stay_id"], stay["hadm_id"], stay["first_ward"]) == (STAY, HADM, "90")
    assert stay["intime"] - admission["admitted"] == timedelta(minutes=30)
    assert stay["outtime"] - stay["intime"] == timedelta(minutes=4000)
    assert admission["discharged"] - stay["intime"] == timedelta(minutes=5000)
    assert (admission["expired"], admission["died"]) == (False, None)
    assert list(source.notes()) == []
    assert sorted(timed(source)) == [
        (1.0, "Aspirin||dosage", 81.0),
        (1.0, "FiO2", "40%"),
        (1.0, "Pain||", 2.0),
        (1.0, "Propofol", 10.0),
        (1.0, "airwaytype", "Oral ETT"),
        (1.0, "heartrate", 80.0),
        (1.0, "renal|AKI", 1.0),
        (1.5, "glucose", 5.0),
    ]


def test_file_names_and_headers_in_either_case_plain_or_gzip_give_the_same(raw, tmp_path):
    packed = events_of(read(raw.write(tmp_path / "packed")))
    plain = events_of(read(raw.write(tmp_path / "plain", lower=True, gz=False)))
    assert packed.equals(plain)
    assert packed["variable"].n_unique() == packed.height > 12


@pytest.mark.s3
def test_a_bucket_gives_the_same(raw, tmp_path, s3):
    local = Folder(raw.write(tmp_path))
    for name in local.names():
        Folder(s3).write_bytes(f"eicu/{name}", local.read_bytes(name))
    assert events_of(read(f"{s3}/eicu")).equals(events_of(read(tmp_path)))
    assert reader.files(Folder(f"{s3}/eicu")) == reader.files(local)


AGE = st.sampled_from(["0", "17", "18", "60", "89", "> 89"])
HOSPITAL_STAY = st.tuples(AGE, st.integers(2014, 2015), st.integers(-600, 4000))


@settings(max_examples=20, deadline=None)
@given(st.lists(HOSPITAL_STAY, min_size=1, max_size=6))
def test_the_axis_keeps_ages_and_the_order_of_ages_and_years(eicu_tables, tmp_path_factory, own):
    tables = eicu_tables(patients=0)
    tables.rows["patient"] = []
    for number, (age, year, waited) in enumerate(own):
        when = {"hospitaladmitoffset": -waited, "hospitaldischargeyear": year, "age": age}
        person(tables, STAY + number, HADM + number, **when)
    source = read(tables.write(tmp_path_factory.mktemp("axis")))
    stays = source.stays.join(source.admissions, on="hadm_id").sort("stay_id").to_dicts()
    ages = [90 if age == "> 89" else int(age) for age, *_ in own]
    assert [(stay["intime"] - BIRTH) // YEAR for stay in stays] == ages
    waits = [(stay["intime"] - stay["admitted"]) / timedelta(minutes=1) for stay in stays]
    assert waits == [waited for *_, waited in own]
    keys = [(age, year) for age, (_, year, _) in zip(ages, own, strict=True)]
    in_time = [stay["admitted"] for stay in stays]
    for one, other in ((i, k) for i in range(len(own)) for k in range(len(own))):
        assert (keys[one] < keys[other]) == (in_time[one] < in_time[other])


def test_somebody_of_unknown_age_is_no_adult(raw, tmp_path):
    person(raw, STAY + 1, HADM + 1, "002-2", age="")
    source = read(raw.write(tmp_path), cohort=Cohort(min_age=0))
    labels = cohort.label("mortality", source, source.onsets(), Cohort(min_age=0), icd9_only=False)
    assert labels.rows["row_id"].to_list() == [STAY]


def test_unit_stays_of_one_hospital_stay(raw, tmp_path):
    """The axis holds both; the last end is the end, one known status is the status."""
    second = {"hospitaladmitoffset": -4500, "unitdischargeoffset": 900, "unitvisitnumber": 2}
    second |= {"hospitaldischargeoffset": 530, "hospitaldischargestatus": "Expired"}
    raw.rows["patient"][0]["hospitaldischargestatus"] = ""
    person(raw, STAY + 1, **second)
    for minute in (530, 900, 901):
        charted(raw, "lab", minute, STAY + 1, labname="glucose", labresult=6)
    source = read(raw.write(tmp_path))
    assert source.admissions.height == 1
    (admission,) = source.admissions.to_dicts()
    first, then = source.stays.sort("stay_id").to_dicts()
    assert then["intime"] - first["intime"] == timedelta(minutes=4470)
    assert admission["expired"]
    assert admission["died"] == admission["discharged"] == then["outtime"]
    late = events_of(source).filter(pl.col("stay_id") == STAY + 1).drop_nulls("hours")
    assert late["hours"].to_list() == [530 / 60, 15.0]
    labels = cohort.label("mortality", source, source.onsets(), Cohort(), icd9_only=False)
    assert labels.rows["row_id"].to_list() == [STAY]
    assert labels.rows["label"].to_list() == [1]


PATIENT = st.tuples(st.integers(0, 999), st.integers(0, 10**6 - 1))


@given(st.lists(PATIENT, max_size=9, unique=True))
@settings(max_examples=15, deadline=None)
def test_patients_get_ids_of_their_own(eicu_tables, tmp_path_factory, own):
    tables = eicu_tables(patients=0)
    tables.rows["patient"] = []
    for number, (system, patient) in enumerate([*own, (0, 10**6 - 1), (1, 0)]):
        person(tables, STAY + number, HADM + number, f"{system:03}-{patient}")
    source = read(tables.write(tmp_path_factory.mktemp("ids")))
    assert source.patients["subject_id"].is_unique().all()
    assert source.patients["subject_id"].max() < IDS
    assert source.patients.height == len({*own, (0, 10**6 - 1), (1, 0)})


def test_what_holds_for_a_stay(raw, tmp_path):
    raw.add("hospital", hospitalid=73, numbedscategory="100 - 249", teachingstatus="f")
    raw.rows["patient"][0] |= {"age": "> 89", "admissionweight": 71.5, "dischargeweight": 70}
    folder = raw.write(tmp_path)
    shared, own = (
        {
            name: text if number is None else number
            for *_, name, number, text, _ in events_of(source)
            .filter(pl.col("hours").is_null())
            .iter_rows()
        }
        for source in (read(folder), read(folder, features=Features(facts="own")))
    )
    assert shared == {
        "GENDER": "F",
        "AGE": 91.4,
        "ETHNICITY": "OTHER OR UNKNOWN",
        "ADMISSION_LOCATION": "OTHER OR UNKNOWN",
        "FIRST_CAREUNIT": "OTHER OR UNKNOWN",
        "HADM_to_ICU_time": 0.5,
        "admissionweight": 71.5,
        "unitvisitnumber": 1.0,
        "numbedscategory": "100 - 249",
        "teachingstatus": "f",
    }
    assert own == {
        "gender": "Female",
        "age": "> 89",
        "hospitalid": "hospitalid=73",
        "wardid": "wardid=90",
        "admissionweight": 71.5,
        "hospitaladmitoffset": -30.0,
        "unitvisitnumber": 1.0,
        "numbedscategory": "100 - 249",
        "teachingstatus": "f",
    }


def test_codes_of_both_versions(raw, tmp_path):
    charted(raw, "diagnosis", 9000, icd9code=" v45.81,Z95.1 ,, 428.0, X")
    charted(raw, "diagnosis", -50, icd9code="")
    charted(raw, "diagnosis", 5, stay=7, icd9code="401.9")
    source = read(raw.write(tmp_path))
    codes = source.codes.filter(kind="diagnosis")
    assert sorted(codes["code"]) == ["10:N179", "10:Z951", "9:4280", "9:5849", "9:V4581"]
    assert codes.select("subject_id", "hadm_id").unique().rows() == [(2_033_870, HADM)]
    assert source.counts["codes, blank"] == 1
    assert source.counts["codes, neither of ICD-9 nor of ICD-10"] == 1


@pytest.mark.parametrize("written", ["38.9, A41.9", "42", "8.45,8.45", "1882.0"])
def test_codes_that_have_lost_zeros_are_refused(raw, tmp_path, written):
    charted(raw, "diagnosis", 5, icd9code=written)
    with pytest.raises(Refusal, match=r"column ICD9CODE of table DIAGNOSIS .* zeros are lost"):
        read(raw.write(tmp_path))


def test_every_icd9_code_is_told_from_icd10():
    """V and E codes above all, which ICD-10 has, too."""
    numbers = [f"{n:03}" for n in range(1, 1000)] + [f"V{n:02}" for n in range(1, 92)]
    numbers += [f"E{n:03}" for n in range(1000)]
    tails = ["", *map(str, range(10)), *(f"{n:02}" for n in range(100))]
    written = [f"{n}.{tail}" if tail else n for n in numbers for tail in tails]
    real = [code for code in written if icd9_path(code.replace(".", ""))[-1:] == [code]]
    assert len(real) > 10_000
    told = pl.Series(real)
    assert real == told.filter(told.str.contains(ICD9)).to_list()
    tens = pl.Series(["A41.9", "E11", "E11.9", "E87.70", "I50", "J96.00", "V45.81XA", "Z3A.01"])
    assert not tens.str.contains(ICD9).any()
    assert tens.str.contains(ICD10).all()


def test_drugs(raw, tmp_path):
    charted(raw, "medication", 60, drugname=" ASPIRIN ")
    charted(raw, "medication", -900, drugname="Heparin", drugordercancelled="No")
    charted(raw, "medication", "", drugname="Insulin")
    charted(raw, "medication", 60, drugname="Warfarin", drugordercancelled="Yes")
    charted(raw, "medication", 5001, drugname="Statin")
    charted(raw, "medication", 60, drughiclseqno="1820.0")
    charted(raw, "medication", 60, drugname=" ", dosage=2)
    source = read(raw.write(tmp_path))
    codes = source.codes.filter(kind="drug")["code"]
    assert sorted(codes) == ["aspirin", "heparin", "hicl:1820", "insulin"]
    assert source.counts["MEDICATION, cancelled orders"] == 1
    assert source.counts["MEDICATION, orders that name no drug"] == 1
    assert source.counts["MEDICATION, orders from after discharge"] == 1


@pytest.mark.parametrize("key", ["ndc", "gsn"])
def test_a_drug_key_that_is_not_there_is_refused(raw, tmp_path, key):
    with pytest.raises(Refusal, match=rf"features.drug_key is {key} and .* --features.drug_key na"):
        read(raw.write(tmp_path), features=Features(drug_key=key))


def test_what_is_left_out_is_counted(raw, tmp_path):
    before = read(raw.write(tmp_path / "before"))
    events = events_of(before)
    person(raw, STAY + 1, HADM + 1, "002-2", hospitaladmitoffset="")
    person(raw, STAY, HADM + 2, "002-3")
    person(raw, STAY + 2, HADM, "002-3")
    for lacking in ({"stay": ""}, {"hadm": ""}, {"who": ""}, {"who": " "}):
        person(raw, **{"stay": STAY + 3, "hadm": HADM + 3, "who": "002-4"} | lacking)
    charted(raw, "lab", 60, labresult=5)
    charted(raw, "lab", 60, STAY + 1, labname="glucose")
    for minute in (-1, 2880, "", 10_000):
        charted(raw, "lab", minute, labname="glucose", labresult=5)
    charted(raw, "lab", 60, labname="PEEP", labresult=5)
    charted(raw, "medication", 60, drughiclseqno="2051.0", dosage=1, drugordercancelled="Yes")
    source = read(raw.write(tmp_path / "after"))
    assert events_of(source).equals(events)
    more = {name: n - before.counts.get(name, 0) for name, n in source.counts.items()}
    assert {name: n for name, n in more.items() if n} == {
        "LAB": 7,
        "LAB, outside the window": 3,
        "LAB, without a time": 1,
        "LAB, without a name": 1,
        "LAB, of no stay in PATIENT": 1,
        "MEDICATION": 1,
        "MEDICATION, cancelled orders": 1,
        "PATIENT": 7,
        "rows that are signals of a task": 2,
        "stays, of no admission of that patient": 1,
        "stays, whose stay_id is there already": 1,
        "stays, without intime": 1,
        "stays, without stay_id or hadm_id or subject_id": 4,
    }


def test_onsets_at_their_edges(raw, tmp_path):
    for stay, care in enumerate(
        [
            {"ventstartoffset": 0},
            {"ventstartoffset": 61},
            {"ventstartoffset": 60},
            {"ventstartoffset": -15},
            {"peeplimit": 0},
            {"cpaplimit": 5},
        ],
        1,
    ):
        person(raw, stay, stay, f"002-{stay}", hospitalid=74)
        charted(raw, "respiratoryCare", 60, stay, **care)
    for rate in (0, "OFF", "", "inf", 2):
        stay += 1
        person(raw, stay, stay, f"002-{stay}", hospitalid=75)
        charted(raw, "infusionDrug", 30, stay, drugname="NeoSynephrine", drugrate=rate)
    source = read(raw.write(tmp_path))
    events_of(source)
    found = source.onsets().sort("stay_id")
    assert found["arf"].to_list()[:6] == [None, None, 1.0, -0.25, 1.0, None]
    assert found["shock"].to_list()[6:11] == [None, None, None, None, 0.5]
    assert sorted(source.unrecorded["arf"]["stay_id"]) == [7, 8, 9, 10, 11]
    assert sorted(source.unrecorded["shock"]["stay_id"]) == [1, 2, 3, 4, 5, 6]
    _, second = apart([source, source])
    assert sorted(second.unrecorded["shock"]["stay_id"] - IDS) == [1, 2, 3, 4, 5, 6]


def test_tasks_without_dates_have_no_label_and_a_reason(raw, tmp_path):
    source = read(raw.write(tmp_path))
    run, out = Run(splits=Splits(), shards=Shards(files=1)), Folder(str(tmp_path / "out"))
    index = Index.of([source], run.splits, 500)
    entries, counted = write_labels(
        run.cohort, False, [source], {"eicu": source.onsets()}, index, out
    )
    assert len(entries) == 2 * len(LEVELS)  # labels and attributes
    for task in ("arf", "shock", "mortality"):
        assert (sum(counted[task].rows.values()), counted[task].unavailable) == (1, "")
    for task in ("readmission", "heart_failure"):
        assert sum(counted[task].rows.values()) == 0
        assert counted[task].unavailable.startswith("not available from eicu: it has no dates")


def test_optional_tables_may_be_missing_and_that_is_said(raw, tmp_path, capsys):
    for table in reader.OPTIONAL:
        del raw.rows[table]
    source = reader.read("eicu", raw.write(tmp_path), Run())
    assert events_of(source).height > 10
    said = capsys.readouterr().out
    for table, what in reader.OPTIONAL.items():
        assert f"eicu: no table {table.upper()}; {what}" in said


@pytest.mark.parametrize("table", reader.FOR_FEATURES)
def test_a_run_may_go_without_a_table_that_features_alone_need(raw, tmp_path, capsys, table):
    full = read(raw.write(tmp_path))
    assert events_of(full).height > 10
    (tmp_path / f"{table}.csv.gz").unlink()
    with pytest.raises(
        Refusal, match=f"no table {table.upper()}; .*--tables.optional {table.upper()} goes w"
    ):
        read(tmp_path)
    run = Run(tables=Tables(optional=(table,)))
    source = reader.read("eicu", str(tmp_path), run)
    assert (
        f"eicu: no table {table.upper()}; {reader.FOR_FEATURES[table]}" in capsys.readouterr().out
    )
    assert table.upper() not in source.streams
    assert events_of(source).height > 10
    assert source.onsets().equals(full.onsets())
    assert source.admissions.equals(full.admissions)


@pytest.mark.parametrize("table", reader.FOR_LABELS)
def test_a_table_that_labels_need_is_never_optional(raw, tmp_path, table):
    raw.write(tmp_path)
    tasks = reader.FOR_LABELS[table]
    said = f"names {table.upper()}, without which there are no labels for {tasks}; leave"
    with pytest.raises(Refusal, match=said):
        reader.read("eicu", str(tmp_path), Run(tables=Tables(optional=(table,)), quiet=True))


def test_one_refusal_lists_all_tables_that_are_missing(raw, tmp_path):
    raw.write(tmp_path)
    for name in ("lab", "respiratoryCare", "medication"):
        (tmp_path / f"{name}.csv.gz").unlink()
    said = (
        r"has no table RESPIRATORYCARE, MEDICATION, LAB; put respiratoryCare.csv or "
        r"respiratoryCare.csv.gz, medication.csv or medication.csv.gz, lab.csv or lab.csv.gz \(or"
    )
    with pytest.raises(Refusal, match=said):
        read(tmp_path)


def test_parquet_reads_the_same(raw, tmp_path, as_parquet):
    source = read(raw.write(tmp_path))
    events, codes = events_of(source), source.codes
    as_parquet(tmp_path)
    again = read(tmp_path)
    assert events_of(again).equals(events)
    assert again.codes.equals(codes)
    assert again.stays.equals(source.stays)


def drain(folder):
    for _ in read(folder).events():
        pass


@pytest.mark.parametrize("name", reader.REQUIRED)
def test_a_missing_or_empty_required_table_is_refused(raw, tmp_path, name):
    rows, raw.rows[name] = raw.rows[name], []
    with pytest.raises(Refusal, match=rf"table {name.upper()} in .* has no rows; copy or export"):
        drain(raw.write(tmp_path))
    (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(Refusal, match=f"table {name.upper()} in .* is empty"):
        drain(tmp_path)
    raw.rows[name] = rows
    raw.write(tmp_path)
    (tmp_path / f"{name}.csv.gz").unlink()
    with pytest.raises(Refusal, match=f"no table {name.upper()}; put {name}.csv or {name}.csv.gz"):
        drain(tmp_path)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *(("patient", "uniquepid"), ("patient", "hospitaldischargestatus"), ("lab", "labname")),
        *(("vitalPeriodic", "icp"), ("respiratoryCare", "ventstartoffset")),
        *(("infusionDrug", "drugrate"), ("medication", "drughiclseqno"), ("diagnosis", "icd9code")),
    ],
)
def test_a_missing_column_is_refused(raw, tmp_path, name, column):
    raw.headers[name] = [c for c in raw.headers[name] if c != column]
    said = f"table {name.upper()} in .* has no column {column.upper()}; export"
    with pytest.raises(Refusal, match=said):
        drain(raw.write(tmp_path))


@pytest.mark.parametrize(
    ("name", "column", "wanted"),
    [
        ("patient", "patientunitstayid", "a whole number"),
        ("patient", "hospitaladmitoffset", "a whole number"),
        ("patient", "uniquepid", "a patient's id as in eICU"),
        ("lab", "labresultoffset", "a whole number"),
        ("vitalPeriodic", "heartrate", "a number"),
        ("respiratoryCare", "ventstartoffset", "a whole number"),
        ("medication", "patientunitstayid", "a whole number"),
    ],
)
def test_letters_where_a_number_belongs_are_refused_without_showing_them(
    raw, tmp_path, name, column, wanted
):
    raw.rows[name][0][column] = SECRET
    with pytest.raises(Refusal) as error:
        drain(raw.write(tmp_path))
    text = str(error.value)
    assert f"table {name.upper()} in" in text
    assert f"something else than {wanted}" in text
    assert f"column {column.upper()} at line 2;" in text
    assert SECRET not in text


def test_patients_that_cannot_be_told_apart_or_are_not_there_are_refused(raw, tmp_path):
    person(raw, STAY + 1, HADM + 1, "002-033870")
    with pytest.raises(Refusal, match=r"PATIENT in .* two UNIQUEPID that differ in leading zeros"):
        read(raw.write(tmp_path))
    raw.rows["patient"] = []
    person(raw, hospitaladmitoffset="")
    with pytest.raises(Refusal, match=r"PATIENT in .* has no row with its ids and a HOSPITALADM"):
        read(raw.write(tmp_path))


def test_a_file_cut_short_or_a_wrong_folder_is_refused(raw, tmp_path):
    raw.write(tmp_path)
    path = tmp_path / "nurseCharting.csv.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(Refusal, match=r"nurseCharting.csv.gz' is cut short or not gzip; copy or"):
        drain(tmp_path)
    with pytest.raises(Refusal, match=r"no CSV table in .* folder that holds patient.csv.gz"):
        read(tmp_path / "nowhere")
