"""Curves of a training for TensorBoard: an event file in ``tensorboard/``, a point per epoch.

On disk the file grows during the training. Objects in a bucket cannot grow: there it appears with
the finished output.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medhmp.storage import Entry, Folder

FOLDER: Final = "tensorboard"
NO_CURVE: Final = ("stage", "epoch", "ended")
"""Fields of a row of ``metrics.jsonl`` that are not drawn as a curve."""


class Curves:
    """Writes points as they come if ``folder`` is on disk; writes nothing to a bucket."""

    def __init__(self, folder: Folder, rows: Sequence[Mapping[str, Any]]) -> None:
        """Begins with ``rows``, the epochs before a restart; removes curves of an earlier try."""
        self._writer: Any = None
        if folder.is_local:
            place = folder / FOLDER
            place.remove()
            self._writer = _writer(place.path(), rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Writes the point of one epoch; it can be read when this returns."""
        if self._writer is not None:
            _add(self._writer, row)
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def write_curves(folder: Folder, rows: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Replaces the curves by those of a finished training. Returns the files, for its record."""
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
