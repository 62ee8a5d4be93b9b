"""Labels and exclusions: by hand, and readmission against a slow version."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.run import Cohort
from medhmp.tables import schema
from medhmp.tables.schema import Source
from medhmp.tasks import cohort

DAY = timedelta(days=1)
ZERO = datetime(2100, 1, 1)


def frame(rows, target):
    columns = {name: [row.get(name) for row in rows] for name in target.names}
    return pl.from_arrow(pl.DataFrame(columns, strict=False).to_arrow().cast(target))


def source(patients=(), admissions=(), stays=(), codes=()):
    return Source(
        name="s",
        patients=frame(patients, schema.PATIENTS),
        admissions=frame(admissions, schema.ADMISSIONS),
        stays=frame(stays, schema.STAYS),
        codes=frame(codes, schema.CODES),
        streams={},
        notes=lambda: iter(()),
        onsets=lambda: None,
        counts={},
    )


def stay_source(**changes):
    """One adult observed for 60 hours, with changes to any of the rows' values."""
    values = {"birth": datetime(2060, 1, 1), "intime": ZERO, "outtime": ZERO + timedelta(hours=60)}
    values |= {
        "subject_id": 1,
        "hadm_id": 2,
        "stay_id": 3,
        "died": None,
        "expired": False,
    } | changes
    return source([values], [values], [values])


def label_stay(task, arf=None, shock=None, hours=48, **changes):
    onsets = pl.DataFrame(
        {"stay_id": [3], "arf": [arf], "shock": [shock]},
        schema={"stay_id": pl.Int64, "arf": pl.Float64, "shock": pl.Float64},
    )
    return cohort.label(task, stay_source(**changes), onsets, Cohort(hours=hours), icd9_only=False)


def test_a_stay_is_labeled_by_an_onset_after_the_window():
    late = label_stay("arf", arf=50.0, shock=1.0).rows.row(0, named=True)
    assert late == {
        "subject_id": 1,
        "row_id": 3,
        "label": 1,
        "prediction_time": ZERO + timedelta(hours=48),
    }
    assert label_stay("arf", arf=48.0).rows["label"].to_list() == [1]
    assert label_stay("arf").rows["label"].to_list() == [0]
    assert label_stay("arf", arf=47.9).rows.height == 0
    assert label_stay("shock", arf=1.0, shock=50.0).rows["label"].to_list() == [1]
    assert label_stay("mortality", arf=1.0, shock=1.0).rows["label"].to_list() == [0]
    assert label_stay("mortality", expired=True).rows["label"].to_list() == [1]


@pytest.mark.parametrize(
    ("kept", "changes"),
    [
        (True, {"birth": ZERO - timedelta(hours=18 * 8766)}),
        (False, {"birth": ZERO - timedelta(hours=18 * 8766 - 1)}),
        (False, {"birth": None}),
        (True, {"died": ZERO + 2 * DAY}),
        (False, {"died": ZERO + 2 * DAY - timedelta(seconds=1)}),
        (True, {"outtime": ZERO + 2 * DAY}),
        (True, {"outtime": ZERO + 2 * DAY - timedelta(seconds=4)}),  # a LOS of 2.0000 days
        (False, {"outtime": ZERO + 2 * DAY - timedelta(seconds=9)}),
        (False, {"outtime": None}),
    ],
)
def test_inclusion_of_stays(kept, changes):
    labels = label_stay("mortality", **changes)
    assert labels.rows.height == kept
    assert labels.steps[0] == ("stays", 1)
    assert labels.steps[-1][1] == kept
    counts = [count for _, count in labels.steps]
    assert counts == sorted(counts, reverse=True)


# A patient's admissions: days of begin and length, elective or not, died in it or not.
KINDS = ["ELECTIVE", "EMERGENCY", "NEWBORN", "SURGICAL SAME DAY ADMISSION", None]
KINDS += ["EU OBSERVATION", "DIRECT OBSERVATION", "AMBULATORY OBSERVATION", "OBSERVATION ADMIT"]
ADMISSION = st.tuples(
    st.integers(0, 120),
    st.integers(0, 40),
    st.sampled_from(KINDS),
    st.integers(0, 9).map(lambda x: x == 0),
)
PATIENT = st.tuples(st.lists(ADMISSION, min_size=1, max_size=6), st.none() | st.integers(0, 170))


def rows_of(patients):
    people, admissions, codes = [], [], []
    for subject, (own, death) in enumerate(patients):
        died = None if death is None else ZERO + death * DAY
        people.append({"subject_id": subject, "birth": datetime(2050, 1, 1), "death": died})
        for number, (begin, days, kind, expired) in enumerate(own):
            hadm = 100 * subject + number
            end = ZERO + (begin + days) * DAY
            admissions.append(
                {
                    "subject_id": subject,
                    "hadm_id": hadm,
                    "admitted": ZERO + begin * DAY,
                    "discharged": end,
                    "died": end if expired else None,
                    "expired": expired,
                    "admission_type": kind,
                }
            )
            codes.append(
                {"subject_id": subject, "hadm_id": hadm, "kind": "diagnosis", "code": "9:1"}
            )
    return people, admissions, codes


