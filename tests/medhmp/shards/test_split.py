"""Who lands where, and in which order."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medhmp.legend import SPLITS
from medhmp.refusal import Refusal
from medhmp.run import Splits
from medhmp.shards.split import assert_disjoint, bucket_of, order_key, split_of

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
