"""Trained models written as folders of their own, from a run's grids and pretrainings."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from medhmp.evaluate import predictions
from medhmp.evaluate.predictions import GridKey
from medhmp.layout import (
    BEST,
    CARD,
    CONFIG,
    MANIFEST,
    METRICS,
    REPORT,
    RESULTS,
    TRIALS,
    WEIGHTS,
    grid_of,
)
from medhmp.model.catalog import MODELS
from medhmp.pretrained import card
from medhmp.pretrained.config import FORMAT, Config, Selection
from medhmp.refusal import Refusal
from medhmp.run import digest
from medhmp.shards.manifest import FROZEN, VARIABLES, OpenShards
from medhmp.storage import Entry, Folder, Output, Stamp, opened
from medhmp.train.finetune.estimators import suffix_of
from medhmp.version import __version__

STAGES: Final = ("pretrain_stay", "pretrain_numbers", "pretrain_admission")
"""Sections of a run that pretrain; the record of an output has the fields of its own."""


def results_of(out: Folder, grids: Mapping[GridKey, Output]) -> dict[str, Any]:
    """The run's results, whose figures stand on the cards.

    Refuses a report that is missing, or made before one of the grids.
    """
    report = opened(out / REPORT, "report")
    for key, grid in grids.items():
        if report.inputs.get(grid_of(*key)) != digest([grid.fingerprint, grid.hash]):
            raise Refusal(
                f"{report.folder} does not have the figures of {grid.folder} as it is now; run "
                "jobs.report again with --overwrite"
            )
    results: dict[str, Any] = report.read_json(RESULTS)
    return results


def stamp_of(config: Config, source: Output, said: Any) -> Stamp:
    """The stamp of a model folder: of the output that it is taken from, and of its card."""
    inputs = {
        "source": digest([source.fingerprint, source.hash]),
        "card": digest(said),
        "format": str(FORMAT),
    }
    return Stamp(config.fields, inputs)


def config_of_grid(key: GridKey, grid: Output, shards: OpenShards) -> Config:
    """What the folder of a grid's chosen cell says of it."""
    task, model, start = key
    read, best = predictions.read(key, grid), grid.read_json(BEST)
    fitted, suffix = fitted_models(model, grid), suffix_of(model)
    return replace(
        _config(grid, shards),
        kind="classifier",
        model=model,
        task=task,
        level=shards.level(task),
        start=start,
        weights=[name_of(number, suffix) for number in fitted],
        point={name: best[name] for name in MODELS[model].search if best.get(name) is not None},
        operating=read.operating,
        selection=Selection(
            read.chosen, read.validation_loss, read.base_rate_loss, read.pretrainings
        ),
    )


def config_of_pretraining(output: Output, shards: OpenShards) -> Config:
    """What the folder of a pretraining says of it."""
    stage = next(name for name in STAGES if f"{name}.epochs" in output.fields)
    return replace(_config(output, shards), model=stage, weights=[WEIGHTS])


def _config(output: Output, shards: OpenShards) -> Config:
    """What a grid and a pretraining have alike."""
    fields = {**shards.output.fields, **output.fields}
    if "note_embeddings" in output.inputs:
        fields["notes.max_tokens"] = shards.note_embeddings.fields["notes.max_tokens"]
    inputs = shards.output.inputs
    return Config(
        kind="pretraining",
        model="",
        task=None,
        level=None,
        start=None,
        weights=[],
        point={},
        widths=shards.widths,
        fields={name: value for name, value in fields.items() if not name.startswith("tune.")},
        sources={name: of for name, of in inputs.items() if name not in (FROZEN, VARIABLES)},
        encoders=_encoders(output, shards),
        operating=None,
        selection=None,
        version=__version__,
        commit=output.provenance.get("commit"),
    )


def _encoders(output: Output, shards: OpenShards) -> dict[str, str]:
    """Field of notes -> fingerprint of the encoder whose vectors, or whose weights, were read."""
    found = {name: of for name, of in output.inputs.items() if name.startswith("notes.")}
    if "note_embeddings" in output.inputs:
        found["notes.model"] = shards.note_embeddings.inputs["notes.model"]
    return found


def fitted_models(model: str, grid: Output) -> dict[int, str]:
    """Number of a replicate -> the file of its fitted model; those of the chosen cell alone are
    left."""
    fitted = re.compile(rf"{TRIALS}/.*-seed-(\d+)\.{suffix_of(model)}")
    matched = (fitted.fullmatch(name) for name in grid.files)
    return dict(sorted((int(m[1]), m[0]) for m in matched if m))


def name_of(number: int, suffix: str) -> str:
    """The file of a replicate in a model folder; the first has the name that tools look for."""
    return f"model-{number}.{suffix}" if number else f"model.{suffix}"


def write_grid(
    room: Folder, config: Config, grid: Output, shards: OpenShards, said: card.Said
) -> list[Entry]:
    """Writes the folder of a grid's chosen cell, all but its record."""
    files = zip(config.weights, fitted_models(config.model, grid).values(), strict=True)
    weights = [room.write_bytes(name, grid.read_bytes(source)) for name, source in files]
    return [*weights, *_described(room, config, shards, card.of_classifier(config, shards, said))]


def write_pretraining(
    room: Folder, config: Config, output: Output, shards: OpenShards
) -> list[Entry]:
    """Writes the folder of a pretraining, all but its record."""
    metrics = output.read_bytes(METRICS).splitlines()
    weights = room.write_bytes(WEIGHTS, output.read_bytes(WEIGHTS))
    return [
        weights,
        *_described(room, config, shards, card.of_pretraining(config, shards, metrics)),
    ]


def _described(room: Folder, config: Config, shards: OpenShards, text: str) -> list[Entry]:
    manifest = replace(shards.manifest, tables={})
    return [
        room.write_json(CONFIG, config.to_json()),
        room.write_json(MANIFEST, manifest.to_json()),
        room.write_bytes(CARD, text.encode()),
    ]
