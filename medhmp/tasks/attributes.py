"""Who the rows of a task are: attributes by which a report shows subgroups.

They are no input of a model. Texts are the shared categories of ``tables/facts.yaml``, whatever
words the features have; a word of no category counts as that fact's rest, so that no free text
leaves the source.
"""

from typing import Final

import polars as pl

from medhmp.frames import frame_of
from medhmp.layout import ATTRIBUTE_COLUMNS
from medhmp.legend import Level
from medhmp.tables.facts import REST, shared, vocabulary
from medhmp.tables.hours import YEAR
from medhmp.tables.schema import Source

OLDEST: Final = 90
"""Years; sources hide higher ages, so all from here on count as one."""

FACTS: Final = {
    "sex": "GENDER",
    "ethnicity": "ETHNICITY",
    "insurance": "INSURANCE",
    "first_careunit": "FIRST_CAREUNIT",
}
"""Column of the one set of tables -> its fact in ``tables/facts.yaml``."""


def attributes(level: Level, source: Source, rows: pl.DataFrame) -> pl.DataFrame:
    """``ATTRIBUTE_COLUMNS`` of one source's labelled rows (row_id, subject_id, prediction_time).

    Ethnicity and insurance are those of the row's admission, the care unit that of its first stay;
    a patient's admission is the last that began by the prediction time.
    """
    placed = _placed(level, source, rows.select("row_id", "subject_id", "prediction_time"))
    people = source.patients.select("subject_id", "sex", "birth")
    admissions = source.admissions.select("hadm_id", "ethnicity", "insurance")
    frame = placed.join(people, on="subject_id", how="left", maintain_order="left").join(
        admissions, on="hadm_id", how="left", maintain_order="left"
    )
    years = (pl.col("prediction_time") - pl.col("birth")).dt.total_hours() / YEAR
    known = frame.with_columns(
        *(category(fact, frame[column]) for column, fact in FACTS.items()),
        source=pl.lit(source.name),
        age=years.floor().clip(0, OLDEST).cast(pl.Int16),
    )
    named = known.rename({"first_careunit": "care_unit"}).select(ATTRIBUTE_COLUMNS.names)
    return named.cast(frame_of(ATTRIBUTE_COLUMNS.empty_table()).schema)


def _placed(level: Level, source: Source, rows: pl.DataFrame) -> pl.DataFrame:
    """Adds each row's ``hadm_id`` and ``first_careunit``."""
    stays = source.stays.sort("intime", "stay_id")
    if level == "stay":
        own = stays.select(pl.col("stay_id").alias("row_id"), "hadm_id", "first_careunit")
        return rows.join(own, on="row_id", how="left", maintain_order="left")
    if level == "admission":
        placed = rows.with_columns(hadm_id=pl.col("row_id"))
    else:
        begun = source.admissions.select("subject_id", "hadm_id", "admitted").join(
            rows, on="subject_id"
        )
        last = (
            begun.filter(pl.col("admitted") <= pl.col("prediction_time"))
            .sort("admitted", "hadm_id")
            .group_by("row_id")
            .agg(pl.col("hadm_id").last())
        )
        placed = rows.join(last, on="row_id", how="left", maintain_order="left")
    first = stays.group_by("hadm_id").agg(pl.col("first_careunit").first())
    return placed.join(first, on="hadm_id", how="left", maintain_order="left")


def category(fact: str, texts: pl.Series) -> pl.Series:
    """The shared categories of a fact's texts, under their name; null where nothing is recorded."""
    categories = {name for _, name in vocabulary()[fact]}
    found = shared(fact, texts.drop_nulls(), {})
    words = dict(zip(texts.drop_nulls().to_list(), found.to_list(), strict=True))
    known = {word: name if name in categories else REST for word, name in words.items()}
    return texts.replace_strict(known, default=None, return_dtype=pl.String).alias(texts.name)
