"""The settings of FIDDLE (Tang et al., 2020, JAMIA 27:1921), as this project runs it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from medhmp.run import Features, Run

Statistic = Literal["min", "max", "mean"]

VALUE_TYPES: Final[Mapping[str, str]] = MappingProxyType(Features().types())
"""FIDDLE's own overrides of the value type of a variable."""


@dataclass(frozen=True)
class Settings:
    """What defines the features; FIDDLE's names are in brackets where they differ."""

    hours: int  # (T) rows with 0 <= t < hours are used
    dt: float = 1.0  # hours per bin; a remainder of hours is dropped
    theta_1: float = 0.001  # a variable is kept if more than this share of ids has it
    theta_2: float = 0.001  # near-constant hourly features are dropped below this share of ids
    theta_2_static: float | None = None  # the same for static features; None: theta_2
    theta_freq: float = 1.0  # readings per bin from which a numeric variable is frequent
    statistics: tuple[Statistic, ...] = (
        "min",
        "max",
        "mean",
    )  # (stats_functions) of frequent variables
    discretize: bool = True  # False: real values, missing cells imputed with the mean
    ordinal: bool = False  # (use_ordinal_encoding) "value > edge" instead of one-hot bins
    drop_near_copies: bool = False  # FIDDLE's tolerance of 1e-5 in the correlation of 0/1 features
    value_types: Mapping[str, str] = field(default_factory=lambda: dict(VALUE_TYPES))  # overrides
    hierarchical_levels: tuple[int, ...] = (0, 1, 2)  # levels of a code's path that are encoded

    @property
    def bins(self) -> int:
        """L, the bins of a row; bin k is [k dt, (k + 1) dt)."""
        return math.floor(self.hours / self.dt)

    @property
    def static_threshold(self) -> float:
        """theta_2 of the static features."""
        return self.theta_2 if self.theta_2_static is None else self.theta_2_static


def settings_of(run: Run) -> Settings:
    """The settings that a run asks for."""
    features = run.features
    return Settings(
        hours=run.cohort.hours,
        dt=features.dt,
        theta_1=features.theta_1,
        theta_2=features.theta_2,
        theta_2_static=features.theta_2_static,
        theta_freq=features.theta_freq,
        statistics=features.statistics,
        discretize=features.discretize,
        ordinal=features.ordinal,
        drop_near_copies=features.drop_near_copies,
        value_types=features.types(),
    )
