"""The synthetic cohort in the shape of MIMIC-IV gives the tables that it gives as MIMIC-III."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from jobs.featurize import featurize
from medhmp.recipes import PLANTED, smoke
from medhmp.run import Shards, Synthetic, Tables
from medhmp.shards.manifest import open_shards
from medhmp.storage import Folder
from medhmp.synthetic import synthesize
from medhmp.tables.mimic import mimic3, mimic4
from medhmp.tasks import cohort

RUN = replace(smoke(), quiet=True)
UNITS = {
    "MICU": "Medical Intensive Care Unit (MICU)",
    "SICU": "Surgical Intensive Care Unit (SICU)",
    "CCU": "Coronary Care Unit (CCU)",
    "CSRU": "Cardiac Vascular Intensive Care Unit (CVICU)",
    "TSICU": "Trauma SICU (TSICU)",
}
TYPES = {"ELECTIVE": "SURGICAL SAME DAY ADMISSION", "EMERGENCY": "EW EMER.", "URGENT": "URGENT"}
WORDS = {
    "admission_type": TYPES,
    "admission_location": {
        "EMERGENCY ROOM ADMIT": "EMERGENCY ROOM",
        "TRANSFER FROM HOSP/EXTRAM": "TRANSFER FROM HOSPITAL",
        "CLINIC REFERRAL/PREMATURE": "CLINIC REFERRAL",
        "PHYS REFERRAL/NORMAL DELI": "PHYSICIAN REFERRAL",
        "TRANSFER FROM SKILLED NUR": "TRANSFER FROM SKILLED NURSING FACILITY",
    },
    "insurance": {"Private": "Other", "Government": "Other", "Self Pay": "Other"},
    "marital_status": {"UNKNOWN (DEFAULT)": None, "SEPARATED": None},
    "ethnicity": {
        "UNKNOWN/NOT SPECIFIED": "UNKNOWN",
        "AMERICAN INDIAN/ALASKA NATIVE FEDERALLY RECOGNIZED TRIBE": "AMERICAN INDIAN/ALASKA NATIVE",
    },
}
"""Column of ADMISSIONS -> MIMIC-III's word -> MIMIC-IV's."""
HIDDEN = "Name:  ___\n"


class Shape:
    """Writes MIMIC-III tables, read as text, as MIMIC-IV has them."""

    def __init__(self, raw: Path, out: Path) -> None:
        self.raw, self.out = raw, out
        times = self.table("ADMISSIONS").select("subject_id", "hadm_id", "admittime", "dischtime")
        self.times = times  # as text, which sorts like time

    def table(self, name):
        frame = pl.read_csv(self.raw / f"{name}.csv.gz", infer_schema=False)
        return frame.rename(str.lower).drop("row_id")

    def write(self, name, frame):
        (self.out / name).parent.mkdir(parents=True, exist_ok=True)
        frame.write_csv(self.out / f"{name}.csv.gz", compression="gzip")

    def all(self):
        self.hospital()
        self.of_admissions()
        self.of_stays()
        self.notes()

    def hospital(self):
        first = self.times.group_by("subject_id").agg(pl.col("admittime").min())
        patients = self.table("PATIENTS").join(first, on="subject_id", maintain_order="left")
        days = (time("admittime") - time("dob")).dt.total_days()
        age = (days / 365.25).floor().cast(pl.Int64)
        patients = patients.with_columns(
            anchor_age=pl.when(age > 89).then(91).otherwise(age),
            anchor_year=pl.col("admittime").str.head(4),
            anchor_year_group=pl.lit("2011 - 2013"),
            dod=pl.col("dod").str.head(10),
        )
        columns = ("subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group", "dod")
        self.write("hosp/patients", patients.select(columns))
        admissions = spelled(self.table("ADMISSIONS")).rename({"ethnicity": "race"})
        self.write("hosp/admissions", admissions.drop("religion"))
        stays = self.table("ICUSTAYS").drop("dbsource", "first_wardid", "last_wardid")
        units = [pl.col(c).replace_strict(UNITS) for c in ("first_careunit", "last_careunit")]
        self.write("icu/icustays", stays.rename({"icustay_id": "stay_id"}).with_columns(units))
        self.write("icu/d_items", self.table("D_ITEMS").drop("dbsource"))

    def of_admissions(self):
        """Codes of odd admissions in ICD-10; some labs without admission, some values hidden."""
        codes = self.table("DIAGNOSES_ICD").with_columns(
            icd_code=as_icd10(pl.col("icd9_code")), icd_version=pl.when(is_late()).then(10)
        )
        codes = codes.with_columns(pl.col("icd_version").fill_null(9))
        self.write("hosp/diagnoses_icd", codes.drop("icd9_code"))
        drugs = self.table("PRESCRIPTIONS").drop("icustay_id", "drug_name_generic")
        names = {"startdate": "starttime", "enddate": "stoptime"}
        self.write("hosp/prescriptions", drugs.rename(names))
        labs = self.without_admission(self.table("LABEVENTS")).with_row_index("labevent_id")
        hidden = (pl.col("labevent_id") % 5 == 0) & pl.col("valuenum").is_not_null()
        value = pl.when(hidden).then(pl.lit("___")).otherwise("value")
        self.write("hosp/labevents", labs.with_columns(value=value))
        cultures = self.without_admission(self.table("MICROBIOLOGYEVENTS"))
        self.write("hosp/microbiologyevents", cultures.with_row_index("microevent_id"))

    def without_admission(self, rows):
        """Of every third row inside its admission the admission goes; so do rows that have none."""
        rows = rows.drop_nulls("hadm_id").with_row_index("n")
        at = rows.join(self.times, on=["subject_id", "hadm_id"], maintain_order="left")
        inside = pl.col("charttime").is_between("admittime", "dischtime").fill_null(False)
        gone = inside & (pl.col("n") % 3 == 0)
        assert 0.2 < at.select(gone.mean()).item() < 0.4
        hadm = pl.when(~gone).then("hadm_id")
        return at.with_columns(hadm_id=hadm).select(rows.columns).drop("n")

    def of_stays(self):
        for name, table in (
            *(("chartevents", "CHARTEVENTS"), ("outputevents", "OUTPUTEVENTS")),
            *(("inputevents", "INPUTEVENTS_MV"), ("procedureevents", "PROCEDUREEVENTS_MV")),
            ("datetimeevents", "DATETIMEEVENTS"),
        ):
            frame = self.table(table).rename({"icustay_id": "stay_id"})
            for mark in {"error", "iserror"} & set(frame.columns):
                frame = frame.filter(pl.col(mark).fill_null("0") == "0").drop(mark)
            if name == "chartevents":
                degrees = pl.col("valueuom").str.replace("?", "°", literal=True)
                frame = frame.with_columns(degrees)
            self.write(f"icu/{name}", frame)

    def notes(self):
        notes = self.table("NOTEEVENTS").filter(pl.col("category") == "Discharge summary")
        kind = pl.when(pl.col("description") == "Report").then(pl.lit("DS")).otherwise(pl.lit("AD"))
        notes = notes.with_row_index("note_seq").with_columns(
            note_type=kind, charttime="chartdate", text=HIDDEN + pl.col("text")
        )
        columns = ("subject_id", "hadm_id", "note_type", "note_seq", "charttime", "text")
        self.write("note/discharge", notes.select(columns))


def spelled(admissions):
    """ADMISSIONS in MIMIC-IV's words. It has one ? for every language but English."""
    english = pl.when(pl.col("language") == "ENGL").then(pl.lit("ENGLISH")).otherwise(pl.lit("?"))
    words = [pl.col(column).replace(words) for column, words in WORDS.items()]
    return admissions.with_columns(*words, language=english)


