"""A source that somebody else writes: one module and one line, from its tables to whole shards."""

import importlib.util
import sys
from dataclasses import replace
from types import ModuleType

import pytest

from jobs.featurize import featurize
from medhmp.legend import LEVELS
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import Cohort, Shards, Splits, Tables
from medhmp.shards.manifest import open_shards
from medhmp.storage import Folder
from medhmp.tables.schema import SYNTHETIC
from medhmp.tables.sources import READERS, Reader, fingerprint, folders_of

WARD = '''
"""Reads the monitors of a ward: stays.csv (stay, died) and pulse.csv (stay, minute, pulse)."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

import polars as pl
import pyarrow as pa

from medhmp.legend import LEVELS, Task
from medhmp.run import Run
from medhmp.storage import Folder
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


def test_a_fingerprint_is_of_names_and_sizes(ward, raw):
    folder = Folder(str(raw))
    before = fingerprint("ward", folder, {})
    (raw / "readme.txt").write_text("not a table")
    assert fingerprint("ward", folder, {}) == before
    (raw / "stays.csv").write_text("STAY,DIED\n1,0\n")
    assert fingerprint("ward", folder, {}) != before


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
