"""FIDDLE's variables: kept or not, their types and names, and static, hourly or frequent.

Counts are additive over buckets of ids. ``survey`` counts the variables as recorded; from its
counts, ``types_of`` keeps and types them. ``census`` counts them again as renamed by those types;
from its counts, ``column_plan`` sorts them into static, hourly and frequent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from medhmp.features import hierarchy
from medhmp.features.events import Ids, in_window, is_repeated, number_texts
from medhmp.features.settings import Settings
from medhmp.refusal import Refusal

NEAREST: Final = 5
"""Variables not frequent whose readings a plan keeps, those with the most first."""


@dataclass(frozen=True)
class Survey:
    """``variables``: per variable its ids, and its rows holding a number and a text."""

    ids: int
    variables: pl.DataFrame

    def __add__(self, other: "Survey") -> "Survey":
        both = pl.concat([self.variables, other.variables])
        return Survey(self.ids + other.ids, both.group_by("variable").sum())


@dataclass(frozen=True)
class Types:
    """The value type of each variable kept.

    ``underscored`` are the variables declared Categorical whose values hold a number: each of their
    values gets a "_" in front, so that none looks like a number.
    """

    of: Mapping[str, str]
    underscored: tuple[str, ...]

    @property
    def coded(self) -> list[str]:
        """Variables whose repeated values at one time become variables of their own."""
        kinds = {name: kind.lower() for name, kind in self.of.items()}
        return [n for n, kind in kinds.items() if "numeric" not in kind and "none" not in kind]

    @property
    def hierarchical(self) -> list[str]:
        return [name for name, kind in self.of.items() if "hierarchical" in kind.lower()]


@dataclass(frozen=True)
class Census:
    """``variables``: per variable, as renamed, its rows, its rows without a time, and its rows of
    the ``ids`` that decide which variables are frequent."""

    ids: int
    variables: pl.DataFrame

    def __add__(self, other: "Census") -> "Census":
        both = pl.concat([self.variables, other.variables])
        return Census(self.ids + other.ids, both.group_by("variable").sum())


@dataclass(frozen=True)
class ColumnPlan:
    """The columns of the two tables, before their values are known. Names ascend by code point."""

    settings: Settings
    types: Types
    static: tuple[str, ...]
    hourly: tuple[str, ...]  # not frequent
    frequent: tuple[str, ...]
    # readings per id of the numeric variables that are frequent, then of those that come nearest
    readings: Mapping[str, float] = field(default_factory=dict)

    @property
    def static_columns(self) -> tuple[str, ...]:
        return tuple(f"{name}_value" for name in self.static)

    @property
    def hourly_columns(self) -> tuple[str, ...]:
        """The hourly table's columns in order, its masks apart."""
        return (
            *(f"{name}_value" for name in self.hourly),
            *(f"{name}_delta_time" for name in self.frequent),
            *(f"{name}_value" for name in self.frequent),
            *(f"{name}_{stat}" for name in self.frequent for stat in self.settings.statistics),
        )

    @property
    def masks(self) -> tuple[str, ...]:
        return tuple(f"{name}_mask" for name in self.frequent)


def survey(events: pl.DataFrame, ids: Ids, settings: Settings) -> Survey:
    """Counts the variables of one bucket. Refuses inconsistent and infinite numbers."""
    seen = in_window(events, ids, settings.hours)
    refuse_bad_numbers(seen, settings.value_types)
    counts = seen.group_by("variable").agg(
        ids=pl.col("id").n_unique().cast(pl.Int64),
        numbers=pl.col("number").count().cast(pl.Int64),
        texts=pl.col("text").count().cast(pl.Int64),
    )
    return Survey(len(ids), counts)


def refuse_bad_numbers(seen: pl.DataFrame, value_types: Mapping[str, str]) -> None:
    """Refuses numbers that are not finite, and two values, one a number, at one (id, t, variable).

    Of two such values neither is the right one. The variable is not named: its name is the data's.
    """
    if not seen["number"].is_finite().all():
        raise Refusal(
            "a variable has a number that is not finite; drop such numbers or record them as text"
        )
    words = ("hierarchical", "categorical")
    exempt = [n for n, kind in value_types.items() if any(word in kind.lower() for word in words)]
    rows = seen.filter(~pl.col("variable").is_in(exempt)) if exempt else seen
    several = rows.filter(is_repeated(rows))
    if several["number"].count():
        raise Refusal(
            "Inconsistent numerical values recorded: a variable has several values for one id and "
            "time, or without a time; count the rows of each id, time and variable to find them, "
            "and keep one"
        )


