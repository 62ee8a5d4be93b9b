"""Admissions with their diagnoses and drugs as ids of vocabularies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from medhmp.batch import DRUG, ICD
from medhmp.features import codes
from medhmp.features.codes import Kind, Vocabulary
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
    vocabularies: Mapping[Kind, Vocabulary]
    icd9_of: Mapping[str, Sequence[str]]  # as in ``codes.Prepared``
    counts: Mapping[str, Mapping[str, int]]  # as in ``codes.Prepared``


def code_admissions(
    sources: Sequence[Source], index: Index, features: Features, frozen: Featurizer | None
) -> Coded:
    """Looks up the codes of the index's admissions, and leaves out unknown ones.

    Fits the vocabularies on training admissions, unless ``frozen`` has them.
    """
    admissions = index.admissions
    training = admissions.filter(pl.col("split") == "train")
    every = pl.concat([s.codes.with_columns(source=pl.lit(s.name)) for s in sources])
    own = every.join(admissions, on=_KEY, how="semi", maintain_order="left")
    prepared = codes.prepare(own, training, features, frozen.icd9_of if frozen else None)
    known = prepared.codes.join(training, on=_KEY, how="semi")
    vocabularies = frozen.vocabularies if frozen else codes.fit_vocabularies(known, features)
    for kind, name in ID_COLUMNS.items():
        ids = vocabularies[kind].ids(prepared.codes.filter(pl.col("kind") == kind), name)
        admissions = admissions.join(ids, on=_KEY, how="left", maintain_order="left")
        admissions = admissions.with_columns(pl.col(name).fill_null([]))
    return Coded(admissions, vocabularies, prepared.icd9_of, prepared.counts)
