"""Who is in a task, as a CONSORT flow: a box per count that a rule left, and who was left out."""

import textwrap
from dataclasses import dataclass
from typing import Final

from medhmp.legend import SPLITS, Task
from medhmp.report.figures import FAINT, INK, PAPER, SOFT, Panel, labelled
from medhmp.report.markup import TEMPLATES
from medhmp.report.names import task_name
from medhmp.shards.manifest import TaskCounts
from medhmp.tasks.matching import CONTROLS

WIDTH: Final = 400
LINE: Final = 16
"""Height of a line of text."""
LETTERS: Final = 36
"""Of a line, at most."""
BESIDE: Final = (
    "cases",
    f"cases with {CONTROLS} controls",
    "cases with fewer controls",
    "cases without a control, left out",
)
"""Steps that count the matching and leave nobody out by themselves."""


@dataclass(frozen=True)
class Box:
    """Lines of text in a rectangle."""

    x: int
    y: int
    width: int
    lines: list[str]
    aside: bool = False  # an arrow leads to it from the flow

    @property
    def height(self) -> int:
        return LINE * len(self.lines) + 12


def flow(task: Task, counts: TaskCounts) -> Panel:
    """The flow of one task that has rows: rules that left somebody out, then the splits.

    The table behind it has every rule.
    """
    boxes: list[Box] = []
    y, before = 2, 0
    for step, left in counts.steps:
        out = before - left
        if not boxes:
            boxes.append(Box(2, y, 268, _wrapped(f"{left:,} {step}")))
        elif step in BESIDE:
            boxes.append(Box(130, y, 268, _wrapped(f"{left:,} {step}"), aside=True))
        elif out > 0:
            boxes.append(
                Box(130, y, 268, [f"{out:,} left out by the rule", *_wrapped(step)], aside=True)
            )
        else:
            before = left
            continue
        before = before if step in BESIDE else left
        y += boxes[-1].height + 12
    last = Box(2, y, 268, _wrapped(f"{sum(counts.rows.values()):,} rows"))
    bottom = last.y + last.height + 24
    splits = [
        Box(2 + 134 * i, bottom, 128, [split, f"{counts.rows[split]:,} rows",
                                       f"{counts.positives[split]:,} positive"])
        for i, split in enumerate(SPLITS)
    ]  # fmt: skip
    svg = TEMPLATES.get_template("flow.svg.j2").render(
        boxes=[*boxes, last], splits=splits, width=WIDTH, height=bottom + splits[0].height + 2,
        line=LINE, ink=INK, soft=SOFT, faint=FAINT, paper=PAPER,
    )  # fmt: skip
    title, name = f"{task_name(task)}: who is in it", f"flow-{task}"
    said = "; ".join(f"{step}: {left:,} left" for step, left in counts.steps)
    steps = [[step, f"{left:,}", "\u2013"] for step, left in counts.steps]
    steps += [[s, f"{counts.rows[s]:,}", f"{counts.positives[s]:,}"] for s in SPLITS]
    columns = ("Step or split", "Rows left", "Positive")
    return Panel(name, title, labelled(svg, name, title, said), columns, {"": steps})


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, LETTERS)
