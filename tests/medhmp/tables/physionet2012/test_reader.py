"""The Challenge 2012 reader on generated sets, on broken ones, and on the published ones."""

import gzip
import io
import json
import random
import stat
import tarfile
import zipfile
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from jobs.featurize import featurize
from jobs.tune import tune
from medhmp.layout import AUXILIARY, TARGET_TABLE, TARGETS
from medhmp.legend import LEVELS
from medhmp.recipes import physionet2012 as recipe
from medhmp.refusal import Refusal
from medhmp.report.sections import sections
from medhmp.run import (
    Cohort,
    Features,
    Run,
    Shards,
    Splits,
    Tables,
    Tune,
)
from medhmp.shards.build.index import Index
from medhmp.shards.build.labels import write_labels
from medhmp.shards.labelled import hindrance, read_task
from medhmp.shards.manifest import open_shards
from medhmp.shards.targets import open_targets, with_targets
from medhmp.storage import Folder
from medhmp.tables import schema
from medhmp.tables.physionet2012 import files as challenge
from medhmp.tables.physionet2012 import reader
from medhmp.tables.readings import EPOCH
from medhmp.tasks import cohort

SECRET = "4x7"
"""Stands where a number or a time belongs; a refusal must not repeat what may be a patient's."""
MEASURED = ("HR", "MAP", "Temp", "Urine", "MechVent", "GCS", "Weight")
WARDS = {1: "CCU", 2: "CSRU", 3: "MICU", 4: "SICU"}


class Sets:
    """Sets as lists of lines and labels, by letter and RecordID; ``write`` puts them on disk."""

    def __init__(self, path, records=12, seed=0):
        self.path, self.draw = path, random.Random(seed)
        self.lines = {letter: {} for letter in "ab"}
        self.deaths = {letter: {} for letter in "ab"}
        for number in range(records):
            letter, name = "ab"[number % 2], 132_500 + number
            self.lines[letter][name] = self.record(name)
            self.deaths[letter][name] = int(number % 3 == 0)

    def record(self, name):
        draw = self.draw
        facts = {
            "RecordID": name,
            "Age": draw.randint(18, 90),
            "Gender": draw.choice((0, 1, 1, -1)),
            "Height": draw.choice((-1, 175.3, 160)),
            "ICUType": draw.randint(1, 4),
            "Weight": draw.choice((-1, 80.5)),
        }
        lines = [f"00:00,{name},{value}" for name, value in facts.items()]
        for minute in sorted(draw.choices(range(2881), k=60)):
            value = draw.choice((1, 60, 36.6, "1.2e+02"))
            lines.append(f"{minute // 60:02}:{minute % 60:02},{draw.choice(MEASURED)},{value}")
        return lines

    def text(self, lines):
        return "\n".join([challenge.HEADER, *lines, ""]).encode()

    def write(self, kind="tar.gz", zipped=False):
        self.path.mkdir(parents=True, exist_ok=True)
        for letter, records in self.lines.items():
            files = {f"set-{letter}/{n}.txt": self.text(of) for n, of in records.items()}
            if kind == "folder":
                (self.path / f"set-{letter}").mkdir()
                for name, data in files.items():
                    (self.path / name).write_bytes(data)
            else:
                archive = self.path / f"set-{letter}.{kind}"
                made = zip_of(files) if kind == "zip" else archive_of(files, zipped=kind != "tar")
                archive.write_bytes(made)
            self.write_outcomes(letter, self.deaths[letter], zipped)
        return str(self.path)

    def write_outcomes(self, letter, deaths, zipped=False):
        header = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"
        rows = [f"{name},6,1,5,{self.draw.randint(-1, 90)},{died}" for name, died in deaths.items()]
        data = "\n".join([header, *rows, ""]).encode()
        file = self.path / f"Outcomes-{letter}.txt{'.gz' if zipped else ''}"
        file.write_bytes(gzip.compress(data) if zipped else data)


def archive_of(files, zipped=True, **changes):
    """A tar archive with its folder; ``changes`` are to every member's header."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz" if zipped else "w") as archive:
        folder = tarfile.TarInfo("set-a")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for field, value in changes.items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def zip_of(files, mode=0, **how):
    """A zip archive with its folder; ``mode`` is that of every member, ``how`` its compression."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **{"compression": zipfile.ZIP_DEFLATED} | how) as archive:
        archive.mkdir("set-a")
        for name, data in {**files, "__MACOSX/set-a/._1.txt": b"x"}.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, data, archive.compression)
    return stream.getvalue()