def time(column):
    return pl.col(column).str.to_datetime()


def is_late():
    return pl.col("hadm_id").cast(pl.Int64) % 2 == 1


def as_icd10(code):
    """Heart failure is I50; any other code is only marked, in a form that ICD-10 has."""
    failing = code.str.starts_with("428")
    marked = ("Z" + code).str.replace("^ZE", "Y8").str.replace("^ZV", "Y9")
    late = pl.when(failing).then("I50" + code.str.slice(3)).otherwise(marked)
    return pl.when(is_late()).then(late).otherwise(code)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    raw, out = tmp_path_factory.mktemp("mimic3"), tmp_path_factory.mktemp("mimic4")
    synthesize(Synthetic(patients=250, seed=5), Folder(str(raw)))
    Shape(raw, out).all()
    return str(raw), str(out)


@pytest.fixture(scope="module")
def sources(folders):
    raw, out = folders
    return mimic3.read("mimic3", raw, RUN), mimic4.read("mimic4", out, RUN)


def test_patients(sources):
    three, four = (source.patients for source in sources)
    assert three.drop("birth").equals(four.drop("birth"))
    apart = (three["birth"] - four["birth"]).dt.total_days().abs()
    old = (four["birth"].dt.year() - three["birth"].dt.year()) > 150  # moved by three centuries
    assert old.any()
    assert apart.filter(~old).max() <= 367


