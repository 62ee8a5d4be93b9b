"""The synthetic cohort: its shape is MIMIC-III's, its labels are what the truth says they are."""

import gzip
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from medhmp import icd
from medhmp.legend import PatientTask
from medhmp.refusal import Refusal
from medhmp.run import Cohort, Run, Synthetic
from medhmp.storage import Folder
from medhmp.synthetic import synthesize
from medhmp.synthetic.signal import UNITS
from medhmp.synthetic.write import BLOCK
from medhmp.tables.mimic.mimic3 import read
from medhmp.tasks.patients import DISEASES, label_patients

PATIENTS = 600
PRESSORS = [221906, 221289, 221662, 222315, 221749]

# Header lines of the open MIMIC-III demo, table by table.
HEADERS = {
    "PATIENTS": "row_id,subject_id,gender,dob,dod,dod_hosp,dod_ssn,expire_flag",
    "ADMISSIONS": (
        "row_id,subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,"
        "admission_location,discharge_location,insurance,language,religion,marital_status,"
        "ethnicity,edregtime,edouttime,diagnosis,hospital_expire_flag,has_chartevents_data"
    ),
    "ICUSTAYS": (
        "row_id,subject_id,hadm_id,icustay_id,dbsource,first_careunit,last_careunit,"
        "first_wardid,last_wardid,intime,outtime,los"
    ),
    "CHARTEVENTS": (
        "row_id,subject_id,hadm_id,icustay_id,itemid,charttime,storetime,cgid,value,valuenum,"
        "valueuom,warning,error,resultstatus,stopped"
    ),
    "LABEVENTS": "row_id,subject_id,hadm_id,itemid,charttime,value,valuenum,valueuom,flag",
    "INPUTEVENTS_MV": (
        "row_id,subject_id,hadm_id,icustay_id,starttime,endtime,itemid,amount,amountuom,rate,"
        "rateuom,storetime,cgid,orderid,linkorderid,ordercategoryname,"
        "secondaryordercategoryname,ordercomponenttypedescription,ordercategorydescription,"
        "patientweight,totalamount,totalamountuom,isopenbag,continueinnextdept,cancelreason,"
        "statusdescription,comments_editedby,comments_canceledby,comments_date,originalamount,"
        "originalrate"
    ),
    "OUTPUTEVENTS": (
        "row_id,subject_id,hadm_id,icustay_id,charttime,itemid,value,valueuom,storetime,cgid,"
        "stopped,newbottle,iserror"
    ),
    "PROCEDUREEVENTS_MV": (
        "row_id,subject_id,hadm_id,icustay_id,starttime,endtime,itemid,value,valueuom,location,"
        "locationcategory,storetime,cgid,orderid,linkorderid,ordercategoryname,"
        "secondaryordercategoryname,ordercategorydescription,isopenbag,continueinnextdept,"
        "cancelreason,statusdescription,comments_editedby,comments_canceledby,comments_date"
    ),
    "DATETIMEEVENTS": (
        "row_id,subject_id,hadm_id,icustay_id,itemid,charttime,storetime,cgid,value,valueuom,"
        "warning,error,resultstatus,stopped"
    ),
    "MICROBIOLOGYEVENTS": (
        "row_id,subject_id,hadm_id,chartdate,charttime,spec_itemid,spec_type_desc,org_itemid,"
        "org_name,isolate_num,ab_itemid,ab_name,dilution_text,dilution_comparison,"
        "dilution_value,interpretation"
    ),
    "PRESCRIPTIONS": (
        "row_id,subject_id,hadm_id,icustay_id,startdate,enddate,drug_type,drug,drug_name_poe,"
        "drug_name_generic,formulary_drug_cd,gsn,ndc,prod_strength,dose_val_rx,dose_unit_rx,"
        "form_val_disp,form_unit_disp,route"
    ),
    "DIAGNOSES_ICD": "row_id,subject_id,hadm_id,seq_num,icd9_code",
    "NOTEEVENTS": (
        "row_id,subject_id,hadm_id,chartdate,charttime,storetime,category,description,cgid,"
        "iserror,text"
    ),
    "D_ITEMS": (
        "row_id,itemid,label,abbreviation,dbsource,linksto,category,unitname,param_type,conceptid"
    ),
    "D_LABITEMS": "row_id,itemid,label,fluid,category,loinc_code",
    "D_ICD_DIAGNOSES": "row_id,icd9_code,short_title,long_title",
}


