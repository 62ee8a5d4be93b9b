"""The manifest travels as JSON and says the same."""

import pytest

from medhmp.legend import Widths
from medhmp.refusal import Refusal
from medhmp.shards.manifest import File, Manifest, TaskCounts, read_manifest
from medhmp.storage import COMPLETE, Folder

MANIFEST = Manifest(
    fields={"cohort.hours": 48},
    counts={"mimic3": {"patients": 2}},
    rows_read={"mimic3": {"PATIENTS": 2}},
    left_out={"mimic3": {}},
    hours=48,
    real_valued=False,
    features=["a", "b"],
    demographics=["c"],
    diagnoses=["9:4280"],
    drugs=[],
    vocabularies={"features": "00"},
    fiddle={"plan": []},
    tables={
        "stays": {
            "part-00000.parquet": File(3, {"train": 2, "validation": 0, "test": 1}, "00"),
            "part-00001.parquet": File(2, {"train": 0, "validation": 2, "test": 0}, "11"),
        }
    },
    notes=0,
    tasks={"arf": TaskCounts([["stays", 5]], {"train": 1}, {"train": 0})},
)


def test_json_and_back(tmp_path):
    folder = Folder(str(tmp_path))
    folder.write_json("manifest.json", MANIFEST.to_json())
    folder.write_json(COMPLETE, {})
    read = read_manifest(folder)
    assert read == MANIFEST
    assert read.widths == Widths(hours=48, features=2, demographics=1, diagnoses=1, drugs=0)
    assert read.rows_per_file("stays") == {"part-00000.parquet": 3, "part-00001.parquet": 2}
    own = read.rows_per_file("stays", ("train", "test"))
    assert own == {"part-00000.parquet": 3, "part-00001.parquet": 0}


def test_shards_that_are_not_whole_or_of_another_format_are_refused(tmp_path):
    folder = Folder(str(tmp_path))
    folder.write_json("manifest.json", MANIFEST.to_json() | {"format": 99})
    with pytest.raises(Refusal, match=r"not whole; run jobs.featurize first"):
        read_manifest(folder)
    folder.write_json(COMPLETE, {})
    with pytest.raises(Refusal, match="another format"):
        read_manifest(folder)
