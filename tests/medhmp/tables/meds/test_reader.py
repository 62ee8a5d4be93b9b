"""The MEDS reader against a slow reading of the same rows, for both versions and two ETLs."""

import itertools
import json
import math
import random
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.featurize import featurize
from medhmp import command
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import (
    Cohort,
    Meds,
    Run,
    Shards,
    Splits,
    Tables,
)
from medhmp.shards.build.index import Index
from medhmp.shards.manifest import content_of, open_shards
from medhmp.shards.split import split_of, splits_in
from medhmp.storage import Folder
from medhmp.tables import readings, schema
from medhmp.tables.meds import files as meds_files
from medhmp.tables.meds import reader
from medhmp.tables.meds.codebook import Codebook
from medhmp.tables.meds.visits import closing
from medhmp.tables.mimic import metavision as mv
from medhmp.tasks import cohort

WARD = Meds(
    hospital_admission=r"VISIT/START/(?P<admission_type>\w+)",
    hospital_discharge=r"VISIT/END",
    icu_admission=r"UNIT/IN/(?P<first_careunit>\w+)",
    icu_discharge=r"UNIT/OUT",
    birth=r"DOB",
    sex=r"SEX/(?P<sex>[FM])\w*",
    fact=r"RACE/(?P<ethnicity>.+)|PAYER/(?P<insurance>.+)",
    diagnosis=r"ICD(?P<version>9|10)CM/(?P<icd>.+)",
    drug=r"RX/(?P<drug>.+)",
    note=r"NOTE/DISCHARGE",
    arf=r"(?P<begins>VENT)/ON",
    shock=r"RUN/pressor",
    signal=r"(?P<ends>VENT)/OFF",
    strict_signal=r"OBS/peep.*",
    event=r"(?P<variable>(?:OBS|RUN|VENT|TRAIT)/[^/]+)(?:/.*)?",
    timeless=r"TRAIT/.+",
    end="until",
)
"""The patterns of an ETL that names nothing as MIMIC_IV_MEDS does, and has no id columns."""

HOUR = timedelta(hours=1)
STATIC = {*readings.STATIC, "AGE", "HADM_to_ICU_time"}
VALUES = (None, 1.5, 80.0, math.nan)
TEXTS = (None, None, "7.25", " 3 ", "<5", "AF", "")


class Mimic:
    """MIMIC_IV_MEDS: how a generated fact is written, and what a code says, by splitting it."""

    patterns, named, end = Meds(timeless=r"SUBJECT_WEIGHT.+"), True, "end"

    def visit(self, kind, what, died=False):
        if kind == "hospital":
            return "HOSPITAL_DISCHARGE//DIED" if died else f"HOSPITAL_DISCHARGE//{what}"
        return f"ICU_DISCHARGE//{what}"

    def admission(self, draw):
        place = draw.choice(("EMERGENCY ROOM", "UNK"))
        return f"HOSPITAL_ADMISSION//{draw.choice(('URGENT', 'ELECTIVE'))}//{place}"

    def unit(self, draw):
        return "ICU_ADMISSION//" + draw.choice(("Medical Intensive Care Unit (MICU)", "Stepdown"))

    birth = "MEDS_BIRTH"
    sex = staticmethod(lambda letter: f"GENDER//{letter}")
    facts = ("LANGUAGE//EN", "RACE//WHITE")
    diagnoses = ("DIAGNOSIS//ICD//9//4280", "DIAGNOSIS//ICD//10//i50.9", "DIAGNOSIS//ICD//8//1")
    drugs = ("MEDICATION//START//Heparin ", "MEDICATION//START//Aspirin//00904201561")
    drugs += ("MEDICATION//START//Water//UNK", "MEDICATION//START//UNK")
    signals = ("LAB//220339//cmH2O", "PROCEDURE//START//225792", "INFUSION_START//221906")
    signals += ("INFUSION_END//221906", "PROCEDURE//END//225792")
    events = ("LAB//220045//bpm", "LAB//RESULT//50912//mg/dL", "PROCEDURE//START//225402")
    events += ("INFUSION_START//225158", "LAB//220048//UNK")
    nothing = (
        "DRG//HCFA//3//X",
        "Blood Pressure",
        "PROCEDURE//ICD//9//3893",
        "MEDICATION//X//Given",
    )
    traits = ("SUBJECT_WEIGHT_AT_INFUSION//KG",)

    def meaning(self, code):
        """(role, what it says)."""
        part = code.split("//")
        if part[0] == "HOSPITAL_ADMISSION":
            says = {"admission_type": part[1], "admission_location": part[2]}
            return "open", {k: v for k, v in says.items() if v != "UNK"}
        if part[0] == "HOSPITAL_DISCHARGE":
            return "close", {"died": part[1] == "DIED"}
        if part[0] == "ICU_ADMISSION":
            return "in", {"first_careunit": part[1].split("(")[-1].rstrip(")")}
        heads = {"ICU_DISCHARGE": "out", "MEDS_BIRTH": "birth", "MEDS_DEATH": "death"}
        if part[0] in heads:
            return heads[part[0]], {}
        if part[0] == "GENDER":
            return "sex", {"sex": part[1]}
        if part[0] in ("LANGUAGE", "RACE"):
            return "fact", {"ethnicity" if part[0] == "RACE" else "language": part[1]}
        if part[:2] == ["DIAGNOSIS", "ICD"] and part[2] in ("9", "10"):
            return "code", {"diagnosis": f"{part[2]}:{part[3].replace('.', '').upper()}"}
        if part[:2] == ["MEDICATION", "START"]:
            return ("code", {"drug": part[2].strip().lower()}) if part[2] != "UNK" else ("", {})
        if code in self.signals:
            place = self.signals.index(code)
            kind = {0: "arf", 1: "arf", 2: "shock"}.get(place)
            ranged = {"ends" if place > 2 else "begins": part[-1]} if place else {}
            return "signal", {"kind": kind, **ranged}
        if code in self.events + self.traits:
            return "event", {"variable": code}
        return "", {}


class Ward:
    """The other ETL."""

    patterns, named, end = WARD, False, "until"
    birth = "DOB"
    sex = staticmethod(lambda letter: {"F": "SEX/FEMALE", "M": "SEX/MALE"}[letter])
    facts = ("PAYER/Medicare", "RACE/WHITE")
    diagnoses = ("ICD9CM/428.0", "ICD10CM/I50.9")
    drugs = ("RX/Heparin",)
    signals = ("VENT/ON", "RUN/pressor", "VENT/OFF")
    events = ("OBS/pulse/min", "OBS/pulse/max", "OBS/rhythm", "RUN/saline", "VENT/mask")
    nothing = ("BILL/1",)
    traits = ("TRAIT/smoker",)

    def visit(self, kind, what, died=False):
        return {"hospital": "VISIT/END", "unit": "UNIT/OUT"}[kind]

    def admission(self, draw):
        return "VISIT/START/" + draw.choice(("ELECTIVE", "URGENT"))

    def unit(self, draw):
        return "UNIT/IN/" + draw.choice(("A", "B"))

    def meaning(self, code):
        part = code.split("/")
        if part[:2] == ["VISIT", "START"]:
            return "open", {"admission_type": part[2]}
        if part[:2] == ["UNIT", "IN"]:
            return "in", {"first_careunit": part[2]}
        whole = {"VISIT/END": "close", "UNIT/OUT": "out", "DOB": "birth", "MEDS_DEATH": "death"}
        if code in whole:
            return whole[code], {}
        if part[0] == "SEX":
            return "sex", {"sex": part[1][0]}
        if part[0] in ("PAYER", "RACE"):
            return "fact", {"insurance" if part[0] == "PAYER" else "ethnicity": part[1]}
        if part[0] in ("ICD9CM", "ICD10CM"):
            version = part[0].removeprefix("ICD").removesuffix("CM")
            return "code", {"diagnosis": f"{version}:{part[1].replace('.', '')}"}
        if part[0] == "RX":
            return "code", {"drug": part[1].lower()}
        if code in self.signals:
            place = self.signals.index(code)
            ranged = ({"begins": "VENT"}, {}, {"ends": "VENT"})[place]
            return "signal", {"kind": ("arf", "shock", None)[place], **ranged}
        if code in self.events + self.traits:
            return "event", {"variable": "/".join(part[:2])}
        return "", {}


