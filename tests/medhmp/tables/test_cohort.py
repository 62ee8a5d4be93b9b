"""Labels and exclusions: by hand, and readmission against a slow version."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.run import Cohort, Run
from medhmp.tables import cohort, schema
from medhmp.tables.schema import Source

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
    return cohort.label(task, stay_source(**changes), onsets, Run(cohort=Cohort(hours=hours)))


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


def slow_readmission(people, admissions, days, unplanned_only, drop_deaths):
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
        for place, episode in enumerate(episodes):
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
@given(st.lists(PATIENT, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_readmission_equals_a_slow_version(patients, unplanned_only, drop_deaths):
    people, admissions, codes = rows_of(patients)
    rules = Cohort(unplanned_only=unplanned_only, drop_deaths_within_window=drop_deaths)
    labels = cohort.readmission(source(people, admissions, (), codes), rules)
    expected = slow_readmission(people, admissions, 30, unplanned_only, drop_deaths)
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
        return cohort.readmission(own, Cohort()).rows.height

    assert count() == 1
    assert count(codes=False) == 0
    assert count(birth=datetime(2090, 1, 1)) == 0
    assert count(discharged=None) == 0
    assert count(expired=True) == 0


def heart(visits, **rules):
    """Labels of one patient whose visits are (day of admission, days, codes)."""
    admissions = [
        {
            "subject_id": 7,
            "hadm_id": number,
            "admitted": ZERO + begin * DAY,
            "discharged": ZERO + (begin + days) * DAY,
        }
        for number, (begin, days, _) in enumerate(visits)
    ]
    codes = [
        {"subject_id": 7, "hadm_id": number, "kind": "diagnosis", "code": code}
        for number, (_, _, own) in enumerate(visits)
        for code in own
    ]
    own = source([{"subject_id": 7}], admissions, (), codes)
    rows = cohort.heart_failure(own, Run(cohort=Cohort(**rules))).rows
    return [
        (label, (at - ZERO).days)
        for label, at in rows.select("label", "prediction_time").iter_rows()
    ]


def test_a_case_of_heart_failure_is_cut_before_its_first_code():
    visits = [(0, 5, ["9:4019"]), (300, 5, ["9:4019"]), (400, 5, ["9:42831"]), (900, 5, ["9:4280"])]
    begin = ZERO + 400 * DAY
    cut = (datetime(2100, 8, 5) - ZERO).days  # six months before 5 February 2101
    assert begin == datetime(2101, 2, 5)
    assert heart(visits) == [(1, cut)]
    assert heart(visits, gap_months=0) == [(1, 400)]
    assert heart(visits, gap_months=14) == []  # nothing had ended by then


@pytest.mark.parametrize("code", ["9:4280", "9:42831", "10:I509", "10:I5022"])
def test_a_code_of_heart_failure_is_one_in_either_version(code):
    assert [label for label, _ in heart([(0, 5, ["10:I10"]), (300, 5, [code])])] == [1]
    for other in ("10:4280", "9:I509", "10:I5", "9:4290"):
        assert [label for label, _ in heart([(0, 5, ["10:I10"]), (300, 5, [other])])] == [0]


def test_a_control_keeps_all_but_its_last_admission():
    visits = [(0, 5, ["9:4019"]), (100, 7, ["9:4019"]), (300, 5, ["9:4019"])]
    assert heart(visits) == [(0, 107)]
    assert heart(visits[:1]) == []
    assert heart([(0, 5, ["9:4280"]), *visits[1:]]) == []  # it began with heart failure
    assert heart([visits[0], (100, 7, [])]) == []  # one coded admission


def test_target_codes():
    assert cohort.target_codes("heart_failure", Run()) == ("9:428", "10:I50")
    broad = cohort.target_codes("heart_failure", Run(cohort=Cohort(heart_failure_codes="broad")))
    assert "9:40201" in broad
    assert cohort.target_codes("readmission", Run()) == ()
    visits = [(0, 5, ["9:4019"]), (300, 5, ["9:40201"])]
    assert heart(visits) == [(0, 5)]
    assert [label for label, _ in heart(visits, heart_failure_codes="broad")] == [1]
