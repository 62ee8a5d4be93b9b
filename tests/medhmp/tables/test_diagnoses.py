"""Diagnosis codes of any source: lost zeros and wrong versions are refused, what is no code left
out."""

import re
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.icd import alternatives
from medhmp.refusal import Refusal, counted
from medhmp.tables.diagnoses import MISTAKEN, SHAPELESS, SHAPES, Diagnoses

WHERE = "column ICD9_CODE of table DIAGNOSES_ICD in 'here'"
NINE = sorted({code[2:] for code in alternatives()["icd9"]})
TEN = sorted({code[3:] for code in alternatives()["code"].head(4000)})
RIGHT = [(code, 9) for code in NINE[::40]]
"""Codes among which a few others are slips."""

Rows = Sequence[tuple[str | None, int | None]]


def taken(*blocks: Rows) -> tuple[list[str | None], dict[str, int]]:
    """``code`` of the rows that are kept of each block, and the counts."""
    counts: dict[str, int] = {}
    diagnoses, kept = Diagnoses(counts), []
    for rows in blocks:
        schema = {"icd": pl.String, "version": pl.Int64}
        block = pl.DataFrame(rows, schema=schema, orient="row")
        kept += diagnoses.take(block, pl.col("icd"), pl.col("version"))["code"].to_list()
    diagnoses.finish(WHERE)
    return kept, counts


def dotted(code: str) -> str:
    place = 4 if code.startswith("E") else 3
    return f"{code[:place]}.{code[place:]}" if len(code) > place else code


@pytest.mark.parametrize("write", [str, dotted, str.lower, lambda c: f" {c} ", lambda c: c + "\t"])
def test_a_code_has_one_form_however_it_is_written(write):
    kept, counts = taken([(write(code), 9) for code in NINE], [(write(code), 10) for code in TEN])
    assert kept == [f"9:{code}" for code in NINE] + [f"10:{code}" for code in TEN]
    assert not any(counts.values())


def test_a_blank_code_and_one_without_a_version_are_null():
    assert taken([("", 9), (" ", 10), (None, 9), ("4280", None), ("4280", 9)])[0] == [
        *(None,) * 4,
        "9:4280",
    ]


NUMBERS = {  # how programs write codes that they take for numbers
    "whole": lambda code: str(int(code)),
    "fraction": lambda code: str(float(dotted(code))),
    "whole as a fraction": lambda code: f"{float(code)}",
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([c for c in NINE if c.isdigit()]), max_size=30), st.data())
def test_a_column_of_numbers_is_refused_once_a_code_proves_it(codes, data):
    """Any program that loses a zero of 042 or 008 has lost those of the others."""
    write = NUMBERS[data.draw(st.sampled_from(sorted(NUMBERS)))]
    written = [write(code) for code in (*codes, "042", "00845", "0088", "4280")]
    cut = data.draw(st.integers(0, len(written)))
    impossible = [text for text in written if re.match(r"(\d{1,2}|\d{4,}\.\d+)(\.|$)", text)]
    with pytest.raises(Refusal) as refused:
        taken([(text, 9) for text in written[:cut]], [(text, 9) for text in written[cut:]])
    said = str(refused.value)
    assert said.startswith(WHERE)
    assert "leading zeros are lost" in said
    assert "again as text" in said
    distinct = len(set(impossible))
    assert f"{counted(distinct, 'code')} in {counted(len(impossible), 'row')}" in said


@pytest.mark.parametrize("code", ["0", "00", "0.0", "V1", "V", "4280X", "n/a", "-", "Jane Roe"])
def test_what_is_no_code_is_left_out_and_counted(code):
    kept, counts = taken([*RIGHT, (code, 9), (code, 9)])
    assert (len(kept), counts[SHAPELESS]) == (len(RIGHT), 2)


@pytest.mark.parametrize(
    ("code", "version"), [("I10", 9), ("J449", 9), ("S72.001A", 9), ("4280", 10)]
)
def test_a_slip_of_the_version_is_left_out_and_more_are_refused(code, version):
    right = [(text, 9) for text in NINE[:300]] + [(text, 10) for text in TEN[:300]]
    kept, counts = taken([*right, (code, version)])
    assert (len(kept), counts[MISTAKEN], counts[SHAPELESS]) == (600, 1, 0)
    with pytest.raises(Refusal) as refused:
        taken(right, [(code, version)] * 40)
    said = str(refused.value)
    assert f"1 code in 40 rows of ICD-{19 - version} where the version is {version}" in said
    assert code not in said.replace(WHERE, "")


def test_a_whole_column_of_the_other_version_is_refused():
    for codes, version in ((TEN, 9), (NINE, 10)):
        with pytest.raises(Refusal, match=f"where the version is {version}"):
            taken([(code, version) for code in codes])


def test_another_version_than_the_two_is_left_out():
    assert taken([*RIGHT, ("4280", 8), ("I10", 11)])[1][SHAPELESS] == 2


def test_the_shapes_are_those_of_every_code_of_the_mappings():
    table = alternatives()
    for version, column in (("9", "icd9"), ("10", "code")):
        bare = table[column].str.strip_prefix(f"{version}:")
        assert bare.str.contains(SHAPES[version]).all()
