"""Ranges of plausible readings, and names and units that all sources share.

A number outside its range is converted from another unit or left out; both are counted.
``variables.yaml`` has the ranges, each with where it comes from; a run may name a file of its own
in the same form. Ranges are wider than anything compatible with life: they catch what was mistyped
or is in another unit, not what is abnormal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from math import inf
from posixpath import basename, dirname
from typing import Any, Final, Literal, NoReturn

import polars as pl
import yaml

from medhmp.refusal import Refusal
from medhmp.storage import Folder

SOURCES: Final = ("mimic", "eicu", "clif", "meds", "physionet2012")
"""Sources whose variables an entry can name; ``mimic`` is MIMIC-III and IV, which share items."""

ENTRY: Final = ("unit", "range", "reference", "names")
OPTIONAL: Final = ("other_units", "shared")
OTHER: Final = ("unit", "times", "plus", "between")
SHARED: Final = ("as", "times", "plus")


@dataclass(frozen=True)
class Unit:
    """Another unit that a reading may turn out to be in: reading * times + plus is in ours."""

    name: str
    times: float
    plus: float
    low: float  # readings in this unit are from here
    high: float  # to here


@dataclass(frozen=True)
class Shared:
    """The name of an entry's readings under ``features.names`` "shared": reading * times + plus is
    in the unit of the entry of that name."""

    name: str
    times: float = 1.0
    plus: float = 0.0


@dataclass(frozen=True)
class Variable:
    """One entry: a quantity, the range of its plausible values, and its names in the sources."""

    name: str
    unit: str
    low: float  # the ends are plausible
    high: float
    others: tuple[Unit, ...]  # tried in this order
    names: Mapping[str, tuple[str, ...]]  # source -> variables of its events
    shared: Shared


@dataclass(frozen=True)
class Ranges:
    """The entries that concern one source."""

    variables: tuple[Variable, ...]
    limits: pl.DataFrame  # variable, entry (its place in ``variables``), low, high
    shared: pl.DataFrame | None  # variable, name, times, plus; None: names stay the source's own

    @staticmethod
    def of(
        variables: tuple[Variable, ...], source: str, names: Literal["own", "shared"] = "own"
    ) -> "Ranges":
        """The entries that name a variable of one of ``SOURCES``.

        ``names`` is ``features.names``.
        """
        rows = [
            (name, place, of.low, of.high)
            for place, of in enumerate(variables)
            for name in of.names.get(source, ())
        ]
        kinds = {"variable": pl.String, "entry": pl.Int64, "low": pl.Float64, "high": pl.Float64}
        limits = pl.DataFrame(rows, schema=kinds, orient="row")
        return Ranges(variables, limits, _shared(variables, source) if names == "shared" else None)

    def plausible(self, events: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
        """EVENTS in their order, with implausible numbers converted or left out, under the names
        asked for.

        ``counts`` gets the readings of each variable that were. Texts stay. What holds for a whole
        stay keeps its own name: it is no reading of an hour, as that of another source may be.
        """
        events = self._in_range(events, counts)
        if self.shared is None:
            return events
        known = events.select("variable").join(
            self.shared, on="variable", how="left", maintain_order="left"
        )
        columns = events.with_columns(known.select("name", "times", "plus"))
        is_shared = pl.col("name").is_not_null() & pl.col("hours").is_not_null()
        number = pl.col("number") * pl.col("times") + pl.col("plus")
        return columns.with_columns(
            variable=pl.when(is_shared).then("name").otherwise("variable"),
            number=pl.when(is_shared).then(number).otherwise("number"),
            # two variables of a source may now be one, so no row may go for another's sake
            repeats=pl.when(is_shared & (pl.col("repeats") != "sum"))
            .then(pl.lit("apart"))
            .otherwise("repeats"),
        ).select(events.columns)

    def _in_range(self, events: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
        if self.limits.is_empty():
            return events
        known = events.select("variable", "number").join(
            self.limits, on="variable", how="left", maintain_order="left"
        )
        number = pl.col("number")
        outside = ((number < pl.col("low")) | (number > pl.col("high"))).fill_null(False)
        odd = known.select(outside.alias("odd")).to_series()
        if not odd.any():
            return events
        mended = self._converted(known.filter(odd), counts)
        places = odd.arg_true()
        numbers = events["number"].scatter(places, mended)
        gone = pl.repeat(False, events.height, eager=True).scatter(places, mended.is_null())
        return events.with_columns(numbers).filter(~gone)

    def _converted(self, odd: pl.DataFrame, counts: dict[str, int]) -> pl.Series:
        """The numbers of implausible rows in the unit of their entry, or null for those to go."""
        mended: list[float | None] = []
        for place, number in odd.select("entry", "number").iter_rows():
            of = self.variables[place]
            unit, converted = _in_our_unit(of, number)
            said = f"in {unit}, converted to {of.unit}" if unit else "implausible, left out"
            reason = f"{of.name}, {said}"
            counts[reason] = counts.get(reason, 0) + 1
            mended.append(converted)
        return pl.Series(mended, dtype=pl.Float64)


def _in_our_unit(of: Variable, number: float) -> tuple[str | None, float | None]:
    for unit in of.others:
        converted = number * unit.times + unit.plus
        if of.low <= converted <= of.high and unit.low <= number <= unit.high:
            return unit.name, converted
    return None, None


def _shared(variables: tuple[Variable, ...], source: str) -> pl.DataFrame:
    """Each variable of a source with its shared name, and how its numbers become of that unit."""
    rows = [
        (name, of.shared.name, of.shared.times, of.shared.plus)
        for of in variables
        for name in of.names.get(source, ())
    ]
    kinds = {"variable": pl.String, "name": pl.String, "times": pl.Float64, "plus": pl.Float64}
    return pl.DataFrame(rows, schema=kinds, orient="row")


# The file


def fingerprint(where: str) -> str | None:
    """SHA-256 of the file of ``tables.variables``; none if no ranges are asked for.

    Refuses as ``read_variables``.
    """
    return sha256(_text(where).encode()).hexdigest() if read_variables(where) else None


def read_variables(where: str) -> tuple[Variable, ...]:
    """The entries of ``tables.variables``: ours (default), none, or those of a file.

    Refuses a file that cannot be read, is not in the form of ``variables.yaml``, or names a
    variable of a source twice.
    """
    return () if where == "none" else _variables(where, _text(where))


def _text(where: str) -> str:
    if where == "default":
        return (resources.files("medhmp.tables") / "variables.yaml").read_text("utf-8")
    try:
        with Folder(dirname(where) or ".").open(basename(where)) as file:
            return str(file.read().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(
            f"tables.variables '{where}' cannot be read ({type(error).__name__}); give default, "
            "none, or a file in the form of medhmp/tables/variables.yaml"
        ) from None


@cache
def _variables(where: str, text: str) -> tuple[Variable, ...]:
    try:
        content = yaml.load(text, _Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "a mistake"
        raise Refusal(
            f"tables.variables '{where}' is no good YAML{line} ({problem}); mend that line"
        ) from None
    except RecursionError:
        raise Refusal(
            f"tables.variables '{where}' is nested too deeply; write it in the form of "
            "medhmp/tables/variables.yaml"
        ) from None
    entries = content.get("variables") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise Refusal(
            f"tables.variables '{where}' has no mapping 'variables'; write it in the form of "
            "medhmp/tables/variables.yaml, or give none"
        )
    parser = _Parser(where)
    found = tuple(parser.variable(str(name), entry) for name, entry in entries.items())
    parser.refuse_names_given_twice(found)
    parser.refuse_unknown_shared(found)
    return found


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Refuses a key that a mapping has twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key.value, str):
                raise yaml.constructor.ConstructorError(
                    problem="a key is no word", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"'{key.value}' is there twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


@dataclass(frozen=True)
class _Parser:
    """Checks the entries of one file."""

    where: str

    def variable(self, name: str, entry: Any) -> Variable:
        if not isinstance(entry, dict):
            self._refuse(name, f"is no mapping; write {', '.join(ENTRY)} below it")
        for key in ENTRY:
            if key not in entry:
                self._refuse(name, f"has no '{key}'; add it")
        for key in entry:
            if key not in ENTRY + OPTIONAL:
                self._refuse(name, f"has '{key}'; an entry has {', '.join(ENTRY + OPTIONAL)}")
        if not isinstance(entry["reference"], str) or not entry["reference"].strip():
            self._refuse(name, "has an empty 'reference'; say where its range comes from")
        low, high = self._range(name, entry["range"])
        return Variable(
            name=name,
            unit=str(entry["unit"]),
            low=low,
            high=high,
            others=tuple(self._unit(name, unit) for unit in self._list(name, entry)),
            names=self._names(name, entry["names"]),
            shared=self._shared(name, entry.get("shared")),
        )

    def _shared(self, name: str, given: Any) -> Shared:
        if given is None:
            return Shared(name)
        known = isinstance(given, dict) and "as" in given and set(given) <= set(SHARED)
        if not known or not all(_is_number(given.get(key, 1)) for key in ("times", "plus")):
            self._refuse(
                name,
                "has a 'shared' that is not {as: ENTRY, times: a, plus: b}, with its x being "
                "a x + b of that entry; write it so",
            )
        return Shared(str(given["as"]), float(given.get("times", 1)), float(given.get("plus", 0)))

    def _range(self, name: str, given: Any, key: str = "range") -> tuple[float, float]:
        ends = given if isinstance(given, list) else []
        if len(ends) != 2 or not all(_is_number(end) for end in ends) or not ends[0] < ends[1]:
            self._refuse(name, f"has no {key} of two ascending numbers; write {key}: [low, high]")
        return float(ends[0]), float(ends[1])

    def _list(self, name: str, entry: Mapping[str, Any]) -> list[Any]:
        units = entry.get("other_units") or []
        if not isinstance(units, list):
            self._refuse(name, "has other_units that are no list; write a list of units")
        return list(units)

    def _unit(self, name: str, given: Any) -> Unit:
        numbers = ("times", "plus")
        known = isinstance(given, dict) and "unit" in given and set(given) <= set(OTHER)
        if not known or not all(_is_number(given.get(key, 1)) for key in numbers):
            self._refuse(
                name,
                "has one of other_units that is not {unit: U, times: a, plus: b}, with x of U "
                "being a x + b; write it so",
            )
        times, plus = (float(given.get(key, n)) for key, n in zip(numbers, (1, 0), strict=True))
        between = (-inf, inf)
        if "between" in given:
            between = self._range(name, given["between"], "between")
        return Unit(str(given["unit"]), times, plus, *between)

    def _names(self, name: str, given: Any) -> dict[str, tuple[str, ...]]:
        if not isinstance(given, dict):
            self._refuse(name, f"has names of no source; write {', '.join(SOURCES)} below 'names'")
        for source, of in given.items():
            if source not in SOURCES:
                self._refuse(name, f"names a source '{source}'; one of {', '.join(SOURCES)} it is")
            if not isinstance(of, list) or not of:
                self._refuse(name, f"has no list of variables of {source}; write [NAME, ...]")
        return {source: tuple(str(n) for n in of) for source, of in given.items()}

    def refuse_names_given_twice(self, variables: tuple[Variable, ...]) -> None:
        seen: dict[tuple[str, str], str] = {}
        for of in variables:
            for key in ((source, n) for source, names in of.names.items() for n in names):
                if key in seen:
                    self._refuse(
                        of.name, f"names {key[1]} of {key[0]}, as '{seen[key]}' does; keep it once"
                    )
                seen[key] = of.name

    def refuse_unknown_shared(self, variables: tuple[Variable, ...]) -> None:
        own = {of.name for of in variables if of.shared == Shared(of.name)}
        for of in variables:
            if of.shared.name not in own:
                self._refuse(of.name, "is shared as no entry that stays itself; name one that does")

    def _refuse(self, name: str, what: str) -> NoReturn:
        raise Refusal(f"tables.variables '{self.where}': entry '{name}' {what}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
