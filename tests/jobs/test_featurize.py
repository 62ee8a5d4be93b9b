"""Featurization end to end on real Ray: a small synthetic cohort, and the open MIMIC-III demo."""

import gzip
import hashlib
import json
import math
import shutil
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.featurize import featurize
from medhmp import layout
from medhmp.features import fiddle, repeats
from medhmp.features.fitted import FittedFeatures
from medhmp.layout import AUXILIARY, NOTE_COLUMNS, TARGET_TABLE
from medhmp.legend import LEVELS, ROW_ID, SPLITS
from medhmp.progress import Progress
from medhmp.recipes import mimic3_demo, smoke
from medhmp.refusal import Refusal, find_refusal
from medhmp.run import (
    Features,
    Shards,
    Splits,
    Synthetic,
    Tables,
    fields_of,
)
from medhmp.shards import schema
from medhmp.shards.build import pool
from medhmp.shards.manifest import open_shards
from medhmp.shards.split import order_key, split_of
from medhmp.storage import Folder, Stamp, publish
from medhmp.synthetic import synthesize
from medhmp.tables.mimic import mimic3

pytestmark = pytest.mark.ray

TABLES = ("stays", "admissions", "patients")
RUN = replace(
    smoke(),
    quiet=True,
    tables=Tables(synthetic=Synthetic(patients=60)),
    shards=Shards(files=5, bucket_stays=200),
    splits=Splits(train=0.5, validation=0.2, test=0.3),
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Folder:
    folder = Folder(str(tmp_path_factory.mktemp("raw")))
    synthesize(RUN.tables.synthetic, folder)
    return folder


def run_on(raw, out, **changes):
    """The run that reads ``raw`` as it would read anybody's tables."""
    sources = Tables(sources=(f"mimic3={raw}",))
    return replace(RUN, tables=sources, out=str(out), **changes)


@pytest.fixture(scope="module")
def made(raw, tmp_path_factory, ray):
    run = run_on(raw, tmp_path_factory.mktemp("made"))
    featurize(run)
    return run


def shards_of(run) -> Folder:
    return Folder(run.out) / "shards"


def table_of(run, name) -> pa.Table:
    shards = shards_of(run)
    files = sorted(open_shards(run).manifest.tables[name])
    return pa.concat_tables([(shards / name).read_parquet(file) for file in files])


def content(run) -> dict[str, str]:
    """SHA-256 of every file but those that tell of the machine."""
    root, told = Path(shards_of(run).uri), ("featurize.json", "complete.json")
    files = [p for p in root.rglob("*") if p.is_file() and p.name not in told]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_bytes_do_not_depend_on_buckets_or_who_watches(made, raw, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Progress, "is_watched", property(lambda self: True))
    monkeypatch.setattr(pool, "SPOKEN", 0)
    other = run_on(raw, tmp_path, shards=replace(RUN.shards, bucket_stays=20))
    featurize(other)
    told = capsys.readouterr().out.splitlines()
    buckets = -(-open_shards(made).manifest.counts["mimic3"]["metavision_stays"] // 20)
    assert buckets > 4
    for what in ("repeats, buckets resolved", "features, buckets of pass 4", "rows, buckets"):
        assert sum(line.startswith(f"  {what}: ") and "s left" in line for line in told) == buckets
    assert content(other) == content(made)
    assert not (tmp_path / "shards" / ".work").exists()


def test_featurize_json_tells_what_each_stage_took(made):
    told = shards_of(made).read_json("featurize.json")
    passes = [f"pass {number}" for number in (1, 2, 3, 4)]
    after = ("numbers", "rows", "files", "labels", "notes")
    assert list(told["stages"]) == ["read", "repeats", *passes, *after]
    for name, spent in told["stages"].items():
        assert spent["seconds"] > 0, name
        assert spent["cpu_seconds"] > 0, name
    assert sum(of["seconds"] for of in told["stages"].values()) < told["seconds"] + 0.1


def test_the_manifest_counts_what_is_there(made, raw):
    manifest = open_shards(made).manifest
    assert manifest.counts["mimic3"]["patients"] == 60
    assert manifest.rows_read["mimic3"]["PATIENTS"] == 60
    for name in TABLES:
        table = table_of(made, name)
        assert len(manifest.tables[name]) == RUN.shards.files
        assert sum(manifest.rows_per_file(name).values()) == table.num_rows
        for split in SPLITS:
            rows = sum(manifest.rows_per_file(name, (split,)).values())
            assert rows == table["split"].to_pylist().count(split)
        sizes = [file.rows for file in manifest.tables[name].values()]
        assert max(sizes) - min(sizes) <= 1
    assert table_of(made, "stays").num_rows == manifest.counts["mimic3"]["metavision_stays"]
    assert list(manifest.tasks) == list(LEVELS)
    for task, counts in manifest.tasks.items():
        labels = pl.from_arrow(shards_of(made).read_parquet(f"labels/{task}.parquet"))
        assert sum(counts.rows.values()) == counts.steps[-1][1] == labels.height
        assert labels.height > 0
        assert sum(counts.positives.values()) == labels["label"].sum()
        people = pl.from_arrow(shards_of(made).read_parquet(f"attributes/{task}.parquet"))
        assert people["row_id"].to_list() == labels["row_id"].to_list()
        assert people["sex"].is_in(["F", "M"]).all()
        assert people["age"].is_between(18, 90).all()


def test_tables_have_the_schemas_of_the_contract(made):
    sizes = open_shards(made).manifest.widths
    stay = (sizes.hours, sizes.features, sizes.demographics, False)
    numbers = (sizes.numbers, sizes.statistics)
    assert min(numbers) > 0
    expected = {
        "stays": schema.stays(*stay, *numbers),
        "admissions": schema.admissions(*stay, sizes.diagnoses, sizes.drugs, *numbers),
        "patients": schema.patients(sizes.diagnoses),
    }
    for name, target in expected.items():
        assert table_of(made, name).cast(target).schema == target  # Parquet has no whole seconds


def test_rows_are_in_hashed_order_and_patients_in_one_split(made):
    where = {}
    for name in TABLES:
        table = table_of(made, name)
        subjects = table["subject_id"].to_pylist()
        keys = order_key(subjects, RUN.splits.salt).tolist()
        assert keys == sorted(keys)
        assert table["split"].to_pylist() == split_of(subjects, RUN.splits)
        for subject, split in zip(subjects, table["split"].to_pylist(), strict=True):
            assert where.setdefault(subject, split) == split
    for task in LEVELS:
        labels = shards_of(made).read_parquet(f"labels/{task}.parquet").to_pylist()
        assert all(where[row["subject_id"]] == row["split"] for row in labels)
    admissions = table_of(made, "admissions").select(["subject_id", "admitted"]).to_pylist()
    times = {}
    for row in admissions:
        times.setdefault(row["subject_id"], []).append(row["admitted"])
    assert all(own == sorted(own) for own in times.values())


def test_admissions_nest_the_rows_of_the_stays_table(made):
    alone = {row["stay_id"]: row for row in table_of(made, "stays").to_pylist()}
    nested = [
        (row, stay) for row in table_of(made, "admissions").to_pylist() for stay in row["stays"]
    ]
    assert {stay["stay_id"] for _, stay in nested} == set(alone)
    for row, stay in nested:
        own = alone[stay["stay_id"]]
        assert (row["hadm_id"], row["subject_id"]) == (own["hadm_id"], own["subject_id"])
        assert all(repr(own[name]) == repr(value) for name, value in stay.items())  # NaN, too


def test_targets_are_those_of_training_stays_and_nobody_else(made, raw):
    targets = pl.from_arrow(Folder(made.out).read_parquet(f"{AUXILIARY}/{TARGET_TABLE}"))
    stays = table_of(made, "stays").filter(pc.field("split") == "train")
    assert targets["stay_id"].to_list() == stays["stay_id"].to_pylist()
    source = mimic3.read("mimic3", str(raw), made)
    starts = dict(source.stays.select("stay_id", "intime").iter_rows())
    ends = dict(source.admissions.select("hadm_id", "discharged").iter_rows())
    deaths = dict(source.patients.select("subject_id", "death").iter_rows())
    died = dict(source.admissions.select("hadm_id", "died").iter_rows())
    for row, stay in zip(targets.to_dicts(), stays.to_pylist(), strict=True):
        begun = starts[row["stay_id"]]
        days = (ends[stay["hadm_id"]] - begun) / timedelta(days=1)
        assert row["log_length_of_stay"] == pytest.approx(math.log(1 + days), rel=1e-5)
        death = died[stay["hadm_id"]] or deaths[row["subject_id"]]
        for within in (30, 90, 365):
            late = death is None or death - begun > timedelta(days=within)
            assert row[f"death_{within}_days"] == float(not late)
        assert row["saps_i"] is row["sofa"] is None
    assert targets["death_365_days"].sum() > 0


def test_patients_nest_the_admissions_in_time_order(made):
    admissions = table_of(made, "admissions").to_pylist()
    for patient in table_of(made, "patients").to_pylist():
        own = [a for a in admissions if a["subject_id"] == patient["subject_id"]]
        names = ("hadm_id", "admitted", "discharged", "icd_ids")
        assert patient["visits"] == [{name: a[name] for name in names} for a in own]


def test_a_stay_s_features_are_fiddle_s_of_its_own_events(made, raw):
    """No bucket, no Ray, no other stay: the same row."""
    manifest = open_shards(made).manifest
    fitted = FittedFeatures.from_json(json.dumps(manifest.fiddle))
    source = mimic3.read("mimic3", str(raw), made)
    events = pl.concat([pl.from_arrow(batch) for batch in source.events()])
    indicated = list(manifest.indicators)
    for stay in source.stays["stay_id"][:20]:
        own = events.filter(pl.col("stay_id") == stay).rename({"stay_id": "id", "hours": "t"})
        features = fiddle.transform(repeats.resolve(own, indicated), [stay], fitted)
        (row,) = table_of(made, "stays").filter(pc.field("stay_id") == stay).to_pylist()
        assert row["feature_ids"] == features.feature_ids.tolist()
        assert row["hour_offsets"] == features.hour_offsets[0].tolist()
        assert row["demographic_ids"] == features.static_ids.tolist()


def test_labels_name_rows_of_their_level(made):
    names = {"stay": "stays", "admission": "admissions", "patient": "patients"}
    for task, level in LEVELS.items():
        labels = shards_of(made).read_parquet(f"labels/{task}.parquet")
        assert labels.schema.names == layout.LABEL_COLUMNS.names
        rows = table_of(made, names[level])
        known = set(
            zip(rows["subject_id"].to_pylist(), rows[ROW_ID[level]].to_pylist(), strict=True)
        )
        pairs = list(
            zip(labels["subject_id"].to_pylist(), labels["row_id"].to_pylist(), strict=True)
        )
        assert len(pairs) == len(set(pairs))
        assert set(pairs) <= known


def test_prediction_times(made, raw):
    source = mimic3.read("mimic3", str(raw), made)
    intime = dict(source.stays.select("stay_id", "intime").iter_rows())
    shards = shards_of(made)
    for task in ("arf", "shock", "mortality"):
        for row in shards.read_parquet(f"labels/{task}.parquet").to_pylist():
            assert row["prediction_time"] == intime[row["row_id"]] + timedelta(hours=48)
    ends = {row["hadm_id"]: row["discharged"] for row in table_of(made, "admissions").to_pylist()}
    for row in shards.read_parquet("labels/readmission.parquet").to_pylist():
        assert row["prediction_time"] == ends[row["row_id"]]
    visits = {r["subject_id"]: r["visits"] for r in table_of(made, "patients").to_pylist()}
    for row in shards.read_parquet("labels/heart_failure.parquet").to_pylist():
        used = [v for v in visits[row["row_id"]] if v["discharged"] <= row["prediction_time"]]
        assert 1 <= len(used) < len(visits[row["row_id"]])


def rewritten(raw, path, table, keep) -> Folder:
    """A copy of the raw tables in which one table's rows are those that ``keep`` leaves."""
    shutil.copytree(raw.uri, path, ignore=shutil.ignore_patterns("complete.json"))
    frame = pl.read_csv(
        gzip.decompress((path / f"{table}.csv.gz").read_bytes()), infer_schema=False
    )
    names = frame.columns
    kept = keep(frame.rename(str.lower)).rename(
        dict(zip(map(str.lower, names), names, strict=True))
    )
    assert 0 < kept.height < frame.height
    (path / f"{table}.csv.gz").write_bytes(gzip.compress(kept.write_csv().encode()))
    return Folder(str(path))


@pytest.mark.parametrize("table", ["CHARTEVENTS", "DIAGNOSES_ICD"])
def test_features_and_vocabularies_are_fitted_on_training_patients_alone(
    made, raw, tmp_path, table
):
    def training(frame):
        where = split_of(frame["subject_id"].cast(pl.Int64), RUN.splits)
        return frame.filter(pl.Series(where) == "train")

    run = run_on(rewritten(raw, tmp_path / "raw", table, training), tmp_path / "out")
    featurize(run)
    one, other = open_shards(made).manifest, open_shards(run).manifest
    assert one.fiddle == other.fiddle
    assert one.vocabularies == other.vocabularies


def test_notes_are_for_their_owner_and_of_known_admissions(made):
    folder = Path(shards_of(made).uri) / "notes"
    files = sorted(folder.glob("*.parquet"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    rows = []
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        table = Folder(str(folder)).read_parquet(file.name)
        assert table.schema == NOTE_COLUMNS
        rows += table.to_pylist()
    hadm = [row["hadm_id"] for row in rows]
    assert len(hadm) == len(set(hadm)) == open_shards(made).manifest.notes > 0
    assert set(hadm) <= set(table_of(made, "admissions")["hadm_id"].to_pylist())
    assert all(r["note_hash"] == hashlib.sha256(r["text"].encode()).hexdigest() for r in rows)


@pytest.mark.s3
def test_a_bucket_gets_the_same_bytes(made, raw, s3):
    for name in raw.names():
        Folder(f"{s3}/raw").write_bytes(name, raw.read_bytes(name))
    run = run_on(Folder(f"{s3}/raw"), f"{s3}/out")
    featurize(run)
    shards = shards_of(run)
    told = ("featurize.json", "complete.json")
    names = [name for name in shards.names() if not name.endswith(told)]
    hashes = {name: hashlib.sha256(shards.read_bytes(name)).hexdigest() for name in names}
    assert hashes == content(made)


def test_another_cohort_than_the_one_synthesized_is_refused(raw, tmp_path, ray):
    out = Folder(str(tmp_path))
    entries = synthesize(RUN.tables.synthetic, out / "raw")
    publish(out / "raw", Stamp(fields_of(RUN, "tables.synthetic"), {}), entries)
    more = replace(RUN, out=str(tmp_path), tables=Tables(synthetic=Synthetic(patients=70)))
    with pytest.raises(Refusal, match=r"tables.synthetic.patients 60 and this run has 70; give"):
        featurize(more)
    assert not (tmp_path / "shards").exists()


def test_a_second_run_skips_and_another_is_refused(made, capsys):
    before = content(made)
    featurize(replace(made, quiet=False))
    assert "whole already" in capsys.readouterr().out
    other = replace(made, features=replace(made.features, theta_1=0.3))
    with pytest.raises(Refusal, match=r"another run \(features.theta_1 was 0.02, is 0.3\)"):
        featurize(other)
    assert content(made) == before


def test_real_valued_features_keep_their_values(raw, tmp_path, ray):
    run = run_on(raw, tmp_path, features=Features(theta_1=0.02, theta_2=0.005, discretize=False))
    featurize(run)
    stays = table_of(run, "stays")
    assert open_shards(run).manifest.real_valued
    for ids, values in (
        ("feature_ids", "feature_values"),
        ("demographic_ids", "demographic_values"),
    ):
        lengths = [pc.list_value_length(stays[name]) for name in (ids, values)]
        assert lengths[0].equals(lengths[1])
        assert stays[values].type == pa.list_(pa.float32())


def test_an_unknown_source_is_refused(tmp_path, ray):
    run = replace(RUN, out=str(tmp_path), tables=Tables(sources=("mimic9=/nowhere",)))
    with pytest.raises(
        Refusal,
        match=r"'mimic9', for which there is no reader; .* mimic3, mimic4, .*fiddle, synthetic",
    ):
        featurize(run)


def test_the_synthetic_tables_must_be_whole(tmp_path, ray):
    with pytest.raises(Refusal, match=r"raw is missing or not whole; run jobs.synthesize first"):
        featurize(replace(RUN, out=str(tmp_path)))


def test_bad_rows_are_refused_and_leave_nothing_behind(raw, tmp_path, ray):
    """The defect is met inside a Ray task, after other files have been written."""
    at = "labevents_that_are_fine"
    broken = tmp_path / "raw"
    shutil.copytree(raw.uri, broken, ignore=shutil.ignore_patterns("complete.json"))
    path = broken / "LABEVENTS.csv.gz"
    lines = gzip.decompress(path.read_bytes()).split(b"\n")
    lines[20] = lines[20].replace(lines[20].split(b",")[3], at.encode(), 1)
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    run = run_on(Folder(str(broken)), tmp_path / "out")
    with pytest.raises(Exception) as error:  # noqa: PT011  # as Ray wraps it
        featurize(run)
    refusal = find_refusal(error.value)
    assert "column ITEMID at line 21;" in str(refusal)
    assert at not in str(refusal)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_the_open_demo(shared, tmp_path, ray, capsys):
    folder = shared / "data" / "mimic-iii-demo-1.4"
    run = replace(mimic3_demo(), out=str(tmp_path), tables=Tables(sources=(f"mimic3={folder}",)))
    featurize(run)
    manifest = open_shards(run).manifest
    counts = manifest.counts["mimic3"]
    assert (counts["patients"], counts["admissions"]) == (100, 129)
    assert (counts["stays"], counts["metavision_stays"]) == (136, 77)
    assert manifest.notes == 0
    assert "no discharge note" in capsys.readouterr().out
    assert table_of(run, "stays").num_rows == 77
    assert table_of(run, "patients").num_rows == 100
    assert manifest.tasks["mortality"].steps == [
        ["stays", 77],
        ["age at least 18", 77],
        ["alive at hour 48", 69],
        ["in the unit at hour 48", 34],
        ["known to have left alive or died", 34],
    ]
    of = {
        task: (sum(t.rows.values()), sum(t.positives.values()))
        for task, t in manifest.tasks.items()
    }
    counted = {"arf": (15, 0), "shock": (21, 3), "mortality": (34, 9), "readmission": (88, 11)}
    assert counted.items() <= of.items()
    signals = {"225792", "225794", "220339", "221906", "221289", "221662", "222315", "221749"}
    assert signals.isdisjoint(name.split("_")[0].split(":")[0] for name in manifest.features)
