"""What each part says, as data: its lines with the paper's numbers, paired differences, places."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from medhmp.evaluate.intervals import BOUNDS, Drawn, difference, holm
from medhmp.legend import LEVELS, SPLITS, PaperPart, Task
from medhmp.model.catalog import MODELS
from medhmp.paper.material import Key, Scored
from medhmp.paper.plan import PARTNER, Fits, Part, metrics_of, most_pretrained, variant_of
from medhmp.report.paper import (
    PRETRAINED_ON,
    TABLE_8,
    TABLE_8_TRINETX,
    WITHOUT,
    published,
)

Record = dict[str, Any]
"""An object of ``results.json``."""
SHARES: Final = "figure_5"


def lines_of(name: PaperPart, part: Part, scored: Scored) -> list[Record]:
    """A line per task, metric and grid of a part, in the order of the catalog, floors last.

    ``against`` names the line that is compared with it, and ``difference`` is that line's figure
    less this one's, paired; p_holm is corrected within a task and metric.
    """
    found: list[Record] = []
    for task in part.tasks:
        own = [(fits, key) for fits, key in _keys(part, scored) if key[1] == task]
        keys = sorted(own, key=lambda of: MODELS[of[1][2]].is_floor)  # floors last
        for metric in metrics_of(part, task):
            of_one = [_line(name, part, scored, fits, key, metric) for fits, key in keys]
            corrected = holm([line["difference"] and line["difference"]["p"] for line in of_one])
            for line, p in zip(of_one, corrected, strict=True):
                if line["difference"]:
                    line["difference"]["p_holm"] = p
            found += of_one
    return found


def _keys(part: Part, scored: Scored) -> Iterator[tuple[Fits, Key]]:
    """The grids of a part that have been scored, each once."""
    seen = set()
    for fits in part.fits:
        variant = variant_of(scored.run, fits)
        for key in scored.predictions:
            if key[0] == variant and key not in seen and fits.has(key[1:]):
                seen.add(key)
                yield fits, key


def _line(name: PaperPart, part: Part, scored: Scored, fits: Fits, key: Key, metric: str) -> Record:
    one, own = scored.predictions[key], scored.figures[key][metric]
    _, task, model, start = key
    against = _against(name, part, scored, key)
    paired = difference(scored.figures[against][metric], own) if against else None
    return {
        "task": task,
        "level": LEVELS[task],
        "metric": metric,
        "model": model,
        "start": start,
        "variant": fits.variant,
        "labels": _labels(scored, fits, task),
        "is_floor": MODELS[model].is_floor,
        "replicates": len(one.seeds),
        "n": len(one.test.label),
        "events": int(one.test.label.sum()),
        **_estimate(own, metric),
        "validation_loss": one.validation_loss,
        "paper": _paper(name, scored, fits, key, metric),
        "against": against and {"variant": against[0], "model": against[2], "start": against[3]},
        "difference": paired and paired.estimate().to_json(),
    }


def _labels(scored: Scored, fits: Fits, task: Task) -> int:
    """Labelled training rows of a fit."""
    rows = scored.manifest.tasks[task].rows["train"]
    return min(rows, fits.labels or scored.run.finetune.labels or rows)


def _estimate(drawn: Drawn, metric: str) -> Record:
    """A figure by itself: that it is not zero is no question."""
    found = drawn.estimate(*BOUNDS[metric]).to_json()
    del found["p"]
    return found


def _against(name: PaperPart, part: Part, scored: Scored, key: Key) -> Key | None:
    """The line that a line is compared with: the same model pretrained as far as it goes, else the
    part's subject. Training sizes are compared within one size."""
    variant, task, model, _ = key
    home = variant if name == SHARES else scored.run.variant
    others = [PARTNER[model]] if model in PARTNER else []
    others += [model] if MODELS[model].takes_starts else []
    for other in (*others, part.subject):
        candidate: Key = (home, task, other, most_pretrained(scored.run))
        if candidate == key and part.kind == "ablation":
            return None
        if candidate != key and candidate in scored.predictions:
            return candidate
    return None


def _paper(name: PaperPart, scored: Scored, fits: Fits, key: Key, metric: str) -> Record | None:
    """The paper's figure as a fraction of 1, and the data that it is of."""
    _, task, model, start = key
    if name == "table_7" and fits.variant:
        percents = dict(zip(("auroc", "aupr"), WITHOUT[task, fits.variant], strict=True))
        return {"data": "MIMIC-III", "value": round(percents[metric] / 100, 6)}
    if name.startswith("figure"):
        return None
    matched = task in scored.manifest.fields.get("cohort.matched", ())
    database = "eicu" if name == "table_11" else "mimic3"
    found = published(task, model, start, database, matched)
    if found is None or metric not in found:
        return None
    return {"data": found["data"], "value": found[metric]}


