"""Exclusion steps: a cohort narrowed rule by rule, with the count left after each."""

from dataclasses import dataclass

import polars as pl

from medhmp.tables.schema import Source


@dataclass(frozen=True)
class Labels:
    """The labelled rows of a task, of one source."""

    rows: pl.DataFrame  # subject_id, row_id, label, prediction_time
    steps: list[tuple[str, int]]  # exclusion step -> rows left after it


class Exclusions:
    """A frame narrowed rule by rule, with the count left after each."""

    def __init__(self, name: str, frame: pl.DataFrame) -> None:
        self.frame, self.steps = frame, [(name, frame.height)]

    def keep(self, name: str, rule: pl.Expr) -> None:
        """Keeps the rows that meet a rule; records the step."""
        self.frame = self.frame.filter(rule)
        self.steps.append((name, self.frame.height))

    def labels(self, row_id: str) -> Labels:
        """The rows left, named by the column ``row_id``; they have label and prediction_time."""
        label, row = pl.col("label").cast(pl.Int8), pl.col(row_id).alias("row_id")
        return Labels(self.frame.select("subject_id", row, label, "prediction_time"), self.steps)


def admitted_alive(source: Source) -> pl.DataFrame:
    """Admissions with the patient's ``birth`` and ``death``, without those that begin after death.

    Organ donors are admitted again. A death known by its day alone has the time of its midnight.
    """
    patients = source.patients.select("subject_id", "birth", "death")
    frame = source.admissions.join(patients, on="subject_id", maintain_order="left")
    died = pl.col("died").min().over("subject_id")
    after_day = pl.col("admitted") >= pl.col("death") + pl.duration(days=1)
    return frame.filter(~((pl.col("admitted") > died) | after_day).fill_null(False))


def diagnosis_codes(source: Source) -> pl.DataFrame:
    """The rows of CODES that are diagnoses."""
    return source.codes.filter(pl.col("kind") == "diagnosis")
