"""All that is measured of a model beside discrimination: where it comes from, and at its limits."""

import json
import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from medhmp.evaluate.measures import measures
from medhmp.evaluate.predictions import Predictions, ScoredSplit
from medhmp.frames import frame_of
from medhmp.layout import ATTRIBUTE_COLUMNS


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_few_rows_of_any_kind_have_measures_in_strict_json(seed: int) -> None:
    """One event, one patient, risks that are equal, 0 and 1, tiny, or part the classes."""
    rng = np.random.default_rng(seed)

    def split() -> ScoredSplit:
        n = int(rng.integers(2, 60))
        label = (rng.random(n) < rng.choice([0.02, 0.3, 0.9])).astype(int)
        label[:2] = 0, 1
        risks = (rng.random(n), np.full(n, 0.3), np.round(rng.random(n)), 0.2 + label / 2,
                 rng.random(n) / 10_000)  # fmt: skip
        subject = rng.integers(rng.integers(1, n + 1), size=n)
        return ScoredSplit(subject, np.arange(n), label, risks[rng.integers(5)][None])

    test = split()
    made = Predictions("arf", "medhmp", "none", [0], split(), test, None, 0.5, 0.6, 0, {})
    sexes = rng.choice(["F", "M"], len(test.label))
    sex = (
        frame_of(ATTRIBUTE_COLUMNS.empty_table())
        .clear(len(sexes))
        .with_columns(sex=pl.Series(sexes))
    )
    with warnings.catch_warnings(action="error"):
        json.dumps(measures(made, sex), allow_nan=False)


def test_maps_and_thresholds_come_from_validation_rows() -> None:
    """With other test rows they are the same; their figures are those of the test rows."""
    rng = np.random.default_rng(0)
    score = rng.beta(1, 2, size=400)
    label, patient = (rng.random(400) < score).astype(int), rng.permutation(400) // 2
    half = slice(0, 200), slice(200, 400)
    validation, test = (
        ScoredSplit(patient[s], np.arange(400)[s], label[s], score[None, s]) for s in half
    )
    other = ScoredSplit(test.subject, test.row, 1 - test.label, test.scores)
    found, second = (
        measures(
            Predictions("arf", "medhmp", "none", [0], validation, t, None, 0.5, 0.6, 0, {}), None
        )
        for t in (test, other)
    )
    for name in ("intercept", "slope"):
        same = found["recalibrated"]["logistic"][name]
        assert second["recalibrated"]["logistic"][name] == same
    assert [t["threshold"] for t in found["thresholds"]] == [
        t["threshold"] for t in second["thresholds"]
    ]
    first = found["thresholds"][0]
    assert (first["name"], first["tp"] + first["fn"]) == ("0.5", test.label.sum())
    assert found["recalibrated"]["logistic"]["auroc"]["value"] == pytest.approx(
        roc_auc_score(test.label, test.average)
    )
    risks = found["risk"]
    assert risks["events"]["n"] + risks["others"]["n"] == 200
    assert risks["events"]["median"] == np.median(score[200:][test.label == 1])
    once = np.array([1 / (test.subject == s).sum() for s in test.subject])
    expected = roc_auc_score(test.label, test.average, sample_weight=once)
    assert found["per_patient_auroc"] == pytest.approx(expected)
