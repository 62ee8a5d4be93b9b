"""The model card of a model folder, in the sections of Mitchell et al. 2019 (Model Cards for Model
Reporting, FAT*)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from medhmp.legend import SPLITS
from medhmp.model.catalog import MODELS
from medhmp.pretrained.config import Config
from medhmp.report.evaluation import NAMES
from medhmp.report.names import task_name, title_of
from medhmp.report.section import chance_said, number, with_limits
from medhmp.shards.manifest import Manifest, OpenShards
from medhmp.tables.schema import SYNTHETIC

HEAD: Final = """---
library_name: medhmp
pipeline_tag: tabular-classification
tags: [electronic-health-records, {tags}]
---

# {title}
"""
MEASURED: Final = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "f1_tuned": "F1 at the threshold of best F1 on validation",
}
CALIBRATED: Final = {
    "intercept": "Calibration intercept",
    "slope": "Calibration slope",
    "o_to_e": "Observed to expected",
    "brier": "Brier score",
}
USE: Final = (
    "For research: to compare with, to score rows of the same kind elsewhere, to begin from. Not "
    "for clinical use: nothing here has been validated in care, and no decision about a patient "
    "should rest on it."
)
ETHICS: Final = (
    "Trained on records of patients who were not asked for this model. Weights and vocabularies "
    "can hold traces of them: what may be shared is for the terms of the tables to say. Outcomes "
    "are read off charts and billing codes, and carry the habits of those who wrote them."
)


@dataclass(frozen=True)
class Said:
    """What a run's report says of a model and of the best floor of its task."""

    row: Mapping[str, Any]
    floor: Mapping[str, Any] | None  # of the model on counted features; none: it is one, or none is

    @staticmethod
    def of(results: Mapping[str, Any], task: str, model: str, start: str) -> "Said":
        """The row of this model, and the floor of lowest validation loss."""
        rows = [row for row in results["rows"] if row["task"] == task and not row["same_as"]]
        (own,) = (row for row in rows if (row["model"], row["start"]) == (model, start))
        floors = [row for row in rows if MODELS[row["model"]].is_floor]
        best = min(floors, key=lambda row: float(row["validation_loss"]), default=None)
        return Said(own, None if MODELS[model].is_floor else best)


def of_classifier(config: Config, shards: OpenShards, said: Said) -> str:
    """The card of a chosen fit."""
    assert config.task
    assert config.start
    row, name = said.row, task_name(config.task)
    title = title_of(config.model, config.start)
    one = "one fit" if len(config.weights) == 1 else f"{len(config.weights)} fits, averaged"
    details = [
        ("Model", f"{title} ({config.architecture}), {one}"),
        ("Predicts", f"{name}, per {config.level}, as a probability"),
        ("Start", config.start),
        *((field.replace("_", " "), f"{value:g}") for field, value in config.point.items()),
        *_made_by(config),
    ]
    manifest = shards.manifest
    return "\n".join(
        [
            HEAD.format(title=f"{name}: {title}", tags=f"{config.task}, {config.model}"),
            *_section("Model details", [_table(("", ""), details)]),
            *_section("Intended use", [USE, _how_to(config)]),
            *_section("Factors", _factors(row)),
            *_section("Metrics", [_metrics(row, said.floor)]),
            *_section("Evaluation data", _evaluated(row)),
            *_section("Training data", _data(manifest, config)),
            *_section("Quantitative analyses", [_table(*_subgroups(row))]),
            *_section("Ethical considerations", [ETHICS]),
            *_section("Caveats and recommendations", _caveats(row, manifest)),
        ]
    )


def of_pretraining(config: Config, shards: OpenShards, metrics: Sequence[bytes]) -> str:
    """The card of a pretraining; ``metrics`` are the lines of its metrics.jsonl."""
    last = json.loads(metrics[-1])
    details = [
        ("Model", f"MedHMP, {config.model.replace('_', ' ')}"),
        ("Gives", "vectors of stays, and from stage two of admissions, visits and codes"),
        ("Epochs", str(last["epoch"] + 1)),
        ("Loss of the last epoch", number(last["loss"])),
        *_made_by(config),
    ]
    return "\n".join(
        [
            HEAD.format(title=f"MedHMP, {config.model}", tags=config.model),
            *_section("Model details", [_table(("", ""), details)]),
            *_section("Intended use", [USE, _how_to(config)]),
            *_section("Training data", _data(shards.manifest, config)),
            *_section("Ethical considerations", [ETHICS]),
            *_section(
                "Caveats and recommendations",
                ["A vector means nothing by itself: what it is worth, a task shows."],
            ),
        ]
    )