class Dataset:
    """Rows of subjects, by subject; ``write`` makes the folder of a MEDS dataset of them."""

    def __init__(self, etl, patients=14, seed=0):
        self.etl, self.draw, self.ids = etl, random.Random(seed), itertools.count(1000)
        subjects = self.draw.sample(range(10_000_000, 10_000_999), patients)
        self.rows = {subject: self.subject() for subject in subjects}
        self.splits = None

    def subject(self):
        etl, draw, rows = self.etl, self.draw, []
        rows.append(self.row(None, etl.sex(draw.choice("FM"))))
        if draw.random() < 0.5:
            rows.append(self.row(None, draw.choice(etl.facts)))
        if draw.random() < 0.3:
            rows.append(self.row(None, draw.choice(etl.traits), value=draw.choice(VALUES)))
        now = datetime(2150, 1, 1) + timedelta(days=draw.randint(0, 900))
        rows.append(self.row(datetime(2090, 1, 1), etl.birth))
        for _ in range(draw.randint(0, 3)):
            now = self.admission(rows, now + timedelta(hours=draw.choice((0, 1, 600))))
        if draw.random() < 0.3:
            rows.append(self.row(now - timedelta(hours=draw.choice((0, 2, -700))), "MEDS_DEATH"))
        at = {None: datetime.min}
        return sorted(rows, key=lambda row: at.get(row["time"], row["time"]))  # ties as they came

    def admission(self, rows, begun):
        """Adds an admission with its units and what happens around them; returns its end."""
        etl, draw, hadm = self.etl, self.draw, next(self.ids)
        ended = begun + timedelta(hours=draw.choice((0, 30, 90)), seconds=draw.randint(0, 9))
        own = {"hadm_id": hadm}
        facts = {name: draw.choice((None, "x")) for name in ("insurance", "race")}
        code = etl.admission(draw)
        for _ in range(draw.choice((1, 1, 1, 2))):  # twice the same
            says = {etl.end: draw.choice((None, ended, ended - timedelta(days=9)))}
            rows.append(self.row(begun, code, **own, **facts, **says))
        if draw.random() < 0.9:
            home = etl.visit("hospital", "HOME", died=draw.random() < 0.2)
            rows.append(self.row(ended, home, **own))
        unit = begun - timedelta(minutes=draw.choice((0, 0, 40, 60, 61)))
        for _ in range(draw.randint(0, 2)):
            stay = next(self.ids)
            unit += timedelta(minutes=draw.choice((0, 20, 300, 6000)))
            left = unit + timedelta(minutes=draw.choice((40, 900, 3000)))
            mine = draw.choice(({}, own, own)) | {"icustay_id": stay}
            says = {etl.end: draw.choice((None, None, left))}
            rows.append(self.row(unit, etl.unit(draw), **mine, **says))
            if draw.random() < 0.9:
                rows.append(self.row(left, etl.visit("unit", "x"), **mine))
            self.events(rows, unit, {**own, "icustay_id": stay})
            unit = left
        for code in draw.choices(etl.diagnoses + etl.drugs + etl.facts, k=6):
            when = draw.choice((begun, ended, ended + timedelta(seconds=1), None))
            rows.append(self.row(when, code, **draw.choice(({}, own))))
        self.events(rows, begun, own)
        return ended

    def events(self, rows, around, own):
        draw = self.draw
        codes = self.etl.events * 3 + self.etl.signals + self.etl.nothing
        for code in draw.choices(codes, k=draw.randint(0, 25)):
            when = around + timedelta(minutes=draw.randint(-60, 3600) // 7 * 7)
            if draw.random() < 0.03:
                when = None
            # What is never recorded with a value, with text alone, with either.
            of = {2: (), 4: (TEXTS[4:6],)}.get(self.place(code), (VALUES, TEXTS))
            texts = draw.choice(of[-1]) if of else None
            value = draw.choice(of[0]) if len(of) == 2 else None
            keys = draw.choice((own, own, {}, {"hadm_id": own["hadm_id"]}, {"hadm_id": 7}))
            rows.append(self.row(when, code, value=value, text=texts, **keys))

    def place(self, code):
        return self.etl.events.index(code) if code in self.etl.events else None

    def row(self, time, code, value=None, text=None, **more):
        return {"time": time, "code": code, "numeric_value": value, "text_value": text, **more}

    def schema(self, version):
        text = pa.string() if version == "0.3.3" else pa.large_string()
        code = pa.dictionary(pa.int32(), pa.string()) if version == "coded" else pa.string()
        columns = {
            "subject_id": pa.int64(),
            "time": pa.timestamp("us"),
            "code": code,
            "numeric_value": pa.float32(),
            "text_value": text,
            self.etl.end: pa.timestamp("ms"),
        }
        if self.etl.named:
            columns |= dict.fromkeys(("hadm_id", "icustay_id"), pa.int64())
            columns |= dict.fromkeys(("insurance", "race"), pa.string())
        return pa.schema(columns)

    def tables(self, version="0.4", shards=3):
        """The rows of each shard."""
        of = self.schema(version)
        names = ("train/0", "train/1", "held_out/0")
        for number, name in enumerate(names[:shards]):
            rows = [
                {"subject_id": subject, **row}
                for subject, own in list(self.rows.items())[number::shards]
                for row in own
            ]
            yield name, pa.Table.from_pylist(rows, schema=of)

    def write(self, path, version="0.4", shards=3, group=50):
        for name, table in self.tables(version, shards):
            file = path / "data" / f"{name}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, file, row_group_size=group)
        (path / "metadata").mkdir(exist_ok=True)
        (path / "metadata" / "dataset.json").write_text(json.dumps({"meds_version": version}))
        if self.splits is not None:
            write_splits(path, self.splits)
        return str(path)


def write_splits(path, splits):
    table = pa.table({"subject_id": list(splits), "split": list(splits.values())})
    table = table.cast(pa.schema({"subject_id": pa.int64(), "split": pa.string()}))
    pq.write_table(table, path / "metadata" / "subject_splits.parquet")


class Slow:
    """The tables that the rows of a folder tell of, row by row."""

    def __init__(self, folder, etl, hours=48):
        self.etl, self.hours, self.numbers = etl, hours, Counter()
        self.patients, self.admissions, self.stays, self.codes = {}, [], [], set()
        self.events, self.onsets = [], {}
        files = sorted((folder / "data").rglob("*.parquet"))
        rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        for row in rows:
            row["role"], row["says"] = etl.meaning(row["code"])
            row["number"], row["text"] = value_of(row)
        self.kinds(rows)
        for subject, own in itertools.groupby(rows, key=lambda row: row["subject_id"]):
            self.subject(subject, list(own))

    def kinds(self, rows):
        events = [row for row in rows if row["role"] == "event"]
        ever = {k: set() for k in ("number", "text", "time")}
        for row in events:
            for kind, known in ever.items():
                if row[kind] is not None:
                    known.add(row["says"]["variable"])
        self.ever = ever

    def subject(self, subject, rows):
        of = {role: [r for r in rows if r["role"] == role] for role in {r["role"] for r in rows}}
        births = [r["time"] for r in of.get("birth", []) if r["time"]]
        deaths = [r["time"] for r in of.get("death", []) if r["time"]]
        death = min(deaths, default=None)
        sexes = [r["says"]["sex"] for r in of.get("sex", [])]
        self.patients[subject] = (sexes[0] if sexes else None, min(births, default=None), death)
        admissions = self.visits(of.get("open", []), of.get("close", []), "hadm_id")
        for place, one in enumerate(admissions):
            one["died"] = self.death(one, death, admissions[place + 1 : place + 2])
            one["facts"] = self.facts(one, of.get("fact", []))
        stays = []
        for stay in self.visits(of.get("in", []), of.get("out", []), "icustay_id"):
            home = self.home(stay["row"], admissions, early=HOUR)
            if home is not None:
                stays.append(stay | {"home": home})
        for stay in stays:
            if not self.etl.named:
                stay["id"] = self.number("icustay_id")
        stays = [stay for stay in stays if not self.outside(stay)]
        self.admissions += [(subject, one) for one in admissions]
        self.stays += [(subject, stay) for stay in stays]
        for row in of.get("code", []):
            ((kind, code),) = row["says"].items()
            home = self.home(row, admissions, at_end=kind == "diagnosis")
            late = kind == "drug" and home and row["time"] and home["end"]
            if home is not None and not (late and row["time"] > home["end"]):
                self.codes.add((subject, home["id"], kind, code))
        self.pair(of.get("signal", []))
        for stay in stays:
            self.of_stay(subject, stay, rows)

    def outside(self, stay):
        """Whether a stay misses its admission by more than a day."""
        day, home = timedelta(days=1), stay["home"]
        late = home["end"] is not None and stay["begun"] - home["end"] > day
        return late or (stay["end"] is not None and home["begun"] - stay["end"] > day)

    def pair(self, signals):
        """Gives each sign that begins something the time of its end, if the next known is one."""
        told = [r for r in signals if r["time"] and self.thing(r)]
        told.sort(key=lambda row: (self.thing(row), row["time"], "ends" not in row["says"]))
        for row, after in itertools.pairwise(told):
            same = self.thing(row) == self.thing(after) and "ends" in after["says"]
            if same and "ends" not in row["says"]:
                row["ended"] = after["time"]

    def thing(self, row):
        return row["says"].get("begins") or row["says"].get("ends")

    def number(self, key):
        self.numbers[key] += 1
        return self.numbers[key]

    def visits(self, opens, closes, key):
        found = []
        for row in opens:
            name = row[key] if self.etl.named else row["time"]
            if (
                row["time"] is not None
                and name is not None
                and name not in [v["name"] for v in found]
            ):
                found.append({"name": name, "row": row, "begun": row["time"], "end": None})
        closes = [row for row in closes if row["time"] is not None]
        for place, visit in enumerate(found):
            visit["last"] = None
            if self.etl.named:
                own = [row for row in closes if row[key] == visit["name"]]
                if own:
                    visit["end"] = max(row["time"] for row in own)
                    visit["last"] = any(row["says"].get("died") for row in own)
                visit["id"] = visit["name"]
                self.mend(visit)
                continue
            for row in closes:
                next_one = found[place + 1]["begun"] if place + 1 < len(found) else datetime.max
                if visit["begun"] <= row["time"] <= next_one and "used" not in row:
                    row["used"], visit["end"] = True, row["time"]
                    break
            self.mend(visit)
            if key == "hadm_id":
                visit["id"] = self.number(key)
        return found

    def mend(self, visit):
        """Takes the end that the row states where no code tells it; none before the first day."""
        visit["end"] = visit["end"] or visit["row"][self.etl.end]
        if visit["end"] and visit["end"] < midnight(visit["begun"]):
            visit["end"] = None

    def death(self, one, death, following):
        expired = one["last"] if self.etl.named else None
        if expired is None:
            expired = self.inside(one, death, following)
        after = death if death is not None and death >= one["begun"] else None
        return expired, (after or one["end"]) if expired else None

    def inside(self, one, death, following):
        """Whether a patient died in an admission; None where its end would have to be known."""
        if death is None:
            return False
        since = midnight(one["begun"]) if death == midnight(death) else one["begun"]
        if one["end"] is not None:
            return since <= death <= one["end"]
        survived = bool(following) and following[0]["begun"] < death
        return False if survived or death < since else None

    def home(self, row, admissions, early=timedelta(), at_end=False):
        """The admission of a row."""
        if row.get("hadm_id") is not None:
            own = [one for one in admissions if one["id"] == row["hadm_id"]]
            return own[0] if own else None
        time = row["time"]
        own = [
            one
            for one in admissions
            if time is not None and one["begun"] - early <= time <= (one["end"] or datetime.max)
        ]

        def fit(one):
            over = at_end and one["end"] is not None and one["end"] <= time
            return one["begun"] <= time, over, -abs(time - one["begun"]), one["id"]

        return max(own, key=fit) if own else None

    def facts(self, one, facts):
        named = [r for r in facts if r.get("hadm_id") is not None]
        own = [r for r in named if r["hadm_id"] == one["id"]]
        last = one["end"] or datetime.max
        general = [r for r in facts if r not in named and (r["time"] or datetime.min) <= last]
        columns = {"insurance": one["row"].get("insurance"), "ethnicity": one["row"].get("race")}
        known = [one["row"]["says"], columns, *(r["says"] for r in own[::-1] + general[::-1])]
        return {
            name: next((k[name] for k in known if k.get(name)), None)
            for name in schema.ADMISSIONS.names[6:]
        }

    def of_stay(self, subject, stay, rows):
        first = {}
        for row in rows:
            if row["role"] not in ("event", "signal"):
                continue
            if row.get("icustay_id") is not None:
                mine = row["icustay_id"] == stay["id"]
            elif row.get("hadm_id") is not None:
                mine = row["hadm_id"] == stay["home"]["id"]
            else:
                mine = True
            if not mine:
                continue
            hours = None
            if row["time"] is not None:
                hours = (row["time"] - stay["begun"]).total_seconds() / 3600
            if row["role"] == "signal":
                ends = stay["end"] or datetime.max
                going_on = hours is not None and stay["begun"] <= row["time"] <= ends
                if "ended" in row and row["time"] < stay["begun"] < row["ended"]:
                    going_on = row["time"] >= stay["home"]["begun"] - HOUR
                kind = row["says"]["kind"]
                if kind and hours is not None and (row.get("icustay_id") or going_on):
                    first[kind] = min(first.get(kind, math.inf), hours)
                continue
            self.event(subject, stay, row, hours)
        self.onsets[stay["id"]] = first

    def event(self, subject, stay, row, hours):
        variable = row["says"]["variable"]
        number, text, textual = row["number"], row["text"], variable in self.ever["text"]
        numeric = variable in self.ever["number"]
        lasting = re.fullmatch(self.etl.patterns.timeless, variable)
        if hours is None and (variable in self.ever["time"] or not lasting):
            return
        until = stay["home"]["end"] or datetime.max
        if hours is not None and not (0 <= hours < self.hours and row["time"] <= until):
            return
        if not numeric and not textual:
            number = 1.0
        repeats = "indicators" if textual and not numeric else "apart"
        at = None if hours is None else round(hours, 9)
        self.events.append((subject, stay["id"], at, variable, number, text, repeats))


def midnight(time):
    return time.replace(hour=0, minute=0, second=0)


def value_of(row):
    """(number, text) of a row."""
    value, text = row["numeric_value"], row["text_value"] or None
    if value is not None and math.isfinite(value):
        return value, None
    try:
        return float(text), None
    except (TypeError, ValueError):
        return None, text


def run_of(etl, **sections):
    return Run(quiet=True, tables=Tables(meds=etl.patterns), **sections)


def read(folder, etl, **sections):
    return reader.read("meds", str(folder), run_of(etl, **sections))


def events_of(source):
    batches = list(source.events())
    assert all(batch.schema.equals(schema.EVENTS) for batch in batches)
    return pl.concat([pl.from_arrow(batch) for batch in batches])


def rows_of(events):
    """Those that are not of the stay as a whole, as ``Slow`` has them."""
    own = events.filter(~pl.col("variable").is_in(list(STATIC)))
    return own.with_columns(pl.col("hours").round(9)).rows()


def ordered(rows):
    return sorted(rows, key=repr)


@pytest.mark.parametrize("etl", [Mimic(), Ward()], ids=["MIMIC_IV_MEDS", "another ETL"])
@pytest.mark.parametrize("version", ["0.3.3", "0.4", "coded"])
@pytest.mark.parametrize("seed", range(3))
def test_the_tables_are_those_of_a_slow_reading(tmp_path, monkeypatch, etl, version, seed):
    monkeypatch.setattr(meds_files, "BATCH", 37)  # subjects in several batches, and the other way
    data = Dataset(etl, patients=30, seed=seed)
    source, slow = read(data.write(tmp_path, version), etl), Slow(tmp_path, etl)
    assert {s: (x, b, d) for s, x, b, d in source.patients.iter_rows()} == slow.patients
    found = {row["hadm_id"]: row for row in source.admissions.iter_rows(named=True)}
    assert len(found) == len(slow.admissions) > 10
    for subject, one in slow.admissions:
        expired, died = one["died"]
        assert found[one["id"]] == {
            "subject_id": subject,
            "hadm_id": one["id"],
            "admitted": one["begun"],
            "discharged": one["end"],
            "died": died,
            "expired": expired,
            **one["facts"],
        }
    stays = [
        (
            subject,
            s["home"]["id"],
            s["id"],
            s["begun"],
            s["end"],
            s["row"]["says"]["first_careunit"],
        )
        for subject, s in slow.stays
    ]
    assert ordered(source.stays.drop("first_ward").rows()) == ordered(stays)
    assert len(stays) > 10
    assert set(source.codes.rows()) == slow.codes
    assert source.codes.height == len(slow.codes) > 20
    events = events_of(source)
    assert ordered(rows_of(events)) == ordered(slow.events)
    assert len(slow.events) > 50
    assert events_of(source).equals(events)  # and again from the beginning
    onsets = {s: {"arf": a, "shock": k} for s, a, k in source.onsets().iter_rows()}
    assert onsets.keys() == slow.onsets.keys()
    for stay, first in slow.onsets.items():
        assert onsets[stay] == pytest.approx({"arf": first.get("arf"), "shock": first.get("shock")})
    assert any(slow.onsets.values())
    rows = sum(len(own) for own in data.rows.values())
    assert source.counts["DATA"] == rows
    assert source.unlabelled == {}


def test_a_closing_code_ends_the_visit_that_an_id_would_name():
    """Of visits that follow each other; ``test_every_visit...`` says what holds of any."""
    draw = random.Random(3)
    for _ in range(300):
        opens, closes, now = [], [], 0
        for _ in range(draw.randint(0, 6)):
            opens.append(now)
            now += draw.randint(0, 2)
            closes.append(now)
            now = max(now, opens[-1] + 1)
        assert closing(opens, closes) == list(range(len(opens)))


TIMES = st.lists(st.integers(0, 12), max_size=8)


@given(TIMES, TIMES)
def test_every_visit_ends_at_the_first_free_close_before_the_next_one(opens, closes):
    opens, closes = sorted(set(opens)), sorted(closes)
    found = closing(opens, closes)
    free = list(range(len(closes)))
    for place, begun in enumerate(opens):
        free = [k for k in free if closes[k] >= begun]
        limit = opens[place + 1] if place + 1 < len(opens) else math.inf
        expected = free.pop(0) if free and closes[free[0]] <= limit else None
        assert found[place] == expected
    spans = [(o, closes[k]) for o, k in zip(opens, found, strict=True) if k is not None]
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))


