"""Tables of what is measured beside discrimination, as finished text."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from medhmp.evaluate.subgroups import CROSSED, LEAST
from medhmp.report.names import NOT_TRINETX, task_name, title_of
from medhmp.report.results import FEW_EVENTS, Record
from medhmp.report.section import DASH, Section, chance_said, number, percent, with_limits

PATIENTS_ALONE: Final = chance_said(["test patients"])
"""Said below each of these tables that has intervals: they are of the mean score of all seeds."""

NAMES: Final = {
    "sex": "sex",
    "age": "age",
    "ethnicity": "ethnicity",
    "insurance": "insurance",
    "care_unit": "first care unit",
    "source": "source",
}
"""Attributes, as people call them."""

RATES: Final = {
    "flagged": "Acted on",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced",
    "f1": "F1",
    "positive_likelihood_ratio": "LR+",
    "negative_likelihood_ratio": "LR\u2212",
    "net_benefit": "Net benefit",
}


def evaluation(rows: Sequence[Record]) -> list[Section]:
    """The tables, in order. Rows that repeat another's figures are left out."""
    own = [row for row in rows if row["same_as"] is None]
    return [
        _calibration(own),
        _more_calibration(own),
        _recalibrated(own),
        _rates(own),
        _subgroups(own),
    ]


def heading(row: Record) -> str:
    """Of a task's rows; its events are flagged where they are few."""
    name = task_name(row["task"])
    if row["matched"]:
        name = f"{name.removesuffix(NOT_TRINETX)}{NOT_TRINETX}, matched controls"
    few = f" (fewer than {FEW_EVENTS})" if row["few_events"] else ""
    return f"{name}: {row['events']:,} events{few} in {row['n']:,} rows"


def _grouped(rows: Sequence[Record], lines: Any) -> dict[str, list[list[str]]]:
    groups: dict[str, list[list[str]]] = {}
    for row in rows:
        groups.setdefault(heading(row), []).extend(lines(row))
    return groups


def _name(row: Record) -> str:
    return title_of(row["model"], row["start"])


def _calibration(rows: Sequence[Record]) -> Section:
    measures = {"intercept": "Intercept", "slope": "Slope", "o_to_e": "O:E", "brier": "Brier"}
    more = {"scaled_brier": "Scaled Brier", "ece": "ECE", "ici": "ICI"}

    def lines(row: Record) -> list[list[str]]:
        of = row["calibration"]
        limits = [with_limits(of["intervals"][m], 3 if m == "brier" else 2) for m in measures]
        return [[_name(row), *limits, *(number(of[m]) for m in more)]]

    columns = ("Model", *(f"{m} (95 %)" for m in measures.values()), *more.values())
    return Section("Calibration", columns, _grouped(rows, lines), PATIENTS_ALONE)


def _more_calibration(rows: Sequence[Record]) -> Section:
    measures = {
        "mean_risk": "Mean risk", "observed": "Observed", "e_to_o": "E:O",
        "slope_intercept": "Intercept beside slope", "cross_entropy": "Cross-entropy",
        "ece_20": "ECE, 20 sizes", "ece_20_width": "ECE, 20 widths", "e50": "E50", "e90": "E90",
        "emax": "Emax", "line_intercept": "Line at 0", "line_slope": "Line slope",
        "hosmer_lemeshow": "Hosmer-Lemeshow", "hosmer_lemeshow_p": "p",
    }  # fmt: skip

    def lines(row: Record) -> list[list[str]]:
        return [
            [_name(row), *(number(row["calibration"][m]) for m in measures),
             number(row["per_patient_auroc"])]
        ]  # fmt: skip

    columns = ("Model", *measures.values(), "AUROC, patients equal")
    note = (
        "ICI, E50, E90 and Emax are the mean, median, 90th percentile and largest distance of risk "
        "and smoothed observed share; the line goes through the tenths. The last column weighs "
        "patients the same, however many rows they have."
    )
    return Section("More on calibration", columns, _grouped(rows, lines), note, collapsed=True)


def _recalibrated(rows: Sequence[Record]) -> Section:
    def lines(row: Record) -> list[list[str]]:
        raw = {"as predicted": {"calibration": row["calibration"], "auroc": row["score_auroc"]}}
        return [
            [f"{_name(row)}, {kind}", *_cells(of)]
            for kind, of in {**raw, **row["recalibrated"]}.items()
        ]

    def _cells(of: Mapping[str, Any]) -> list[str]:
        limits = of["calibration"]["intervals"]
        return [
            number(of["auroc"]["value"]),
            *(with_limits(limits[m]) for m in ("intercept", "slope", "o_to_e")),
            *(number(of["calibration"][m]) for m in ("brier", "scaled_brier", "ece")),
        ]

    columns = ("Model, risks", "AUROC", "Intercept (95 %)", "Slope (95 %)", "O:E (95 %)", "Brier",
               "Scaled Brier", "ECE")  # fmt: skip
    note = (
        "Maps are fitted on validation rows: logistic is a + b logit p, isotonic the rising steps "
        f"nearest to the outcomes; results.json has their numbers. {PATIENTS_ALONE}"
    )
    return Section("Recalibrated", columns, _grouped(rows, lines), note, collapsed=True)


def _rates(rows: Sequence[Record]) -> Section:
    def lines(row: Record) -> list[list[str]]:
        return [
            [_name(row), at["name"], number(at["threshold"]), *(number(at[r]) for r in RATES),
             f"{at['tp']:,}", f"{at['fp']:,}", f"{at['fn']:,}", f"{at['tn']:,}"]
            for at in row["thresholds"]
        ]  # fmt: skip

    columns = ("Model", "Threshold", "At", *RATES.values(), "TP", "FP", "FN", "TN")
    note = (
        "Thresholds come from validation rows. Net benefit is in true positives per row, a false "
        "one costing t / (1 \u2212 t) of them at threshold t."
    )
    return Section("Rates at thresholds", columns, _grouped(rows, lines), note, collapsed=True)


def _subgroups(rows: Sequence[Record]) -> Section:
    def lines(row: Record) -> list[list[str]]:
        return [[_name(row), *_group(of)] for of in row["subgroups"] if of["by"] != CROSSED]

    columns = ("Model", "By", "Group", "Rows", "Events", "AUROC (95 %)", "Less the others' (95 %)",
               "O:E (95 %)", "Slope (95 %)", "Acted on", "Ratio", "Sensitivity", "FPR")  # fmt: skip
    note = (
        f"With fewer than {LEAST} events, or rows without one, a group has its counts alone. Acted "
        "on, sensitivity and false positive rate (FPR) are at the threshold of best validation F1; "
        "the ratio is of the shares acted on in the group and in the other rows. Groups are for "
        "finding what to look at: among so many some differ by chance. results.json also has sex "
        f"and age together. {PATIENTS_ALONE}"
    )
    return Section("Subgroups", columns, _grouped(rows, lines), note, collapsed=True)


def _group(of: Record) -> list[str]:
    counts = [NAMES[of["by"]], of["group"], f"{of['n']:,}", f"{of['events']:,}"]
    if "why" in of:
        return [*counts, of["why"], *[DASH] * 7]
    return [
        *counts,
        with_limits(of["auroc"]),
        with_limits(of["difference"]),
        with_limits(of["calibration"]["o_to_e"]),
        with_limits(of["calibration"]["slope"]),
        percent(of["flagged"]),
        number(of["flagged_ratio"], 2),
        percent(of["sensitivity"]),
        percent(of["false_positive_rate"]),
    ]