@pytest.fixture
def sets(tmp_path):
    return Sets(tmp_path / "raw")


AS_PUBLISHED = {"tables": Tables(variables="none"), "features": Features(facts="own")}


def read(folder, **sections):
    return reader.read("physionet2012", folder, Run(quiet=True, **sections))


def events_of(source):
    batches = list(source.events())
    assert all(batch.schema.equals(schema.EVENTS) for batch in batches)
    return pl.concat([pl.from_arrow(batch) for batch in batches])


def rows_of(source):
    """Events as ``slowly`` gives them: Polars divides by 60 to all but the last bit."""
    return events_of(source).with_columns(pl.col("hours").round(9)).rows()


def slowly(sets, hours=48):
    """The events that the lines tell of, line by line."""
    for records in sets.lines.values():
        for stay, lines in records.items():
            seen = set()
            for line in lines:
                time, name, value = line.split(",")
                at, number = int(time[:2]) + int(time[3:]) / 60, float(value)
                if name == "RecordID" or number == -1 or (name in seen):
                    continue
                if name in ("Age", "Gender", "Height", "ICUType"):
                    seen.add(name)
                    at = None
                elif at >= hours:
                    continue
                text = {"Gender": "FM", "ICUType": ["", *WARDS.values()]}.get(name)
                value = (None, text[int(number)]) if text else (number, None)
                at = at if at is None else round(at, 9)
                yield (stay, stay, at, name, *value, "sum" if name == "Urine" else "apart")


@pytest.mark.parametrize("kind", ["tar.gz", "tgz", "tar", "zip", "folder"])
@pytest.mark.parametrize("hours", [48, 10])
def test_the_events_are_those_of_a_slow_reading(sets, monkeypatch, kind, hours):
    monkeypatch.setattr(challenge, "RECORDS", 4)  # blocks of a set, the last one shorter
    folder = sets.write(kind, zipped=kind == "tar")
    source = read(folder, cohort=Cohort(hours=hours), **AS_PUBLISHED)
    assert rows_of(source) == list(slowly(sets, hours))
    assert events_of(source).height > 100  # and again from the beginning
    assert source.counts["SET-A"] == sum(len(lines) for lines in sets.lines["a"].values())
    assert source.counts["OUTCOMES-B"] == 6


def test_a_record_is_a_stay_an_admission_and_a_patient(sets):
    source = read(sets.write())
    names = [name for records in sets.lines.values() for name in records]
    ids = {"subject_id", "hadm_id", "stay_id"}
    for frame, target in (
        (source.patients, schema.PATIENTS),
        (source.admissions, schema.ADMISSIONS),
        (source.stays, schema.STAYS),
    ):
        assert frame.columns == target.names
        assert all(frame[name].to_list() == names for name in ids & set(frame.columns))
    deaths = [died for records in sets.deaths.values() for died in records.values()]
    assert source.admissions["expired"].to_list() == [died == 1 for died in deaths]
    assert source.counts["stays"] == len(names)
    assert source.codes.is_empty()
    assert list(source.notes()) == []


def test_descriptors(sets):
    facts = ["RecordID,132500", "Age,60", "Gender,0", "Height,-1", "ICUType,2", "Weight,-1"]
    sets.lines["a"][132500] = [f"00:00,{fact}" for fact in facts]
    sets.lines["a"][132502] = ["00:00,RecordID,132502"]
    source = read(sets.write())
    assert source.stays.height == 12
    patient = source.patients.row(0, named=True)
    age = timedelta(days=60 * 365.25)
    assert (patient["sex"], patient["birth"]) == ("F", EPOCH - age)
    assert source.stays["first_careunit"][0] == "CSRU"
    own = events_of(source).filter(pl.col("stay_id") == 132500)
    assert set(own["variable"]) == {"AGE", "GENDER", "FIRST_CAREUNIT"}
    assert own["hours"].null_count() == own.height


