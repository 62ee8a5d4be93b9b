"""Nearly equal features, against numpy's correlation matrix."""

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from medhmp.features import near_copies
from medhmp.features.events import SCHEMA
from medhmp.features.fiddle import fit
from medhmp.features.postfilter import TOLERANCE, support
from tests.fiddle import fiddle_settings

ROWS, BINS = 240_000, 48


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """Pairs of features that differ in no, one, two or many cells, complements, and rare ones."""
    rng = np.random.default_rng(3)
    columns = []
    for share in (0.5, 0.3, 0.9, 0.0002):
        on = rng.random(ROWS) < share
        for flips in (0, 1, 2, 4000):
            other = on.copy()
            cells = rng.choice(ROWS, flips, replace=False)
            other[cells] = ~other[cells]
            columns += [on if flips == 0 else other, ~other]
    return np.stack(columns, axis=1)


def test_matches_are_those_of_the_correlation_matrix(table: np.ndarray) -> None:
    sparse = sp.csr_matrix(table.astype(float))
    ids = np.arange(ROWS // BINS)
    counted = support(sparse, ids, np.zeros(table.shape[1]), True)
    varied = np.ones(table.shape[1], bool)
    varied[2] = False
    suspects = near_copies.suspects(counted, varied)
    halves = [near_copies.overlap(part, suspects) for part in (sparse[:90_000], sparse[90_000:])]
    found = near_copies.matches(counted, suspects, halves[0] + halves[1])

    r = np.corrcoef(table, rowvar=False)
    alike = np.abs(np.abs(r) - 1) <= TOLERANCE
    expected = {}
    for j in np.flatnonzero(varied):
        if earlier := [i for i in range(j) if alike[i, j] and varied[i]]:
            expected[j] = (earlier[0], bool(r[earlier[0], j] > 0))
    assert found.items() <= expected.items()
    assert any((table[:, j] == table[:, i]).mean() not in (0, 1) for j, (i, _) in found.items())
    for j, (i, equal) in expected.items() - found.items():  # what fingerprints find by themselves
        assert ((table[:, j] == table[:, i]) == equal).all()


def test_as_a_setting_of_a_fit() -> None:
    """``B`` lacks one of the 120,000 readings that ``A`` has."""
    n = 5_000
    ids, bins = np.repeat(np.arange(n), 24), np.tile(np.arange(24), n)
    frame = pl.DataFrame({"id": ids, "t": bins + 0.5, "number": None, "text": "x"})
    both = [frame.with_columns(variable=pl.lit("A")), frame[1:].with_columns(variable=pl.lit("B"))]
    events = pl.concat(both).select(list(SCHEMA)).cast(SCHEMA)
    kept = {}
    for drop in (False, True):
        asked = fiddle_settings(hours=48, drop_near_copies=drop, theta_freq=9)
        kept[drop] = fit([(events, np.arange(n))], asked).hourly
    assert kept[False].names == ("A_value_x", "B_value_x")
    assert kept[True].names == ("A_value_x",)
    assert kept[True].aliases == {"A_value_x": ["B_value_x"]}
