"""Rows in memory against plain Python lists."""

import itertools
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.layout import note_embedding_columns
from medhmp.shards import schema
from medhmp.shards.csr import Csr
from medhmp.shards.rows import Admissions, NoteVectors, Patients, Stays, widened
from medhmp.train.backward import cut_batch

HOURS = 3


def ragged(size=9, most=5):
    return st.lists(st.lists(st.integers(0, 50), max_size=most), min_size=1, max_size=size)


@settings(max_examples=60, deadline=None)
@given(ragged(), st.randoms())
def test_csr_take_equals_list_indexing(lists, random):
    csr = Csr.from_arrow(pa.chunked_array([pa.array(lists, pa.list_(pa.uint16()))]))
    rows = [random.randrange(len(lists)) for _ in range(7)]
    taken = csr.take(np.array(rows))
    assert [taken.values[a:b].tolist() for a, b in itertools.pairwise(taken.offsets)] == [
        lists[r] for r in rows
    ]


def test_csr_reads_a_slice_of_an_array():
    array = pa.array([[1], [2, 3], [], [4]], pa.list_(pa.uint16())).slice(1, 2)
    csr = Csr.from_arrow(array)
    assert csr.offsets.tolist() == [0, 2, 2]
    assert csr.values.tolist() == [2, 3]


def stay(stay_id, hours, demographics):
    offsets = np.cumsum([0, *map(len, hours)]).tolist()
    return {
        "stay_id": stay_id,
        "hour_offsets": offsets,
        "feature_ids": [f for hour in hours for f in hour],
        "demographic_ids": demographics,
    }


def admissions_table():
    rows = [
        {"subject_id": 1, "hadm_id": 10, "icd_ids": [3, 4], "drug_ids": [0], "stays": []},
        {
            "subject_id": 1,
            "hadm_id": 11,
            "icd_ids": [],
            "drug_ids": [1, 2],
            "stays": [
                stay(100, [[5], [], [6, 7]], [1]),
                stay(101, [[], [8], []], [2]),
                stay(102, [[9], [9], [9]], [3]),
            ],
        },
        {
            "subject_id": 2,
            "hadm_id": 12,
            "icd_ids": [1],
            "drug_ids": [],
            "stays": [stay(103, [[1], [2], [3]], [0, 1])],
        },
    ]
    full = [
        {"source": "s", "split": "train", "admitted": None, "discharged": None, **row}
        for row in rows
    ]
    return pa.Table.from_pylist(full, schema.admissions(HOURS, 20, 5, False, 9, 9))


def hours_of(batch):
    offsets, ids = batch["hour_offsets"].tolist(), batch["feature_ids"].tolist()
    return [ids[a:b] for a, b in itertools.pairwise(offsets)]


def test_admission_batch_keeps_the_first_stays_in_their_slots():
    notes = NoteVectors(np.array([12]), np.ones((1, 768), np.float32))
    admissions = Admissions.from_arrow(admissions_table(), max_stays=2, notes=notes)
    batch = admissions.batch(np.array([2, 1, 0]))
    assert batch["stay_slot"].tolist() == [0, 2, 3]  # admission 12's stay, then 11's first two
    assert hours_of(batch) == [[1], [2], [3], [5], [], [6, 7], [], [8], []]
    assert batch["icd_offsets"].tolist() == [0, 1, 1, 3]
    assert batch["drug_ids"].tolist() == [1, 2, 0]
    assert batch["has_note"].tolist() == [True, False, False]
    assert batch["note"].sum(1).tolist() == [768.0, 0.0, 0.0]
    assert batch["subject_id"].tolist() == [2, 1, 1]


@pytest.mark.parametrize(("rows", "width"), [(1, 48), (1, 1024), (0, 48)])
def test_notes_are_as_wide_as_their_column(rows, width):
    table = pa.table(
        {"hadm_id": [12] * rows, "embedding": [[1.0] * width] * rows}, note_embedding_columns(width)
    )
    notes = NoteVectors.from_arrow(table)
    batch = Admissions.from_arrow(admissions_table(), 2, notes).batch(np.array([2, 1, 0]))
    assert batch["note"].shape == (3, width)
    assert batch["note"].sum(1).tolist() == [float(rows * width), 0.0, 0.0]


