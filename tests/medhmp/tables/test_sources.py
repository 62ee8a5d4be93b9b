"""A source that somebody else writes: one module and one line, from its tables to whole shards."""

import importlib.util
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from jobs.featurize import featurize
from medhmp import storage
from medhmp.legend import LEVELS
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import Cohort, Shards, Splits, Tables
from medhmp.shards.manifest import open_shards
from medhmp.storage import Folder, Stamp, publish
from medhmp.tables.schema import SYNTHETIC
from medhmp.tables.sources import READERS, Reader, folders_of, identify

WARD = '''
"""Reads the monitors of a ward: stays.csv (stay, died) and pulse.csv (stay, minute, pulse)."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

import polars as pl
import pyarrow as pa

from medhmp.legend import LEVELS, Task
from medhmp.run import Run
from medhmp.storage import Folder, Stamp, publish
from medhmp.tables import schema
from medhmp.tables.csv import INTEGER, NUMBER, RawTables
from medhmp.tables.hours import in_hours
from medhmp.tables.readings import (
    EPOCH,
    as_events,
    batches,
    conformed,
    empty,
    first_onsets,
    kept,
    named_by_stay,
    no_notes,
    within,
)

UNLABELLED: dict[Task, str] = {
    task: "the ward does not say" for task in LEVELS if task != "mortality"
}


def files(folder: Folder) -> dict[str, int | None]:
    return RawTables.find(folder, ("stays", "pulse")).sizes()


def read(name: str, folder_uri: str, run: Run) -> schema.Source:
    raw = RawTables.find(Folder(folder_uri), ("stays", "pulse"))
    rows = raw.whole("STAYS", {"stay": INTEGER, "died": INTEGER})
    stays = named_by_stay(rows.rename({"stay": "stay_id"})).with_columns(
        birth=datetime(1950, 1, 1),
        admitted=EPOCH,
        expired=pl.col("died") == 1,
        intime=EPOCH,
        outtime=EPOCH + timedelta(days=3),
    )
    counts = {"stays": stays.height}
    return schema.Source(
        name=name,
        patients=conformed(stays, schema.PATIENTS),
        admissions=conformed(stays.drop("died"), schema.ADMISSIONS),
        stays=conformed(stays, schema.STAYS),
        codes=empty(schema.CODES),
        streams={"pulse": partial(pulse, raw, run.cohort.hours, counts)},
        notes=no_notes,
        onsets=partial(first_onsets, stays, []),
        counts=counts,
        unlabelled=UNLABELLED,
    )


def pulse(raw: RawTables, hours: int, counts: dict[str, int]) -> Iterator[pa.RecordBatch]:
    for block in raw.scan("PULSE", {"stay": INTEGER, "minute": INTEGER, "pulse": NUMBER}):
        timed = named_by_stay(block.rename({"stay": "stay_id", "pulse": "number"})).with_columns(
            hours=in_hours(pl.col("minute"), 60),
            until=pl.lit(float("inf")),
            variable=pl.lit("pulse"),
        )
        rows = kept(timed, {"PULSE, outside the window": within(hours)}, counts)
        yield from batches(as_events(rows, "apart"), schema.EVENTS)
    counts |= raw.rows
'''
STAYS = 40
MINUTES = (-5, 0, 59, 60, 200, 239, 240)
"""Of each stay; the window of these tests is the first four hours."""


@pytest.fixture
def ward(tmp_path, monkeypatch) -> ModuleType:
    """The module ``ward``, from a folder that Ray's workers do not know."""
    (tmp_path / "ward.py").write_text(WARD)
    spec = importlib.util.spec_from_file_location("ward", tmp_path / "ward.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ward", module)
    spec.loader.exec_module(module)
    reader: Reader = module
    monkeypatch.setitem(READERS, "ward", reader)
    return module


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = [f"{stay},{int(stay % 3 == 0)}" for stay in range(STAYS)]
    (folder / "stays.csv").write_text("\n".join(["STAY,DIED", *rows, ""]))
    rows = [
        f"{stay},{minute},{60 + (stay * 7 + minute) % 50}"
        for stay in range(STAYS)
        for minute in MINUTES
    ]
    (folder / "pulse.csv").write_text("\n".join(["STAY,MINUTE,PULSE", *rows, ""]))
    return folder


