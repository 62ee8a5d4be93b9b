"""Groups of rows, their counts and figures."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from medhmp.evaluate.subgroups import band, subgroups


def people(n: int, **columns: Any) -> pl.DataFrame:
    empty = dict.fromkeys(
        ("source", "sex", "age", "ethnicity", "insurance", "care_unit"), [None] * n
    )
    types = {"age": pl.Int16, **dict.fromkeys(empty.keys() - {"age"}, pl.String)}
    return pl.DataFrame(empty | columns, schema_overrides=types)


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    score = rng.beta(1, 2, size=400)
    return (rng.random(400) < score).astype(int), score, rng.permutation(400) // 2


def test_groups_have_their_own_figures(scored: tuple[np.ndarray, ...]) -> None:
    label, score, patient = scored
    woman = np.random.default_rng(1).random(400) < 0.4
    found = subgroups(label, score, patient, people(400, sex=np.where(woman, "F", "M")), 0.3)
    assert [(g["by"], g["group"]) for g in found] == [("sex", "F"), ("sex", "M")]
    women, men = found
    expected = (
        roc_auc_score(label[woman], score[woman]),
        roc_auc_score(label[~woman], score[~woman]),
    )
    assert (women["n"], women["events"]) == (woman.sum(), label[woman].sum())
    assert women["patients"] == len(np.unique(patient[woman]))
    assert women["auroc"]["value"] == pytest.approx(expected[0])
    assert women["difference"]["value"] == pytest.approx(expected[0] - expected[1])
    assert men["difference"]["value"] == pytest.approx(-women["difference"]["value"])
    assert men["difference"]["se"] == pytest.approx(women["difference"]["se"])
    flagged = [float((score[own] >= 0.3).mean()) for own in (woman, ~woman)]
    assert women["flagged_ratio"] == pytest.approx(flagged[0] / flagged[1])
    assert women["flagged_difference"] == pytest.approx(flagged[0] - flagged[1])
    ratio = label[woman].sum() / score[woman].sum()
    assert women["calibration"]["o_to_e"]["value"] == pytest.approx(ratio)


def test_few_events_give_counts_alone(scored: tuple[np.ndarray, ...]) -> None:
    label, score, patient = scored
    unit = np.where(np.cumsum(label) <= 19, "CCU", "MICU")
    few, rest = subgroups(label, score, patient, people(400, care_unit=unit), 0.3)
    assert (few["events"], few["why"]) == (19, "fewer than 20 events")
    assert "auroc" not in few
    assert rest["difference"] is None
    assert rest["auroc"]["low"] < rest["auroc"]["value"]


def test_what_tells_no_rows_apart_makes_no_groups(scored: tuple[np.ndarray, ...]) -> None:
    label, score, patient = scored
    assert subgroups(label, score, patient, people(400, source=["a"] * 400), 0.3) == []


def test_sex_and_age_are_crossed(scored: tuple[np.ndarray, ...]) -> None:
    label, score, patient = scored
    own = people(400, sex=["F", "M", "F", "M"] * 100, age=[20, 20, 70, 50] * 100)
    found = [g for g in subgroups(label, score, patient, own, 0.3) if g["by"] == "sex_age"]
    assert [(g["group"], g["n"]) for g in found] == [
        ("F, 18–44", 100), ("F, 65–74", 100), ("M, 18–44", 100), ("M, 45–64", 100),
    ]  # fmt: skip
    assert found[0]["risk"]["mean"] == pytest.approx(score[::4].mean())


def test_the_unknown_come_last_and_the_young_first(scored: tuple[np.ndarray, ...]) -> None:
    label, score, patient = scored
    ages = [90, None, 17, 70] * 100
    found = subgroups(label, score, patient, people(400, age=ages), 0.3)
    assert [g["group"] for g in found] == ["under 18", "65–74", "85 and over", "not recorded"]


def test_bands_begin_at_their_years() -> None:
    ages = pl.Series("age", [17, 18, 44, 45, 84, 85, None], pl.Int16)
    assert band(ages).to_list() == [
        "under 18", "18–44", "18–44", "45–64", "75–84", "85 and over", None,
    ]  # fmt: skip
