"""Bins against numpy's percentiles of the multiset written out, and pandas' labels of a cut."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.features.bins import bin_labels, bin_of_number, quantile_edges
from medhmp.features.events import number_text

# pandas cannot label edges that differ by less than 1e-300.
readings = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-200).map(lambda x: x + 0.0)
multisets = st.dictionaries(readings, st.integers(1, 50), min_size=2, max_size=30)


@given(multisets)
def test_edges_are_the_percentiles_of_the_multiset(counted: dict[float, int]) -> None:
    values = np.array(sorted(counted))
    counts = np.array([counted[v] for v in values.tolist()])
    written_out = np.percentile(np.repeat(values, counts), [0, 20, 40, 60, 80, 100])
    assert list(quantile_edges(values, counts)) == np.unique(written_out).tolist()


@settings(max_examples=100, deadline=None)
@given(multisets, st.lists(readings, max_size=20))
def test_bins_and_labels_are_those_of_a_pandas_cut(
    counted: dict[float, int], outside: list[float]
) -> None:
    values = np.array(sorted(counted))
    edges = quantile_edges(values, np.ones(len(values), dtype=np.int64))
    numbers = np.concatenate([values, outside])
    cut = pd.cut(numbers, edges, include_lowest=True)
    assert bin_of_number(numbers, edges).tolist() == cut.codes.tolist()
    assert bin_labels(edges) == [f"({c.left}, {c.right}]" for c in cut.categories]


def test_the_first_bin_is_closed_below_and_nothing_lies_outside_the_edges() -> None:
    edges = (1.0, 2.0, 4.0)
    numbers = np.array([0.999, 1.0, 2.0, 2.001, 4.0, 4.001])
    assert bin_of_number(numbers, edges).tolist() == [-1, 0, 0, 1, 1, -1]


@pytest.mark.parametrize(
    ("edges", "labels"),
    [
        ((33.0, 37.2, 58.400000000000006), ["(32.999, 37.2]", "(37.2, 58.4]"]),
        ((0.0, 0.01234, 2.0), ["(-0.001, 0.0123]", "(0.0123, 2.0]"]),
        ((0.0, 5e-324, 1.0), ["(-0.001, 5e-324]", "(5e-324, 1.0]"]),
        ((1.0, 1.00004, 2.0), ["(0.99999, 1.00004]", "(1.00004, 2.0]"]),
    ],
)
def test_labels_have_the_fewest_digits_that_part_the_edges(
    edges: tuple[float, ...], labels: list[str]
) -> None:
    assert bin_labels(edges) == labels


def test_a_number_prints_in_its_shortest_form() -> None:
    assert [number_text(x) for x in (5.0, 1.5, -0.0, 1e300)] == ["5", "1.5", "0", "1e+300"]
