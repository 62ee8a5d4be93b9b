"""The figures copied from the paper, against its text."""

from pathlib import Path

import pytest

from medhmp.legend import LEVELS, Task
from medhmp.report.figures import LINES
from medhmp.report.published import MATCHED, PERCENT, Figures, published

PAPER = Path(__file__).parents[4] / "shared" / "specs" / "paper.txt"


def test_figures_are_fractions_with_the_number_of_their_table() -> None:
    assert published("readmission", "medhmp", "both") == {
        "table": 5,
        "auroc": 0.6777,
        "aupr": 0.0934,
    }
    assert published("heart_failure", "medhmp", "none") == {
        "table": 4,
        "aupr": 0.5783,
        "f1": 0.567,
        "kappa": 0.3303,
    }
    assert published("arf", "medhmp", "admission") is None


def test_matched_heart_failure_stands_beside_trinetx_s() -> None:
    assert published("heart_failure", "medhmp", "both")["aupr"] == 0.5783
    assert published("heart_failure", "medhmp", "both", matched=True)["aupr"] == 0.5016
    for start in ("none", "admission", "both"):
        own = published("copd", "medhmp", start)
        assert published("copd", "medhmp", start, matched=True) == own


def test_keys_are_rows_that_a_report_can_have() -> None:
    assert all(
        task in LEVELS and (model, start) in LINES for task, model, start in [*PERCENT, *MATCHED]
    )


@pytest.mark.skipif(not PAPER.exists(), reason="the paper's text (../shared) is not here")
@pytest.mark.parametrize("figures", [PERCENT, MATCHED], ids=["own", "matched"])
@pytest.mark.parametrize("key", PERCENT)
def test_figures_stand_together_in_a_row_of_the_paper(
    key: tuple[Task, str, str], figures: Figures
) -> None:
    if key not in figures:
        return
    table, percents = figures[key]
    text = PAPER.read_text()
    before = text[: text.index(f"\nTable {table}:")]
    figures = " ".join(f"{p:.2f}" for p in percents)
    rows = [line for line in before.splitlines()[-25:] if figures in line]
    assert len(rows) == 1
    _, model, start = key
    marks = {"both": "a+s", "admission": "a", "stay": "s", "none": ""}
    name = {"f_lstm": "F-LSTM", "medhmp": "LSTM" if table == 4 else "MEDHMP"}[model]
    assert rows[0].split()[0] == name + marks[start]