@pytest.mark.ray
def test_a_new_source_becomes_shards(ray, ward, raw, tmp_path):
    run = replace(
        smoke(),
        quiet=True,
        out=str(tmp_path / "out"),
        tables=Tables(sources=(f"ward={raw}",)),
        cohort=Cohort(hours=4),
        splits=Splits(train=0.5, validation=0.25, test=0.25),
        shards=Shards(files=2, bucket_stays=15),
    )
    # An installed module is imported by the workers; this one travels with its streams.
    ray.cloudpickle.register_pickle_by_value(ward)
    try:
        featurize(run)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(ward)
    shards = open_shards(run)
    inside = sum(0 <= minute < 240 for minute in MINUTES)
    assert shards.manifest.counts == {
        "ward": {"stays": STAYS, "events": STAYS * inside, "notes": 0}
    }
    assert shards.manifest.rows_read == {"ward": {"PULSE": STAYS * len(MINUTES), "STAYS": STAYS}}
    left_out = STAYS * (len(MINUTES) - inside)
    assert shards.manifest.left_out == {"ward": {"PULSE, outside the window": left_out}}
    assert any(name.startswith("pulse") for name in shards.manifest.features)
    labels = shards.output.read_parquet("labels/mortality.parquet")
    pairs = zip(labels["row_id"].to_pylist(), labels["label"].to_pylist(), strict=True)
    assert dict(pairs) == {stay: int(stay % 3 == 0) for stay in range(STAYS)}
    for task in set(LEVELS) - {"mortality"}:
        reason = "not available from ward: the ward does not say"
        assert shards.manifest.tasks[task].unavailable == reason

    featurize(run)  # whole already: nothing is read
    with (raw / "pulse.csv").open("a") as file:
        file.write("0,1,70\n")
    with pytest.raises(Refusal, match="its input ward has changed"):
        featurize(run)


def identity(folder: Path, name: str = "ward") -> str:
    return identify(name, Folder(str(folder)), {}).hash


def test_other_files_do_not_change_a_source(ward, raw):
    before = identity(raw)
    (raw / "readme.txt").write_text("not a table")
    (raw / "beds.csv").write_text("BED\n1\n")
    assert identity(raw) == before
    (raw / "stays.csv").write_text("STAY,DIED\n1,0\n")
    assert identity(raw) != before


def same_size(path: Path, at: int) -> None:
    """Another byte at a place of a file, which keeps its size and the time of its last change."""
    data, times = bytearray(path.read_bytes()), path.stat()
    data[at] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("at", [10, 100, -2])
@pytest.mark.parametrize("name", ["stays.csv", "pulse.csv"])
def test_an_edit_that_keeps_size_and_time_is_noticed(ward, raw, name, at):
    before = identity(raw)
    same_size(raw / name, at)
    assert identity(raw) != before


def meds(folder: Path) -> Path:
    """The files of a MEDS dataset; its identity needs no more of them than their bytes."""
    (folder / "data" / "train").mkdir(parents=True)
    (folder / "metadata").mkdir()
    for name in ("data/train/0.parquet", "data/train/1.parquet", "metadata/subject_splits.parquet"):
        (folder / name).write_bytes(name.encode() * 100)
    return folder


def challenge(folder: Path) -> Path:
    (folder / "set-a").mkdir(parents=True)
    for name in ("set-a/1.txt", "set-a/2.txt", "Outcomes-a.txt"):
        (folder / name).write_bytes(name.encode() * 100)
    return folder


@pytest.mark.parametrize(
    ("source", "make"),
    [("meds", meds), ("physionet2012", challenge)],
)
def test_every_file_of_a_source_counts(tmp_path, source, make):
    folder = make(tmp_path / source)
    files = [path for path in folder.rglob("*") if path.is_file()]
    seen = {identity(folder, source)}
    for path in files:
        same_size(path, 50)
        seen.add(identity(folder, source))
    assert len(seen) == len(files) + 1


def test_a_copy_is_the_same_source(ward, raw, tmp_path):
    copy = shutil.copytree(raw, tmp_path / "copy")
    for path in copy.iterdir():
        os.utime(path, (1, 1))
    assert identity(copy) == identity(raw)


