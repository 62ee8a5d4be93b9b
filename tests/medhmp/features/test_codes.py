"""Vocabularies of codes."""

import polars as pl

from medhmp.features import codes
from medhmp.run import Features


def frame(*rows):
    schema = {"source": pl.String, "hadm_id": pl.Int64, "kind": pl.String, "code": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


TRAINING = frame(
    ("a", 1, "diagnosis", "9:4280"),
    ("a", 1, "diagnosis", "9:4280"),
    ("a", 2, "diagnosis", "9:4280"),
    ("a", 1, "diagnosis", "9:0389"),
    ("b", 1, "drug", "aspirin"),
    ("a", 1, "drug", "aspirin"),
)


def test_codes_ascend_and_rare_ones_are_left_out():
    both = codes.fit_vocabularies(TRAINING, Features())
    assert both["diagnosis"].codes == ("9:0389", "9:4280")
    assert both["drug"].codes == ("aspirin",)
    frequent = codes.fit_vocabularies(TRAINING, Features(min_code_count=2, min_drug_count=3))
    assert frequent["diagnosis"].codes == ("9:4280",)  # of two admissions; a repeat does not count
    assert frequent["drug"].codes == ()  # one admission of each source: two


def test_ids_of_an_admission_ascend_once_each_and_skip_unknown_codes():
    vocabulary = codes.Vocabulary(("9:0389", "9:4280"))
    rows = frame(
        ("a", 1, "diagnosis", "9:4280"),
        ("a", 1, "diagnosis", "9:0389"),
        ("a", 1, "diagnosis", "9:4280"),
        ("b", 1, "diagnosis", "9:4280"),
        ("a", 2, "diagnosis", "9:9999"),
    )
    ids = vocabulary.ids(rows, "icd_ids").sort("source", "hadm_id")
    assert ids.rows() == [("a", 1, [0, 1]), ("b", 1, [1])]


EVERY = frame(
    ("a", 1, "diagnosis", "9:4019"),
    ("a", 2, "diagnosis", "10:I10"),
    ("a", 2, "diagnosis", "10:U071"),
    ("a", 2, "diagnosis", "9:4280"),
    ("b", 3, "diagnosis", "10:A419"),
    ("b", 3, "diagnosis", "9:odd"),
    ("b", 3, "drug", "10:I10"),
    ("b", 3, "drug", "10:I10"),
)
FIRST = pl.DataFrame({"source": ["a"], "hadm_id": [1]})


def coded(prepared):
    found = {}
    for source, hadm, kind, code in prepared.codes.iter_rows():
        found.setdefault((source, hadm, kind), []).append(code)
    return {key: sorted(codes) for key, codes in found.items()}


def test_versions_stay_apart_by_default():
    prepared = codes.prepare(EVERY, FIRST, Features())
    assert coded(prepared)["a", 2, "diagnosis"] == ["10:I10", "10:U071", "9:4280"]
    assert coded(prepared)["b", 3, "drug"] == ["10:I10"]
    assert prepared.counts == {"a": {codes.NO_TREE: 0}, "b": {codes.NO_TREE: 1}}
    assert prepared.icd9_of == {}


def test_icd10_becomes_the_icd9_that_training_admissions_have_most():
    prepared = codes.prepare(EVERY, FIRST, Features(icd="to_icd9"))
    assert coded(prepared) == {
        ("a", 1, "diagnosis"): ["9:4019"],
        ("a", 2, "diagnosis"): ["10:U071", "9:4019", "9:4280"],
        ("b", 3, "diagnosis"): ["9:0389", "9:99591", "9:odd"],
        ("b", 3, "drug"): ["10:I10"],
    }
    assert prepared.icd9_of == {"10:I10": ["9:4019"], "10:A419": ["9:0389", "9:99591"]}
    name = "diagnoses without an ICD-9 equivalent"
    assert {source: of[name] for source, of in prepared.counts.items()} == {"a": 1, "b": 0}
    nobody = codes.prepare(EVERY, FIRST.clear(), Features(icd="to_icd9"))
    assert nobody.icd9_of["10:I10"] == ["9:4010"]


def test_ancestors_join_an_admission_s_diagnoses_once_each():
    prepared = codes.prepare(EVERY, FIRST, Features(icd="to_icd9", code_levels=(0, 2)))
    assert coded(prepared)["a", 2, "diagnosis"] == [
        *("10:U00-U85", "10:U07", "10:U071"),
        *("9:390-459", "9:401", "9:4019", "9:428", "9:4280"),
    ]
    assert coded(prepared)["b", 3, "drug"] == ["10:I10"]
    assert [of["diagnoses without ancestors"] for of in prepared.counts.values()] == [0, 1]
    vocabulary = codes.fit_vocabularies(prepared.codes, Features(min_code_count=2))["diagnosis"]
    assert vocabulary.codes == ("9:390-459", "9:401", "9:4019")