def epoch_lines(part: Part, scored: Scored) -> list[Record]:
    """Figure 6: a line per metric, epoch and start; ``difference`` is the most pretrained start's
    figure less this one's at the same epoch. The floors' lines, without an epoch, come last."""
    most, found = most_pretrained(scored.run), []
    for metric in part.metrics:
        for (start, epoch), figures in sorted(scored.epochs.items(), key=lambda of: of[0][1]):
            pair = scored.epochs.get((most, epoch)) if start != most else None
            paired = difference(pair[metric], figures[metric]) if pair else None
            found.append(
                {
                    "metric": metric,
                    "epoch": epoch,
                    "model": part.subject,
                    "start": start,
                    "is_floor": False,
                    **_estimate(figures[metric], metric),
                    "difference": paired and paired.estimate().to_json(),
                }
            )
    floors = [line for line in lines_of("figure_6", part, scored) if line["is_floor"]]
    return [*found, *({**line, "epoch": None} for line in floors)]


def places(name: PaperPart, part: Part, lines: Sequence[Record]) -> list[Record]:
    """A contest's subject among the others, by task and metric: its place with the floors, among
    the paper's models, and in the paper; the best line; the subject less the best floor."""
    found = []
    for (task, metric), group in _grouped(lines):
        subject = next((x for x in group if x["model"] == part.subject), None)
        if subject is None:
            continue
        networks = [line for line in group if not line["is_floor"]]
        best = max(group, key=lambda line: float(line["value"]))
        floors = [line for line in group if line["is_floor"]]
        floor = min(floors, key=lambda line: float(line["validation_loss"]), default=None)
        theirs = [line["paper"]["value"] for line in networks if line["paper"]]
        found.append(
            {
                "part": name,
                "task": task,
                "metric": metric,
                "place": _place(subject["value"], [line["value"] for line in group]),
                "of": len(group),
                "place_of_networks": _place(subject["value"], [x["value"] for x in networks]),
                "networks": len(networks),
                "paper_place": _place(subject["paper"]["value"], theirs)
                if subject["paper"]
                else None,
                "paper_of": len(theirs),
                "best": {of: best[of] for of in ("model", "start", "value")},
                "floor": floor and floor["model"],
                "over_floor": floor and floor["difference"],
            }
        )
    return found


def _place(value: float, among: Sequence[float]) -> int:
    return 1 + sum(other > value for other in among)


def added(name: PaperPart, lines: Sequence[Record]) -> Record:
    """What pretraining adds in an ablation: of the comparisons of a model with itself, pretrained
    less, how many it wins, how many beyond chance, and how many the paper's figures win."""
    pairs = [
        line
        for line in lines
        if line["against"]
        and line["against"]["model"] in (line["model"], PARTNER.get(line["model"]))
    ]
    whole = [line for line in lines if not line["variant"]]
    pretrained = {(x["task"], x["metric"], x["model"], x["start"]): x for x in whole}
    theirs = []
    for line in pairs:
        against = line["against"]
        other = pretrained.get((line["task"], line["metric"], against["model"], against["start"]))
        if line["paper"] and other and other["paper"]:
            theirs.append(other["paper"]["value"] > line["paper"]["value"])
    gains = [line["difference"] for line in pairs]
    had = [gain for gain in gains if gain["low"] is not None]
    return {
        "part": name,
        "comparisons": len(pairs),
        "higher": sum(gain["value"] > 0 for gain in gains),
        "above": sum(gain["low"] > 0 for gain in had),
        "below": sum(gain["high"] < 0 for gain in had),
        "mean": float(np.mean([gain["value"] for gain in gains])) if gains else None,
        "paper_comparisons": len(theirs),
        "paper_higher": sum(theirs),
    }


def cohort_counts(scored: Scored) -> list[Record]:
    """Table 8: rows and positives of each task, and of what pretraining reads, ours and theirs."""
    manifest, run = scored.manifest, scored.run
    splits = ("train",) if run.pretrain_on == "train" else SPLITS
    found: list[Record] = [
        {
            "what": table,
            "level": None,
            "rows": sum(manifest.rows_per_file(table, splits, run.pretrain_sources).values()),
            "positives": None,
            "paper": {"data": "MIMIC-III and IV", "rows": rows, "positives": None},
        }
        for table, rows in PRETRAINED_ON.items()
    ]
    matched = manifest.fields.get("cohort.matched", ())
    for task, counts in manifest.tasks.items():
        found.append(
            {
                "what": task,
                "level": LEVELS[task],
                "rows": sum(counts.rows.values()),
                "positives": sum(counts.positives.values()),
                "paper": _counted(task, task in matched),
            }
        )
    return found


def _counted(task: Task, matched: bool) -> Record | None:
    elsewhere = matched or task not in TABLE_8
    sizes = TABLE_8_TRINETX if elsewhere else TABLE_8
    if task not in sizes:
        return None
    rows, positives = sizes[task]
    data = "TriNetX" if elsewhere else "MIMIC-III"
    return {"data": data, "rows": rows, "positives": positives}


def _grouped(lines: Sequence[Record]) -> Iterator[tuple[tuple[Task, str], list[Record]]]:
    """The lines of each task and metric, in their order."""
    for (task, metric), group in itertools.groupby(lines, lambda x: (x["task"], x["metric"])):
        yield (task, metric), list(group)
