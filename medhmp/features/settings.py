"""The settings of FIDDLE (Tang et al., 2020, JAMIA 27:1921), as this project runs it.

Their defaults are those of ``run.Features``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from medhmp.run import Features

Statistic = Literal["min", "max", "mean"]


@dataclass(frozen=True)
class Settings:
    """The settings that define the features; FIDDLE's names are in brackets where they differ."""

    hours: int  # (T) rows with 0 <= t < hours are used
    dt: float  # hours per bin; a remainder of hours is dropped
    theta_1: float  # a variable is kept if more than this share of ids has it
    theta_2: float  # near-constant hourly features are dropped below this share of ids
    theta_2_static: float | None  # the same for static features; None: theta_2
    theta_freq: float  # readings per bin from which a numeric variable is frequent
    statistics: tuple[Statistic, ...]  # (stats_functions) of frequent variables
    discretize: bool  # False: real values, missing cells imputed with the mean
    ordinal: bool  # (use_ordinal_encoding) "value > edge" instead of one-hot bins
    drop_near_copies: bool  # FIDDLE's tolerance of 1e-5 in the correlation of 0/1 features
    value_types: Mapping[str, str]  # of the variables whose values mislead
    # ids whose readings decide which variables are frequent; FIDDLE's are all
    frequent_over: Literal["all", "full_length"] = "all"
    scale: Literal["none", "quantiles"] = "none"  # of real values; FIDDLE leaves them
    clip: bool = False  # numbers in no bin go to the nearest one; FIDDLE's give no feature
    hierarchical_levels: tuple[int, ...] = (0, 1, 2)  # levels of a code's path that are encoded

    @property
    def bins(self) -> int:
        """L, the bins of a row; bin k is [k dt, (k + 1) dt)."""
        return math.floor(self.hours / self.dt)

    @property
    def static_threshold(self) -> float:
        """theta_2 of the static features."""
        return self.theta_2 if self.theta_2_static is None else self.theta_2_static


def settings_of(hours: int, features: Features) -> Settings:
    """The settings of a run that observes ``hours`` hours."""
    return Settings(
        hours=hours,
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
        frequent_over=features.frequent_over,
        scale=features.scale,
        clip=features.clip,
    )
