"""The report's figures, as SVG text.

Each figure has its own canvas, without pyplot's global state, and equal numbers give equal bytes.
Text stays text, so that a browser can search it and render it sharply.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from medhmp.evaluate.calibration import curve
from medhmp.evaluate.predictions import Predictions
from medhmp.layout import terms, unseeded
from medhmp.model.catalog import MODELS
from medhmp.report.names import (
    PRETRAININGS,
    STAGES,
    START_COLORS,
    TASK_NAMES,
    color_of,
    title_of,
)

INK: Final = "#1f2933"
FAINT: Final = "#9aa5b1"
STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medhmp",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#52606d",
    "ytick.color": "#52606d",
    "legend.frameon": False,
}


def _svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element without XML prologue, which a page can hold."""
    text = io.StringIO()
    metadata = {"Date": None, "Creator": None}
    figure.savefig(text, format="svg", metadata=metadata, bbox_inches="tight", pad_inches=0.05)
    return text.getvalue()[text.getvalue().index("<svg") :]


def overview(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean AUROC of the replicates with its interval: a panel per task, a line per model and
    start, and the best achievable.

    ``rows`` are those of ``results.json``.
    """
    tasks = [t for t in TASK_NAMES if any(r["task"] == t for r in rows)]
    present = {(r["model"], r["start"]) for r in rows}
    keys = [(m, start) for m in MODELS for start in START_COLORS if (m, start) in present]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.6 + 2.15 * len(tasks), 1.3 + 0.32 * len(keys)))
        panels = figure.subplots(1, len(tasks), sharex=True, sharey=True, squeeze=False)[0]
        ends = [end for r in rows for end in (*_limits(r["auroc"]), r["best_achievable"] or 0.5)]
        panels[0].set_xlim(min(0.5, *ends) - 0.03, max(ends) + 0.03)
        panels[0].set_yticks(range(len(keys)), [title_of(*key) for key in keys])
        panels[0].set_ylim(len(keys) - 0.4, -0.6)
        for panel, task in zip(panels, tasks, strict=True):
            _task_panel(panel, [r for r in rows if r["task"] == task], keys)
        figure.legend(handles=_overview_legend(rows), loc="lower center", ncols=4, fontsize=8.5)
        figure.tight_layout(rect=(0, 0.3 / figure.get_figheight(), 1, 1), w_pad=0.6)
        return _svg(figure)


def _task_panel(panel: Axes, rows: Sequence[Mapping[str, Any]], keys: Sequence[Any]) -> None:
    first = rows[0]
    panel.set_title(
        f"{TASK_NAMES[first['task']]}\n", loc="left", fontsize=9.5, y=1.0, pad=3, color=INK
    )
    panel.text(
        0, 1.02, f"{first['events']:,} events in {first['n']:,} rows", fontsize=8, color="#52606d",
        transform=panel.transAxes,
    )  # fmt: skip
    panel.axvline(0.5, color=FAINT, linewidth=0.8)
    if first["best_achievable"] is not None:
        panel.axvline(first["best_achievable"], color=INK, linewidth=1.1, linestyle=(0, (4, 2)))
    for row in rows:
        key = (row["model"], row["start"])
        _dot(panel, keys.index(key), row, color_of(*key))
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    panel.grid(axis="x", color="#e4e7eb", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel("AUROC")


def _dot(panel: Axes, y: int, row: Mapping[str, Any], color: str) -> None:
    """A dot on its interval, the figure above it; hollow where the row repeats another."""
    figure = row["auroc"]
    panel.plot(_limits(figure), [y, y], color=color, linewidth=2, alpha=0.75)
    fill = color if row["same_as"] is None else "white"
    panel.plot(figure["value"], y, "o", color=color, markerfacecolor=fill, markersize=6)
    panel.annotate(
        f"{figure['value']:.2f}", (figure["value"], y), xytext=(0, 4.5), fontsize=7.5,
        textcoords="offset points", ha="center", color=INK,
    )  # fmt: skip


def _limits(figure: Mapping[str, Any]) -> list[float]:
    """The ends of a figure's interval, or the figure itself where there is none."""
    if figure["low"] is None:
        return [figure["value"]] * 2
    return [figure["low"], figure["high"]]


def _overview_legend(rows: Sequence[Mapping[str, Any]]) -> list[Line2D]:
    gray: dict[str, Any] = {"color": "#52606d", "marker": "o"}
    handles = [Line2D([], [], linewidth=2, label="mean of replicates, 95 % interval", **gray)]
    if any(r["same_as"] for r in rows):
        handles.append(
            Line2D([], [], linewidth=2, markerfacecolor="white", label="the same as none", **gray)
        )
    handles.append(Line2D([], [], color=FAINT, linewidth=0.8, label="chance"))
    if any(r["best_achievable"] is not None for r in rows):
        dash = (0, (4, 2))
        handles.append(Line2D([], [], color=INK, linestyle=dash, label="best achievable"))
    return handles


def curves(of_one_task: Sequence[Predictions]) -> str:
    """ROC, precision-recall and calibration of one task's test rows, by the replicates' mean."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.2, 4.1))
        roc, recall, risk = figure.subplots(1, 3)
        for p in of_one_task:
            look: dict[str, Any] = {"color": color_of(p.model, p.start), "linewidth": 1.4}
            look["label"] = title_of(p.model, p.start)
            _curves_of(p, roc, recall, risk, look)
        prevalence = float(of_one_task[0].test.label.mean())
        _frame(roc, "ROC", "False positive rate", "True positive rate")
        roc.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, zorder=0)
        _frame(recall, "Precision-recall", "Recall", "Precision")
        recall.axhline(prevalence, color=FAINT, linewidth=0.8, zorder=0)
        _frame(risk, "Calibration (tenths of the test rows)", "Mean predicted risk", "Observed")
        limit = min(1.0, 1.05 * max(_largest(risk), prevalence))
        risk.plot([0, limit], [0, limit], color=FAINT, linewidth=0.8, zorder=0)
        risk.set(xlim=(0, limit), ylim=(0, limit))
        handles, labels = roc.get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=8.5)
        figure.tight_layout(rect=(0, 0.07, 1, 1), w_pad=2)
        return _svg(figure)


def _curves_of(p: Predictions, roc: Axes, recall: Axes, risk: Axes, look: dict[str, Any]) -> None:
    label, score = p.test.label, p.test.average
    false_rate, true_rate, _ = roc_curve(label, score)
    roc.plot(false_rate, true_rate, **look)
    precision, recalled, _ = precision_recall_curve(label, score)
    recall.plot(recalled, precision, drawstyle="steps-post", **look)
    bins = curve(label, score)
    risk.plot([b.risk for b in bins], [b.observed for b in bins], marker="o", markersize=3, **look)


def _frame(panel: Axes, title: str, x: str, y: str) -> None:
    panel.set_title(title, loc="left")
    panel.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    panel.set_box_aspect(1)
    panel.grid(color="#eef0f3", linewidth=0.6)


def _largest(panel: Axes) -> float:
    return max(float(np.max(line.get_xydata())) for line in panel.get_lines())


def training(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Pretraining by epoch: a panel per stage and term of its loss, a line per pretraining.

    ``runs`` maps the folder of a pretraining to its ``metrics.jsonl``. Those that differ in their
    seed alone are fainter lines of one color.
    """
    of_stage = ((row["stage"], term) for row, *_ in runs.values() for term in terms(row))
    panels = list(dict.fromkeys(of_stage))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.3 + 2.9 * len(panels), 2.7))
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (stage, term) in zip(axes, panels, strict=True):
            for folder, epochs in runs.items():
                if epochs[0]["stage"] == stage and term in epochs[0]:
                    place, number = unseeded(folder)
                    name, color = PRETRAININGS[place]
                    x, y = [e["epoch"] + 1 for e in epochs], [e[term] for e in epochs]
                    look: dict[str, Any] = {"label": name} if not number else {"alpha": 0.4}
                    axis.plot(x, y, color=color, linewidth=1.5, **look)
            axis.set_title(f"{STAGES.get(stage, stage)}: {term}", loc="left", fontsize=9.5)
            axis.set_xlabel("Epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
            axis.grid(color="#eef0f3", linewidth=0.6)
            axis.legend(fontsize=8)
        figure.tight_layout(w_pad=1.5)
        return _svg(figure)
