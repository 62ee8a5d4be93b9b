"""Featurization that goes on after a SIGKILL, takes another's features, or reads two sources."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from jobs.featurize import featurize
from medhmp.refusal import Refusal, find_refusal
from medhmp.run import Run, Synthetic, Tables, digest
from medhmp.shards.build.journal import Journal
from medhmp.shards.manifest import Manifest, open_shards
from medhmp.shards.stream import Share
from medhmp.storage import COMPLETE, Folder
from medhmp.synthetic import synthesize
from medhmp.tables.schema import ID_COLUMNS, IDS
from medhmp.train.stage import Stage, rows_to_read, setup_of

pytestmark = pytest.mark.ray

TABLES = ("stays", "admissions", "patients")


def content(run: Run, *below: str) -> dict[str, str]:
    """SHA-256 of every file of the shards but the one that tells of the machine.

    Tasks of a driver that was killed may still be writing: a half-written file is none of them.
    """
    shards = Folder(run.out) / "shards"

    def hash_of(name: str) -> str:
        if not name.endswith(COMPLETE):
            return shards.entry(name).sha256
        record = shards.read_json(name)
        return digest({key: record[key] for key in ("hash", "fields", "inputs", "files")})

    return {
        name: hash_of(name)
        for name in shards.names()
        if name.startswith(below or "")
        and "note_embeddings" not in name
        and name != "featurize.json"
    }


def rows(run: Run, table: str) -> pl.DataFrame:
    shards = Folder(run.out) / "shards" / table
    files = [shards.read_parquet(name) for name in sorted(open_shards(run).manifest.tables[table])]
    frame = pl.from_arrow(pa.concat_tables(files))
    assert isinstance(frame, pl.DataFrame)
    return frame


def records(run: Run, step: str) -> list[Path]:
    """What a killed run has recorded of a step."""
    return sorted(Path(run.out).glob(f"shards/.work/records/{step}/*.json"))


def test_killed_twice_it_goes_on_and_ends_with_the_same_bytes(
    featurized: Run, branch: Callable[..., Run], start_job: Callable[..., Any]
) -> None:
    """SIGKILL while tables are read, then while rows are written."""
    run, expected = branch(featurized, "raw"), content(featurized)
    small = ("--shards.bucket-stays", "20")  # more buckets to be killed between
    again = replace(run, shards=replace(run.shards, bucket_stays=20))

    start_job("featurize", run.out, *small).kill_once(lambda: len(records(run, "scatter")) >= 2)
    read = {path: path.stat().st_mtime_ns for path in records(run, "scatter")}
    assert not records(run, "rows")
    start_job("featurize", run.out, *small).kill_once(lambda: len(records(run, "rows")) >= 3)
    assert {path: path.stat().st_mtime_ns for path in read} == read  # it has not begun anew
    assert not (Path(run.out) / "shards" / COMPLETE).exists()
    left = {item for item in content(run).items() if not item[0].startswith(".work")}
    assert left <= set(expected.items())
    featurize(again)
    assert content(run) == expected


def test_what_is_left_of_another_run_is_not_gone_on_with(
    featurized: Run, branch: Callable[..., Run]
) -> None:
    run = branch(featurized, "raw")
    shards = Folder(run.out) / "shards"
    left = Journal.begin(shards, "another run")
    left.once("indicators", lambda: ["HR"])
    shards.write_bytes("stays/part-00099.parquet", b"of another run")
    featurize(run)
    assert content(run) == content(featurized)


def test_its_own_frozen_features_give_the_same_rows(
    featurized: Run, branch: Callable[..., Run]
) -> None:
    frozen = f"{featurized.out}/shards"
    run = branch(featurized, "raw")
    run = replace(run, features=replace(run.features, frozen=frozen))
    featurize(run)
    assert content(run, *TABLES) == content(featurized, *TABLES)
    again, first = open_shards(run).manifest, open_shards(featurized).manifest
    assert replace(again, counts={}, drift={}) == replace(first, counts={})
    for source, counts in first.counts.items():  # and what the frozen features lack
        assert counts.items() <= again.counts[source].items()


@pytest.fixture(scope="module")
def next_month(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tables of other patients of the same hospital."""
    folder = tmp_path_factory.mktemp("next_month")
    synthesize(Synthetic(patients=60, seed=8), Folder(str(folder)))
    return f"mimic3={folder}"


LEARNT = ("features", "demographics", "diagnoses", "drugs", "vocabularies", "indicators", "fiddle")


def learnt(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in LEARNT}


