"""The bootstrap against a loop that draws rows one patient at a time, and its coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from medhmp.evaluate import intervals
from medhmp.evaluate.intervals import Contest, bootstrap, gain, interval, patient_draws


def cohort(seed: int, patients: int = 80, n: int = 120) -> tuple[np.ndarray, ...]:
    """subject, label, score with ties and a signal; several rows of some patients."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.3).astype(int)
    score = 1 / (1 + np.exp(-(rng.normal(size=n) + label))).round(2)
    return rng.integers(patients, size=n) + 1000, label, score


def every_draw(needs: np.ndarray, draws: int, seed: int) -> np.ndarray:
    return np.concatenate([c for c, _ in patient_draws(needs, 1, draws, seed)], axis=1)


def test_bootstrap_equals_a_loop_over_draws() -> None:
    subject, label, score = cohort(0)
    found, thrown = bootstrap(subject, label, score, 0.6, draws=60, seed=3)
    assert thrown == 0
    names = np.unique(subject)
    needs = np.array([[label[subject == s].any() for s in names], np.ones(len(names))])
    needs[1] = [(label[subject == s] == 0).any() for s in names]
    slow: dict[str, list[float]] = {name: [] for name in found}
    (counts,) = [c for c, _ in patient_draws(needs.astype(float), len(label), 60, 3)]
    for taken in counts.T:
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
        assert found[name].low == pytest.approx(np.percentile(draws, 2.5), abs=1e-12)
        assert found[name].high == pytest.approx(np.percentile(draws, 97.5), abs=1e-12)
        assert found[name].se == pytest.approx(np.std(draws, ddof=1), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_draws_take_as_many_patients_as_there_are(patients: int, draws: int, seed: int) -> None:
    needs = np.ones((1, patients))
    counts = every_draw(needs, draws, seed)
    assert counts.shape == (patients, draws)
    assert (counts.sum(axis=0) == patients).all()
    assert (counts == counts.round()).all()
    assert np.array_equal(counts, every_draw(needs, draws, seed))


def test_draws_take_every_patient_equally_often() -> None:
    counts = every_draw(np.ones((1, 10)), 4000, 1)
    assert counts.mean(axis=1) == pytest.approx(np.ones(10), abs=0.06)
    assert counts.var(axis=1) == pytest.approx(np.full(10, 0.9), abs=0.1)


def test_draws_without_a_class_are_drawn_again_and_counted() -> None:
    """One positive patient of ten is missed by 0.9^10 = 35 % of draws."""
    needs = np.zeros((2, 10))
    needs[0, 0] = needs[1, 1:] = 1
    blocks = list(patient_draws(needs, 10, 2000, 0))
    assert all((needs @ counts > 0).all() for counts, _ in blocks)
    share = sum(thrown for _, thrown in blocks) / (2000 + sum(thrown for _, thrown in blocks))
    assert share == pytest.approx(0.9**10, abs=0.03)


def test_memory_of_a_block_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "CELLS", 100)
    shapes = [c.shape for c, _ in patient_draws(np.ones((1, 30)), 40, 5, 0)]
    assert shapes == [(30, 2), (30, 2), (30, 1)]


def test_rows_of_one_patient_widen_the_interval() -> None:
    """Fivefold copies of a row under one patient carry no more than the row; as five patients they
    would look as if they did."""
    _, label, score = cohort(1, n=80)
    rows = np.arange(80)
    five = [np.repeat(x, 5) for x in (rows, label, score)]
    single = bootstrap(rows, label, score, 0.5, 800, 0)[0]["auroc"].se
    clustered = bootstrap(*five, 0.5, 800, 0)[0]["auroc"].se
    naive = bootstrap(np.arange(400), *five[1:], 0.5, 800, 0)[0]["auroc"].se
    assert clustered == pytest.approx(single, rel=1e-9)
    assert naive < 0.6 * clustered


def test_standard_error_is_hanley_and_mcneil_s() -> None:
    rng = np.random.default_rng(2)
    label = np.repeat([1, 0], [60, 540])
    score = rng.normal(size=600) + label
    spread = bootstrap(np.arange(600), label, score, 0.5, 1500, 0)[0]["auroc"].se
    a = metrics.roc_auc_score(label, score)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + 59 * (q1 - a * a) + 539 * (q2 - a * a)) / (60 * 540)
    assert spread == pytest.approx(np.sqrt(variance), rel=0.2)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """120 cohorts whose AUROC is Phi(1 / sqrt 2) = 0.7602: 95 % of intervals, give or take 4 SE."""
    covered = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        label = np.repeat([1, 0], [40, 110])
        score = rng.normal(size=150) + label
        limits = bootstrap(np.arange(150), label, score, 0.5, 200, seed)[0]["auroc"]
        covered += limits.low <= 0.7602 <= limits.high
    assert 0.87 < covered / 120 <= 1.0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000))
def test_interval_is_ordered_and_inside_the_draws(seed: int) -> None:
    draws = np.random.default_rng(seed).random(50)
    found = interval(draws)
    assert draws.min() <= found.low <= found.high <= draws.max()


def contest(seed: int, better: float, base: float) -> Contest:
    """A task in which the two scores separate the classes by the given distances."""
    rng = np.random.default_rng(seed)
    subject, label, _ = cohort(seed)
    noise = rng.normal(size=len(label))

    def scores(shift: float) -> np.ndarray:
        return noise + 0.2 * rng.normal(size=len(label)) + shift * label

    return Contest(subject, label, scores(better), scores(base))


def test_gain_equals_a_loop_over_tasks_and_draws() -> None:
    contests = [contest(1, 1.5, 0.3), contest(2, 1.0, 0.8)]
    found = gain(contests, draws=40, seed=5)

    def difference(weight_of: dict[int, float]) -> float:
        by_task = []
        for c in contests:
            w = [weight_of[s] for s in c.subject]
            better, base = (
                metrics.roc_auc_score(c.label, score, sample_weight=w)
                for score in (c.better, c.base)
            )
            by_task.append(better - base)
        return float(np.mean(by_task))

    names = np.unique(np.concatenate([c.subject for c in contests]))
    needs = np.array(
        [
            [bool((c.label[c.subject == s] == value).any()) for s in names]
            for c in contests
            for value in (1, 0)
        ],
        dtype=float,
    )
    (counts,) = [c for c, _ in patient_draws(needs, 120, 40, 5)]
    slow = [difference(dict(zip(names, taken, strict=True))) for taken in counts.T]
    assert found.value == pytest.approx(difference(dict.fromkeys(names, 1.0)), abs=1e-12)
    assert found.low == pytest.approx(np.percentile(slow, 2.5), abs=1e-12)
    assert found.high == pytest.approx(np.percentile(slow, 97.5), abs=1e-12)
    assert found.se == pytest.approx(np.std(slow, ddof=1), abs=1e-12)


def test_gain_of_equal_scores_is_exactly_nothing() -> None:
    subject, label, score = cohort(3)
    found = gain([Contest(subject, label, score, score)], draws=100, seed=0)
    assert (found.value, found.low, found.high, found.se) == (0.0, 0.0, 0.0, 0.0)


def test_pairing_narrows_the_interval() -> None:
    """Scores that share their noise differ far less from draw to draw than either varies."""
    one = contest(4, 1.0, 0.8)
    alone = bootstrap(one.subject, one.label, one.better, 0.5, 500, 0)[0]["auroc"].se
    assert gain([one], 500, 0).se < 0.5 * alone
