"""The result of a fit, as plain values that travel as JSON, and of a transform, as CSR."""

import json
from dataclasses import asdict, dataclass
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
