"""Figures of groups of test rows, and how they differ from those of all other rows.

With few events a figure says little and its interval, which rests on a normal distribution, is
wrong: such groups have counts and predicted risks alone. The groups are looked at one by one, so
among many some difference is always large: they are for finding what to look at, not for claims.
"""

import itertools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import polars as pl

from medhmp.arrays import Floats, Ints
from medhmp.evaluate import influence
from medhmp.evaluate.calibration import intervals
from medhmp.evaluate.decisions import table_at
from medhmp.evaluate.risks import distribution

LEAST: Final = 20
"""Events, and rows without one, below which a group has counts alone."""

ATTRIBUTES: Final = ("sex", "age", "ethnicity", "insurance", "care_unit", "source")
"""By which rows are grouped; ``source`` where a run has several."""

AGES: Final = (18, 45, 65, 75, 85)
"""Years at which a band of ages begins."""

CROSSED: Final = "sex_age"
"""The name of the groups by sex and age together, the last of all."""

UNKNOWN: Final = "not recorded"


def subgroups(
    label: Ints, score: Floats, patient: Ints, people: pl.DataFrame, threshold: float
) -> list[dict[str, Any]]:
    """A record per group, in the order of ``ATTRIBUTES``.

    ``people`` has ``layout.ATTRIBUTE_COLUMNS`` row by row; ``threshold`` is the one at which the
    groups' shares of rows acted on are compared. An attribute that nobody has, or that all rows
    share, makes no groups.
    """
    return [
        {"by": by, "group": group, **_record(label, score, patient, inside, threshold)}
        for by, group, inside in _groups(people)
    ]


def _groups(people: pl.DataFrame) -> Iterator[tuple[str, str, np.ndarray[Any, Any]]]:
    groups: dict[str, pl.Series] = {}
    for by in ATTRIBUTES:
        values = band(people[by]) if by == "age" else people[by]
        groups[by] = values.fill_null(UNKNOWN)
    if min(groups[by].n_unique() for by in ("sex", "age")) > 1:
        groups[CROSSED] = groups["sex"] + ", " + groups["age"]
    for by, names in groups.items():
        if names.n_unique() > 1:
            for group in sorted(names.unique().to_list(), key=_place):
                yield by, group, (names == group).to_numpy()


def _place(group: str) -> tuple[bool, bool, str]:
    """Where a group stands: the youngest first, the unknown last."""
    return group == UNKNOWN, not group.startswith("under "), group


def band(age: pl.Series) -> pl.Series:
    """Names of the bands of ages."""
    labels = [f"under {AGES[0]}"]
    labels += [f"{low}\u2013{high - 1}" for low, high in itertools.pairwise(AGES)]
    years = pl.col(age.name)
    below = [
        pl.when(years < year).then(pl.lit(name)) for year, name in zip(AGES, labels, strict=True)
    ]
    oldest = pl.when(years >= AGES[-1]).then(pl.lit(f"{AGES[-1]} and over"))
    return age.to_frame().select(pl.coalesce(*below, oldest)).to_series()


def _record(
    label: Ints, score: Floats, patient: Ints, inside: np.ndarray[Any, Any], threshold: float
) -> dict[str, Any]:
    y, p, who = label[inside], score[inside], patient[inside]
    counts = {
        "n": len(y),
        "patients": len(np.unique(who)),
        "events": int(y.sum()),
        "risk": distribution(p),
    }
    if why := _too_few(y):
        return {**counts, "why": why}
    at, rest = table_at(y, p, threshold), table_at(label[~inside], score[~inside], threshold)
    return {
        **counts,
        "auroc": influence.auroc_estimate(y, p, who).to_json(),
        "calibration": intervals(y, p, np.unique(who, return_inverse=True)[1]),
        "flagged": at["flagged"],
        "sensitivity": at["sensitivity"],
        "false_positive_rate": at["false_positive_rate"],
        "difference": None
        if _too_few(label[~inside])
        else influence.difference(influence.auroc, label, score, inside, patient).to_json(),
        # To the other rows: disparate impact, statistical parity, equal opportunity and odds.
        "flagged_ratio": at["flagged"] / rest["flagged"] if rest["flagged"] else None,
        "flagged_difference": _minus(at["flagged"], rest["flagged"]),
        "sensitivity_difference": _minus(at["sensitivity"], rest["sensitivity"]),
        "false_positive_rate_difference": _minus(
            at["false_positive_rate"], rest["false_positive_rate"]
        ),
    }


def _too_few(label: Ints) -> str:
    events = int(label.sum())
    for count, kind in ((events, "events"), (len(label) - events, "rows without one")):
        if count < LEAST:
            return f"fewer than {LEAST} {kind}"
    return ""


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
