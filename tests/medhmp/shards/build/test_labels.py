"""Counts of several sources together, and what is said of a task that cannot be trained."""

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhmp.run import Splits
from medhmp.shards.build.labels import added, counts_of
from medhmp.shards.split import draw_of, split_of

STEPS = ("stays", "adult", "alive", "in the unit")


def test_equal_steps_add_up():
    assert added([[("stays", 9), ("adult", 7)], [("stays", 4), ("adult", 3)]]) == [
        ("stays", 13),
        ("adult", 10),
    ]


def test_a_source_without_a_step_counts_with_what_is_left_of_it():
    one = [("stays", 9), ("alive", 5), ("in the unit", 4)]
    other = [("stays", 8), ("adult", 7), ("alive", 6)]
    expected = [("stays", 17), ("adult", 9 + 7), ("alive", 11), ("in the unit", 4 + 6)]
    assert sorted(added([one, other])) == sorted(expected)
    assert added([one, other])[0] == ("stays", 17)
    assert added([one, other])[-1] == ("in the unit", 10)
    assert added([]) == []


@st.composite
def source(draw):
    """Some of the steps in their order, the first always, with counts that fall."""
    names = [STEPS[0], *(n for n in STEPS[1:] if draw(st.booleans()))]
    left = sorted(draw(st.lists(st.integers(0, 99), min_size=len(names), max_size=len(names))))
    return list(zip(names, reversed(left), strict=True))


@given(st.lists(source(), min_size=1, max_size=4))
def test_the_first_and_last_steps_are_sums_and_no_source_s_order_is_lost(sources):
    total = added(sources)
    assert total[0] == (STEPS[0], sum(of[0][1] for of in sources))
    assert total[-1][1] == sum(of[-1][1] for of in sources)
    names = [name for name, _ in total]
    assert set(names) == {name for of in sources for name, _ in of}
    for of in sources:
        places = [names.index(name) for name, _ in of]
        assert places == sorted(places)


def rows(n):
    columns = {"split": ["train"] * n, "label": [1] * n, "drawn": [None] * n}
    return pl.DataFrame(columns, schema_overrides=TYPES)


TYPES = {"split": pl.String, "label": pl.Int8, "drawn": pl.Float64}


@pytest.mark.parametrize(
    ("steps", "lacking", "said"),
    [
        ([[("stays", 70), ("adult", 0)]], "", "no rows: the step 'adult' left none of 70"),
        (
            [[("stays", 1700), ("adult", 9), ("alive", 0), ("in", 0)]],
            "",
            "'alive' left none of 9",
        ),
        ([[("stays", 0), ("adult", 0)]], "", "no rows: there are no stays"),
        ([[("stays", 2), ("adult", 0)], [("stays", 3), ("adult", 0)]], "", "left none of 5"),
        ([[("stays", 2), ("adult", 2)]], "", "'of patients in the shards' left none of 2"),
        (
            [[("stays", 2), ("adult", 0)]],
            "not available from b: x",
            "left none of 2; not available from b",
        ),
    ],
)
def test_a_table_without_rows_says_by_which_step(steps, lacking, said):
    counts = counts_of(steps, rows(0), lacking, Splits())
    assert said in counts.emptied == counts.without_rows
    assert not counts.unavailable


def test_a_task_that_no_source_can_have_says_so():
    counts = counts_of([], rows(0), "not available from b: x", Splits())
    assert (counts.unavailable, counts.emptied) == ("not available from b: x", "")
    assert counts.without_rows == counts.unavailable


@given(st.lists(source(), min_size=1, max_size=3), st.booleans())
def test_only_a_table_without_rows_says_so(sources, lost):
    left = 0 if lost else added(sources)[-1][1]
    counts = counts_of(sources, rows(left), "", Splits())
    assert bool(counts.without_rows) == (not left)
    assert counts.steps[-1][1] == left


def rows_of(labels, splits, brought=()):
    """Rows of patients 0, 1, ...; those ``brought`` have their split from the source."""
    ids = range(len(labels))
    hashed = split_of(ids, splits)
    drawn = draw_of(ids, splits.salt).tolist()
    return pl.DataFrame(
        {
            "label": labels,
            "split": ["train" if i in brought else hashed[i] for i in ids],
            "drawn": [None if i in brought else drawn[i] for i in ids],
        },
        schema={"label": pl.Int8, "split": pl.String, "drawn": pl.Float64},
    )


@pytest.mark.parametrize("positives", [4, 6, 9])
def test_a_split_without_a_class_gets_the_shares_that_would_give_it_one(positives):
    splits = Splits(train=0.9, validation=0.05, test=0.05)
    labels = [1] * positives + [0] * 30
    counts = counts_of([[("stays", 30 + positives)]], rows_of(labels, splits), "", splits)
    assert counts.lacking
    assert counts.hindrance.endswith(f"--splits.test {counts.shares[2]:g}")
    train, validation, test = counts.shares
    better = replace(splits, train=train, validation=validation, test=test)
    again = counts_of([[("stays", 30 + positives)]], rows_of(labels, better), "", better)
    assert (again.lacking, again.hindrance, again.shares) == ([], "", [])


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([], "no rows: the step 'adult' left none of 9"),
        ([0] * 9, "no row of 9 is positive, so there is nothing to tell apart"),
        ([1] * 9, "no row of 9 is negative, so there is nothing to tell apart"),
        ([1] + [0] * 40, "(1 of 41 rows are positive); give another --splits.salt, or more"),
    ],
)
def test_where_no_shares_help_none_are_named(labels, said):
    splits = Splits()
    steps = [[("stays", 9), ("adult", len(labels)), ("alive", len(labels))]]
    counts = counts_of(steps, rows_of(labels, splits), "", splits)
    assert said in counts.hindrance
    assert counts.shares == []


def test_a_source_s_own_splits_are_not_moved():
    splits = Splits()
    counts = counts_of([[("stays", 4)]], rows_of([0, 1, 0, 1], splits, range(4)), "", splits)
    assert (counts.shares, counts.rows) == ([], {"train": 4, "validation": 0, "test": 0})
    assert "validation has no row" in counts.hindrance