def test_what_is_left_out_is_counted(sets):
    rows = ["07:00,HR,", "07:01,,5", "00:00,Gender,7", "08:00,Age,99", "48:00,HR,80", "50:10,HR,1"]
    before = read(sets.write())
    events = events_of(before)
    sets.lines["a"][132500] += rows
    source = read(sets.write())
    assert events_of(source).equals(events)
    more = {key: source.counts[key] - before.counts[key] for key in before.counts}
    assert {key: n for key, n in more.items() if n} == {
        "SET-A": 6,
        "SET-A, without a parameter or a value": 2,
        "SET-A, of unknown value": 1,
        "SET-A, descriptors given again": 1,
        "SET-A, at or after hour 48": 2,
    }


def test_outcomes_of_other_records_are_counted_and_other_files_are_no_records(sets):
    folder = sets.write("folder")
    (sets.path / "set-a" / "132500.txt").unlink()
    for name in ("._132502.txt", "README", ".DS_Store"):
        (sets.path / "set-a" / name).write_text("no record")
    source = read(folder)
    assert source.stays.height == 11
    assert source.counts["OUTCOMES-A, of no record"] == 1
    files = {f"set-a/{n}.txt": sets.text(of) for n, of in sets.lines["a"].items()}
    noise = {"set-a/._132502.txt": b"\0", "set-a/README": b""}
    (sets.path / "set-a.tar.gz").write_bytes(archive_of(files | noise))
    assert read(folder).stays.height == 12  # an archive goes before the folder


def test_outcomes_are_the_label_and_nothing_else(sets):
    before = read(sets.write())
    sets.deaths = {s: {n: 1 - died for n, died in of.items()} for s, of in sets.deaths.items()}
    after = read(sets.write())
    assert events_of(after).equals(events_of(before))
    assert after.patients.equals(before.patients)
    assert after.stays.equals(before.stays)
    assert after.admissions.drop("expired").equals(before.admissions.drop("expired"))
    assert (after.admissions["expired"] != before.admissions["expired"]).all()


def test_who_is_labelled(sets):
    for name, age in ((132500, 17), (132502, 18), (132504, -1)):
        lines = sets.lines["a"][name]
        lines[1] = f"00:00,Age,{age}"
    source = read(sets.write())
    labels = cohort.label("mortality", source, source.onsets(), Cohort(), icd9_only=False)
    assert labels.steps == [
        ("stays", 12),
        ("age at least 18", 10),
        ("alive at hour 48", 10),
        ("in the unit at hour 48", 10),
        ("known to have left alive or died", 10),
    ]
    deaths = {n: died for of in sets.deaths.values() for n, died in of.items()}
    found = dict(labels.rows.select("row_id", "label").iter_rows())
    assert found == {n: died for n, died in deaths.items() if n not in (132500, 132504)}
    times = set(labels.rows["prediction_time"])
    assert times == {datetime(2000, 1, 3)}


def test_a_task_that_the_source_lacks_has_no_label_and_a_reason(sets, tmp_path):
    source = read(sets.write())
    run, out = Run(), Folder(str(tmp_path / "out"))
    onsets = {source.name: source.onsets()}
    index = Index.of([source], run.splits, 500)
    entries, counted = write_labels(run.cohort, False, [source], onsets, index, out)
    assert len(entries) == 2 * len(LEVELS)  # labels and attributes
    assert sum(counted["mortality"].rows.values()) == 12
    assert not counted["mortality"].unavailable
    for task in LEVELS.keys() - {"mortality"}:
        assert out.read_parquet(f"labels/{task}.parquet").num_rows == 0
        assert counted[task].unavailable.startswith("not available from physionet2012: ")


def truncated(by):
    def cut(sets):
        path = sets.path / "set-a.tar.gz"
        path.write_bytes(path.read_bytes()[:-by])

    return cut


def archive(data):
    return lambda sets: (sets.path / "set-a.tar.gz").write_bytes(data)


def without_its_end(sets):
    """Cut between two members: tarfile takes that for the end."""
    path = sets.path / "set-a.tar.gz"
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1].offset
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:last]))
    sets.write_outcomes("a", dict(list(sets.deaths["a"].items())[:-1]))


def changed(old, new):
    """One line of the second record of set A, by what it begins with."""

    def spoil(sets):
        lines = sets.lines["a"][132502]
        (at,) = (i for i, line in enumerate(lines) if line.startswith(old))
        lines[at : at + 1] = [new] if new else []
        sets.write()

    return spoil


