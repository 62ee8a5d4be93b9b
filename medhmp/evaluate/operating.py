"""What validation rows decide of a model's use: thresholds, and maps that make risks agree.

A run decides it on its own validation rows. A model that leaves the run takes it along, so that
other rows are judged by what was fixed before anybody saw them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from medhmp.arrays import Floats, Ints
from medhmp.evaluate.decisions import best_youden_threshold
from medhmp.evaluate.discrimination import THRESHOLD, best_f1_threshold
from medhmp.evaluate.recalibration import isotonic, logistic

SHARES: Final = (0.01, 0.05, 0.1, 0.2)
"""Shares of validation rows that a threshold flags."""
BEST_F1: Final = "best F1 on validation"
"""The threshold at which groups are compared, and at which a row is predicted to have the event."""


@dataclass(frozen=True)
class Operating:
    """Thresholds and maps, as numbers fit for JSON."""

    thresholds: Mapping[str, float]  # name -> of the mean score of the replicates
    tuned: Sequence[float]  # of best F1, of each replicate's own score
    maps: Mapping[str, Mapping[str, Any]]  # kind -> numbers of a ``Recalibration``

    @staticmethod
    def of(label: Ints, scores: Floats) -> "Operating":
        """What n validation rows decide: ``label`` (n), ``scores`` (R, n) of R replicates."""
        average = np.asarray(scores.mean(axis=0))
        maps = {"logistic": logistic(label, average), "isotonic": isotonic(label, average)}
        return Operating(
            _thresholds(label, average),
            [best_f1_threshold(label, own) for own in scores],
            {name: of.numbers for name, of in maps.items() if of is not None},
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _thresholds(label: Ints, score: Floats) -> dict[str, float]:
    named = {
        str(THRESHOLD): THRESHOLD,
        BEST_F1: best_f1_threshold(label, score),
        "best Youden index on validation": best_youden_threshold(label, score),
        "share of events in validation": float(label.mean()),
    }
    return named | {
        f"top {share:.0%} of validation": float(np.quantile(score, 1 - share)) for share in SHARES
    }
