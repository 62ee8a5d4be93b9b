"""The report's resampling of patients, timed, and held to scikit-learn draw by draw."""

import time
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from medhmp.evaluate.discrimination import Ranking
from medhmp.evaluate.intervals import bootstrap, patient_draws


@dataclass(frozen=True)
class Bootstrap:
    """All discrimination metrics of one model in every draw."""

    rows: int = 50_000  # of the test split, one of each patient
    draws: int = 2000  # of patients
    events: float = 0.1  # share of rows
    compared: int = 20  # draws that the loop over scikit-learn makes, too
    repeats: int = 3  # the fastest counts

    def run(self) -> dict[str, float]:
        """Seconds of all draws, of the loop's so many, and the largest difference in AUROC."""
        rng = np.random.default_rng(0)
        label = (rng.random(self.rows) < self.events).astype(np.int64)
        score = 1 / (1 + np.exp(2 - rng.normal(size=self.rows) - label))
        subject, tuned = np.arange(self.rows), np.array([0.3])
        seconds = []
        for _ in range(self.repeats):
            begun = time.perf_counter()
            bootstrap(subject, label, score[None], tuned, self.draws, 0)
            seconds.append(time.perf_counter() - begun)
        needs = np.stack([label == 1, label == 0])
        counts = next(patient_draws(needs, self.rows, self.compared, 0))[0][: self.compared]
        begun = time.perf_counter()
        slow = [roc_auc_score(label, score, sample_weight=weights) for weights in counts]
        loop = (time.perf_counter() - begun) * self.draws / len(counts)
        off = np.abs(Ranking(label, score).auroc(counts) - slow).max()
        return {"seconds": min(seconds), "loop_s": loop, "largest_difference_e12": off * 1e12}
