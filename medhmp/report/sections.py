"""The report's tables as finished text, for HTML and Markdown alike."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from medhmp.features.drift import UNLIKE, Variable
from medhmp.legend import SPLITS, Task
from medhmp.report.evaluation import evaluation, heading
from medhmp.report.names import task_name, title_of
from medhmp.report.results import FEW_EVENTS, Record
from medhmp.report.section import DASH, Section, chance_said, figure, number
from medhmp.report.tripod import tripod
from medhmp.shards.manifest import Manifest, TaskCounts

NO_INTERVAL: Final = "no interval"
DAGGER: Final = "\u2020"
OVER_REPLICATES: Final = "SD over replicates"
ABOVE: Final = "\u2021"
NAMED: Final = 3
"""Outputs of one folder that are named one by one; of more, their number."""


def with_interval(metric: Record) -> str:
    """The mean of the replicates with its interval, or the words that there is none."""
    if metric["low"] is None:
        return f"{metric['value']:.3f} ({NO_INTERVAL})"
    return f"{metric['value']:.3f} ({metric['low']:.3f}{DASH}{metric['high']:.3f})"


def _name(row: Record) -> str:
    """The model and start of a row, with the start that the row repeats, if it does."""
    repeats = f" (= {row['same_as']})" if row["same_as"] else ""
    return title_of(row["model"], row["start"]) + repeats


def sections(results: Record, manifest: Manifest) -> list[Section]:
    """All sections, in order; one without a line is left out."""
    rows = results["rows"]
    every = [
        _discrimination(rows),
        _differences(results["differences"]),
        _learned(results["learned"]["beside"]),
        _thresholds(rows),
        *evaluation(rows),
        _chosen(rows),
        _skipped(results["skipped"]),
        _counted("Cohort", manifest.counts),
        _tasks(manifest.tasks),
        _counted("Raw rows left out", manifest.left_out),
        _counted("Features filled", manifest.filled),
        _drift(manifest.drift),
        tripod(results, manifest),
        _origins(results["provenance"]),
    ]
    return [section.pruned() for section in every if any(section.groups.values())]


def _by_task(
    rows: Sequence[Record], cells: Callable[[Record], Sequence[str]]
) -> dict[str, list[list[str]]]:
    """A heading per task, with its events and rows -> a line per model and start."""
    groups: dict[str, list[list[str]]] = {}
    for row in rows:
        head = heading(row)
        if row["best_achievable"] is not None:
            head += f", best achievable AUROC {row['best_achievable']:.3f}"
        groups.setdefault(head, []).append([_name(row), *cells(row)])
    return groups


def _discrimination(rows: Sequence[Record]) -> Section:
    columns = ("Model", "AUROC (95 %)", "SE", OVER_REPLICATES, "AUPR (95 %)", OVER_REPLICATES,
               "Average precision (95 %)", "Paper AUROC", "AUPR", "Table")  # fmt: skip
    few = f"{DAGGER} fewer than {FEW_EVENTS} events: read the interval and the SE, not the figure."
    notes = [few] if any(row["few_events"] for row in rows) else []
    notes += [
        f"No interval: {why}." for why in dict.fromkeys(r["auroc"]["why"] for r in rows) if why
    ]

    def cells(row: Record) -> list[str]:
        dagger = f" {DAGGER}" if row["few_events"] else ""
        return [
            with_interval(row["auroc"]),
            number(row["auroc"]["se"]) + dagger,
            number(row["auroc"]["sd"]),
            with_interval(row["aupr"]),
            number(row["aupr"]["sd"]),
            with_interval(row["average_precision"]),
            *_paper(row["paper"], "auroc", "aupr"),
        ]

    notes.append(_chance(rows))
    return Section("Discrimination", columns, _by_task(rows, cells), " ".join(notes))


def _chance(rows: Sequence[Record]) -> str:
    """What chance the intervals of the rows' discrimination hold."""
    return chance_said(s for r in rows for s in r["auroc"]["chance"])


