"""The files of a folder that hold its raw tables.

A table X is one file, X.csv, X.csv.gz or X.parquet in either case; or several, read in the order of
their numbers: X-000000.csv.gz, X_1.csv, X.part-3.parquet, X-00000-of-00002.parquet; or all such
files in a folder X, X.csv or X.parquet, in the order of their names.
"""

import itertools
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from medhmp.refusal import Refusal
from medhmp.storage import Folder

_KIND: Final = r"(?P<kind>\.csv|\.csv\.gz|\.parquet)"
_NUMBER: Final = r"[-_.]?(?:part[-_.]?)?(?P<number>\d+)(?:-of-(?P<of>\d+))?"


@dataclass(frozen=True)
class _Found:
    """A file that holds a table or a part of it."""

    name: str  # below the folder
    form: str  # files of one table are of one form
    number: int = 0  # of the part
    of: int | None = None  # number of parts, where the name tells it


def table_of(name: str) -> str:
    """The table that a file holds: ICUSTAYS for ``"icu/icustays"``."""
    return posixpath.basename(name).upper()


def files_of(folder: Folder, tables: Iterable[str], first: str) -> dict[str, tuple[str, ...]]:
    """TABLE -> its files, below ``folder``, in order, for each of ``tables`` that is there.

    ``tables`` may be names such as ``"icu/icustays"``: then they are looked for in ``icu``.
    Refuses a table that is there in two ways, and one of which a numbered part is missing; a folder
    without any file of a table's format: ``first`` is the table that is then suggested.
    """
    found, is_of_tables = {}, False
    by_place = itertools.groupby(sorted(set(tables), key=posixpath.dirname), posixpath.dirname)
    for place, names in by_place:
        listed = _listed(folder, place, first)
        is_of_tables |= any(re.search(_KIND + "$", base, re.IGNORECASE) for base in listed)
        for name in sorted(names):
            if own := [f for e in listed.items() for f in _found(folder, place, e, table_of(name))]:
                found[table_of(name)] = _whole(folder, table_of(name), own)
    if not (found or is_of_tables):
        raise Refusal(
            f"there is no CSV table in '{folder}', nor one in Parquet; "
            f"give the folder that holds {first}.csv.gz or {first}.parquet"
        )
    return found


def _found(folder: Folder, place: str, entry: tuple[str, bool], table: str) -> Iterator[_Found]:
    """The files of ``table`` that an entry of a listing is or holds."""
    base, is_folder = entry
    name = posixpath.join(place, base)
    if is_folder:
        if re.fullmatch(rf"{re.escape(table)}(\.csv|\.parquet)?", base, re.IGNORECASE):
            for inner in (folder / name).names():
                kind = re.search(_KIND + "$", inner, re.IGNORECASE)
                if kind and "/" not in inner and inner[0] not in "._":
                    form = f"{name}/{kind['kind'].lower().removesuffix('.gz')}"
                    yield _Found(posixpath.join(name, inner), form)
        return
    match = re.fullmatch(rf"{re.escape(table)}(?:{_NUMBER})?{_KIND}", base, re.IGNORECASE)
    if match and match["number"] is None:
        yield _Found(name, name)
    elif match:
        form = match["kind"].lower().removesuffix(".gz")
        yield _Found(name, f"parts{form}", int(match["number"]), int(match["of"] or 0) or None)


def _whole(folder: Folder, table: str, files: list[_Found]) -> tuple[str, ...]:
    """The names of a table's files in order. Refuses two tables of one name, and missing parts."""
    files = sorted(files, key=lambda file: (file.number, file.name))
    for one, other in itertools.pairwise(files):
        is_numbered = one.form.startswith("parts")
        if one.form != other.form or (is_numbered and one.number == other.number):
            raise Refusal(
                f"'{folder}' has table {table} twice, {one.name} and {other.name}; "
                "keep the one that is to be read"
            )
        if is_numbered and (other.number != one.number + 1 or one.of != other.of):
            raise Refusal(
                f"'{folder}' has no part of table {table} between {one.name} and {other.name}; "
                "put all of its parts there"
            )
    if files[0].of is not None and files[0].of != len(files):
        raise Refusal(
            f"'{folder}' has {len(files):,} of the {files[0].of:,} parts of table {table}; "
            "put all of them there"
        )
    return tuple(file.name for file in files)


def _listed(folder: Folder, place: str, first: str) -> dict[str, bool]:
    """The entries of ``place``, below ``folder``. Refusals suggest ``first``."""
    try:
        return folder.entries(place)
    except OSError as error:
        raise Refusal(
            f"'{folder}' cannot be listed ({type(error).__name__}); "
            f"give the folder that holds {first}.csv.gz, and check access to it"
        ) from None