MIMIC = Mimic()


@pytest.fixture
def data():
    """One patient: two admissions of five days, a stay from the sixth hour of the first."""
    made = Dataset(MIMIC, patients=0)
    made.rows = {1: [], 2: []}
    made.rows[2] = [made.row(None, "GENDER//M")]
    day, own = datetime(2150, 5, 1), {"hadm_id": 11}
    add(made, None, "GENDER//F")
    add(made, datetime(2100, 1, 1), "MEDS_BIRTH")
    add(made, day, "HOSPITAL_ADMISSION//URGENT//PHYSICIAN REFERRAL", **own, race="WHITE")
    add(made, at(0), "ICU_ADMISSION//Medical Intensive Care Unit (MICU)", **own, icustay_id=101)
    add(made, at(60), "ICU_DISCHARGE//Medical Intensive Care Unit (MICU)", **own, icustay_id=101)
    add(made, day + timedelta(days=5), "HOSPITAL_DISCHARGE//HOME", **own)
    later = day + timedelta(days=20)
    add(made, later, "HOSPITAL_ADMISSION//ELECTIVE//UNK", hadm_id=12)
    add(made, later + timedelta(days=5), "HOSPITAL_DISCHARGE//DIED", hadm_id=12)
    return made


def at(hours):
    """A time so many hours after unit admission."""
    return datetime(2150, 5, 1, 6) + timedelta(hours=hours)


