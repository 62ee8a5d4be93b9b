"""The result of a fit, as plain values that travel as JSON, and of a transform, as CSR."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medhmp.arrays import Floats, Ints
from medhmp.features.columns import Column
from medhmp.features.filled import Recorded
from medhmp.features.settings import Settings
from medhmp.features.variables import ColumnPlan, Types


@dataclass(frozen=True)
class FittedTable:
    """One fitted table, static or hourly."""

    columns: tuple[Column, ...]
    names_all: tuple[str, ...]  # of the features before the post-filter
    kept: tuple[int, ...]  # places among them of the features after it
    aliases: dict[str, list[str]]  # earliest feature -> those dropped as its copies, ~{complement}
    edges: dict[str, tuple[float, ...] | None]  # bins of each column; None: not binned

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in the order of their ids."""
        return tuple(self.names_all[place] for place in self.kept)


@dataclass(frozen=True)
class FittedFeatures:
    """Everything that ``fiddle.transform`` needs, as plain values."""

    plan: ColumnPlan
    static: FittedTable
    hourly: FittedTable

    def published(self) -> "FittedFeatures":
        """The same fit without the values that its post-filter dropped; ``transform`` gives the
        same.

        A text that few ids have may be anything that somebody typed. It must not become part of
        what is shared with the shards.
        """
        static, of_static = _kept_alone(self.static, self.plan.static)
        hourly, of_hours = _kept_alone(self.hourly, self.plan.hourly)
        plan = replace(self.plan, static=of_static, hourly=of_hours)
        return FittedFeatures(plan, static, hourly)

    @property
    def elapsed(self) -> npt.NDArray[np.bool_]:
        """True for the hourly features (D,) of the bins since a reading."""
        names = {f"{name}_delta_time" for name in self.plan.frequent}
        own = [f for c in self.hourly.columns if c.name in names for f in c.features]
        return np.isin(self.hourly.kept, own)

    def to_json(self) -> str:
        """JSON text from which ``from_json`` makes an equal value."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "FittedFeatures":
        """Reads what ``to_json`` wrote."""
        raw = json.loads(text)
        plan = raw["plan"]
        settings, types = plan.pop("settings"), plan.pop("types")
        return cls(
            ColumnPlan(Settings(**_frozen(settings)), Types(**_frozen(types)), **_frozen(plan)),
            _table(raw["static"]),
            _table(raw["hourly"]),
        )


def _kept_alone(
    table: FittedTable, variables: tuple[str, ...]
) -> tuple[FittedTable, tuple[str, ...]]:
    """The table, its dropped features without names or values, and those of the ``variables``, to
    which its first columns belong, that have a feature left."""
    kept = set(table.kept)
    columns = [_with_features(column, kept) for column in table.columns]
    used = [not kept.isdisjoint((*c.features, *c.text_features)) for c in columns]
    used[len(variables) :] = [True] * (len(columns) - len(variables))
    of = tuple(column for column, is_used in zip(columns, used, strict=True) if is_used)
    names = {column.name for column in of}
    rest = FittedTable(
        columns=of,
        names_all=tuple(n if place in kept else "" for place, n in enumerate(table.names_all)),
        kept=table.kept,
        aliases=table.aliases,
        edges={name: edges for name, edges in table.edges.items() if name in names},
    )
    return rest, tuple(n for n, is_used in zip(variables, used, strict=False) if is_used)


def _with_features(column: Column, kept: set[int]) -> Column:
    """The column with the categories of these features alone."""
    texts = [(t, f) for t, f in zip(column.texts, column.text_features, strict=True) if f in kept]
    column = replace(
        column, texts=tuple(t for t, _ in texts), text_features=tuple(f for _, f in texts)
    )
    if not column.numbers:
        return column
    numbers = [(n, f) for n, f in zip(column.numbers, column.features, strict=True) if f in kept]
    return replace(
        column, numbers=tuple(n for n, _ in numbers), features=tuple(f for _, f in numbers)
    )


def _table(raw: dict[str, Any]) -> FittedTable:
    columns = tuple(Column(**_frozen(column)) for column in raw["columns"])
    edges = {name: None if e is None else tuple(e) for name, e in raw["edges"].items()}
    return FittedTable(columns, tuple(raw["names_all"]), tuple(raw["kept"]), raw["aliases"], edges)


def _frozen(raw: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()}


@dataclass(frozen=True)
class Transformed:
    """Features of n ids as CSR. Feature ids ascend inside a row; values are None if all are 1.

    The static features of the i-th id are ``static_ids[static_offsets[i]:static_offsets[i + 1]]``.
    Its hourly ones are ``feature_ids[offsets[i]:offsets[i + 1]]``, in which ``hour_offsets[i]``
    says where each bin begins and ends.
    """

    ids: Ints  # (n,), ascending
    static_offsets: Ints  # (n + 1,)
    static_ids: npt.NDArray[np.int32]
    static_values: Floats | None
    offsets: Ints  # (n + 1,)
    hour_offsets: npt.NDArray[np.uint32]  # (n, L + 1)
    feature_ids: npt.NDArray[np.int32]
    values: Floats | None
    recorded: Recorded | None = None  # what of the hourly features is no imputation, and counts
