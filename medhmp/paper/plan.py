"""The paper's tables and figures as data: which fits each compares.

A part names the grids of ``jobs.tune`` that it reads. Grids that several parts share are made once.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from medhmp.evaluate.predictions import GridKey
from medhmp.legend import LEVELS, PaperPart, Start, Task
from medhmp.model.catalog import MODELS
from medhmp.run import Run
from medhmp.shards.manifest import Manifest

FLOORS: Final = tuple(
    name for name, entry in MODELS.items() if entry.is_floor and not entry.on_request
)
"""Models on counted features, which stand in every part."""
OF_STAYS: Final[tuple[Task, ...]] = ("arf", "shock", "mortality")
OF_PATIENTS: Final[tuple[Task, ...]] = ("heart_failure", "copd", "amnesia")
MULTIMODAL: Final = ("medhmp", "f_lstm", "f_cnn", "raim", "dcmn")
GATED: Final = (
    *("bert_lstm", "lstm_bert", "bert_cnn", "cnn_bert"),
    *("bert_star", "star_bert", "bert_encoder", "encoder_bert"),
)
VISITS: Final = ("medhmp", "dipole", "retain", "adacare", "hitanet")
PRETRAINED: Final[tuple[Start, ...]] = ("both", "admission", "stay", "none")
"""Starts, the most pretrained first."""
PARTNER: Final[Mapping[str, str]] = {
    "unimodal_lstm": "encoded_lstm",
    "unimodal_transformer": "encoded_transformer",
}
"""A model that takes no start -> the same on MedHMP's encoder (Figure 4)."""


@dataclass(frozen=True)
class Fits:
    """Grids of a variant: of each task its models, from each of the starts that they take."""

    tasks: tuple[Task, ...]
    models: tuple[str, ...]
    starts: tuple[Start, ...]
    variant: str | None = None
    model: Mapping[str, Any] = field(default_factory=dict)  # the run's model fields that differ
    labels: int | None = None  # labelled training rows; none: as the run has them

    def has(self, key: GridKey) -> bool:
        """True if a grid is one of these."""
        task, model, start = key
        takes = MODELS[model].takes_starts
        return (
            task in self.tasks
            and model in self.models
            and (start in self.starts if takes else start == "none")
        )


@dataclass(frozen=True)
class Part:
    """One table or figure."""

    title: str
    fits: tuple[Fits, ...]
    subject: str = "medhmp"  # the model whose place is told, or that others are compared with
    # contest: the subject against other models; ablation: a model against itself, pretrained less
    kind: Literal["contest", "ablation"] = "contest"
    metrics: tuple[str, ...] = ()  # none: those of the paper's tables of the task's level
    needs: tuple[str, ...] = ()  # what the shards must have: notes

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(dict.fromkeys(task for fits in self.fits for task in fits.tasks))


def metrics_of(part: Part, task: Task) -> tuple[str, ...]:
    """The metrics that a part tells of a task."""
    return part.metrics or (
        ("aupr", "f1", "kappa") if LEVELS[task] == "patient" else ("auroc", "aupr")
    )


def parts_of(run: Run, manifest: Manifest) -> tuple[dict[PaperPart, Part], dict[PaperPart, str]]:
    """The parts that the run asks for, with the tasks and starts that it has; and why others that
    it asks for cannot be made. Table 8, which has no fits, is in neither."""
    made: dict[PaperPart, Part] = {}
    left_out: dict[PaperPart, str] = {}
    for name, part in _every(run, manifest).items():
        if name not in run.paper.parts:
            continue
        own = replace(part, fits=tuple(_within(run, part.fits)))
        if not own.fits:
            left_out[name] = f"none of {', '.join(part.tasks)} is among tune.tasks"
        elif "notes" in part.needs and not manifest.notes:
            left_out[name] = "the shards have no notes"
        elif part.kind == "ablation" and most_pretrained(run) == "none":
            left_out[name] = "tune.starts has no pretraining"
        else:
            made[name] = own
    return made, left_out


def most_pretrained(run: Run) -> Start:
    """The run's start that stands for MedHMP: *both*, unless tune.starts lacks it."""
    return next((start for start in PRETRAINED if start in run.tune.starts), "none")


def of_epochs(part: Part) -> tuple[Fits, ...]:
    """The fits whose every epoch is scored: the part's networks."""
    return tuple(replace(fits, models=(part.subject,)) for fits in part.fits)


def run_of(run: Run, fits: Fits) -> Run:
    """The run that makes these fits and nothing else."""
    labels = run.finetune.labels if fits.labels is None else fits.labels
    return replace(
        run,
        variant=variant_of(run, fits),
        model=replace(run.model, **fits.model),
        finetune=replace(run.finetune, labels=labels),
        tune=replace(run.tune, tasks=fits.tasks, models=fits.models, starts=fits.starts),
    )