def add(made, time, code, value=None, text=None, **more):
    made.rows[1].append(made.row(time, code, value, text, **more))
    made.rows[1].sort(key=lambda row: row["time"] or datetime.min)


def values(events, variable):
    own = events.filter(pl.col("variable") == variable)
    return own.select("hours", "number", "text", "repeats").rows()


def test_values(data, tmp_path):
    for hours, value, text in ((1, 80, None), (2, None, " 81 "), (3, 5, "<5"), (4, None, "<5")):
        add(data, at(hours), "LAB//220045//bpm", value, text)
    add(data, at(5), "LAB//220045//bpm", math.nan)  # recorded without a value
    add(data, at(6), "LAB//220048//UNK", text="AF")
    add(data, at(7), "LAB//220048//UNK")
    add(data, at(8), "PROCEDURE//START//225402")
    add(data, at(9) + timedelta(milliseconds=999), "INFUSION_START//225158", 0.25)
    events = events_of(read(data.write(tmp_path), MIMIC))
    assert values(events, "LAB//220045//bpm") == [
        *((1, 80, None, "apart"), (2, 81, None, "apart"), (3, 5, None, "apart")),
        *((4, None, "<5", "apart"), (5, None, None, "apart")),
    ]
    found = [(6, None, "AF", "indicators"), (7, None, None, "indicators")]
    assert values(events, "LAB//220048//UNK") == found
    assert values(events, "PROCEDURE//START//225402") == [(8, 1, None, "apart")]
    assert values(events, "INFUSION_START//225158") == [(9, 0.25, None, "apart")]
    static = events.filter(pl.col("hours").is_null())
    assert set(static["variable"]) == {
        *("GENDER", "AGE", "ADMISSION_TYPE", "ADMISSION_LOCATION", "ETHNICITY", "FIRST_CAREUNIT"),
        "HADM_to_ICU_time",
    }


