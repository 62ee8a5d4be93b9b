"""The report's figures: small panels, each an SVG and the numbers behind it.

A panel is as wide as a telephone, so that a page lays several side by side or one below the other
and none shrinks. Each has its own canvas, without pyplot's global state, and equal numbers give
equal bytes. Text stays text, so that a browser can search it and render it sharply.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from medhmp.arrays import Floats
from medhmp.evaluate.predictions import Predictions
from medhmp.layout import figure_of, terms, unseeded
from medhmp.model.catalog import MODELS
from medhmp.report.names import (
    PRETRAININGS,
    STAGES,
    START_COLORS,
    color_of,
    task_name,
    title_of,
)

INK: Final = "#1f2933"
SOFT: Final = "#52606d"
FAINT: Final = "#9aa5b1"
GRID: Final = "#e4e7eb"
PAPER: Final = "#ffffff"
"""Colors of what is no model; ``theme.FIXED`` has the page's own for each."""
STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medhmp",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
}
WIDTH: Final = 3.6
"""Of a panel, in inches."""
STEPS: Final = np.arange(0, 21) / 20
"""Places at which the numbers behind a curve are told."""


@dataclass(frozen=True)
class Panel:
    """A figure and the numbers behind it, as a table."""

    name: str  # of its file
    title: str
    svg: str  # an <svg> element, without XML prologue
    columns: Sequence[str]
    groups: Mapping[str, Sequence[Sequence[str]]]
    under: str = ""  # the title
    note: str = ""  # under the table
    sortable: bool = False  # on the page

    @property
    def file(self) -> str:
        """Its file, in the report's folder."""
        return figure_of(self.name)


@dataclass(frozen=True)
class Drawing:
    """Panels under one heading."""

    heading: str
    panels: Sequence[Panel]


def panel_of(
    name: str,
    title: str,
    said: str,
    figure: Figure,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    under: str = "",
) -> Panel:
    """Renders a figure; ``said`` is its description for who cannot see it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    return Panel(name, title, labelled(svg, name, title, said), columns, {"": rows}, under)


def labelled(svg: str, name: str, title: str, said: str) -> str:
    """The figure with a title and a description for screen readers, and ids of its own."""
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    words = f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(said)}</desc>'
    return re.sub(
        r"<svg([^>]*)>",
        rf'<svg\1 role="img" aria-labelledby="{name}-t {name}-d">{words}',
        svg,
        count=1,
    )


def canvas(height: float) -> tuple[Figure, Axes]:
    """An empty panel, its height in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def legend(figure: Figure, axes: Axes, more: Sequence[Line2D] = ()) -> None:
    """Names the lines of the axes, and more, below them."""
    handles = [*axes.get_legend_handles_labels()[0], *more]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


def _text(value: float | None) -> str:
    return "\u2013" if value is None else f"{value:.3f}".replace("-", "\u2212")


