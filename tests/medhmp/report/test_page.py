"""HTML and Markdown of one story."""

from medhmp.report import page
from medhmp.report.sections import Section
from medhmp.report.story import Story

STORY = Story(
    title="a <run>",
    lead="lead",
    notice="notice & more",
    headline=[("+0.031", "gained")],
    sections=[
        Section(
            "Grouped", ("Model", "AUROC"), {"Shock": [["none", "0.7"], ["a|b", "0.8"]]}, "a note"
        ),
        Section("Plain", ("", "Count"), {"": [["x < y", "3"]]}),
    ],
)


def test_html_escapes_every_text() -> None:
    text = page.html(STORY, {"First & only": "<svg></svg>"})
    assert "<run>" not in text
    for part in (
        "a &lt;run&gt;",
        "notice &amp; more",
        "x &lt; y",
        "First &amp; only",
        "<svg></svg>",
    ):
        assert part in text


def test_the_first_figure_and_table_come_first() -> None:
    for text in (
        page.html(STORY, {"one": "<svg></svg>", "two": "<svg></svg>"}),
        page.markdown(STORY, {"one": "1.svg", "two": "2.svg"}),
    ):
        places = [text.index(mark) for mark in ("one", "Grouped", "two", "Plain", "How to read")]
        assert places == sorted(places)


def test_markdown_tables_have_a_heading_line_per_group() -> None:
    text = page.markdown(STORY, {})
    table = (
        "**Shock**\n\n| Model | AUROC |\n| --- | --- |\n| none | 0.7 |\n| a\\|b | 0.8 |\n\na note"
    )
    assert table in text
    assert "- **+0.031** gained" in text
    assert "> notice & more" in text


def test_a_story_without_figures_or_headline_is_whole() -> None:
    empty = Story("t", "l", "n", [], [])
    assert "Not for clinical use" in page.html(empty, {})
    assert "Not for clinical use" in page.markdown(empty, {})
