"""Labels of a run's own tasks meet rows: by hand, and by time against a slow version."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.run import Cohort
from medhmp.tasks.own import match
from tests.medhmp.tasks.test_cohort import ZERO, source

HOUR = timedelta(hours=1)


def at(hours):
    return ZERO + hours * HOUR


ADMISSIONS = [
    {"subject_id": 1, "hadm_id": 10, "admitted": at(-5), "discharged": at(200)},
    {"subject_id": 1, "hadm_id": 11, "admitted": at(900), "discharged": None},
    {"subject_id": 2, "hadm_id": 20, "admitted": at(0), "discharged": at(30)},
]
STAYS = [
    {"subject_id": 1, "hadm_id": 10, "stay_id": 100, "intime": at(0), "outtime": at(60)},
    {"subject_id": 1, "hadm_id": 10, "stay_id": 101, "intime": at(90), "outtime": at(150)},
    {"subject_id": 1, "hadm_id": 11, "stay_id": 110, "intime": at(901), "outtime": at(999)},
    {"subject_id": 2, "hadm_id": 20, "stay_id": 200, "intime": at(1), "outtime": at(31)},
]
PEOPLE = [{"subject_id": 1}, {"subject_id": 2}, {"subject_id": 3}]
TABLES = source(PEOPLE, ADMISSIONS, STAYS)


def matched(level, dt=1.0, hours=48, **columns):
    columns.setdefault("label", [1] * len(next(iter(columns.values()))))
    schema = {"prediction_time": pl.Datetime("ms"), "label": pl.Int8}
    frame = pl.DataFrame(columns).cast({k: v for k, v in schema.items() if k in columns})
    return match(level, frame.with_row_index("row"), TABLES, Cohort(hours=hours), dt)


def test_a_stay_by_its_identifier_is_predicted_at_the_end_of_the_window():
    found = matched("stay", stay_id=[100, 999, 200, 101, 100], label=[1, 1, None, 0, 0])
    assert found.rows.select("row_id", "label", "prediction_time", "over").rows() == [
        (100, 1, at(48), False),
        (101, 0, at(90 + 48), False),
    ]
    assert found.cut.is_empty()
    assert found.steps == [
        ("rows of the label table", 5),
        ("with a value in each column", 4),
        ("whose stay_id is in the shards", 3),
        ("predicted after the stay began", 3),
        ("the first of its stay", 2),
    ]


def test_bins_that_had_not_ended_are_cut():
    times = [at(10), at(90.5), at(1000), at(31)]
    found = matched("stay", stay_id=[100, 101, 110, 200], prediction_time=times)
    assert found.cut.rows() == [(100, 10), (101, 0), (200, 30)]
    halves = matched("stay", dt=0.5, stay_id=[100], prediction_time=[at(10.75)])
    assert halves.cut.rows() == [(100, 21)]
    assert dict(found.rows.select("row_id", "over").iter_rows()) == {
        **dict.fromkeys((100, 101, 110), False),
        200: True,
    }
    before = matched("stay", stay_id=[100], prediction_time=[at(0)])
    assert before.rows.is_empty()
    assert before.steps[-2] == ("predicted after the stay began", 0)


def test_an_admission_has_the_stays_begun_and_its_codes_once_it_is_over():
    found = matched("admission", hadm_id=[10, 11, 20], prediction_time=[at(95), at(950), at(30)])
    assert found.cut.rows() == [(101, 5), (200, 29)]
    assert found.rows["over"].to_list() == [False, False, True]
    early = matched("admission", subject_id=[1], prediction_time=[at(50)])
    assert early.cut.rows() == [(101, -1)]
    at_discharge = matched("admission", hadm_id=[10, 11])
    assert at_discharge.rows.select("row_id", "prediction_time", "over").rows() == [
        (10, at(200), True)  # the other has no end that is known
    ]


def test_a_patient_needs_an_admission_that_is_over():
    times = [at(100), at(200), at(100), at(100), at(500)]
    found = matched("patient", subject_id=[1, 1, 2, 3, 1], prediction_time=times)
    assert found.rows.select("row_id", "prediction_time").rows() == [(1, at(200)), (2, at(100))]
    assert found.steps[2:] == [
        ("of patients in the shards", 5),
        ("with an admission over by the prediction time", 3),
        ("the first of its patient", 2),
    ]


def slow(level, subject, time):
    """The identifier of the stay or admission under way; None where there is none."""
    found = []
    for row in STAYS if level == "stay" else ADMISSIONS:
        (admission,) = (a for a in ADMISSIONS if a["hadm_id"] == row["hadm_id"])
        ends = [row["outtime"]] if level == "stay" else []
        end = admission["discharged"] and max([*ends, admission["discharged"]])
        begun = row["intime"] if level == "stay" else row["admitted"]
        if row["subject_id"] == subject and begun < time and (end is None or time <= end):
            found.append((begun, row["stay_id" if level == "stay" else "hadm_id"]))
    return max(found)[1] if found else None


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["stay", "admission"]),
    st.lists(st.tuples(st.integers(1, 3), st.integers(-20, 1100)), min_size=1, max_size=8),
)
def test_a_label_by_time_finds_what_is_under_way(level, asked):
    found = matched(
        level, subject_id=[s for s, _ in asked], prediction_time=[at(hour) for _, hour in asked]
    )
    expected: dict[int, datetime] = {}
    for subject, hour in asked:
        if row := slow(level, subject, at(hour)):
            expected[row] = min(expected.get(row, at(hour)), at(hour))
    assert dict(found.rows.select("row_id", "prediction_time").iter_rows()) == expected
    assert [left for _, left in found.steps] == sorted((n for _, n in found.steps), reverse=True)


@pytest.mark.parametrize("seconds", [0, 2])
def test_a_built_in_task_s_rounding_of_days_holds_for_labels_by_time(seconds):
    """A stay of 47.9995 hours counts as one of 48, and its label lies behind its end."""
    short = {**STAYS[0], "outtime": at(48) - timedelta(seconds=seconds)}
    tables = source(PEOPLE, [ADMISSIONS[0] | {"discharged": short["outtime"]}], [short])
    columns = {"row": [0], "subject_id": [1], "prediction_time": [at(48)], "label": [1]}
    frame = pl.DataFrame(columns).with_columns(pl.col("prediction_time").cast(pl.Datetime("ms")))
    assert match("stay", frame, tables, Cohort(), 1.0).rows["row_id"].to_list() == [100]
