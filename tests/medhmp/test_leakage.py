"""Nothing of the test patients, and nothing after the prediction time, reaches what is trained.

That no patient is in two splits is tested with ``jobs.featurize``.
"""

import gzip
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

from jobs.featurize import featurize
from jobs.synthesize import synthesize
from medhmp.evaluate.discrimination import auroc
from medhmp.legend import SPLITS
from medhmp.recipes import smoke
from medhmp.run import (
    Cohort,
    Finetune,
    Model,
    Pretrain,
    Run,
    Shards,
    Splits,
    Synthetic,
    Tables,
)
from medhmp.shards.labelled import Labelled, TaskData, read_task
from medhmp.shards.manifest import OpenShards, open_shards
from medhmp.shards.stream import Share, TableName
from medhmp.shards.tabular import counted
from medhmp.storage import COMPLETE, Folder, Stamp, publish
from medhmp.synthetic import synthesize as write_tables
from medhmp.tables.mimic import mimic3
from medhmp.train.finetune.estimators import FitSettings, estimator_of
from medhmp.train.stage import Stage, rows_to_read, setup_of

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def run(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A cohort of which a third are test patients, featurized."""
    small = Pretrain(epochs=1, batch_size=8)
    made = replace(
        smoke(),
        quiet=True,
        out=str(tmp_path_factory.mktemp("leakage")),
        tables=Tables(synthetic=Synthetic(patients=250)),
        splits=Splits(train=0.5, validation=0.15, test=0.35),
        shards=Shards(files=4, bucket_stays=100),
        model=Model(width=16),
        pretrain_stay=small,
        pretrain_admission=small,
        finetune=Finetune(epochs=4),
    )
    synthesize(made)
    featurize(made)
    publish(Folder(made.out) / "shards/note_embeddings", Stamp({}, {}), [])  # nobody has a note
    return made


def patients(run: Run, split: str) -> set[int]:
    shards = Folder(run.out) / "shards"
    files = open_shards(run).manifest.tables["patients"]
    table = pl.concat([pl.from_arrow(shards.read_parquet(f"patients/{name}")) for name in files])
    return set(table.filter(split=split)["subject_id"])


def read_by(run: Run, table: TableName) -> set[int]:
    """Patients in the batches of one epoch of pretraining, as one worker gets them."""
    stage = Stage("pretrain_stay" if table == "stays" else "pretrain_admission", run.out)
    plan = rows_to_read(setup_of(run, stage), open_shards(run))
    batches = Share(plan, rank=0, world_size=1).batches()
    return {subject for batch in batches(0) for subject in batch["subject_id"].tolist()}


@pytest.mark.parametrize("table", get_args(TableName))
@pytest.mark.parametrize("budget", [4.0, 0.0], ids=["in memory", "streamed"])
def test_pretraining_reads_training_patients_alone(
    run: Run, table: TableName, budget: float
) -> None:
    seen = read_by(replace(run, share_budget_gib=budget), table)
    train = patients(run, "train")
    assert seen <= train
    assert len(seen) > 0.8 * len(train)  # the last batch of an epoch is left out


def test_the_paper_s_option_reads_every_patient(run: Run) -> None:
    """What the test above would find if it were the default."""
    seen = read_by(replace(run, pretrain_on="all"), "stays")
    assert all(seen & patients(run, split) for split in SPLITS)


def shuffled(data: TaskData, generator: np.random.Generator) -> TaskData:
    """The same rows; labels of the training and validation rows dealt anew."""
    labels = {name: generator.permutation(data[name].label) for name in ("train", "validation")}
    return {**data, **{name: Labelled(data[name].rows, new) for name, new in labels.items()}}


def test_shuffled_labels_teach_nothing(run: Run) -> None:
    """The mean over five shuffles, against twice the standard error of one: with a random ranking
    of n1 positives and n0 negatives that is sqrt((n1 + n0 + 1) / (12 n1 n0)) (Mann-Whitney)."""
    shards = open_shards(run)
    data = read_task(shards, "mortality", run.cohort, run.model)
    settings = FitSettings(run.model, run.finetune, shards.widths)
    point = {"batch_size": 16, "learning_rate": 1e-2}
    label = data["test"].label
    areas = []
    for seed in range(5):
        network = estimator_of("stay", "medhmp", point, settings)
        network.fit(shuffled(data, np.random.default_rng(seed)), seed)
        areas.append(auroc(label, network.score(data["test"])))
    n1, n0 = label.sum(), (1 - label).sum()
    error = np.sqrt((n1 + n0 + 1) / (12 * n1 * n0))
    assert abs(np.mean(areas) - 0.5) < 2 * error


BY_STAY = {
    "CHARTEVENTS": ["CHARTTIME"],
    "OUTPUTEVENTS": ["CHARTTIME"],
    "DATETIMEEVENTS": ["CHARTTIME"],
    "INPUTEVENTS_MV": ["STARTTIME", "ENDTIME"],
    "PROCEDUREEVENTS_MV": ["STARTTIME", "ENDTIME"],
}
BY_ADMISSION = {"LABEVENTS": ["CHARTTIME"], "MICROBIOLOGYEVENTS": ["CHARTTIME"]}
TIMES = BY_STAY | BY_ADMISSION
"""Every table of events, with its columns of times."""

SPANNING = "-1"
"""ORDERID of ranges made here that begin two hours before hour 48 and end after it."""

HOUR = pl.duration(hours=1)
END = pl.col("intime") + 48 * HOUR


def load(raw: Path, table: str) -> pl.DataFrame:
    """The table as text, its times parsed."""
    frame = pl.read_csv(gzip.decompress((raw / f"{table}.csv.gz").read_bytes()), infer_schema=False)
    return frame.with_columns(pl.col(c).str.to_datetime() for c in TIMES.get(table, ()))


def store(raw: Path, table: str, frame: pl.DataFrame) -> None:
    text = frame.write_csv(datetime_format="%Y-%m-%d %H:%M:%S")
    (raw / f"{table}.csv.gz").write_bytes(gzip.compress(text.encode(), 1))


def clocked(raw: Path, table: str) -> pl.DataFrame:
    """Rows with ``intime`` and ``discharged``; of several stays of an admission the last one's."""
    key = "ICUSTAY_ID" if table in BY_STAY else "HADM_ID"
    discharged = load(raw, "ADMISSIONS").select("HADM_ID", discharged=pl.col("DISCHTIME"))
    clock = (
        load(raw, "ICUSTAYS")
        .join(discharged, on="HADM_ID")
        .select(key, pl.col("INTIME").alias("intime").str.to_datetime(), "discharged")
        .with_columns(pl.col("discharged").str.to_datetime())
        .group_by(key)
        .agg(pl.col("intime").max(), pl.col("discharged").first())
    )
    return load(raw, table).join(clock, on=key, maintain_order="left")


def spanning(raw: Path, table: str) -> pl.DataFrame:
    """A rate, an amount, a dose or a procedure in every stay long enough, from hour 46 to 50."""
    rows = clocked(raw, table).unique("ICUSTAY_ID", maintain_order=True)
    rows = rows.filter(pl.col("discharged") > END + 12 * HOUR).with_columns(
        ORDERID=pl.lit(SPANNING), STARTTIME=END - 2 * HOUR, ENDTIME=END + 2 * HOUR
    )
    if table == "PROCEDUREEVENTS_MV":
        return rows
    given = rows.with_columns(AMOUNT=pl.lit("4"), STATUSDESCRIPTION=pl.lit("FinishedRunning"))
    kinds = [("225158", "ml", "1"), ("221456", "mg", None), ("225850", "dose", None)]
    return pl.concat(
        given.with_columns(
            ITEMID=pl.lit(item),
            AMOUNTUOM=pl.lit(unit),
            RATE=pl.lit(rate, pl.String),
            ORDERCATEGORYDESCRIPTION=pl.lit("Continuous Med" if rate else "Bolus"),
        )
        for item, unit, rate in kinds
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cohort with ranges that span hour 48."""
    folder = tmp_path_factory.mktemp("raw")
    write_tables(Synthetic(patients=60), Folder(str(folder)))
    for table in ("INPUTEVENTS_MV", "PROCEDUREEVENTS_MV"):
        frame = load(folder, table)
        more = spanning(folder, table)
        assert more.height > 20
        store(folder, table, pl.concat([frame, more.select(frame.columns)]))
    return folder


def later(raw: Path, table: str, end: pl.Expr = END) -> pl.DataFrame:
    """The table with every trace of what follows its stays' last known hour, at ``end``, changed.

    Of the later rows half are gone and the others say something else; there are new ones, from the
    first moment on that may not be known; and ranges that span it last longer, at the same rate.
    """
    times, rows = TIMES[table], clocked(raw, table)
    names = [c for c in rows.columns if c not in ("intime", "discharged")]
    at = pl.col(times[0])
    late = ((at >= end) | (at > pl.col("discharged"))).fill_null(False)
    before, after = rows.filter(~late), rows.filter(late)
    said = [c for c in ("ITEMID", "SPEC_ITEMID", "VALUE", "AMOUNT", "RATE") if c in names]
    altered = after.with_columns(after.select(pl.col(said).reverse())).gather_every(2)
    moved = pl.min_horizontal(end, pl.col("discharged") + pl.duration(seconds=1))
    added = before.filter(at.is_not_null()).with_columns(moved.alias(c) for c in times)
    assert min(altered.height, added.height) > 5
    parts = [longer(before, table), altered, added]
    if table == "DATETIMEEVENTS":  # filled in later
        parts.append(before.with_columns(VALUE=end.dt.strftime("%Y-%m-%d %H:%M:%S")))
    return pl.concat(parts).select(names)


def longer(rows: pl.DataFrame, table: str) -> pl.DataFrame:
    """The ranges that span hour 48 end at hour 54 and give as much an hour as before."""
    if len(TIMES[table]) == 1:
        return rows
    spans = pl.col("ORDERID") == SPANNING
    end = pl.when(spans).then(END + 6 * HOUR).otherwise("ENDTIME").alias("ENDTIME")
    if table == "PROCEDUREEVENTS_MV":
        return rows.with_columns(end)
    return rows.with_columns(end, AMOUNT=pl.when(spans).then(pl.lit("8")).otherwise("AMOUNT"))


def earlier(raw: Path, table: str) -> pl.DataFrame:
    """The table without a tenth of the rows of the window."""
    rows = clocked(raw, table).with_row_index("row")
    at = pl.col(TIMES[table][0])
    inside = ((at >= pl.col("intime")) & (at < END) & (at <= pl.col("discharged"))).fill_null(False)
    gone = rows.filter(inside).gather_every(10)["row"]
    return rows.filter(~pl.col("row").is_in(gone.implode())).drop("row", "intime", "discharged")


Change = Callable[[Path, str], pl.DataFrame]


def changed(raw: Path, folder: Path, change: Change, *tables: str) -> Path:
    """A copy of the raw tables with some of them changed."""
    shutil.copytree(raw, folder, ignore=shutil.ignore_patterns(COMPLETE))
    for table in tables:
        store(folder, table, change(raw, table))
    return folder


def events(raw: Path) -> pl.DataFrame:
    source = mimic3.read("mimic3", str(raw), replace(smoke(), quiet=True))
    return pl.concat([pl.from_arrow(batch) for batch in source.events()])


@pytest.mark.parametrize("table", TIMES)
def test_what_follows_the_prediction_time_is_no_event(
    raw: Path, tmp_path: Path, table: str
) -> None:
    known = events(raw)
    assert events(changed(raw, tmp_path / "later", later, table)).equals(known)
    assert not events(changed(raw, tmp_path / "earlier", earlier, table)).equals(known)


def stay_files(raw: Path, out: Path) -> dict[str, bytes]:
    """Bytes of every shard that holds stays, made of these raw tables."""
    sources = Tables(sources=(f"mimic3={raw}",))
    shards = Shards(files=2, bucket_stays=100)
    featurize(replace(smoke(), quiet=True, out=str(out), tables=sources, shards=shards))
    files = [*out.glob("shards/stays/*"), *out.glob("shards/admissions/*")]
    assert len(files) == 4
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def test_what_follows_the_prediction_time_changes_no_byte_of_a_stay(
    ray: Any, raw: Path, tmp_path: Path
) -> None:
    known = stay_files(raw, tmp_path / "known")
    for change, same in ((later, True), (earlier, False)):
        name = change.__name__
        other = changed(raw, tmp_path / f"raw_{name}", change, *TIMES)
        assert (stay_files(other, tmp_path / name) == known) == same


def test_what_follows_an_own_task_s_prediction_time_changes_nothing_that_is_read(
    ray: Any, raw: Path, tmp_path: Path
) -> None:
    """Labels at hour 20 of a window of 48: whatever is recorded later, networks get the same
    batches and floors the same counts. The built-in task reads on."""
    stays = load(raw, "ICUSTAYS").select(
        subject_id=pl.col("SUBJECT_ID"),
        prediction_time=pl.col("INTIME").str.to_datetime() + 20 * HOUR,
        boolean_value=pl.col("ICUSTAY_ID").cast(pl.Int64) % 2 == 0,
    )
    stays.write_csv(tmp_path / "labels.csv")
    change = partial(later, end=pl.col("intime") + 20 * HOUR)
    frozen, read = None, []
    for name, folder in (
        ("known", raw),
        ("other", changed(raw, tmp_path / "raw_later", change, *TIMES)),
    ):
        run = replace(
            smoke(),
            quiet=True,
            out=str(tmp_path / name),
            tables=Tables(sources=(f"mimic3={folder}",)),
            shards=Shards(files=2, bucket_stays=100),
            cohort=Cohort(
                tasks=tuple(f"own_{of}={of}:{tmp_path}/labels.csv" for of in ("stay", "admission"))
            ),
        )
        run = replace(run, features=replace(run.features, frozen=frozen, min_filled=0.0))
        featurize(run)
        frozen = f"{run.out}/shards"
        publish(Folder(frozen) / "note_embeddings", Stamp({}, {}), [])
        shards = open_shards(run)
        tasks = ("own_stay", "own_admission", "mortality")
        read.append({task: all_read(shards, task, run) for task in tasks})
    known, other = read
    for task in ("own_stay", "own_admission"):
        assert len(known[task]["label"]) > 30
        for key in known[task]:  # a statistic that is hidden is NaN
            np.testing.assert_array_equal(known[task][key], other[task][key], key)
        assert known[task]["feature_ids"].any()
    for key in ("feature_ids", "counts"):
        assert not np.array_equal(known["mortality"][key], other["mortality"][key])


def all_read(shards: OpenShards, task: str, run: Run) -> dict[str, Any]:
    """Whatever a model gets of the training rows of a task."""
    part = read_task(shards, task, run.cohort, run.model)["train"]
    batch = part.batch(np.arange(len(part)))
    batch = {key: value.numpy() for key, value in batch.items()}
    return {**batch, "counts": counted(part.rows, shards.widths)}