def with_deaths(letter, died):
    return lambda sets: sets.write_outcomes("a", dict.fromkeys(sets.deaths[letter], died))


def twice(sets):
    name = next(iter(sets.lines["a"]))
    sets.lines["b"][name], sets.deaths["b"][name] = sets.lines["a"][name], 0
    sets.write()


def twice_in_a_set(sets):
    sets.lines["a"][1] = sets.lines["a"][132502]
    sets.write()


def without_header(sets):
    files = {"set-a/132500.txt": b"00:00,RecordID,132500\n"}
    (sets.path / "set-a.tar.gz").write_bytes(archive_of(files))


def remove(name):
    return lambda sets: (sets.path / name).unlink()


NAMED = {"set-a/132500.txt": b""}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated(9), r"set-a.tar.gz' is cut short or not a tar archive; download the set again"),
        (truncated(400), "is cut short or not a tar archive"),
        (without_its_end, "is cut short or not a tar archive"),
        (archive(b""), "is cut short or not a tar archive"),
        (archive(b"no archive"), "is cut short or not a tar archive"),
        (archive(gzip.compress(b"no archive")), "is cut short or not a tar archive"),
        (archive(archive_of({})), r"has no record \(<RecordID>.txt\); download"),
        (archive(archive_of({"set-a/../../1.txt": b""})), "with a path that leads out of it, so"),
        (archive(archive_of({"/etc/1.txt": b""})), "with a path that leads out of it, so"),
        (archive(archive_of(NAMED, type=tarfile.SYMTYPE, linkname="x")), "a link or a device"),
        (archive(archive_of({"a/1.txt": bytes(1 << 23)})), "a file of more than 262,144 bytes"),
        (without_header, "something else than Time,Parameter,Value at line 1"),
        (changed("00:00,RecordID", None), "record 2 of .* than a record with its RecordID at line"),
        (changed("00:00,RecordID", f"00:00,RecordID,{SECRET}"), "than a number as its value at li"),
        (changed("00:00,RecordID", "00:00,RecordID,1.5"), "than a whole number as its RecordID"),
        (changed("00:00,Age", f"00:00,Age,{SECRET}"), "record 2 of .* than a number .* at line 3;"),
        (changed("00:00,Age", "00:00,Age,inf"), "than a number as its value at line 3"),
        (changed("00:00,Age", f"{SECRET}:00,Age,3"), "than a time as HH:MM at line 3"),
        (changed("00:00,Age", "00:61,Age,3"), "than a time as HH:MM at line 3"),
        (changed("00:00,Age", "00:00,Age"), "than a time, a parameter and a value at line 3"),
        (twice, "has a RecordID twice; keep one copy"),
        (twice_in_a_set, "has a RecordID twice; keep one copy"),
        (with_deaths("b", 0), r"OUTCOMES-A .* 'set-a.tar.gz' once \(6 of 6 are missing\); put"),
        (with_deaths("a", 2), "OUTCOMES-A .* than 0 or 1 in column IN-HOSPITAL_DEATH at line 2"),
        (with_deaths("a", SECRET), "OUTCOMES-A .* column IN-HOSPITAL_DEATH at line 2; mend"),
        (remove("Outcomes-b.txt"), "set-b.tar.gz without its outcomes; put Outcomes-b.txt there"),
    ],
)
def test_bad_input_is_refused_without_showing_it(sets, damage, said):
    folder = sets.write()
    damage(sets)
    with pytest.raises(Refusal, match=said) as error:
        events_of(read(folder))
    assert SECRET not in str(error.value)
    assert "1325" not in str(error.value)
    assert "\n" not in str(error.value)


def flipped(data):
    """An archive with other bytes in the middle of its first record."""
    at = data.index(b"132500.txt") + 60
    return data[:at] + bytes(byte ^ 255 for byte in data[at : at + 8]) + data[at + 8 :]


def encrypted(data):
    """An archive whose members say that they need a password."""
    flags = ((b"PK\3\4", 6), (b"PK\1\2", 8))
    out = bytearray(data)
    for mark, at in flags:
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            out[place + at] |= 1
    return bytes(out)


