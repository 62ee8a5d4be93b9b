"""The eICU reader against a slow reading of the same files, line by line."""

import csv
import gzip
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import median

import polars as pl
import pytest

from jobs.featurize import featurize
from medhmp.features import repeats
from medhmp.recipes import smoke
from medhmp.run import Cohort, Features, Run, Shards, Splits, Tables
from medhmp.shards.manifest import open_shards
from medhmp.tables import schema
from medhmp.tables.eicu import reader
from medhmp.tasks import cohort

PRESSORS = ("norepinephrine", "levophed", "epinephrine", "dopamine", "vasopressin")
PRESSORS += ("phenylephrine", "neo-synephrine", "neosynephrine")
GIVEN_AWAY = (*PRESSORS, "vasopressor", "peep", "mechanical ventilation", "vent on/off")
STRICT = ("ventilat", "fio2", "dobutamine")
VITALS = {
    "vitalPeriodic": "temperature sao2 heartrate respiration cvp etco2 systemicsystolic "
    "systemicdiastolic systemicmean pasystolic padiastolic pamean st1 st2 st3 icp",
    "vitalAperiodic": "noninvasivesystolic noninvasivediastolic noninvasivemean paop cardiacoutput "
    "cardiacinput svr svri pvr pvri",
}
MARKED = {
    "treatment": ("treatmentoffset", "treatmentstring"),
    "pastHistory": ("pasthistoryoffset", "pasthistorypath"),
    "diagnosis": ("diagnosisoffset", "diagnosisstring"),
    "admissionDx": ("admitdxenteredoffset", "admitdxpath"),
}
STATIC = (
    *("gender", "age", "ethnicity", "apacheadmissiondx", "admissionheight", "admissionweight"),
    *("hospitaladmittime24", "hospitaladmitoffset", "hospitaladmitsource", "unittype"),
    *("unitadmittime24", "unitadmitsource", "unitvisitnumber", "unitstaytype"),
)
NOT_STACKED = ("respcareid", "patientunitstayid", "respcarestatusoffset", "peeplimit")
NOT_STACKED += ("setapneaippeephigh", "ventstartoffset", "ventendoffset")
NOT_STACKED += ("priorventstartoffset", "priorventendoffset")


AS_PUBLISHED = {"tables": Tables(variables="none"), "features": Features(facts="own")}


def read(folder, **sections):
    return reader.read("eicu", str(folder), Run(quiet=True, **sections))


def events_of(source):
    batches = list(source.events())
    assert all(batch.schema.equals(schema.EVENTS) for batch in batches)
    return pl.concat([pl.from_arrow(batch) for batch in batches])


def resolved(events):
    """Events as FIDDLE takes them, each a tuple."""
    named = events.rename({"hours": "t"}).with_columns(id="stay_id")
    frame = repeats.resolve(named, []).with_columns(pl.col("t").round(9))
    return sorted(frame.rows(), key=str)


def value_of(text):
    """(number, text) of a field."""
    try:
        return float(text), None
    except ValueError:
        return None, text or None


