"""The intermediate folder of a build, which remembers finished steps: a killed run goes on there.

A step's files are whole before its record is written, and a record is written whole or not at all.
So what is recorded is done, and what is not is done again, with the same result.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from medhmp.shards.build.pool import Tasks
from medhmp.storage import Folder

NAME: Final = ".work"
_OWNER: Final = "build.json"
_RECORDS: Final = "records"


@dataclass(frozen=True)
class Work:
    """``folder`` holds the files; what a step returned lies beside them as JSON."""

    folder: Folder

    @staticmethod
    def resume(shards: Folder, build: str) -> "Work | None":
        """What a run that was killed has left of this very ``build`` (a hash), if it left any."""
        folder = shards / NAME
        own = folder.exists(_OWNER) and folder.read_bytes(_OWNER) == _owner(build)
        return Work(folder) if own else None

    @staticmethod
    def begin(shards: Folder, build: str) -> "Work":
        """An empty folder for a build; what an earlier one has left goes."""
        folder = shards / NAME
        folder.remove()
        folder.write_bytes(_OWNER, _owner(build))
        return Work(folder)

    def each(
        self,
        step: str,
        tasks: Tasks,
        function: Callable[..., Any],
        items: Sequence[Sequence[Any]],
        what: str = "",
        rows: Sequence[int] = (),
    ) -> list[Any]:
        """``function(*item)`` of every item, which must be fit for JSON, in the order of the items.

        ``step`` names the records; ``what`` and ``rows`` are as in ``Tasks.each``.
        """
        records = self.folder / _RECORDS / step
        done = {name: records.read_json(name) for name in records.names()}
        names = [f"{number:05}.json" for number in range(len(items))]
        left = [number for number, name in enumerate(names) if name not in done]
        some_rows = [rows[number] for number in left] if rows else ()
        found = tasks.each(function, [items[number] for number in left], what, some_rows)
        for number, result in zip(left, found, strict=True):
            records.write_json(names[number], result)
            done[names[number]] = result
        return [done[name] for name in names]

    def once(self, step: str, make: Callable[[], Any]) -> Any:
        """What ``make()`` returned, which must be fit for JSON."""
        records, name = self.folder / _RECORDS, f"{step}.json"
        if not records.exists(name):
            records.write_json(name, make())
        return records.read_json(name)


def _owner(build: str) -> bytes:
    return json.dumps({"build": build}).encode()
