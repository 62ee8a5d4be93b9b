"""Results of `make demo` in runs/demo, held to what the demo is there to show."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from medhmp.recipes import PLANTED

pytestmark = pytest.mark.demo

DEMO = Path(__file__).resolve().parents[2] / "runs" / "demo"
STARTS = ("none", "stay", "admission", "both")
RANKED = ("auroc", "aupr", "average_precision")


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    path = DEMO / "report" / "results.json"
    if not path.exists():
        pytest.skip(f"needs {path}, which `make demo` writes")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_five_tasks_by_four_starts(results: dict[str, Any]) -> None:
    rows = [(row["task"], row["start"]) for row in results["rows"] if row["model"] == "medhmp"]
    assert sorted(rows) == sorted((task, start) for task in PLANTED for start in STARTS)
    assert results["skipped"] == []


def test_pretraining_helps(results: dict[str, Any]) -> None:
    assert results["gain"]["value"] > 0


def test_no_task_is_trivial_and_none_is_beaten_by_more_than_chance(
    results: dict[str, Any],
) -> None:
    for row in results["rows"]:
        # Between 0.75 and 0.92 in the whole cohort (test_synthetic); these rows are a sample of it.
        error = 2 * row["auroc"]["se"]
        assert 0.75 - error <= row["best_achievable"] <= 0.92 + error, row["task"]
        assert row["auroc"]["value"] < row["best_achievable"] + 0.05, (row["task"], row["start"])


def test_intervals_hold_their_values(results: dict[str, Any]) -> None:
    for row in results["rows"]:
        for name in RANKED:
            metric = row[name]
            assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1
            assert metric["se"] > 0


def test_every_row_has_what_is_measured_beside_discrimination(results: dict[str, Any]) -> None:
    for row in results["rows"]:
        assert set(row["recalibrated"]) == {"logistic", "isotonic"}, row["task"]
        assert {g["by"] for g in row["subgroups"]} == {
            "sex", "age", "ethnicity", "insurance", "care_unit", "sex_age",
        }  # fmt: skip
        for by in ("sex", "age", "sex_age"):
            groups = [g for g in row["subgroups"] if g["by"] == by]
            assert sum(g["n"] for g in groups) == row["n"]
        assert row["calibration"]["intervals"]["slope"] is not None
        assert row["score_auroc"]["low"] < row["score_auroc"]["value"]


def test_the_page_has_all_of_it(results: dict[str, Any]) -> None:
    page = (DEMO / "report" / "index.html").read_text()
    for heading in ("Calibration", "Recalibrated", "Rates at thresholds", "Subgroups",
                    "Cohort flow", "TRIPOD+AI"):  # fmt: skip
        assert f'aria-label="{heading}"' in page


def test_the_page_needs_nothing_but_itself(results: dict[str, Any]) -> None:
    page = (DEMO / "report" / "index.html").read_text()
    outside = re.findall(
        r"""(?:src|href)\s*=\s*["'](?!#|data:)[^"']*|url\((?!#|data:)[^)]*""", page
    )
    assert outside == []
    assert "<svg" in page