class Slow:
    """What the files say, read with ``csv`` and plain loops."""

    def __init__(self, folder, hours=48, strict=False):
        self.folder, self.hours, self.strict = Path(folder), hours, strict
        self.lines = {name: list(self.read(name)) for name in ("patient", "hospital")}
        ends, self.dead, self.ages = defaultdict(int), defaultdict(set), defaultdict(list)
        for row in self.lines["patient"]:
            hadm = row["patienthealthsystemstayid"]
            end = max(int(row["hospitaldischargeoffset"]), int(row["unitdischargeoffset"]))
            ends[hadm] = max(ends[hadm], end - int(row["hospitaladmitoffset"]))
            self.dead[hadm].add(row["hospitaldischargestatus"])
        self.until = {
            row["patientunitstayid"]: ends[row["patienthealthsystemstayid"]]
            + int(row["hospitaladmitoffset"])
            for row in self.lines["patient"]
        }

    def read(self, table):
        with gzip.open(self.folder / f"{table}.csv.gz", "rt", newline="") as stream:
            for row in csv.DictReader(stream):
                yield {name.lower(): value for name, value in row.items()}

    def known(self, table, offset):
        """Rows of known stays in the window, with their minute."""
        for row in self.read(table):
            stay, minute = row["patientunitstayid"], int(row[offset])
            if stay in self.until and 0 <= minute < 60 * self.hours and minute <= self.until[stay]:
                yield int(stay), minute, row

    def kept(self, name, hicl=""):
        names = GIVEN_AWAY + (STRICT if self.strict else ())
        hidden = ("2051", "2050", *(("8777",) if self.strict else ()))
        return hicl not in hidden and not any(n in name.lower() for n in names)

    def rows(self):
        """(stay, minute, variable, number, text), tables in reverse alphabetical order."""
        for table, columns in VITALS.items():
            yield from self.vitals(table, columns.split())
        yield from self.marked("treatment")
        if not self.strict:
            for stay, at, row in self.known("respiratoryCharting", "respchartoffset"):
                name = row["respchartvaluelabel"]
                if name and self.kept(name):
                    yield stay, at, name, *value_of(row["respchartvalue"])
            for stay, at, row in self.known("respiratoryCare", "respcarestatusoffset"):
                for name, value in row.items():
                    if value and name not in NOT_STACKED:
                        yield stay, at, name, *value_of(value)
        for stay, at, row in self.known("physicalExam", "physicalexamoffset"):
            if name := row["physicalexampath"]:
                number = value_of(row["physicalexamtext"])[0]
                yield stay, at, name, 1.0 if number is None else number, None
        yield from self.marked("pastHistory")
        for stay, at, row in self.known("nurseCharting", "nursingchartoffset"):
            parts = [row[f"nursingchartcelltype{n}"] for n in ("cat", "vallabel", "valname")]
            if any(parts):
                yield stay, at, "|".join(parts), *value_of(row["nursingchartvalue"])
        yield from self.medication()
        for stay, at, row in self.known("lab", "labresultoffset"):
            if row["labname"] and self.kept(row["labname"]):
                text = row["labresulttext"] or row["labresult"]
                yield stay, at, row["labname"], *value_of(text)
        yield from self.intake()
        for stay, at, row in self.known("infusionDrug", "infusionoffset"):
            if row["drugname"] and self.kept(row["drugname"]):
                yield stay, at, row["drugname"], *value_of(row["drugrate"])
        yield from self.marked("diagnosis")
        for stay, at, row in self.known("customLab", "labotheroffset"):
            text = row["labothervaluetext"] or row["labotherresult"]
            yield stay, at, row["labothername"], *value_of(text)
        yield from self.marked("admissionDx")
        for stay, at, row in self.known("admissionDrug", "drugoffset"):
            name = f"{row['drugname']}|{row['drughiclseqno']}"
            if name != "|" and self.kept(name, row["drughiclseqno"]):
                yield stay, at, name, 1.0, None

    def vitals(self, table, columns):
        values = defaultdict(list)
        for stay, at, row in self.known(table, "observationoffset"):
            for name in columns:
                if row[name]:
                    values[stay, at, name].append(float(row[name]))
        for key, numbers in values.items():
            yield *key, median(numbers), None

    def marked(self, table):
        offset, column = MARKED[table]
        for stay, at, row in self.known(table, offset):
            if row[column] and self.kept(row[column]):
                yield stay, at, row[column], 1.0, None

    def medication(self):
        for stay, at, row in self.known("medication", "drugstartoffset"):
            name = f"{row['drugname']}|{row['drughiclseqno']}"
            if name != "|" and self.kept(name, row["drughiclseqno"]):
                for column in ("dosage", "routeadmin", "frequency"):
                    if row[column]:
                        yield stay, at, f"{name}|{column}", *value_of(row[column])

    def intake(self):
        for stay, at, row in self.known("intakeOutput", "intakeoutputoffset"):
            name = row["cellpath"]
            if name and self.kept(name):
                yield stay, at, name, *value_of(row["cellvaluetext"])
            for total in ("intaketotal", "outputtotal", "dialysistotal", "nettotal"):
                if row[total]:
                    yield stay, at, total, *value_of(row[total])

    def static(self):
        hospitals = {row["hospitalid"]: row for row in self.lines["hospital"]}
        for row in self.lines["patient"]:
            facts = {name: row[name] for name in STATIC}
            facts |= {n: f"{n}={row[n]}" for n in ("hospitalid", "wardid")}
            place = hospitals[row["hospitalid"]]
            facts |= {n: place[n] for n in ("numbedscategory", "teachingstatus", "region")}
            for name, value in facts.items():
                if value:
                    yield int(row["patientunitstayid"]), None, name, *value_of(value)

    def events(self):
        """One row per stay, minute and variable: the first."""
        first = {}
        for stay, at, name, number, text in (*self.static(), *self.rows()):
            t = at if at is None else round(at / 60, 9)
            first.setdefault((stay, t, name), (stay, t, name, number, text))
        return sorted(first.values(), key=str)

    def onsets(self):
        """kind -> {stay: minute}, and kind -> hospitals with a row."""
        seen, places = {"arf": {}, "shock": {}}, {"arf": set(), "shock": set()}
        of = {row["patientunitstayid"]: row["hospitalid"] for row in self.lines["patient"]}
        for kind, row, minutes in self.signs():
            stay = row["patientunitstayid"]
            if stay in of:
                places[kind].add(of[stay])
                for minute in minutes:
                    seen[kind][int(stay)] = min(minute, seen[kind].get(int(stay), minute))
        return seen, places

    def signs(self):
        for row in self.read("respiratoryCharting"):
            peep = row["respchartvaluelabel"] in ("PEEP", "PEEP/CPAP")
            yield "arf", row, [int(row["respchartoffset"])] if peep else []
        for row in self.read("respiratoryCare"):
            at, begun = int(row["respcarestatusoffset"]), int(row["ventstartoffset"] or 0)
            yield "arf", row, [at] * bool(row["peeplimit"]) + [begun] * (0 != begun <= at)
        for row in self.read("infusionDrug"):
            running = (value_of(row["drugrate"])[0] or 0) > 0
            given = any(p in row["drugname"].lower() for p in PRESSORS)
            yield "shock", row, [int(row["infusionoffset"])] if running and given else []
        for row in self.read("medication"):
            given = any(p in row["drugname"].lower() for p in PRESSORS)
            yield "shock", row, [int(row["drugstartoffset"])] if given else []

    def labels(self, task, everywhere=False):
        """stay -> label."""
        onsets, places = self.onsets()
        found = {}
        for row in self.lines["patient"]:
            stay = int(row["patientunitstayid"])
            adult = row["age"] == "> 89" or (row["age"] != "" and int(row["age"]) >= 18)
            if not adult or int(row["unitdischargeoffset"]) < 60 * self.hours:
                continue
            if task == "mortality":
                status = row["hospitaldischargestatus"]
                if status:
                    found[stay] = int(status == "Expired")
            elif everywhere or row["hospitalid"] in places[task]:
                onset = onsets[task].get(stay)
                if onset is None or onset >= 60 * self.hours:
                    found[stay] = int(onset is not None)
        return found


