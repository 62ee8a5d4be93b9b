"""Entries of ``tune.search``: which values a grid searches, where not those of the catalog.

MODEL.FIELD=V,V,...           for every start of a model
MODEL/START.FIELD=V,V,...     for one start
"""

import math
from collections.abc import Iterable
from typing import cast, get_args

from medhmp.legend import Start
from medhmp.model.catalog import MODELS
from medhmp.refusal import Refusal

Key = tuple[str, Start | None, str]
"""Model, start (none: all of them) and field."""


def parse(entries: Iterable[str]) -> dict[Key, tuple[float, ...]]:
    """The values of each entry. Refuses one that is malformed, or of what is not in the catalog."""
    found: dict[Key, tuple[float, ...]] = {}
    for entry in entries:
        place, equals, values = entry.partition("=")
        name, dot, field = place.partition(".")
        if not (equals and dot):
            raise _wrong(entry, "write it as MODEL.FIELD=V,V,...")
        model, start = _model_and_start(entry, name)
        if field not in MODELS[model].search:
            fields = ", ".join(MODELS[model].search)
            raise _wrong(entry, f"{model} has {fields or 'nothing'} to search")
        if (model, start, field) in found:
            raise _wrong(entry, "and another of the same name; put all values into one")
        found[model, start, field] = _values(entry, values, MODELS[model].search[field])
    return found


def _model_and_start(entry: str, name: str) -> tuple[str, Start | None]:
    model, slash, start = name.partition("/")
    if model not in MODELS:
        raise _wrong(entry, f"the models are {', '.join(MODELS)}")
    if not slash:
        return model, None
    if not MODELS[model].takes_starts:
        raise _wrong(entry, f"{model} is not pretrained; write {model} alone")
    if start not in get_args(Start):
        raise _wrong(entry, f"the starts are {', '.join(get_args(Start))}")
    return model, cast(Start, start)


def _values(entry: str, text: str, defaults: tuple[float, ...]) -> tuple[float, ...]:
    """The numbers of a list with commas: whole ones from 1 on where the defaults are whole, or from
    0 on where they have it."""
    whole = all(isinstance(value, int) for value in defaults)
    least = min(1, *defaults)
    try:
        values = tuple(dict.fromkeys((int if whole else float)(value) for value in text.split(",")))
    except ValueError:
        values = ()
    if not values or not all(map(math.isfinite, values)) or (whole and min(values) < least):
        numbers = f"whole numbers from {least:g} on" if whole else "numbers"
        raise _wrong(entry, f"give {numbers} with commas between them")
    return values


def _wrong(entry: str, remedy: str) -> Refusal:
    return Refusal(f"tune.search has the entry '{entry}'; {remedy}")
