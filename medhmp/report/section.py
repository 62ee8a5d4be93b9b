"""A table of finished text, and figures as people read them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

DASH: Final = "\u2013"
MINUS: Final = "\u2212"


@dataclass(frozen=True)
class Section:
    """A table of finished text under a title."""

    title: str
    columns: Sequence[str]
    groups: Mapping[str, Sequence[Sequence[str]]]  # heading ("" for none) -> the lines below it
    note: str = ""
    collapsed: bool = False  # on the page, until it is clicked
    sortable: bool = True  # on the page

    def pruned(self) -> "Section":
        """The table without columns that have nothing but dashes."""
        rows = [row for rows in self.groups.values() for row in rows]
        kept = [i for i in range(len(self.columns)) if i == 0 or any(r[i] != DASH for r in rows)]
        groups = {
            head: [[row[i] for i in kept] for row in rows] for head, rows in self.groups.items()
        }
        return replace(self, columns=tuple(self.columns[i] for i in kept), groups=groups)


def of_words(columns: Sequence[str], groups: Mapping[str, Sequence[Sequence[str]]]) -> set[int]:
    """Columns but the first most of whose cells are words, not figures."""
    rows = [row for of_group in groups.values() for row in of_group]
    counts = [sum(row[i][:1].isalpha() for row in rows) for i in range(len(columns))]
    return {i for i, words in enumerate(counts) if i and 2 * words > len(rows)}


def number(value: float | None, digits: int = 3) -> str:
    """A figure for people, with a minus as wide as a plus; a dash where there is none."""
    return DASH if value is None else f"{value:z.{digits}f}".replace("-", MINUS)


def figure(value: float | None) -> str:
    """A figure of any size with three digits; a dash where there is none."""
    return DASH if value is None else f"{value:.3g}".replace("-", MINUS)


def chance_said(sources: Iterable[str]) -> str:
    """The sentence below a table that says what chance its intervals hold."""
    named = list(dict.fromkeys(sources))
    alone = " alone" if len(named) == 1 else ""
    return f"Intervals hold the chance of the {' and the '.join(named)}{alone}."


def percent(value: float | None) -> str:
    """A share for people."""
    return DASH if value is None else f"{value:.0%}"


def with_limits(estimate: Mapping[str, Any] | None, digits: int = 2) -> str:
    """A figure with its interval, or alone where it has none; a dash for no figure."""
    if estimate is None or estimate["value"] is None:
        return DASH
    if estimate["low"] is None:
        return number(estimate["value"], digits)
    low, high = number(estimate["low"], digits), number(estimate["high"], digits)
    return f"{number(estimate['value'], digits)} ({low} to {high})"
