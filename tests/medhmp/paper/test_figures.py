"""Figures 4 to 6 show the numbers of their lines, and Figure 6 says whose they are."""

from typing import Any

import pytest

from medhmp.paper.figures import drawing_of
from medhmp.paper.sections import epochs_section, part_section


def line(model: str, start: str, value: float, **more: Any) -> dict[str, Any]:
    return {
        "task": "arf",
        "metric": "auroc",
        "model": model,
        "start": start,
        "variant": None,
        "labels": 100,
        "is_floor": False,
        "events": 20,
        "n": 90,
        "value": value,
        "sd": 0.01,
        "low": value - 0.1,
        "high": value + 0.1,
        "chance": ["test patients"],
        "paper": None,
        "against": None,
        "difference": None,
        **more,
    }


FLOOR = line("logistic_regression", "none", 0.8, is_floor=True)
FOUR = [line("unimodal_lstm", "none", 0.6), line("encoded_lstm", "both", 0.7), FLOOR]
FIVE = [
    line("hitanet", start, value + labels / 1000, labels=labels, variant=variant)
    for labels, variant in ((20, "share-10"), (100, None))
    for start, value in (("none", 0.5), ("both", 0.6))
]
SIX = [
    *(line("medhmp", s, 0.5 + e / 10, epoch=e) for e in (1, 2) for s in ("none", "both")),
    FLOOR | {"epoch": None},
]


@pytest.mark.parametrize(
    ("name", "lines"), [("figure_4", FOUR), ("figure_5", [*FIVE, FLOOR]), ("figure_6", SIX)]
)
def test_a_panel_has_a_line_of_numbers_for_each_of_its_lines(name: str, lines: list[Any]) -> None:
    drawing = drawing_of(name, "Figure", lines)
    (panel,) = drawing.panels
    told = sorted(cells[2] for cells in panel.groups[""])
    assert told == sorted(f"{of['value']:.3f}" for of in lines)
    assert panel.svg.startswith("<svg")
    assert ("nothing is chosen by them" in panel.svg) == (name == "figure_6")
    more = [{**of, "metric": "aupr"} for of in lines]
    assert len(drawing_of(name, "Figure", [*lines, *more]).panels) == 2


def test_sizes_are_named_by_their_rows_and_pictures_are_said_to_be_so() -> None:
    section = part_section("Figure 5", FIVE, "synthetic patients")
    (cells,) = section.groups.values()
    assert [of[0] for of in cells] == [
        "HiTANet, none, 20 labelled rows",
        "HiTANet, both, 20 labelled rows",
        "HiTANet, none",
        "HiTANet, both",
    ]
    assert "a picture without numbers" in section.note


def test_epochs_are_marked_as_of_the_test_split() -> None:
    section = epochs_section("Figure 6", SIX)
    assert section.note.startswith("Scores of the test split after every epoch")
    (cells,) = section.groups.values()
    assert [of[1] for of in cells] == ["1", "1", "2", "2", "\u2013"]