def test_admissions_and_stays(sources):
    three, four = (source.admissions.drop("religion") for source in sources)
    assert set(four["admission_type"]) == set(TYPES.values())
    assert spelled(three).equals(four)
    three, four = (source.stays.drop("first_ward") for source in sources)
    assert set(three["first_careunit"]) == set(UNITS)
    assert three.equals(four)


def test_codes(sources):
    three, four = (source.codes for source in sources)
    late, diagnosis = is_late(), pl.col("kind") == "diagnosis"
    versions = (
        four.filter(diagnosis)
        .group_by(late.alias("late"))
        .agg(pl.col("code").str.split(":").list.first().unique())
    )
    assert dict(versions.iter_rows()) == {True: ["10"], False: ["9"]}
    written = as_icd10(pl.col("code").str.slice(2))
    version = pl.when(late).then(pl.lit("10:")).otherwise(pl.lit("9:"))
    expected = pl.when(diagnosis).then(version + written).otherwise("code")
    assert three.with_columns(code=expected).equals(four)
    assert four["code"].str.starts_with("10:I50").any()
    assert four["code"].str.starts_with("9:428").any()


def test_notes(sources):
    three, four = (
        pl.concat([pl.from_arrow(batch) for batch in source.notes()]) for source in sources
    )
    assert four.height > 200
    assert three.with_columns(text=HIDDEN + pl.col("text")).equals(four)
    late = [
        source.counts[f"{table}, written after discharge"]
        for source, table in zip(sources, ("NOTEEVENTS", "DISCHARGE"), strict=True)
    ]
    assert late[0] == late[1]


def test_events(sources):
    three, four = (
        pl.concat([pl.from_arrow(batch) for batch in source.events()]).sort(
            "stay_id", "variable", "hours", maintain_order=True
        )
        for source in sources
    )
    assert set(three["variable"]) == set(four["variable"])
    age = pl.col("variable") == "AGE"
    assert three.filter(~age).equals(four.filter(~age))
    assert three.height > 400_000
    ages = three.filter(age)["number"], four.filter(age)["number"]
    near = (ages[0] - ages[1]).abs() < 1.01
    assert (near | ((ages[0] > 88) & (ages[1] > 88))).all()
    assert ages[1].max() == 91.4


def small_shape(raw, out):
    """Patients, admissions, stays and codes as MIMIC-IV has them; tables of events are empty."""
    shape = Shape(raw, out)
    shape.hospital()
    codes = shape.table("DIAGNOSES_ICD").rename({"icd9_code": "icd_code"})
    shape.write("hosp/diagnoses_icd", codes.with_columns(icd_version=pl.lit(9)))
    for name in mimic4.REQUIRED:
        if not (out / f"{name}.csv.gz").exists():
            (out / f"{name}.csv.gz").touch()