def _differences(differences: Sequence[Record]) -> Section:
    """A heading per task and metric, a line per model that the first is compared with."""
    names = {"auroc": "AUROC", "average_precision": "average precision"}
    groups: dict[str, list[list[str]]] = {}
    for line in differences:
        first, other = (title_of(line[side]["model"], line[side]["start"]) for side in "ab")
        head = f"{task_name(line['task'])}, {names[line['metric']]}: {first} less"
        limits = NO_INTERVAL
        if line["low"] is not None:
            limits = f"{signed(line['low'])} to {signed(line['high'])}"
        cells = [other, signed(line["value"]), limits, p_value(line["p"]), p_value(line["p_holm"])]
        groups.setdefault(head, []).append(cells)
    note = "Paired. Holm's correction is for the comparisons under one heading."
    note += f" {chance_said(source for line in differences for source in line['chance'])}"
    columns = ("Compared with", "Difference", "95 %", "p", "p (Holm)")
    return Section("Differences", columns, groups, note)


def signed(value: float) -> str:
    """A difference, with its sign and a minus as wide as the plus."""
    return f"{value:+.3f}".replace("-", "\u2212")


def p_value(value: float | None) -> str:
    """A p-value with three digits; a dash where there is none."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _paper(paper: Record | None, *metrics: str) -> list[str]:
    """The paper's figures for these metrics, and the number of the table they are from."""
    if paper is None or not any(metric in paper for metric in metrics):
        return [DASH] * (len(metrics) + 1)
    return [
        *(number(paper.get(metric)) for metric in metrics),
        f"{paper['table']} ({paper['data']})",
    ]


def _learned(beside: Mapping[str, Record]) -> Section:
    rows = []
    for key, share in beside.items():
        model, _, start = key.partition("/")
        limits = NO_INTERVAL
        if share["low"] is not None:
            limits = f"{share['low']:.0%} to {share['high']:.0%}"
        cells = [f"{share['value']:.0%}", limits, str(len(share["tasks"]))]
        rows.append([title_of(model, start), *cells])
    columns = ("Model", "Share of the reachable AUROC above 0.5", "95 %", "Tasks")
    return Section("Learned", columns, {"": rows})


def _thresholds(rows: Sequence[Record]) -> Section:
    metrics = {"f1": "F1 at 0.5", "kappa": "Kappa at 0.5", "f1_tuned": "F1, tuned",
               "kappa_tuned": "Kappa, tuned"}  # fmt: skip
    columns = ("Model", *(f"{m} (95 %)" for m in metrics.values()), "Paper F1", "Kappa", "Table")

    def cells(row: Record) -> list[str]:
        ours = [with_interval(row[metric]) for metric in metrics]
        return [*ours, *_paper(row["paper"], "f1", "kappa")]

    return Section("At a threshold", columns, _by_task(rows, cells), _chance(rows))


