"""Who the rows of a task are, by hand."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from medhmp.layout import ATTRIBUTE_COLUMNS
from medhmp.legend import Level
from medhmp.tables import schema
from medhmp.tables.schema import Source
from medhmp.tasks.attributes import attributes, category

ZERO = datetime(2100, 1, 1)


def table(target, *rows):
    columns = {name: [row.get(name) for row in rows] for name in target.names}
    return pl.from_arrow(pl.DataFrame(columns, strict=False).to_arrow().cast(target))


@pytest.fixture
def source() -> Source:
    """A man of 64 with two admissions; the first has two stays, listed latest first. A patient of
    hidden age of whom nothing else is recorded."""
    day = timedelta(days=1)
    own = {"subject_id": 1, "sex": "M", "birth": datetime(2035, 3, 1)}
    hidden = {"subject_id": 2, "birth": datetime(1800, 1, 1)}
    admissions = [
        {"subject_id": 1, "hadm_id": 11, "admitted": ZERO, "ethnicity": "WHITE - RUSSIAN"},
        {"subject_id": 1, "hadm_id": 12, "admitted": ZERO + 90 * day, "ethnicity": "Asian",
         "insurance": "Private"},
        {"subject_id": 2, "hadm_id": 21, "admitted": ZERO, "ethnicity": "a word of nobody else"},
    ]  # fmt: skip
    stays = [
        {"stay_id": 112, "hadm_id": 11, "intime": ZERO + 2 * day, "first_careunit": "MICU"},
        {"stay_id": 111, "hadm_id": 11, "intime": ZERO, "first_careunit": "CVICU"},
        {"stay_id": 211, "hadm_id": 21, "intime": ZERO},
    ]
    return Source(
        name="s",
        patients=table(schema.PATIENTS, own, hidden),
        admissions=table(schema.ADMISSIONS, *admissions),
        stays=table(schema.STAYS, *stays),
        codes=table(schema.CODES),
        streams={},
        notes=lambda: iter(()),
        onsets=lambda: None,
        counts={},
    )


@pytest.mark.parametrize(
    ("level", "row", "days", "ethnicity", "insurance", "unit"),
    [
        ("stay", 112, 4, "WHITE", None, "MICU"),
        ("admission", 11, 5, "WHITE", None, "CSRU"),
        ("admission", 12, 95, "ASIAN", "OTHER OR UNKNOWN", None),
        ("patient", 1, 89, "WHITE", None, "CSRU"),
        ("patient", 1, 90, "ASIAN", "OTHER OR UNKNOWN", None),
    ],
)
def test_attributes_are_of_the_row_s_own_admission(
    source: Source, level: Level, row: int, days: int, ethnicity: str, insurance: str, unit: str
) -> None:
    at = ZERO + timedelta(days=days)
    rows = pl.DataFrame({"row_id": [row], "subject_id": [1], "prediction_time": [at]})
    found = attributes(level, source, rows)
    assert found.columns == ATTRIBUTE_COLUMNS.names
    assert found.row(0) == (row, "s", "M", 64 + (days >= 59), ethnicity, insurance, unit)


def test_hidden_ages_are_one_and_what_is_not_recorded_is_null(source: Source) -> None:
    rows = pl.DataFrame({"row_id": [211], "subject_id": [2], "prediction_time": [ZERO]})
    assert attributes("stay", source, rows).row(0) == (
        211, "s", None, 90, "OTHER OR UNKNOWN", None, None,
    )  # fmt: skip


def test_no_free_text_leaves_the_source() -> None:
    words = pl.Series("first_careunit", ["the unit of Dr. Who", "micu", None])
    assert category("FIRST_CAREUNIT", words).to_list() == ["OTHER OR UNKNOWN", "MICU", None]
