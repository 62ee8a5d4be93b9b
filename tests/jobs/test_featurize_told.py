"""What featurize tells of filled columns, frequent variables and splits without a class."""

from typing import Any

import pytest

from jobs.featurize import tell
from medhmp.features.filled import Filled
from medhmp.legend import SPLITS
from medhmp.progress import Progress
from medhmp.run import Features
from medhmp.shards.manifest import File, TaskCounts
from tests.manifests import manifest

PLAN = {"frequent": ["HR"], "readings": {"HR": 51.24, "RR": 43.8}}
FILLED = Filled(9, 4, frozenset(range(3)), (100, 7, 2), (18, 1, 0))


def told(
    capsys: pytest.CaptureFixture[str],
    features: Features | None = None,
    plan: dict[str, Any] = PLAN,
    rows: dict[str, int] | None = None,
    **content: Any,
) -> list[str]:
    splits = rows or dict.fromkeys(SPLITS, 3)
    usual = {
        "features": ["a"] * 5,
        "demographics": ["b"],
        "fiddle": {"plan": plan},
        "tables": {"stays": {"part": File(9, splits, "")}},
        "filled": {"ward": FILLED.counts()},
    }
    tell(Progress(quiet=False), manifest(**(usual | content)), features or Features())
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_what_is_filled_and_what_the_fit_did_not_see(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys)
    assert "ward: 4 of 9 stays have hourly features, 3 of the 5" in lines
    beyond = "ward: 7 of 100 hourly values are beyond what was fitted, and go to the nearest bin"
    assert beyond in lines
    assert "ward: 2 of 100 hourly values are of no fitted category, and have no feature" in lines
    assert any(line.startswith("ward: 1 of 18 demographic values are beyond") for line in lines)
    assert sum("demographic values" in line for line in lines) == 1
    strict = told(capsys, Features(clip=False))
    assert any("are beyond what was fitted, and have no feature" in line for line in strict)
    real = told(capsys, Features(discretize=False), real_valued=True)
    assert any("are beyond what was fitted, and are cut" in line for line in real)


def test_frequent_variables_and_how_near_others_come(capsys: pytest.CaptureFixture[str]) -> None:
    head = "frequent variables, of 48 readings a stay or more: "
    assert f"{head}1 (HR 51.2); nearest: RR 43.8" in told(capsys)
    none = {"frequent": [], "readings": {"HR": 43.84}}
    (line,) = (x for x in told(capsys, plan=none) if x.startswith("frequent"))
    assert line.startswith(f"{head}0; nearest: HR 43.8; --features.frequent-over full_length")
    full = Features(frequent_over="full_length", theta_freq=0.5)
    (line,) = (x for x in told(capsys, full, none) if x.startswith("frequent"))
    assert line == (
        "frequent variables, of 24 readings a stay of full length or more: 0; nearest: HR 43.8"
    )
    bare = {"frequent": [], "readings": {}}
    assert f"{head}0" in told(capsys, plan=bare)


def test_nothing_to_learn_from_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, demographics=[], rows={"train": 9, "validation": 0, "test": 0})
    assert "no demographic feature is left; the model learns from the hours alone" in lines
    for split in ("validation", "test"):
        said = f"the {split} split has no stay; give another --splits.salt, or a larger --splits."
        assert said + split in lines
    counts = TaskCounts([("stays", 9)], dict.fromkeys(SPLITS, 3), {**dict.fromkeys(SPLITS, 1),
                        "test": 0})  # fmt: skip
    (line,) = (x for x in told(capsys, tasks={"arf": counts}) if "cannot" in x)
    assert line.startswith("arf cannot be trained: test has no positive row (2 of 9 rows are posi")
