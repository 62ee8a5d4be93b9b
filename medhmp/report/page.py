"""The report for people: one HTML file that opens from disk, and the same as Markdown."""

from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Final

from medhmp.report.sections import Section
from medhmp.report.story import METHOD, NOTES, Story

PAGE: Final = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { --ink: #1f2933; --soft: #52606d; --line: #e4e7eb; --deep: #0060a8; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f7fa; color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 32px 24px 64px; } h1 { font-size: 28px; margin: 0
0 4px; letter-spacing: -0.01em; } h2 { font-size: 18px; margin: 0 0 12px; } p { margin: 0 0 10px;
max-width: 82ch; } .lead { color: var(--soft); margin-bottom: 20px; } .notice { border-left: 4px
solid #e69f00; background: #fff8e8; padding: 10px 14px; max-width: none; } .cards { display: grid;
grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 16px; } .card, section {
background: #fff; border: 1px solid var(--line); border-radius: 8px; } .card { padding: 14px 18px;
color: var(--soft); font-size: 13.5px; line-height: 1.4; } .card b { display: block; color:
var(--deep); font-size: 30px; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
section { padding: 20px 22px; margin-top: 20px; overflow-x: auto; }
svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
table { border-collapse: collapse; width: 100%; font-size: 12.5px; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, table.text td, table.text th { text-align: left; }
table.text { white-space: normal; width: auto; }
thead th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
tr.group td { font-weight: 600; padding-top: 14px; border-bottom: 1px solid #cbd2d9; }
tbody tr:not(.group):hover { background: #f5f9fd; }
summary h2 { display: inline; } details table { margin-top: 12px; }
.note, .method { color: var(--soft); font-size: 13.5px; margin-top: 10px; }
li { max-width: 82ch; margin-bottom: 6px; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="lead">$lead</p>
$notice
$cards
$sections
</main>
</body>
</html>
""")


def html(story: Story, figures: Mapping[str, str]) -> str:
    """The page. ``figures`` maps headings to ``<svg>`` text; the first precedes all tables."""
    cards = [
        f'<div class="card"><b>{escape(figure)}</b>{escape(what)}</div>'
        for figure, what in story.headline
    ]
    drawn = [_section(heading, svg) for heading, svg in figures.items()]
    written = [
        _section(section.title, _table(section), section.collapsed) for section in story.sections
    ]
    notes = "".join(f"<li>{escape(note)}</li>" for note in NOTES)
    how = _section("How to read this", f'<p class="method">{escape(METHOD)}</p><ul>{notes}</ul>')
    return PAGE.substitute(
        title=escape(story.title),
        lead=escape(story.lead),
        notice=f'<p class="notice">{escape(story.notice)}</p>',
        cards=f'<div class="cards">{"".join(cards)}</div>' if cards else "",
        sections="\n".join([*drawn[:1], *written[:1], *drawn[1:], *written[1:], how]),
    )


def _section(heading: str, body: str, collapsed: bool = False) -> str:
    head = f"<h2>{escape(heading)}</h2>"
    if collapsed:
        return f"<section><details>\n<summary>{head}</summary>\n{body}\n</details></section>"
    return f"<section>\n{head}\n{body}\n</section>"


def _table(section: Section) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in section.columns)
    lines = []
    for group, rows in section.groups.items():
        if group:
            lines.append(
                f'<tr class="group"><td colspan="{len(section.columns)}">{escape(group)}</td></tr>'
            )
        for row in rows:
            lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    kind = "" if any(section.groups) else ' class="text"'
    note = f'<p class="note">{escape(section.note)}</p>' if section.note else ""
    body = "\n".join(lines)
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>{note}"


def markdown(story: Story, figures: Mapping[str, str]) -> str:
    """The same as Markdown; ``figures`` maps headings to file names beside it."""
    parts = [f"# {story.title}", story.lead, f"> {story.notice}"]
    parts += ["\n".join(f"- **{figure}** {what}" for figure, what in story.headline)]
    drawn = [f"## {heading}\n\n![{heading}]({name})" for heading, name in figures.items()]
    written = [_markdown_table(section) for section in story.sections]
    notes = "\n".join(f"- {note}" for note in NOTES)
    parts += [*drawn[:1], *written[:1], *drawn[1:], *written[1:]]
    parts += [f"## How to read this\n\n{METHOD}\n\n{notes}"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_table(section: Section) -> str:
    parts = [f"## {section.title}"]
    for group, rows in section.groups.items():
        if group:
            parts.append(f"**{group}**")
        rule = ["---"] * len(section.columns)
        parts.append("\n".join(_line(cells) for cells in (section.columns, rule, *rows)))
    return "\n\n".join([*parts, section.note] if section.note else parts)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
