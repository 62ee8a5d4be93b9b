"""The journal of a build: its intermediate files, and records of the work that is done.

A run that was killed goes on from there. A record follows the files of its work, and is written
whole or not at all. So recorded work is done, and the rest is done again with the same result; so
is work whose record is torn or altered.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from medhmp.shards.build.pool import Pool
from medhmp.storage import Folder

FOLDER: Final = ".work"
"""Its name among the shards."""
_OWNER: Final = "build.json"
_RECORDS: Final = "records"
_RESULT: Final = "result"


@dataclass(frozen=True)
class Journal:
    """The folder of the intermediate files; the results of the work lie beside them as JSON."""

    folder: Folder
    tell: Callable[[str], None] = lambda line: None  # receives what is said of torn records

    @staticmethod
    def resume(
        shards: Folder, build: str, tell: Callable[[str], None] = lambda line: None
    ) -> "Journal | None":
        """Opens what a killed run has left of this ``build`` (a hash); None if nothing is left."""
        folder = shards / FOLDER
        own = folder.exists(_OWNER) and folder.read_bytes(_OWNER) == _owner(build)
        return Journal(folder, tell) if own else None

    @staticmethod
    def begin(shards: Folder, build: str) -> "Journal":
        """Begins a ``build`` (a hash) with an empty folder; removes what another has left."""
        folder = shards / FOLDER
        folder.remove()
        folder.write_bytes(_OWNER, _owner(build))
        return Journal(folder)

    def each(
        self,
        step: str,
        pool: Pool,
        function: Callable[..., Any],
        items: Sequence[Sequence[Any]],
        what: str = "",
        rows: Sequence[int] = (),
    ) -> list[Any]:
        """Computes ``function(*item)`` of every item that has no record yet, in the pool.

        Args:
            step: the name of the records.
            pool: runs the function.
            function: returns values fit for JSON.
            items: its arguments.
            what: as in ``Pool.each``.
            rows: as in ``Pool.each``.

        Returns:
            The results of all items, in their order.
        """
        records = self.folder / _RECORDS / step
        found = {name: self._read(records, name) for name in records.names()}
        done = {name: record[_RESULT] for name, record in found.items() if record}
        names = [f"{number:05}.json" for number in range(len(items))]
        left = [number for number, name in enumerate(names) if name not in done]
        some_rows = [rows[number] for number in left] if rows else ()
        made = pool.each(function, [items[number] for number in left], what, some_rows)
        for number, result in zip(left, made, strict=True):
            records.write_record(names[number], {_RESULT: result})
            done[names[number]] = result
        return [done[name] for name in names]

    def once(self, step: str, make: Callable[[], Any]) -> Any:
        """Returns the result of ``make()``, fit for JSON, which is called if it has no record."""
        records, name = self.folder / _RECORDS, f"{step}.json"
        record = self._read(records, name) if records.exists(name) else None
        if not record:
            records.write_record(name, {_RESULT: make()})
            record = self._read(records, name)
            assert record
        return record[_RESULT]

    def _read(self, records: Folder, name: str) -> dict[str, Any] | None:
        record = records.read_record(name)
        if record is None:
            self.tell(f"  {records / name} is torn; its work is done again")
        return record


def _owner(build: str) -> bytes:
    return json.dumps({"build": build}).encode()
