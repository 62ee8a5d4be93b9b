"""The report for people: one HTML file that opens from disk, and the same as Markdown.

The page asks nothing of any host (its content security policy forbids it), is whole without
JavaScript, and follows the reader's light or dark theme.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from medhmp.report.figures import Drawing
from medhmp.report.markup import TEMPLATES
from medhmp.report.section import Section
from medhmp.report.story import METHOD, NOTES, Story
from medhmp.report.theme import Theme


@dataclass(frozen=True)
class Part:
    """A drawing or a section, with the name that a link to it has."""

    title: str
    id: str
    drawing: Drawing | None = None
    section: Section | None = None


def html(story: Story, drawings: Sequence[Drawing]) -> str:
    """The page; the first drawing precedes all tables."""
    theme = Theme()
    themed = [theme.drawing(drawing) for drawing in drawings]
    script = TEMPLATES.get_template("page.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return TEMPLATES.get_template("page.html.j2").render(
        story=story,
        parts=_parts(story, themed),
        style=Markup(TEMPLATES.get_template("page.css").render(colors=theme.colors)),
        script=Markup(script),
        script_hash=digest,
        method=METHOD,
        notes=NOTES,
    )


def markdown(story: Story, drawings: Sequence[Drawing]) -> str:
    """The same as Markdown, with the drawings as files beside it."""
    return TEMPLATES.get_template("report.md.j2").render(
        story=story, parts=_parts(story, drawings), method=METHOD, notes=NOTES
    )


def _parts(story: Story, drawings: Sequence[Drawing]) -> list[Part]:
    """What the report consists of, in its order."""
    drawn = [Part(d.heading, _id(d.heading), drawing=d) for d in drawings]
    written = [Part(s.title, _id(s.title), section=s) for s in story.sections]
    return [*drawn[:1], *written[:1], *drawn[1:], *written[1:]]


def _id(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
