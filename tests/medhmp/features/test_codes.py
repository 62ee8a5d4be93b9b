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
    both = codes.fit(TRAINING, Features())
    assert both["diagnosis"].codes == ("9:0389", "9:4280")
    assert both["drug"].codes == ("aspirin",)
    frequent = codes.fit(TRAINING, Features(min_code_count=2, min_drug_count=3))
    assert frequent["diagnosis"].codes == ("9:4280",)  # of two admissions; a repeat does not count
    assert frequent["drug"].codes == ()  # one admission of each source: two


def test_the_hash_tells_vocabularies_apart():
    one, other = codes.Vocabulary(("a", "b")), codes.Vocabulary(("a", "c"))
    assert one.sha256 == codes.Vocabulary(("a", "b")).sha256
    assert one.sha256 != other.sha256


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
