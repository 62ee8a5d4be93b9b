"""Panels: names of their own, words for screen readers, colors for both themes; cohort flows."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from medhmp.legend import SPLITS
from medhmp.model.catalog import MODELS
from medhmp.report.figures import INK, SOFT, labelled, training
from medhmp.report.flow import flow
from medhmp.report.names import START_COLORS
from medhmp.report.theme import BACKGROUND, CONTRAST, contrast, lightened
from medhmp.shards.manifest import TaskCounts


def test_ids_of_two_figures_differ_and_links_follow() -> None:
    svg = '<svg width="1"><g id="a"/><use href="#a" clip-path="url(#a)"/></svg>'
    text = labelled(svg, "one", "T & t", "D")
    assert '<g id="one-a"/><use href="#one-a" clip-path="url(#one-a)"/>' in text
    assert 'role="img" aria-labelledby="one-t one-d"' in text
    root = ElementTree.fromstring(text)
    assert [child.text for child in root][:2] == ["T & t", "D"]


def test_equal_numbers_give_equal_bytes_and_the_numbers_behind() -> None:
    epochs = [{"stage": "pretrain_stay", "epoch": e, "loss": 9.0 - e} for e in range(3)]
    first, second = (training({"pretrain_stay": epochs}) for _ in range(2))
    assert first == second
    (panel,) = first
    assert panel.groups[""] == [["stays", "1", "9"], ["stays", "2", "8"], ["stays", "3", "7"]]
    ids = re.findall(r'\bid="(.*?)"', panel.svg)
    assert all(i.startswith("pretraining-pretrain_stay-loss-") for i in ids)


@pytest.mark.parametrize(
    "color", [INK, SOFT, *START_COLORS.values(), *(m.color for m in MODELS.values() if m.color)]
)
def test_colors_stand_out_from_a_dark_page(color: str) -> None:
    assert contrast(lightened(color), BACKGROUND) >= CONTRAST


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert lightened("#ffffff") == "#ffffff"


def counts(*steps: tuple[str, int]) -> TaskCounts:
    return TaskCounts(steps, dict(zip(SPLITS, (50, 20, 10), strict=True)), dict.fromkeys(SPLITS, 4))


def words(svg: str) -> list[str]:
    return re.findall(r"<text .*?>(.*?)</text>", svg)


def test_a_flow_says_who_was_left_out_and_by_what() -> None:
    panel = flow("arf", counts(("stays", 1200), ("age at least 18", 1200), ("no <onset>", 80)))
    assert words(panel.svg)[:4] == [
        "1,200 stays", "1,120 left out by the rule", "no &lt;onset&gt;", "80 rows",
    ]  # fmt: skip
    assert words(panel.svg)[4:7] == ["train", "50 rows", "4 positive"]
    assert ["age at least 18", "1,200", "–"] in panel.groups[""]
    ElementTree.fromstring(panel.svg)


def test_steps_of_matching_leave_nobody_out() -> None:
    steps = (("patients", 500), ("cases", 20), ("cases with 3 controls", 20),
             ("cases with fewer controls", 0), ("cases without a control, left out", 0),
             ("cases and their controls", 80))  # fmt: skip
    said = words(flow("copd", counts(*steps)).svg)
    assert "20 cases" in said
    assert said[said.index("420 left out by the rule") + 1] == "cases and their controls"
    assert said.count("420 left out by the rule") == sum("left out by" in line for line in said)


def test_boxes_hold_their_lines() -> None:
    """Of a sans-serif letter 7 units are enough on the average."""
    long = "not an observation stay, as these are no admissions at all " * 2
    panel = flow("readmission", counts(("patients with a coded admission, all", 99), (long, 80)))
    assert all(7 * len(line) <= 268 - 14 for line in words(panel.svg))