@pytest.fixture(scope="module")
def folder(eicu_tables, tmp_path_factory):
    """Tables of the seed 0, big enough that every rule has a case."""
    return eicu_tables(patients=60).write(tmp_path_factory.mktemp("eicu"))


@pytest.mark.parametrize(("hours", "signals"), [(48, "paper"), (48, "strict"), (4, "paper")])
def test_the_events_are_those_of_a_slow_reading(folder, monkeypatch, hours, signals):
    monkeypatch.setattr("medhmp.tables.csv_file.BLOCK", 3000)  # a stay's rows lie in several blocks
    rules = Cohort(hours=hours, task_signals=signals)
    source = read(folder, cohort=rules, **AS_PUBLISHED)
    wanted = Slow(folder, hours, signals == "strict").events()
    assert len(wanted) > 1000
    events = events_of(source)
    assert resolved(events) == wanted
    assert events.height > len(wanted)
    assert events_of(source).equals(events)  # and again from the beginning


def test_onsets_and_hospitals_are_those_of_a_slow_reading(folder):
    source = read(folder)
    assert source.onsets().drop("stay_id").null_count().row(0) == (source.stays.height,) * 2
    events_of(source)
    found = source.onsets()
    onsets, places = Slow(folder).onsets()
    assert found["stay_id"].n_unique() == found.height == len(Slow(folder).lines["patient"])
    of = {int(r["patientunitstayid"]): r["hospitalid"] for r in Slow(folder).lines["patient"]}
    for kind in ("arf", "shock"):
        minutes = found.select("stay_id", pl.col(kind) * 60).drop_nulls().iter_rows()
        assert {s: round(m, 6) for s, m in minutes} == onsets[kind] != {}
        silent = {stay for stay, place in of.items() if place not in places[kind]}
        assert set(source.unrecorded[kind]["stay_id"]) == silent != set()
    assert (places["arf"], places["shock"]) == ({"60", "70", "90"}, {"60", "70", "80"})