def variant_of(run: Run, fits: Fits) -> str | None:
    """The variant that has these fits: below a variant's own name, where the run has one."""
    return "-".join(filter(None, (run.variant, fits.variant))) or None


def _within(run: Run, every: Iterable[Fits]) -> Iterable[Fits]:
    """The fits whose tasks and starts the run has. *both* is its most pretrained start."""
    most = most_pretrained(run)
    for fits in every:
        tasks = tuple(task for task in fits.tasks if task in run.tune.tasks)
        asked = [most if start == "both" else start for start in fits.starts]
        starts = tuple(s for s in dict.fromkeys(asked) if s in run.tune.starts)
        if fits.model and most not in ("both", "admission"):
            continue  # stage two without a term, of a run without stage two
        if tasks and starts:
            yield replace(fits, tasks=tasks, starts=starts)


def _every(run: Run, manifest: Manifest) -> dict[PaperPart, Part]:
    """Every part with fits, as the paper has it."""
    return {
        "table_1": _contest("Table 1: stay-level tasks", OF_STAYS, MULTIMODAL),
        "table_2": _contest("Table 2: readmission", ("readmission",), ("medhmp", *GATED), True),
        "table_3": _ablation(
            "Table 3: health risks, with and without pretraining", OF_PATIENTS, VISITS
        ),
        "table_4": _ablation(
            "Table 4: health risks, by pretraining",
            OF_PATIENTS,
            ("medhmp",),
            ("both", "admission", "none"),
        ),
        "table_5": _ablation(
            "Table 5: readmission, by pretraining", ("readmission",), ("medhmp",), PRETRAINED
        ),
        "table_6": _ablation(
            "Table 6: stay-level tasks, by pretraining",
            OF_STAYS,
            ("medhmp",),
            ("both", "stay", "none"),
        ),
        "table_7": _loss_terms(),
        "table_10": _contest(
            "Table 10: stay-level tasks with clinical notes",
            OF_STAYS,
            ("medhmp_notes", "clinical_t5", "clinical_bert", *GATED),
            True,
        ),
        "table_11": _contest("Table 11: mortality elsewhere (eICU)", ("mortality",), MULTIMODAL),
        "figure_4": _ablation(
            "Figure 4: hours alone, ARF",
            ("arf",),
            ("encoded_lstm", "unimodal_lstm", "encoded_transformer", "unimodal_transformer"),
            ("both", "stay"),
        ),
        "figure_5": _training_sizes(run, manifest),
        "figure_6": replace(
            _ablation("Figure 6: convergence, heart failure", ("heart_failure",), ("medhmp",)),
            metrics=("f1", "auroc"),
        ),
    }


def _contest(
    title: str, tasks: tuple[Task, ...], models: tuple[str, ...], notes: bool = False
) -> Part:
    fits = Fits(tasks, (*models, *FLOORS), ("both",))
    return Part(title, (fits,), subject=models[0], needs=("notes",) if notes else ())


def _ablation(
    title: str,
    tasks: tuple[Task, ...],
    models: tuple[str, ...],
    starts: tuple[Start, ...] = ("both", "none"),
) -> Part:
    fits = Fits(tasks, (*models, *FLOORS), starts)
    return Part(title, (fits,), subject=models[0], kind="ablation")


def _loss_terms() -> Part:
    """All terms; without the contrast; without masked codes; stage one alone."""
    whole = _ablation("Table 7: terms of the loss", OF_STAYS, ("medhmp",), ("both", "stay"))
    of_one: tuple[tuple[str, str], ...] = (
        ("no_contrast", "contrast_weight"),
        ("no_codes", "code_weight"),
    )
    without = (
        Fits(OF_STAYS, ("medhmp",), ("both",), name, {weight: 0.0}) for name, weight in of_one
    )
    return replace(whole, fits=(*whole.fits, *without))


def _training_sizes(run: Run, manifest: Manifest) -> Part:
    """HiTANet on shares of the labelled rows of amnesia, each share a variant."""
    whole = _ablation("Figure 5: size of the training set, amnesia", ("amnesia",), ("hitanet",))
    counts = manifest.tasks.get("amnesia")
    rows = counts.rows["train"] if counts else 0
    rows = min(rows, run.finetune.labels or rows)
    (every,) = whole.fits
    fits = [
        replace(every, variant=f"share-{100 * share:g}", labels=max(1, math.ceil(share * rows)))
        for share in sorted(set(run.paper.shares) - {1.0})
    ]
    return replace(whole, fits=(*fits, every), metrics=("aupr", "f1", "auroc"))
