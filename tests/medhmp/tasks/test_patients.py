"""Patient tasks: who is a case, who a control, and up to when their records may be used."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from medhmp.run import Cohort
from medhmp.tables import schema
from medhmp.tables.schema import Source
from medhmp.tasks.patients import DISEASES, label_patients, target_codes

DAY = timedelta(days=1)
ZERO = datetime(2100, 1, 1)


def frame(rows, target):
    columns = {name: [row.get(name) for row in rows] for name in target.names}
    return pl.from_arrow(pl.DataFrame(columns, strict=False).to_arrow().cast(target))


def source(people):
    """people: subject_id -> (values of the patient, visits of (day, days, codes, values))."""
    admissions, codes = [], []
    for subject, (_, visits) in people.items():
        for number, (begin, days, own, *more) in enumerate(visits):
            ids = {"subject_id": subject, "hadm_id": 100 * subject + number}
            times = {
                "admitted": ZERO + begin * DAY,
                "discharged": ZERO + (begin + days) * DAY,
            }
            admissions.append({**ids, **times, **(more[0] if more else {})})
            codes += [{**ids, "kind": "diagnosis", "code": code} for code in own]
    persons = [{"subject_id": subject, **values} for subject, (values, _) in people.items()]
    return Source(
        name="s",
        patients=frame(persons, schema.PATIENTS),
        admissions=frame(admissions, schema.ADMISSIONS),
        stays=frame([], schema.STAYS),
        codes=frame(codes, schema.CODES),
        streams={},
        notes=lambda: iter(()),
        onsets=lambda: None,
        counts={},
    )


def heart(visits, icd9_only=False, **rules):
    """Labels of one patient whose visits are (day of admission, days, codes)."""
    found = source({7: ({}, visits)})
    rows = label_patients("heart_failure", found, Cohort(**rules), icd9_only).rows
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


@pytest.mark.parametrize("task", DISEASES)
@pytest.mark.parametrize("codes", ["core", "broad"])
def test_a_first_code_of_the_list_makes_a_case_and_no_other_does(task, codes):
    cohort = Cohort(**{f"{task}_codes": codes}, matched=())
    listed = target_codes(task, cohort)
    assert set(listed) == {
        *DISEASES[task].core,
        *(DISEASES[task].broad if codes == "broad" else ()),
    }
    every = {*DISEASES[task].core, *DISEASES[task].broad}
    for code in every:
        people = {1: ({}, [(0, 5, ["9:4019"]), (300, 5, [code])])}
        rows = label_patients(task, source(people), cohort, icd9_only=False).rows
        assert rows["label"].to_list() == [code in listed]


@pytest.mark.parametrize(
    ("task", "case", "control"),
    [
        (
            "copd",
            ["9:49121", "9:4920", "9:496", "10:J439", "10:J449", "10:J42"],
            ["9:4940", "9:490"],
        ),
        ("amnesia", ["9:78093", "9:4377", "10:R413", "10:F04"], ["9:78097", "9:29410", "10:R418"]),
    ],
)
def test_codes_of_copd_and_amnesia(task, case, control):
    cohort = Cohort(matched=())
    for code in [*case, *control]:
        people = {1: ({}, [(0, 5, ["9:4019"]), (300, 5, [code])])}
        rows = label_patients(task, source(people), cohort, icd9_only=False).rows
        assert rows["label"].to_list() == [code in case]


def test_under_icd9_only_other_admissions_tell_the_label_but_are_no_input():
    old, mixed = (0, 5, ["9:4019"]), (0, 5, ["9:4019", "10:I10"])
    failing = (300, 5, ["10:I509"])
    assert heart([old, failing], icd9_only=True) == heart([old, failing]) != []
    assert heart([mixed, failing], icd9_only=True) == []
    assert len(heart([mixed, failing])) == 1


BIRTH = datetime(2030, 6, 1)
WHITE = {"ethnicity": "WHITE - RUSSIAN"}


def person(*visits, sex="F", birth=BIRTH, ethnicity="WHITE"):
    """Visits are (day, codes), of five days each."""
    own = [(day, 5, codes, {"ethnicity": ethnicity}) for day, codes in visits]
    return {"sex": sex, "birth": birth}, own


CASE = person((0, ["9:4019"]), (400, ["9:496"]), (900, ["9:496"]))


def copd(people, **rules):
    labels = label_patients("copd", source(people), Cohort(**rules), icd9_only=False)
    rows = {
        subject: (label, (at - ZERO).days)
        for subject, label, at in labels.rows.select(
            "row_id", "label", "prediction_time"
        ).iter_rows()
    }
    return rows, dict(labels.steps)


def test_a_control_s_history_ends_as_a_case_s_does():
    control = person((0, ["9:4019"]), (100, ["9:4019"]), (600, ["9:4019"]))
    rows, steps = copd({1: CASE, 2: control})
    cut = (datetime(2100, 8, 5) - ZERO).days  # six months before 5 February 2101
    last = (datetime(2101, 2, 24) - ZERO).days  # six months before 24 August 2101
    assert datetime(2101, 2, 5) == ZERO + 400 * DAY
    assert datetime(2101, 8, 24) == ZERO + 600 * DAY
    assert rows == {1: (1, cut), 2: (0, last)}
    assert steps["cases with fewer controls"] == 1
    everybody, _ = copd({1: CASE, 2: control}, matched=())
    assert everybody == {1: (1, cut), 2: (0, 105)}  # all but the last admission


@pytest.mark.parametrize(
    "other",
    [
        person((0, ["9:4019"]), (400, ["9:4019"]), sex="M"),
        person((0, ["9:4019"]), (400, ["9:4019"]), ethnicity="BLACK/AFRICAN AMERICAN"),
        person((0, ["9:4019"]), (400, ["9:4019"]), birth=datetime(2040, 6, 1)),
        person((0, ["9:4019"]), (100, ["9:4019"])),  # nothing ended six months before the last
        person((400, ["9:4019"])),
        person((0, ["9:4019"]), (400, ["9:4920"])),  # another case
    ],
    ids=["sex", "race", "age", "history", "one admission", "case"],
)
def test_who_is_no_control(other):
    rows, steps = copd({1: CASE, 2: other})
    assert rows == {}
    assert steps["cases without a control, left out"] == steps["cases"] >= 1


def test_three_controls_and_the_counts_of_each_step():
    like = {
        n: person((0, ["9:4019"]), (400, ["9:25000"]), ethnicity="WHITE - RUSSIAN")
        for n in range(2, 7)
    }
    lone = {n: person((0, ["9:4019"]), (400, ["9:496"]), sex="M") for n in (8, 9)}
    rows, steps = copd({1: CASE, **like, **lone})
    assert [label for label, _ in rows.values()] == [1, 0, 0, 0]
    assert steps == {
        "patients with a coded admission": 8,
        "two admissions or more": 8,
        "no COPD at the first admission": 8,
        "an admission that ended 6 months before COPD or, of a control, before the last": 8,
        "cases": 3,
        "cases with 3 controls": 1,
        "cases with fewer controls": 0,
        "cases without a control, left out": 2,
        "cases and their controls": 4,
    }


def test_diseases_before_the_bound_decide_in_either_version_and_later_ones_do_not():
    """Hypertension is CCS 98, diabetes 49 or 50, whatever the version."""
    near = person((0, ["10:I10"]), (400, ["9:25000"]))
    late = person((0, ["9:25000"]), (400, ["9:4019"]))
    far = [person((0, ["9:25000"]), (400, ["9:25000"])) for _ in range(3)]
    people = {1: CASE, **dict(enumerate([*far, late, near], 2))}
    for seed in range(5):
        rows, _ = copd(people, match_seed=seed)
        assert 6 in rows
    assert {5 in copd(people, match_seed=seed)[0] for seed in range(30)} == {True, False}


def test_ages_above_ninety_and_unknown_ones_are_one_band_each():
    for birth in (datetime(1800, 1, 1), None):
        old = {1: person(*[(v[0], v[2]) for v in CASE[1]], birth=birth)}
        ninety = person((0, ["9:4019"]), (400, ["9:4019"]), birth=birth and datetime(2005, 1, 1))
        assert len(copd({**old, 2: ninety})[0]) == 2


def test_a_patient_s_race_is_the_first_known_one():
    visits = [
        (0, 5, ["9:4019"], {"ethnicity": "UNKNOWN/NOT SPECIFIED"}),
        (400, 5, ["9:4019"], WHITE),
    ]
    assert len(copd({1: CASE, 2: ({"sex": "F", "birth": BIRTH}, visits)})[0]) == 2


def test_the_cohort_does_not_depend_on_the_order_of_the_tables():
    people = {
        n: person(
            (0, ["9:4019", f"9:{250 + n % 7}00"]), (400 + n, ["9:496" if n % 5 == 0 else "9:4019"])
        )
        for n in range(1, 60)
    }
    rows, steps = copd(people)
    assert steps["cases with 3 controls"] > 3
    again, _ = copd(dict(reversed(people.items())))
    assert again == rows
    assert copd(people, match_seed=1)[0] != rows


def test_no_case_leaves_no_row():
    rows, steps = copd({n: person((0, ["9:4019"]), (400, ["9:4019"])) for n in range(3)})
    assert rows == {}
    assert steps["cases"] == steps["cases and their controls"] == 0


def test_target_codes():
    assert target_codes("heart_failure", Cohort()) == ("9:428", "10:I50")
    assert target_codes("readmission", Cohort()) == ()


@pytest.mark.parametrize(
    ("written", "alike"),
    [
        (["WHITE", "WHITE - RUSSIAN", "Caucasian"], True),
        (["BLACK/AFRICAN AMERICAN", "BLACK/CAPE VERDEAN", "African American"], True),
        (["ASIAN", "ASIAN - CHINESE", "Asian"], True),
        (["HISPANIC OR LATINO", "HISPANIC/LATINO - CUBAN", "Hispanic"], True),
        (["UNKNOWN/NOT SPECIFIED", "UNABLE TO OBTAIN", "PATIENT DECLINED TO ANSWER", None], True),
        (["OTHER", "AMERICAN INDIAN/ALASKA NATIVE", "MULTI RACE ETHNICITY"], True),
        (["WHITE", "ASIAN"], False),
        (["Caucasian", "Asian"], False),
        (["BLACK/AFRICAN", "HISPANIC OR LATINO"], False),
        (["OTHER", "UNKNOWN/NOT SPECIFIED"], False),
    ],
)
def test_race_groups_of_what_sources_write(written, alike):
    case = person((0, ["9:4019"]), (400, ["9:496"]), ethnicity=written[0])
    for other in written[1:]:
        control = person((0, ["9:4019"]), (400, ["9:4019"]), ethnicity=other)
        assert (copd({1: case, 2: control})[0] != {}) == alike
