"""Intervals against a loop over draws, against DeLong's, and by how often they hold the truth."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student
from sklearn import metrics

from medhmp.benchmark.coverage import Coverage
from medhmp.evaluate import intervals
from medhmp.evaluate.discrimination import METRICS
from medhmp.evaluate.intervals import (
    FEW_PATIENTS,
    Contender,
    Drawn,
    bootstrap,
    combined,
    difference,
    draw_figures,
    holm,
    mean,
    patient_draws,
)


def cohort(seed: int, patients: int = 80, n: int = 120) -> tuple[np.ndarray, ...]:
    """subject, label, score with ties and a signal; several rows of some patients."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.3).astype(int)
    score = 1 / (1 + np.exp(-(rng.normal(size=n) + label))).round(2)
    return rng.integers(patients, size=n) + 1000, label, score


def every_draw(needs: np.ndarray, draws: int, seed: int) -> np.ndarray:
    return np.concatenate([c for c, _ in patient_draws(needs, 1, draws, seed)])


def alone(subject: np.ndarray, label: np.ndarray, score: np.ndarray, draws: int, seed: int = 0):
    """The AUROC of one model with one replicate."""
    return bootstrap(subject, label, score[None], np.array([0.5]), draws, seed)[0]["auroc"]


def test_every_metric_of_every_draw_is_that_of_a_loop() -> None:
    subject, label, score = cohort(0)
    contender = Contender(subject, label, score[None], np.array([0.6]))
    figures, redone = draw_figures({"m": contender}, draws=60, seed=3)
    assert redone == 0
    names = np.unique(subject)
    needs = np.stack([np.isin(names, of) for of in contender.classes])
    slow: dict[str, list[float]] = {name: [] for name in METRICS}
    for taken in every_draw(needs, 60, 3):
        w = np.array([taken[np.flatnonzero(names == s)[0]] for s in subject])
        precision, recall, _ = metrics.precision_recall_curve(label, score, sample_weight=w)
        slow["auroc"].append(metrics.roc_auc_score(label, score, sample_weight=w))
        slow["aupr"].append(metrics.auc(recall, precision))
        slow["average_precision"].append(
            metrics.average_precision_score(label, score, sample_weight=w)
        )
        for suffix, threshold in (("", 0.5), ("_tuned", 0.6)):
            flagged = score >= threshold
            slow["f1" + suffix].append(metrics.f1_score(label, flagged, sample_weight=w))
            kappa = metrics.cohen_kappa_score(label, flagged, sample_weight=w)
            slow["kappa" + suffix].append(kappa)
    for name, draws in slow.items():
        np.testing.assert_allclose(figures["m"][name].draws[0], draws, atol=1e-9)
        estimate = figures["m"][name].estimate()
        assert estimate.se == pytest.approx(np.std(draws, ddof=1), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_draws_take_as_many_patients_as_there_are(patients: int, draws: int, seed: int) -> None:
    needs = np.ones((1, patients), bool)
    counts = every_draw(needs, draws, seed)
    assert counts.shape == (draws, patients)
    assert (counts.sum(axis=1) == patients).all()
    assert np.array_equal(counts, every_draw(needs, draws, seed))


def test_draws_take_every_patient_equally_often() -> None:
    counts = every_draw(np.ones((1, 10), bool), 4000, 1)
    assert counts.mean(axis=0) == pytest.approx(np.ones(10), abs=0.06)
    assert counts.var(axis=0) == pytest.approx(np.full(10, 0.9), abs=0.1)


def test_draws_without_a_class_are_drawn_again_and_counted() -> None:
    """One positive patient of ten is missed by 0.9^10 = 35 % of draws."""
    needs = np.zeros((2, 10), bool)
    needs[0, 0] = needs[1, 1:] = True
    blocks = list(patient_draws(needs, 10, 2000, 0))
    assert all((counts @ needs.T > 0).all() for counts, _ in blocks)
    share = sum(thrown for _, thrown in blocks) / (2000 + sum(thrown for _, thrown in blocks))
    assert share == pytest.approx(0.9**10, abs=0.03)


def test_memory_of_a_block_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "CELLS", 100)
    shapes = [c.shape for c, _ in patient_draws(np.ones((1, 30), bool), 40, 5, 0)]
    assert shapes == [(2, 30), (2, 30), (1, 30)]


def test_rows_of_one_patient_widen_the_interval() -> None:
    """Fivefold copies of a row under one patient carry no more than the row; as five patients they
    would look as if they did."""
    _, label, score = cohort(1, n=80)
    rows = np.arange(80)
    five = [np.repeat(x, 5) for x in (rows, label, score)]
    single, clustered = alone(rows, label, score, 800).se, alone(*five, 800).se
    naive = alone(np.arange(400), *five[1:], 800).se
    assert clustered == pytest.approx(single, rel=1e-9)
    assert naive < 0.6 * clustered


