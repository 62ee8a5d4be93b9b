"""Which admissions are in the shards."""

from datetime import datetime

import polars as pl

from medhmp.run import Splits
from medhmp.shards.build.index import Index
from medhmp.tables import schema
from medhmp.tables.schema import Source

ZERO = datetime(2100, 1, 1)
CODES = {1: ["9:4280"], 2: ["10:I10", "9:4280"], 3: [], 4: ["10:I10"], 5: []}
STAYS = (1, 2, 3)


def source(name="s", add=0):
    def frame(rows, target):
        columns = {c: [row.get(c) for row in rows] for c in target.names}
        return pl.from_arrow(pl.DataFrame(columns, strict=False).to_arrow().cast(target))

    ids = [{"subject_id": n + add, "hadm_id": n + add, "stay_id": n + add} for n in CODES]
    times = {"admitted": ZERO, "discharged": ZERO, "intime": ZERO}
    rows = [{**row, **times} for row in ids]
    codes = [
        {**row, "kind": "diagnosis", "code": code}
        for row in ids
        for code in CODES[row["hadm_id"] - add]
    ]
    return Source(
        name=name,
        patients=frame(rows, schema.PATIENTS),
        admissions=frame(rows, schema.ADMISSIONS),
        stays=frame([row for row in rows if row["stay_id"] - add in STAYS], schema.STAYS),
        codes=frame(codes, schema.CODES),
        streams={},
        notes=lambda: iter(()),
        onsets=lambda: None,
        counts={},
    )


def test_an_admission_has_a_stay_or_a_diagnosis():
    index = Index.of([source()], Splits(), 500)
    assert sorted(index.admissions["hadm_id"]) == [1, 2, 3, 4]
    assert sorted(index.stays["stay_id"]) == list(STAYS)
    assert index.left_out == {"s": {}}


def test_under_icd9_only_every_diagnosis_is_of_icd9_and_no_stay_is_lost():
    index = Index.of([source(), source("t", 10)], Splits(), 500, icd9_only=True)
    assert sorted(index.admissions["hadm_id"]) == [1, 11]
    assert sorted(index.stays["stay_id"]) == [*STAYS, *(n + 10 for n in STAYS)]
    assert index.patients.height == 10
    name = "admissions without diagnoses of ICD-9 alone"
    assert index.left_out == {"s": {name: 3}, "t": {name: 3}}
