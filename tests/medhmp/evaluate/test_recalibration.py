"""Maps fitted on validation rows."""

import numpy as np
import pytest

from medhmp.evaluate.calibration import intercept, slope
from medhmp.evaluate.recalibration import isotonic, logistic


def extreme(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Risks whose logits are twice and one above what they should be."""
    rng = np.random.default_rng(seed)
    true = rng.normal(-1, 1, size=n)
    label = (rng.random(n) < 1 / (1 + np.exp(-true))).astype(int)
    return label, 1 / (1 + np.exp(-(2 * true + 1)))


def test_logistic_undoes_what_was_done_to_the_logits() -> None:
    found = logistic(*extreme(20_000, 0))
    assert found is not None
    assert found.numbers["slope"] == pytest.approx(0.5, abs=0.02)
    assert found.numbers["intercept"] == pytest.approx(-0.5, abs=0.05)
    label, score = extreme(20_000, 1)
    assert slope(label, found.apply(score)) == pytest.approx(1, abs=0.05)
    assert intercept(label, found.apply(score)) == pytest.approx(0, abs=0.05)
    order = np.argsort(score)
    assert (np.diff(found.apply(score)[order]) >= 0).all()


def test_on_its_own_rows_logistic_is_perfect_by_its_own_measure() -> None:
    label, score = extreme(400, 2)
    found = logistic(label, score)
    assert found is not None
    assert slope(label, found.apply(score)) == pytest.approx(1, abs=1e-6)
    assert intercept(label, found.apply(score)) == pytest.approx(0, abs=1e-6)


def test_isotonic_pools_what_falls_and_holds_beyond_its_ends() -> None:
    label, score = np.array([0, 1, 0, 1]), np.array([0.2, 0.3, 0.4, 0.5])
    found = isotonic(label, score)
    np.testing.assert_allclose(found.apply(np.array([0.0, 0.2, 0.3, 0.4, 0.45, 0.5, 0.9])),
                               [0, 0, 0.5, 0.5, 0.75, 1, 1])  # fmt: skip
    risk, observed = found.numbers["risk"], found.numbers["observed"]
    np.testing.assert_allclose(np.interp(score, risk, observed), found.apply(score))


def test_rows_that_define_no_map_give_none() -> None:
    assert logistic(np.array([0, 1]), np.array([0.3, 0.3])) is None
    assert logistic(np.array([0, 0, 1]), np.array([0.1, 0.2, 0.9])) is None