def test_new_data_get_the_columns_of_frozen_features(
    featurized: Run, next_month: str, tmp_path: Path
) -> None:
    tables, frozen = Tables(sources=(next_month,)), f"{featurized.out}/shards"
    run = replace(featurized, out=str(tmp_path / "frozen"), tables=tables)
    featurize(replace(run, features=replace(run.features, frozen=frozen)))
    assert learnt(open_shards(run).manifest) == learnt(open_shards(featurized).manifest)
    assert rows(run, "stays")["feature_ids"].list.len().sum() > 1000
    filled = open_shards(run).manifest.filled["mimic3"]
    stays = rows(run, "stays").height
    assert filled["stays"] == filled["stays with an hourly feature"] == stays
    assert 0 < filled["hourly values beyond what was fitted"] < filled["hourly values"] / 20
    own = replace(run, out=str(tmp_path / "own"))
    featurize(own)
    assert learnt(open_shards(own).manifest) != learnt(open_shards(run).manifest)
    other = replace(run.features, frozen=frozen, theta_1=0.3)
    with pytest.raises(Refusal, match=r"were made with features.theta_1 0.02 and this run has 0.3"):
        featurize(replace(run, out=str(tmp_path / "refused"), features=other))
    with pytest.raises(Refusal, match=r"nowhere is missing or not whole; run jobs.featurize first"):
        featurize(replace(run, features=replace(run.features, frozen="nowhere")))


def test_frozen_features_that_nothing_fills_are_refused(featurized: Run, tmp_path: Path) -> None:
    """A patient's name in a column of names is one of many, so it is not among the few named."""
    readings = [f"{stay},{k}.5,{name},{70 + k}" for stay in range(6) for k in range(3)
                for name in ("pulse", "breaths")]  # fmt: skip
    lines = ["ID,t,variable_name,variable_value", *readings, "0,1,pH,7.4", "1,1,pO2,80"]
    lines += ["2,1,pCO2,40", "3,1,Jane Roe,1"]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    (tmp_path / "pop.csv").write_text("ID\n" + "\n".join(map(str, range(6))))
    features = replace(featurized.features, frozen=f"{featurized.out}/shards")
    tables = Tables(sources=(f"fiddle={tmp_path}",))
    run = replace(featurized, out=str(tmp_path / "out"), tables=tables, features=features)
    with pytest.raises(Exception, match="only 0 of 6 stays of fiddle have any") as raised:
        featurize(run)
    said = str(find_refusal(raised.value))
    assert "those of fiddle 'breaths', 'pulse';" in said
    assert not (tmp_path / "out" / "shards" / "manifest.json").exists()


def test_two_sources_share_features_and_no_patient(featurized: Run, tmp_path: Path) -> None:
    """The same tables twice, under two names: twins, told apart."""
    raw = f"{featurized.out}/raw"
    sources = Tables(
        sources=(f"mimic3={raw}", f"synthetic={raw}"), synthetic=featurized.tables.synthetic
    )
    run = replace(featurized, out=str(tmp_path), tables=sources)
    featurize(run)
    manifest, one = open_shards(run).manifest, open_shards(featurized).manifest
    assert manifest.counts["mimic3"] == manifest.counts["synthetic"] == one.counts["synthetic"]
    assert (manifest.drugs, manifest.diagnoses) == (one.drugs, one.diagnoses)
    for table in TABLES:
        alone, both = rows(featurized, table), rows(run, table).partition_by("source")
        ids = [name for name in ID_COLUMNS if name in alone.columns]
        flat = [name for name in alone.columns if name not in ("source", "stays", "visits")]
        twins = sorted(both, key=lambda of: of[ids[-1]].min())
        raised = twins[0].with_columns(pl.col(name) + IDS for name in ids)
        assert twins[1].select(flat).equals(raised.select(flat))
        assert twins[0].select(*ids, "split").equals(alone.select(*ids, "split"))
    pretrained_on_one_of_them(run)
    labelled = replace(
        run, out=f"{tmp_path}/labelled", cohort=replace(run.cohort, label_sources=("mimic3",))
    )
    featurize(labelled)
    for task, counts in one.tasks.items():
        assert open_shards(labelled).manifest.tasks[task].positives == counts.positives
        if task not in run.cohort.matched:  # a case may find its controls in the other source
            twice = {split: 2 * n for split, n in counts.positives.items()}
            assert manifest.tasks[task].positives == twice


def pretrained_on_one_of_them(run: Run) -> None:
    """Pretraining reads the training rows of the sources that it is asked to, and no others."""
    shards, stays = open_shards(run), rows(run, "stays")
    one = replace(run, pretrain_sources=("synthetic",))
    plan = rows_to_read(setup_of(one, Stage("pretrain_stay", "")), shards)
    own = stays.filter(source="synthetic", split="train")["subject_id"].to_list()
    assert sum(plan.rows_per_file.values()) == len(own) > 0
    batches = Share(replace(plan, batch_size=1), 0, 1).batches()
    read = [batch["subject_id"].item() for batch in batches(0)]
    assert sorted(read) == sorted(own)
    unknown = replace(run, pretrain_sources=("synthetic", "eicu"))
    with pytest.raises(Refusal, match="names eicu, and the shards are made of mimic3, synthetic"):
        rows_to_read(setup_of(unknown, Stage("pretrain_stay", "")), shards)
