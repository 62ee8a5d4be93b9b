"""Hierarchical values: each diagnosis code becomes the nodes above it in the tree of ICD-9-CM.

A value that is no code is refused: without its text, which may be anything, and with all others, so
that they can be mended at once.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import polars as pl

from medhmp import icd
from medhmp.refusal import Refusal, counted

ICD9: Final = "hierarchical_ICD9"
"""The value type that has a tree here."""

Unknown = tuple[str, str, int]
"""A variable, the SHA-256 of a value of it that is no code, and the rows that have it."""


def expand(rows: pl.DataFrame, kinds: Mapping[str, str], levels: tuple[int, ...]) -> pl.DataFrame:
    """Events ``variable:node`` = 1, one per (id, t) for each wanted level of each value's path.

    ``rows`` have the columns of events and ``value``, the code as text; ``kinds`` are the types of
    their variables. Beyond the end of a path its leaf counts. Drops rows without a value. Refuses
    other types than ``ICD9``, and values that are no codes.
    """
    valued = rows.filter(pl.col("number").is_not_null() | pl.col("text").is_not_null())
    pairs = valued.select("variable", "value").unique().sort("variable", "value")
    for name in pairs["variable"].unique().sort():
        if kinds[name] != ICD9:
            raise Refusal(f"variable '{name}' has the value type '{kinds[name]}'; give {ICD9}")
    refuse(_unknown(valued))
    paths = [icd.icd9_path(code) for code in pairs["value"]]
    nodes = [[path[min(level, len(path) - 1)] for level in levels] for path in paths]
    named = pairs.with_columns(node=pl.Series("node", nodes, dtype=pl.List(pl.String)))
    return (
        valued.join(named, on=["variable", "value"], how="left", maintain_order="left")
        .explode("node")
        .select(
            "id",
            "t",
            variable=pl.col("variable") + ":" + pl.col("node"),
            number=pl.lit(1.0),
            text=pl.lit(None, dtype=pl.String),
        )
        .unique(maintain_order=True)
    )


def unknown(events: pl.DataFrame, value_types: Mapping[str, str]) -> list[Unknown]:
    """The values of one bucket of events that are no codes, for variables of the type ``ICD9``.

    A number is none: it has no leading zeros.
    """
    names = [name for name, kind in value_types.items() if kind == ICD9]
    rows = events.filter(pl.col("variable").is_in(names))
    given = rows.filter(pl.col("number").is_not_null() | pl.col("text").is_not_null())
    return _unknown(given.with_columns(value=pl.coalesce("text", pl.col("number").cast(pl.String))))


def _unknown(valued: pl.DataFrame) -> list[Unknown]:
    found = valued.group_by("variable", "value", pl.col("text").is_null().alias("bare")).len()
    return sorted(
        (variable, hashlib.sha256(value.encode()).hexdigest(), n)
        for variable, value, bare, n in found.iter_rows()
        if bare or not icd.icd9_path(value)
    )


def refuse(found: Iterable[Unknown]) -> None:
    """Refuses values that are no codes, if there are any.

    The variables' names may be said, as ``features.value_types`` has them.
    """
    rows: dict[str, int] = {}
    values: dict[str, set[str]] = {}
    for variable, value, n in found:
        rows[variable] = rows.get(variable, 0) + n
        values.setdefault(variable, set()).add(value)
    if rows:
        each = [
            f"'{n}' ({counted(len(values[n]), 'value')} in {counted(rows[n], 'row')})"
            for n in sorted(rows)
        ]
        raise Refusal(
            f"values that are no ICD-9-CM codes are in variable {', '.join(each)}; correct or drop "
            "them (codes are text: 038.9 must not become 38.9), or give another type in "
            "features.value_types"
        )
