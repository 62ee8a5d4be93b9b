"""The CLIF reader on the MIMIC-IV demo in CLIF, against plain Polars and loops over the files."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from jobs.featurize import featurize
from medhmp.recipes import mimic3_demo
from medhmp.refusal import Refusal
from medhmp.run import Cohort, Features, Run, Shards, Tables
from medhmp.shards.manifest import open_shards
from medhmp.tables import schema
from medhmp.tables.clif import reader
from medhmp.tables.clif.events import FACTS
from medhmp.tasks import cohort
from tests.medhmp.tables.conftest import CLIF_DEMO

RUN = Run(quiet=True, tables=Tables(variables="none"), features=Features(facts="own"))
PRESSORS = ["norepinephrine", "epinephrine", "dopamine", "vasopressin", "phenylephrine"]


def table(name: str, folder: Path = CLIF_DEMO) -> pl.DataFrame:
    frame = pl.read_parquet(folder / f"clif_{name}.parquet")
    zoned = [c for c, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    return frame.with_columns(pl.col(zoned).dt.replace_time_zone(None))


def events_of(source: schema.Source) -> pl.DataFrame:
    parts = list(source.events())
    assert all(batch.schema.equals(schema.EVENTS) for batch in parts)
    return pl.concat([pl.from_arrow(batch) for batch in parts])


@pytest.fixture(scope="module")
def source() -> schema.Source:
    return reader.read("clif", str(CLIF_DEMO), RUN)


@pytest.fixture(scope="module")
def events(source: schema.Source) -> pl.DataFrame:
    return events_of(source)


@pytest.fixture(scope="module")
def stays() -> pl.DataFrame:
    """ICU stays by a loop over the rows of ADT, with the end of their hospitalization."""
    icu = table("adt").filter(pl.col("location_category") == "icu").sort("in_dttm")
    found: list[list[Any]] = []
    for key, begun, ended, unit in icu.select(
        "hospitalization_id", "in_dttm", "out_dttm", "location_type"
    ).iter_rows():
        own = [stay for stay in found if stay[0] == key]
        if own and begun - own[-1][3] <= timedelta(hours=6):
            own[-1][3] = max(own[-1][3], ended)
        else:
            found.append([key, int(key) * 100 + len(own) + 1, begun, ended, unit])
    columns = ["hospitalization_id", "stay_id", "intime", "outtime", "unit"]
    kinds = [pl.String, pl.Int64, pl.Datetime("ms"), pl.Datetime("ms"), pl.String]
    ends = table("hospitalization").select("hospitalization_id", "discharge_dttm", "admission_dttm")
    frame = pl.DataFrame(found, dict(zip(columns, kinds, strict=True)), orient="row")
    return frame.join(ends, on="hospitalization_id")


def seen(rows: pl.DataFrame, stays: pl.DataFrame, at: str) -> pl.DataFrame:
    """Rows in the first 48 hours of a stay, up to discharge."""
    both = rows.join(stays, on="hospitalization_id").with_columns(
        hours=(pl.col(at).dt.truncate("1s") - pl.col("intime")).dt.total_seconds() / 3600
    )
    return both.filter(
        (pl.col("hours") >= 0) & (pl.col("hours") < 48) & (pl.col(at) <= pl.col("discharge_dttm"))
    )


def test_small_tables_are_those_of_the_files(source: schema.Source, stays: pl.DataFrame) -> None:
    people, hospitalizations = table("patient"), table("hospitalization")
    assert source.patients.height == people.height == 100
    assert source.admissions.height == hospitalizations.height == 310
    assert source.stays.height == stays.height == 141
    joined = source.stays.join(stays, on=["stay_id", "intime", "outtime"])
    assert (joined["first_careunit"] == joined["unit"]).all()
    assert joined.height == 141
    left = hospitalizations["discharge_category"]
    assert source.admissions["expired"].sum() == (left == "Expired").sum() == 17
    assert source.admissions["expired"].null_count() == 0  # no death hides behind "Missing"
    died = source.admissions.drop_nulls("died").join(
        source.patients.select("subject_id", "death"), on="subject_id"
    )
    assert (died["died"] == died["death"]).all()
    ages = source.admissions.join(source.patients, on="subject_id").with_columns(
        age=((pl.col("admitted") - pl.col("birth")).dt.total_seconds() / (365.25 * 86400)).floor()
    )
    told = hospitalizations.select(
        hadm_id=pl.col("hospitalization_id").cast(pl.Int64), told="age_at_admission"
    )
    both = ages.join(told, on="hadm_id")
    assert ((both["age"] - both["told"]).abs() <= 1).all()
    assert (both["age"] == both["told"]).mean() > 0.9  # MIMIC-IV shifts the years of a patient


def test_codes_are_those_of_the_files(source: schema.Source) -> None:
    rows = table("hospital_diagnosis").select(
        pl.col("hospitalization_id"),
        code=pl.col("diagnosis_code_format").replace({"ICD10CM": "10:", "ICD9CM": "9:"})
        + pl.col("diagnosis_code").str.strip_chars().str.replace(".", "", literal=True),
    )
    assert source.codes.filter(kind="diagnosis").height == rows.unique().height
    ends = table("hospitalization").select("hospitalization_id", "discharge_dttm")
    given = pl.concat(
        table(f"medication_admin_{kind}").select("hospitalization_id", "med_category", "admin_dttm")
        for kind in ("continuous", "intermittent")
    )
    given = given.join(ends, on="hospitalization_id")
    given = given.filter(pl.col("admin_dttm") <= pl.col("discharge_dttm"))
    drugs = given.select("hospitalization_id", pl.col("med_category").str.replace(" ", "_"))
    assert source.codes.filter(kind="drug").height == drugs.unique().height


def test_events_are_those_of_the_files(events: pl.DataFrame, stays: pl.DataFrame) -> None:
    counted = dict(events.group_by("variable").len().iter_rows())
    vitals = seen(table("vitals"), stays, "recorded_dttm")
    for name, n in vitals.group_by("vital_category").len().iter_rows():
        assert counted.pop(f"vitals|{name}") == n
    labs = seen(table("labs"), stays, "lab_collect_dttm")
    known = pl.col("lab_result_dttm") - pl.col("intime") < timedelta(hours=48)
    labs = labs.filter(known & (pl.col("lab_result_dttm") <= pl.col("discharge_dttm")))
    unit = pl.col("reference_unit").str.to_lowercase().str.strip_chars().str.replace("µ", "u")
    unit = unit.str.replace("10*3", "10^3", literal=True)
    named = labs.with_columns(unit)
    for name, of, n in named.group_by("lab_category", "reference_unit").len().iter_rows():
        assert counted.pop(f"labs|{name}|{of}" if of else f"labs|{name}") == n
    values = labs.group_by("lab_category").agg(pl.col("lab_value_numeric").sum())
    of_events = events.filter(pl.col("variable").str.starts_with("labs|"))
    of_events = of_events.group_by(lab_category=pl.col("variable").str.split("|").list.get(1))
    both = of_events.agg(pl.col("number").sum()).join(values, on="lab_category")
    assert both.select(pl.col("number") - pl.col("lab_value_numeric")).max().item() < 1e-6
    for kind in ("continuous", "intermittent"):
        rows = seen(table(f"medication_admin_{kind}"), stays, "admin_dttm")
        rows = rows.filter(~pl.col("med_category").is_in(PRESSORS))
        name = pl.col("med_category").str.replace_all(" ", "_")
        of_drug = rows.group_by(name, pl.col("med_dose_unit").str.to_lowercase()).len()
        for drug, dose, n in of_drug.iter_rows():
            assert counted.pop(f"{kind}|{drug}|{dose}") == n
    breath = seen(table("respiratory_support"), stays, "recorded_dttm")
    for column in (c for c in breath.columns if c.endswith(("_set", "_obs"))):
        n = breath[column].count() if "peep" not in column else 0
        assert counted.pop(f"respiratory|{column}", 0) == n
    device = breath["device_category"]
    told = device.drop_nulls().is_in(["IMV", "NIPPV", "CPAP"]).not_().sum()
    assert counted.pop("respiratory|device_category") == told > 0
    assert counted.pop("respiratory|mode_category") == breath["mode_category"].count()
    assert counted.pop("respiratory|tracheostomy") == breath.height
    nurses = seen(table("patient_assessments"), stays, "recorded_dttm")
    for name, n in nurses.group_by("assessment_category").len().iter_rows():
        assert counted.pop(f"assessments|{name.lower()}") == n
    dialysis = seen(table("crrt_therapy"), stays, "recorded_dttm")
    for column in (c for c in dialysis.columns if c.endswith(("_rate", "_out"))):
        assert counted.pop(f"crrt|{column}", 0) == dialysis[column].count()
    assert counted.pop("crrt|crrt_mode_category") == dialysis["crrt_mode_category"].count()
    assert counted == dict.fromkeys(["AGE", "HADM_to_ICU_time", *FACTS], stays.height), (
        "and what holds for a whole stay"
    )


def test_onsets_are_those_of_the_files(source: schema.Source, stays: pl.DataFrame) -> None:
    events_of(source)
    device = pl.col("device_category").is_in(["IMV", "NIPPV", "CPAP"])
    breath = table("respiratory_support").filter(device | pl.col("peep_set").is_not_null())
    drips = table("medication_admin_continuous").filter(
        pl.col("med_category").is_in(PRESSORS)
        & (pl.col("mar_action_category") != "stop")
        & (pl.col("med_dose") > 0)
    )
    for kind, rows, at in (("arf", breath, "recorded_dttm"), ("shock", drips, "admin_dttm")):
        own = rows.join(stays, on="hospitalization_id")
        hours = (pl.col(at) - pl.col("intime")).dt.total_seconds() / 3600
        first = own.group_by("stay_id").agg(first=hours.min())
        told = source.onsets().select("stay_id", kind).drop_nulls()
        both = told.join(first, on="stay_id")
        assert told.height == first.height == both.height > 20
        assert (both[kind] - both["first"]).abs().max() < 1e-9


def test_strict_leaves_out_ventilator_and_inotropes() -> None:
    source = reader.read("clif", str(CLIF_DEMO), replace(RUN, cohort=Cohort(task_signals="strict")))
    names = events_of(source)["variable"].unique()
    gone = r"^respiratory\||dobutamine|milrinone|\|(sat|sbt)_"
    assert names.str.contains(gone).sum() == 0
    assert source.onsets()["arf"].count() > 20


IN_3 = {
    "device_category": {"High Flow NC": "hfnc"},
    "mode_category": {
        "Assist Control-Volume Control": "acvc",
        "Pressure-Regulated Volume Control": "prvc",
        "Pressure Support/CPAP": "ps_or_cpap",
    },
    "discharge_category": {"Skilled Nursing Facility (SNF)": "snf"},
}


def as_3(folder: Path, place: Path, key: Callable[[pl.Expr], pl.Expr] = lambda e: e) -> None:
    """The tables as a site of CLIF 3.0 has them: its words and columns; ``key`` on identifiers."""
    place.mkdir()
    for path in folder.glob("*.parquet"):
        frame = pl.read_parquet(path)
        for column in frame.columns:
            if column.endswith("_category") and column != "med_category":
                words = frame[column].drop_nulls().unique().to_list()
                plain = {w: re.sub("[^a-z0-9]+", "_", w.lower()).strip("_") for w in words}
                now = plain | {w: t for w, t in IN_3.get(column, {}).items() if w in words}
                frame = frame.with_columns(pl.col(column).replace(now))
            if column in ("patient_id", "hospitalization_id"):
                frame = frame.with_columns(key(pl.col(column)).alias(column))
        if "tracheostomy" in frame.columns:
            frame = frame.with_columns(pl.col("tracheostomy").cast(pl.Int64))
        frame.drop("lab_value_numeric", strict=False).write_parquet(place / path.name)


def test_version_3_reads_as_2_1(
    source: schema.Source, events: pl.DataFrame, tmp_path: Path
) -> None:
    as_3(CLIF_DEMO, tmp_path / "3")
    labs = pl.read_parquet(CLIF_DEMO / "clif_labs.parquet")
    number = pl.col("lab_value_numeric").cast(pl.String)  # 3.0 need not have that column
    labs = labs.with_columns(
        lab_value=pl.coalesce(number, "lab_value"), lab_specimen_category=pl.lit("plasma_blood")
    )
    labs.drop("lab_value_numeric").write_parquet(tmp_path / "3" / "clif_labs.parquet")
    again = reader.read("clif", str(tmp_path / "3"), RUN)
    assert events_of(again).equals(events)
    assert again.codes.equals(source.codes)
    assert again.stays.equals(source.stays)
    assert again.admissions.equals(source.admissions)


def test_texts_as_identifiers_are_numbered_in_their_order(
    events: pl.DataFrame, tmp_path: Path
) -> None:
    as_3(CLIF_DEMO, tmp_path / "3", lambda e: "H-" + e)
    again = reader.read("clif", str(tmp_path / "3"), RUN)
    assert sorted(again.patients["subject_id"]) == list(range(1, 101))
    assert sorted(again.admissions["hadm_id"]) == list(range(1, 311))
    names = table("hospitalization")["hospitalization_id"].sort()
    hadm = dict(zip(range(1, 311), names, strict=True))
    counted = dict(events.group_by("stay_id").len().iter_rows())
    of_stays = events_of(again).group_by("stay_id").len()
    found = {int(hadm[s // 100]) * 100 + s % 100: n for s, n in of_stays.iter_rows()}
    assert found == counted


def test_joined_hospitalizations_are_one_admission(tmp_path: Path) -> None:
    shutil.copytree(CLIF_DEMO, tmp_path / "clif")
    path = tmp_path / "clif" / "clif_hospitalization.parquet"
    rows = pl.read_parquet(path).sort("admission_dttm")
    two = rows.filter(pl.col("patient_id") == "10000032")["hospitalization_id"][:2].to_list()
    is_joined = pl.col("hospitalization_id").is_in(two)
    joined = pl.when(is_joined).then(pl.lit("J1")).alias("hospitalization_joined_id")
    rows.with_columns(joined).write_parquet(path)
    source = reader.read("clif", str(tmp_path / "clif"), RUN)
    assert source.admissions.height == 309
    one = source.admissions.filter(pl.col("hadm_id") == int(two[0]))
    spans = table("hospitalization").filter(is_joined)
    assert one["admitted"].item() == spans["admission_dttm"].min()
    assert one["discharged"].item() == spans["discharge_dttm"].max()
    codes = source.codes.filter(pl.col("hadm_id") == int(two[0]), kind="diagnosis")["code"]
    own = table("hospital_diagnosis").filter(is_joined)
    assert len(codes) == own.select("diagnosis_code", "diagnosis_code_format").unique().height


def test_refusals(tmp_path: Path) -> None:
    def refused(change: Callable[[Path], None], run: Run = RUN) -> str:
        shutil.rmtree(tmp_path / "clif", ignore_errors=True)
        shutil.copytree(CLIF_DEMO, tmp_path / "clif")
        change(tmp_path / "clif")
        with pytest.raises(Refusal) as told:
            reader.read("clif", str(tmp_path / "clif"), run)
        return str(told.value)

    said = refused(lambda folder: (folder / "clif_adt.parquet").unlink())
    assert "no table CLIF_ADT" in said
    said = refused(lambda _: None, replace(RUN, features=Features(drug_key="ndc")))
    assert "give --features.drug_key name" in said

    def write(folder: Path, name: str, *columns: pl.Expr) -> None:
        path = folder / f"clif_{name}.parquet"
        pl.read_parquet(path).with_columns(*columns).write_parquet(path)

    chicago = pl.col("in_dttm").dt.convert_time_zone("America/Chicago")
    said = refused(lambda folder: write(folder, "adt", chicago))
    assert "IN_DTTM" in said
    assert "America/Chicago" in said
    ward = pl.lit("ward").alias("location_category")
    assert "no time in an icu" in refused(lambda folder: write(folder, "adt", ward))
    lost = pl.col("diagnosis_code").str.strip_chars_start("0")
    assert "leading zeros" in refused(lambda folder: write(folder, "hospital_diagnosis", lost))


@pytest.mark.ray
def test_the_demo_to_shards(ray: object, tmp_path: Path, source: schema.Source) -> None:
    run = replace(
        mimic3_demo(),
        out=str(tmp_path),
        quiet=True,
        tables=Tables(sources=(f"clif={CLIF_DEMO}",)),
        shards=Shards(files=2),
    )
    featurize(run)
    manifest = open_shards(run).manifest
    counts = manifest.counts["clif"]
    assert (counts["patients"], counts["admissions"], counts["stays"]) == (100, 310, 141)
    assert manifest.filled["clif"]["stays with an hourly feature"] > 130
    for task in ("mortality", "readmission", "heart_failure"):
        own = cohort.label(task, source, source.onsets(), run.cohort, icd9_only=False)
        assert sum(manifest.tasks[task].rows.values()) == own.rows.height > 20
    assert not [name for name in manifest.features if re.search("peep|norepinephrine", name)]