def _section(title: str, paragraphs: Sequence[str]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield "\n\n".join(filter(None, paragraphs))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; nothing without a row."""
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _made_by(config: Config) -> list[tuple[str, str]]:
    commit = f", commit {config.commit[:12]}" if config.commit else ""
    return [("Made by", f"medhmp {config.version}{commit}")]


def _how_to(config: Config) -> str:
    use = "model.predict(shards)" if config.task else "model.embed(shards)"
    return f"```python\nimport medhmp\n\nmodel = medhmp.from_pretrained(FOLDER)\n{use}\n```"


def _factors(row: Mapping[str, Any]) -> list[str]:
    groups = list(dict.fromkeys(NAMES.get(of["by"], of["by"]) for of in row["subgroups"]))
    if not groups:
        return ["The tables have no attribute by which rows could be told apart."]
    return [f"Looked at apart, below: {', '.join(groups).replace('_', ' and ')}."]


def _metrics(row: Mapping[str, Any], floor: Mapping[str, Any] | None) -> str:
    lines = [(title, with_limits(row[name], 3)) for name, title in MEASURED.items()]
    limits = row["calibration"]["intervals"]
    lines += [(title, with_limits(limits[name], 3)) for name, title in CALIBRATED.items()]
    text = _table(("On test rows", "Value (95 %)"), lines)
    text += f"\n\n{chance_said(row['auroc']['chance'])}"
    if floor is None:
        return text
    ours, theirs = row["auroc"]["value"], floor["auroc"]["value"]
    than = "higher than" if theirs > ours else "as high as" if theirs == ours else "below"
    return (
        f"{text}\n\nThe best model on counted features, {title_of(floor['model'], floor['start'])},"
        f" has an AUROC of {with_limits(floor['auroc'], 3)}: {than} this model's."
    )


def _evaluated(row: Mapping[str, Any]) -> list[str]:
    few = " Fewer than 100 events: read the intervals." if row["few_events"] else ""
    return [
        f"{row['n']:,} test rows of {row['patients']:,} patients, {row['events']:,} with the "
        f"event, which were scored once. No patient of theirs was trained on.{few}"
    ]


def _data(manifest: Manifest, config: Config) -> list[str]:
    sizes = ("patients", "admissions", "stays")
    cohort = [
        [name, *(f"{counts.get(of, 0):,}" for of in sizes)]
        for name, counts in manifest.counts.items()
    ]
    found = [_table(("Source", *sizes), cohort)]
    if config.task:
        of_task = manifest.tasks[config.task]
        found.append(_table(("Rule", "Rows left"), [[s, f"{n:,}"] for s, n in of_task.steps]))
        splits = [[s, f"{of_task.rows[s]:,}", f"{of_task.positives[s]:,}"] for s in SPLITS]
        found.append(_table(("Split", "Rows", "With the event"), splits))
        if labels := config.fields.get("finetune.labels"):
            found.append(f"Each fit was given {labels:,} labelled training rows at most.")
    widths = config.widths
    found.append(
        f"Features: {widths.features:,} an hour over {widths.hours} bins, "
        f"{widths.demographics:,} of the patient, {widths.diagnoses:,} diagnoses, "
        f"{widths.drugs:,} drugs; their names are in manifest.json."
    )
    return found


def _subgroups(row: Mapping[str, Any]) -> tuple[Sequence[str], list[list[str]]]:
    lines = []
    for of in row["subgroups"]:
        counts = [NAMES.get(of["by"], "sex and age"), of["group"]]
        counts += [f"{of['n']:,}", f"{of['events']:,}"]
        figure = of["why"] if "why" in of else with_limits(of["auroc"])
        lines.append([*counts, figure])
    return ("By", "Group", "Rows", "Events", "AUROC (95 %)"), lines


def _caveats(row: Mapping[str, Any], manifest: Manifest) -> list[str]:
    found = [
        "Validate it on rows of your own before anything else: `jobs.predict` ends in a report "
        "where labels are at hand. Recalibrate where calibration is off; config.json has the maps "
        "that this run's validation rows gave.",
    ]
    if SYNTHETIC in manifest.counts:
        found.append("Its patients are synthetic. Its figures say nothing about any hospital.")
    if row["validation_loss"] > row["base_rate_loss"]:
        found.append("Its validation loss is above the base rate's: it has learnt nothing.")
    return found
