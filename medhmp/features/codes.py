"""Diagnosis and drug codes: in one ICD version or both, as ids of vocabularies fitted on training
admissions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from medhmp import icd
from medhmp.run import Features

COLUMNS: Final = ("source", "hadm_id", "kind", "code")
Kind = Literal["diagnosis", "drug"]
KINDS: Final[tuple[Kind, ...]] = ("diagnosis", "drug")


@dataclass(frozen=True)
class Vocabulary:
    """The codes that have an id: their place in ``codes``, which ascend by code point."""

    codes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def ids(self, codes: pl.DataFrame, name: str) -> pl.DataFrame:
        """Looks up the codes: (source, hadm_id, ``name``), the sorted ids of known codes."""
        known = pl.DataFrame(
            {"code": self.codes, "id": range(len(self))},
            schema={"code": pl.String, "id": pl.UInt32},
        )
        found = codes.join(known, on="code").select("source", "hadm_id", "id").unique()
        ids = pl.col("id").sort().alias(name)
        return found.group_by("source", "hadm_id").agg(ids)


Counts = dict[str, dict[str, int]]
"""Source -> reason -> diagnoses of admissions."""


@dataclass(frozen=True)
class Prepared:
    """Codes in the form that vocabularies take."""

    codes: pl.DataFrame  # COLUMNS
    icd9_of: Mapping[str, Sequence[str]]  # ICD-10 diagnosis -> the ICD-9 ones it has become
    counts: Counts  # of the diagnoses that could not be mapped or have no ancestors


def prepare(
    codes: pl.DataFrame,
    training: pl.DataFrame,
    features: Features,
    icd9_of: Mapping[str, Sequence[str]] | None = None,
) -> Prepared:
    """Maps ICD-10 diagnoses to ICD-9 under ``to_icd9``, then adds the ``code_levels`` above.

    Args:
        codes: ``COLUMNS``.
        training: (source, hadm_id) admissions whose ICD-9 diagnoses tell the usual one of several
            equivalents.
        features: the fields ``icd`` and ``code_levels``.
        icd9_of: the equivalents that another fit chose; none: chosen here.
    """
    every = codes.select(COLUMNS).unique(maintain_order=True)
    drugs, found = (every.filter(pl.col("kind") == kind) for kind in ("drug", "diagnosis"))
    counts: Counts = {source: {} for source in codes["source"].unique().sort()}
    if features.icd == "to_icd9":
        if icd9_of is None:
            icd9_of = _usual(found, training)
        known = _listed(icd9_of)
        _count(counts, "diagnoses without an ICD-9 equivalent", _alone(found, known, ~icd.OF_ICD9))
        found = _to_icd9(found, known)
    if features.code_levels:
        above = icd.ancestors(found["code"], features.code_levels)
        _count(counts, "diagnoses without ancestors", _alone(found, above, pl.lit(True)))
        found = _with_ancestors(found, above)
    return Prepared(pl.concat([found, drugs]), icd9_of or {}, counts)


def _usual(diagnoses: pl.DataFrame, training: pl.DataFrame) -> dict[str, list[str]]:
    """Chooses the ICD-9 diagnoses that each ICD-10 diagnosis becomes."""
    usual = diagnoses.join(training, on=["source", "hadm_id"], how="semi").filter(icd.OF_ICD9)
    known = icd.equivalents(usual["code"]).join(diagnoses, on="code", how="semi")
    return dict(known.group_by("code", maintain_order=True).agg("icd9").iter_rows())


def _listed(icd9_of: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    pairs = [(code, icd9) for code, several in icd9_of.items() for icd9 in several]
    return pl.DataFrame(pairs, schema={"code": pl.String, "icd9": pl.String}, orient="row")


def _alone(diagnoses: pl.DataFrame, known: pl.DataFrame, rule: pl.Expr) -> pl.DataFrame:
    return diagnoses.filter(rule).join(known, on="code", how="anti")


def _to_icd9(diagnoses: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    both = diagnoses.join(known, on="code", how="left", maintain_order="left")
    both = both.with_columns(code=pl.coalesce("icd9", "code"))
    return both.select(COLUMNS).unique(maintain_order=True)


def _with_ancestors(diagnoses: pl.DataFrame, above: pl.DataFrame) -> pl.DataFrame:
    nodes = diagnoses.join(above, on="code", maintain_order="left")
    nodes = nodes.with_columns(code=pl.col("ancestor")).select(COLUMNS)
    return pl.concat([diagnoses, nodes]).unique(maintain_order=True)


def _count(counts: Counts, name: str, rows: pl.DataFrame) -> None:
    of = dict(rows.group_by("source").len().iter_rows())
    for source in counts:
        counts[source][name] = of.get(source, 0)


def fit_vocabularies(codes: pl.DataFrame, features: Features) -> Mapping[Kind, Vocabulary]:
    """Fits vocabularies to the codes (``COLUMNS``) of training patients.

    A code of fewer admissions than ``min_code_count`` (drugs: ``min_drug_count``) is left out.
    """
    least = {"diagnosis": features.min_code_count, "drug": features.min_drug_count}
    counts = codes.select(COLUMNS).unique().group_by("kind", "code").len()
    kept = {
        kind: counts.filter((pl.col("kind") == kind) & (pl.col("len") >= least[kind]))
        for kind in KINDS
    }
    return {kind: Vocabulary(tuple(sorted(frame["code"]))) for kind, frame in kept.items()}
