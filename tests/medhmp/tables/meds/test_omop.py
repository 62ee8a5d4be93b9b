"""``--tables.meds.patterns omop`` on data as OMOP_MEDS writes it, against what was put in."""

import random
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.featurize import featurize
from medhmp import command
from medhmp.meds_patterns import Meds, of_etl
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import Run, Shards, Splits, Tables
from medhmp.shards.manifest import open_shards
from medhmp.tables import schema
from medhmp.tables.meds import reader
from medhmp.tables.meds.codebook import Codebook

SCHEMA = pa.schema(
    {
        "subject_id": pa.int64(),
        "time": pa.timestamp("us"),
        "code": pa.string(),
        "numeric_value": pa.float32(),
        "text_value": pa.string(),
        "unit": pa.int64(),
        "visit_occurrence_id": pa.int64(),
        "table_name": pa.string(),
    }
)
LOINC = {"8867-4": (80, 15), "8480-6": (120, 20), "2160-0": (1.1, 0.4), "2823-3": (4.1, 0.5)}
NOREPINEPHRINE, PEEP, VISIT = "RxNorm//1321341", "LOINC//20077-4", "Visit//9201"


class Omop:
    """People with visits in hospital, in the codes of OMOP_MEDS 0.2: measurements by the code of a
    concept, the rest by its number; what is true of them is kept beside the rows."""

    def __init__(self, people: int = 60, seed: int = 0) -> None:
        self.draw, self.rows = random.Random(seed), list[dict[str, Any]]()
        self.died, self.arf, self.shock = set[int](), set[int](), set[int]()
        self.visits: dict[int, tuple[datetime, datetime]] = {}
        for person in range(1, people + 1):
            self.person(person)

    def add(self, person: int, time: datetime | None, code: str, **more: Any) -> None:
        self.rows.append({"subject_id": person, "time": time, "code": code, **more})

    def person(self, person: int) -> None:
        draw = self.draw
        self.add(person, None, f"GENDER//{draw.choice('FM')}", table_name="person")
        self.add(person, None, "RACE//8527", table_name="person")
        self.add(person, datetime(2090, 1, 1), "MEDS_BIRTH", table_name="person")
        begun = datetime(2150, 1, 1) + timedelta(days=draw.randint(0, 300))
        self.add(person, begun - timedelta(days=9), "Visit//9202//start", visit_occurrence_id=9000)
        for n in range(draw.randint(1, 3)):
            begun = self.visit(person, person * 10 + n, begun) + timedelta(days=draw.randint(5, 60))
            if person * 10 + n in self.died:
                break

    def visit(self, person: int, visit: int, begun: datetime) -> datetime:
        draw, own = self.draw, {"visit_occurrence_id": visit}
        ended = begun + timedelta(hours=draw.randint(72, 200))
        self.visits[visit] = (begun, ended)
        self.add(person, begun, f"{VISIT}//start", table_name="visit_occurrence", **own)
        self.add(person, ended, f"{VISIT}//end", table_name="visit_occurrence", **own)
        for hour in range(1, 60, 4):
            for code, (middle, spread) in LOINC.items():
                value = draw.gauss(middle, spread)
                at = begun + timedelta(hours=hour)
                self.add(person, at, f"LOINC//{code}", numeric_value=value, unit=8483, **own)
        self.add(person, begun, "ICD10CM//I50.9//start", **own)
        self.add(person, begun, "ICD10CM//35207668//start", **own)  # the number of a concept
        self.add(person, begun, "CPT4//2314008", **own)
        drug = begun + timedelta(hours=3)
        self.add(person, drug, "NDC//44836915//start", numeric_value=1.0, **own)
        self.add(person, ended, "NDC//44836915//end", **own)
        for found, code in ((self.arf, PEEP), (self.shock, f"{NOREPINEPHRINE}//start")):
            if draw.random() < 0.4:
                self.add(person, begun + timedelta(hours=draw.randint(50, 70)), code, **own)
                found.add(visit)
        if draw.random() < 0.25:
            self.died.add(visit)
            self.add(person, ended - timedelta(hours=1), "MEDS_DEATH", table_name="person")
        return ended

    def write(self, folder: Path) -> str:
        (folder / "data").mkdir(parents=True)
        (folder / "metadata").mkdir()
        rows = sorted(self.rows, key=lambda r: (r["subject_id"], r["time"] or datetime.min))
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / "data" / "0.parquet")
        (folder / "metadata" / "dataset.json").write_text('{"meds_version": "0.4.0"}')
        return str(folder)


