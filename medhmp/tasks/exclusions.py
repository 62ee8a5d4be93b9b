"""What the rules of every task share: rows narrowed step by step, and who was alive when."""

from dataclasses import dataclass

import polars as pl

from medhmp.tables.schema import Source


@dataclass(frozen=True)
class Labels:
    """``rows``: subject_id, row_id, label, prediction_time. ``steps``: what each rule left."""

    rows: pl.DataFrame
    steps: list[tuple[str, int]]


class Funnel:
    """A frame narrowed rule by rule, with the count after each."""

    def __init__(self, name: str, frame: pl.DataFrame) -> None:
        self.frame, self.steps = frame, [(name, frame.height)]

    def keep(self, name: str, rule: pl.Expr) -> None:
        self.frame = self.frame.filter(rule)
        self.steps.append((name, self.frame.height))

    def labels(self, row_id: str) -> Labels:
        label, row = pl.col("label").cast(pl.Int8), pl.col(row_id).alias("row_id")
        return Labels(self.frame.select("subject_id", row, label, "prediction_time"), self.steps)


def in_life(source: Source) -> pl.DataFrame:
    """Admissions with ``birth`` and ``death``, without those that begin after the patient's death.

    Organ donors are admitted again. A day of death is known only as its midnight.
    """
    patients = source.patients.select("subject_id", "birth", "death")
    frame = source.admissions.join(patients, on="subject_id", maintain_order="left")
    died = pl.col("died").min().over("subject_id")
    after_day = pl.col("admitted") >= pl.col("death") + pl.duration(days=1)
    return frame.filter(~((pl.col("admitted") > died) | after_day).fill_null(False))


def diagnoses(source: Source) -> pl.DataFrame:
    """The codes that are diagnoses."""
    return source.codes.filter(pl.col("kind") == "diagnosis")