LINE = (challenge.HEADER + "\n00:00,RecordID,132500\n").encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (zip_of({})[:-9], r"set-a.zip' is cut short or not a zip archive; download the set again"),
        (b"", "is cut short or not a zip archive"),
        (b"no archive", "is cut short or not a zip archive"),
        (flipped(zip_of({"set-a/132500.txt": LINE * 50})), "is cut short or not a zip archive"),
        (zip_of({}), r"has no record \(<RecordID>.txt\); download"),
        (zip_of({"set-a/../../1.txt": b""}), "with a path that leads out of it, so"),
        (zip_of({"/etc/1.txt": b""}), "with a path that leads out of it, so"),
        (zip_of({"set-a/132500.txt": b"x"}, stat.S_IFLNK), "a link or a device"),
        (zip_of({"a/1.txt": bytes(1 << 23)}), "a file of more than 262,144 bytes"),
        (encrypted(zip_of({"set-a/132500.txt": LINE})), "encrypted in a way that no published"),
    ],
)
def test_a_bad_zip_is_refused(sets, data, said):
    folder = sets.write("zip")
    (sets.path / "set-a.zip").write_bytes(data)
    with pytest.raises(Refusal, match=said) as error:
        events_of(read(folder))
    assert "1325" not in str(error.value)


def test_a_zip_beside_the_tar_archive_is_the_same_set(sets):
    folder = sets.write("tar.gz")
    (sets.path / "set-a.zip").write_bytes(b"not read")
    sets.write("folder")
    assert rows_of(read(folder, **AS_PUBLISHED)) == list(slowly(sets))
    assert {"set-a.tar.gz", "set-b.tar.gz"} < set(reader.files(Folder(folder)))