def asked(*more: str) -> Run:
    return command.parse(["smoke", "--quiet", "--tables.meds.patterns", "omop", *more])


def events_of(source: schema.Source) -> pl.DataFrame:
    return pl.concat([pl.from_arrow(batch) for batch in source.events()])


def test_every_visit_in_hospital_is_an_admission_and_a_stay(tmp_path: Path) -> None:
    data = Omop()
    source = reader.read("meds", data.write(tmp_path / "meds"), asked())
    found = source.admissions.sort("hadm_id")
    assert dict(found.select("hadm_id", "admitted").rows()) == {
        visit: begun for visit, (begun, _) in data.visits.items()
    }
    assert found["discharged"].to_list() == [data.visits[v][1] for v in sorted(data.visits)]
    assert set(found.filter("expired")["hadm_id"]) == data.died
    assert source.stays.height == len(data.visits)
    assert set(source.patients["sex"]) == {"F", "M"}
    codes = source.codes.group_by("kind", "code").len().rows()
    every = len(data.visits)
    assert set(codes) == {
        ("diagnosis", "10:I509", every),
        ("drug", "ndc//44836915", every),
    }
    events = events_of(source).filter(pl.col("hours").is_not_null())
    assert set(events["variable"]) == {f"LOINC//{code}" for code in LOINC}
    assert events.height == every * len(LOINC) * len(range(1, 48, 4))
    hadm = source.stays.join(source.onsets(), on="stay_id")
    for kind, own in (("arf", data.arf), ("shock", data.shock)):
        assert set(hadm.drop_nulls(kind)["hadm_id"]) == own


def test_a_field_of_one_s_own_goes_before_the_set_s(tmp_path: Path) -> None:
    run = asked("--tables.meds.event", "(?P<variable>LOINC//8867-4)", "--tables.meds.drug", "")
    source = reader.read("meds", Omop().write(tmp_path / "meds"), run)
    assert set(source.codes["kind"]) == {"diagnosis"}
    assert set(events_of(source).drop_nulls("hours")["variable"]) == {"LOINC//8867-4"}
    with pytest.raises(Refusal, match=r"no code in .* makes one of the admissions"):
        reader.read("meds", str(tmp_path / "meds"), replace(run, tables=Tables(meds=Meds())))


def test_codes_of_the_older_etl_are_read_too() -> None:
    meds = of_etl(Meds(patterns="omop"))
    codes = ["Visit/IP", "Visit/OP", "LOINC/8867-4", "ICD10CM/I50.9", "RxNorm/7512", "RxNorm/161"]
    found = Codebook(meds, strict=False).of(pl.DataFrame({"code": codes}))
    roles = dict(found.select("code", "role").rows())
    of = ["hospital_admission", "", "event", "diagnosis", "shock", "drug"]
    assert roles == dict(zip(codes, of, strict=True))


@pytest.mark.ray
def test_to_shards(ray: object, tmp_path: Path) -> None:
    data = Omop()
    run = replace(
        asked("--tables.sources", f"meds={data.write(tmp_path / 'meds')}"),
        out=str(tmp_path / "out"),
        shards=Shards(files=2),
        splits=Splits(train=0.6, validation=0.2, test=0.2),
        features=smoke().features,
    )
    featurize(run)
    manifest = open_shards(run).manifest
    counts = manifest.counts["meds"]
    assert (counts["admissions"], counts["stays"]) == (len(data.visits), len(data.visits))
    assert sum(manifest.tasks["mortality"].positives.values()) == len(data.died)
    assert sum(manifest.tasks["shock"].positives.values()) == len(data.shock)
    assert sum(manifest.tasks["readmission"].rows.values()) > 20
