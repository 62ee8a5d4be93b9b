"""What predicting and embedding have alike: a journal, a model that a worker keeps, the end."""

import functools
from collections.abc import Sequence

import torch

from medhmp.pretrained.model import TrainedModel, from_pretrained
from medhmp.progress import Progress
from medhmp.run import Run
from medhmp.shards.build.journal import Journal
from medhmp.storage import Entry, Folder, Stamp, publish
from medhmp.train.device import reserved_device


def journal_of(room: Folder, stamp: Stamp, progress: Progress) -> Journal:
    """The journal of a killed run of the same output; else a new one in an empty folder."""
    if journal := Journal.resume(room, stamp.hash, progress.say):
        progress.say("  going on where an earlier run was stopped")
        return journal
    room.remove()
    return Journal.begin(room, stamp.hash)


def loaded(uri: str, run: Run) -> TrainedModel:
    """The model on the device that Ray reserved; a worker keeps it from one item to the next."""
    return _loaded(uri, run, reserved_device())


@functools.lru_cache(maxsize=1)
def _loaded(uri: str, run: Run, device: torch.device) -> TrainedModel:
    return from_pretrained(uri, str(device), run)


def finished(room: Folder, stamp: Stamp, entries: Sequence[Entry], journal: Journal) -> None:
    """Publishes the output, and drops its journal."""
    publish(room, stamp, list(entries))
    journal.folder.remove()
