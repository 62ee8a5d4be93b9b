"""The paper's figures and cohort sizes against its text, and our counts beside them."""

from dataclasses import replace
from pathlib import Path

import pytest

from medhmp.legend import LEVELS, Task
from medhmp.model.catalog import MODELS
from medhmp.report.names import START_COLORS
from medhmp.report.paper import (
    EICU,
    MIMIC3,
    PRETRAINED_ON,
    RAW_ROWS,
    TABLE_8,
    TABLE_8_TRINETX,
    TRINETX,
    WITHOUT,
    Figures,
    beside_the_paper,
    database_of,
    published,
)
from medhmp.shards.manifest import TaskCounts
from tests.manifests import manifest

PAPER = Path(__file__).parents[4] / "shared" / "specs" / "paper.txt"
TABLES = (MIMIC3, EICU, TRINETX)
KEYS = [key for figures in TABLES for key in figures]


def test_figures_are_fractions_with_the_number_of_their_table() -> None:
    assert published("readmission", "medhmp", "both", "mimic3") == {
        "table": 5,
        "data": "MIMIC-III",
        "auroc": 0.6777,
        "aupr": 0.0934,
    }
    assert published("heart_failure", "medhmp", "none", "mimic3") == {
        "table": 4,
        "data": "MIMIC-III",
        "aupr": 0.5783,
        "f1": 0.567,
        "kappa": 0.3303,
    }
    assert published("arf", "medhmp", "admission", "mimic3") is None


def test_matched_heart_failure_stands_beside_trinetx_s() -> None:
    ours, matched = (
        published("heart_failure", "medhmp", "both", "mimic3", matched) for matched in (False, True)
    )
    assert (ours["aupr"], ours["data"]) == (0.5783, "MIMIC-III")
    assert (matched["aupr"], matched["data"]) == (0.5016, "TriNetX")
    for start in ("none", "admission", "both"):
        own = published("copd", "medhmp", start, "mimic3")
        assert own["data"] == "TriNetX"
        assert published("copd", "medhmp", start, "mimic3", matched=True) == own


def test_figures_stand_beside_the_same_database_alone() -> None:
    """Table 11 beside eICU; nothing beside synthetic patients, the Challenge 2012 or several."""
    beside = published("mortality", "medhmp", "both", "eicu")
    assert beside == {"table": 11, "data": "eICU", "auroc": 0.8443, "aupr": 0.49}
    assert published("shock", "medhmp", "both", "eicu") is None
    assert published("copd", "medhmp", "both", "eicu") is None
    assert published("mortality", "medhmp", "both", None) is None
    for names, labelled, expected in (
        (("mimic3",), (), "mimic3"),
        (("eicu",), (), "eicu"),
        (("synthetic",), (), None),
        (("physionet2012",), (), None),
        (("mimic3", "mimic4"), (), None),
        (("mimic3", "mimic4"), ("mimic3",), "mimic3"),
        (("mimic3", "mimic4"), ("mimic4",), None),
    ):
        sources = {name: {"stays": 1} for name in names}
        fields = {"cohort.label_sources": list(labelled)}
        assert database_of(manifest(counts=sources, fields=fields)) == expected


def test_keys_are_rows_that_a_report_can_have() -> None:
    assert all(
        task in LEVELS and model in MODELS and start in START_COLORS for task, model, start in KEYS
    )
    baselines = {start for _, model, start in KEYS if not MODELS[model].takes_starts}
    assert baselines == {"none"}


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text (../shared) is not here")
@pytest.mark.parametrize("figures", TABLES, ids=["mimic3", "eicu", "trinetx"])
@pytest.mark.parametrize("key", dict.fromkeys(KEYS))
def test_figures_stand_together_in_a_row_of_the_paper(
    key: tuple[Task, str, str], figures: Figures
) -> None:
    if key not in figures:
        return
    table, percents = figures[key]
    text = PAPER.read_text()
    before = text[: text.index(f"\nTable {table}:")]
    assert_in_a_row(before, name_in_paper(key, table), percents)


