"""The report's text: headline, tables, notes, method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medhmp.report.results import Record
from medhmp.report.section import Section
from medhmp.report.sections import sections
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
    "cross-entropy. A figure with an interval is of the seed-averaged score; the interval and the "
    "standard error (SE) come from resampling patients. Mean and SD are over the seeds' own "
    "figures. The gain from pretraining and the share of what can be learned are made of the same "
    "AUROCs of seed-averaged scores as the figure and the console show; the gain's interval holds "
    "the chance of test patients alone. AUPR is the trapezoid under the precision-recall curve, as "
    "the paper's authors compute it; average precision does not interpolate. Tuned thresholds are "
    "those of best validation F1. A learning rate at the edge of the searched ones suggests that "
    "the grid is too narrow. Intercept and slope of calibration are best at 0 and 1, O:E at 1, "
    "Brier, ECE and ICI at 0, scaled Brier at 1. Calibration, curves, net benefit and subgroups "
    "are of the mean score of all fits of the chosen cell; their intervals come from the influence "
    "of each patient, not from resampling. Recalibration and thresholds come from validation "
    "rows. Net benefit weighs a needless act by the odds of the threshold at which one acts."
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
    seeds = max((row["seeds"] for row in rows), default=0)
    draws = results["run"]["report"]["draws"]
    synthetic = SYNTHETIC in manifest.counts or any(r["best_achievable"] is not None for r in rows)
    return Story(
        title=f"MedHMP: {results['run']['name']}",
        lead=f"{tasks} tasks, up to {seeds} seeds a row, {draws:,} patient-bootstrap draws.",
        notice=SYNTHETIC_NOTICE if synthetic else NOTES[0],
        headline=headline(results),
        sections=sections(results, manifest),
    )


def headline(results: Record) -> list[tuple[str, str]]:
    """(figure, what it is) of each answer that a reader looks for first.

    All compare AUROCs of seed-averaged scores, as the console shows them.
    """
    lines = []
    for key, what in (
        ("gain", "AUROC gained by pretraining: both over none"),
        ("control", "the same for the control, pretrained on data shuffled between patients"),
    ):
        gain = results[key]
        if gain["value"] is not None:
            limits = f"({signed(gain['low'])} to {signed(gain['high'])})"
            tasks = f"mean of {len(gain['tasks'])} tasks, seed-averaged scores"
            lines.append((signed(gain["value"]), f"{what}; {tasks}, 95 % interval {limits}"))
    if results["learned"]["value"] is not None:
        what = (
            "of what can be learned: AUROC of both above 0.5, against the best achievable; "
            "seed-averaged scores"
        )
        lines.append((f"{results['learned']['value']:.0%}", what))
    return lines


def signed(value: float) -> str:
    """A difference, with its sign and a minus as wide as the plus."""
    return f"{value:+.3f}".replace("-", "\u2212")
