"""Buckets, the frozen featurizer, refusals, and what FIDDLE itself cannot do."""

import json
import runpy
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.features.events import SCHEMA
from medhmp.features.fiddle import fit, transform
from medhmp.features.fitted import FittedFeatures
from medhmp.features.settings import Settings, settings_of
from medhmp.icd import icd9_path
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from tests.fiddle import fiddle_settings

GOLDEN = Path(__file__).parents[2] / "golden" / "fiddle"
ASKED = fiddle_settings(hours=4, theta_freq=0.75, value_types={"WARD": "Categorical"})
Base = tuple[pl.DataFrame, list[int]]
ReadEvents = Callable[[Path, Mapping[str, str]], pl.DataFrame]


def table(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Events from (id, t, variable, value)."""
    split = [
        (*r[:3], None if isinstance(r[3], str) else r[3], r[3] if isinstance(r[3], str) else None)
        for r in rows
    ]
    return pl.DataFrame(split, schema=SCHEMA, orient="row")


@pytest.fixture(scope="session")
def base(read_events: ReadEvents) -> Base:
    events = read_events(GOLDEN / "base" / "data.csv", ASKED.value_types)
    return events, pl.read_csv(GOLDEN / "base" / "pop.csv")["ID"].to_list()


@settings(max_examples=15, deadline=None)
@given(st.permutations([101, 102, 103, 104, 105]), st.sets(st.integers(1, 4)), st.booleans())
def test_buckets_do_not_change_the_fit(
    base: Base, order: list[int], cuts: set[int], discretize: bool
) -> None:
    events, ids = base
    asked = replace(ASKED, discretize=discretize)
    bounds = [0, *sorted(cuts), 5]
    parts = [order[a:b] for a, b in pairwise(bounds)]
    buckets = [(events.filter(pl.col("id").is_in(part)), part) for part in parts]
    assert fit(buckets, asked) == fit([(events, ids)], asked)


def test_rows_of_a_transform_do_not_depend_on_the_other_ids(base: Base) -> None:
    events, ids = base
    fitted = fit([(events, ids)], ASKED)
    whole = transform(events, ids, fitted)
    for place, one in enumerate(sorted(ids)):
        alone = transform(events, [one], fitted)
        part = slice(whole.offsets[place], whole.offsets[place + 1])
        assert alone.ids.tolist() == [one]
        assert alone.feature_ids.tolist() == whole.feature_ids[part].tolist()
        assert alone.hour_offsets.tolist() == [whole.hour_offsets[place].tolist()]


def test_a_driver_can_open_the_buckets_itself(base: Base) -> None:
    events, ids = base
    opened = []

    def each(function: Any, handles: Sequence[int]) -> Iterable[Any]:
        for handle in handles:
            opened.append(handle)
            yield function(events.filter(pl.col("id") == handle), [handle])

    assert fit(ids, ASKED, each=each) == fit([(events, ids)], ASKED)
    assert opened == ids * 4


@pytest.mark.parametrize("discretize", [True, False])
@pytest.mark.parametrize("ordinal", [True, False])
def test_json_gives_an_equal_featurizer_back(base: Base, discretize: bool, ordinal: bool) -> None:
    events, ids = base
    fitted = fit([(events, ids)], replace(ASKED, discretize=discretize, ordinal=ordinal))
    assert FittedFeatures.from_json(fitted.to_json()) == fitted


def test_a_frozen_featurizer_ignores_what_it_has_not_seen(base: Base) -> None:
    events, ids = base
    fitted = fit([(events, ids)], ASKED)
    strange = table(
        (7, 0.5, "NEW", 1.0),
        (7, 0.5, "GCS", "Unseen"),
        (7, 0.5, "GCS", "Other"),
        (7, 0.6, "TEMP", 99.0),
        (7, None, "SEX", "X"),
        (7, None, "TEMP", 36.5),
        (7, 1.5, "VENT", "broken"),
        (7, 2.5, "HR", "pending"),
    )
    made = transform(strange, [8, 7], fitted)
    empty = transform(strange.clear(), [7, 8], fitted)
    assert made.ids.tolist() == [7, 8]
    assert made.feature_ids.tolist() == empty.feature_ids.tolist()
    assert len(made.static_ids) == 0
    never_measured = fitted.hourly.names.index("HR_delta_time_(-0.001, 0.2]")
    assert made.feature_ids.tolist() == [never_measured] * 8


def test_all_hourly_variables_may_be_frequent() -> None:
    events = table(*((i, k + 0.5, "HR", 60.0 + 10 * i + k) for i in range(3) for k in range(4)))
    fitted = fit([(events, range(3))], ASKED)
    assert fitted.plan.frequent == ("HR",)
    assert fitted.plan.hourly == ()
    assert fitted.hourly.names[0] == "HR_value_(59.999, 62.2]"
    assert len(transform(events, range(3), fitted).feature_ids) > 0


def test_readings_are_carried_forward_and_the_mean_is_over_readings() -> None:
    events = table((1, 0.2, "HR", 80.0), (1, 0.9, "HR", 90.0), (1, 2.0, "HR", 60.0))
    asked = fiddle_settings(hours=4, theta_freq=0.25, discretize=False, theta_2=0.0)
    fitted = fit([(events, [1])], asked)
    whole = replace(
        fitted, hourly=replace(fitted.hourly, kept=tuple(range(len(fitted.hourly.names_all))))
    )
    made = transform(events, [1], whole)
    assert made.values is not None
    cells = np.zeros((4, len(whole.hourly.names)))
    hour = np.repeat(np.arange(4), np.diff(made.hour_offsets[0].astype(int)))
    cells[hour, made.feature_ids] = made.values
    assert whole.hourly.names == (
        "HR_mask",
        "HR_delta_time",
        "HR_value",
        "HR_min",
        "HR_max",
        "HR_mean",
    )
    assert cells.tolist() == [
        [1, 0, 90, 80, 90, 85],
        [0, 1, 90, 90, 90, 90],
        [1, 0, 60, 60, 60, 60],
        [0, 1, 60, 60, 60, 60],
    ]


def test_thresholds_are_strict() -> None:
    events = table(
        *((i, k + 0.5, "ON", "a") for i in range(4) for k in range(4) if i != 3 or k),
        *((i, 0.5, "TWO", "b") for i in range(2)),
        (0, 1.5, "ONE", "c"),
    )
    kept_all = fit([(events, range(4))], fiddle_settings(hours=4, theta_1=0.0, theta_2=0.0))
    assert kept_all.hourly.names == ("ON_value_a", "ONE_value_c", "TWO_value_b")
    by_variable = fit([(events, range(4))], fiddle_settings(hours=4, theta_1=0.25, theta_2=0.0))
    assert by_variable.hourly.names == ("ON_value_a", "TWO_value_b")
    by_feature = fit([(events, range(4))], fiddle_settings(hours=4, theta_1=0.0, theta_2=0.25))
    assert by_feature.hourly.names == ("TWO_value_b",)
    static = events.with_columns(t=pl.lit(None, dtype=pl.Float64)).unique()
    at_border = fiddle_settings(hours=4, theta_1=0.0, theta_2=0.0, theta_2_static=0.25)
    assert fit([(static, range(4))], at_border).static.names == ("TWO_value_b",)


def test_a_hierarchical_value_is_always_an_indicator() -> None:
    events = table((1, None, "DX", "4280"), (2, None, "DX", "03842"), (2, None, "DX", "0389"))
    asked = fiddle_settings(
        hours=4, value_types={"DX": "hierarchical_ICD9"}, hierarchical_levels=(2, 3, 9)
    )
    fitted = fit([(events, [1, 2, 3])], asked)
    assert fitted.static.names_all == (
        "DX:038_value_1",
        "DX:038.4_value_1",
        "DX:038.42_value_1",
        "DX:038.9_value_1",
        "DX:428_value_1",
        "DX:428.0_value_1",
    )


@pytest.mark.parametrize(
    ("code", "path"),
    [
        ("4280", ["390-459", "420-429", "428", "428.0"]),
        ("V4501", ["V01-V91", "V40-V49", "V45", "V45.0", "V45.01"]),
        ("none", []),
    ],
)
def test_icd9_paths_lead_from_the_chapter_to_the_code(code: str, path: list[str]) -> None:
    assert icd9_path(code) == path


def refused(events: pl.DataFrame, match: str, asked: Settings = ASKED, **more: Any) -> None:
    with pytest.raises(Refusal, match=match) as refusal:
        fit([(events, [90217])], asked, **more)
    assert "90217" not in str(refusal.value)


def test_what_cannot_be_featurized_is_refused_without_naming_the_patient() -> None:
    code = fiddle_settings(hours=4, value_types={"DX": "hierarchical_ICD9"})
    other = fiddle_settings(hours=4, value_types={"DX": "hierarchical_ICD10"})
    number, again = (90217, 1.0, "HR", 5.0), (90217, 1.0, "HR", "high")
    refused(table(number, again), "Inconsistent numerical values recorded")
    refused(table((90217, 1.0, "HR", np.inf)), "a number that is not finite")
    refused(table((90217, 1.0, "DX", "none")), "no ICD-9-CM codes are in variable 'DX'", code)
    refused(table((90217, 1.0, "DX", "I50")), "'hierarchical_ICD10'; give", other)
    refused(table(number), "no column 'HR_value'", hourly_edges={"TEMP_value": [1, 2]})
    for buckets in ([], [(table(), [])]):
        with pytest.raises(Refusal, match="no id to fit"):
            fit(buckets, ASKED)


def test_a_run_gives_the_settings() -> None:
    run = smoke()
    asked = settings_of(run.cohort.hours, run.features)
    assert (asked.hours, asked.bins) == (run.cohort.hours, run.cohort.hours)
    assert asked.theta_1 == run.features.theta_1
    assert asked.static_threshold == run.features.theta_2_static
    assert asked.value_types["ICD9_CODE"] == "hierarchical_ICD9"
    assert replace(asked, theta_2_static=None).static_threshold == asked.theta_2


def test_a_thousand_ids_give_the_shapes_that_fiddle_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_events: ReadEvents
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_bench_input.py", "--out", str(tmp_path)])
    runpy.run_path(str(GOLDEN / "make_bench_input.py"), run_name="__main__")
    events = read_events(tmp_path / "data.csv", {})
    ids = pl.read_csv(tmp_path / "pop.csv")["ID"].to_numpy()
    buckets = [(events.filter(pl.col("id") % 2 == k), ids[ids % 2 == k]) for k in (0, 1)]
    fitted = fit(buckets, fiddle_settings(hours=48))
    made = transform(events, ids, fitted)
    every = tuple(range(len(fitted.hourly.names_all)))
    whole = transform(events, ids, replace(fitted, hourly=replace(fitted.hourly, kept=every)))
    assert len(whole.feature_ids) == 2_948_636
    assert (len(fitted.static.names), len(made.static_ids)) == (65, 8_000)
    assert (len(fitted.hourly.names_all), len(fitted.hourly.names)) == (487, 477)
    assert len(made.feature_ids) == 2_903_625


TEXTS = st.sampled_from(["AF", "SR", "typed once", "[x] 555", "5", "n/a"])
READING = st.tuples(
    st.integers(0, 9),
    st.sampled_from([None, 0.0, 1.0, 1.0, 2.5]),
    st.sampled_from(["RHYTHM", "HR", "WARD"]),
    st.one_of(TEXTS, st.sampled_from([60.0, 61.5, 70.0, 88.0])),
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(READING, min_size=1, max_size=60, unique_by=lambda r: r[:3]),
    st.lists(READING, max_size=30, unique_by=lambda r: r[:3]),
    st.lists(st.tuples(st.integers(0, 9), TEXTS), max_size=20, unique=True),
    st.sampled_from([(True, False), (True, True), (False, False)]),
)
def test_what_is_published_transforms_alike_without_rare_values(
    rows: list[Any], others: list[Any], several: list[Any], how: tuple[bool, bool]
) -> None:
    more = [(id, 3.0, "DRUG", text) for id, text in several]
    asked = fiddle_settings(
        hours=4, theta_1=0.0, theta_2=0.25, theta_freq=0.3, discretize=how[0], ordinal=how[1]
    )
    fitted = fit([(table(*rows, *more), range(10))], asked)
    shared = fitted.published()
    assert (shared.static.names, shared.hourly.names) == (fitted.static.names, fitted.hourly.names)
    assert shared.published() == shared == FittedFeatures.from_json(shared.to_json())
    for events in (table(*rows, *more), table(*others), table(*others, *more)):
        # What is counted differs: a rare value is of no category that is published.
        one, other = (
            asdict(replace(transform(events, range(12), f), recorded=None))
            for f in (fitted, shared)
        )
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name], name)
    named = "\n".join((*fitted.static.names, *fitted.hourly.names))
    aliases = json.dumps((fitted.static.aliases, fitted.hourly.aliases))
    for text in ("typed once", "[x] 555"):
        assert text in named + aliases or text not in shared.to_json()
