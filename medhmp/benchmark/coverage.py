"""How often an interval of the report holds the truth, where the truth is known.

A replicate's scores are N(a, 1) of rows with the outcome and N(0, 1) of rows without it, where a is
the replicate's own, N(1, spread). Part of a row's noise is all replicates'. The expected AUROC is
Phi(1 / sqrt(2 + spread^2)).
"""

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

from medhmp.arrays import Floats, Ints
from medhmp.evaluate.intervals import Contender, Drawn, difference, draw_figures


@dataclass(frozen=True)
class Coverage:
    """Intervals of an AUROC, and of a difference between two models of the same AUROC."""

    sets: int = 2000  # simulated sets of predictions for each row
    replicates: int = 5  # of each model
    rows: int = 300  # of the test split, one of each patient
    events: int = 60  # rows with the outcome
    shared: float = 0.8  # share of the noise that is all replicates'
    draws: int = 200  # of patients, in each set
    spreads: tuple[float, ...] = (0.0, 0.1, 0.3)  # SD of a over replicates; 0: no such variance

    def run(self) -> dict[str, float]:
        """Share of the intervals that hold the truth, by spread."""
        found: dict[str, float] = {}
        for spread in self.spreads:
            held = np.array([self._held(number, spread) for number in range(self.sets)])
            figure, gap = held.mean(axis=0)
            found |= {f"figure_{spread:g}": figure, f"difference_{spread:g}": gap}
        return found

    def _held(self, number: int, spread: float) -> tuple[bool, bool]:
        """Whether the intervals of one set hold the truth of the figure and of the difference."""
        rng = np.random.default_rng([number, int(1000 * spread)])
        label = np.repeat([1, 0], [self.events, self.rows - self.events])
        common = sqrt(self.shared) * rng.normal(size=self.rows)
        pair = {name: self._contender(rng, label, common, spread) for name in "ab"}
        figures, _ = draw_figures(pair, self.draws, number)
        a, b = (figures[name]["auroc"] for name in "ab")
        truth = (1 + erf(1 / sqrt(2 * (2 + spread**2)))) / 2
        return _holds(a, truth), _holds(difference(a, b), 0.0)

    def _contender(
        self, rng: np.random.Generator, label: Ints, common: Floats, spread: float
    ) -> Contender:
        distance = 1 + spread * rng.normal(size=(self.replicates, 1))
        own = sqrt(1 - self.shared) * rng.normal(size=(self.replicates, len(label)))
        return Contender(
            np.arange(len(label)), label, distance * label + common + own, np.zeros(self.replicates)
        )


def _holds(drawn: Drawn, truth: float) -> bool:
    found = drawn.estimate()
    return found.low is not None and found.high is not None and found.low <= truth <= found.high
