"""Refusals of shards that would hold nothing to learn from."""

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from medhmp.features.codes import Vocabulary
from medhmp.features.events import SCHEMA
from medhmp.features.fiddle import fit
from medhmp.features.filled import Filled
from medhmp.refusal import Refusal
from medhmp.run import Splits
from medhmp.shards.build.bounds import (
    refuse_no_feature,
    refuse_no_training_stay,
    refuse_unfilled,
)
from medhmp.shards.build.buckets import EVENTS, Bucket
from medhmp.shards.build.index import Index
from medhmp.shards.featurizer import Featurizer
from medhmp.shards.split import draw_of, split_of
from medhmp.storage import Folder
from tests.fiddle import fiddle_settings

STAYS = 12


class Here:
    """Applies functions in this process, as the pool does in Ray's."""

    def each(self, function: Any, items: Any) -> Any:
        return (function(*item) for item in items)


def index_of(splits: Splits, brought: str | None = None, stays: int = STAYS) -> Index:
    """An index of one stay a patient, whose split the source may bring."""
    ids = range(stays)
    patients = pl.DataFrame(
        {
            "source": ["ward"] * stays,
            "subject_id": ids,
            "split": [brought] * stays if brought else split_of(ids, splits),
            "drawn": [None] * stays if brought else draw_of(ids, splits.salt),
            "bucket": [k % 2 for k in ids],
        },
        schema_overrides={"drawn": pl.Float64},
    )
    of_stays = patients.drop("drawn").with_columns(id=pl.int_range(pl.len()))
    return Index(patients, patients.clear(), of_stays, 2, {}, splits)


ALL = index_of(Splits(), "train")


def events_of(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    """Events (id, t, variable, number)."""
    return pl.DataFrame([(*row, None) for row in rows], schema=SCHEMA, orient="row")


def written(path: Any, rows: list[tuple[Any, ...]]) -> list[Bucket]:
    """Two buckets of these events (id, t, variable, number)."""
    events = events_of(rows).with_columns(repeats=pl.lit("apart"))
    buckets = []
    for number in (0, 1):
        bucket = Bucket(Folder(str(path)), number, ("events",))
        own = events.filter(pl.col("id") % 2 == number)
        bucket.write("events", own.to_arrow().cast(EVENTS))
        buckets.append(bucket)
    return buckets


def refused_fit(path: Any, rows: list[tuple[Any, ...]], **asked: Any) -> str:
    fitted = fit([(events_of(rows), range(STAYS))], fiddle_settings(hours=4, **asked))
    with pytest.raises(Refusal) as refusal:
        refuse_no_feature(fitted, ALL, written(path, rows), Here())
    return str(refusal.value)


def test_values_that_hold_for_the_stay_alone_leave_no_hourly_feature(tmp_path: Any) -> None:
    rows = [(i, None, name, float(i)) for i in range(STAYS) for name in ("age", "weight")]
    rows += [(0, 1.0, "age", 5.0)]  # one without a time is enough to make it hold always
    said = refused_fit(tmp_path, rows)
    assert said.startswith("no hourly feature is left of 12 training stays: none of their 2 varia")
    assert said.endswith("in hours 0 to 4; give readings with times, or a larger --cohort.hours")


def test_no_recording_at_all_leaves_no_hourly_feature(tmp_path: Any) -> None:
    assert "none of their 0 variables" in refused_fit(tmp_path, [])


def test_a_threshold_that_keeps_no_variable_is_named(tmp_path: Any) -> None:
    rows = [(i, 0.5, f"lab {i % 6}", float(i)) for i in range(STAYS)]
    said = refused_fit(tmp_path, rows, theta_1=0.4)
    assert "of 6 variables the commonest is in 2 stays" in said
    assert said.endswith("features.theta_1 0.4; lower --features.theta_1")


def test_a_threshold_that_keeps_no_feature_is_named(tmp_path: Any) -> None:
    rows = [(i, 0.5, "lab", float(i)) for i in range(STAYS)]
    said = refused_fit(tmp_path, rows, theta_2=0.45)
    assert "of 5 features of 1 variables none" in said
    assert said.endswith("lower --features.theta_2")


def test_features_are_not_refused(tmp_path: Any) -> None:
    rows = [(i, 0.5, "lab", float(i)) for i in range(STAYS)]
    fitted = fit([(events_of(rows), range(STAYS))], fiddle_settings(hours=4))
    refuse_no_feature(fitted, ALL, [], Here())


def test_no_training_stay_is_refused_with_shares_that_do() -> None:
    few = Splits(train=0.01, validation=0.01, test=0.98)
    index = index_of(few)
    assert "train" not in index.stays["split"]
    with pytest.raises(Refusal, match=r"--splits.salt, or --splits.train 0\.\d+$") as refusal:
        refuse_no_training_stay(index)
    share = float(str(refusal.value).rpartition(" ")[2])
    rest = (1 - share) / 2
    assert "train" in split_of(range(STAYS), Splits(train=share, validation=rest, test=rest))
    with pytest.raises(Refusal, match=r"--splits.salt, or more patients"):
        refuse_no_training_stay(index_of(few, stays=2))
    with pytest.raises(Refusal, match=r"none of 12 stays .* the source itself has the splits"):
        refuse_no_training_stay(index_of(few, "test"))
    with pytest.raises(Refusal, match="there is no ICU stay"):
        refuse_no_training_stay(index_of(few, stays=0))
    refuse_no_training_stay(ALL)


def frozen() -> Featurizer:
    rows = [
        (i, k + 0.5, name, float(i + k))
        for i in range(STAYS)
        for name, count in (("220045", 4), ("50912", 1), ("rhythm: Mr Roe", 3))
        for k in range(count)
    ]
    fitted = fit([(events_of(rows), range(STAYS))], fiddle_settings(hours=4, theta_freq=0.5))
    none = Vocabulary(())
    return Featurizer(["rhythm"], fitted, {"diagnosis": none, "drug": none}, {})


def test_columns_of_other_names_are_refused_with_names_of_both_sides(tmp_path: Any) -> None:
    rows = [(i, 0.5, f"LAB//{k}", 1.0) for i in range(STAYS) for k in range(7) if i >= k]
    found = {"ward": Filled(STAYS, 5)}
    with pytest.raises(Refusal) as refusal:
        refuse_unfilled(0.5, found, frozen(), ALL, written(tmp_path, rows), Here())
    said = str(refusal.value)
    assert said.startswith("only 5 of 12 stays of ward have any of the ")
    assert "its variables are '220045', '50912', those of ward 'LAB//0', 'LAB//1'" in said
    assert "LAB//4" in said
    assert "LAB//5" not in said  # five of each side
    assert "Roe" not in said  # the text of a cell


def test_the_bound_is_a_share_of_each_source_s_stays() -> None:
    for least, of in ((0.5, Filled(12, 6)), (0.0, Filled(12, 0)), (1.0, Filled(0, 0))):
        refuse_unfilled(least, {"ward": of}, frozen(), ALL, [], Here())
    both = {"ward": Filled(12, 12), "other": Filled(2, 0)}
    other = replace(ALL, stays=ALL.stays.with_columns(source=pl.lit("other")))
    empty = [Bucket(Folder("memory"), 0), Bucket(Folder("memory"), 1)]
    with pytest.raises(Refusal, match=r"only 0 of 2 stays of other .* those of other none;"):
        refuse_unfilled(0.1, both, frozen(), other, empty, Here())
