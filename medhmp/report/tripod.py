"""The items of TRIPOD+AI (Collins et al., BMJ 2024;385:e078378), answered as far as a run can.

What only the authors of a study can say is marked as theirs: a filled form would otherwise look
like a finished one. The items are in our words; the statement has theirs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from medhmp.report.names import task_name, title_of
from medhmp.report.section import Section
from medhmp.shards.manifest import Manifest
from medhmp.tables.schema import SYNTHETIC

YOURS: Final = "Yours to say."

ITEMS: Final = (
    ("1", "Title says development or evaluation, population, outcome"),
    ("2", "Structured abstract"),
    ("3a", "Clinical context, and why a prediction is wanted"),
    ("3b", "Target population, intended use and users, place in care"),
    ("3c", "Known inequalities between groups of patients"),
    ("4", "Objectives: development, evaluation, or both"),
    ("5a", "Sources of data"),
    ("5b", "Dates of the data"),
    ("6a", "Setting, number and place of centres"),
    ("6b", "Who is eligible"),
    ("6c", "Treatments received, and how they are handled"),
    ("7", "Preparation of the data, alike in all groups"),
    ("8a", "Outcome, time of prediction, horizon"),
    ("8b", "Who assessed the outcome, if that takes judgement"),
    ("8c", "Blinding of that assessment"),
    ("9a", "How predictors were chosen to begin with"),
    ("9b", "Predictors, how and when measured"),
    ("9c", "Who measured them, if that takes judgement"),
    ("10", "Sample size"),
    ("11", "Missing data"),
    ("12a", "Which data for development and evaluation"),
    ("12b", "Form of the predictors"),
    ("12c", "Type of model, steps of building, choice of settings, internal validation"),
    ("12d", "Differences between clusters (hospitals)"),
    ("12e", "Measures of performance, and comparisons"),
    ("12f", "Updating of the model, such as recalibration"),
    ("12g", "How predictions were made in evaluation"),
    ("13", "Imbalance of classes"),
    ("14", "Fairness, and how it was looked at"),
    ("15", "What the model puts out, and thresholds"),
    ("16", "Differences between data of development and evaluation"),
    ("17", "Ethical approval, consent"),
    ("18a", "Funding"),
    ("18b", "Conflicts of interest"),
    ("18c", "Protocol"),
    ("18d", "Registration"),
    ("18e", "Availability of the data"),
    ("18f", "Availability of the code"),
    ("19", "Involvement of patients and the public"),
    ("20a", "Flow of participants, with and without the outcome"),
    ("20b", "Characteristics of the participants"),
    ("20c", "Comparison of both data in the predictors that matter"),
    ("21", "Participants and events in each analysis"),
    ("22", "The whole model, so that others can predict with it"),
    ("23a", "Performance with intervals, also of subgroups"),
    ("23b", "Heterogeneity of performance between clusters"),
    ("24", "Results of updating"),
    ("25", "Interpretation, also of fairness"),
    ("26", "Limitations"),
    ("27a", "What to do with poor or missing input in use"),
    ("27b", "What users must do and know"),
    ("27c", "Next steps"),
)
"""Number and content of each item."""


def tripod(results: Mapping[str, Any], manifest: Manifest) -> Section:
    """A line per item: what this run says to it, or that the authors must."""
    said = answers(results, manifest) if results["rows"] else {}
    groups = {"": [[item, what, said.get(item, YOURS)] for item, what in ITEMS]}
    filled = sum(item in said for item, _ in ITEMS)
    note = (
        f"{filled} of {len(ITEMS)} items are filled from this run, in whole or in part; the others "
        "are yours. Items after Collins et al., BMJ 2024;385:e078378, in our words."
    )
    columns = ("Item", "What it asks", "This run")
    return Section("TRIPOD+AI", columns, groups if said else {}, note, collapsed=True)


def answers(results: Mapping[str, Any], manifest: Manifest) -> dict[str, str]:
    """Item -> what a run that scored something says to it."""
    rows, run = results["rows"], results["run"]
    cohort, fields = run.get("cohort", {}), manifest.fields
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    names = ", ".join(map(task_name, tasks))
    hours = cohort.get("hours", manifest.hours)
    units = ", ".join(dict.fromkeys(f"{row['level']}s" for row in rows))
    groups = list(dict.fromkeys(g["by"].replace("_", " ") for r in rows for g in r["subgroups"]))
    splits = run.get("splits", {})
    found = {
        "4": f"Development, and evaluation on held-out patients of the same data: {names}.",
        "5a": "Sources: " + "; ".join(_source(*pair) for pair in manifest.counts.items()) + ".",
        "6b": "The rules of each task, with the rows that each left, are under 'Cohort flow'.",
        "7": f"Plausible ranges of readings: {fields.get('tables.variables', 'default')}; "
        "rows left out are counted under 'Raw rows left out'. Bins and vocabularies are fitted on "
        "training patients alone.",
        "8a": f"{names}, of {units}. Stays are observed for {hours} hours; admissions are "
        "predicted at discharge, patients from earlier admissions.",
        "9b": f"{len(manifest.features):,} hourly and {len(manifest.demographics):,} fixed "
        f"features, {len(manifest.diagnoses):,} diagnoses, {len(manifest.drugs):,} drugs; the "
        "manifest names them.",
        "10": "All rows that the rules leave; none was computed in advance. "
        + _labels([row["fields"] for row in rows]),
        "11": "A variable not measured in an hour is a feature of its own or left at its last "
        "value (FIDDLE); a missing kind of record is masked. No patient is left out for missing "
        "predictors.",
        "12a": "Patients are split by a hash of their number: train, validation and test "
        + ", ".join(f"{splits[s]:g}" for s in ("train", "validation", "test") if s in splits)
        + ". No patient is in two.",
        "12b": "In bins, one column each." if fields.get("features.discretize", True)
        else "As numbers, scaled by quantiles of training patients.",
        "12c": f"{_models(rows)}. Settings by the lowest mean validation cross-entropy of a grid; "
        "test rows were scored once.",
        "12e": "AUROC, AUPR, average precision, calibration, net benefit, rates at thresholds, "
        "subgroups, each with what its interval holds.",
        "12f": "Logistic and isotonic recalibration, fitted on validation rows.",
        "12g": "The mean score of the chosen setting's fits.",
        "13": "None: neither rows nor losses are weighted, so that risks keep their meaning.",
        "15": "A risk from 0 to 1. Thresholds, from validation rows, are under 'Rates at "
        "thresholds'.",
        "16": "None by design: one population, split by patient.",
        "18f": "MedHMP on Ray, Apache-2.0; versions are under 'Where this comes from'.",
        "20a": "Under 'Cohort flow'.",
        "21": "; ".join(_events(manifest, task) for task in tasks) + ".",
        "22": "Weights and settings of every model lie beside this report, in tune/.",
        "23a": "Under 'Discrimination', 'Calibration' and 'Subgroups'.",
        "24": "Under 'Recalibrated'.",
        "26": "Outcomes are read off charts and billing codes; one population; see 'How to read "
        "this'. The rest is yours.",
    }  # fmt: skip
    if groups:
        found["14"] = f"Figures by {', '.join(groups)}, under 'Subgroups'."
    if len(manifest.counts) > 1:
        found["12d"] = found["23b"] = "By source, under 'Subgroups'."
    if SYNTHETIC in manifest.counts:
        found |= {
            "5b": "None: patients are synthetic.",
            "6a": "None: patients are synthetic.",
            "17": "None needed: patients are synthetic.",
            "18e": "jobs.synthesize makes the same patients again.",
        }
    return found


def _source(name: str, counts: Mapping[str, int]) -> str:
    kinds = ("patients", "admissions", "stays")
    return f"{name} (" + ", ".join(f"{counts[k]:,} {k}" for k in kinds if k in counts) + ")"


def _labels(fields: Sequence[Mapping[str, Any]]) -> str:
    used = {of.get("finetune", {}).get("labels") for of in fields} - {None}
    return f"At most {max(used):,} labelled training rows a task were used." if used else ""


def _models(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(title_of(row["model"], row["start"]) for row in rows))


def _events(manifest: Manifest, task: Any) -> str:
    counts = manifest.tasks[task]
    splits = (f"{s} {n:,} ({counts.positives[s]:,} events)" for s, n in counts.rows.items())
    return f"{task_name(task)}: {', '.join(splits)}"
