"""Diagnosis and drug codes as ids of vocabularies fitted on training admissions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from medhmp.run import Features, digest

Kind = Literal["diagnosis", "drug"]
KINDS: Final[tuple[Kind, ...]] = ("diagnosis", "drug")


@dataclass(frozen=True)
class Vocabulary:
    """The codes that have an id: their place in ``codes``, which ascend by code point."""

    codes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def sha256(self) -> str:
        """What shards and checkpoints compare."""
        return digest(list(self.codes))

    def ids(self, codes: pl.DataFrame, name: str) -> pl.DataFrame:
        """(source, hadm_id, ``name``): sorted ids of each admission, unknown codes left out."""
        known = pl.DataFrame(
            {"code": self.codes, "id": range(len(self))},
            schema={"code": pl.String, "id": pl.UInt32},
        )
        found = codes.join(known, on="code").select("source", "hadm_id", "id").unique()
        ids = pl.col("id").sort().alias(name)
        return found.group_by("source", "hadm_id").agg(ids)


def fit(codes: pl.DataFrame, features: Features) -> Mapping[Kind, Vocabulary]:
    """Vocabularies of the codes (``source``, ``hadm_id``, ``kind``, ``code``) of training patients.

    A code of fewer admissions than ``min_code_count`` (drugs: ``min_drug_count``) is left out.
    """
    least = {"diagnosis": features.min_code_count, "drug": features.min_drug_count}
    counts = (
        codes.select("source", "hadm_id", "kind", "code").unique().group_by("kind", "code").len()
    )
    kept = {
        kind: counts.filter((pl.col("kind") == kind) & (pl.col("len") >= least[kind]))
        for kind in KINDS
    }
    return {kind: Vocabulary(tuple(sorted(frame["code"]))) for kind, frame in kept.items()}
