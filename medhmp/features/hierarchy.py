"""Hierarchical values: each diagnosis code becomes the nodes above it in the tree of ICD-9-CM."""

from collections.abc import Mapping

import polars as pl

from medhmp import icd
from medhmp.refusal import Refusal


def expand(rows: pl.DataFrame, kinds: Mapping[str, str], levels: tuple[int, ...]) -> pl.DataFrame:
    """Events ``variable:node`` = 1, one per (id, t) for each wanted level of each value's path.

    ``rows`` have the columns of events and ``value``, the code as text; ``kinds`` are the types of
    their variables. Beyond the end of a path its leaf counts. Drops rows without a value.
    """
    valued = rows.filter(pl.col("number").is_not_null() | pl.col("text").is_not_null())
    pairs = valued.select("variable", "value").unique().sort("variable", "value")
    nodes = [_nodes(name, kinds[name], code, levels) for name, code in pairs.iter_rows()]
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


def _nodes(variable: str, kind: str, code: str, levels: tuple[int, ...]) -> list[str]:
    if kind != "hierarchical_ICD9":
        raise Refusal(f"variable '{variable}' has the value type '{kind}'; give hierarchical_ICD9")
    path = icd.icd9_path(code)
    if not path:
        raise Refusal(
            f"variable '{variable}' has the value '{code}', which is not an ICD-9-CM code; "
            "correct or drop it"
        )
    return [path[min(level, len(path) - 1)] for level in levels]
