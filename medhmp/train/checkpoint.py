"""Checkpoints: folders in ``checkpoints/``, each whole by its own ``complete.json`` or none.

A run continued from a checkpoint ends as the undisturbed run would. The checkpoint holds the
weights (``model.safetensors``); the state of the optimizer, the meters and the guard (``state.pt``,
read with ``weights_only=True``); the metrics so far and the run. Its name is its position. It holds
no state of random generators: a step is seeded by the run's seed and the position
(``objective.seed_step``). No pickle is ever read.
"""

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from medhmp.layout import METRICS, RUN, WEIGHTS
from medhmp.refusal import Refusal
from medhmp.storage import (
    COMPLETE,
    Entry,
    Folder,
    Output,
    Stamp,
    opened,
    publish,
)

Metrics = list[dict[str, Any]]

PATIENTS: Final = ("pretrain_on", "pretrain_sources")
"""Fields of a run that say whose data pretraining reads."""
STATE: Final = "state.pt"
FILES: Final = {WEIGHTS, RUN, METRICS, STATE}
"""Files of a checkpoint beside its record."""


@dataclass(frozen=True, order=True)
class Position:
    """A position of training: epochs 0 to ``epoch`` - 1 are done, and ``step`` steps of the next.

    The end of an epoch is the beginning of the next.
    """

    epoch: int
    step: int = 0

    def __str__(self) -> str:
        return f"epoch-{self.epoch:05d}-step-{self.step:06d}"

    @staticmethod
    def of(name: str) -> "Position | None":
        """The position in a folder's name; None for a name of another kind."""
        found = re.fullmatch(r"epoch-(\d+)-step-(\d+)", name)
        return Position(int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True)
class Checkpoint:
    """The state of training at a position."""

    position: Position
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    metrics: Metrics  # of the epochs that are done
    meters: list[dict[str, Any]]  # of every rank; empty at an epoch's beginning
    guard: dict[str, Any]

    @property
    def is_finite(self) -> bool:
        """True if weights and optimizer state are finite throughout."""
        moments = [value for state in self.optimizer["state"].values() for value in state.values()]
        tensors = [*self.weights.values(), *filter(torch.is_tensor, moments)]
        return all(bool(tensor.isfinite().all()) for tensor in tensors)


def save(folder: Folder, checkpoint: Checkpoint, run_json: str, stamp: Stamp, keep: int) -> None:
    """Writes a checkpoint whole, then removes all but the newest ``keep``.

    Its tensors are on the CPU; ``run_json`` is the text of ``run.json``.
    """
    place = place_of(folder, checkpoint.position)
    state = {name: getattr(checkpoint, name) for name in ("optimizer", "meters", "guard")}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    entries = [
        *write_model(place, dump_weights(checkpoint.weights), run_json, checkpoint.metrics),
        place.write_bytes(STATE, buffer.getvalue()),
    ]
    publish(place, stamp, entries)
    for position in positions(folder, whole=True)[:-keep]:
        place_of(folder, position).remove()


def write_model(
    folder: Folder, model: bytes, run_json: str, metrics: Metrics, name: str = WEIGHTS
) -> list[Entry]:
    """Writes a trained model in a file called ``name``, with its run and its metrics."""
    lines = "".join(json.dumps(row) + "\n" for row in metrics)
    return [
        folder.write_bytes(name, model),
        folder.write_bytes(RUN, run_json.encode()),
        folder.write_bytes(METRICS, lines.encode()),
    ]


def dump_weights(weights: Mapping[str, Tensor]) -> bytes:
    """Tensors as a safetensors file."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    data: bytes = save_tensors(tensors)
    return data


def newest(
    folder: Folder,
    stamp: Stamp,
    overwrite: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Checkpoint | None:
    """The newest checkpoint that is whole and undamaged, or None.

    ``tell`` receives the reason for each newer checkpoint that was skipped. A checkpoint of another
    run is refused, or removed under ``overwrite``.
    """
    for position in reversed(positions(folder)):
        place = place_of(folder, position)
        output = Output.of(place)
        if output and output.hash != stamp.hash and _is_consistent(output):
            if not overwrite:
                raise Refusal(
                    f"{place} is a checkpoint of another run; pass --overwrite to start afresh, "
                    "or another --out"
                )
            place.remove()
        elif fault := _fault(output, stamp):
            tell(f"{place} is not used: {fault}; going on from the one before, if there is one")
        else:
            return load(folder, position)
    return None


def _is_consistent(output: Output) -> bool:
    """True if a record's hash is that of its content: no bit of either has changed."""
    return output.hash == Stamp(output.fields, output.inputs).hash


def _fault(output: Output | None, stamp: Stamp) -> str | None:
    """The reason why a checkpoint cannot be used, or None. Reads every file, whatever its size."""
    if output is None:
        return "it was not finished, or its complete.json is damaged"
    if output.hash != stamp.hash or set(output.files) != FILES or not output.is_sealed:
        return "its complete.json is damaged"
    for name, entry in output.files.items():
        if output.folder.size(name) != entry.size or output.folder.entry(name) != entry:
            return f"its {name} is missing or not what was written"
    return None


def load(folder: Folder, position: Position) -> Checkpoint:
    """Reads a checkpoint that ``newest`` has found undamaged, on this rank or another.

    Refuses one that has changed since.
    """
    place = Output.of(place_of(folder, position))
    if place is None or not place.is_sealed:
        raise Refusal(
            f"{place_of(folder, position)} is damaged since this run began; run the same command "
            "again, which goes on from the one before"
        )
    state = torch.load(io.BytesIO(place.read_bytes(STATE)), weights_only=True)
    lines = place.read_bytes(METRICS).decode().splitlines()
    weights = load_tensors(place.read_bytes(WEIGHTS))
    return Checkpoint(position, weights, metrics=[json.loads(line) for line in lines], **state)


def remove_others(folder: Folder, begun: Position | None) -> None:
    """Removes later and unfinished checkpoints: a run continued from ``begun`` writes them anew.

    No process may be writing meanwhile.
    """
    whole = positions(folder, whole=True)
    for position in positions(folder):
        if begun is None or position > begun or position not in whole:
            place_of(folder, position).remove()


def positions(folder: Folder, whole: bool = False) -> list[Position]:
    """Positions of the checkpoints, in order; ``whole``: only of those with a record."""
    names = (folder / "checkpoints").names()
    if whole:
        names = [name for name in names if name.endswith(f"/{COMPLETE}")]
    found = {Position.of(name.partition("/")[0]) for name in names}
    return sorted(position for position in found if position)


def place_of(folder: Folder, position: Position) -> Folder:
    return folder / "checkpoints" / str(position)


def read_weights(folder: Folder, made_by: str) -> dict[str, Tensor]:
    """Reads ``model.safetensors``. Refuses an output not whole, or a damaged file."""
    data = opened(folder, made_by).read_bytes(WEIGHTS)
    weights: dict[str, Tensor] = load_tensors(data)
    return weights


def pretrained(folder: Folder, made_by: str, shards: str, patients: Mapping[str, Any]) -> str:
    """SHA-256 of the weights of a whole pretraining output.

    Refuses one of other shards than those with the fingerprint ``shards``, and one of other
    ``patients`` (the run's fields in ``PATIENTS``), which may be this run's test patients.
    """
    output = opened(folder, made_by)
    if output.inputs["shards"] != shards:
        raise Refusal(
            f"{folder} was pretrained on other shards than this run's; "
            f"run jobs.{made_by} again with --overwrite"
        )
    output.check({**output.fields, **patients}, made_by)
    return output.files[WEIGHTS].sha256