def assert_in_a_row(before: str, name: str, percents: tuple[float, ...]) -> None:
    figures = " ".join(f"{p:.2f}" for p in percents)
    rows = [line for line in before.splitlines()[-25:] if line.split()[:1] == [name]]
    assert sum(figures in row for row in rows) == 1


def name_in_paper(key: tuple[Task, str, str], table: int) -> str:
    """The first word of a model's row."""
    _, model, start = key
    if model in ("medhmp", "medhmp_notes"):
        name = "LSTM" if table == 4 else "MEDHMP"
    else:
        name = MODELS[model].title
    marks = {"both": "a+s", "admission": "a", "stay": "s", "none": ""}
    if table == 3:
        marks["both"] = "a"
    return name + ("" if table in (10, 11) else marks[start])  # which have no other start


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text (../shared) is not here")
@pytest.mark.parametrize("key", WITHOUT)
def test_table_7_stands_in_the_paper(key: tuple[Task, str]) -> None:
    text = PAPER.read_text()
    name = {"no_contrast": "MEDHMPMCP+s", "no_codes": "MEDHMPCL+s"}[key[1]]
    assert_in_a_row(text[: text.index("\nTable 7:")], name, WITHOUT[key])


def counts(rows: int, positive: int) -> TaskCounts:
    """Of three splits."""
    splits = {"train": rows - 2, "validation": 1, "test": 1}
    return TaskCounts([], splits, {"train": positive - 1, "validation": 1, "test": 0})


WHOLE = manifest(
    fields={"cohort.matched": ["copd"]},
    rows_read={"my_tables": {**RAW_ROWS, "PATIENTS": 46_520}},
    tasks={task: counts(*size) for task, size in TABLE_8.items()} | {"copd": counts(9, 3)},
)


def test_equal_counts_are_said_to_be_equal_whatever_the_source_is_called() -> None:
    lines = beside_the_paper(WHOLE)
    assert len(lines) == len(TABLE_8)
    assert lines[0] == "arf: 5,038 rows (402 positive), as in the paper's Table 8"


def test_others_say_by_how_much_they_are_off() -> None:
    tasks = {**WHOLE.tasks, "arf": counts(5_040, 400), "readmission": counts(30_000, 1_500)}
    lines = beside_the_paper(replace(WHOLE, tasks=tasks))
    assert lines[0] == (
        "arf: 5,040 rows (400 positive); the paper's Table 8 has 5,038 (402): +2 (-2)"
    )
    assert lines[3].endswith("Table 8 has 33,179 (1,444): -3,179 (+56)")


@pytest.mark.parametrize("table", RAW_ROWS)
def test_other_tables_are_not_mimic3_whatever_they_are_called(table: str) -> None:
    rows = {**RAW_ROWS, table: RAW_ROWS[table] - 1}
    assert beside_the_paper(replace(WHOLE, rows_read={"mimic3": rows})) == []
    del rows[table]
    assert beside_the_paper(replace(WHOLE, rows_read={"mimic3": rows})) == []


def test_two_sources_and_matched_heart_failure_are_not_the_paper_s_cohort() -> None:
    assert beside_the_paper(replace(WHOLE, rows_read={"a": RAW_ROWS, "b": RAW_ROWS})) == []
    matched = replace(WHOLE, fields={"cohort.matched": ["heart_failure"]})
    assert [line.split(":")[0] for line in beside_the_paper(matched)] == list(TABLE_8)[:4]


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text (../shared) is not here")
@pytest.mark.parametrize("sizes", [TABLE_8, TABLE_8_TRINETX])
def test_sizes_are_those_of_the_paper(sizes: dict[Task, tuple[int, int]]) -> None:
    text = PAPER.read_text()
    for rows, positive in sizes.values():
        assert f" {rows:,} {positive:,} {rows - positive:,}" in text
    assert all(f"{rows:,}" in text for rows in PRETRAINED_ON.values())
