"""The manifest travels as JSON and says the same."""

from collections import Counter
from dataclasses import replace

import pytest

from medhmp.legend import Widths
from medhmp.refusal import Refusal
from medhmp.run import (
    Cohort,
    Features,
    Run,
    Splits,
    Synthetic,
    Tables,
)
from medhmp.shards.manifest import File, TaskCounts, content_of, open_shards
from medhmp.storage import Folder, Stamp, publish
from tests.manifests import manifest

MANIFEST = manifest(
    fields={"cohort.hours": 48},
    counts={"mimic3": {"patients": 2}},
    rows_read={"mimic3": {"PATIENTS": 2}},
    left_out={"mimic3": {}},
    features=["a", "b"],
    demographics=["c"],
    diagnoses=["9:4280"],
    vocabularies={"features": "00"},
    fiddle={"plan": []},
    tables={
        "stays": {
            "part-00000.parquet": File(3, {"train": 2, "validation": 0, "test": 1}, "00"),
            "part-00001.parquet": File(2, {"train": 0, "validation": 2, "test": 0}, "11"),
        }
    },
    tasks={"arf": TaskCounts([["stays", 5]], {"train": 1}, {"train": 0})},
)


def published(path, run=None, sources=("mimic3",), content=None):
    """The run whose shards, made from these sources, hold the manifest alone."""
    run = replace(run or Run(), out=str(path))
    shards = Folder(run.out) / "shards"
    entry = shards.write_json("manifest.json", content or MANIFEST.to_json())
    publish(shards, Stamp(content_of(run, sources), dict.fromkeys(sources, "00")), [entry])
    return run


def test_json_and_back(tmp_path):
    read = open_shards(published(tmp_path)).manifest
    assert read == MANIFEST
    assert read.widths == Widths(hours=48, features=2, demographics=1, diagnoses=1, drugs=0)
    assert read.rows_per_file("stays") == {"part-00000.parquet": 3, "part-00001.parquet": 2}
    own = read.rows_per_file("stays", ("train", "test"))
    assert own == {"part-00000.parquet": 3, "part-00001.parquet": 0}


def test_shards_not_whole_damaged_or_of_another_format_are_refused(tmp_path):
    with pytest.raises(Refusal, match=r"not whole; run jobs.featurize first"):
        open_shards(Run(out=str(tmp_path)))
    run = published(tmp_path, content=MANIFEST.to_json() | {"format": 99})
    with pytest.raises(Refusal, match="another format"):
        open_shards(run)
    (Folder(run.out) / "shards").write_json("manifest.json", MANIFEST.to_json())
    with pytest.raises(Refusal, match=r"is damaged: manifest.json is missing or not what was"):
        open_shards(run)


SYNTHETIC = Tables(synthetic=Synthetic(seed=1))


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"cohort": Cohort(hours=24)}, "cohort.hours 48 and this run has 24; give the same --co"),
        ({"cohort": Cohort(min_age=9)}, "cohort.min_age 18 and this run has 9"),
        ({"cohort": Cohort(heart_failure_codes="broad")}, "codes 'core' and this run has 'broad'"),
        ({"splits": Splits(salt="other")}, "splits.salt 'medhmp' and this run has 'other'"),
        ({"features": Features(theta_1=0.1)}, "features.theta_1 0.05 and this run has 0.1"),
        ({"tables": SYNTHETIC}, "tables.synthetic.seed 0 and this run has 1"),
    ],
)
def test_shards_of_other_fields_are_refused(tmp_path, change, difference):
    run = published(tmp_path, sources=("synthetic",))
    with pytest.raises(Refusal) as refused:
        open_shards(replace(run, **change))
    assert difference in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_does_not_shape_the_shards_may_differ(tmp_path):
    run = published(tmp_path)
    made = open_shards(run)
    for tables in (SYNTHETIC, Tables(sources=("mimic3=/moved",))):
        other = replace(
            run, tables=tables, name="other", shards=replace(run.shards, bucket_stays=3)
        )
        assert open_shards(other) == made


def test_shards_of_another_source_are_refused(tmp_path):
    run = published(tmp_path, sources=("synthetic",))
    other = replace(run, tables=Tables(sources=("mimic3=/data",)))
    with pytest.raises(Refusal, match=r"made from synthetic and tables\.sources names mimic3;"):
        open_shards(other)


def test_a_job_reads_the_manifest_and_complete_json_once(tmp_path, monkeypatch):
    run, read = published(tmp_path), Counter()
    vectors = Folder(run.out) / "shards" / "note_embeddings"
    publish(vectors, Stamp({}, {}), [vectors.write_bytes("part-00000.parquet", b"")])
    read_bytes = Folder.read_bytes

    def counted(folder, name):
        read[f"{folder.uri.rpartition('/')[2]}/{name}"] += 1
        return read_bytes(folder, name)

    monkeypatch.setattr(Folder, "read_bytes", counted)
    shards = open_shards(run)
    assert shards.fingerprint == shards.output.fingerprint
    assert read == {"shards/complete.json": 1, "shards/manifest.json": 1}
    assert shards.note_embeddings.fingerprint == shards.note_embeddings.fingerprint
    assert shards.widths == MANIFEST.widths
    assert read["note_embeddings/complete.json"] == 1


@pytest.mark.parametrize(("fields", "width"), [(None, 768), ({}, 768), ({"notes.width": 48}, 48)])
def test_the_width_of_notes_is_that_of_their_vectors(tmp_path, fields, width):
    """Before there are any it is the default: stage one needs none."""
    run = published(tmp_path)
    if fields is not None:
        publish(Folder(run.out) / "shards" / "note_embeddings", Stamp(fields, {}), [])
    assert open_shards(run).widths == replace(MANIFEST.widths, note=width)


def test_note_embeddings_that_are_not_whole_are_refused(tmp_path):
    shards = open_shards(published(tmp_path))
    with pytest.raises(Refusal, match=r"note_embeddings is missing or not whole; run jobs.embed_n"):
        _ = shards.note_embeddings