def told_apart(three, four):
    """Cross-validated AUROC of trees that tell two sources by what holds for their stays.

    All stays of a patient, in both sources, are in one fold.
    """
    stays = set(three.stays["stay_id"]) & set(four.stays["stay_id"])
    facts = []
    for source in (three, four):
        events = pl.concat([pl.from_arrow(batch) for batch in source.streams["static"]()])
        facts.append(events.filter(pl.col("stay_id").is_in(stays)))
    named = pl.concat(f.with_columns(source=pl.lit(n)) for n, f in enumerate(facts))
    ids = ["source", "subject_id", "stay_id"]
    numbers = named.drop_nulls("number").pivot("variable", index=ids, values="number")
    texts = named.drop_nulls("text").pivot("variable", index=ids, values="text")
    frame = numbers.join(texts, on=ids, how="left").sort("subject_id", "stay_id", "source")
    x = frame.drop(ids).to_dummies([n for n in texts.columns if n not in ids]).to_numpy()
    y, groups = frame["source"].to_numpy(), frame["subject_id"].to_numpy()
    trees = RandomForestClassifier(200, min_samples_leaf=5, random_state=0)
    scores = cross_val_predict(trees, x, y, groups=groups, cv=GroupKFold(5), method="predict_proba")
    return roc_auc_score(y, scores[:, 1])


@pytest.mark.parametrize("cohort_is", ["synthetic", "the open demo"])
def test_facts_do_not_tell_the_database(folders, request, tmp_path, cohort_is):
    raw = Path(folders[0])
    if cohort_is != "synthetic":
        raw = request.getfixturevalue("shared") / "data" / "mimic-iii-demo-1.4"
        if not raw.is_dir():
            pytest.skip(f"needs {raw}, which is not here")
    small_shape(raw, tmp_path)
    auroc = {}
    for words in ("shared", "own"):
        run = replace(RUN, features=replace(RUN.features, facts=words))
        three, four = (
            mimic3.read("mimic3", str(raw), run),
            mimic4.read("mimic4", str(tmp_path), run),
        )
        auroc[words] = told_apart(three, four)
    assert auroc["shared"] <= 0.55
    assert auroc["own"] > 0.95


def test_onsets_and_labels(sources):
    for source in sources:
        assert sum(batch.num_rows for batch in source.events())
    three, four = (source.onsets() for source in sources)
    assert three.equals(four)
    assert all(three[kind].count() > 10 for kind in ("arf", "shock"))
    for task in PLANTED:
        one, other = (cohort.label(task, s, three, RUN.cohort, icd9_only=False) for s in sources)
        assert one.rows.equals(other.rows)
        assert one.steps == other.steps
        assert 0 < one.rows["label"].sum() < one.rows.height


@pytest.mark.ray
def test_it_is_featurized(ray, folders, tmp_path):
    made = {}
    for name, folder in zip(("mimic3", "mimic4"), folders, strict=True):
        run = replace(
            RUN,
            out=str(tmp_path / name),
            tables=Tables(sources=(f"{name}={folder}",)),
            shards=Shards(files=2, bucket_stays=100),
        )
        featurize(run)
        made[name] = open_shards(run).manifest
    three, four = made["mimic3"], made["mimic4"]
    assert all(three.tasks[task] == four.tasks[task] for task in PLANTED)
    assert four.features == three.features
    assert four.rows_read["mimic4"]["INPUTEVENTS"] == three.rows_read["mimic3"]["INPUTEVENTS_MV"]
    versions = {code.partition(":")[0] for code in four.diagnoses}
    assert versions == {"9", "10"}
    assert four.notes == three.notes > 0


