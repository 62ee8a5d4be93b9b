"""Counted features against dictionaries."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from medhmp.legend import NOTE_WIDTH, Widths
from medhmp.shards import schema
from medhmp.shards.rows import Admissions, NoteVectors, Patients, Stays
from medhmp.shards.tabular import counted, statistics_blocks, with_statistics

WIDTHS = Widths(hours=3, features=8, demographics=4, diagnoses=6, drugs=5)
KNOWN = {"source": "s", "split": "train", "subject_id": 1}


class Records:
    """Random rows as plain records."""

    def __init__(self, real_valued, seed=0):
        self.random, self.real_valued = np.random.default_rng(seed), real_valued

    def some(self, vocabulary):
        count = self.random.integers(0, vocabulary)
        return sorted(self.random.choice(vocabulary, count, replace=False).tolist())

    def stay(self, stay_id):
        hours = [self.some(WIDTHS.features) for _ in range(WIDTHS.hours)]
        stay = {
            "stay_id": stay_id,
            "hour_offsets": np.cumsum([0, *map(len, hours)]).tolist(),
            "feature_ids": [i for hour in hours for i in hour],
            "demographic_ids": self.some(WIDTHS.demographics),
        }
        if self.real_valued:
            for ids in ("feature", "demographic"):
                stay[f"{ids}_values"] = self.random.normal(size=len(stay[f"{ids}_ids"])).tolist()
        return stay

    def admission(self, hadm_id):
        stays = [self.stay(10 * hadm_id + n) for n in range(self.random.integers(0, 5))]
        codes = {"icd_ids": self.some(WIDTHS.diagnoses), "drug_ids": self.some(WIDTHS.drugs)}
        return {**KNOWN, "hadm_id": hadm_id, "stays": stays, **codes}


def slow_counts(stays):
    """Sums over stays and hours of what each feature and each demographic is worth."""
    features, demographics = Counter(), Counter()
    for stay in stays:
        for counter, ids in ((features, "feature"), (demographics, "demographic")):
            names = stay[f"{ids}_ids"]
            for name, value in zip(names, stay.get(f"{ids}_values", [1] * len(names)), strict=True):
                counter[name] += value
    return row(features, WIDTHS.features) + row(demographics, WIDTHS.demographics)


def row(counter, width):
    return [float(counter[i]) for i in range(width)]


def stay_schema(real_valued):
    return WIDTHS.hours, WIDTHS.features, WIDTHS.demographics, real_valued


@pytest.mark.parametrize("real_valued", [False, True])
def test_stays(real_valued):
    records = Records(real_valued)
    rows = [{**KNOWN, "hadm_id": 1, **records.stay(n)} for n in range(20)]
    table = pa.Table.from_pylist(rows, schema.stays(*stay_schema(real_valued)))
    expected = [slow_counts([stay]) for stay in rows]
    np.testing.assert_allclose(counted(Stays.from_arrow(table), WIDTHS), expected, rtol=1e-5)


@pytest.mark.parametrize("real_valued", [False, True])
def test_admissions_count_their_first_stays(real_valued):
    records, most = Records(real_valued), 2
    rows = [records.admission(n) for n in range(20)]
    assert {len(a["stays"]) for a in rows} >= {0, 1, 3}
    target = schema.admissions(*stay_schema(real_valued), WIDTHS.diagnoses, WIDTHS.drugs)
    embedding = records.random.normal(size=(2, NOTE_WIDTH)).astype(np.float32)
    notes = NoteVectors(np.array([3, 11]), embedding)
    admissions = Admissions.from_arrow(pa.Table.from_pylist(rows, target), most, notes)
    noted = {3: embedding[0].tolist(), 11: embedding[1].tolist()}
    expected = [
        [
            *slow_counts(a["stays"][:most]),
            *row(Counter(a["icd_ids"]), WIDTHS.diagnoses),
            *row(Counter(a["drug_ids"]), WIDTHS.drugs),
            *noted.get(a["hadm_id"], [0.0] * NOTE_WIDTH),
        ]
        for a in rows
    ]
    np.testing.assert_allclose(counted(admissions, WIDTHS), expected, rtol=1e-5, atol=1e-6)


def test_statistics_stand_before_counts_of_what_is_no_number():
    """An admission has the means of its first stays, NaN where none of them has the statistic."""
    records, most, numbers = Records(False), 2, (3, 4)
    widths = replace(WIDTHS, numbers=numbers[0], statistics=numbers[1])

    def stay(stay_id):
        ranks = records.random.random(4)
        ranks[records.random.random(4) < 0.4] = np.nan
        none = {"number_offsets": [0] * 4, "number_ids": [], "number_values": []}
        return {**records.stay(stay_id), **none, "statistics": ranks.tolist()}

    rows = [{**KNOWN, "hadm_id": 1, **stay(n)} for n in range(20)]
    of_stays = Stays.from_arrow(
        pa.Table.from_pylist(rows, schema.stays(*stay_schema(False), *numbers))
    )
    expected = [[*r["statistics"], *slow_counts([r])[WIDTHS.features :]] for r in rows]
    np.testing.assert_allclose(with_statistics(of_stays, widths), expected, rtol=1e-6)
    assert statistics_blocks(of_stays, widths) == (4, WIDTHS.demographics)
    admissions = [records.admission(n) for n in range(20)]
    for admission in admissions:
        admission["stays"] = [stay(n) for n in range(len(admission["stays"]))]
    target = schema.admissions(*stay_schema(False), WIDTHS.diagnoses, WIDTHS.drugs, *numbers)
    table = pa.Table.from_pylist(admissions, target)
    found = with_statistics(Admissions.from_arrow(table, most, NoteVectors.none()), widths)
    for row_found, admission in zip(found, admissions, strict=True):
        kept = admission["stays"][:most]
        for at in range(4):
            known = [x for x in (of["statistics"][at] for of in kept) if x == x]
            mean = np.mean(known) if known else np.nan
            np.testing.assert_allclose(row_found[at], mean, rtol=1e-5)
        drugs = row(Counter(admission["drug_ids"]), WIDTHS.drugs)
        assert row_found[4 + 4 + 6 : 4 + 4 + 6 + 5].tolist() == drugs
    assert np.isnan(found).any()


def test_patients_count_the_visits_in_which_a_code_is():
    records = Records(real_valued=False)
    rows = [
        {
            **KNOWN,
            "visits": [
                {"discharged": n, "icd_ids": records.some(WIDTHS.diagnoses)}
                for n in range(records.random.integers(0, 5))
            ],
        }
        for _ in range(20)
    ]
    until = np.full(len(rows), np.datetime64(2, "s"))  # hides the visits numbered 3 and 4
    table = pa.Table.from_pylist(rows, schema.patients(WIDTHS.diagnoses))
    patients = Patients.from_arrow(table, until, max_visits=2, hidden=np.array([4]))
    expected = [
        row(
            Counter(i for v in patient["visits"][:3][-2:] for i in v["icd_ids"] if i != 4),
            WIDTHS.diagnoses,
        )
        for patient in rows
    ]
    assert counted(patients, WIDTHS).tolist() == expected
