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


@dataclass(frozen=True)
class FittedCodes:
    """What a fit has learnt about codes, for other data."""

    vocabularies: Mapping[Kind, Vocabulary]
    icd9_of: Mapping[str, Sequence[str]]  # ICD-10 diagnosis -> the ICD-9 ones it has become
    icd9_seen: Mapping[str, int]  # ICD-9 diagnosis of the vocabulary -> training admissions

    @property
    def versions(self) -> set[str]:
        """The ICD versions of its diagnoses."""
        return {code.partition(":")[0] for code in self.vocabularies["diagnosis"].codes}

    @property
    def often(self) -> dict[str, int]:
        """ICD-9 diagnosis of the vocabulary -> its weight among the equivalents of another."""
        nine = (code for code in self.vocabularies["diagnosis"].codes if code.startswith("9:"))
        return {code: 1 + self.icd9_seen.get(code, 0) for code in nine}


Counts = dict[str, dict[str, int]]
"""Source -> reason -> diagnoses of admissions."""

NO_TREE: Final = "diagnoses unknown to ICD"
NO_EQUIVALENT: Final = "diagnoses without an ICD-9 equivalent"
READ_AS_ICD9: Final = "diagnoses of ICD-10 read as ICD-9, as features.frozen has no other"
LACKING: Final[Mapping[Kind, str]] = {
    "diagnosis": "diagnoses that features.frozen lacks",
    "drug": "drugs that features.frozen lacks",
}
LOST: Final = "admissions without any diagnosis that features.frozen has"


@dataclass(frozen=True)
class Prepared:
    """Codes in the form that vocabularies take."""

    codes: pl.DataFrame  # COLUMNS
    icd9_of: Mapping[str, Sequence[str]]  # ICD-10 diagnosis -> the ICD-9 ones it has become
    counts: Counts  # of the diagnoses that are unknown, could not be mapped or have no ancestors


def prepare(
    codes: pl.DataFrame,
    training: pl.DataFrame,
    features: Features,
    frozen: FittedCodes | None = None,
) -> Prepared:
    """Maps ICD-10 diagnoses to ICD-9 under ``to_icd9``, then adds the ``code_levels`` above.

    They are mapped, too, for a ``frozen`` vocabulary of ICD-9 alone, which has no other place for
    them.

    Args:
        codes: ``COLUMNS``.
        training: (source, hadm_id) admissions whose ICD-9 diagnoses tell the usual one of several
            equivalents.
        features: the fields ``icd`` and ``code_levels``.
        frozen: another fit, which chooses among equivalents instead; none: they are chosen here.
    """
    every = codes.select(COLUMNS).unique(maintain_order=True)
    drugs, found = (every.filter(pl.col("kind") == kind) for kind in ("drug", "diagnosis"))
    counts: Counts = {source: {} for source in codes["source"].unique().sort()}
    icd9_of = dict(frozen.icd9_of) if frozen else {}
    count(counts, NO_TREE, found.filter(pl.col("code").is_in(icd.unknown(found["code"]).implode())))
    in_frozen = frozen is not None and features.icd == "joint" and frozen.versions == {"9"}
    if features.icd == "to_icd9" or in_frozen:
        often = frozen.often if frozen else icd9_seen(found, training)
        icd9_of = _equivalents(found, often) | icd9_of
        known = _listed(icd9_of)
        count(counts, NO_EQUIVALENT, _alone(found, known, ~icd.OF_ICD9))
        if in_frozen:
            count(counts, READ_AS_ICD9, found.join(known, on="code", how="semi"))
        found = _to_icd9(found, known)
    if features.code_levels:
        above = icd.ancestors(found["code"], features.code_levels)
        count(counts, "diagnoses without ancestors", _alone(found, above, pl.lit(True)))
        found = _with_ancestors(found, above)
    return Prepared(pl.concat([found, drugs]), icd9_of, counts)


def icd9_seen(codes: pl.DataFrame, training: pl.DataFrame) -> dict[str, int]:
    """ICD-9 diagnosis -> the admissions of ``training`` that have it, in the order of the codes."""
    own = codes.filter(icd.OF_ICD9 & (pl.col("kind") == "diagnosis")).select(COLUMNS).unique()
    usual = own.join(training, on=["source", "hadm_id"], how="semi")
    return dict(usual.group_by("code").len().sort("code").iter_rows())


def _equivalents(diagnoses: pl.DataFrame, often: Mapping[str, int]) -> dict[str, list[str]]:
    """Chooses the ICD-9 diagnoses that each ICD-10 diagnosis becomes."""
    known = icd.equivalents(often).join(diagnoses, on="code", how="semi")
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


def count(counts: Counts, name: str, rows: pl.DataFrame) -> None:
    """Gives every source the number of its rows under ``name``."""
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
