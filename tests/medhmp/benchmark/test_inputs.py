"""Inputs of measurements: FIDDLE's timing input as described, and tables as dense as asked."""

import io
from pathlib import Path

import polars as pl
import pytest

from medhmp.benchmark import inputs
from medhmp.run import Run
from medhmp.storage import Folder
from medhmp.tables import fiddle
from medhmp.tables.mimic import mimic3

IDS = 60


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    monkeypatch.setattr(inputs, "IDS", 25)  # blocks, the last one shorter
    inputs.write_fiddle(Folder(str(tmp_path)), IDS)
    return pl.read_csv(tmp_path / "data.csv", schema_overrides={"variable_value": pl.String})


def test_fiddles_timing_input_is_as_described(rows: pl.DataFrame) -> None:
    assert rows.columns == ["ID", "t", "variable_name", "variable_value"]
    assert rows["ID"].is_sorted()
    assert rows["ID"].n_unique() == IDS
    assert not rows.select(pl.struct("ID", "t", "variable_name").is_duplicated().any()).item()
    assert 780 < rows.height / IDS < 860
    timed = rows.drop_nulls("t")
    assert timed["t"].min() >= 0
    assert timed["t"].max() < inputs.HOURS
    static = rows.filter(pl.col("t").is_null())["variable_name"].value_counts()
    assert sorted(static["count"]) == 8 * [IDS]
    kinds = timed.select(pl.col("variable_name").unique()).to_series().str.split("_").list[0]
    assert dict(kinds.value_counts().iter_rows()) == {
        "VITAL": 10,
        "LAB": 30,
        "MIX": 5,
        "CAT": 10,
        "RATE": 5,
    }
    per_id = {
        kind: timed.filter(pl.col("variable_name").str.starts_with(kind)).height / IDS
        for kind in ("VITAL", "LAB", "MIX", "CAT")
    }
    assert per_id == pytest.approx({"VITAL": 552, "LAB": 91, "MIX": 30, "CAT": 120}, rel=0.12)
    mixed = timed.filter(pl.col("variable_name").str.starts_with("MIX"))["variable_value"]
    assert (mixed == "<1").mean() == pytest.approx(0.2, abs=0.05)


def test_the_reader_takes_every_row_of_it(rows: pl.DataFrame, tmp_path: Path) -> None:
    source = fiddle.read("fiddle", str(tmp_path), Run(quiet=True))
    events = pl.concat([pl.from_arrow(batch) for batch in source.events()])
    assert events.height == rows.height
    assert source.stays.height == IDS
    assert set(events.filter(pl.col("text") == "<1")["variable"].str.slice(0, 3)) == {"MIX"}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        inputs.write_fiddle(Folder(str(tmp_path / name)), 3)
    assert (tmp_path / "a" / "data.csv").read_bytes() == (tmp_path / "b" / "data.csv").read_bytes()


def test_tables_have_the_stays_asked_for_and_facts_are_those_of_a_slow_count(
    tmp_path: Path,
) -> None:
    folder = Folder(str(tmp_path))
    inputs.write_mimic3(folder, 25, 1.5)
    names = ("ICUSTAYS", *inputs.TIMES)
    tables = {
        name: pl.read_csv(tmp_path / f"{name}.csv.gz", infer_schema_length=None) for name in names
    }
    stays = tables["ICUSTAYS"].with_columns(pl.col("INTIME").str.to_datetime())
    last = stays["SUBJECT_ID"].max()
    assert stays.height >= 25 > stays.filter(pl.col("SUBJECT_ID") < last).height
    assert mimic3.read("mimic3", str(tmp_path), Run(quiet=True)).stays.height == stays.height
    begins = {hadm: own["INTIME"].to_list() for (hadm,), own in stays.group_by("HADM_ID")}
    inside, items = 0, set()
    for name, time in inputs.TIMES.items():
        table = tables[name].with_columns(pl.col(time.upper()).str.to_datetime())
        for hadm, item, at in table.select("HADM_ID", "ITEMID", time.upper()).iter_rows():
            hours = [(at - begin).total_seconds() / 3600 for begin in begins.get(hadm, [])]
            inside += any(0 <= h < inputs.HOURS for h in hours)
            items.add(item)
    rows = sum(tables[name].height for name in inputs.TIMES)
    assert inputs.facts(folder) == inputs.Facts(rows, len(items), inside / rows)


def test_the_tables_are_compressed_as_physionets(tmp_path: Path) -> None:
    inputs.write_mimic3(Folder(str(tmp_path)), 2, 1.0)
    with (tmp_path / "CHARTEVENTS.csv.gz").open("rb") as file:
        header = io.BytesIO(file.read(10)).getvalue()
    assert header[8] == 0  # 4: written for speed, as at level 1