def table(folder: Path, name: str) -> pl.DataFrame:
    """A written table with its types guessed from all rows, and times parsed."""
    frame = pl.read_csv(folder / f"{name}.csv.gz", infer_schema_length=None)
    texts = [c for c in frame.columns if c.endswith(("TIME", "DOB", "DATE")) or c[:3] == "DOD"]
    return frame.with_columns(
        pl.col(c).cast(pl.String).str.to_datetime("%Y-%m-%d %H:%M:%S", strict=name != "NOTEEVENTS")
        for c in texts
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthetic")


@pytest.fixture(scope="module")
def cohort(folder: Path) -> dict[str, pl.DataFrame]:
    """Every table of one cohort, and its truth."""
    entries = synthesize(Synthetic(patients=PATIENTS, seed=1), Folder(str(folder)))
    names = [entry.name.removesuffix(".csv.gz") for entry in entries]
    assert names == [*HEADERS, "truth.parquet"]
    assert all((folder / entry.name).stat().st_size == entry.size for entry in entries)
    frames = {name: table(folder, name) for name in HEADERS}
    return {**frames, "truth": pl.read_parquet(folder / "truth.parquet")}


@pytest.fixture(scope="module")
def stays(cohort: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Stays with their admission, length in hours and onsets, found in the raw tables."""
    stays = cohort["ICUSTAYS"].join(
        cohort["ADMISSIONS"].select("HADM_ID", "DEATHTIME", "HOSPITAL_EXPIRE_FLAG"), on="HADM_ID"
    )
    procedures = cohort["PROCEDUREEVENTS_MV"].filter(pl.col("ITEMID").is_in([225792, 225794]))
    peep = cohort["CHARTEVENTS"].filter((pl.col("ITEMID") == 220339) & (pl.col("ERROR") == 0))
    given = cohort["INPUTEVENTS_MV"].filter(
        pl.col("ITEMID").is_in(PRESSORS)
        & (pl.col("STATUSDESCRIPTION") != "Rewritten")
        & (pl.col("AMOUNT") > 0)
    )
    marks = {
        "arf": pl.concat(
            [
                procedures.select("ICUSTAY_ID", at="STARTTIME"),
                peep.select("ICUSTAY_ID", at="CHARTTIME"),
            ]
        ),
        "shock": given.select("ICUSTAY_ID", at="STARTTIME"),
    }
    for name, rows in marks.items():
        first = rows.group_by("ICUSTAY_ID").agg(pl.col("at").min())
        stays = stays.join(first, on="ICUSTAY_ID", how="left").with_columns(
            hours(pl.col("at")).alias(name)
        )
        stays = stays.drop("at")
    return stays.with_columns(length=hours(pl.col("OUTTIME")))


def hours(time: pl.Expr) -> pl.Expr:
    """Hours from unit admission."""
    return (time - pl.col("INTIME")).dt.total_seconds() / 3600


def stay_labels(stays: pl.DataFrame, task: str) -> dict[int, int]:
    """Preprocessing as defined for 48 hours: long enough, alive, no onset before."""
    labels = {}
    for row in stays.iter_rows(named=True):
        dead_early = (
            row["DEATHTIME"] and (row["DEATHTIME"] - row["INTIME"]).total_seconds() < 172_800
        )
        if row["length"] < 48 or dead_early:
            continue
        if task == "mortality":
            labels[row["ICUSTAY_ID"]] = row["HOSPITAL_EXPIRE_FLAG"]
        elif row[task] is None or row[task] >= 48:
            labels[row["ICUSTAY_ID"]] = int(row[task] is not None)
    return labels


def courses(cohort: dict[str, pl.DataFrame]) -> dict[int, list[dict[str, Any]]]:
    """Each patient's admissions in order of time."""
    patients: dict[int, list[dict[str, Any]]] = {}
    for row in cohort["ADMISSIONS"].sort("ADMITTIME").iter_rows(named=True):
        patients.setdefault(row["SUBJECT_ID"], []).append(row)
    return patients


def readmission_labels(cohort: dict[str, pl.DataFrame]) -> dict[int, int]:
    """Unplanned admission within 30 days after a discharge alive."""
    labels = {}
    for visits in courses(cohort).values():
        for here, after in [*pairwise(visits), (visits[-1], None)]:
            if here["HOSPITAL_EXPIRE_FLAG"]:
                continue
            days = (after["ADMITTIME"] - here["DISCHTIME"]).total_seconds() / 86_400 if after else 0
            soon = bool(after) and 0 < days <= 30 and after["ADMISSION_TYPE"] != "ELECTIVE"
            labels[here["HADM_ID"]] = int(soon)
    return labels


def diagnosed(cohort: dict[str, pl.DataFrame], task: PatientTask) -> set[int]:
    """Admissions with a code of a patient task's disease."""
    of = "|".join(code[2:] for code in DISEASES[task].core if code.startswith("9:"))
    coded = cohort["DIAGNOSES_ICD"].filter(pl.col("ICD9_CODE").str.contains(f"^({of})"))
    return set(coded["HADM_ID"])


def patient_labels(cohort: dict[str, pl.DataFrame], task: PatientTask) -> dict[int, int]:
    """Patients with two admissions or more: any code of the disease."""
    coded = diagnosed(cohort, task)
    return {
        subject: int(any(visit["HADM_ID"] in coded for visit in visits))
        for subject, visits in courses(cohort).items()
        if len(visits) >= 2
    }


@pytest.mark.parametrize(
    ("task", "prevalence"),
    [
        ("arf", (0.18, 0.30)),
        ("shock", (0.18, 0.30)),
        ("mortality", (0.13, 0.23)),
        ("readmission", (0.16, 0.28)),
        ("heart_failure", (0.27, 0.42)),
        ("copd", (0.18, 0.32)),
        ("amnesia", (0.13, 0.26)),
    ],
)
def test_best_achievable(
    cohort: dict[str, pl.DataFrame],
    stays: pl.DataFrame,
    task: str,
    prevalence: tuple[float, float],
) -> None:
    if task == "readmission":
        labels = readmission_labels(cohort)
    elif task in DISEASES:
        labels = patient_labels(cohort, cast(PatientTask, task))
    else:
        labels = stay_labels(stays, task)
    truth = cohort["truth"].filter(pl.col("task") == task)
    risk = dict(truth.select("row_id", "probability").iter_rows())
    assert set(risk) == set(labels)  # truth covers the cohort definition's rows, no others
    y = [labels[row] for row in risk]
    p = list(risk.values())
    assert prevalence[0] < sum(y) / len(y) < prevalence[1]
    spread = sum(q * (1 - q) for q in p) ** 0.5
    assert abs(sum(y) - sum(p)) < 3 * spread  # the labels are draws from the truth
    assert 0.75 < roc_auc_score(y, p) < 0.92


@pytest.mark.parametrize("task", ["copd", "amnesia"])
def test_the_matched_tasks_have_cases_and_something_to_learn(
    folder: Path, cohort: dict[str, pl.DataFrame], task: PatientTask
) -> None:
    """With matched controls: half of smoke's patients give 40 cases or more, and the truth tells
    them from their controls."""
    labels = label_patients(task, read("mimic3", str(folder), Run()), Cohort(), False).rows
    truth = cohort["truth"].filter(pl.col("task") == task)
    known = labels.join(truth, on="subject_id", how="inner")
    assert known.height == labels.height
    assert known["label"].sum() >= 40
    assert known.height > 3 * known["label"].sum()
    assert 0.75 < roc_auc_score(known["label"], known["probability"]) < 0.92


def test_headers_are_mimics(cohort: dict[str, pl.DataFrame]) -> None:
    for name, header in HEADERS.items():
        assert cohort[name].columns == header.upper().split(",")


def test_onsets_are_late_but_for_a_few(stays: pl.DataFrame) -> None:
    for task in ("arf", "shock"):
        onset = stays.filter(pl.col(task).is_not_null())
        late = onset.filter(pl.col(task) >= 48)
        assert (late[task] < late["length"]).all()
        assert (late["length"] >= 48).all()
        early = len(onset) - len(late)
        assert 0.02 < early / len(stays) < 0.06


def test_courses(cohort: dict[str, pl.DataFrame], stays: pl.DataFrame) -> None:
    """Death ends a course; a patient task's disease comes last and late; most come twice."""
    patients = courses(cohort)
    assert sum(len(v) > 1 for v in patients.values()) / PATIENTS >= 0.53
    coded = set().union(*(diagnosed(cohort, task) for task in DISEASES))
    for visits in patients.values():
        for before, after in pairwise(visits):
            assert not before["HOSPITAL_EXPIRE_FLAG"]
            assert before["HADM_ID"] not in coded
            assert after["ADMITTIME"] > before["DISCHTIME"]
        last = visits[-1]
        assert last["DEATHTIME"] == (last["DISCHTIME"] if last["HOSPITAL_EXPIRE_FLAG"] else None)
        if last["HADM_ID"] in coded:
            assert (last["ADMITTIME"] - visits[-2]["DISCHTIME"]).days >= 200
    dead = stays.filter(pl.col("DEATHTIME").is_not_null())
    assert (dead.select(hours(pl.col("DEATHTIME"))).to_series() >= 48).all()


def test_references_and_times(cohort: dict[str, pl.DataFrame]) -> None:
    """Every event is of a stay of its admission and patient, inside it or shortly before."""
    stays = cohort["ICUSTAYS"].select("SUBJECT_ID", "HADM_ID", "ICUSTAY_ID", "INTIME", "OUTTIME")
    admissions = cohort["ADMISSIONS"]
    inside = stays.join(
        admissions.select("SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME"),
        on=["SUBJECT_ID", "HADM_ID"],
    )
    assert len(inside) == len(stays)
    assert (
        (inside["INTIME"] > inside["ADMITTIME"]) & (inside["OUTTIME"] < inside["DISCHTIME"])
    ).all()
    columns = {
        "CHARTEVENTS": "CHARTTIME",
        "OUTPUTEVENTS": "CHARTTIME",
        "DATETIMEEVENTS": "CHARTTIME",
        "PROCEDUREEVENTS_MV": "STARTTIME",
        "INPUTEVENTS_MV": "STARTTIME",
    }
    for name, column in columns.items():
        events = cohort[name].join(stays, on=["SUBJECT_ID", "HADM_ID", "ICUSTAY_ID"])
        assert len(events) == len(cohort[name])
        since = events.select(hours(pl.col(column))).to_series()
        assert since.min() >= -40
        assert (events[column] <= events["OUTTIME"]).all()
    before = cohort["LABEVENTS"].join(stays, on=["SUBJECT_ID", "HADM_ID"])
    assert (before["CHARTTIME"] < before["INTIME"]).any()


def test_ranges_end_after_they_start(cohort: dict[str, pl.DataFrame]) -> None:
    for name in ("INPUTEVENTS_MV", "PROCEDUREEVENTS_MV"):
        assert (cohort[name]["ENDTIME"] > cohort[name]["STARTTIME"]).all()
    units = cohort["INPUTEVENTS_MV"].group_by("ITEMID").agg(pl.col("AMOUNTUOM").n_unique())
    assert (units["AMOUNTUOM"] == 1).all()


def test_dictionaries_cover_what_is_used(cohort: dict[str, pl.DataFrame]) -> None:
    items = {}
    for row in cohort["D_ITEMS"].iter_rows(named=True):
        items.setdefault(row["LINKSTO"], set()).add(row["ITEMID"])
    used = {
        name: set(cohort[name.upper()]["ITEMID"]) for name in items if name != "microbiologyevents"
    }
    used["microbiologyevents"] = set(cohort["MICROBIOLOGYEVENTS"]["SPEC_ITEMID"])
    labs = set(cohort["LABEVENTS"]["ITEMID"])
    assert all(used[name] <= items[name] for name in used)
    assert labs <= set(cohort["D_LABITEMS"]["ITEMID"])
    assert sum(len(ids) for ids in used.values()) + len(labs) >= 200
    codes = set(cohort["DIAGNOSES_ICD"]["ICD9_CODE"])
    assert codes <= set(cohort["D_ICD_DIAGNOSES"]["ICD9_CODE"])
    assert codes <= set(icd.icd9_titles()["code"])


def test_units_chart_their_own_items(cohort: dict[str, pl.DataFrame]) -> None:
    """Beyond the shared items, what is charted says the unit and nothing else."""
    charted = cohort["CHARTEVENTS"].join(cohort["ICUSTAYS"], on="ICUSTAY_ID")
    units = charted.group_by("ITEMID").agg(pl.col("FIRST_CAREUNIT").unique())
    own = units.filter(pl.col("FIRST_CAREUNIT").list.len() == 1).explode("FIRST_CAREUNIT")
    counts = dict(own.group_by("FIRST_CAREUNIT").len().iter_rows())
    assert counts == dict.fromkeys(UNITS, 24)
    early = charted.filter(hours(pl.col("CHARTTIME")) < 48)
    assert 15 < len(early) / 48 / cohort["ICUSTAYS"].height < 25


def test_codes_are_rare_and_notes_are_prose(cohort: dict[str, pl.DataFrame]) -> None:
    n = len(cohort["ADMISSIONS"])
    background = cohort["DIAGNOSES_ICD"].group_by("ICD9_CODE").agg(pl.col("HADM_ID").n_unique())
    assert background["HADM_ID"].max() / n < 0.09
    notes = cohort["NOTEEVENTS"].filter(
        (pl.col("CATEGORY") == "Discharge summary") & (pl.col("DESCRIPTION") == "Report")
    )
    assert 0.93 < len(notes) / n < 1
    words = notes["TEXT"].str.split(" ").list.len()
    assert words.min() >= 50
    assert words.max() <= 220


def test_how_much_is_written_says_nothing(cohort: dict[str, pl.DataFrame]) -> None:
    """The shuffled control keeps counts: it must not learn from them."""
    counts = (
        cohort[table].group_by("HADM_ID").len() for table in ("DIAGNOSES_ICD", "PRESCRIPTIONS")
    )
    labels = readmission_labels(cohort)
    for counted in counts:
        of = dict(counted.iter_rows())
        auroc = roc_auc_score(list(labels.values()), [of[hadm] for hadm in labels])
        assert abs(auroc - 0.5) < 0.06  # three standard errors


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    made = [
        synthesize(Synthetic(patients=20, seed=seed), Folder(str(tmp_path / name)))
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert made[0] == made[1]
    dictionaries = {"D_ITEMS.csv.gz", "D_LABITEMS.csv.gz", "D_ICD_DIAGNOSES.csv.gz"}
    same = {a.name for a, c in zip(made[0], made[2], strict=True) if a.sha256 == c.sha256}
    assert same == dictionaries


def test_more_patients_leave_the_first_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block is written the same whatever follows it, and a patient whatever the cohort's end."""
    told: list[tuple[int, int]] = []
    block, two_more, many_more = 24, 26, 36
    monkeypatch.setattr("medhmp.synthetic.write.BLOCK", block)
    folders = {n: tmp_path / str(n) for n in (block, two_more, many_more)}
    for n, folder in folders.items():
        synthesize(Synthetic(patients=n), Folder(str(folder)), lambda *at: told.append(at))
    assert [done for done, _ in told[-2:]] == [block, many_more]
    assert told[-1][1] == sum(table(folder, name).height for name in HEADERS)
    for name in HEADERS:
        one, more = (
            gzip.decompress((folders[n] / f"{name}.csv.gz").read_bytes())
            for n in (block, many_more)
        )
        assert more.startswith(one)
        if name.startswith("D_"):
            continue
        two, three = (table(folders[n], name).drop("ROW_ID") for n in (two_more, many_more))
        assert two.equals(three.filter(pl.col("SUBJECT_ID") <= two["SUBJECT_ID"].max()))


def test_memory_does_not_grow_with_patients(tmp_path: Path) -> None:
    program = (
        "import resource, sys\n"
        "from medhmp.run import Synthetic\n"
        "from medhmp.storage import Folder\n"
        "from medhmp.synthetic import synthesize\n"
        "synthesize(Synthetic(patients=int(sys.argv[1])), Folder(sys.argv[2]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peaks = []
    for patients in (2 * BLOCK, 6 * BLOCK):
        command = [sys.executable, "-c", program, str(patients), str(tmp_path / str(patients))]
        peaks.append(int(subprocess.run(command, capture_output=True, check=True).stdout))
    assert peaks[1] < 1.25 * peaks[0]


def test_density_is_how_often_items_are_read_and_nothing_else(tmp_path: Path) -> None:
    usual, same, dense = (
        synthesize(settings, Folder(str(tmp_path / name)))
        for name, settings in (
            ("usual", Synthetic(patients=40)),
            ("same", Synthetic(patients=40, density=1.0)),
            ("dense", Synthetic(patients=40, density=3.0)),
        )
    )
    assert usual == same
    changed = {a.name for a, b in zip(usual, dense, strict=True) if a.sha256 != b.sha256}
    assert changed == {"CHARTEVENTS.csv.gz", "LABEVENTS.csv.gz"}
    for name in ("CHARTEVENTS", "LABEVENTS"):
        few, many = (table(tmp_path / kind, name) for kind in ("usual", "dense"))
        per_item = (
            few["ITEMID"]
            .value_counts()
            .join(many["ITEMID"].value_counts(), on="ITEMID", suffix="_dense")
        )
        assert per_item.height == few["ITEMID"].n_unique()
        often = per_item.filter(pl.col("count") > 300)
        times = often["count_dense"] / often["count"]
        assert often.height > 20
        assert times.min() > 2.5
        assert times.max() < 3.5


@pytest.mark.parametrize("density", [0.0, -1.0, float("inf"), float("nan")])
def test_refuses_a_density_that_is_none(tmp_path: Path, density: float) -> None:
    with pytest.raises(Refusal, match="give a number above 0"):
        synthesize(Synthetic(density=density), Folder(str(tmp_path)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("settings", [Synthetic(patients=0), Synthetic(seed=-1)])
def test_refuses_what_cannot_be_generated(tmp_path: Path, settings: Synthetic) -> None:
    with pytest.raises(Refusal, match="at least 1 patient"):
        synthesize(settings, Folder(str(tmp_path)))
    assert not list(tmp_path.iterdir())