@pytest.fixture
def large(raw, monkeypatch) -> Path:
    """A table too large to be hashed whole."""
    monkeypatch.setattr(storage, "WHOLE", 1000)
    monkeypatch.setattr(storage, "SAMPLE", 10)
    assert (raw / "pulse.csv").stat().st_size > 1000 > (raw / "stays.csv").stat().st_size
    return raw / "pulse.csv"


def test_of_a_large_table_size_time_and_samples_count(ward, raw, large, tmp_path):
    size = large.stat().st_size
    seen = [identity(raw)]
    for place in range(storage.SAMPLES):  # in each sample
        same_size(large, (size - 10) * place // (storage.SAMPLES - 1) + 3)
        seen.append(identity(raw))
    same_size(large, 100)  # between two: neither size nor time tells
    assert identity(raw) == seen[-1]
    os.utime(large, (1, 1))
    seen.append(identity(raw))
    assert len(set(seen)) == storage.SAMPLES + 2
    assert identity(shutil.copytree(raw, tmp_path / "copy")) == seen[-1]  # it keeps times


def test_what_was_checked_is_said(ward, raw, large):
    said = identify("ward", Folder(str(raw)), {}).checked
    assert said == "ward: 2 files, 1 hashed whole, 1 by size, time and samples"
    (raw / "pulse.csv").write_text("STAY,MINUTE,PULSE\n1,1,1\n")
    assert identify("ward", Folder(str(raw)), {}).checked == "ward: 2 files, 2 hashed whole"


def test_what_is_hashed_is_bounded_and_begins_with_small_files(ward, raw, monkeypatch):
    monkeypatch.setattr(storage, "TRACED", 500)
    files = {path.name: path.stat().st_size for path in raw.iterdir()}
    found = {trace.name: trace.changed is None for trace in Folder(str(raw)).traces(files)}
    assert found == {"stays.csv": True, "pulse.csv": False}


def test_an_altered_synthetic_table_is_refused(tmp_path):
    folder = Folder(str(tmp_path / "raw"))
    entry = folder.write_bytes("PATIENTS.csv.gz", bytes(100))
    publish(folder, Stamp({"seed": 1}, {}), [entry])
    found = identify(SYNTHETIC, folder, {"seed": 1})
    assert found == identify(SYNTHETIC, folder, {"seed": 1})
    same_size(tmp_path / "raw" / "PATIENTS.csv.gz", 40)
    with pytest.raises(Refusal, match=r"is damaged: PATIENTS.csv.gz is missing or not what"):
        identify(SYNTHETIC, folder, {"seed": 1})


@pytest.mark.s3
def test_a_bucket_is_identified_by_the_same_bytes(ward, raw, s3):
    for path in raw.iterdir():
        Folder(s3).write_bytes(path.name, path.read_bytes())
    before = identify("ward", Folder(s3), {})
    assert before.hash == identity(raw)
    data = (raw / "stays.csv").read_bytes()
    Folder(s3).write_bytes("stays.csv", data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    assert identify("ward", Folder(s3), {}) != before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("LABS", "tables.optional names 'LABS', which no source must have; it may name LABEVENTS"),
        (
            "notes",
            "tables.optional names 'NOTES', which no source must have; it may name LABEVENTS",
        ),
    ],
)
def test_an_optional_table_that_no_source_must_have_is_refused(name, said):
    with pytest.raises(Refusal, match=said):
        folders_of(Tables(sources=("mimic3=/x",), optional=("lab", name)), Folder("out"))


def test_a_run_without_sources_reads_the_synthetic_tables():
    assert folders_of(Tables(), Folder("out")) == {SYNTHETIC: Folder("out/raw")}
    named = Tables(sources=("eicu=/e", "mimic4=s3://b/iv"))
    assert folders_of(named, Folder("out")) == {
        "eicu": Folder("/e"),
        "mimic4": Folder("s3://b/iv"),
    }


def test_a_name_without_a_reader_is_refused():
    with pytest.raises(Refusal, match="names 'ward', for which there is no reader; "):
        folders_of(Tables(sources=("mimic3=/x", "ward=/y")), Folder("out"))