def overview(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Mean AUROC of the replicates with its interval: a panel per task, a line per model and start,
    and the best achievable.

    ``rows`` are those of ``results.json``.
    """
    present = {(r["model"], r["start"]) for r in rows}
    keys = [(m, start) for m in MODELS for start in START_COLORS if (m, start) in present]
    ends = [end for r in rows for end in (*_limits(r["auroc"]), r["best_achievable"] or 0.5)]
    span = min(0.5, *ends) - 0.03, max(ends) + 0.03
    panels = []
    for task in dict.fromkeys(r["task"] for r in rows):
        of_task = [r for r in rows if r["task"] == task]
        own = [k for k in keys if any((r["model"], r["start"]) == k for r in of_task)]
        panels.append(_of_task(task_name(task), of_task, own, span))
    return panels


def _of_task(
    name: str, rows: Sequence[Mapping[str, Any]], keys: Sequence[Any], span: tuple[float, float]
) -> Panel:
    first = rows[0]
    with matplotlib.rc_context(STYLE):
        figure, axes = canvas(0.95 + 0.27 * len(keys))
        axes.axvline(0.5, color=FAINT, linewidth=0.8)
        if first["best_achievable"] is not None:
            axes.axvline(first["best_achievable"], color=INK, linewidth=1.1, linestyle=(0, (4, 2)))
        for row in rows:
            _dot(axes, keys.index((row["model"], row["start"])), row)
        axes.set_yticks(range(len(keys)), [title_of(*key) for key in keys])
        axes.set(ylim=(len(keys) - 0.4, -0.6), xlim=span, xlabel="AUROC")
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        figure.legend(handles=_overview_legend(rows), loc="outside lower center", ncols=2)
        table = [
            [title_of(r["model"], r["start"]), _text(r["auroc"]["value"]),
             _text(r["auroc"]["low"]), _text(r["auroc"]["high"])]
            for r in rows
        ]  # fmt: skip
        said = f"AUROC and its 95 % interval of {len(rows)} models, as in the table below."
        under = f"{first['events']:,} events in {first['n']:,} rows"
        columns = ("Model", "AUROC", "Low", "High")
        return panel_of(f"overview-{first['task']}", name, said, figure, columns, table, under)


def _limits(metric: Mapping[str, Any]) -> list[float]:
    """The ends of an interval, or twice the figure where there is none."""
    if metric["low"] is None:
        return [metric["value"]] * 2
    return [metric["low"], metric["high"]]


def _dot(axes: Axes, y: int, row: Mapping[str, Any]) -> None:
    """A dot on its interval, the figure above it; hollow where the row repeats another."""
    metric, color = row["auroc"], color_of(row["model"], row["start"])
    axes.plot(_limits(metric), [y, y], color=color, linewidth=2, alpha=0.75)
    fill = color if row["same_as"] is None else PAPER
    axes.plot(metric["value"], y, "o", color=color, markerfacecolor=fill, markersize=5.5)
    axes.annotate(
        f"{metric['value']:.2f}", (metric["value"], y), xytext=(0, 4), fontsize=7,
        textcoords="offset points", ha="center", color=INK,
    )  # fmt: skip


def _overview_legend(rows: Sequence[Mapping[str, Any]]) -> list[Line2D]:
    gray: dict[str, Any] = {"color": SOFT, "marker": "o", "linewidth": 2, "markersize": 5}
    handles = [Line2D([], [], label="mean of replicates, 95 % interval", **gray)]
    if any(r["same_as"] for r in rows):
        handles.append(Line2D([], [], markerfacecolor=PAPER, label="the same as none", **gray))
    handles.append(Line2D([], [], color=FAINT, linewidth=0.8, label="chance"))
    if any(r["best_achievable"] is not None for r in rows):
        dash = (0, (4, 2))
        handles.append(Line2D([], [], color=INK, linestyle=dash, label="best achievable"))
    return handles


def curves(of_one_task: Sequence[Predictions], rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """ROC, precision-recall, calibration, net benefit and predicted risks of one task's test rows.

    ``rows`` of ``results.json`` have the figures of the same models and starts, in any order.
    """
    by_key = {(r["model"], r["start"]): r for r in rows}
    pairs = [(p, by_key[p.model, p.start]) for p in of_one_task]
    with matplotlib.rc_context(STYLE):
        return [_roc(of_one_task), _recall(of_one_task), _calibration(pairs), _benefit(pairs),
                _risks(pairs)]  # fmt: skip


def _look(model: str, start: Any) -> dict[str, Any]:
    return {"color": color_of(model, start), "label": title_of(model, start), "linewidth": 1.4}


def _square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))


def _side_by_side(names: Sequence[str], at: Floats, columns: Sequence[Any]) -> list[list[str]]:
    """A line per place, a column per model."""
    return [
        [f"{x:.2f}", *(_text(float(column[i])) for column in columns)] for i, x in enumerate(at)
    ]


def _roc(of_one_task: Sequence[Predictions]) -> Panel:
    figure, axes = canvas(3.9)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, zorder=0)
    columns = []
    for p in of_one_task:
        false_rate, true_rate, _ = roc_curve(p.test.label, p.test.average)
        axes.plot(false_rate, true_rate, **_look(p.model, p.start))
        last = np.searchsorted(false_rate, STEPS, side="right") - 1
        columns.append(true_rate[last])
    _square(axes, "False positive rate", "True positive rate")
    legend(figure, axes)
    names = [title_of(p.model, p.start) for p in of_one_task]
    said = "Sensitivity against the false positive rate, a line per model."
    head = ("False positive rate", *names)
    table = _side_by_side(names, STEPS, columns)
    return panel_of(f"{of_one_task[0].task}-roc", "ROC", said, figure, head, table)


def _recall(of_one_task: Sequence[Predictions]) -> Panel:
    figure, axes = canvas(3.9)
    axes.axhline(float(of_one_task[0].test.label.mean()), color=FAINT, linewidth=0.8, zorder=0)
    columns = []
    for p in of_one_task:
        precision, recalled, _ = precision_recall_curve(p.test.label, p.test.average)
        axes.plot(recalled, precision, drawstyle="steps-post", **_look(p.model, p.start))
        rising, of_rising = recalled[::-1], precision[::-1]
        columns.append(of_rising[np.searchsorted(rising, STEPS - 1e-12)])
    _square(axes, "Recall", "Precision")
    legend(figure, axes)
    names = [title_of(p.model, p.start) for p in of_one_task]
    said = "Precision against recall, a line per model; the faint line is the share of events."
    table = _side_by_side(names, STEPS, columns)
    name = f"{of_one_task[0].task}-precision-recall"
    return panel_of(name, "Precision-recall", said, figure, ("Recall", *names), table)


def _calibration(pairs: Sequence[tuple[Predictions, Mapping[str, Any]]]) -> Panel:
    figure, axes = canvas(3.9)
    limit, table = 0.0, []
    for p, row in pairs:
        bins = row["calibration"]["curve"]
        risk, observed = [b["risk"] for b in bins], [b["observed"] for b in bins]
        axes.plot(risk, observed, marker="o", markersize=3, **_look(p.model, p.start))
        limit = max(limit, *risk, *observed)
        for b in bins:
            cells = [_text(b[name]) for name in ("risk", "observed", "low", "high")]
            table.append([title_of(p.model, p.start), *cells, f"{b['n']:,}"])
    limit = min(1.0, 1.05 * limit)
    axes.plot([0, limit], [0, limit], color=FAINT, linewidth=0.8, zorder=0)
    axes.set(xlim=(0, limit), ylim=(0, limit), xlabel="Mean predicted risk", ylabel="Observed")
    legend(figure, axes)
    said = "Observed share of events against the mean predicted risk of tenths of the test rows."
    name, title = f"{pairs[0][0].task}-calibration", "Calibration (tenths of the test rows)"
    columns = ("Model", "Mean risk", "Observed", "Low", "High", "Rows")
    return panel_of(name, title, said, figure, columns, table)


def _benefit(pairs: Sequence[tuple[Predictions, Mapping[str, Any]]]) -> Panel:
    figure, axes = canvas(3.9)
    first = pairs[0][1]["net_benefit"]
    at = np.array(first["threshold"])
    axes.axhline(0, color=FAINT, linewidth=0.8, label="act on nobody")
    axes.plot(
        at, first["all"], color=SOFT, linewidth=1, linestyle=(0, (4, 2)), label="on everybody"
    )
    for p, row in pairs:
        axes.plot(at, row["net_benefit"]["value"], **_look(p.model, p.start))
    top = max(0.01, first["all"][0], *(max(row["net_benefit"]["value"]) for _, row in pairs))
    axes.set(xlabel="Threshold risk", ylabel="Net benefit", xlim=(0, float(at[-1])))
    axes.set_ylim(-0.25 * top, 1.08 * top)
    legend(figure, axes)
    names = [title_of(p.model, p.start) for p, _ in pairs]
    columns = [first["all"], *(row["net_benefit"]["value"] for _, row in pairs)]
    fives = [i for i, t in enumerate(at) if round(100 * t) % 5 == 0 or i == 0]
    table = _side_by_side(names, at[fives], [[c[i] for i in fives] for c in columns])
    said = "Net benefit of acting above a threshold of risk, a line per model, and of everybody."
    head = ("Threshold", "On everybody", *names)
    return panel_of(f"{pairs[0][0].task}-net-benefit", "Net benefit", said, figure, head, table)


def _risks(pairs: Sequence[tuple[Predictions, Mapping[str, Any]]]) -> Panel:
    """Median, middle half and middle nine tenths of the risks of rows with and without events."""
    figure, axes = canvas(0.95 + 0.33 * len(pairs))
    table = []
    for y, (p, row) in enumerate(pairs):
        color = color_of(p.model, p.start)
        for kind, place in (("events", y - 0.14), ("others", y + 0.18)):
            of, fill = row["risk"][kind], color if kind == "events" else PAPER
            look: dict[str, Any] = {"color": color, "alpha": 0.9 if kind == "events" else 0.45}
            axes.plot([of["p5"], of["p95"]], [place] * 2, linewidth=1, **look)
            axes.plot([of["p25"], of["p75"]], [place] * 2, linewidth=3.5, **look)
            axes.plot(of["median"], place, "o", color=color, markerfacecolor=fill, markersize=4)
            names = ("mean", "sd", "min", "p5", "p25", "median", "p75", "p95", "max")
            numbers = [f"{of['n']:,}", *(_text(of[name]) for name in names)]
            table.append([title_of(p.model, p.start), kind, *numbers])
    axes.set_yticks(range(len(pairs)), [title_of(p.model, p.start) for p, _ in pairs])
    axes.set(ylim=(len(pairs) - 0.4, -0.6), xlim=(-0.01, 1.01), xlabel="Predicted risk")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    gray: dict[str, Any] = {"color": SOFT, "marker": "o", "linewidth": 3.5, "markersize": 4}
    handles = [Line2D([], [], label="rows with the event", **gray)]
    handles.append(Line2D([], [], label="without", **gray | {"alpha": 0.5, "mfc": PAPER}))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    said = "Predicted risks of rows with and without the event: median, quartiles, 5 to 95 %."
    columns = ("Model", "Rows", "n", "Mean", "SD", "Least", "5 %", "25 %", "Median", "75 %",
               "95 %", "Most")  # fmt: skip
    name, title = f"{pairs[0][0].task}-risks", "Predicted risks by outcome"
    return panel_of(name, title, said, figure, columns, table)


def training(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Panel]:
    """Pretraining by epoch: a panel per stage and term of its loss, a line per pretraining.

    ``runs`` maps the folder of a pretraining to its ``metrics.jsonl``. Those that differ in their
    seed alone are fainter lines of one color.
    """
    rows = (row for epochs in runs.values() for row in epochs)
    of_stage = ((row["stage"], term) for row in rows for term in terms(row))
    with matplotlib.rc_context(STYLE):
        return [_term(stage, term, runs) for stage, term in dict.fromkeys(of_stage)]


def _term(stage: str, term: str, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Panel:
    figure, axes = canvas(2.7)
    table = []
    for folder, epochs in runs.items():
        epochs = [row for row in epochs if row["stage"] == stage and term in row]
        if epochs:
            place, number = unseeded(folder)
            name, color = PRETRAININGS[place]
            x, y = [e["epoch"] + 1 for e in epochs], [e[term] for e in epochs]
            look: dict[str, Any] = {"alpha": 0.4} if number else {"label": name}
            axes.plot(x, y, color=color, linewidth=1.5, **look)
            name = f"{name}, seed {number}" if number else name
            table += [[name, str(at), f"{value:.4g}"] for at, value in zip(x, y, strict=True)]
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    legend(figure, axes)
    title = f"{STAGES.get(stage, stage)}: {term}"
    said = f"{title} after each epoch, a line per pretraining."
    columns = ("Pretraining", "Epoch", term)
    return panel_of(f"pretraining-{stage}-{term}", title, said, figure, columns, table)
