"""How predicted risks are spread."""

from typing import Final

import numpy as np

from medhmp.arrays import Floats

QUANTILES: Final = {"p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95}
"""Name -> percentile."""


def distribution(score: Floats) -> dict[str, float | int | None]:
    """Count, moments and percentiles of at least one risk (n,); SD None of one row."""
    return {
        "n": len(score),
        "mean": float(score.mean()),
        "sd": float(score.std(ddof=1)) if len(score) > 1 else None,
        "min": float(score.min()),
        **{name: float(np.percentile(score, q)) for name, q in QUANTILES.items()},
        "max": float(score.max()),
    }
