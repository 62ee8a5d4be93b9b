"""The report's tables as finished text, whatever they are printed as."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from medhmp.legend import SPLITS
from medhmp.report.figures import LINES, NOT_TRINETX, TASK_NAMES
from medhmp.report.table import FEW_EVENTS
from medhmp.shards.manifest import Manifest, TaskCounts

Row = Mapping[str, Any]

NONE: Final = "\u2013"
DAGGER: Final = "\u2020"


@dataclass(frozen=True)
class Table:
    """A table of finished text; ``groups`` maps a heading ("" for none) to the rows below it."""

    title: str
    columns: Sequence[str]
    groups: Mapping[str, Sequence[Sequence[str]]]
    note: str = ""


def number(value: float | None, digits: int = 3) -> str:
    """A figure for people; a dash where there is none."""
    return NONE if value is None else f"{value:.{digits}f}"


def with_interval(metric: Row) -> str:
    return f"{metric['value']:.3f} ({metric['low']:.3f}{NONE}{metric['high']:.3f})"


def over_seeds(metric: Row) -> str:
    return number(metric["mean"]) + ("" if metric["sd"] is None else f" ± {metric['sd']:.3f}")


def label(row: Row) -> str:
    """The model and start of a row."""
    return LINES[row["model"], row["start"]][0]


def _name(row: Row) -> str:
    """The same, with the start that the row repeats, if it does."""
    return label(row) + (f" (= {row['same_as']})" if row["same_as"] else "")


def tables(results: Mapping[str, Any], manifest: Manifest) -> list[Table]:
    """All tables, in order; one without rows is left out."""
    rows = results["rows"]
    every = [
        _discrimination(rows),
        _learned(results["learned"]["beside"]),
        _thresholds(rows),
        _calibration(rows),
        _chosen(rows),
        _skipped(results["skipped"]),
        _counted("Cohort", manifest.counts),
        _tasks(manifest.tasks),
        _counted("Raw rows left out", manifest.left_out),
    ]
    return [table for table in every if any(table.groups.values())]


def _by_task(rows: Sequence[Row], cells: Any) -> dict[str, list[list[str]]]:
    groups: dict[str, list[list[str]]] = {}
    for row in rows:
        dagger = f" {DAGGER}" if row["few_events"] else ""
        name = TASK_NAMES[row["task"]]
        if row["matched"]:
            name = f"{name.removesuffix(NOT_TRINETX)}{NOT_TRINETX}, matched controls"
        head = f"{name}: {row['events']:,} events{dagger} in {row['n']:,} rows"
        if row["best_achievable"] is not None:
            head += f", best achievable AUROC {row['best_achievable']:.3f}"
        groups.setdefault(head, []).append([_name(row), *cells(row)])
    return groups


def _discrimination(rows: Sequence[Row]) -> Table:
    columns = ("Model", "AUROC (95 %)", "SE", "Seeds", "AUPR (95 %)", "Seeds",
               "Average precision (95 %)", "Paper AUROC", "AUPR", "Table")  # fmt: skip
    note = f"{DAGGER} fewer than {FEW_EVENTS} events: read the interval and the SE, not the figure."

    def cells(row: Row) -> list[str]:
        dagger = f" {DAGGER}" if row["few_events"] else ""
        return [
            with_interval(row["auroc"]),
            number(row["auroc"]["se"]) + dagger,
            over_seeds(row["auroc"]),
            with_interval(row["aupr"]),
            over_seeds(row["aupr"]),
            with_interval(row["average_precision"]),
            *_paper(row["paper"], "auroc", "aupr"),
        ]

    few = any(row["few_events"] for row in rows)
    return Table("Discrimination", columns, _by_task(rows, cells), note if few else "")


def _paper(paper: Row | None, *metrics: str) -> list[str]:
    """The paper's figures for these metrics, and the number of the table they are from."""
    if paper is None or not any(metric in paper for metric in metrics):
        return [NONE] * (len(metrics) + 1)
    return [*(number(paper.get(metric)) for metric in metrics), str(paper["table"])]


def _learned(beside: Mapping[str, Row]) -> Table:
    rows = [
        [LINES[model, start][0], f"{share['value']:.0%}", str(len(share["tasks"]))]
        for (model, start), share in ((tuple(key.split("/")), s) for key, s in beside.items())
    ]
    columns = ("Model", "Share of the reachable AUROC above 0.5", "Tasks")
    return Table("Learned", columns, {"": rows})


def _thresholds(rows: Sequence[Row]) -> Table:
    metrics = {"f1": "F1 at 0.5", "kappa": "Kappa at 0.5", "f1_tuned": "F1, tuned",
               "kappa_tuned": "Kappa, tuned"}  # fmt: skip
    columns = ("Model", *(f"{m} (95 %)" for m in metrics.values()), "Paper F1", "Kappa", "Table")

    def cells(row: Row) -> list[str]:
        ours = [with_interval(row[metric]) for metric in metrics]
        return [*ours, *_paper(row["paper"], "f1", "kappa")]

    return Table("At a threshold", columns, _by_task(rows, cells))


def _calibration(rows: Sequence[Row]) -> Table:
    measures = {"intercept": "Intercept", "slope": "Slope", "o_to_e": "O:E", "brier": "Brier",
                "ece": "ECE"}  # fmt: skip
    groups = _by_task(rows, lambda row: [number(row["calibration"][m]) for m in measures])
    return Table("Calibration", ("Model", *measures.values()), groups)


def _chosen(rows: Sequence[Row]) -> Table:
    columns = ("Model", "Batch size", "Learning rate", "Searched", "At the edge")

    def cells(row: Row) -> list[str]:
        cell = row["chosen"]
        if cell is None:
            return [NONE] * 4
        searched = f"{min(cell['rates']):g} to {max(cell['rates']):g} ({len(cell['rates'])})"
        edge = "yes" if cell["at_edge"] else "no"
        return [str(cell["batch_size"]), f"{cell['learning_rate']:g}", searched, edge]

    return Table("Chosen cells", columns, _by_task(rows, cells))


def _skipped(skipped: Sequence[Row]) -> Table:
    rows = []
    for task in skipped:
        counts = ", ".join(f"{name} {count:,}" for name, count in flatten(task["counts"]))
        rows.append([TASK_NAMES[task["task"]], task["reason"], counts])
    return Table("Tasks not trained", ("Task", "Reason", "Counts"), {"": rows})


def _tasks(tasks: Mapping[Any, TaskCounts]) -> Table:
    """Every exclusion step of every task, then its splits."""
    groups = {TASK_NAMES[task]: _steps(counts) for task, counts in tasks.items()}
    return Table("Who is in each task", ("Step or split", "Rows left", "Positive"), groups)


def _steps(counts: TaskCounts) -> list[list[str]]:
    if counts.unavailable:
        return [[counts.unavailable, "0", NONE]]
    steps = [[step, f"{left:,}", NONE] for step, left in counts.steps]
    return steps + [
        [split, f"{counts.rows[split]:,}", f"{counts.positives[split]:,}"] for split in SPLITS
    ]


def _counted(title: str, counts: Mapping[str, Any]) -> Table:
    rows = [[name, f"{count:,}"] for name, count in flatten(counts)]
    return Table(title, ("", "Count"), {"": rows})


def flatten(counts: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """("mimic3: stays", 61532), ...: the numbers of nested mappings with the way to each."""
    for key, value in counts.items():
        path = f"{prefix}: {key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from flatten(value, path)
        elif isinstance(value, int):
            yield path, value