def test_only_a_variable_that_is_named_and_never_has_a_time_holds_for_the_stay(
    data, tmp_path, capsys
):
    add(data, None, "LAB//1//kg", 70)
    add(data, None, "LAB//2//kg", 71)
    add(data, at(3), "LAB//2//kg", 72)
    for code, value, text in (("LAB//3//kg", 73, None), ("LAB//4//x", None, "high")):
        add(data, None, code, value, text)  # a number, a text, no value: each may tell of the end
    add(data, None, "PROCEDURE//START//225402")
    named = replace(Meds(), timeless="LAB//[12]//.*")
    run = Run(tables=Tables(meds=named))
    source = reader.read("meds", data.write(tmp_path), run)
    events = events_of(source)
    assert values(events, "LAB//1//kg") == [(None, 70, None, "apart")]
    assert values(events, "LAB//2//kg") == [(3, 72, None, "apart")]
    assert not set(events["variable"]) & {"LAB//3//kg", "LAB//4//x", "PROCEDURE//START//225402"}
    assert source.counts["events, without a time"] == 4
    said = "4 variables have events without a time, which are left out; .*--tables.meds.timeless"
    assert re.search(said, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (("9//389", "9//42", "9//19"), "2 codes in 2 rows .* leading zeros are lost"),
        (("9//38.9",), "1 code in 1 row .* leading zeros are lost"),
        (("9//J44.9", "9//4280"), "1 code in 1 row of ICD-10 where the version is 9"),
        (("10//4280", "10//I50.9"), "1 code in 1 row of ICD-9 where the version is 10"),
    ],
)
def test_diagnoses_that_cannot_be_are_refused(data, tmp_path, codes, said):
    for code in codes:
        add(data, at(1), f"DIAGNOSIS//ICD//{code}")
    with pytest.raises(Refusal, match=f"column code of the data in .*{said}"):
        read(data.write(tmp_path), MIMIC)


def test_what_is_left_out_is_counted(data, tmp_path):
    data.rows[2] += [data.row(at(1), "LAB//220045//bpm", 60)] * 2
    add(data, at(1), "BILL//7")
    add(data, at(1), "LAB//220339//cmH2O", 5, icustay_id=101)
    add(data, at(48), "LAB//220045//bpm", 60)  # the hour the window ends
    add(data, at(-1), "LAB//220045//bpm", 60)
    add(data, at(1), "LAB//220045//bpm", 60, icustay_id=999)
    add(data, at(1), "ICU_ADMISSION//X", icustay_id=102, hadm_id=77)
    add(data, at(1), "ICU_ADMISSION//X")
    add(data, at(2), "HOSPITAL_DISCHARGE//HOME", hadm_id=78)
    add(data, at(1), "DIAGNOSIS//ICD//9//4280", hadm_id=78)
    add(data, at(-7), "MEDICATION//START//Heparin")
    add(data, at(1), "MEDICATION//START//UNK")
    source = read(data.write(tmp_path), MIMIC)
    events_of(source)
    assert {reason: n for reason, n in source.counts.items() if n and not reason.isupper()} == {
        "patients": 2,
        "admissions": 2,
        "stays": 1,
        "rows whose code matches no pattern": 1,
        "rows that are signals of a task": 1,
        "rows of patients without a stay": 3,
        "events outside the hours of every stay": 3,
        "stays, begun without a time or an id": 1,
        "stays, of no admission": 1,
        "times, ends of admissions that belong to none": 1,
        "codes, diagnoses of no admission": 1,
        "codes, drugs without a name": 1,
        "codes, drugs of no admission, or started after it": 1,
    }


def test_a_death_in_hospital(data, tmp_path):
    add(data, datetime(2150, 5, 26), "MEDS_DEATH//x")
    source = read(data.write(tmp_path), MIMIC)
    deaths = source.admissions.sort("hadm_id").select("expired", "died").rows()
    assert deaths == [(False, None), (True, datetime(2150, 5, 26))]


@pytest.mark.parametrize(
    ("death", "found"),
    [
        (datetime(2150, 5, 24, 1), [(False, None), (True, datetime(2150, 5, 24, 1))]),
        (datetime(2150, 5, 26), [(False, None), (True, datetime(2150, 5, 26))]),
        (datetime(2150, 5, 27), [(False, None), (False, None)]),
        (datetime(2150, 5, 21, 8), [(False, None), (False, None)]),  # an hour before
        (datetime(2150, 5, 21), [(False, None), (True, datetime(2150, 5, 26, 9))]),  # that day
        (datetime(2150, 5, 4), [(True, datetime(2150, 5, 4)), (False, None)]),
    ],
)
def test_a_death_by_its_time(data, tmp_path, death, found):
    for row in data.rows[1]:
        if row.get("hadm_id") == 12:
            row["time"] += timedelta(hours=9)
    add(data, death, "MEDS_DEATH")
    by_time = replace(MIMIC.patterns, hospital_discharge="HOSPITAL_DISCHARGE//.+")
    run = Run(quiet=True, tables=Tables(meds=by_time))
    source = reader.read("meds", data.write(tmp_path), run)
    assert source.admissions.sort("hadm_id").select("expired", "died").rows() == found


OMOP = replace(
    Meds(),
    hospital_admission="Visit/IP",
    icu_admission="",
    icu_discharge="",
    sex="Gender/(?P<sex>.)",
    diagnosis="ICD(?P<version>9|10)CM/(?P<icd>.+)",
    event="(?P<variable>LOINC/.+)",
    admission_id="visit_id",
)
"""Patterns for OMOP's visits, whose ends are in the rows that begin them."""


def visit(day, end, **more):
    """A visit of OMOP from a day of May 2150, and when its row says that it ends."""
    begun = datetime(2150, 5, day)
    return {"time": begun, "code": "Visit/IP", "end": end and begun + timedelta(days=end), **more}


def omop(tmp_path, rows, patterns=OMOP, end=None, quiet=True):
    """The source that these rows of a patient make."""
    schema_ = pa.schema(
        {
            "subject_id": pa.int64(),
            "time": pa.timestamp("us"),
            "code": pa.string(),
            "visit_id": pa.int64(),
            "end": end or pa.timestamp("us"),
        }
    )
    ordered_rows = sorted(rows, key=lambda row: row["time"])
    table = pa.Table.from_pylist([{"subject_id": 1, **row} for row in ordered_rows], schema=schema_)
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "0.parquet")
    return reader.read("meds", str(tmp_path), Run(tables=Tables(meds=patterns), quiet=quiet))


@pytest.mark.parametrize("named", [True, False])
def test_the_end_of_a_visit_is_in_its_row_where_no_code_tells_it(tmp_path, named):
    visits = [visit(day, end) for day, end in ((1, 3), (10, 2), (20, None), (25, -4))]
    rows = [row | ({"visit_id": number} if named else {}) for number, row in enumerate(visits, 1)]
    told = {"time": datetime(2150, 5, 11), "code": "HOSPITAL_DISCHARGE//HOME"}
    dead = {"time": datetime(2150, 5, 2, 9), "code": "MEDS_DEATH"}
    told |= {"visit_id": 2} if named else {}
    patterns = OMOP if named else replace(OMOP, admission_id="")
    source = omop(tmp_path, [*rows, told, dead], patterns)
    found = source.admissions.sort("admitted").select("discharged", "expired").rows()
    assert found == [
        (datetime(2150, 5, 4), True),  # though hospital_discharge has a group for it
        (datetime(2150, 5, 11), False),  # the code goes before the row
        (None, False),
        (None, False),
    ]
    assert source.stays.sort("intime")["outtime"].to_list() == [end for end, _ in found]
    assert source.counts["times, ends of admissions before they begin"] == 1
    assert source.counts["admissions without an end"] == 2
    assert not [reason for reason, n in source.counts.items() if n and "admissions, " in reason]


