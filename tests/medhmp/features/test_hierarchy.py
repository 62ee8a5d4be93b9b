"""Diagnosis codes and what stands above them, in either version."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.features.hierarchy import ancestors, icd9_path, icd10_path


def above(*codes, levels=(0, 1, 2)):
    found = {}
    for code, ancestor in ancestors(pl.Series("code", codes, pl.String), levels).iter_rows():
        found.setdefault(code, []).append(ancestor)
    return found


def test_chapter_block_and_category_of_each_level():
    assert above("9:4280") == {"9:4280": ["9:390-459", "9:420-429", "9:428"]}
    assert above("10:I5022") == {"10:I5022": ["10:I00-I99", "10:I30-I5A", "10:I50"]}
    assert above("9:4280", "9:4280", levels=(2,)) == {"9:4280": ["9:428"]}
    assert above("9:4280", levels=()) == {}


@pytest.mark.parametrize("code", ["9:NONE", "9:", "10:999", "10:", "11:4280", "4280"])
def test_an_unknown_code_has_no_ancestors(code):
    assert above(code, "9:4280").keys() == {"9:4280"}


@pytest.mark.parametrize(
    ("code", "path"),
    [
        ("A419", ["A00-B99", "A30-A49", "A41", "A419"]),
        ("Z7901", ["Z00-Z99", "Z77-Z99", "Z79", "Z7901"]),
        ("I10", ["I00-I99", "I10-I1A", "I10", "I10"]),
    ],
)
def test_icd10_paths(code, path):
    assert icd10_path(code) == path


def test_external_and_supplementary_codes_have_chapters_of_their_own():
    assert above("9:V5861")["9:V5861"][-1] == "9:V58"
    assert above("9:E8859")["9:E8859"][-1] == "9:E885"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(["9:4280", "9:412", "9:V5861", "10:I10", "10:J449", "9:x"]), max_size=5
    ),
    st.lists(st.sampled_from([0, 1, 2]), max_size=3, unique=True),
)
def test_ancestors_are_nodes_of_the_path(codes, levels):
    for code, nodes in above(*codes, levels=levels).items():
        version, _, written = code.partition(":")
        path = icd9_path(written) if version == "9" else icd10_path(written)
        own = [f"{version}:{path[min(level, len(path) - 1)]}".replace(".", "") for level in levels]
        assert nodes == list(dict.fromkeys(own))
