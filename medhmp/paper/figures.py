"""The paper's Figures 4 to 6, drawn from our lines."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib
import numpy as np

from medhmp.legend import PaperPart
from medhmp.paper.compare import Record
from medhmp.paper.sections import METRICS, OF_TEST, name_of
from medhmp.report.figures import SOFT, STYLE, Drawing, Panel, canvas, legend, panel_of
from medhmp.report.names import color_of, title_of
from medhmp.report.section import number

FLOOR: Final = (0, (4, 2))
"""The dashes of a floor's line."""
COLUMNS: Final = ("Model", "At", "Ours", "Low", "High")


def drawing_of(name: PaperPart, title: str, lines: Sequence[Record]) -> Drawing:
    """A figure: a panel per metric."""
    panels = []
    with matplotlib.rc_context(STYLE):
        for metric in dict.fromkeys(line["metric"] for line in lines):
            own = [line for line in lines if line["metric"] == metric]
            of = f"{name}-{metric}"
            if name == "figure_4":
                panels.append(_dots(of, METRICS[metric], own))
            elif name == "figure_5":
                x = "Labelled training rows"
                panels.append(_curves(of, METRICS[metric], own, "labels", x))
            else:
                panels.append(_curves(of, METRICS[metric], own, "epoch", "Epoch"))
    return Drawing(title, panels)


def _dots(name: str, metric: str, lines: Sequence[Record]) -> Panel:
    """A dot with its interval for each line."""
    figure, axes = canvas(0.95 + 0.3 * len(lines))
    for y, line in enumerate(lines):
        color = color_of(line["model"], line["start"])
        if line["low"] is not None:
            axes.plot([line["low"], line["high"]], [y, y], color=color, linewidth=2)
        axes.plot(line["value"], y, "o", color=color, markersize=5)
    axes.set_yticks(range(len(lines)), [name_of(line) for line in lines])
    axes.set(ylim=(len(lines) - 0.4, -0.6), xlabel=metric)
    axes.grid(visible=False, axis="y")
    said = f"{metric} with its 95 % interval, a line per model and start of its encoder."
    rows = [[name_of(line), "", *_numbers(line)] for line in lines]
    return panel_of(name, metric, said, figure, COLUMNS, rows)


def _curves(name: str, metric: str, lines: Sequence[Record], at: str, label: str) -> Panel:
    """A curve with its interval for each model and start; a level line for one without places."""
    figure, axes = canvas(3.1)
    rows = []
    for key in dict.fromkeys((line["model"], line["start"]) for line in lines):
        own = [line for line in lines if (line["model"], line["start"]) == key]
        color, of = color_of(*key), title_of(*key)
        dashes: dict[str, Any] = {"linestyle": FLOOR} if own[0]["is_floor"] else {}
        if own[0][at] is None:
            axes.axhline(own[0]["value"], color=color, label=of, linewidth=1.2, **dashes)
        else:
            x = [line[at] for line in own]
            axes.plot(x, [line["value"] for line in own], color=color, label=of, linewidth=1.5,
                      marker="o", markersize=3, **dashes)  # fmt: skip
            _band(axes, x, own, color)
        rows += [[of, str(line[at] or ""), *_numbers(line)] for line in own]
    if at == "labels":
        axes.set_xscale("log")
    axes.set(xlabel=label, ylabel=metric)
    legend(figure, axes)
    said = f"{metric} against {label.lower()}, a line per model and start, with 95 % intervals."
    under = "Test split, for this figure alone" if at == "epoch" else ""
    note_said = f"{said} {OF_TEST}" if at == "epoch" else said
    return panel_of(name, metric, note_said, figure, COLUMNS, rows, under)


def _band(axes: Any, x: Sequence[float], lines: Sequence[Mapping[str, Any]], color: str) -> None:
    """The intervals of a curve, where it has them."""
    low, high = (
        np.array([np.nan if line[of] is None else line[of] for line in lines])
        for of in ("low", "high")
    )
    if not np.isnan(low).all():
        axes.fill_between(x, low, high, color=color or SOFT, alpha=0.12, linewidth=0)


def _numbers(line: Record) -> list[str]:
    return [number(line[of]) for of in ("value", "low", "high")]
