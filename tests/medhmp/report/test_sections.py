"""Sections that the fixtures of a whole report do not vary: origins."""

from typing import Any

from medhmp.report import page
from medhmp.report.section import Section, of_words
from medhmp.report.sections import sections
from medhmp.report.story import Story
from tests.manifests import manifest

HERE = {"code": "0.1.0", "python": "3.12.1", "threads": 2, "gpu": None}
THERE = {"code": "0.1.0", "python": "3.11.9", "gpu": "H100"}


def origins(provenance: dict[str, Any]) -> Section:
    results = {"rows": [], "differences": [], "skipped": [], "learned": {"beside": {}}}
    results["provenance"] = provenance
    (section,) = sections(results, manifest())
    return section


def test_outputs_of_one_origin_share_a_line() -> None:
    """Whatever the order of what their records say; many outputs of one folder are counted."""
    grids = {f"tune/{task}/medhmp/none": THERE for task in ("arf", "shock", "copd", "amnesia")}
    reordered = dict(reversed(HERE.items()))
    section = origins({"report": HERE, "pretrain_stay": THERE, "shards": reordered, **grids})
    assert section.title == "Where this comes from"
    assert section.columns == ("Outputs", "code", "python", "threads", "gpu")
    assert section.groups[""] == [
        ["report, shards", "0.1.0", "3.12.1", "2", "–"],
        ["pretrain_stay, tune (4)", "0.1.0", "3.11.9", "–", "H100"],
    ]


def test_few_outputs_of_a_folder_are_named() -> None:
    places = ["tune/arf/medhmp/none", "tune/arf/medhmp/both"]
    (line,) = origins(dict.fromkeys(places, HERE)).groups[""]
    assert line[0] == "tune/arf/medhmp/none, tune/arf/medhmp/both"


def test_origins_are_collapsed_on_the_page_alone() -> None:
    story = Story("t", "l", "n", [], [origins({"report": HERE})])
    assert "<details>\n<summary><h2>Where this comes from</h2></summary>" in page.html(story, [])
    assert "## Where this comes from\n\n| Outputs | code |" in page.markdown(story, [])


def test_columns_of_dashes_are_left_out_and_words_are_told_from_figures() -> None:
    rows = [["a", "–", "0.5", "why not", "–"], ["b", "–", "–", "0.2", "best"]]
    table = Section("t", ("Model", "Paper", "Ours", "Other", "Name"), {"g": rows}).pruned()
    assert table.columns == ("Model", "Ours", "Other", "Name")
    assert table.groups == {"g": [["a", "0.5", "why not", "–"], ["b", "–", "0.2", "best"]]}
    groups = {"": [["a", "F", "1"], ["b", "18–44", "2"], ["c", "M", "–"]]}
    assert of_words(("Model", "Group", "Rows"), groups) == {1}


def test_drift_names_what_is_absent_and_what_looks_like_another_unit() -> None:
    of = {"columns": 8, "filled": 5, "stays": 40, "fitted_stays": 60}
    none = {"filled": 0, "stays": 0, "median": None, "fitted_median": 80.0}
    drift = {
        "magnesium": of | {"median": 0.83, "fitted_median": 2.0},
        "pulse": of | none,
    }
    assert drifted(clif=drift) == [
        ["magnesium \u2020", "40", "5 of 8", "2", "0.83", "0.415"],
        ["pulse", "0", "0 of 8", "80", "\u2013", "\u2013"],
    ]
    assert drifted() == []


def drifted(**drift: Any) -> list[list[str]]:
    """The lines of the first source's drift on the page."""
    results = {"rows": [], "differences": [], "skipped": [], "learned": {"beside": {}}}
    every = sections(results | {"provenance": {}}, manifest(drift=drift))
    groups = [section.groups for section in every if section.title == "Drift"]
    return groups[0]["clif: 1 of 2 variables have columns"] if groups else []
