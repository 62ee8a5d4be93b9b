"""Reading predictions back, and what is refused."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medhmp.evaluate import predictions
from medhmp.evaluate.predictions import GridKey
from medhmp.layout import PREDICTION_COLUMNS, grid_of
from medhmp.refusal import Refusal
from medhmp.storage import Folder, Output, Stamp, opened, publish


def frame() -> pl.DataFrame:
    """Two seeds, three rows of each split, in no order; patient 1 has two of the test rows."""
    rows = [
        (subject, row, split, seed, label, (row % 7 + seed) / 10)
        for seed in (1, 0)
        for split, subject, row, label in (
            ("test", 1, 12, 1),
            ("test", 1, 11, 0),
            ("validation", 3, 31, 1),
            ("test", 2, 10, 0),
            ("validation", 4, 30, 0),
            ("validation", 5, 32, 0),
        )
    ]
    return pl.DataFrame(rows, schema=PREDICTION_COLUMNS.names, orient="row")


BEST = {"batch_size": 16, "mean_val_loss": 0.4, "mean_base_loss": 0.5}
KEY: GridKey = ("arf", "medhmp", "both")


def write(root: Path, table: pl.DataFrame, start: str = "both", rate: float = 1e-3) -> Output:
    folder = Folder(str(root)) / grid_of("arf", "medhmp", start)
    rates = pl.DataFrame({"lr": [1e-4, 1e-3, 1e-2, 1e-3]})
    entries = [
        folder.write_parquet("predictions.parquet", table.to_arrow().cast(PREDICTION_COLUMNS)),
        folder.write_parquet("trials.parquet", rates.to_arrow()),
        folder.write_json("best.json", BEST | {"learning_rate": rate}),
    ]
    publish(folder, Stamp({}, {"shards": "aa"}), entries)
    return opened(folder, "tune")


def test_rows_are_in_order_of_row_id_for_every_seed(tmp_path: Path) -> None:
    read = predictions.read(KEY, write(tmp_path, frame()))
    assert read.seeds == [0, 1]
    assert (read.validation_loss, read.base_rate_loss) == (0.4, 0.5)
    assert read.test.row.tolist() == [10, 11, 12]
    assert read.test.subject.tolist() == [2, 1, 1]
    assert read.test.label.tolist() == [0, 0, 1]
    assert read.test.scores == pytest.approx(np.array([[0.3, 0.4, 0.5], [0.4, 0.5, 0.6]]))
    assert read.test.average == pytest.approx([0.35, 0.45, 0.55])
    assert read.validation.row.tolist() == [30, 31, 32]


@pytest.mark.parametrize(("rate", "edge"), [(1e-4, True), (1e-3, False), (1e-2, True)])
def test_chosen_cell_knows_the_edge_of_its_grid(tmp_path: Path, rate: float, edge: bool) -> None:
    chosen = predictions.read(KEY, write(tmp_path, frame(), rate=rate)).chosen
    assert chosen == {
        "batch_size": 16,
        "learning_rate": rate,
        "rates": [1e-4, 1e-3, 1e-2],
        "at_edge": edge,
    }


def test_a_model_without_a_rate_has_no_chosen_cell(tmp_path: Path) -> None:
    assert predictions.read(KEY, write(tmp_path, frame(), rate=0.0)).chosen is None


def test_grids_are_in_the_order_of_the_legend_and_the_catalog() -> None:
    names = [
        "tune/mortality/f_lstm/none/predictions.parquet",
        "tune/mortality/medhmp/both/predictions.parquet",
        "tune/mortality/medhmp/none/predictions.parquet",
        "tune/arf/medhmp/both/predictions.parquet",
        "tune/arf/medhmp/none/complete.json",
        "tune/arf/f_lstm/none/trials/default-seed-0.json",  # of a grid that has not ended
        "finetune/arf/medhmp/none/seed-0/predictions.parquet",
        "tune/shock/medhmp/none/predictions.parquet",  # of an earlier run
        "tune/shock/skipped.json",
    ]
    assert predictions.find_grids(names) == [
        ("arf", "medhmp", "none"),  # whose predictions are gone: who opens it refuses it
        ("arf", "medhmp", "both"),
        ("mortality", "medhmp", "none"),
        ("mortality", "medhmp", "both"),
        ("mortality", "f_lstm", "none"),
    ]
    assert predictions.find_skipped(names) == ["shock"]


first = pl.int_range(pl.len()) == 0
FAULTS = {
    "a row that one seed lacks": (frame().slice(1), "same rows for every replicate"),
    "one class only": (
        frame().with_columns(label=pl.when(pl.col("split") == "test").then(0).otherwise("label")),
        "1 classes",
    ),
    "no validation rows": (frame().filter(pl.col("split") == "test"), "0 validation rows"),
    "rows that differ by seed": (
        frame().with_columns(row_id=pl.when(first).then(13).otherwise("row_id")),
        "test rows that differ by replicate",
    ),
    "labels that differ by seed": (
        frame().with_columns(label=pl.when(first).then(0).otherwise("label")),
        "test rows that differ by replicate",
    ),
    "a score above 1": (
        frame().with_columns(score=pl.when(first).then(1.5).otherwise("score")),
        "not a probability",
    ),
    "a score that is not a number": (
        frame().with_columns(score=pl.when(first).then(float("nan")).otherwise("score")),
        "not a probability",
    ),
    "a patient in two splits": (
        frame().with_columns(subject_id=pl.col("subject_id").replace(3, 1)),
        "1 patients are in more than one split",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused(tmp_path: Path, fault: str) -> None:
    table, message = FAULTS[fault]
    with pytest.raises(Refusal, match=message):
        predictions.read(KEY, write(tmp_path, table))


def test_starts_scored_on_other_rows_are_refused(tmp_path: Path) -> None:
    write(tmp_path, frame(), "none")
    write(tmp_path, frame().with_columns(pl.col("row_id").replace(12, 19)), "both")
    out = Folder(str(tmp_path))
    keys = predictions.find_grids(out.names())
    with pytest.raises(Refusal, match="scored on different test rows"):
        predictions.read_all(predictions.open_grids(out, keys, "aa", {}, {}))
