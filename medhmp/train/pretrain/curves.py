"""The curves of a training for TensorBoard: an event file in ``tensorboard/``, a point per epoch.

On disk they grow while the training goes on. A bucket has no files that grow: there they appear
with the finished output, as everything else of it does.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medhmp.storage import Entry, Folder

FOLDER: Final = "tensorboard"
NO_CURVE: Final = ("stage", "epoch", "ended")
"""Fields of a row of ``metrics.jsonl`` that are no curve."""


class Curves:
    """Writes points as they come where ``folder`` is on disk, nothing where it is in a bucket."""

    def __init__(self, folder: Folder, rows: Sequence[Mapping[str, Any]]) -> None:
        """``rows``: the epochs before, when a training goes on; curves of an earlier try go."""
        self._writer: Any = None
        if folder.is_local:
            place = folder / FOLDER
            place.remove()
            self._writer = _writer(place.resolve()[1], rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """The point of one epoch, there to be seen when this returns."""
        if self._writer is not None:
            _add(self._writer, row)
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def write_curves(folder: Folder, rows: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Writes the curves of a finished training, whatever was there; the files, for its record."""
    (folder / FOLDER).remove()
    with tempfile.TemporaryDirectory() as place:
        _writer(place, rows).close()
        return [
            folder.write_bytes(f"{FOLDER}/{name}", _read(place, name)) for name in os.listdir(place)
        ]


def _writer(place: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and only rank 0 needs it

    writer: Any = SummaryWriter(place)
    for row in rows:
        _add(writer, row)
    writer.flush()
    return writer


def _add(writer: Any, row: Mapping[str, Any]) -> None:
    for name in (name for name in row if name not in NO_CURVE):
        writer.add_scalar(name, row[name], row["epoch"], row["ended"])


def _read(place: str, name: str) -> bytes:
    with open(os.path.join(place, name), "rb") as file:
        return file.read()
