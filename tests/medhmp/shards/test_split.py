"""Who lands where, and in which order."""

from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.legend import SPLITS
from medhmp.refusal import Refusal
from medhmp.run import Splits
from medhmp.shards.split import (
    assert_disjoint,
    bucket_of,
    draw_of,
    nearest_shares,
    order_key,
    split_of,
)

IDS = range(10_000, 30_000)


def test_shares_are_met_and_depend_on_the_salt():
    splits = Splits(train=0.6, validation=0.1, test=0.3)
    where = split_of(IDS, splits)
    for name, share in zip(SPLITS, (0.6, 0.1, 0.3), strict=True):
        assert where.count(name) / len(IDS) == pytest.approx(share, abs=0.015)
    assert where == split_of(IDS, splits)
    assert where != split_of(IDS, Splits(salt="other", train=0.6, validation=0.1, test=0.3))


def test_a_patient_keeps_its_split_whoever_else_is_there():
    splits = Splits()
    whole = dict(zip(IDS, split_of(IDS, splits), strict=True))
    some = [29_999, 10_000, 12_345]
    assert split_of(some, splits) == [whole[i] for i in some]


@given(folds=st.integers(2, 9), salt=st.text(max_size=3))
@settings(max_examples=20, deadline=None)
def test_folds_are_a_partition_that_knows_no_other_patient(folds, salt):
    ids = range(1000)
    shares = Splits(salt=salt, train=0.72, validation=0.08, test=0.2, folds=folds)
    each = [split_of(ids, replace(shares, fold=fold)) for fold in range(folds)]
    held = np.array([[split == "test" for split in of] for of in each])
    assert (held.sum(axis=0) == 1).all()
    np.testing.assert_allclose(held.mean(axis=1), 1 / folds, atol=0.08)
    some = [5, 999, 17]
    assert split_of(some, replace(shares, fold=1)) == [each[1][i] for i in some]
    rest = each[0].count("train") / (each[0].count("train") + each[0].count("validation"))
    assert rest == pytest.approx(0.9, abs=0.06)


def test_growing_the_training_share_moves_nobody_out_of_it():
    small = split_of(IDS, Splits(train=0.5, validation=0.2, test=0.3))
    large = split_of(IDS, Splits(train=0.6, validation=0.1, test=0.3))
    assert all(b == "train" for a, b in zip(small, large, strict=True) if a == "train")
    assert [a == "test" for a in small] == [b == "test" for b in large]


def test_order_and_split_are_unrelated():
    order = np.argsort(order_key(IDS, "medhmp"))
    where = np.array(split_of(IDS, Splits(train=0.5, validation=0.2, test=0.3)))[order]
    first, second = np.split(where, 2)
    assert abs((first == "train").mean() - (second == "train").mean()) < 0.03


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1), st.integers(1, 64))
def test_buckets_are_contiguous_ranges_of_the_order(keys, buckets):
    keys = np.sort(np.array(keys, np.uint64))
    where = bucket_of(keys, buckets)
    assert (np.diff(where) >= 0).all()
    assert where.min() >= 0
    assert where.max() < buckets


def test_a_patient_in_two_splits_is_refused():
    one = pl.DataFrame({"subject_id": [1, 1, 2], "split": ["train", "train", "test"]})
    other = pl.DataFrame({"subject_id": [2, 3], "split": ["train", "test"]})
    assert_disjoint(one)
    with pytest.raises(Refusal, match="1 patients are in more than one split"):
        assert_disjoint(one, other)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(3, 40), st.booleans())
def test_the_nearest_shares_that_do_give_every_class_to_every_split(
    first: int, positives: int, negatives: int, even: bool
) -> None:
    splits = Splits(train=0.6, validation=0.2, test=0.2) if even else Splits()
    ids = range(first, first + positives + negatives)
    groups = (ids[:positives], ids[positives:])
    found = nearest_shares([(draw_of(group, splits.salt), ()) for group in groups], splits)

    def do(a: int, b: int) -> bool:
        shares = replace(splits, train=a / 100, validation=b / 100, test=(100 - a - b) / 100)
        return all(set(split_of(group, shares)) == set(SPLITS) for group in groups)

    def change(a: int, b: int) -> int:
        was = [round(100 * s) for s in (splits.train, splits.validation, splits.test)]
        return sum(abs(x - y) for x, y in zip((a, b, 100 - a - b), was, strict=True))

    if found is None:
        some = product(range(1, 99, 3), repeat=2)
        assert not any(do(a, b) for a, b in some if a + b < 100)
        return
    a, b = (round(100 * share) for share in found[:2])
    assert sum(found) == pytest.approx(1)
    assert do(a, b)
    nearer = product(range(a - 9, a + 10), range(b - 9, b + 10))
    assert not any(
        do(*ab) for ab in nearer if min(ab) > 0 and sum(ab) < 100 and change(*ab) < change(a, b)
    )


def test_a_source_s_own_splits_settle_what_no_share_moves() -> None:
    draws = draw_of(range(2), "medhmp")
    assert nearest_shares([(draws, ())], Splits()) is None
    assert nearest_shares([(draws, ("validation",))], Splits()) is not None
    assert nearest_shares([(draws[:0], SPLITS)], Splits()) == (0.8, 0.1, 0.1)