def test_narrow_ids_are_those_stored_and_widen_to_the_same_batch():
    notes = NoteVectors(np.array([12]), np.ones((1, 768), np.float32))
    admissions = Admissions.from_arrow(admissions_table(), max_stays=2, notes=notes)
    rows = np.array([2, 1, 0])
    wide, narrow = admissions.batch(rows), admissions.batch(rows, narrow=True)
    ids = {"feature_ids", "demographic_ids", "icd_ids", "drug_ids"}
    assert {name for name, value in narrow.items() if value.dtype == torch.uint16} == ids
    assert all(torch.equal(widened(narrow[name]), value) for name, value in wide.items())
    assert all(widened(narrow[name]).dtype == value.dtype for name, value in wide.items())


def test_patient_rows_hide_later_visits_old_visits_and_target_codes():
    visit = [
        {"hadm_id": n, "admitted": None, "discharged": f"2100-0{n}-01", "icd_ids": ids}
        for n, ids in ((1, [7]), (2, [1, 2]), (3, [2, 3]), (4, [4]))
    ]
    for v in visit:
        v["discharged"] = np.datetime64(v["discharged"], "s").item()
        v["admitted"] = v["discharged"] - timedelta(days=v["hadm_id"], hours=12)
    table = pa.Table.from_pylist(
        [{"source": "s", "subject_id": 5, "split": "train", "visits": visit}], schema.patients(9)
    )
    until = np.array([np.datetime64("2100-03-01")], "datetime64[s]")
    patients = Patients.from_arrow(table, until, max_visits=2, hidden=np.array([2]))
    batch = patients.batch(np.array([0]))
    assert batch["visit_offsets"].tolist() == [0, 2]
    assert batch["icd_offsets"].tolist() == [0, 1, 2]  # visits 2 and 3, code 2 hidden
    assert batch["icd_ids"].tolist() == [1, 3]
    assert batch["visit_days"].tolist() == [27, 0]  # 28 from discharge to discharge


def stays_rows(n, seed):
    generator = np.random.default_rng(seed)
    rows = [
        {
            "source": "s",
            "subject_id": i,
            "hadm_id": i,
            "split": "train",
            **stay(
                i,
                [generator.integers(0, 20, generator.integers(0, 4)).tolist() for _ in range(3)],
                [0],
            ),
        }
        for i in range(n)
    ]
    return Stays.from_arrow(pa.Table.from_pylist(rows, schema.stays(HOURS, 20, 5, False)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.lists(st.integers(0, 19), max_size=4), min_size=HOURS, max_size=HOURS),
        min_size=1,
        max_size=6,
    ),
    st.randoms(),
)
def test_a_batch_of_stays_holds_their_hours_and_values(stays, random):
    """Real values are read along: each is its id plus a half."""
    known = {"source": "s", "hadm_id": 0, "split": "train"}
    table = pa.Table.from_pylist(
        [
            {
                **known,
                "subject_id": row,
                **stay(row, hours, [row % 3]),
                "feature_values": [f + 0.5 for hour in hours for f in hour],
                "demographic_values": [row % 3 + 0.5],
            }
            for row, hours in enumerate(stays)
        ],
        schema.stays(HOURS, 20, 5, True),
    )
    cut = table.slice(random.randrange(len(stays)))
    rows = [random.randrange(len(cut)) for _ in range(random.randrange(5))]
    batch = Stays.from_arrow(cut).batch(np.array(rows, np.int64))
    wanted = [stays[len(stays) - len(cut) + row] for row in rows]
    assert hours_of(batch) == [hour for hours in wanted for hour in hours]
    assert batch["feature_values"].tolist() == [i + 0.5 for i in batch["feature_ids"].tolist()]
    assert batch["demographic_values"].tolist() == [
        i + 0.5 for i in batch["demographic_ids"].tolist()
    ]
    assert batch["feature_ids"].dtype == batch["hour_offsets"].dtype == torch.int64
    assert batch["feature_values"].dtype == torch.float32


def test_shuffled_control_keeps_each_hour_of_the_clock_but_no_patient_course():
    rows = stays_rows(40, 0)
    dealt = rows.shuffled(np.random.default_rng(1))
    everyone = np.arange(len(rows))
    before, after = hours_of(rows.batch(everyone)), hours_of(dealt.batch(everyone))
    for hour in range(HOURS):
        assert sorted(before[hour::HOURS]) == sorted(after[hour::HOURS])
    moved = sum(before[i * 3 : i * 3 + 3] != after[i * 3 : i * 3 + 3] for i in range(len(rows)))
    assert moved > 30


