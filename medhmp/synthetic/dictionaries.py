"""Dictionaries of the synthetic tables: items, labs, diagnoses."""

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from medhmp import icd
from medhmp.synthetic.codes import (
    ACUTE_CODES,
    BACKGROUND_CODES,
    CONDITION_CODES,
    LATE_CODES,
)
from medhmp.synthetic.items import (
    DATES,
    INPUTS,
    LABS,
    ONCE_ITEMS,
    ORGANISMS,
    OTHER_CHART_ITEMS,
    OUTPUTS,
    PROCEDURES,
    SPECIMENS,
    TEXT_ITEMS,
    TEXT_LABS,
    UNIT_ITEMS,
    VASOPRESSORS,
    VENTILATION,
    VITALS,
    fields,
)

ITEM: Final = [
    "ITEMID",
    "LABEL",
    "ABBREVIATION",
    "DBSOURCE",
    "LINKSTO",
    "CATEGORY",
    "UNITNAME",
    "PARAM_TYPE",
]


def dictionaries() -> dict[str, pl.DataFrame]:
    """D_ITEMS, D_LABITEMS and D_ICD_DIAGNOSES, of the ids and codes that the cohort uses."""
    items = sorted(_items(), key=lambda row: int(row[0]))
    labs = [(int(r[0]), *r[1:5]) for r in (*fields(LABS), *fields(TEXT_LABS))]
    of = (CONDITION_CODES, ACUTE_CODES, LATE_CODES)
    lists = (*(codes for each in of for codes in each.values()), BACKGROUND_CODES)
    codes = {code for codes in lists for code in codes.split()}
    titles = icd.icd9_titles().filter(pl.col("code").is_in(codes)).sort("code")
    return {
        "D_ITEMS": pl.DataFrame(items, schema=ITEM, orient="row", infer_schema_length=None),
        "D_LABITEMS": pl.DataFrame(
            labs, schema=["ITEMID", "LABEL", "FLUID", "CATEGORY", "LOINC_CODE"], orient="row"
        ),
        "D_ICD_DIAGNOSES": titles.select(ICD9_CODE="code", SHORT_TITLE="short", LONG_TITLE="long"),
    }


def _items() -> Iterator[tuple[Any, ...]]:
    """Rows of D_ITEMS: all items that are charted, ordered or cultured."""
    numeric = (VITALS, *UNIT_ITEMS.values(), ONCE_ITEMS, OTHER_CHART_ITEMS)
    kinds = [
        *((block, "chartevents", "Numeric", 3) for block in numeric),
        (TEXT_ITEMS, "chartevents", "Text", None),
        (INPUTS, "inputevents_mv", "Solution", 3),
        (VASOPRESSORS, "inputevents_mv", "Solution", 3),
        (OUTPUTS, "outputevents", "Numeric", 3),
        (PROCEDURES, "procedureevents_mv", "Process", None),
        (VENTILATION, "procedureevents_mv", "Process", None),
        (DATES, "datetimeevents", "Date time", None),
    ]
    for block, table, kind, unit in kinds:
        for row in fields(block):
            measure = row[unit] if unit else ""
            yield int(row[0]), row[1], row[1], "metavision", table, row[2], measure or None, kind
    for item, name, _ in fields(SPECIMENS):
        yield int(item), name, None, "hospital", "microbiologyevents", "SPECIMEN", None, None
    for item, name in fields(ORGANISMS):
        yield int(item), name, None, "hospital", "microbiologyevents", "ORGANISM", None, None