def types_of(counted: Survey, settings: Settings) -> Types:
    """Keeps the variables that more than theta_1 of the ids have, and types them."""
    of, underscored = {}, []
    for row in counted.variables.sort("variable").iter_rows(named=True):
        if row["ids"] / counted.ids > settings.theta_1:
            name = row["variable"]
            of[name] = settings.value_types.get(name) or _inferred(row["numbers"], row["texts"])
            if settings.value_types.get(name) == "Categorical" and row["numbers"]:
                underscored.append(name)
    return Types(of, tuple(underscored))


def _inferred(numbers: int, texts: int) -> str:
    if numbers:
        return "Numeric + Categorical" if texts else "Numeric"
    return "Categorical" if texts else "None"


def rename(seen: pl.DataFrame, types: Types, levels: tuple[int, ...]) -> pl.DataFrame:
    """Keeps the rows of the variables kept, and gives them their final names.

    Of a coded variable with several rows at one (id, t), each row becomes ``variable:value`` = 1. A
    hierarchical value always does, once per level of its path. (FIDDLE names a single code
    ``variable_value_code``, a second feature for the same fact.)
    """
    coded = pl.col("variable").is_in(types.coded)
    plain = seen.filter(pl.col("variable").is_in(list(types.of)) & ~coded)
    words = _with_text(seen.filter(coded), types.underscored)
    hierarchical = pl.col("variable").is_in(types.hierarchical)
    paths = hierarchy.expand(words.filter(hierarchical), types.of, levels)
    words = words.filter(~hierarchical)
    several = is_repeated(words)
    words = words.with_columns(
        variable=pl.when(several)
        .then(pl.col("variable") + ":" + pl.col("value"))
        .otherwise("variable"),
        number=pl.when(several).then(1.0).otherwise("number"),
        text=pl.when(~several).then("text"),
    )
    return pl.concat([plain, words.drop("value"), paths])


def _with_text(words: pl.DataFrame, underscored: tuple[str, ...]) -> pl.DataFrame:
    """Adds ``value``, the text of each value ("nan" of a null, as FIDDLE has it)."""
    value = pl.coalesce("text", number_texts(words), pl.lit("nan"))
    marked = pl.col("variable").is_in(underscored)
    value = pl.when(marked).then("_" + value).otherwise(value)
    return words.with_columns(
        value=value,
        text=pl.when(marked).then(value).otherwise("text"),
        number=pl.when(~marked).then("number"),
    )


def census(
    events: pl.DataFrame,
    ids: Ids,
    settings: Settings,
    types: Types,
    observed: pl.DataFrame | None = None,
) -> Census:
    """Counts the renamed variables of one bucket. ``observed`` is as ``full_length`` has it."""
    seen = in_window(events, ids, settings.hours)
    deciding = ids
    if settings.frequent_over == "full_length":
        deciding = full_length(seen, ids, settings, observed)
    renamed = rename(seen, types, settings.hierarchical_levels)
    counts = renamed.group_by("variable").agg(
        rows=pl.len().cast(pl.Int64),
        timeless=pl.col("t").null_count().cast(pl.Int64),
        deciding=pl.col("id").is_in(pl.Series(deciding).implode()).sum().cast(pl.Int64),
    )
    return Census(len(deciding), counts)


def full_length(
    seen: pl.DataFrame, ids: Ids, settings: Settings, observed: pl.DataFrame | None
) -> Ids:
    """The ids, ascending, that were observed in all bins.

    ``observed`` has the ``id`` and ``hours`` of those whose length is known. Another is taken to be
    observed until its last reading, so it needs one in the last bin.
    """
    last = seen.group_by("id").agg(pl.col("t").max())
    every = pl.DataFrame({"id": ids}, schema={"id": pl.Int64}).join(last, on="id", how="left")
    whole = pl.col("t") >= (settings.bins - 1) * settings.dt
    if observed is not None:
        every = every.join(observed, on="id", how="left")
        whole = pl.coalesce(pl.col("hours") >= settings.bins * settings.dt, whole)
    return every.filter(whole)["id"].sort().to_numpy()


def column_plan(counted: Census, settings: Settings, types: Types) -> ColumnPlan:
    """Sorts the variables: static with any row without a time, frequent if numeric and dense."""
    static, hourly, frequent = list[str](), list[str](), list[str]()
    numeric: dict[str, float] = {}
    for name, _, timeless, rows in counted.variables.sort("variable").iter_rows():
        if timeless:
            static.append(name)
            continue
        if types.of.get(name) == "Numeric":
            numeric[name] = rows / counted.ids if counted.ids else 0.0
        is_frequent = numeric.get(name, -1) >= settings.theta_freq * settings.bins
        (frequent if is_frequent else hourly).append(name)
    most = sorted(numeric, key=lambda name: (-numeric[name], name))[: len(frequent) + NEAREST]
    readings = {name: numeric[name] for name in most}
    return ColumnPlan(settings, types, tuple(static), tuple(hourly), tuple(frequent), readings)
