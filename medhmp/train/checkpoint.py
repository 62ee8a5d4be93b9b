"""Checkpoints: folders in ``checkpoints/``, each whole by its own ``complete.json`` or not there.

A checkpoint holds what a continued run needs to end as the undisturbed one would: weights
(``model.safetensors``), optimizer state (``state.pt``, read with ``weights_only=True``),
the metrics so far and the run. No pickle is ever read.
"""

import io
import json
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from medhmp.refusal import Refusal
from medhmp.run import Run
from medhmp.storage import COMPLETE, Entry, Folder, Output, Stamp, opened, publish

Metrics = list[dict[str, Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A state at the end of ``epoch`` (from 0)."""

    epoch: int
    weights: dict[str, Tensor]
    state: dict[str, Any]  # "optimizer"
    metrics: Metrics


def save(folder: Folder, checkpoint: Checkpoint, run: Run, stamp: Stamp, keep: int) -> None:
    """Writes ``checkpoints/epoch-N`` whole, then removes all but the newest ``keep``."""
    place = folder / "checkpoints" / f"epoch-{checkpoint.epoch:05d}"
    buffer = io.BytesIO()
    torch.save(checkpoint.state, buffer)
    entries = [
        *write_model(place, checkpoint.weights, run, checkpoint.metrics),
        place.write_bytes("state.pt", buffer.getvalue()),
    ]
    publish(place, stamp, entries)
    for epoch in _whole_epochs(folder)[:-keep]:
        (folder / "checkpoints" / f"epoch-{epoch:05d}").remove()


def write_model(
    folder: Folder, weights: dict[str, Tensor], run: Run, metrics: Metrics
) -> list[Entry]:
    """Writes what explains a trained model: its weights, its run, its metrics."""
    lines = "".join(json.dumps(row) + "\n" for row in metrics)
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    return [
        folder.write_bytes("model.safetensors", save_tensors(tensors)),
        folder.write_bytes("run.json", run.to_json().encode()),
        folder.write_bytes("metrics.jsonl", lines.encode()),
    ]


def newest(folder: Folder, stamp: Stamp, overwrite: bool = False) -> Checkpoint | None:
    """The newest checkpoint that is whole and undamaged, or None. One of another run is refused,
    or removed under ``overwrite``."""
    for epoch in reversed(_whole_epochs(folder)):
        place = folder / "checkpoints" / f"epoch-{epoch:05d}"
        output = Output.of(place)
        if output is None:  # its record is torn
            continue
        if output.hash != stamp.hash:
            if not overwrite:
                raise Refusal(
                    f"{place} is a checkpoint of another run; pass --overwrite to start afresh, "
                    "or another --out"
                )
            place.remove()
            continue
        if _undamaged(output):
            return _load(place, epoch)
    return None


def _load(place: Folder, epoch: int) -> Checkpoint:
    state = torch.load(io.BytesIO(place.read_bytes("state.pt")), weights_only=True)
    lines = place.read_bytes("metrics.jsonl").decode().splitlines()
    weights = load_tensors(place.read_bytes("model.safetensors"))  # its hash was checked
    return Checkpoint(epoch, weights, state, [json.loads(line) for line in lines])


def read_weights(folder: Folder, made_by: str) -> dict[str, Tensor]:
    """The tensors of ``model.safetensors``. Refuses an output not whole, or a damaged file."""
    data = opened(folder, made_by).read_bytes("model.safetensors")
    weights: dict[str, Tensor] = load_tensors(data)
    return weights


def pretrained(folder: Folder, made_by: str, shards: str, pretrain_on: str) -> str:
    """SHA-256 of the weights of a whole pretraining output; its times and paths do not matter.

    Refuses one of other shards than those with the fingerprint ``shards``, or with another
    ``pretrain_on``: it may have seen this run's test patients.
    """
    output = opened(folder, made_by)
    if output.inputs["shards"] != shards:
        raise Refusal(
            f"{folder} was pretrained on other shards than this run's; "
            f"run jobs.{made_by} again with --overwrite"
        )
    then = output.fields["pretrain_on"]
    if then != pretrain_on:
        raise Refusal(
            f"{folder} was made with pretrain_on {then!r} and this run has {pretrain_on!r}; "
            f"give --pretrain-on {then}, or run jobs.{made_by} again with --overwrite"
        )
    return output.files["model.safetensors"].sha256


def _whole_epochs(folder: Folder) -> list[int]:
    names = (folder / "checkpoints").names()
    whole = [n.split("/")[0] for n in names if n.endswith(f"/{COMPLETE}")]
    return sorted(int(name.removeprefix("epoch-")) for name in whole)


def _undamaged(output: Output) -> bool:
    """Whether every file, of any size, is as it was written."""
    place = output.folder
    return all(
        place.size(name) == entry.size and place.entry(name) == entry
        for name, entry in output.files.items()
    )