@pytest.mark.parametrize(
    ("death", "expired"),
    [
        (None, [False, False]),
        (datetime(2150, 5, 1, 4), [None, False]),
        (datetime(2150, 5, 12), [False, None]),
        (datetime(2150, 4, 12), [False, False]),
    ],
)
def test_whether_a_patient_died_in_a_visit_without_an_end_is_not_known(tmp_path, death, expired):
    rows = [visit(1, None, visit_id=1), visit(10, None, visit_id=2)]
    source = omop(tmp_path, rows + [{"time": death, "code": "MEDS_DEATH"}] * bool(death))
    assert source.admissions["expired"].to_list() == expired
    labels = cohort.label("mortality", source, source.onsets(), Cohort(min_age=0), False)
    assert labels.rows.is_empty()


def test_tasks_are_labelled_by_stated_ends_and_without_any_it_is_said(tmp_path, capsys):
    rows = [visit(1, 3, visit_id=1), visit(10, 3, visit_id=2)]
    rows += [{"time": row["time"], "code": "ICD9CM/428.0", "visit_id": 1} for row in rows]
    rows += [{"time": datetime(2150, 5, 12), "code": "MEDS_DEATH"}]
    (tmp_path / "with").mkdir()
    source = omop(tmp_path / "with", rows)
    assert not set(source.unlabelled) & {"readmission", "mortality"}
    (tmp_path / "without").mkdir()
    source = omop(tmp_path / "without", rows, replace(OMOP, end="stop"), quiet=False)
    lacking = "hospital_discharge, and no row has the column tables.meds.end ('stop')"
    assert source.unlabelled["readmission"].endswith(lacking)
    said = "meds: 2 of 2 admissions and 2 of 2 stays have no end that is known"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("kind", [pa.timestamp("ns", "UTC"), pa.date32(), pa.timestamp("s")])
def test_the_end_of_a_visit_may_have_the_types_of_a_time(tmp_path, kind):
    source = omop(tmp_path, [visit(1, 3, visit_id=1)], end=kind)
    assert source.admissions["discharged"].to_list() == [datetime(2150, 5, 4)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [visit(1, 3)],
            r"none of the admissions .* can be used \(1 begun without a time or an id\)",
        ),
        (
            [visit(1, 3, visit_id=1), {"time": datetime(2151, 1, 1), "code": "ICU"}],
            r"none of the stays .* can be used \(1 of no admission\); .* tables.meds.stay_id",
        ),
        (
            [visit(1, 3, visit_id=1), {"time": datetime(2151, 1, 1), "code": "ICU", "visit_id": 1}],
            r"none of the stays .* can be used \(1 outside their admission\)",
        ),
        ([visit(1, 3, visit_id=1)], "no code in .* makes one of the stays by tables.meds.icu_adm"),
    ],
)
def test_why_no_visit_can_be_used_is_said(tmp_path, rows, said):
    patterns = replace(OMOP, icu_admission="ICU" if len(rows) > 1 or "stays" in said else "")
    with pytest.raises(Refusal, match=said):
        omop(tmp_path, rows, patterns)


def nameless(*rows):
    """A dataset of MIMIC_IV_MEDS's codes for one patient, without any column of ids."""
    made = Dataset(MIMIC, patients=0)
    made.rows = {1: [made.row(time, code) for time, code in rows]}
    made.rows[1].sort(key=lambda row: row["time"])
    return made


IN, OUT = "HOSPITAL_ADMISSION//URGENT//UNK", "HOSPITAL_DISCHARGE//HOME"
UNIT, LEFT = "ICU_ADMISSION//A", "ICU_DISCHARGE//A"
DAY = timedelta(days=1)


def read_nameless(made, tmp_path):
    by_time = replace(MIMIC.patterns, admission_id="", stay_id="")
    run = Run(quiet=True, tables=Tables(meds=by_time))
    return reader.read("meds", made.write(tmp_path), run)


@pytest.mark.parametrize(
    ("minutes", "home"),
    [(0, 2), (-1, 2), (-60, 2), (-61, None), (-24 * 60 * 3, 1), (30, 2)],
)
def test_a_stay_may_begin_an_hour_before_its_admission(tmp_path, minutes, home):
    unit = at(0) + timedelta(minutes=minutes)
    first = [(at(0) - 4 * DAY, IN), (at(0) - 2 * DAY, OUT)]
    rows = [*first, (at(0), IN), (unit, UNIT), (unit + DAY, LEFT), (at(0) + 9 * DAY, OUT)]
    rows += [(at(0) + 3 * DAY, UNIT), (at(0) + 4 * DAY, LEFT)]
    source = read_nameless(nameless(*rows), tmp_path)
    own = dict(source.stays.select("intime", "hadm_id").iter_rows())
    assert own.get(unit) == home
    assert source.counts["stays, of no admission"] == (home is None)


@pytest.mark.parametrize(
    ("signs", "onset"),
    [
        ([(-2, "PROCEDURE//START//225792"), (5, "PROCEDURE//END//225792")], -2),
        ([(-2, "INFUSION_START//221906"), (5, "INFUSION_END//221906")], -2),
        ([(-2, "PROCEDURE//START//225792"), (-1, "PROCEDURE//END//225792")], None),
        ([(-2, "PROCEDURE//START//225792"), (0, "PROCEDURE//END//225792")], None),
        ([(-2, "PROCEDURE//START//225792"), (5, "PROCEDURE//END//225794")], None),
        ([(-2, "PROCEDURE//START//225792")], None),  # not known to run still
        ([(-2, "LAB//220339//cmH2O"), (5, "PROCEDURE//END//225792")], None),
        # A new rate ends and begins at one time.
        (
            [
                *((-4, "INFUSION_START//221906"), (-3, "INFUSION_END//221906")),
                *((-3, "INFUSION_START//221906"), (1, "INFUSION_END//221906")),
            ],
            -3,
        ),
        ([(-9, "PROCEDURE//START//225792"), (5, "PROCEDURE//END//225792")], None),  # elsewhere
        ([(-6.5, "PROCEDURE//START//225792"), (5, "PROCEDURE//END//225792")], -6.5),
        ([(3, "PROCEDURE//START//225792")], 3),
    ],
)
def test_what_runs_when_a_stay_begins_is_its_onset(tmp_path, signs, onset):
    visits = [(at(-6), IN), (at(0), UNIT), (at(60), LEFT), (at(99), OUT)]
    rows = visits + [(at(hours), code) for hours, code in signs]
    source = read_nameless(nameless(*rows), tmp_path)
    events_of(source)
    ((_, arf, shock),) = source.onsets().iter_rows()
    assert (arf if arf is not None else shock) == onset


@pytest.mark.parametrize(
    ("minutes", "home"), [(0, 1), (-1, 1), (1, 2), (5 * 24 * 60, 2), (5 * 24 * 60 + 1, None)]
)
def test_an_admission_that_ends_as_the_next_begins_keeps_its_diagnoses(tmp_path, minutes, home):
    visits = [(at(0) - 4 * DAY, IN), (at(0), OUT), (at(0), IN), (at(0) + 5 * DAY, OUT)]
    rows = [*visits, (at(1), UNIT), (at(9), LEFT)]
    code = (at(0) + timedelta(minutes=minutes), "DIAGNOSIS//ICD//9//4280")
    source = read_nameless(nameless(*rows, code), tmp_path)
    assert source.codes["hadm_id"].to_list() == [home] * (home is not None)
    assert source.counts["codes, diagnoses of no admission"] == (home is None)