def delong(label: np.ndarray, *scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs and their covariance by every pair of rows (DeLong et al. 1988)."""
    parts = []
    for score in scores:
        positive, negative = score[label == 1], score[label == 0]
        gap = positive[:, None] - negative[None]
        parts.append((gap > 0) + 0.5 * (gap == 0))
    by_positive = np.cov([p.mean(axis=1) for p in parts], ddof=1).reshape(len(parts), -1)
    by_negative = np.cov([p.mean(axis=0) for p in parts], ddof=1).reshape(len(parts), -1)
    ones = int((label == 1).sum())
    return np.array([p.mean() for p in parts]), by_positive / ones + by_negative / (
        len(label) - ones
    )


@pytest.mark.parametrize("seed", range(3))
def test_one_row_of_each_patient_gives_delong_s_intervals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = np.repeat([1, 0], [80, 320])
    noise = rng.normal(size=400)
    scores = [(noise + rng.normal(size=400) + k * label).round(1) for k in (1.5, 1.0)]
    areas, covariance = delong(label, *scores)
    pair = {k: Contender(np.arange(400), label, s[None], np.zeros(1)) for k, s in enumerate(scores)}
    figures, _ = draw_figures(pair, 3000, seed)
    a, b = (figures[k]["auroc"] for k in pair)
    for drawn, area, variance in (
        (a, areas[0], covariance[0, 0]),
        (
            difference(a, b),
            areas[0] - areas[1],
            covariance.sum() - 2 * covariance[[0, 1], [1, 0]].sum(),
        ),
    ):
        found = drawn.estimate()
        half = student.ppf(0.975, 79) * np.sqrt(variance)
        assert found.value == pytest.approx(area, abs=1e-12)
        assert found.se == pytest.approx(np.sqrt(variance), rel=0.06)
        assert found.high - found.low == pytest.approx(2 * half, rel=0.06)
        assert found.p == pytest.approx(2 * norm.sf(abs(area) / np.sqrt(variance)), abs=0.03)


GOOD = "05326667403443212001000101110101011210200000000000"
"""Of 113 patients after a subarachnoid haemorrhage: those of good outcome by rising s100b, a digit
for each value that occurs. The ranks of the data set aSAH (Turck et al. 2010; R package pROC)."""
POOR = "10003122112101000110111011101010200011011112111111"
"""And those of poor outcome."""


def test_the_worked_example_of_delong_s_interval() -> None:
    """AUC 0.7314, 95 % 0.6301 to 0.8326, as pROC prints; and the bootstrap beside it."""
    counts = np.array([[int(digit) for digit in digits] for digits in (GOOD, POOR)])
    value = np.tile(np.arange(len(GOOD), dtype=float), 2)
    score = np.repeat(value, counts.ravel())
    label = np.repeat([0, 1], counts.sum(axis=1))
    (area,), ((variance,),) = delong(label, score)
    ends = norm.interval(0.95, area, np.sqrt(variance))
    assert (area, *ends) == pytest.approx((0.7314, 0.6301, 0.8326), abs=5e-5)
    found = alone(np.arange(113), label, score, 4000)
    assert found.value == pytest.approx(area, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(ends, abs=0.008)


def drawn(own: np.ndarray, draws: np.ndarray, patients: int = 10**6) -> Drawn:
    return Drawn(own, draws, patients, patients)


def test_without_variance_of_patients_the_interval_is_student_s() -> None:
    own = np.random.default_rng(0).normal(0.7, 0.1, 5)
    found = drawn(own, np.repeat(own[:, None], 50, axis=1)).estimate()
    low, high = student.interval(0.95, 4, own.mean(), own.std(ddof=1) / np.sqrt(5))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.chance == ("test patients", "replicates")


def test_equal_replicates_add_nothing() -> None:
    draws = np.random.default_rng(0).normal(0.7, 0.1, 400)
    one = drawn(np.array([0.7]), draws[None]).estimate()
    five = drawn(np.full(5, 0.7), np.tile(draws, (5, 1))).estimate()
    assert (five.low, five.high) == pytest.approx((one.low, one.high), abs=1e-9)
    assert one.chance == ("test patients",)
    assert (one.sd, five.sd) == (None, pytest.approx(0, abs=1e-12))
    assert one.se == pytest.approx(draws.std(ddof=1))


def test_answers_to_single_patients_are_counted_once() -> None:
    """Replicates that share nothing but their expectation: S^2 / R is all there is."""
    rng = np.random.default_rng(1)
    own = rng.normal(0.7, 0.1, 5)
    found = drawn(own, own[:, None] + rng.normal(0, 0.1, (5, 20_000))).estimate()
    assert found.se == pytest.approx(own.std(ddof=1) / np.sqrt(5), rel=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(-0.2, 0.2))
def test_an_interval_without_zero_is_one_with_p_below_a_twentieth(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    own = shift + rng.normal(0, 0.05, 5)
    found = drawn(own, own[:, None] + rng.normal(0, 0.05, (1, 200)), 30).estimate()
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05)
    assert found.low <= found.value <= found.high


def test_limits_stay_where_the_metric_does() -> None:
    label = np.repeat([1, 0], [12, 200])
    score = np.where(label == 1, 0.9, 0.1)
    score[[0, 20]] = 0.5, 0.6
    found = alone(np.arange(212), label, score, 300)
    assert found.high == 1.0


@pytest.mark.parametrize("cases", [1, FEW_PATIENTS - 1])
def test_few_patients_of_a_class_have_no_interval(cases: int) -> None:
    label = np.repeat([1, 0], [cases, 60])
    found = alone(np.arange(len(label)), label, np.linspace(0, 1, len(label)), 50)
    assert (found.low, found.high, found.se, found.p) == (None, None, None, None)
    assert f"there are {cases} and 60" in found.why
    assert found.value == 0.0


def test_a_figure_that_no_draw_moves_has_no_interval() -> None:
    """All scores are equal: an interval of 0.500 to 0.500 would claim what nobody knows."""
    _, label, _ = cohort(3)
    found = alone(np.arange(120), label, np.full(120, 0.3), 50)
    assert (found.value, found.low, found.why) == (0.5, None, "no draw moves the figure")
    score = np.random.default_rng(0).random(120)
    pair = {k: Contender(np.arange(120), label, score[None], np.zeros(1)) for k in "ab"}
    figures, _ = draw_figures(pair, 50, 0)
    gap = difference(figures["a"]["auroc"], figures["b"]["auroc"]).estimate()
    assert (gap.value, gap.low, gap.p) == (0.0, None, None)


def contender(seed: int, shift: float, replicates: int = 3) -> Contender:
    rng = np.random.default_rng(seed)
    subject, label, _ = cohort(seed)
    noise = rng.normal(size=len(label))
    own = 0.3 * np.random.default_rng([seed, int(10 * shift)]).normal(size=(replicates, len(label)))
    return Contender(subject, label, noise + own + shift * label, np.zeros(replicates))


def test_a_mean_over_tasks_pairs_replicates_and_draws() -> None:
    """One draw of all patients serves every task, so that patients in two of them count in both."""
    pairs = [(contender(1, 1.5), contender(1, 0.3)), (contender(2, 1.0), contender(2, 0.8))]
    given_ = {(task, side): c for task, pair in enumerate(pairs) for side, c in enumerate(pair)}
    figures, _ = draw_figures(given_, 40, 5)
    found = mean([difference(*(figures[t, s]["auroc"] for s in (0, 1))) for t in (0, 1)])
    names = np.unique(np.concatenate([c.subject for c in given_.values()]))
    needs = np.array([np.isin(names, of) for c in given_.values() for of in c.classes])

    def differences(weights: np.ndarray) -> list[float]:
        by_replicate = []
        for r in range(3):
            gaps = []
            for better, base in pairs:
                w = weights[np.searchsorted(names, better.subject)]
                a, b = (
                    metrics.roc_auc_score(c.label, c.scores[r], sample_weight=w)
                    for c in (better, base)
                )
                gaps.append(a - b)
            by_replicate.append(float(np.mean(gaps)))
        return by_replicate

    np.testing.assert_allclose(found.own, differences(np.ones(len(names))), atol=1e-12)
    slow = np.array([differences(taken) for taken in every_draw(needs, 40, 5)]).T
    np.testing.assert_allclose(found.draws, slow, atol=1e-12)
    fewest = min(len(of) for c in given_.values() for of in c.classes)
    assert min(found.cases, found.controls) == fewest


def test_pairing_narrows_the_interval() -> None:
    """Scores that share their noise differ far less from draw to draw than either varies."""
    figures, _ = draw_figures({"a": contender(4, 1.0), "b": contender(4, 0.8)}, 500, 0)
    a, b = (figures[name]["auroc"] for name in "ab")
    assert difference(a, b).estimate().se < 0.6 * a.estimate().se


def test_one_replicate_is_compared_with_each_of_many() -> None:
    """As the truth, which has no replicates, is with a model."""
    many, one = (
        drawn(np.array([0.6, 0.8]), np.ones((2, 3))),
        drawn(np.array([0.9]), np.ones((1, 3))),
    )
    ratio = combined(np.divide, many, one)
    assert ratio.own == pytest.approx([0.6 / 0.9, 0.8 / 0.9])
    assert ratio.draws.shape == (2, 3)


def test_holm_is_the_step_down_of_bonferroni() -> None:
    p = [0.01, None, 0.04, 0.03, 0.2]
    ordered = sorted(value for value in p if value is not None)
    stepped = np.maximum.accumulate([min(1, (4 - k) * value) for k, value in enumerate(ordered)])
    slow = dict(zip(ordered, stepped, strict=True))
    assert holm(p) == [None if v is None else pytest.approx(slow[v]) for v in p]
    assert all(a <= b for a, b in pairwise(stepped))
    assert holm([None]) == [None]


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """150 sets of five replicates: 95 %, give or take 3.5 standard errors of that share. The
    whole is ``python -m jobs.benchmark coverage``."""
    held = Coverage(sets=150, draws=100, spreads=(0.0, 0.3)).run()
    assert set(held) == {f"{of}_{s}" for of in ("figure", "difference") for s in ("0", "0.3")}
    for share in held.values():
        assert abs(share - 0.95) < 3.5 * np.sqrt(0.95 * 0.05 / 150)