def icd_run(folders, out, **features):
    run = replace(
        RUN,
        out=str(out),
        tables=Tables(sources=(f"mimic4={folders[1]}",)),
        shards=Shards(files=2, bucket_stays=100),
        features=replace(RUN.features, **features),
    )
    featurize(run)
    return run, open_shards(run).manifest


def admissions_of(run, manifest):
    shards = Folder(run.out) / "shards"
    return [
        row
        for name in manifest.tables["admissions"]
        for row in shards.read_parquet(f"admissions/{name}").to_pylist()
    ]


@pytest.mark.ray
def test_admissions_of_icd9_alone(ray, folders, sources, tmp_path):
    """Every second admission is of ICD-10 (and none of both, here)."""
    run, manifest = icd_run(folders, tmp_path, icd="icd9_only")
    codes = sources[1].codes.filter(pl.col("kind") == "diagnosis")
    nine = set(codes.filter(pl.col("code").str.starts_with("9:"))["hadm_id"])
    rows = admissions_of(run, manifest)
    assert {row["hadm_id"] for row in rows} == nine
    every = sources[1].admissions.height
    name = "admissions without diagnoses of ICD-9 alone"
    assert manifest.left_out["mimic4"][name] == every - len(nine) > 50
    assert {code.partition(":")[0] for code in manifest.diagnoses} == {"9"}
    stays = sum(file.rows for file in manifest.tables["stays"].values())
    assert stays == sources[1].stays.height  # no stay is left out
    shards = Folder(run.out) / "shards"
    assert set(shards.read_parquet("labels/readmission.parquet")["row_id"].to_pylist()) <= nine
    visits = {
        visit["hadm_id"]: visit
        for name in manifest.tables["patients"]
        for patient in shards.read_parquet(f"patients/{name}").to_pylist()
        for visit in patient["visits"]
    }
    assert visits.keys() == nine
    for row in shards.read_parquet("labels/heart_failure.parquet").to_pylist():
        own = sources[1].admissions.filter(subject_id=row["subject_id"])["hadm_id"]
        used = [visits[hadm]["discharged"] for hadm in own if hadm in visits]
        assert any(end <= row["prediction_time"] for end in used)


@pytest.mark.ray
def test_one_version_with_what_stands_above_a_code(ray, folders, sources, tmp_path):
    run, manifest = icd_run(folders, tmp_path, icd="to_icd9", code_levels=(0, 2))
    ten = sources[1].codes.filter(pl.col("code").str.starts_with("10:"))
    failing = ten.filter(pl.col("code").str.starts_with("10:I50"))
    unmapped = ten.filter(~pl.col("code").is_in(list(manifest.icd9_of)))
    counts = manifest.counts["mimic4"]
    assert counts["diagnoses without an ICD-9 equivalent"] == unmapped.height > 100
    assert counts["diagnoses without ancestors"] <= unmapped.height
    assert all(
        code.startswith("9:428") for c in failing["code"] for code in manifest.icd9_of.get(c, ())
    )
    place = {code: n for n, code in enumerate(manifest.diagnoses)}
    assert "9:390-459" in place
    own = {row["hadm_id"]: set(row["icd_ids"]) for row in admissions_of(run, manifest)}
    mapped = failing.filter(pl.col("code").is_in(list(manifest.icd9_of)))["hadm_id"].to_list()
    assert mapped
    for hadm in mapped:
        assert {place["9:428"], place["9:390-459"]} <= own[hadm]


def test_the_lists_of_the_tasks_are_found_in_either_version(sources):
    """A first code of heart failure in ICD-10 makes the case that it makes in ICD-9."""
    matched = replace(RUN.cohort, matched=("heart_failure",))
    one, other = (
        cohort.label("heart_failure", s, s.onsets(), matched, icd9_only=False) for s in sources
    )
    cases = [labels.rows.filter(pl.col("label") == 1) for labels in (one, other)]
    assert min(of.height for of in cases) > 10
    eligible = [dict(labels.steps)["cases"] for labels in (one, other)]
    assert eligible[0] == eligible[1]