@pytest.mark.parametrize("hours", [4, 48])
@pytest.mark.parametrize("task", ["arf", "shock", "mortality"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_labels_are_those_of_a_slow_reading(folder, task, hours, everywhere):
    run = Run(quiet=True, cohort=Cohort(hours=hours, recording_hospitals=not everywhere))
    source = reader.read("eicu", str(folder), run)
    events_of(source)
    labels = cohort.label(task, source, source.onsets(), run.cohort, icd9_only=False)
    wanted = Slow(folder, hours).labels(task, everywhere)
    assert dict(labels.rows.select("row_id", "label").iter_rows()) == wanted
    assert set(wanted.values()) == {0, 1}
    steps = dict(labels.steps)
    place = "in a hospital that records its signs"
    assert (place in steps) == (task != "mortality" and not everywhere)
    if place in steps:
        assert steps[place] < steps["age at least 18"] < steps["stays"]
    if task == "mortality":
        left = labels.steps[-2][1] - labels.steps[-1][1]
        assert labels.steps[-1][0] == "known to have left alive or died"
        assert left > 0


@pytest.mark.ray
def test_featurized(ray, eicu_tables, tmp_path):
    """Shards with three tasks, codes of both versions and no notes; the others say why not."""
    raw = eicu_tables(patients=120, seed=1).write(tmp_path / "raw")
    run = replace(
        smoke(),
        quiet=True,
        out=str(tmp_path / "out"),
        tables=Tables(sources=(f"eicu={raw}",)),
        cohort=Cohort(hours=4),
        splits=Splits(train=0.5, validation=0.2, test=0.3),
        shards=Shards(files=2, bucket_stays=40),
    )
    featurize(run)
    manifest, slow = open_shards(run).manifest, Slow(raw, 4)
    for task in ("arf", "shock", "mortality"):
        table = open_shards(run).output.read_parquet(f"labels/{task}.parquet")
        pairs = zip(table["row_id"].to_pylist(), table["label"].to_pylist(), strict=True)
        assert dict(pairs) == slow.labels(task)
        assert manifest.tasks[task].unavailable == ""
    for task in ("readmission", "heart_failure"):
        assert manifest.tasks[task].unavailable.startswith("not available from eicu: it has no da")
    assert manifest.counts["eicu"]["stays"] == len(slow.lines["patient"])
    assert manifest.left_out["eicu"]["LAB, of no stay in PATIENT"] == 1
    assert {"9:4280", "10:I509"} <= set(manifest.diagnoses)
    assert "aspirin" in manifest.drugs
    assert manifest.notes == 0
    names = [*manifest.features, *manifest.demographics]
    assert any(name.startswith("heartrate_") for name in names)
    assert any(name.startswith("AGE_value_") for name in names)
    assert not [n for n in names if any(s in n.lower() for s in GIVEN_AWAY)]
