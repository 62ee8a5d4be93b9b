"""The parts as finished text, for HTML and Markdown alike."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from medhmp.paper.compare import Record
from medhmp.report.names import TASK_NAMES, title_of
from medhmp.report.section import DASH, Section, chance_said, number
from medhmp.report.sections import p_value, signed

METRICS: Final = {"auroc": "AUROC", "aupr": "AUPR", "f1": "F1", "kappa": "Kappa"}
VARIANTS: Final = {
    "no_contrast": "without the contrast (MCP+s)",
    "no_codes": "without masked codes (CL+s)",
}
OF_TEST: Final = (
    "Scores of the test split after every epoch, as the paper's figure has them: nothing is chosen "
    "by them, and no table reads them. The fits go on to the last epoch instead of stopping early. "
    "Lines without an epoch are the floors."
)
PICTURE: Final = "The paper has a picture without numbers here."
PRETRAINING_ROWS: Final = {"stays": "Pretraining: stays", "admissions": "Pretraining: admissions"}


def name_of(line: Record) -> str:
    """The model and start of a line, with its variant in words."""
    name, variant = title_of(line["model"], line["start"]), line.get("variant")
    if variant is None:
        return name
    rows = f"{line['labels']:,} labelled rows"
    return f"{name}, {VARIANTS.get(variant, rows)}"


def part_section(title: str, lines: Sequence[Record], data: str) -> Section:
    """A table or figure: a heading per task and metric, a line per grid. ``data`` says whose
    patients ours are."""
    groups: dict[str, list[list[str]]] = {}
    for line in lines:
        head = (
            f"{TASK_NAMES[line['task']]}, {METRICS[line['metric']]}: {line['events']:,} events in "
            f"{line['n']:,} rows"
        )
        groups.setdefault(head, []).append(_cells(line))
    papers = list(dict.fromkeys(line["paper"]["data"] for line in lines if line["paper"]))
    notes = [f"Ours: {data}."]
    notes.append(f"The paper's: {' and '.join(papers)}." if papers else PICTURE)
    notes.append(
        "Differences are paired: the line compared with less this one; Holm's correction is for "
        "the comparisons under one heading."
    )
    notes.append(chance_said(source for line in lines for source in line["chance"]))
    columns = ("Model", "Ours (95 %)", "SD over replicates", "Compared with", "It less this",
               "95 %", "p (Holm)", "Paper")  # fmt: skip
    return Section(title, columns, groups, " ".join(notes))


def _cells(line: Record) -> list[str]:
    against, paper = line["against"], line["paper"]
    return [
        name_of(line),
        _limits(line),
        number(line["sd"]),
        title_of(against["model"], against["start"]) if against else DASH,
        *_difference(line["difference"]),
        number(paper["value"]) if paper else DASH,
    ]


def _limits(estimate: Mapping[str, Any]) -> str:
    value = number(estimate["value"])
    if estimate["low"] is None:
        return f"{value} (no interval)"
    return f"{value} ({number(estimate['low'])}{DASH}{number(estimate['high'])})"


def _difference(of: Record | None) -> list[str]:
    """A difference, its interval and its p-value."""
    if of is None:
        return [DASH] * 3
    limits = DASH if of["low"] is None else f"{signed(of['low'])} to {signed(of['high'])}"
    return [signed(of["value"]), limits, p_value(of.get("p_holm"))]


def epochs_section(title: str, lines: Sequence[Record]) -> Section:
    """Figure 6 in numbers."""
    groups: dict[str, list[list[str]]] = {}
    for line in lines:
        epoch = DASH if line["epoch"] is None else str(line["epoch"])
        paired = _difference(line["difference"] if line["epoch"] else None)[:2]
        cells = [name_of(line), epoch, _limits(line), *paired]
        groups.setdefault(METRICS[line["metric"]], []).append(cells)
    columns = ("Model", "Epoch", "Ours (95 %)", "Pretrained less it", "95 %")
    return Section(f"{title}, in numbers", columns, groups, f"{OF_TEST} {PICTURE}", collapsed=True)


def places_section(places: Sequence[Record], titles: Mapping[str, str]) -> Section:
    """MedHMP among the other models, as it is."""
    groups: dict[str, list[list[str]]] = {}
    for of in places:
        paper = f"{of['paper_place']} of {of['paper_of']}" if of["paper_place"] else DASH
        over = of["over_floor"]
        best = title_of(of["best"]["model"], of["best"]["start"])
        groups.setdefault(titles[of["part"]], []).append(
            [
                f"{TASK_NAMES[of['task']]}, {METRICS[of['metric']]}",
                f"{of['place']} of {of['of']}",
                f"{of['place_of_networks']} of {of['networks']}",
                paper,
                f"{best}, {number(of['best']['value'])}",
                title_of(of["floor"], "none") if of["floor"] else DASH,
                *_difference(over)[:2],
            ]
        )
    columns = ("Task, metric", "Place with the floors", "Among the paper's models", "In the paper",
               "First, and its figure", "Best floor", "MedHMP less it", "95 %")  # fmt: skip
    note = "The best floor is the model on counted features with the lowest validation loss."
    return Section("MedHMP's place", columns, groups, note)


def added_section(added: Sequence[Record], titles: Mapping[str, str]) -> Section:
    """How often pretraining wins over less of it."""
    lines = [
        [
            titles[of["part"]],
            str(of["comparisons"]),
            str(of["higher"]),
            str(of["above"]),
            str(of["below"]),
            DASH if of["mean"] is None else signed(of["mean"]),
            f"{of['paper_higher']} of {of['paper_comparisons']}"
            if of["paper_comparisons"]
            else DASH,
        ]
        for of in added
    ]
    columns = ("Part", "Comparisons", "Pretrained is higher", "Interval above 0",
               "Interval below 0", "Mean difference", "Higher in the paper")  # fmt: skip
    note = (
        "Of each model pretrained as far as the run goes, against itself pretrained less; over "
        "tasks and metrics, which are not independent."
    )
    return Section("What pretraining adds", columns, {"": lines}, note, sortable=False)


def counts_section(counts: Sequence[Record], data: str) -> Section:
    """Table 8: our cohort beside the paper's."""
    lines = []
    for of in counts:
        paper = of["paper"] or {"rows": None, "positives": None, "data": DASH}
        what = PRETRAINING_ROWS.get(of["what"]) or TASK_NAMES[of["what"]]
        lines.append(
            [what, *_sizes(of["rows"], of["positives"]), *_sizes(paper["rows"], paper["positives"]),
             paper["data"]]
        )  # fmt: skip
    columns = ("Data", "Rows", "Positive", "Negative", "Paper: rows", "Positive", "Negative",
               "Its data")  # fmt: skip
    return Section("Table 8: data", columns, {"": lines}, f"Ours: {data}.", sortable=False)


def _sizes(rows: int | None, positives: int | None) -> list[str]:
    return [
        DASH if n is None else f"{n:,}"
        for n in (rows, positives, None if positives is None or rows is None else rows - positives)
    ]


def left_out_section(left_out: Sequence[Record]) -> Section:
    """Parts and tasks that could not be made, and why."""
    lines = []
    for of in left_out:
        what = TASK_NAMES.get(of["what"]) or of["what"].replace("_", " ").capitalize()
        lines.append([f"{what}, {of['variant']}" if of["variant"] else what, of["reason"]])
    return Section("Left out", ("Part or task", "Why"), {"": lines}, sortable=False)