def test_a_wrong_folder_or_window_is_refused(sets, tmp_path):
    with pytest.raises(Refusal, match=r"no set of records in .* holds set-a.tar.gz and Outcomes"):
        read(str(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(Refusal, match="cannot be listed"):
        read(str(tmp_path / "file"))
    with pytest.raises(Refusal, match=r"ends at hour 48; give --cohort.hours 48 or less"):
        read(sets.write(), cohort=Cohort(hours=60))


@pytest.mark.s3
def test_a_bucket_gives_the_same(sets, s3):
    sets.write("folder", zipped=True)
    local = Folder(str(sets.path))
    for name in local.names():
        Folder(s3).write_bytes(name, local.read_bytes(name))
    assert rows_of(read(s3, **AS_PUBLISHED)) == list(slowly(sets))
    assert reader.files(Folder(s3)) == reader.files(local)
    assert len(reader.files(local)) == 14


@pytest.mark.ray
def test_featurized(ray, tmp_path):
    """Shards with one task; the others say why they have none, in the grid and in the report."""
    sets = Sets(tmp_path / "raw", records=60)
    run = replace(
        recipe(),
        quiet=True,
        out=str(tmp_path / "out"),
        tables=Tables(sources=(f"physionet2012={sets.write()}",), variables="none"),
        features=replace(recipe().features, facts="own", numbers=True),
        splits=Splits(train=0.4, validation=0.3, test=0.3),
        shards=Shards(files=2, bucket_stays=100),
        tune=Tune(tasks=("arf", "readmission", "heart_failure")),
    )
    featurize(run)
    manifest = open_shards(run).manifest
    sizes = dict.fromkeys(("patients", "admissions", "stays"), 60)
    events = len(list(slowly(sets)))
    assert manifest.counts == {"physionet2012": {**sizes, "events": events, "notes": 0}}
    assert (manifest.diagnoses, manifest.drugs) == ([], [])
    deaths = {n: died for of in sets.deaths.values() for n, died in of.items()}
    labels = open_shards(run).output.read_parquet("labels/mortality.parquet")
    pairs = zip(labels["row_id"].to_pylist(), labels["label"].to_pylist(), strict=True)
    assert dict(pairs) == deaths
    assert sum(manifest.tasks["mortality"].positives.values()) == sum(deaths.values())
    shards = open_shards(run)
    data = read_task(shards, "mortality", run.cohort, run.model)
    train = data["train"].rows
    assert train.statistics.shape == (len(train), len(manifest.numbers["statistics"]))
    assert set(manifest.numbers["variables"]) == set(MEASURED)
    known = targets_of(run)
    assert known["stay_id"].to_list() == train.row_id.tolist()
    given = with_targets(data, open_targets(Folder(run.out), shards))
    expected = known.select(TARGETS).to_numpy().astype(np.float32)
    np.testing.assert_array_equal(given["train"].targets, expected)
    assert given["validation"].targets is given["test"].targets is None
    assert known["log_length_of_stay"].unique().to_list() == [pytest.approx(np.log(6))]
    assert known["death_90_days"].sum() > known["death_30_days"].sum() > 0
    plant_outcomes(sets, set(train.row_id.tolist()))
    planted = replace(run, out=str(tmp_path / "planted"))
    featurize(planted)
    assert open_shards(planted).output.files == shards.output.files
    assert targets_of(planted).equals(known)
    assert hindrance(shards, "mortality", data) == ""
    variables = {name.split("_")[0] for name in (*manifest.features, *manifest.demographics)}
    assert variables <= {*MEASURED, "Age", "Gender", "Height", "ICUType"}
    tune(run)
    for task in run.tune.tasks:
        record = json.loads((tmp_path / "out" / "tune" / task / "skipped.json").read_bytes())
        assert record["reason"] == manifest.tasks[task].unavailable != ""
    who = next(s for s in sections(results_of(run), manifest) if s.title == "Who is in each task")
    assert [["not available from physionet2012: a patient has one admission", "0", "–"]] in list(
        who.groups.values()
    )


def targets_of(run):
    """The table of auxiliary targets that a run has written."""
    return pl.from_arrow(Folder(run.out).read_parquet(f"{AUXILIARY}/{TARGET_TABLE}"))


def plant_outcomes(sets, spared):
    """Alters all outcomes but the label of records that are not ``spared``."""
    for letter in "ab":
        file = sets.path / f"Outcomes-{letter}.txt"
        header, *lines = file.read_text().split()
        rows = [line.split(",") for line in lines]
        changed = [[n, *(of if int(n) in spared else "9999"), y] for n, *of, y in rows]
        assert changed != rows
        file.write_text("\n".join([header, *(",".join(row) for row in changed), ""]))


def results_of(run):
    """``results.json`` of a report without a row."""
    return {
        "rows": [],
        "differences": [],
        "skipped": [],
        "learned": {"beside": {}},
        "provenance": {},
    }


def test_the_published_sets(shared):
    folder = shared / "data" / "physionet-2012"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}, which is not here")
    source = read(str(folder), **AS_PUBLISHED)
    assert source.stays.height == source.patients.height == 8000
    assert source.admissions["expired"].sum() == 1122
    labels = cohort.label("mortality", source, source.onsets(), recipe().cohort, icd9_only=False)
    assert labels.rows.height == 8000
    assert labels.rows["label"].sum() == 1122
    events = events_of(source)
    assert events.height == 3_281_136
    timed = events.filter(pl.col("hours").is_not_null())
    assert timed["hours"].min() == 0
    assert timed["hours"].max() < 48
    assert events["variable"].n_unique() == 41
    assert source.counts["SET-A, at or after hour 48"] == 41
    median = dict(timed.group_by("variable").agg(pl.col("number").median()).iter_rows())
    assert 36 < median["Temp"] < 38
    assert 70 < median["HR"] < 100


def test_an_archive_of_blank_lines_takes_little_memory():
    """A small archive that unpacks to many lines: its records are parsed a few at a time."""
    texts = ["Time,Parameter,Value\n" + "\n" * (challenge.LARGEST - 100)] * 600
    for block in challenge._together(iter(texts)):
        assert sum(map(len, block)) <= challenge.TOGETHER + challenge.LARGEST


def test_a_tar_archive_with_a_huge_header_is_refused(tmp_path):
    """tarfile reads a header of any size whole."""
    text = io.BytesIO()
    with tarfile.open(fileobj=text, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("set-a/1.txt")
        member.pax_headers = {"comment": "x" * (4 * challenge.BETWEEN)}
        archive.addfile(member)
    (tmp_path / "set-a.tar.gz").write_bytes(gzip.compress(text.getvalue()))
    (tmp_path / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n1,0\n")
    (part,) = challenge.find(Folder(str(tmp_path)))
    with pytest.raises(Refusal, match="is cut short or not a tar archive"):
        list(part.blocks())
