"""HTML and Markdown of one story."""

import base64
import hashlib
import re

from medhmp.report import page
from medhmp.report.figures import Drawing, Panel
from medhmp.report.section import Section
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


def drawing(heading: str, name: str) -> Drawing:
    svg = '<svg><path style="fill: #0060a8; stroke: #1f2933"/></svg>'
    return Drawing(heading, [Panel(name, f"of {name}", svg, ("x", "y"), {"": [["1", "behind"]]})])


def test_html_escapes_every_text_but_figures() -> None:
    text = page.html(STORY, [drawing("First & only", "one")])
    assert "<run>" not in text
    for part in (
        "a &lt;run&gt;",
        "notice &amp; more",
        "x &lt; y",
        "First &amp; only",
        "<svg><path",
        "behind",
    ):
        assert part in text


def test_colors_of_figures_follow_the_theme_on_the_page_alone() -> None:
    text = page.html(STORY, [drawing("a", "one")])
    assert 'style="fill: var(--c-0060a8); stroke: var(--ink)"' in text
    light, dark = re.findall(r"--c-0060a8: (#[0-9a-f]{6});", text)
    assert light == "#0060a8" != dark


def test_the_policy_lets_its_own_script_run_and_nothing_else() -> None:
    text = page.html(STORY, [])
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert policy
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy[1]
    assert policy[1].startswith("default-src 'none';")


def test_the_first_figure_and_table_come_first() -> None:
    drawings = [drawing("one", "1"), drawing("two", "2")]
    html = page.html(STORY, drawings).partition("</nav>")[2]
    for text in (html, page.markdown(STORY, drawings)):
        places = [text.index(mark) for mark in ("one", "Grouped", "two", "Plain", "How to read")]
        assert places == sorted(places)


def test_every_section_has_a_link_of_its_own() -> None:
    text = page.html(STORY, [drawing("AUROC by task", "1")])
    links = re.findall(r'<a href="#(.*?)">', text)
    assert links == ["auroc-by-task", "grouped", "plain", "how"]
    assert all(text.count(f'id="{link}"') == 1 for link in links)


def test_markdown_tables_have_a_heading_line_per_group() -> None:
    text = page.markdown(STORY, [drawing("Curves", "c")])
    table = (
        "**Shock**\n\n| Model | AUROC |\n| --- | --- |\n| none | 0.7 |\n| a\\|b | 0.8 |\n\na note"
    )
    assert table in text
    assert "- **+0.031** gained" in text
    assert "> notice & more" in text
    assert "![of c](figures/c.svg)" in text


def test_tables_tell_their_structure_to_screen_readers() -> None:
    text = page.html(STORY, [])
    assert '<tr class="group"><th scope="rowgroup" colspan="2"><span>Shock</span></th></tr>' in text
    assert '<tr><th scope="row">none</th><td>0.7</td></tr>' in text
    assert text.count("<caption>") == text.count("<table") == 2


def test_a_story_without_figures_or_headline_is_whole() -> None:
    empty = Story("t", "l", "n", [], [])
    assert "Not for clinical use" in page.html(empty, [])
    assert "Not for clinical use" in page.markdown(empty, [])
