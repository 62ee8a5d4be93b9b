"""The report's text: headline, tables, notes, method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medhmp.model.catalog import MODELS
from medhmp.report.names import task_name
from medhmp.report.results import HEADLINE_EVENTS, Record
from medhmp.report.section import Section
from medhmp.report.sections import sections, signed
from medhmp.shards.manifest import Manifest
from medhmp.tables.schema import SYNTHETIC

SYNTHETIC_NOTICE: Final = (
    "These patients are synthetic: generated with a planted signal, to show that the method works "
    "and how close it comes to the best that can be achieved. The figures say nothing about any "
    "hospital."
)
NOTES: Final = (
    "Not for clinical use. Nothing here has been validated in care, and no decision about a "
    "patient should rest on it.",
    "Readmission is a contested label on MIMIC, which holds one hospital only: an admission that "
    "counts as not followed by another may have been followed by one elsewhere.",
    "The paper took COPD and amnesia from TriNetX, which is not open. Here they are read off the "
    "codes of this run's own source, and the paper's figures beside them are of other patients.",
    "Outcomes are read off charted signals and billing codes, not off a diagnosis at the bedside.",
    "The paper's figures are means of five runs on its own cohorts and splits, printed without "
    "intervals. They are anchors for comparison, not targets, and stand beside a run on the same "
    "database alone.",
    "F1 and kappa are here because the paper gives them. They depend on a threshold and should not "
    "choose between models.",
    "An AUROC above 0.90 on these tasks should be taken for leakage until shown otherwise.",
)
METHOD: Final = (
    "Test rows were scored once, with the cell of the grid that had the lowest mean validation "
    "cross-entropy. A figure is the mean over the replicates, each of which is a fit of its own. "
    "Its interval and standard error (SE) add two variances: that of the mean under resampled test "
    "patients, and that of the replicates, with one degree of freedom less than there are "
    "replicates. Differences are paired: replicate by replicate, on the same resampled patients; "
    "p-values are two-sided, and corrected after Holm within a table. The best floor of a task is "
    "the model on counted features with the lowest validation loss. AUPR is the trapezoid under "
    "the precision-recall curve, as the paper's authors compute it; average precision does not "
    "interpolate. Tuned thresholds are those of best validation F1. A learning rate at the edge of "
    "the searched ones suggests that the grid is too narrow. Intercept and slope of calibration "
    "are best at 0 and 1, O:E at 1, Brier, ECE and ICI at 0, scaled Brier at 1. Calibration, "
    "curves, net benefit and subgroups are of the mean score of the replicates; their intervals "
    "come from the influence of each patient, not from resampling. Recalibration and thresholds "
    "come from validation rows. Net benefit weighs a needless act by the odds of the threshold at "
    "which one acts."
)


@dataclass(frozen=True)
class Story:
    """The whole report except its figures."""

    title: str
    lead: str
    notice: str
    headline: Sequence[tuple[str, str]]
    sections: Sequence[Section]


def story(results: Record, manifest: Manifest) -> Story:
    """The text for one ``results.json`` and the manifest of its shards."""
    rows = results["rows"]
    tasks = len({row["task"] for row in rows})
    replicates = max((row["replicates"] for row in rows), default=0)
    draws = results["run"]["report"]["draws"]
    synthetic = SYNTHETIC in manifest.counts or any(r["best_achievable"] is not None for r in rows)
    return Story(
        title=f"MedHMP: {results['run']['name']}",
        lead=f"{applied(results)}{tasks} tasks, up to {replicates} replicates a row, {draws:,} "
        f"patient-bootstrap draws. {chance(rows)}".strip(),
        notice=SYNTHETIC_NOTICE if synthetic else NOTES[0],
        headline=headline(results),
        sections=sections(results, manifest),
    )


def applied(results: Record) -> str:
    """Whose model scored whose rows, where it was not this run's own; else nothing."""
    if not (said := results.get("applied")):
        return ""
    theirs, ours = ", ".join(said["trained_on"]), ", ".join(said["scored"])
    return (
        f"External validation: rows of {ours}, scored by a model that was trained on {theirs}, "
        "with thresholds and maps of risk from its own validation rows. "
    )


def chance(rows: Sequence[Record]) -> str:
    """Which sources of chance the intervals hold, in words."""
    if not rows:
        return ""
    if max(row["replicates"] for row in rows) < 2:
        return (
            "Intervals hold the chance of the test patients alone: another fit of the same model "
            "could differ by more."
        )
    drawn = list(dict.fromkeys(what for row in rows for what in row["drawn"]))
    said = (
        "Intervals hold the chance of the test patients and of the replicates, each of which drew "
        f"anew: {', '.join(drawn)}."
    )
    if any(row["start"] != "none" for row in rows) and "pretraining" not in drawn:
        said += " Pretraining was made once, and its chance is in no interval."
    return said


def headline(results: Record) -> list[tuple[str, str]]:
    """(figure, what it is) of each answer that a reader looks for first."""
    lines = []
    for key, what in (
        ("gain", "AUROC gained by pretraining: both over none"),
        ("gain_over_floor", "AUROC of both over the best model on counted features"),
        (
            "control",
            "AUROC of the control, pretrained on data shuffled between patients, over none",
        ),
    ):
        gain = results[key]
        if gain["value"] is not None:
            lines.append((signed(gain["value"]), f"{what}; {_of_tasks(gain)}"))
    share = results["learned"]
    if share["value"] is not None:
        limits = (
            f"{share['low']:.0%} to {share['high']:.0%}" if share["low"] is not None else "none"
        )
        what = (
            "of what can be learned: AUROC of both above 0.5, against the best achievable; "
            f"95 % interval {limits}"
        )
        lines.append((f"{share['value']:.0%}", what))
    return lines


def _of_tasks(gain: Record) -> str:
    """Over which tasks a gain is a mean, its interval, and the tasks left out."""
    said = f"mean of {len(gain['tasks'])} tasks"
    floors = {model for model in gain["over"].values() if MODELS[model].is_floor}
    if floors:
        said += f" ({', '.join(MODELS[model].title for model in MODELS if model in floors)})"
    if gain["low"] is None:
        said += f", no interval: {gain['why']}"
    else:
        limits = f"{signed(gain['low'])} to {signed(gain['high'])}"
        said += f", 95 % interval {limits}, Holm p {gain['p_holm']:.3f}"
    few = [f"{task_name(task['task'])} ({task['events']})" for task in gain["left_out"]]
    return said + (f"; left out, below {HEADLINE_EVENTS} events: {', '.join(few)}" if few else "")