def slow_readmission(people, admissions, days, unplanned_only, drop_deaths, observation):
    """hadm_id -> label, one patient and one pair of admissions at a time."""
    labels = {}
    for person in people:
        own = [a for a in admissions if a["subject_id"] == person["subject_id"]]
        own.sort(key=lambda a: (a["admitted"], a["hadm_id"]))
        deaths = [a["died"] for a in own if a["died"]]
        if deaths:
            own = [a for a in own if a["admitted"] <= min(deaths)]
        if person["death"]:
            own = [a for a in own if a["admitted"] < person["death"] + DAY]
        episodes = []
        for a in own:
            if episodes and a["admitted"] < max(b["discharged"] for b in episodes[-1]):
                episodes[-1].append(a)
            else:
                episodes.append([a])
        observed = [all(a["admission_type"] in KINDS[5:8] for a in e) for e in episodes]
        if observation == "left_out":
            pairs = zip(episodes, observed, strict=True)
            episodes = [episode for episode, only in pairs if not only]
            observed = [False] * len(episodes)
        for place, episode in enumerate(episodes):
            if observed[place] and observation == "readmissions":
                continue
            last = max(episode, key=lambda a: (a["discharged"], a["hadm_id"]))
            if episode[0]["admission_type"] == "NEWBORN" or any(a["expired"] for a in episode):
                continue
            label = False
            if place + 1 < len(episodes):
                following = episodes[place + 1][0]
                gap = following["admitted"] - last["discharged"]
                planned = following["admission_type"] in (KINDS[0], KINDS[3]) and unplanned_only
                label = timedelta() < gap <= days * DAY and not planned
            dead = person["death"] and person["death"] <= last["discharged"] + days * DAY
            if drop_deaths and dead and not label:
                continue
            labels[last["hadm_id"]] = int(label)
    return labels


@settings(max_examples=150, deadline=None)
@given(
    st.lists(PATIENT, min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["left_out", "readmissions", "admissions"]),
)
def test_readmission_equals_a_slow_version(patients, unplanned_only, drop_deaths, observation):
    people, admissions, codes = rows_of(patients)
    rules = Cohort(
        unplanned_only=unplanned_only,
        drop_deaths_within_window=drop_deaths,
        observation_stays=observation,
    )
    labels = cohort.label_readmission(source(people, admissions, (), codes), rules, icd9_only=False)
    expected = slow_readmission(people, admissions, 30, unplanned_only, drop_deaths, observation)
    assert dict(labels.rows.select("row_id", "label").iter_rows()) == expected
    ends = {a["hadm_id"]: a["discharged"] for a in admissions}
    assert all(
        ends[row] == at for row, at in labels.rows.select("row_id", "prediction_time").iter_rows()
    )
    counts = [count for _, count in labels.steps]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == labels.rows.height


def test_readmission_needs_an_adult_discharged_alive_with_a_diagnosis():
    def count(codes=True, **changes):
        people, admissions, coded = rows_of([([(0, 5, "EMERGENCY", False)], None)])
        people[0] |= {k: v for k, v in changes.items() if k in people[0]}
        admissions[0] |= {k: v for k, v in changes.items() if k in admissions[0]}
        own = source(people, admissions, (), coded if codes else ())
        return cohort.label_readmission(own, Cohort(), icd9_only=False).rows.height

    assert count() == 1
    assert count(codes=False) == 0
    assert count(birth=datetime(2090, 1, 1)) == 0
    assert count(discharged=None) == 0
    assert count(expired=True) == 0


def readmitted(*patients, rules=None):
    """hadm_id -> label; patient p's n-th admission is 100 p + n."""
    people, admissions, codes = rows_of(patients)
    labels = cohort.label_readmission(
        source(people, admissions, (), codes), rules or Cohort(), icd9_only=False
    )
    return dict(labels.rows.select("row_id", "label").iter_rows())


def emergency(begin, days, kind="EMERGENCY", expired=False):
    return (begin, days, kind, expired)


def test_the_gap_counts_from_discharge_and_not_from_admission():
    long, next_one = emergency(0, 25), emergency(50, 1)
    assert readmitted(([long, next_one], None)) == {0: 1, 1: 0}
    assert readmitted(([emergency(0, 5), emergency(36, 1)], None)) == {0: 0, 1: 0}