def _drift(drift: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Section:
    """A heading per source, a line per hourly variable of the frozen features."""
    groups: dict[str, list[list[str]]] = {}
    for source, of in drift.items():
        found = {name: Variable(**fields) for name, fields in of.items()}
        there = sum(variable.filled > 0 for variable in found.values())
        head = f"{source}: {there:,} of {len(found):,} variables have columns"
        groups[head] = [
            [
                f"{name} {DAGGER}" if v.looks_different else name,
                f"{v.stays:,}",
                f"{v.filled:,} of {v.columns:,}",
                *(figure(of) for of in (v.fitted_median, v.median, v.ratio)),
            ]
            for name, v in found.items()
        ]
    columns = ("Variable", "Stays with it", "Columns filled", "Median of the fit", "Median here",
               "Ratio")  # fmt: skip
    note = f"{DAGGER} medians differ by a factor of {UNLIKE:g} or more: perhaps another unit."
    return Section("Drift", columns, groups, note, collapsed=True)


def _chosen(rows: Sequence[Record]) -> Section:
    columns = ("Model", "Batch size", "Learning rate", "Searched", "At the edge", "Others",
               "Validation loss", "Base rate's")  # fmt: skip

    def cells(row: Record) -> list[str]:
        losses = [number(row["validation_loss"]), number(row["base_rate_loss"])]
        if row["validation_loss"] > row["base_rate_loss"]:
            losses[0] += f" {ABOVE}"
        return [*_cell(row["chosen"]), *losses]

    above = any(row["validation_loss"] > row["base_rate_loss"] for row in rows)
    note = f"{ABOVE} above the base rate's: this model has learnt nothing that holds."
    return Section("Chosen cells", columns, _by_task(rows, cells), note if above else "")


def _cell(cell: Record | None) -> list[str]:
    """A chosen cell: batch size, rate, rates searched, whether it is at their edge, the rest."""
    if cell is None:
        return [DASH] * 5
    searched = f"{min(cell['rates']):g} to {max(cell['rates']):g} ({len(cell['rates'])})"
    known = ("batch_size", "learning_rate", "rates", "at_edge")
    others = [f"{name} {value:g}" for name, value in cell.items() if name not in known]
    return [
        DASH if cell["batch_size"] is None else str(cell["batch_size"]),
        f"{cell['learning_rate']:g}",
        searched,
        "yes" if cell["at_edge"] else "no",
        ", ".join(others) or DASH,
    ]


def _skipped(skipped: Sequence[Record]) -> Section:
    rows = []
    for task in skipped:
        counts = ", ".join(f"{name} {count:,}" for name, count in flatten(task["counts"]))
        rows.append([task_name(task["task"]), task["reason"], counts])
    return Section("Tasks not trained", ("Task", "Reason", "Counts"), {"": rows})


def _tasks(tasks: Mapping[Task, TaskCounts]) -> Section:
    """Each task's exclusion steps, then its splits."""
    groups = {task_name(task): _steps(counts) for task, counts in tasks.items()}
    return Section("Who is in each task", ("Step or split", "Rows left", "Positive"), groups)


def _steps(counts: TaskCounts) -> list[list[str]]:
    if counts.unavailable:
        return [[counts.unavailable, "0", DASH]]
    steps = [[step, f"{left:,}", DASH] for step, left in counts.steps]
    steps += [[counts.emptied, "0", DASH]] if counts.emptied else []
    return steps + [
        [split, f"{counts.rows[split]:,}", f"{counts.positives[split]:,}"] for split in SPLITS
    ]


def _counted(title: str, counts: Mapping[str, Any]) -> Section:
    rows = [[name, f"{count:,}"] for name, count in flatten(counts)]
    return Section(title, ("", "Count"), {"": rows})


def _origins(provenance: Mapping[str, Record]) -> Section:
    """A line for each distinct origin: the outputs that share it, then what their records say."""
    columns = list(dict.fromkeys(name for origin in provenance.values() for name in origin))
    places: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    for place, origin in provenance.items():
        places.setdefault(tuple(sorted(origin.items())), []).append(place)
    lines = [
        [_places(of_origin), *(_text(dict(origin).get(name)) for name in columns)]
        for origin, of_origin in places.items()
    ]
    headings = ("Outputs", *(name.replace("_", " ") for name in columns))
    return Section("Where this comes from", headings, {"": lines}, collapsed=True)


def _text(value: str | float | None) -> str:
    return DASH if value is None else str(value)


def _places(places: Sequence[str]) -> str:
    """Places of outputs; of a folder that has many of them, their number."""
    folders = Counter(place.partition("/")[0] for place in places)
    named = []
    for place in places:
        folder = place.partition("/")[0]
        many = folders[folder] > NAMED
        named.append(f"{folder} ({folders[folder]})" if many else place)
    return ", ".join(dict.fromkeys(named))


def flatten(counts: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Numbers of nested mappings with the path to each: ("mimic3: stays", 61532), ..."""
    for key, value in counts.items():
        path = f"{prefix}: {key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from flatten(value, path)
        elif isinstance(value, int):
            yield path, value
