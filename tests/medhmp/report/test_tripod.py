"""TRIPOD+AI: filled where a run knows, marked where only its authors do."""

from typing import Any

from medhmp.report.tripod import ITEMS, YOURS, answers, tripod
from medhmp.shards.manifest import TaskCounts
from tests.manifests import manifest

SPLITS = {"train": 60, "validation": 10, "test": 30}
COUNTS = TaskCounts([("stays", 100)], SPLITS, {"train": 6, "validation": 1, "test": 3})


def results(**row: Any) -> dict[str, Any]:
    first: dict[str, Any] = {"task": "mortality", "level": "stay", "model": "medhmp"}
    first |= {"start": "both", "subgroups": [], "fields": {}}
    return {"rows": [{**first, **row}], "run": {"splits": {"train": 0.6}}}


def test_what_only_authors_know_is_theirs() -> None:
    made = manifest(counts={"mimic3": {"patients": 50, "stays": 100}}, tasks={"mortality": COUNTS})
    table = tripod(results(), made)
    said = {item: answer for item, _, answer in table.groups[""]}
    assert list(said) == [item for item, _ in ITEMS]
    for item in ("1", "2", "3a", "5b", "6a", "6c", "14", "17", "18a", "19", "25", "27c"):
        assert said[item] == YOURS, item
    assert said["5a"] == "Sources: mimic3 (50 patients, 100 stays)."
    assert said["21"].endswith("train 60 (6 events), validation 10 (1 events), test 30 (3 events).")
    filled = sum(answer != YOURS for answer in said.values())
    assert table.note.startswith(f"{filled} of 52 items")


def test_subgroups_sources_and_synthetic_patients_are_said() -> None:
    sources = {"synthetic": {"stays": 1}, "eicu": {"stays": 2}}
    made = manifest(counts=sources, tasks={"mortality": COUNTS})
    groups = [{"by": "sex"}, {"by": "care_unit"}, {"by": "sex"}]
    said = answers(results(subgroups=groups, fields={"finetune": {"labels": 300}}), made)
    assert said["14"] == "Figures by sex, care unit, under 'Subgroups'."
    assert said["12d"] == said["23b"] == "By source, under 'Subgroups'."
    assert "synthetic" in said["17"]
    assert "300 labelled" in said["10"]


def test_a_run_that_scored_nothing_has_no_form() -> None:
    assert tripod({"rows": [], "run": {}}, manifest()).groups == {}