def test_codes_of_their_own_say_facts_of_an_admission_or_of_the_patient(data, tmp_path):
    add(data, at(-6), "RACE//OTHER", hadm_id=11)  # the column of the admission goes before it
    add(data, at(-6), "INSURANCE//Medicare", hadm_id=11)
    add(data, None, "RACE//UNKNOWN")
    add(data, None, "LANGUAGE//UNK")
    add(data, datetime(2100, 1, 1), "MARITAL_STATUS//SINGLE")
    add(data, at(300), "MARITAL_STATUS//MARRIED")  # between the two
    add(data, at(9000), "MARITAL_STATUS//WIDOWED")
    add(data, at(1), "RACE//OTHER", hadm_id=77)
    source = read(data.write(tmp_path), MIMIC)
    names = ("ethnicity", "insurance", "language", "marital_status")
    assert source.admissions.sort("hadm_id").select(names).rows() == [
        ("WHITE", "Medicare", None, "SINGLE"),
        ("UNKNOWN", None, None, "MARRIED"),
    ]
    assert source.counts["facts of no admission"] == 2


def test_admissions_are_the_stays_where_no_code_tells_of_a_unit(data, tmp_path):
    add(data, at(-5), "LAB//220045//bpm", 60, icustay_id=101)
    run = Run(quiet=True, tables=Tables(meds=replace(MIMIC.patterns, icu_admission="")))
    source = reader.read("meds", data.write(tmp_path), run)
    assert source.stays["stay_id"].to_list() == source.admissions["hadm_id"].to_list() == [11, 12]
    assert source.stays["intime"].to_list() == source.admissions["admitted"].to_list()
    assert values(events_of(source), "LAB//220045//bpm") == [(1, 60, None, "apart")]


def test_strict_task_signals(data, tmp_path):
    add(data, at(1), "LAB//223835//%", 40)
    folder = data.write(tmp_path)
    assert values(events_of(read(folder, MIMIC)), "LAB//223835//%")
    strict = read(folder, MIMIC, cohort=Cohort(task_signals="strict"))
    assert not values(events_of(strict), "LAB//223835//%")


@pytest.mark.parametrize("signals", ["paper", "strict"])
def test_the_signals_are_the_items_of_the_mimic_readers(signals):
    book = Codebook(Meds(), signals == "strict")

    def role(code):
        known = book.of(pl.DataFrame({"code": [code]}))
        return known.filter(pl.col("code") == code)["role"].item()

    assert {role(f"LAB//{item}//cmH2O") for item in mv.ARF_CHART} == {"arf"}
    assert {role(f"PROCEDURE//START//{item}") for item in mv.ARF_PROCEDURES} == {"arf"}
    assert {role(f"INFUSION_START//{item}") for item in mv.SHOCK_INPUTS} == {"shock"}
    ends = [f"PROCEDURE//END//{item}" for item in mv.ARF_PROCEDURES]
    ends += [f"INFUSION_END//{item}" for item in mv.SHOCK_INPUTS]
    heads = ("INFUSION_START", "INFUSION_END")
    ends += [f"{head}//{item}" for item in mv.OTHER_PRESSORS for head in heads]
    assert {role(code) for code in ends} == {"signal"}
    named = ("LAB//{}//x", "PROCEDURE//START//{}", "INFUSION_START//{}")
    for item in mv.STRICT:
        found = {role(name.format(item)) for name in named}
        assert found == {"event"} | ({"strict_signal"} if signals == "strict" else set())
    assert {role(code) for code in Mimic.events} == {"event"}
    assert {role(code) for code in Mimic.nothing} == {""}


def test_notes(tmp_path):
    data = Dataset(Ward(), patients=0)
    data.rows = {1: []}
    for begun in (datetime(2150, 5, 1, 9), datetime(2150, 5, 9, 9)):
        add(data, begun, "VISIT/START/URGENT")
        add(data, begun + timedelta(hours=1), "UNIT/IN/A")
        add(data, begun + timedelta(hours=3), "UNIT/OUT")
        add(data, begun + timedelta(days=2), "VISIT/END")
    for day, hour, text in ((2, 1, "draft"), (3, 20, "final"), (4, 1, "late"), (10, 1, "next")):
        add(data, datetime(2150, 5, day, hour), "NOTE/DISCHARGE", text=text)
    add(data, datetime(2150, 5, 10, 2), "NOTE/DISCHARGE", text="")
    source = read(data.write(tmp_path), Ward())
    notes = pl.concat([pl.from_arrow(batch) for batch in source.notes()])
    assert notes.rows() == [(1, 1, "final"), (1, 2, "next")]
    assert source.counts["notes of no admission, or written after its discharge"] == 1
    other = Run(quiet=True, tables=Tables(meds=replace(WARD, note="")))
    assert list(reader.read("meds", str(tmp_path), other).notes()) == []


def test_the_splits_of_the_dataset_are_those_of_the_index(tmp_path):
    data = Dataset(MIMIC, patients=14)
    subjects = list(data.rows)
    theirs = dict(zip(subjects, itertools.cycle(("train", "tuning", "held_out")), strict=False))
    alone = subjects[5]
    data.splits = {s: of for s, of in theirs.items() if s != alone} | {5: "train"}
    source = read(data.write(tmp_path / "with"), MIMIC)
    ours = {"train": "train", "tuning": "validation", "held_out": "test"}
    index = Index.of([source], Splits(), 500)
    found = dict(index.patients.select("subject_id", "split").iter_rows())
    assert found == {s: ours[of] for s, of in theirs.items() if s != alone}
    for frame in (index.admissions, index.stays):
        assert frame.select("subject_id", "split").rows() == [
            (s, found[s]) for s in frame["subject_id"]
        ]
    assert source.counts["patients without a split"] == 1
    for frame in (source.admissions, source.stays, source.codes, events_of(source)):
        assert alone not in frame["subject_id"]
    data.splits = None
    data.rows = {subject + 10**6: rows for subject, rows in data.rows.items()}
    hashed = read(data.write(tmp_path / "without"), MIMIC)
    assert hashed.splits is None
    run = Run()
    index = Index.of([replace(hashed, name="other"), source], run.splits, 500)
    both = index.patients.filter(pl.col("source") == "other")
    assert both["split"].to_list() == split_of(both["subject_id"], run.splits)
    own = index.patients.filter(pl.col("source") == "meds")
    assert dict(own.select("subject_id", "split").iter_rows()) == found


def test_a_task_that_no_code_tells_of_is_not_labelled(data, tmp_path):
    source = read(data.write(tmp_path), MIMIC)
    assert source.unlabelled == {
        "arf": "no code matches tables.meds.arf",
        "shock": "no code matches tables.meds.shock",
        "readmission": "no code matches tables.meds.diagnosis",
        **dict.fromkeys(
            ("heart_failure", "copd", "amnesia"), "no code matches tables.meds.diagnosis"
        ),
    }
    add(data, at(90), "DIAGNOSIS//ICD//9//4280")
    add(data, at(90), "LAB//220339//cmH2O", 5)
    source = read(data.write(tmp_path), MIMIC)
    assert set(source.unlabelled) == {"shock"}
    assert source.onsets().rows() == [(101, None, None)]  # after the stay, in the admission
    labels = cohort.label("readmission", source, source.onsets(), Cohort(), icd9_only=False)
    assert labels.rows.select("row_id", "label").rows() == [(11, 0)]  # the next one was planned


