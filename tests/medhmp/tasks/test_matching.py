"""Matching against plain Python, and what must hold of any matched cohort."""

import hashlib
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.tasks import matching
from medhmp.tasks.matching import CONTROLS, match


def key(subject, seed):
    digest = hashlib.blake2b(f"{seed}:{subject}".encode(), digest_size=8, person=b"match").digest()
    return int.from_bytes(digest, "big")


def slow(people, diseases, seed):
    """case -> its controls: one case, one candidate at a time."""
    chosen, taken = {}, set()
    for case in sorted((p for p in people if p["case"]), key=lambda p: key(p["subject_id"], seed)):
        own = diseases[case["subject_id"]]

        def distance(other, own=own):
            theirs = diseases[other["subject_id"]]
            either = own | theirs
            index = len(own & theirs) / len(either) if either else 1.0
            return (-index, key(other["subject_id"], seed))

        stratum = [
            p
            for p in people
            if not p["case"]
            and p["subject_id"] not in taken
            and all(p[name] == case[name] for name in ("sex", "race", "band"))
        ]
        nearest = [p["subject_id"] for p in sorted(stratum, key=distance)[:CONTROLS]]
        taken |= set(nearest)
        if nearest:
            chosen[case["subject_id"]] = nearest
    return chosen


def fast(people, diseases, seed):
    columns = {"sex": pl.String, "race": pl.String, "band": pl.Float64}
    frame = pl.DataFrame(people, schema={"subject_id": pl.Int64, "case": pl.Boolean, **columns})
    rows = [(subject, category) for subject, own in diseases.items() for category in own]
    categories = pl.DataFrame(
        rows, schema={"subject_id": pl.Int64, "category": pl.String}, orient="row"
    )
    chosen = {}
    for case, control in match(frame, categories, seed).iter_rows():
        chosen.setdefault(case, []).append(control)
    return chosen


PERSON = st.fixed_dictionaries(
    {
        "case": st.integers(0, 3).map(lambda n: n == 0),
        "sex": st.sampled_from(["F", "M", None]),
        "race": st.sampled_from(["white", "unknown"]),
        "band": st.sampled_from([8.0, 9.0, None]),
    }
)
COHORT = st.lists(st.tuples(PERSON, st.sets(st.sampled_from("abcde"))), max_size=40).flatmap(
    lambda of: st.tuples(st.just(of), st.permutations(range(1, len(of) + 1)), st.integers(0, 9))
)


def cohort_of(drawn):
    of, subjects, seed = drawn
    people = [{"subject_id": s, **person} for s, (person, _) in zip(subjects, of, strict=True)]
    return people, {s: own for s, (_, own) in zip(subjects, of, strict=True)}, seed


@settings(max_examples=200, deadline=None)
@given(COHORT, st.sampled_from([1, 7, matching.CELLS]))
def test_matching_equals_a_slow_version(drawn, cells):
    people, diseases, seed = cohort_of(drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "CELLS", cells)  # similarities of one case at a time, of some, all
        assert fast(people, diseases, seed) == slow(people, diseases, seed)


@settings(max_examples=100, deadline=None)
@given(COHORT, st.randoms())
def test_what_holds_of_any_matched_cohort(drawn, order):
    people, diseases, seed = cohort_of(drawn)
    chosen = fast(people, diseases, seed)
    person = {p["subject_id"]: p for p in people}
    controls = [control for own in chosen.values() for control in own]
    assert len(controls) == len(set(controls))
    for case, own in chosen.items():
        assert person[case]["case"]
        assert 1 <= len(own) <= CONTROLS
        for control in own:
            assert not person[control]["case"]
            assert all(person[case][name] == person[control][name] for name in matching.STRATUM)
    for case in (
        p for p in people if p["case"] and len(chosen.get(p["subject_id"], ())) < CONTROLS
    ):
        left = [p for p in people if not p["case"] and p["subject_id"] not in controls]
        assert not [p for p in left if all(p[n] == case[n] for n in matching.STRATUM)]
    order.shuffle(people)
    assert fast(people, diseases, seed) == chosen


def test_the_nearest_in_diseases_are_chosen():
    same = {"sex": "F", "race": "white", "band": 13.0}
    people = [{"subject_id": n, "case": n == 0, **same} for n in range(6)]
    diseases = {0: set("abc"), 1: set("a"), 2: set("abc"), 3: set("xyz"), 4: set("ab"), 5: set()}
    assert fast(people, diseases, 0) == {0: [2, 4, 1]}  # of 1, 2/3, 1/3; two share nothing


def test_another_seed_lets_cases_choose_in_another_order():
    same = {"sex": "F", "race": "white", "band": 13.0}
    people = [{"subject_id": n, "case": n < 10, **same} for n in range(40)]
    diseases = {n: set(random.Random(n).sample("abcdefgh", 3)) for n in range(40)}
    assert len({str(fast(people, diseases, seed)) for seed in range(5)}) == 5