def test_shuffled_codes_keep_their_frequencies_up_to_repeats_in_one_admission():
    admissions = Admissions.from_arrow(admissions_table(), 3, NoteVectors.none())
    dealt = admissions.shuffled(np.random.default_rng(0))
    assert sorted(dealt.icd.values.tolist()) == sorted(admissions.icd.values.tolist())
    assert dealt.icd.lengths.tolist() == admissions.icd.lengths.tolist()


def numbered_stays(random, rows=6):
    """Stays with numbers and statistics: their records, and the rows read from Arrow."""
    records = []
    for number in range(rows):
        cells = [
            [(v, float(random.random())) for v in range(4) if random.random() < 0.5]
            for _ in range(HOURS)
        ]
        flat = [cell for hour in cells for cell in hour]
        records.append(
            {
                **{"source": "s", "subject_id": number, "hadm_id": number, "split": "train"},
                **stay(number, [[number], [], [1]], [0]),
                "number_offsets": np.cumsum([0, *map(len, cells)]).tolist(),
                "number_ids": [v for v, _ in flat],
                "number_values": [x for _, x in flat],
                "statistics": random.random(5).tolist(),
                "cells": cells,
            }
        )
    target = schema.stays(HOURS, 10, 4, False, 4, 5)
    return records, Stays.from_arrow(pa.Table.from_pylist(records, target))


def test_numbers_and_statistics_follow_their_stays():
    records, stays = numbered_stays(np.random.default_rng(0))
    rows = np.array([4, 1, 4])
    for batch in (stays.batch(rows), stays.take(rows).batch(np.arange(3))):
        hours = [hour for row in rows for hour in records[row]["cells"]]
        ends = batch["number_offsets"].tolist()
        ids, values = batch["number_ids"].tolist(), batch["number_values"].tolist()
        found = [[*zip(ids[a:b], values[a:b], strict=True)] for a, b in itertools.pairwise(ends)]
        assert found == [[(v, np.float32(x)) for v, x in hour] for hour in hours]
        expected = np.array([records[row]["statistics"] for row in rows], np.float32)
        np.testing.assert_array_equal(batch["statistics"], expected)
    assert stays.batch(rows, narrow=True)["number_ids"].dtype == torch.uint16
    parts = cut_batch(stays.batch(rows), 2, 3)
    assert [part["statistics"].shape[0] for part in parts] == [2, 1]
    joined = torch.cat([part["number_values"] for part in parts])
    assert joined.equal(stays.batch(rows)["number_values"])


def test_nothing_of_numbers_after_a_prediction_time_is_left():
    records, stays = numbered_stays(np.random.default_rng(2))
    bins = np.array([0, 1, 2, HOURS, -1, HOURS])
    batch = stays.until(bins).batch(np.arange(6))
    ends, ids = batch["number_offsets"].tolist(), batch["number_ids"].tolist()
    values = batch["number_values"].tolist()
    found = [[*zip(ids[a:b], values[a:b], strict=True)] for a, b in itertools.pairwise(ends)]
    for place, (record, known) in enumerate(zip(records, bins, strict=True)):
        cells = [hour if at < known else [] for at, hour in enumerate(record["cells"])]
        own = found[place * HOURS : (place + 1) * HOURS]
        assert own == [[(v, np.float32(x)) for v, x in hour] for hour in cells]
    assert np.isnan(batch["statistics"].numpy()).all(axis=1).tolist() == (bins < HOURS).tolist()


def test_the_control_deals_numbers_within_their_hour():
    _, stays = numbered_stays(np.random.default_rng(1), rows=40)
    dealt = stays.shuffled(np.random.default_rng(0))
    assert dealt.statistics.tolist() != stays.statistics.tolist()
    np.testing.assert_array_equal(np.sort(dealt.statistics, 0), np.sort(stays.statistics, 0))
    for hour in range(HOURS):
        of_hour = [
            sorted(zip(s.numbers.values[p].tolist(), s.number_values[p].tolist(), strict=True))
            for s in (stays, dealt)
            for p in [s.numbers.positions(np.arange(hour, len(s.numbers), HOURS))]
        ]
        assert of_hour[0] == of_hour[1]