def test_the_last_day_of_the_window_counts():
    assert readmitted(([emergency(0, 5), emergency(35, 1)], None))[0] == 1
    assert readmitted(
        ([emergency(0, 5), emergency(35, 1)], None), rules=Cohort(readmission_days=29)
    ) == {
        0: 0,
        1: 0,
    }


def test_overlapping_transfers_are_one_admission():
    stays = [emergency(0, 5), emergency(3, 9), emergency(20, 1)]
    assert readmitted((stays, None)) == {1: 1, 2: 0}


def test_a_transfer_in_the_minute_of_discharge_is_no_readmission():
    assert readmitted(([emergency(0, 5), emergency(5, 2)], None)) == {0: 0, 1: 0}


@pytest.mark.parametrize("kind", cohort.OBSERVED)
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("left_out", {0: 1, 2: 0}),  # the admission after it is the readmission
        ("readmissions", {0: 1, 2: 0}),
        ("admissions", {0: 1, 1: 1, 2: 0}),
    ],
)
def test_an_observation_stay_before_a_readmission(kind, rule, expected):
    stays = [emergency(0, 5), emergency(10, 1, kind), emergency(20, 3)]
    assert readmitted((stays, None), rules=Cohort(observation_stays=rule)) == expected


@pytest.mark.parametrize("kind", cohort.OBSERVED)
@pytest.mark.parametrize(("rule", "label"), [("left_out", 0), ("readmissions", 1)])
def test_an_observation_stay_is_a_readmission_only_where_asked_for(kind, rule, label):
    stays = [emergency(0, 5), emergency(10, 1, kind)]
    assert readmitted((stays, None), rules=Cohort(observation_stays=rule)) == {0: label}


def test_one_admitted_after_observation_is_an_inpatient():
    stays = [emergency(0, 5, "OBSERVATION ADMIT"), emergency(10, 1, "OBSERVATION ADMIT")]
    assert readmitted((stays, None)) == {0: 1, 1: 0}
    moved = [emergency(0, 2, "EU OBSERVATION"), emergency(1, 9, "EW EMER.")]  # they overlap
    assert readmitted((moved, None)) == {1: 0}


@pytest.mark.parametrize("kind", cohort.PLANNED)
def test_a_planned_next_admission_is_no_readmission(kind):
    stays = [emergency(0, 5), emergency(10, 1, kind)]
    assert readmitted((stays, None)) == {0: 0, 1: 0}
    assert readmitted((stays, None), rules=Cohort(unplanned_only=False)) == {0: 1, 1: 0}


def test_a_planned_index_admission_may_have_a_readmission():
    assert readmitted(([emergency(0, 5, "ELECTIVE"), emergency(10, 1)], None))[0] == 1


def test_who_dies_in_hospital_is_left_out_and_was_readmitted():
    assert readmitted(([emergency(0, 5), emergency(10, 1, expired=True)], None)) == {0: 1}


def test_an_admission_after_death_is_neither_a_row_nor_a_readmission():
    donor = [emergency(0, 5), emergency(10, 1, expired=True), emergency(12, 1)]
    assert readmitted((donor, None)) == {0: 1}
    assert readmitted(([emergency(0, 5), emergency(10, 1)], 8)) == {0: 0}


def test_the_last_admission_has_no_follow_up_and_is_negative():
    assert readmitted(([emergency(0, 5)], None)) == {0: 0}


def test_a_death_in_the_window_is_negative_or_left_out():
    patient = ([emergency(0, 5)], 20)
    assert readmitted(patient) == {0: 0}
    assert readmitted(patient, rules=Cohort(drop_deaths_within_window=True)) == {}


def test_a_birth_is_no_index_admission():
    assert readmitted(([emergency(0, 5, "NEWBORN"), emergency(10, 1)], None)) == {1: 0}


def test_admissions_follow_in_time_and_not_by_their_number():
    assert readmitted(([emergency(100, 1), emergency(80, 5)], None)) == {0: 0, 1: 1}


def test_the_next_admission_is_of_the_same_patient():
    assert readmitted(([emergency(0, 5)], None), ([emergency(10, 1)], None)) == {0: 0, 100: 0}


def test_under_icd9_only_a_row_has_such_codes_and_any_next_admission_counts():
    people, admissions, codes = rows_of([([emergency(0, 5), emergency(10, 1)], None)])
    codes.append({"subject_id": 0, "hadm_id": 1, "kind": "diagnosis", "code": "10:I10"})
    labels = cohort.label_readmission(
        source(people, admissions, (), codes), Cohort(), icd9_only=True
    )
    assert list(labels.rows.select("row_id", "label").iter_rows()) == [(0, 1)]
    assert labels.steps[-1] == ("with diagnoses of ICD-9 alone", 1)
    assert labels.steps[-2] == ("with a diagnosis code", 2)
