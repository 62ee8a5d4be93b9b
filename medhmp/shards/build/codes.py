"""Admissions with their diagnoses and drugs as ids of vocabularies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from medhmp.batch import DRUG, ICD
from medhmp.features import codes
from medhmp.features.codes import FittedCodes, Kind, Prepared
from medhmp.run import Features
from medhmp.shards.build.index import Index
from medhmp.shards.featurizer import Featurizer
from medhmp.tables.schema import Source

ID_COLUMNS: Final[dict[Kind, str]] = {"diagnosis": ICD.ids, "drug": DRUG.ids}
_KEY: Final = ["source", "hadm_id"]


@dataclass(frozen=True)
class Coded:
    """Coded admissions, and what coded them."""

    admissions: pl.DataFrame  # the index's, with a list of ids for each kind of code
    fitted: FittedCodes
    counts: Mapping[str, Mapping[str, int]]  # source -> reason -> codes, or admissions


def code_admissions(
    sources: Sequence[Source], index: Index, features: Features, frozen: Featurizer | None
) -> Coded:
    """Looks up the codes of the index's admissions, and leaves out unknown ones.

    Fits the vocabularies on training admissions, unless ``frozen`` has them; then counts what it
    lacks.
    """
    admissions = index.admissions
    training = admissions.filter(pl.col("split") == "train")
    every = pl.concat([s.codes.with_columns(source=pl.lit(s.name)) for s in sources])
    own = every.join(admissions, on=_KEY, how="semi", maintain_order="left")
    prepared = codes.prepare(own, training, features, frozen.codes if frozen else None)
    if frozen:
        fitted = replace(frozen.codes, icd9_of=prepared.icd9_of)
        lacking = _lacking(prepared, fitted)
        counts = {name: of | lacking.get(name, {}) for name, of in prepared.counts.items()}
    else:
        known = prepared.codes.join(training, on=_KEY, how="semi")
        vocabularies = codes.fit_vocabularies(known, features)
        named = set(vocabularies["diagnosis"].codes)
        seen = {code: n for code, n in codes.icd9_seen(own, training).items() if code in named}
        fitted, counts = FittedCodes(vocabularies, prepared.icd9_of, seen), prepared.counts
    for kind, name in ID_COLUMNS.items():
        of_kind = prepared.codes.filter(pl.col("kind") == kind)
        ids = fitted.vocabularies[kind].ids(of_kind, name)
        admissions = admissions.join(ids, on=_KEY, how="left", maintain_order="left")
        admissions = admissions.with_columns(pl.col(name).fill_null([]))
    return Coded(admissions, fitted, counts)


def _lacking(prepared: Prepared, fitted: FittedCodes) -> dict[str, dict[str, int]]:
    """Source -> reason -> codes that a frozen vocabulary lacks, and admissions that lose all."""
    counts: dict[str, dict[str, int]] = {name: {} for name in prepared.counts}
    for kind, reason in codes.LACKING.items():
        every = prepared.codes.filter(pl.col("kind") == kind)
        known = every.filter(pl.col("code").is_in(list(fitted.vocabularies[kind].codes)))
        codes.count(counts, reason, every.join(known, on=[*_KEY, "code"], how="anti"))
        if kind == "diagnosis":
            lost = every.select(_KEY).unique().join(known, on=_KEY, how="anti")
            codes.count(counts, codes.LOST, lost)
    return counts