@pytest.mark.s3
def test_a_bucket_gives_the_same(tmp_path, s3):
    data = Dataset(MIMIC, patients=6)
    data.splits = dict.fromkeys(data.rows, "train")
    local = read(data.write(tmp_path), MIMIC)
    for file in tmp_path.rglob("*.parquet"):
        Folder(s3).write_bytes(f"meds/{file.relative_to(tmp_path)}", file.read_bytes())
    there = read(f"{s3}/meds", MIMIC)
    assert events_of(there).equals(events_of(local))
    assert there.splits.equals(local.splits)
    assert reader.files(Folder(f"{s3}/meds")) == reader.files(Folder(str(tmp_path)))
    assert len(reader.files(Folder(str(tmp_path)))) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"death": "("},
            r"tables.meds.death is '\(', which is not a regular .* --tables.meds.death",
        ),
        ({"timeless": "["}, r"tables.meds.timeless is '\[', which is not a regular expression"),
        ({"arf": "(?P<ends>.)"}, "has a group 'ends' and can have begins; mend --tables.meds.arf"),
        ({"event": ""}, "tables.meds.event is empty; give a pattern with --tables.meds.event"),
        ({"event": "LAB.*"}, r"has no group 'variable'; write \(\?P<variable>...\) around"),
        ({"diagnosis": "(?P<icd>.*)"}, "tables.meds.diagnosis has no group 'version'"),
        (
            {"hospital_admission": "A(?P<kind>.)"},
            "has a group 'kind' and can have admission_type, .*; mend --tables.meds.hospital-adm",
        ),
        ({"birth": "(?P<day>.)"}, "has a group 'day' and can have none"),
    ],
)
def test_bad_patterns_are_refused(change, said):
    with pytest.raises(Refusal, match=said) as refused:
        Run(tables=Tables(meds=replace(Meds(), **change))).check()
    assert "\n" not in str(refused.value)


def test_a_pattern_can_be_given_on_the_command_line():
    run = command.parse(
        ["paper", "--tables.meds.hospital-admission", "VISIT", "--tables.meds.note", ""]
    )
    assert run.tables.meds == replace(Meds(), hospital_admission="VISIT")


def test_patterns_are_fields_of_the_shards_made_from_meds():
    fields = content_of(Run(), ["meds"])
    assert fields["tables.meds.arf"] == Meds().arf
    assert not [name for name in content_of(Run(), ["mimic4"]) if name.startswith("tables.meds")]


@pytest.mark.ray
@pytest.mark.parametrize(
    ("etl", "brings", "drugs", "variable"),
    [
        (Mimic(), True, ["aspirin", "heparin", "water"], "LAB//220045//bpm"),
        (Ward(), False, ["heparin"], "OBS/pulse"),
    ],
    ids=["MIMIC_IV_MEDS with its splits", "another ETL without"],
)
def test_a_dataset_becomes_shards(tmp_path, ray, etl, brings, drugs, variable):
    data = Dataset(etl, patients=60, seed=2)
    names = itertools.cycle(("train", "train", "tuning", "held_out"))
    splits = dict(zip(data.rows, names, strict=False))
    data.splits = splits if brings else None
    folder = data.write(tmp_path / "meds")
    run = replace(
        smoke(),
        quiet=True,
        out=str(tmp_path / "out"),
        tables=Tables(sources=(f"meds={folder}",), meds=etl.patterns),
        cohort=Cohort(hours=24),
        splits=Splits(train=0.5, validation=0.2, test=0.3),
        shards=Shards(files=3, bucket_stays=100),
    )
    run.check()
    featurize(run)
    manifest = open_shards(run).manifest
    source = reader.read("meds", folder, run)
    assert manifest.rows_read["meds"] == {"DATA": sum(map(len, data.rows.values()))}
    counts = manifest.counts["meds"]
    assert (counts["patients"], counts["stays"]) == (60, source.stays.height)
    assert counts["events"] == events_of(source).height
    assert manifest.left_out["meds"]["rows whose code matches no pattern"] > 0
    assert any(name.startswith(variable) for name in manifest.features)
    assert manifest.diagnoses == ["10:I509", "9:4280"]
    assert manifest.drugs == drugs
    assert set(manifest.splits) == ({"meds"} if brings else set())
    rows = splits_in(open_shards(run), "patients")
    ours = {"train": "train", "tuning": "validation", "held_out": "test"}
    hashed = dict(zip(rows["subject_id"], split_of(rows["subject_id"], run.splits), strict=True))
    expected = {s: ours[of] for s, of in splits.items()} if brings else hashed
    assert {s: expected[s] for s in rows["subject_id"]} == dict(rows.iter_rows())
    assert sum(manifest.tasks["mortality"].rows.values()) > 0
    assert not [task for task, of in manifest.tasks.items() if of.unavailable]


@pytest.mark.ray
def test_what_a_dataset_lacks_is_said_and_ids_of_64_bits_arrive(tmp_path, ray, capsys):
    """Visits of OMOP with their ends in the rows, results without a time, unsigned ids."""
    rows = []
    for number in range(40):
        own = {"subject_id": 2**64 - 7 - number, "visit_id": number}
        days = 8 if number % 4 else None
        rows.append(own | visit(1, days))
        hours = (None, *range(1, 60, 4))  # the value without an hour is that of the last
        readings = [own | {"time": h and at(h - 6), "code": "LOINC/8867-4"} for h in hours]
        rows += [row | {"numeric_value": 60.0 + number % 30} for row in readings]
        rows.append(own | {"time": None, "code": "LOINC/2524-7", "numeric_value": number % 2 * 9.0})
        if number % 8 == 1:
            rows.append(own | {"time": at(100), "code": "MEDS_DEATH"})
    rows.append({"subject_id": 5, "time": datetime(2100, 1, 1), "code": "MEDS_BIRTH"})
    columns = {"subject_id": pa.uint64(), "time": pa.timestamp("us", "UTC"), "code": pa.string()}
    columns |= {"numeric_value": pa.float32(), "visit_id": pa.string(), "end": pa.timestamp("s")}
    rows = [row | {"visit_id": str(row.get("visit_id", 0))} for row in rows]
    rows.sort(key=lambda row: (row["subject_id"], row["time"] or datetime.min))
    (tmp_path / "data").mkdir()
    table = pa.Table.from_pylist(rows, schema=pa.schema(columns))
    pq.write_table(table, tmp_path / "data" / "0.parquet")
    run = replace(
        smoke(),
        quiet=False,
        out=str(tmp_path / "out"),
        tables=Tables(sources=(f"meds={tmp_path}",), meds=OMOP),
        cohort=Cohort(hours=24, min_age=0),
        shards=Shards(files=2, bucket_stays=100),
    )
    featurize(run)
    said, manifest = capsys.readouterr().out, open_shards(run).manifest
    assert "10 of 40 admissions and 10 of 40 stays have no end that is known" in said
    assert "meds: left out 80 events, without a time" in said
    assert "add 2^64 to get them back" in said
    assert "left out 10" not in said
    assert manifest.counts["meds"]["admissions without an end"] == 10
    assert not [name for name in manifest.demographics if "LOINC" in name]
    stays = splits_in(open_shards(run), "stays")["subject_id"]
    assert {i % 2**64 for i in stays} == {2**64 - 7 - n for n in range(40)}
    mortality = manifest.tasks["mortality"]
    assert sum(mortality.rows.values()) == 0
    assert "mortality: no rows: the step 'age at least 0' left none of 40" in said
    assert mortality.emptied in said
