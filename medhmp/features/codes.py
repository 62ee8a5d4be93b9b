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
        """(source, hadm_id, ``name``): sorted ids of each admission, unknown codes left out."""
        known = pl.DataFrame(
            {"code": self.codes, "id": range(len(self))},
            schema={"code": pl.String, "id": pl.UInt32},
        )
        found = codes.join(known, on="code").select("source", "hadm_id", "id").unique()
        ids = pl.col("id").sort().alias(name)
        return found.group_by("source", "hadm_id").agg(ids)


Counts = dict[str, dict[str, int]]
"""Source -> what is counted -> how many."""


@dataclass(frozen=True)
class Prepared:
    """Codes (``COLUMNS``) as vocabularies take them.

    ``icd9_of`` says what each ICD-10 diagnosis has become; ``counts`` are diagnoses of admissions
    that stay as they are.
    """

    codes: pl.DataFrame
    icd9_of: Mapping[str, Sequence[str]]
    counts: Counts


def prepare(
    codes: pl.DataFrame,
    training: pl.DataFrame,
    features: Features,
    icd9_of: Mapping[str, Sequence[str]] | None = None,
) -> Prepared:
    """Under ``to_icd9`` ICD-10 diagnoses become ICD-9 ones; then come the ``code_levels`` above.

    ``codes`` has ``COLUMNS``, ``training`` (source, hadm_id) the admissions whose ICD-9 diagnoses
    say which of several equivalents is the usual one, unless ``icd9_of`` says it.
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
    """What each ICD-10 diagnosis becomes."""
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


def fit(codes: pl.DataFrame, features: Features) -> Mapping[Kind, Vocabulary]:
    """Vocabularies of the codes (``source``, ``hadm_id``, ``kind``, ``code``) of training patients.

    A code of fewer admissions than ``min_code_count`` (drugs: ``min_drug_count``) is left out.
    """
    least = {"diagnosis": features.min_code_count, "drug": features.min_drug_count}
    counts = codes.select(COLUMNS).unique().group_by("kind", "code").len()
    kept = {
        kind: counts.filter((pl.col("kind") == kind) & (pl.col("len") >= least[kind]))
        for kind in KINDS
    }
    return {kind: Vocabulary(tuple(sorted(frame["code"]))) for kind, frame in kept.items()}
